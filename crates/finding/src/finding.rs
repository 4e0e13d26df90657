//! A finding: tables and their provenance.

use std::collections::BTreeSet;

use serde_json::json;

use crate::compare::same_meaning;
use crate::{FindingError, Labelled, Provenance};

/// The method name of a difference of two findings.
const DIFFERENCE: &str = "difference";

/// What an analysis returns: tables with names of their own, and how they came to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// How the tables came to be.
    pub provenance: Provenance,
    tables: Vec<Labelled>,
}

impl Finding {
    /// A finding of these tables.
    ///
    /// # Errors
    /// [`FindingError::SameName`] for two tables of one name, [`FindingError::BadName`] for an empty name or
    /// `__metadata__`.
    pub fn new(provenance: Provenance, tables: Vec<Labelled>) -> Result<Self, FindingError> {
        let mut seen = BTreeSet::new();
        for table in &tables {
            let (method, name) = (provenance.method.clone(), table.name().to_owned());
            if matches!(table.name(), "" | "__metadata__") {
                return Err(FindingError::BadName { method, table: name });
            }
            if !seen.insert(table.name()) {
                return Err(FindingError::SameName { method, table: name });
            }
        }
        Ok(Self { provenance, tables })
    }

    /// The tables, in the order in which they were given.
    #[must_use]
    pub fn tables(&self) -> &[Labelled] {
        &self.tables
    }

    /// The answer: the first table and those of the same quantity, one for each picture or tile; none, of a finding without tables.
    #[must_use]
    pub fn answer(&self) -> Vec<&Labelled> {
        let quantity = self.tables.first().map(Labelled::quantity);
        self.tables.iter().filter(|table| Some(table.quantity()) == quantity).collect()
    }

    /// The tables that are shown: all but those that stand aside.
    pub fn shown(&self) -> impl Iterator<Item = &Labelled> {
        self.tables.iter().filter(|table| !table.is_aside())
    }

    /// The tables alone.
    #[must_use]
    pub fn into_tables(self) -> Vec<Labelled> {
        self.tables
    }

    /// The table of this name.
    ///
    /// # Errors
    /// [`FindingError::NoTable`], which lists the names there are.
    pub fn table(&self, name: &str) -> Result<&Labelled, FindingError> {
        self.find(name).ok_or_else(|| FindingError::NoTable {
            method: self.provenance.method.clone(),
            table: name.to_owned(),
            have: self.tables.iter().map(|table| table.name().to_owned()).collect(),
        })
    }

    /// The table of this name, if there is one.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Labelled> {
        self.tables.iter().find(|table| table.name() == name)
    }

    /// This finding with one more table.
    ///
    /// # Errors
    /// As [`Finding::new`].
    pub fn with_table(mut self, table: Labelled) -> Result<Self, FindingError> {
        self.tables.push(table);
        Self::new(self.provenance, self.tables)
    }

    /// This finding minus another, table by table. Both need the same tables with the same axes and units; tables of
    /// texts must be equal and are kept. The provenance of both is kept under `left` and `right` of the settings.
    ///
    /// # Errors
    /// [`FindingError::NoTable`], [`FindingError::Texts`], or [`FindingError::Table`] with what differs.
    pub fn minus(&self, other: &Self) -> Result<Self, FindingError> {
        if let Some(extra) = other.tables.iter().find(|table| self.find(table.name()).is_none()) {
            self.table(extra.name())?;
        }
        let tables =
            self.tables.iter().map(|table| self.table_minus(table, other)).collect::<Result<_, _>>()?;
        Self::new(difference(&self.provenance, &other.provenance), tables)
    }

    fn table_minus(&self, table: &Labelled, other: &Self) -> Result<Labelled, FindingError> {
        let against = other.table(table.name())?;
        if table.as_texts().is_none() || against.as_texts().is_none() {
            return Ok(table.minus(against)?);
        }
        same_meaning(table, against)?;
        if table == against {
            return Ok(table.clone());
        }
        Err(FindingError::Texts {
            left: self.provenance.method.clone(),
            right: other.provenance.method.clone(),
            table: table.name().to_owned(),
        })
    }
}

