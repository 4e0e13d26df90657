//! What was learned: concepts as a method of single cases.

use std::collections::BTreeMap;

use mmlens_core::finding::{Axis, Caution, CautionKind, Labelled, NotFinite, Role, Unit, largest, top};
use mmlens_core::{
    Analysis, AnalysisError, Answer, Card, Case, Cost, Fitted, On, Part, Parts, Point, Seed, Site, caution,
};
use mmlens_engine::{Factors, KMeans, Matrix, Positions, Progress, direction, row_count, rows_of};
use mmlens_files::Doubles;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{By, CARD, Negative, ROUNDS, admitted, length, made_of};
use crate::check::{at_least_one, at_most, input, not_finite, setting};
use crate::feature::taken_off::{Lost, Place, shown};

/// What was learned of concepts. It is written into every finding, bit for bit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Learned {
    /// How the parts were found.
    pub by: By,
    /// What is read.
    pub site: Site,
    /// At which positions.
    pub positions: Positions,
    /// What becomes of negative numbers, of NMF.
    pub negative: Negative,
    /// The parts.
    pub parts: Vec<Vec<f64>>,
    /// The mean of the rows learned from.
    pub mean: Vec<f64>,
    /// How many random directions each concept is compared with; with 0 importance is left out.
    pub draws: usize,
    /// The seed of every draw.
    pub seed: Seed,
    /// How many variants share a pass.
    pub rows: usize,
}

impl Default for Learned {
    fn default() -> Self {
        Self {
            by: By::SemiNmf,
            site: Site::block(Part::Text, 0, Point::ResidPost),
            positions: Positions::All,
            negative: Negative::Refuse,
            parts: Vec::new(),
            mean: Vec::new(),
            draws: 3,
            seed: Seed(0),
            rows: 16,
        }
    }
}

/// Concepts that were learned: how much of each is in every row of a case, and what the answer loses without it.
#[derive(Debug, Clone)]
pub struct ConceptBank {
    learned: Learned,
    parts: Matrix,
}

impl ConceptBank {
    /// How much of each concept is in some rows, `[rows, concepts]`, as `activations` has it.
    ///
    /// # Errors
    /// [`AnalysisError::Input`] for rows of another length, or negative ones where they are refused.
    pub fn activations(&self, rows: &Matrix) -> Result<Matrix, AnalysisError> {
        self.fits(rows.width())?;
        if self.learned.by != By::KMeans {
            return Ok(Factors::amounts_of(&self.admitted(rows)?, &self.parts, ROUNDS));
        }
        let mut all = Matrix::zeros(rows.len(), self.parts.len());
        for (to, row) in all.rows_mut().zip(rows.rows()) {
            for (to, part) in to.iter_mut().zip(self.parts.rows()) {
                let apart: Vec<f64> = row.iter().zip(part).map(|(x, c)| x - c).collect();
                *to = 1.0 / (1.0 + length(&apart));
            }
        }
        Ok(all)
    }

    fn fits(&self, width: usize) -> Result<(), AnalysisError> {
        match width == self.parts.width() {
            true => Ok(()),
            false => Err(input(
                &CARD,
                "rows of the length of its parts",
                format!("{width}, where parts have {}", self.parts.width()),
            )),
        }
    }

    fn admitted(&self, rows: &Matrix) -> Result<Matrix, AnalysisError> {
        Ok(admitted(self.learned.by, self.learned.negative, rows.clone())?.0)
    }

    /// What each concept gives to each row, `[rows, width]` of each concept: what is taken off.
    fn given(&self, rows: &Matrix) -> Result<Vec<Matrix>, AnalysisError> {
        let count = self.parts.len();
        let mut all = vec![Matrix::zeros(rows.len(), rows.width()); count];
        let add = |to: &mut Matrix, row: usize, of: &mut dyn Iterator<Item = f64>| {
            if let Some(to) = to.rows_mut().nth(row) {
                to.iter_mut().zip(of).for_each(|(to, x)| *to = x);
            }
        };
        if self.learned.by == By::KMeans {
            for (row, group) in KMeans::from(rows, self.parts.clone(), 0).groups.into_iter().enumerate() {
                if let Some(to) = all.get_mut(group) {
                    let mut apart = self.parts.row(group).iter().zip(&self.learned.mean).map(|(c, m)| c - m);
                    add(to, row, &mut apart);
                }
            }
            return Ok(all);
        }
        let amounts = self.activations(rows)?;
        for (row, amounts) in amounts.rows().enumerate() {
            for ((to, part), amount) in all.iter_mut().zip(self.parts.rows()).zip(amounts) {
                add(to, row, &mut part.iter().map(|x| amount * x));
            }
        }
        Ok(all)
    }

