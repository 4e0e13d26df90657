//! What was learned: directions as a method of single cases, and as a standing edit.

use mmlens_core::finding::{Axis, Labelled, Role, Unit, largest};
use mmlens_core::{
    Alteration, Analysis, AnalysisError, Answer, Card, Case, Cost, Fitted, HookError, On, Part, Parts, Point,
    Region, Seed, Site, orthonormal,
};
use mmlens_engine::{Matrix, Positions, Progress, row_count, rows_of};
use mmlens_files::Doubles;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{CARD, less, random_directions};
use crate::check::{at_least_one, input, setting};
use crate::feature::taken_off::{Lost, Place, cautions};

/// What was learned of a property. It is written into every finding, bit for bit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Learned {
    /// What is read.
    pub site: Site,
    /// At which positions.
    pub positions: Positions,
    /// Directions, orthonormal.
    pub directions: Vec<Vec<f64>>,
    /// How many sets of random directions.
    pub draws: usize,
    /// The seed of every draw.
    pub seed: Seed,
    /// How many variants share a pass.
    pub rows: usize,
}

impl Default for Learned {
    fn default() -> Self {
        Self {
            site: Site::block(Part::Text, 0, Point::ResidPost),
            positions: Positions::Last,
            directions: Vec::new(),
            draws: 10,
            seed: Seed(0),
            rows: 16,
        }
    }
}

/// Directions that tell a property: what a case loses without them.
#[derive(Debug, Clone)]
pub struct Erasure {
    learned: Learned,
}

impl Erasure {
    /// The standing edit that takes the directions off every vector of the site, at all positions. `--edit SITE=without:FILE#directions` reads the same from the file that it is saved in.
    ///
    /// # Errors
    /// None, of what was learned.
    pub fn alteration(&self) -> Result<Alteration, HookError> {
        Alteration::without(self.learned.site, Region::all(), &self.learned.directions)
    }

    fn width(&self) -> usize {
        self.learned.directions.first().map_or(0, Vec::len)
    }

    /// What is taken off in each variant: the directions, then, draw by draw, as many random ones.
    fn taken_off(&self, rows: &Matrix) -> Result<Vec<Matrix>, AnalysisError> {
        let Learned { directions, draws, seed, .. } = &self.learned;
        let off = |directions: &[Vec<f64>]| {
            let mut off = less(rows, directions);
            for (left, row) in off.rows_mut().zip(rows.rows()) {
                left.iter_mut().zip(row).for_each(|(x, whole)| *x = whole - *x);
            }
            off
        };
        let mut all = vec![off(directions)];
        for draw in 0..*draws as u64 {
            all.push(off(&random_directions(self.width(), directions.len(), seed.at(draw))?));
        }
        Ok(all)
    }
}

impl Analysis for Erasure {
    type Input = Case;
    type Settings = Learned;
    const CARD: Card = CARD;

    fn new(learned: Learned) -> Result<Self, AnalysisError> {
        at_least_one(&CARD, "rows", learned.rows)?;
        at_least_one(&CARD, "draws", learned.draws)?;
        if learned.directions.is_empty() {
            return Err(setting(&CARD, "directions", "none", "there must be one: they have to be learned"));
        }
        let span = orthonormal(&learned.directions)?;
        // Given bit for bit, and not made anew: they must be orthonormal already.
        let apart = span.iter().flatten().zip(learned.directions.iter().flatten()).map(|(a, b)| a - b);
        let close = largest(&apart.collect::<Vec<f64>>()).is_ok_and(|apart| apart <= 1e-6);
        if span.len() != learned.directions.len() || !close {
            return Err(setting(&CARD, "directions", learned.directions.len(), "they must be orthonormal"));
        }
        Ok(Self { learned })
    }