/// What both share stays; the whole of each is kept in the settings.
fn difference(left: &Provenance, right: &Provenance) -> Provenance {
    let both = |l: &str, r: &str| if l == r { l.to_owned() } else { format!("{l} minus {r}") };
    let shared = |l: &Option<String>, r: &Option<String>| if l == r { l.clone() } else { None };
    let list = |l: &[String], r: &[String]| if l == r { l.to_vec() } else { Vec::new() };
    Provenance {
        alterations: list(&left.alterations, &right.alterations),
        sites: list(&left.sites, &right.sites),
        objective: shared(&left.objective, &right.objective),
        baseline: shared(&left.baseline, &right.baseline),
        seed: left.seed.filter(|_| left.seed == right.seed),
        weights_hash: both(&left.weights_hash, &right.weights_hash),
        dtype: both(&left.dtype, &right.dtype),
        device: both(&left.device, &right.device),
        ..Provenance::new(DIFFERENCE, both(&left.subject, &right.subject))
    }
    .with_setting("left", json!(left))
    .with_setting("right", json!(right))
}

#[cfg(test)]
mod tests {
    use crate::{Axis, Finding, Labelled, Provenance, Role, Unit};

    fn finding(seed: u64, value: f32, word: &str) -> Finding {
        let texts =
            Labelled::texts("words", vec![Axis::count(Role::Rank, 1)], vec![word.to_owned()]).unwrap();
        let mut provenance = Provenance::new("lens", "shapes").with_setting("rank", 1);
        provenance.seed = Some(seed);
        provenance.objective = Some("logit of `red`".to_owned());
        Finding::new(provenance, vec![Labelled::scalar("score", Unit::Logit, value), texts]).unwrap()
    }

    #[test]
    fn names_are_unique_and_findable() {
        let error = finding(0, 1.0, "red").with_table(Labelled::scalar("score", Unit::Nat, 0.0)).unwrap_err();
        assert_eq!(error.to_string(), "finding `lens` has two tables named `score`");
        let error = finding(0, 1.0, "red").with_table(Labelled::scalar("__metadata__", Unit::Nat, 0.0));
        assert_eq!(error.unwrap_err().to_string(), "finding `lens`: a table may not be named `__metadata__`");
        assert_eq!(
            finding(0, 1.0, "red").table("scores").unwrap_err().to_string(),
            r#"finding `lens` has no table `scores`; it has ["score", "words"]"#
        );
    }

    #[test]
    fn a_difference_remembers_both_sides() {
        let (left, right) = (finding(1, 3.0, "red"), finding(2, 1.0, "red"));
        let difference = left.minus(&right).unwrap();
        assert_eq!(difference.table("score").unwrap().as_scalar(), Some(2.0));
        assert_eq!(difference.table("words").unwrap(), left.table("words").unwrap());
        let provenance = &difference.provenance;
        assert_eq!((provenance.subject.as_str(), provenance.seed), ("shapes", None));
        assert_eq!(provenance.objective.as_deref(), Some("logit of `red`"));
        assert_eq!(provenance.settings["right"]["seed"], 2);
    }

    #[test]
    fn other_texts_and_missing_tables_are_refused() {
        let error = finding(0, 1.0, "red").minus(&finding(0, 1.0, "blue")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "findings `lens` and `lens` differ in the texts of table `words`: texts cannot be subtracted"
        );
        let more = finding(0, 1.0, "red").with_table(Labelled::scalar("gap", Unit::Nat, 0.0)).unwrap();
        let left = finding(0, 1.0, "red").minus(&more).unwrap_err();
        let right = more.minus(&finding(0, 1.0, "red")).unwrap_err();
        let text = r#"finding `lens` has no table `gap`; it has ["score", "words"]"#;
        assert_eq!((left.to_string(), right.to_string()), (text.to_owned(), text.to_owned()));
    }
}
