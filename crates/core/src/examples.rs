//! Rows to learn from: activations, and what each of them is of.

use mmlens_finding::Provenance;
use serde_json::json;

use crate::AnalysisError;

/// Rows to learn from without classes, by number: in memory, or on disk.
pub trait Rows {
    /// The name of the data set.
    fn data(&self) -> &str;

    /// How they were made, as far as it is known.
    fn provenance(&self) -> Provenance;

    /// SHA-256 of what tells them from others, in hexadecimal digits.
    ///
    /// # Errors
    /// What cannot be read.
    fn hash(&self) -> Result<String, AnalysisError>;

    /// Rows there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Numbers of a row.
    fn width(&self) -> usize;

    /// The group of each row: rows of one group are learned from together, or not at all.
    ///
    /// # Errors
    /// What cannot be read.
    fn groups(&self) -> Result<Vec<u64>, AnalysisError>;

    /// Some rows, one after the other, in the order asked for.
    ///
    /// # Errors
    /// A row that is not there or cannot be read.
    fn read(&self, rows: &[usize]) -> Result<Vec<f32>, AnalysisError>;
}

impl Rows for Examples {
    fn data(&self) -> &str {
        self.data()
    }

    fn provenance(&self) -> Provenance {
        self.made.clone()
    }

    fn hash(&self) -> Result<String, AnalysisError> {
        Ok(self.hash())
    }

    fn len(&self) -> usize {
        self.len()
    }

    fn width(&self) -> usize {
        self.width
    }

    fn groups(&self) -> Result<Vec<u64>, AnalysisError> {
        Ok(self.groups.clone())
    }

    fn read(&self, rows: &[usize]) -> Result<Vec<f32>, AnalysisError> {
        let mut values = Vec::with_capacity(rows.len() * self.width);
        for row in rows {
            let own = self.rows().nth(*row);
            values.extend(own.ok_or_else(|| {
                unfit("rows that are there", format!("row {row} was asked for of {}", self.len()))
            })?);
        }
        Ok(values)
    }
}

/// Rows to learn from, in memory, `[rows, width]`, each with its class.
#[derive(Debug, Clone, PartialEq)]
pub struct Examples {
    /// What they were made from.
    data: String,
    /// How they were made: the subject, its sites.
    made: Provenance,
    width: usize,
    values: Vec<f32>,
    classes: Vec<String>,
    labels: Vec<usize>,
    groups: Vec<u64>,
    kinds: Vec<u64>,
}

/// The kind of token 0: groups and tokens are kinds of different things.
const TOKENS: u64 = 1 << 63;
/// The method that errors about rows name.
const METHOD: &str = "examples";

fn unfit(needs: &'static str, found: String) -> AnalysisError {
    AnalysisError::Input { method: METHOD, needs: needs.into(), found }
}