    fn settings(&self) -> &Learned {
        &self.learned
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        let Learned { site, positions, rows, draws, .. } = &self.learned;
        let inputs = on.encode(&case.sample)?;
        let count = row_count((on, CARD.id), &inputs, *site, positions)?;
        let variants = 1 + draws;
        let held = 8 * count * self.width() * (2 + variants);
        let row = on.row(case, &inputs, &[])?;
        let at_once = row.bytes.saturating_mul((*rows).min(variants) as u64);
        let passes = 1 + Place::passes(case, variants);
        Ok(Cost::rows(passes * inputs.rows()).taking(at_once + held as u64, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let Learned { site, positions, draws, .. } = &self.learned;
        let inputs = on.encode(&case.sample)?;
        let mut progress = Progress::new(on.watch(), CARD.id, 2 + draws);
        let held = rows_of((on, CARD.id), &inputs, *site, positions)?;
        progress.advance(1)?;
        if held.width != self.width() {
            let found = format!("{}, where directions have {}", held.width, self.width());
            return Err(input(&CARD, "rows of the length of its directions", found));
        }
        let rows = Matrix::of_floats(&held.values, held.width)?;
        let off = self.taken_off(&rows)?;
        let place = Place { card: &CARD, site: *site, rows: self.learned.rows };
        let Lost { objective, whole, lost } = place.lost((on, case), &held, &off, &mut progress)?;
        let changes: Vec<f32> = lost.iter().map(|lost| -*lost as f32).collect();
        let (own, drawn) = changes.split_at(changes.len().min(1));
        let erased = own.first().copied().ok_or(HookError::NoObjective)?;
        let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / *draws as f64;
        let larger = drawn.iter().filter(|change| change.abs() >= erased.abs()).count();
        let size = rows.square();
        let share = |off: &Matrix| if size > 0.0 { off.square() / size } else { 0.0 };
        let shares = [off.first().map_or(0.0, share), mean(&mut off.iter().skip(1).map(share))];
        let unit = objective.unit();
        let pair = || vec![Axis::names(Role::Concept, ["erased", "random directions"])];
        let random = mean(&mut drawn.iter().map(|change| f64::from(*change)));
        let tables = vec![
            Labelled::numbers("change", unit, pair(), vec![erased, random as f32])?,
            Labelled::scalar("p", Unit::Probability, (1 + larger) as f32 / (1 + draws) as f32),
            Labelled::numbers("taken off", Unit::Ratio, pair(), shares.map(|share| share as f32).to_vec())?,
            Labelled::scalar("objective", unit, whole),
            Labelled::numbers("random changes", unit, vec![Axis::count(Role::Step, *draws)], drawn.to_vec())?
                .aside(),
        ];
        let caution = cautions(erased, drawn, (unit, whole));
        Ok(Answer::new(tables, [*site])
            .explaining(&objective)
            .against("as many directions drawn by chance")
            .seeded(self.learned.seed)
            .cautioned(caution))
    }
}

/// The name of the tensor in a file.
const DIRECTIONS: &str = "directions";

/// All that is learned but its numbers.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    site: Site,
    positions: Positions,
    draws: usize,
    seed: Seed,
    rows: usize,
}

impl Fitted for Erasure {
    fn parts(&self) -> Result<Parts, AnalysisError> {
        let Learned { site, positions, directions, draws, seed, rows } = &self.learned;
        let tensor = Doubles { shape: vec![directions.len(), self.width()], values: directions.concat() };
        let about =
            json!({ "site": site, "positions": positions, "draws": draws, "seed": seed, "rows": rows });
        Ok(Parts { tensors: [(DIRECTIONS.to_owned(), tensor)].into(), about: about.to_string() })
    }

    fn of(parts: Parts) -> Result<Self, AnalysisError> {
        let wrong = |reason: String| AnalysisError::Settings { method: CARD.id, reason };
        let Parts { mut tensors, about } = parts;
        let About { site, positions, draws, seed, rows } =
            mmlens_files::parse_json(about.as_bytes()).map_err(|error| wrong(error.to_string()))?;
        let tensor =
            tensors.remove(DIRECTIONS).ok_or_else(|| wrong(format!("there is no tensor `{DIRECTIONS}`")))?;
        if let Some(name) = tensors.keys().next() {
            return Err(wrong(format!("a tensor `{name}` has no meaning")));
        }
        let [_, width] = tensor.shape[..] else {
            return Err(wrong(format!("`{DIRECTIONS}` is {:?}, expected 2 axes", tensor.shape)));
        };
        let directions = tensor.values.chunks(width.max(1)).map(<[f64]>::to_vec).collect();
        Self::new(Learned { site, positions, directions, draws, seed, rows })
    }
}