    /// What is taken off in each variant: of every concept what it gives, then, draw by draw, as much of every row in a direction drawn by chance.
    fn taken_off(&self, given: &[Matrix]) -> Vec<Matrix> {
        let mut all = given.to_vec();
        for draw in 0..self.learned.draws as u64 {
            for (at, own) in given.iter().enumerate() {
                let drawn = direction(own.width(), self.learned.seed.at(draw).at(at as u64));
                let mut moved = own.clone();
                for row in moved.rows_mut() {
                    let far = length(row);
                    row.iter_mut().zip(&drawn).for_each(|(x, d)| *x = far * d);
                }
                all.push(moved);
            }
        }
        all
    }

    fn variants(&self) -> usize {
        if self.learned.draws == 0 { 0 } else { self.parts.len() * (1 + self.learned.draws) }
    }
}

impl Analysis for ConceptBank {
    type Input = Case;
    type Settings = Learned;
    const CARD: Card = CARD;

    fn new(learned: Learned) -> Result<Self, AnalysisError> {
        let Learned { parts, mean, .. } = &learned;
        at_least_one(&CARD, "rows", learned.rows)?;
        at_most(&CARD, "draws", learned.draws)?;
        let width = mean.len();
        if parts.is_empty() || width == 0 {
            return Err(setting(&CARD, "parts", "none", "there must be one: concepts have to be learned"));
        }
        if let Some(odd) = parts.iter().find(|part| part.len() != width) {
            return Err(setting(
                &CARD,
                "parts",
                format!("one of {} numbers", odd.len()),
                "all must have as many numbers as the mean",
            ));
        }
        if let Some(value) = parts.iter().flatten().chain(mean).find(|value| !value.is_finite()) {
            return Err(setting(&CARD, "parts", value, "all must be finite"));
        }
        let parts = Matrix::new(parts.concat(), width)?;
        Ok(Self { learned, parts })
    }

