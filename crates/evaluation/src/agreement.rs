//! Does a map lie where persons look?
//!
//! # Idea
//! Maps of persons and of the method are laid on one grid over the picture; the correlation of their ranks (Spearman), the mean over the persons whose maps there are.
//! What persons agree among each other is the row `a person` of the harness: the mean over all pairs of persons, where a case has two.
//!
//! # In and out
//! | column | unit | better | meaning |
//! |---|---|---|---|
//! | `agreement` | ratio | higher | as above, from -1 to 1 |
//!
//! # Settings
//! - `rows`, `cols`: a grid of 14 x 14, as VQA-HAT compares attention with what persons unblurred. Cells are those of the whole picture; a person's map gives each the sum of the pixels whose middle lies in it. Masses
//!   are ranked in steps of a millionth of the largest, so that equal sums of grey levels are equal.
//! - `sign`: `absolute`.
//!
//! # Cost
//! No pass.
//!
//! # Errors
//! No score without a person's map of the picture or with one of another size, and where a map is the same everywhere.
//!
//! # When it misleads
//! - Persons look at the middle; in VQA-HAT so does a map that looks at nothing else, which agrees with them better than the models of its time.
//! - A model may be right for other reasons than a person.
//!
//! # Agreement
//! scipy 1.17 `spearmanr` on the same masses, in the same steps, to 1e-9.
//!
//! # Reference
//! Das et al.: Human Attention in Visual Question Answering: Do Humans and Deep Networks Look at the Same Regions? EMNLP 2016. <https://arxiv.org/abs/1606.03556>.

use mmlens_core::{AnalysisError, PersonMap};
use serde::{Deserialize, Serialize};

use crate::alike::{in_steps, rank_correlation};
use crate::localisation::sized;
use crate::metric::{AtHand, Better, Column, Metric, MetricCard, NoScore, Redraws, setting};
use crate::{Map, Sign};

/// On which grid maps are compared.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgreementSettings {
    /// Cells one above the other.
    pub rows: usize,
    /// Cells side by side.
    pub cols: usize,
    /// Which way numbers of the map count.
    pub sign: Sign,
}

impl Default for AgreementSettings {
    fn default() -> Self {
        Self { rows: 14, cols: 14, sign: Sign::default() }
    }
}

/// The correlation of a map's ranks with those of persons' maps.
#[derive(Debug, Clone)]
pub struct Agreement(AgreementSettings);

impl Agreement {
    /// Numbers of pixels on the cells of the grid.
    fn cells(&self, pixels: &[f64], [width, height]: [usize; 2]) -> Vec<f64> {
        let AgreementSettings { rows, cols, .. } = self.0;
        let mut cells = vec![0.0; rows * cols];
        for (at, value) in pixels.iter().enumerate() {
            // The middle of pixel x lies at x + 1/2 of the width.
            let cell = |place: usize, length: usize, count: usize| (2 * place + 1) * count / (2 * length);
            let (row, col) = (cell(at / width, height, rows), cell(at % width, width, cols));
            if let Some(cell) = cells.get_mut(row * cols + col) {
                *cell += value;
            }
        }
        cells
    }

    fn of_person(&self, person: &PersonMap) -> Vec<f64> {
        let values: Vec<f64> = person.values.iter().map(|value| f64::from(*value)).collect();
        in_steps(&self.cells(&values, person.size))
    }

    /// The maps of persons of a picture, on the grid.
    fn persons<'a>(&self, asked: &AtHand<'a>) -> Result<Vec<(&'a PersonMap, Vec<f64>)>, NoScore> {
        let known = asked.inputs.map().pictures.get(asked.picture).copied();
        let what = asked.inputs.map().called(asked.picture);
        let own = asked.persons.iter().filter(|person| person.picture == asked.picture);
        let found = own.map(|person| {
            let [width, height] = person.size;
            match known == Some((width as u32, height as u32)) && person.values.len() == width * height {
                true => Ok((person, self.of_person(person))),
                false => Err(NoScore::Lacks(format!(
                    "the map of {} is {width} x {height} pixels, and the {what} {}",
                    person.name,
                    sized(known)
                ))),
            }
        });
        let found: Vec<_> = found.collect::<Result<_, _>>()?;
        match found.is_empty() {
            true => Err(NoScore::Lacks(format!("the case has no person's map of the {what}"))),
            false => Ok(found),
        }
    }

    /// What persons agree among each other: the mean over pairs.
    ///
    /// # Errors
    /// [`NoScore`] for fewer than two persons.
    pub fn among_persons(&self, asked: &AtHand<'_>) -> Result<f64, NoScore> {
        let persons = self.persons(asked)?;
        let pairs = persons
            .iter()
            .enumerate()
            .flat_map(|(i, (_, a))| persons.iter().skip(i + 1).map(move |(_, b)| rank_correlation(a, b)));
        let pairs: Option<Vec<f64>> = pairs.collect();
        let pairs = pairs.ok_or_else(same)?;
        match pairs.is_empty() {
            true => {
                Err(NoScore::Lacks("the case has one person's map, and it takes two to agree".to_owned()))
            }
            false => Ok(pairs.iter().sum::<f64>() / pairs.len() as f64),
        }
    }
}

fn same() -> NoScore {
    NoScore::Undefined("a map is the same everywhere".to_owned())
}

impl Metric for Agreement {
    type Settings = AgreementSettings;
    const CARD: MetricCard = MetricCard {
        id: "agreement",
        question: "Does the map lie where persons look?",
        needs: "persons' maps of the picture",
        cost: "none",
        citation: "Das et al.: Human Attention in Visual Question Answering. EMNLP 2016. https://arxiv.org/abs/1606.03556",
        misleads: &[
            "Persons look at the middle, and so does a blob.",
            "A model may be right for other reasons than a person.",
        ],
    };

    fn new(settings: AgreementSettings) -> Result<Self, AnalysisError> {
        for (name, count) in [("rows", settings.rows), ("cols", settings.cols)] {
            if count == 0 || count > 1024 {
                return Err(setting(&Self::CARD, name, count, "it must lie between 1 and 1024"));
            }
        }
        Ok(Self(settings))
    }

    fn settings(&self) -> &AgreementSettings {
        &self.0
    }

    fn columns(&self, _: Redraws<'_>) -> Vec<Column> {
        vec![Column::new("agreement", Better::Higher)]
    }

    fn scores(&self, asked: &AtHand<'_>, map: &Map) -> Result<Vec<f64>, NoScore> {
        let persons = self.persons(asked)?;
        let map = map.signed(self.0.sign);
        let each = persons.iter().map(|(person, cells)| {
            let own = self.cells(&map.painted(asked.picture, person.size), person.size);
            rank_correlation(&in_steps(&own), cells).ok_or_else(same)
        });
        let each: Vec<f64> = each.collect::<Result<_, _>>()?;
        Ok(vec![each.iter().sum::<f64>() / each.len() as f64])
    }

    fn judges_persons(&self) -> bool {
        true
    }

    fn of_persons(&self, asked: &AtHand<'_>) -> Option<Result<Vec<f64>, NoScore>> {
        Some(self.among_persons(asked).map(|agreed| vec![agreed]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_fall_into_the_cell_of_their_middle() {
        let grid = Agreement::new(AgreementSettings { rows: 1, cols: 2, ..Default::default() }).unwrap();
        // Middles at 1/6, 1/2 and 5/6 of the width: the one in the middle belongs to the second half.
        assert_eq!(grid.cells(&[1.0, 2.0, 4.0], [3, 1]), [1.0, 6.0]);
    }
}
