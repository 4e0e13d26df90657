//! RISE: where does the picture have to be seen for this answer, as far as random veils tell?
//!
//! # Idea
//! The picture is looked at through random veils: a coarse grid of cells, each open with a chance of `p`, blown up smoothly and shifted by a part of a cell, so that cells have no edges. With `M_k` what
//! veil `k` leaves of every place and `f_k` the objective behind it, a place counts as much as the objective is higher when it is seen:
//!
//! ```text
//! S(place) = 1 / (n p) sum over k of (f_k - mean f) M_k(place)
//! ```
//!
//! # In and out
//! In: a [`Case`] of one row, with pictures. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `picture` | row, column | objective | `S` on cells of the original picture |
//! | `noise` | | ratio | the standard error of a cell, in the mean over cells, over the standard deviation of the map: what of the map is chance |
//! | `objective`, `objective behind veils` | | objective | `f(x)`, and the mean of `f` |
//! | `picture error` | row, column | objective | standard errors from the draws; aside |
//! | `cautions` | rank | text | a map that the draws do not settle; veils that change nothing |
//!
//! Several pictures are veiled at once, each by a veil of its own, and have tables of their own: `picture/0`, `picture/1`. A veil lies on the original picture: a picture in tiles is veiled in all of them alike.
//!
//! # Settings
//! - `cells`: 7 x 7, as in the paper: how coarse veils are decides how small what they find can be.
//! - `open`: 0.5, as there: the chance of a cell.
//! - `samples`: 4000 veils, as there for VGG16 (8000 for ResNet50).
//! - `map`: 28 x 28 cells of the map; finer ones cost nothing but numbers.
//! - `pixels`: what stands in the place of what is not seen, by default the picture's own mean colour, as in [`occlusion`](crate::occlusion); the paper takes zero after normalisation.
//! - `seed`: of the veils, 0. Veil `k` depends on `seed` and `k` alone.
//! - `rows`: 16 veils share a pass.
//!
//! # Cost
//! `samples` forward passes from the pixels, and one more. No gradients. The map takes `samples` times its cells.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for no cells, a chance outside 0 to 1, fewer than two samples, no rows. Running: [`AnalysisError::Input`] for a sample without pictures or with a clip, a case of several
//! rows; [`AnalysisError::Subject`], [`AnalysisError::Memory`], [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - Chance: errors fall with the root of the samples alone, and a map of noise looks like one of spots. Half the spread of the map is spoken of.
//! - Evidence smaller than a cell is smeared over one; what needs two places at once is found at neither (Petsiuk et al. 2018 look at classes of one object).
//! - A veiled picture is a grey fog that the model has never seen (Hooker et al. 2019, "A Benchmark for Interpretability Methods in Deep Neural Networks").
//! - Words are not veiled: what they decide is not found, see [`lime`](crate::lime).
//!
//! # Agreement
//! The same veils, made by SciPy, through transformers on `llava-a` and `vit-a`: largest difference relative to the largest value 4.2e-6. Identities tested: where nothing reads the picture the map is zero; the same for
//! any `rows`; the mean over the map of a straight subject is what fewer open cells cost.
//!
//! # Reference
//! Petsiuk, Das, Saenko: RISE: Randomized Input Sampling for Explanation of Black-box Models. BMVC 2018. <https://arxiv.org/abs/1806.07421>. The paper weighs by `f_k`, a probability: of anything else a level that all
//! veils share would count as noise, and is taken off. Errors are ours.
//!
//! # Example
//! ```no_run
//! use mmlens_core::{Analysis, Case};
//! use mmlens_model::{Rise, rise::Settings};
//! # fn explain(subject: &dyn mmlens_core::Subject, case: &Case) -> Result<(), mmlens_core::AnalysisError> {
//! let finding = Rise::new(Settings { samples: 1000, ..Settings::default() })?.run(subject, case)?;
//! println!("{:?} {:?}", finding.table("picture")?.largest(3)?, finding.table("noise")?.as_scalar());
//! # Ok(())
//! # }
//! ```

use std::num::NonZeroUsize;