impl Examples {
    /// Rows of a data set of this name, one after the other, and the class of each by its number. Until it is said otherwise, every
    /// row is a group and a kind of its own.
    ///
    /// # Errors
    /// [`AnalysisError::Input`] for values that do not fill as many rows as there are labels, a value that is no finite number, or a
    /// label that names no class.
    pub fn new(
        data: impl Into<String>,
        values: Vec<f32>,
        classes: Vec<String>,
        labels: Vec<usize>,
    ) -> Result<Self, AnalysisError> {
        let width = values.len().checked_div(labels.len()).unwrap_or(0);
        if width == 0 || width * labels.len() != values.len() {
            let found = format!("{} values for {} labels", values.len(), labels.len());
            return Err(unfit("rows of one length, one for each label", found));
        }
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            let found = format!("row {} holds another at coordinate {}", at / width, at % width);
            return Err(unfit("finite numbers", found));
        }
        if let Some((row, label)) = labels.iter().enumerate().find(|(_, label)| **label >= classes.len()) {
            let found = format!("row {row} is of class {label}, and there are {}", classes.len());
            return Err(unfit("labels that name a class", found));
        }
        let own: Vec<u64> = (0..labels.len() as u64).collect();
        let made = Provenance::default();
        Ok(Self { data: data.into(), made, width, values, classes, labels, groups: own.clone(), kinds: own })
    }

    /// With the group of each row: rows of one group are learned from together, or not at all.
    ///
    /// # Errors
    /// [`AnalysisError::Input`] for more or fewer than rows.
    pub fn grouped(self, groups: Vec<u64>) -> Result<Self, AnalysisError> {
        self.as_many("a group for each row", groups.len())?;
        Ok(Self { groups, ..self })
    }

    /// With the kind of each row, for control tasks: the type of its word, say. Rows of one kind have the same control label.
    ///
    /// # Errors
    /// [`AnalysisError::Input`] for more or fewer than rows.
    pub fn of_kinds(self, kinds: Vec<u64>) -> Result<Self, AnalysisError> {
        self.as_many("a kind for each row", kinds.len())?;
        Ok(Self { kinds, ..self })
    }

    /// With how they were made: the subject, and the sites read.
    #[must_use]
    pub fn made(self, made: Provenance) -> Self {
        Self { made, ..self }
    }

    fn as_many(&self, needs: &'static str, found: usize) -> Result<(), AnalysisError> {
        let rows = self.len();
        if found == rows { Ok(()) } else { Err(unfit(needs, format!("there are {found} for {rows} rows"))) }
    }

    /// The kind of a row: its token, where it has one, and else its group.
    #[must_use]
    pub fn kind(token: Option<u32>, group: u64) -> u64 {
        token.map_or(group, |id| TOKENS + u64::from(id))
    }

    /// Rows there are, one at least.
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Numbers of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The name of the data set.
    pub fn data(&self) -> &str {
        &self.data
    }

    /// How they were made, as far as it is known.
    pub fn provenance(&self) -> &Provenance {
        &self.made
    }

    /// All rows, one after the other.
    pub fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.width)
    }

    /// The classes, in the order of their numbers.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The class of each row.
    pub fn labels(&self) -> &[usize] {
        &self.labels
    }

    /// The group of each row.
    pub fn groups(&self) -> &[u64] {
        &self.groups
    }

    /// The kind of each row.
    pub fn kinds(&self) -> &[u64] {
        &self.kinds
    }

    /// SHA-256 of rows, labels, groups and kinds, in hexadecimal digits.
    pub fn hash(&self) -> String {
        let bytes: Vec<u8> = self.values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let known = json!([self.width, self.classes, self.labels, self.groups, self.kinds]);
        mmlens_files::sha256(format!("{}{known}", mmlens_files::sha256(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::Examples;

    fn of(values: Vec<f32>, labels: Vec<usize>) -> Result<Examples, String> {
        let classes = ["a", "b"].map(str::to_owned).to_vec();
        Examples::new("rows", values, classes, labels).map_err(|error| error.to_string())
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let fits = of(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], vec![0, 1]).unwrap();
        assert_eq!((fits.len(), fits.width(), fits.rows().nth(1)), (2, 3, Some(&[4.0, 5.0, 6.0][..])));
        let said = of(vec![1.0; 5], vec![0, 1]).unwrap_err();
        assert_eq!(said, "examples needs rows of one length, one for each label, but 5 values for 2 labels");
        assert!(of(vec![], vec![]).is_err() && of(vec![], vec![0]).is_err());
        let said = of(vec![1.0, 2.0, 3.0, f32::NAN], vec![0, 1]).unwrap_err();
        assert_eq!(said, "examples needs finite numbers, but row 1 holds another at coordinate 1");
        let said = of(vec![1.0, 2.0], vec![0, 2]).unwrap_err();
        assert_eq!(said, "examples needs labels that name a class, but row 1 is of class 2, and there are 2");
        let said = fits.clone().grouped(vec![1]).unwrap_err().to_string();
        assert_eq!(said, "examples needs a group for each row, but there are 1 for 2 rows");
        assert!(fits.clone().of_kinds(vec![1, 2, 3]).is_err());
        assert_ne!(fits.clone().grouped(vec![7, 7]).unwrap().hash(), fits.hash());
    }
}