    fn settings(&self) -> &Learned {
        &self.learned
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        let Learned { site, positions, rows, .. } = &self.learned;
        let inputs = on.encode(&case.sample)?;
        let count = row_count((on, CARD.id), &inputs, *site, positions)?;
        let variants = self.variants();
        let passes = 1 + Place::passes(case, variants);
        let held = 8 * count * self.parts.width() * (2 + variants);
        let row = on.row(case, &inputs, &[])?;
        let at_once = row.bytes.saturating_mul((*rows).min(variants.max(1)) as u64);
        Ok(Cost::rows(passes * inputs.rows()).taking(at_once + held as u64, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let Learned { by, site, positions, .. } = &self.learned;
        let inputs = on.encode(&case.sample)?;
        let mut progress = Progress::new(on.watch(), CARD.id, 1 + self.variants());
        let held = rows_of((on, CARD.id), &inputs, *site, positions)?;
        progress.advance(1)?;
        let rows = Matrix::of_floats(&held.values, held.width)?;
        let activations = self.activations(&rows)?;
        let admitted = self.admitted(&rows)?;
        let made = made_of(*by, &admitted, &self.parts);
        let missed: f64 = admitted.values().iter().zip(made.values()).map(|(x, y)| (x - y) * (x - y)).sum();
        let size = admitted.square();
        let concept = || Axis::count(Role::Feature, self.parts.len());
        let values = activations.values().iter().map(|value| *value as f32).collect();
        let axes = vec![shown(&inputs, &held), concept()];
        let mut tables = vec![
            Labelled::numbers("activations", Unit::None, axes, values)?,
            Labelled::scalar("error", Unit::Ratio, if size > 0.0 { (missed / size) as f32 } else { 0.0 }),
        ];
        if self.variants() == 0 {
            return Ok(Answer::new(tables, [*site]));
        }
        let off = self.taken_off(&self.given(&rows)?);
        let place = Place { card: &CARD, site: *site, rows: self.learned.rows };
        let Lost { objective, whole, lost } = place.lost((on, case), &held, &off, &mut progress)?;
        let count = self.parts.len();
        let (importance, drawn) = lost.split_at(count.min(lost.len()));
        let random = (0..count)
            .map(|at| drawn.iter().skip(at).step_by(count).sum::<f64>() / self.learned.draws as f64);
        let importance: Vec<f32> = importance.iter().map(|x| *x as f32).collect();
        let unit = objective.unit();
        let no_more = no_more(&importance, drawn, self.learned.draws);
        let no_more = no_more.map_err(|own| not_finite(&CARD, "importance", own))?;
        let caution = caution::rounding(&importance, (unit, whole), "changes").or(no_more);
        tables.insert(1, Labelled::numbers("importance", unit, vec![concept()], importance)?);
        tables.insert(
            2,
            Labelled::numbers("random", unit, vec![concept()], random.map(|x| x as f32).collect())?,
        );
        tables.push(Labelled::scalar("objective", unit, whole));
        Ok(Answer::new(tables, [*site])
            .explaining(&objective)
            .against("rows that are moved as far in directions drawn by chance")
            .seeded(self.learned.seed)
            .cautioned(caution))
    }
}

/// That the answer needs no concept more than what rows moved as far by chance take from it, `drawn` concept by concept of every draw.
fn no_more(importance: &[f32], drawn: &[f64], draws: usize) -> Result<Option<Caution>, NotFinite> {
    let most =
        |at: usize| largest(&drawn.iter().skip(at).step_by(importance.len()).copied().collect::<Vec<_>>());
    let above = importance.iter().enumerate().map(|(at, own)| Ok(f64::from(own.abs()) - most(at)?));
    let above = above.collect::<Result<Vec<f64>, NotFinite>>()?;
    let best = top(&above)?.and_then(|at| above.get(at).copied());
    Ok(best.filter(|best| *best <= 0.0).map(|best| {
        let text = format!(
            "each of the {} concepts changes the objective no more than the largest of {draws} moves as far in a direction drawn by chance: the answer need not rest on any of them",
            importance.len()
        );
        Caution::new(CautionKind::NoBetter, best as f32, text)
    }))
}

/// The names of the tensors in a file.
const PARTS: &str = "parts";
const MEAN: &str = "mean";

/// All that is learned but its numbers.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    by: By,
    site: Site,
    positions: Positions,
    negative: Negative,
    draws: usize,
    seed: Seed,
    rows: usize,
}

impl Fitted for ConceptBank {
    fn parts(&self) -> Result<Parts, AnalysisError> {
        let Learned { by, site, positions, negative, mean, draws, seed, rows, .. } = &self.learned;
        let (count, width) = (self.parts.len(), self.parts.width());
        let tensors = [
            (PARTS, Doubles { shape: vec![count, width], values: self.parts.values().to_vec() }),
            (MEAN, Doubles { shape: vec![width], values: mean.clone() }),
        ];
        let tensors = tensors.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect();
        let about = json!({ "by": by, "site": site, "positions": positions, "negative": negative, "draws": draws, "seed": seed, "rows": rows });
        Ok(Parts { tensors, about: about.to_string() })
    }

    fn of(parts: Parts) -> Result<Self, AnalysisError> {
        let wrong = |reason: String| AnalysisError::Settings { method: CARD.id, reason };
        let Parts { mut tensors, about } = parts;
        let About { by, site, positions, negative, draws, seed, rows } =
            mmlens_files::parse_json(about.as_bytes()).map_err(|error| wrong(error.to_string()))?;
        let take = |name: &str, rank: usize, tensors: &mut BTreeMap<String, Doubles>| {
            let tensor = tensors.remove(name).ok_or_else(|| wrong(format!("there is no tensor `{name}`")))?;
            match tensor.shape.len() == rank {
                true => Ok(tensor),
                false => Err(wrong(format!("`{name}` is {:?}, expected {rank} axes", tensor.shape))),
            }
        };
        let all = take(PARTS, 2, &mut tensors)?;
        let mean = take(MEAN, 1, &mut tensors)?.values;
        if let Some(name) = tensors.keys().next() {
            return Err(wrong(format!("a tensor `{name}` has no meaning")));
        }
        let width = all.shape.last().copied().unwrap_or(0);
        let parts = all.values.chunks(width.max(1)).map(<[f64]>::to_vec).collect();
        Self::new(Learned { by, site, positions, negative, parts, mean, draws, seed, rows })
    }
}