use mmlens_core::finding::{Axis, Labelled, Role, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Answer, Baseline, Capability, Card, Case, Copies, Cost, HookError, Leaf, On,
    Part, Plan, Point, Seed, Site, TokenMap, caution,
};
use mmlens_engine::{Absent, Measured, Progress, Spoken, Veiled, label, one_row};
use serde::{Deserialize, Serialize};

use crate::check::{at_least_one, at_most, input, setting};

pub use crate::parts::Hush;

/// What this method is.
pub const CARD: Card = Card {
    id: "rise",
    short: "rise",
    name: "RISE",
    question: "Where does the picture have to be seen for this answer, as far as random veils tell?",
    citation: "Petsiuk, Das, Saenko: RISE: Randomized Input Sampling for Explanation of Black-box Models. BMVC 2018. https://arxiv.org/abs/1806.07421",
    leaf: Leaf::Architecture,
    cost: "1 + samples forward, in batches",
    needs: &[Capability::Perception],
    misleads: &[
        "A map of noise looks like one of spots.",
        "Evidence smaller than a cell is smeared over one.",
        "A veiled picture is something the model has never seen.",
    ],
    first: false,
};

/// How veils are made, and how many.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Cells of a veil, down and across.
    pub cells: [usize; 2],
    /// The chance of a cell to be open.
    pub open: f32,
    /// Veils.
    pub samples: usize,
    /// Cells of the map, down and across.
    pub map: [usize; 2],
    /// What stands in the place of what is not seen.
    pub pixels: Baseline,
    /// What is heard in the place of what is not.
    pub sounds: Hush,
    /// Of the veils.
    pub seed: Seed,
    /// How many veils share a pass.
    pub rows: usize,
}

impl Default for Settings {
    fn default() -> Self {
        let (cells, map) = ([7, 7], [28, 28]);
        let (pixels, sounds) = (Baseline::Mean, Hush::Silence);
        Self { cells, open: 0.5, samples: 4000, map, pixels, sounds, seed: Seed(0), rows: 16 }
    }
}

/// RISE with checked settings.
#[derive(Debug, Clone)]
pub struct Rise {
    settings: Settings,
    rows: NonZeroUsize,
}

/// A veil: cells that are open, and how far they are shifted, in cells.
struct Cells {
    open: Vec<bool>,
    cells: [usize; 2],
    shift: [f64; 2],
}

impl Cells {
    /// How much of a place is seen; `across` and `down` are shares of the picture. One cell more than there are would cover it, so that a shift
    /// leaves nothing uncovered.
    fn seen(&self, [across, down]: [f64; 2]) -> f32 {
        let [rows, cols] = self.cells;
        let along = |share: f64, shift: f64, count: usize| {
            let n = count as f64;
            // Beyond the middles of the outer cells it is as there.
            let at = ((share * n + shift) * n / (n + 1.0) - 0.5).clamp(0.0, n - 1.0);
            let low = (at.floor() as usize).min(count - 1);
            (low, (low + 1).min(count - 1), at - low as f64)
        };
        let (top, bottom, down) = along(down, self.shift[0], rows);
        let (left, right, across) = along(across, self.shift[1], cols);
        let open =
            |row: usize, col: usize| f64::from(u8::from(self.open.get(row * cols + col) == Some(&true)));
        let line = |row: usize| (1.0 - across) * open(row, left) + across * open(row, right);
        ((1.0 - down) * line(top) + down * line(bottom)) as f32
    }
}

impl Rise {
    /// The veil of a picture in a draw.
    fn veil(&self, draw: usize, picture: usize) -> Cells {
        let Settings { cells, open, seed, .. } = &self.settings;
        let seed = seed.at(draw as u64).at(picture as u64);
        let shift = [0, 1].map(|side| f64::from(seed.at(side).unit()));
        let chance = |cell: usize| seed.at(2 + cell as u64).unit() < *open;
        Cells { open: (0..cells[0] * cells[1]).map(chance).collect(), cells: *cells, shift }
    }

    /// Of a picture the map, and its standard errors.
    fn map(&self, veils: &[Cells], values: &[f64], mean: f64) -> (Vec<f64>, Vec<f64>) {
        let [rows, cols] = self.settings.map;
        let (n, open) = (values.len() as f64, f64::from(self.settings.open));
        let middle = |at: usize, of: usize| (at as f64 + 0.5) / of as f64;
        let place = |at: usize| [middle(at % cols, cols), middle(at / cols, rows)];
        let told = |at: usize| {
            let seen: Vec<f64> = veils.iter().map(|veil| f64::from(veil.seen(place(at)))).collect();
            let usual = seen.iter().sum::<f64>() / n;
            let each = |level: f64| {
                let apart =
                    seen.iter().zip(values).map(move |(seen, value)| (value - mean) * (seen - level) / open);
                apart.fold((0.0, 0.0), |(sum, squares), own| (sum + own, squares + own * own))
            };
            let average = each(0.0).0 / n;
            // Values less their mean add up to zero, so that what all veils leave of a place is no part of the error.
            let (sum, squares) = each(usual);
            let rest = (squares / n - (sum / n).powi(2)).max(0.0); // no NaN: finite scores
            (average, (rest / (n - 1.0)).sqrt())
        };
        (0..rows * cols).map(told).unzip()
    }
}

/// The spread of some numbers around their mean.
fn spread(values: &[f64]) -> f64 {
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n).sqrt()
}

impl Analysis for Rise {
    type Input = Case;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        let Settings { cells, open, samples, map, rows, .. } = &settings;
        for (name, sides) in [("cells", cells), ("map", map)] {
            if sides.contains(&0) {
                return Err(setting(&CARD, name, format!("{sides:?}"), "there is at least one cell"));
            }
        }
        if !(*open > 0.0 && *open < 1.0) {
            return Err(setting(&CARD, "open", open, "it is a chance between 0 and 1"));
        }
        at_most(&CARD, "samples", *samples)?;
        if *samples < 2 {
            return Err(setting(&CARD, "samples", samples, "an error needs 2 or more"));
        }
        let rows = at_least_one(&CARD, "rows", *rows)?;
        Ok(Self { settings, rows })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        let inputs = on.encode(&case.sample)?;
        let cost = Cost::rows(case.settling() + 1 + self.settings.samples);
        Ok(cost.at_once(self.rows.get(), on.row(case, &inputs, &[])?, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let (subject, (inputs, objective)) = (on.subject(), on.open(case)?);
        let map = one_row(CARD.id, &inputs)?;
        if !case.sample.clips.is_empty() {
            return Err(input(&CARD, "pictures", "the sample has a clip"));
        }
        let Settings { pixels, sounds, .. } = &self.settings;
        let instead = (&Absent::from(pixels.clone()), &Absent::from(sounds.clone()));
        let veiled = Veiled::new(subject, &case.sample, &inputs, instead);
        let veiled = veiled.map_err(|error| error.of(CARD.id))?;
        let memory = on.memory().at_most(self.rows);
        let plan = Plan::new().objective(&objective);
        memory.hold(CARD.id, 0, subject.need(&inputs, &plan, Copies::ONE)?)?;
        let samples = self.settings.samples;
        let pictures = map.pictures.len();
        let veils: Vec<Vec<Cells>> = (0..pictures)
            .map(|picture| (0..samples).map(|draw| self.veil(draw, picture)).collect())
            .collect();
        let seen = |draw: usize, picture: usize, place: [f64; 2]| {
            let veil = veils.get(picture).and_then(|own| own.get(draw));
            veil.map_or(f32::NAN, |veil| veil.seen(place))
        };
        let mut progress = Progress::new(on.watch(), CARD.id, samples);
        let spoken = Spoken::of(on, case, &inputs, &objective)?;
        let measured =
            veiled.measure(&spoken.beside(&objective), (samples, &seen), &memory, &mut progress)?;
        let unit = objective.unit();
        let narrow = |values: &[f64]| values.iter().map(|value| *value as f32).collect::<Vec<_>>();
        // The tables of one objective, what of its maps is chance, and all their values.
        let made = |measured: &Measured| -> Result<(Vec<Labelled>, f64, Vec<f32>), AnalysisError> {
            let values: Vec<f64> = measured.values.iter().map(|value| f64::from(*value)).collect();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let (mut tables, mut errors, mut all) = (Vec::new(), Vec::new(), Vec::new());
            let (mut noise, mut signal) = (0.0, 0.0);
            for (picture, veils) in veils.iter().enumerate() {
                let (own, error) = self.map(veils, &values, mean);
                let size = map.pictures.get(picture).copied().unwrap_or((0, 0));
                let axes = self.axes(map, picture, size);
                let heard = map.sound(picture).is_some();
                let name = |what: &str| {
                    let what = if heard { what.replace("picture", "recording") } else { what.to_owned() };
                    if pictures > 1 { format!("{what}/{picture}") } else { what }
                };
                tables.push(Labelled::numbers(name("picture"), unit, axes.clone(), narrow(&own))?);
                errors.push(Labelled::numbers(name("picture error"), unit, axes, narrow(&error))?.aside());
                noise += error.iter().map(|error| error * error).sum::<f64>() / error.len() as f64;
                signal += spread(&own).powi(2);
                all.extend(narrow(&own));
            }
            let noise = if noise == 0.0 { 0.0 } else { (noise / signal.max(f64::MIN_POSITIVE)).sqrt() }; // no NaN: finite scores
            tables.extend([
                Labelled::scalar("noise", Unit::Ratio, noise.min(f64::from(f32::MAX)) as f32), // no NaN: finite scores
                Labelled::scalar("objective", unit, measured.unedited),
                Labelled::scalar("objective behind veils", unit, mean as f32),
            ]);
            tables.extend(errors);
            Ok((tables, noise, all))
        };
        let first = measured.first().ok_or(HookError::NoObjective)?;
        let (_, noise, all) = made(first)?;
        let tables = spoken.with_each(measured.iter().map(|own| Ok(made(own)?.0)))?;
        let nothing = caution::rounding(&all, (unit, first.unedited), "values of the map");
        let values: Vec<f64> = all.iter().map(|value| f64::from(*value)).collect();
        let told = spread(&values);
        let unsteady =
            || caution::unsteady(told, Some(noise * told), "the spread of the map over the picture");
        let told = |tower: Part| match tower {
            Part::Audio => instead.1.describe(tower),
            _ => pixels.describe(Site::of(tower, Point::Pixels)),
        };
        let told: Vec<String> = inputs.towers().map(told).collect();
        let entrances: Vec<Site> = inputs.towers().filter_map(Part::entrance).collect();
        let answer = Answer::new(tables, entrances).explaining(&objective);
        let answer = answer.against(format!("behind veils {}", told.join("; ")));
        Ok(answer.seeded(self.settings.seed).cautioned(nothing.or_else(unsteady)))
    }
}

impl Rise {
    /// The rows and columns of the map of a picture or recording.
    fn axes(&self, map: &TokenMap, picture: usize, (wide, high): (u32, u32)) -> Vec<Axis> {
        let spans = |role, cells: usize, length: u32| {
            let edge = |at: usize| (at as f64 * f64::from(length) / cells as f64) as f32;
            let spans = (0..cells).map(|at| [edge(at), edge(at + 1)]).collect();
            label::axis_of(map, role, picture, spans)
        };
        let [rows, cols] = self.settings.map;
        vec![spans(Role::Row, rows, high), spans(Role::Column, cols, wide)]
    }
}

#[cfg(test)]
mod tests {
    use super::Cells;

    #[test]
    fn veils_are_smooth_between_the_middles_of_their_cells() {
        let veil = |shift| Cells { open: vec![true, false], cells: [1, 2], shift: [0.0, shift] };
        // Three cells' width for two: share 0 is at 0 / 3 * 2 - 0.5, before the first middle.
        assert_eq!(veil(0.0).seen([0.0, 0.3]), 1.0);
        // (1 * 2 + 0) * 2 / 3 - 0.5 = 0.8333: a sixth of the open cell
        assert!((veil(0.0).seen([1.0, 0.9]) - 1.0 / 6.0).abs() < 1e-6);
        // Shifted by half a cell: (0.5 * 2 + 0.5) * 2 / 3 - 0.5 = 0.5
        assert!((veil(0.5).seen([0.5, 0.0]) - 0.5).abs() < 1e-6);
    }
}
