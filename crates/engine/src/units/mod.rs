//! Units: the parts of one sample that can be absent, what stands there instead, and passes over coalitions of them.
//!
//! [`Units`] are an ordered list of named parts: cells of a grid over a picture, patches, SLIC segments, boxes, labels of a mask, words,
//! tokens, frames, whole pictures, stretches of time, bands of frequencies and whole recordings; or several kinds together ([`Units::and`]). Each kind says what stands in the place of an absent one
//! ([`Absent`]). A [`Coalition`] says which units are there. [`Hiding`] makes inputs and edits of coalitions and measures them: packed,
//! within a budget of memory, each variant made when its pass is due; coalitions that lack words alone go on behind the tower, and behind
//! the first word they lack where the model can.
//!
//! # In which space a picture is hidden
//! Units lie on the *original* picture. A pixel given to the tower belongs to a unit if its middle, seen on the original
//! ([`View`](mmlens_core::View)), lies in it. Hiding takes the pixels of absent units from other pixels of the same shape: a baseline, or
//! those that the processor makes of another whole picture (blurred, noise, another sample's), computed once for all coalitions.
//!
//! - It is the same for every family: tiles and the thumbnail lose the same part, and so do patches that come in a sequence. A cell of
//!   whole patches changes those patches and no other, which is not so where a hidden original is processed: filters reach over edges.
//! - Nothing is encoded again for a coalition, so that a thousand of them cost a thousand passes. ROAD alone depends on what else is
//!   absent: it is filled in the original and processed for each coalition.
//! - Next to the edge of a hidden part, pixels that are left hold a little of what was hidden, and the other way round, where the
//!   processor's filter is wider than a pixel.
//! - [`Units::windows`] are given in processed pixels instead, for one entry of a tower's batch.
//!
//! # In which space a recording is hidden
//! A recording is looked at as a picture, its log-mel spectrogram: a column is a frame of the sound, a row a filter, the lowest at the bottom.
//! Its parts are hidden there, as parts of a picture are in its pixels: what lies beside stays as it was heard, although frames and filters
//! overlap their neighbours, and nothing is encoded again. Padding behind the sound is no part of it and stays.
//!
//! # Example: occlusion on any family
//! ```no_run
//! # use mmlens_core::{AnalysisError, Baseline, Case, Subject, finding::Labelled};
//! # use mmlens_core::Memory;
//! # use mmlens_engine::{Coalition, Hiding, Progress, Units};
//! # fn occlusion(subject: &dyn Subject, case: &Case, progress: &mut Progress<'_>) -> Result<Labelled, AnalysisError> {
//! let (inputs, objective) = case.open(subject)?;
//! let cells = Units::cells(&inputs, 0, [8, 8]).map_err(|e| e.of("occlusion"))?.instead(Baseline::Mean);
//! let hiding = Hiding::new(subject, &case.sample, &inputs, cells).map_err(|e| e.of("occlusion"))?;
//! // The whole, then each unit hidden alone.
//! let n = hiding.units().len();
//! let all = Coalition::all(n);
//! let some: Vec<Coalition> = [all.clone()].into_iter().chain((0..n).map(|i| all.clone().without(i))).collect();
//! let found = hiding.measure(&[(&objective).into()], &some, &Memory::default(), progress)?.remove(0).values;
//! let drops: Vec<f32> = found[1..].iter().map(|hidden| found[0] - hidden).collect();
//! let axes = hiding.units().grid_axes().map_or_else(|| vec![hiding.units().axis()], Vec::from);
//! Ok(Labelled::numbers("picture", objective.unit(), axes, drops)?)
//! # }
//! ```
//!
//! # Example: leave one word out
//! ```no_run
//! # use mmlens_core::{AnalysisError, Case, Subject, finding::Axis};
//! # use mmlens_core::Memory;
//! # use mmlens_engine::{Absent, Coalition, Hiding, Positions, Progress, Units};
//! # fn one_out(subject: &dyn Subject, case: &Case, progress: &mut Progress<'_>) -> Result<(Axis, Vec<f32>), AnalysisError> {
//! let (inputs, objective) = case.open(subject)?;
//! let words = Units::words(&inputs, &Positions::Question).map_err(|e| e.of("leave-one-out"))?.instead(Absent::Unattended);
//! let hiding = Hiding::new(subject, &case.sample, &inputs, words).map_err(|e| e.of("leave-one-out"))?;
//! let n = hiding.units().len();
//! let some: Vec<Coalition> = (0..n).map(|i| Coalition::all(n).without(i)).collect();
//! Ok((hiding.units().axis(), hiding.measure(&[(&objective).into()], &some, &Memory::default(), progress)?.remove(0).values))
//! # }
//! ```
//!
//! # Example: Kernel SHAP over cells and words together
//! ```no_run
//! # use mmlens_core::{AnalysisError, Baseline, Case, Seed, Subject};
//! # use mmlens_core::Memory;
//! # use mmlens_engine::{Absent, Hiding, Positions, Progress, Units, shapley};
//! # fn shap(subject: &dyn Subject, case: &Case, progress: &mut Progress<'_>) -> Result<shapley::Shares, AnalysisError> {
//! let (inputs, objective) = case.open(subject)?;
//! let cells = Units::cells(&inputs, 0, [4, 4]).map_err(|e| e.of("kernel-shap"))?.instead(Absent::Blur { sigma: 8.0 });
//! let words = Units::words(&inputs, &Positions::Question).map_err(|e| e.of("kernel-shap"))?.instead(Baseline::Mean);
//! let hiding = Hiding::new(subject, &case.sample, &inputs, cells.and(words)).map_err(|e| e.of("kernel-shap"))?;
//! let memory = Memory::default();
//! shapley::kernel(hiding.units().len(), 512, Seed(0), |some| Ok(hiding.measure(&[(&objective).into()], some, &memory, progress)?.remove(0).values))
//! # }
//! ```

mod absent;
mod canvas;
mod coalition;
mod error;
mod fill;
mod gauss;
mod hiding;
mod parts;
mod road;
mod segments;
mod slic;
mod sounds;
mod veil;
mod words;

use mmlens_core::finding::{Axis, Labels, Modality, Role, TokenLabel};
use mmlens_core::{Inputs, TokenMap};

pub use absent::Absent;
pub use coalition::Coalition;
pub use error::UnitError;
pub use hiding::Hiding;
pub use segments::Segments;
pub use slic::Slic;
pub use sounds::HeardBox;
pub use veil::{Veil, Veiled};

use canvas::Piece;

/// Named parts of one sample that can be absent, in order.
#[derive(Debug, Clone)]
pub struct Units {
    units: Vec<Unit>,
    absents: Vec<Absent>,
    /// Rows and columns, where the units are the cells of one grid, row by row.
    grid: Option<[Axis; 2]>,
}

/// A part of a sample that can be absent.
#[derive(Debug, Clone, PartialEq)]
pub struct Unit {
    label: TokenLabel,
    held: Held,
    places: Vec<Place>,
    /// Which of the [`Units`]'s ways to be absent.
    absent: usize,
}

/// Where the model holds it.
#[derive(Debug, Clone, PartialEq)]
enum Held {
    Pixels(Vec<Piece>),
    Positions(Vec<usize>),
}

/// Where it lies on an original picture, or on the spectrogram of a recording.
#[derive(Debug, Clone, PartialEq)]
enum Place {
    /// `x0, y0, x1, y1` in pixels.
    Box { image: usize, bbox: [f32; 4] },
    /// A label of some segments.
    Label { image: usize, segments: std::sync::Arc<Segments>, label: u32 },
    /// Some frames of a clip.
    Frames,
}

impl Unit {
    fn new(label: TokenLabel, held: Held, places: Vec<Place>) -> Self {
        Self { label, held, places, absent: 0 }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.label.text
    }

    /// Its name, what kind of input it is of, and where it lies: a box on the original picture or bytes of the text.
    pub fn label(&self) -> &TokenLabel {
        &self.label
    }

    /// The positions of the sequence that it is, if it is words; else none.
    pub fn positions(&self) -> &[usize] {
        match &self.held {
            Held::Positions(positions) => positions,
            Held::Pixels(_) => &[],
        }
    }
}

impl Units {
    fn of(units: Vec<Unit>) -> Self {
        Self { units, absents: vec![Absent::default()], grid: None }
    }

    /// With this in the place of every unit that is absent, where it is zero by default.
    #[must_use]
    pub fn instead(mut self, absent: impl Into<Absent>) -> Self {
        self.units.iter_mut().for_each(|unit| unit.absent = 0);
        Self { absents: vec![absent.into()], ..self }
    }

    /// These, then others of the same sample: cells and words together, say.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        let before = self.absents.len();
        let moved = |unit: Unit| Unit { absent: before + unit.absent, ..unit };
        self.grid = if others.is_empty() { self.grid } else { None };
        self.units.extend(others.units.into_iter().map(moved));
        self.absents.extend(others.absents);
        self
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.units.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    /// Each of them, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Unit> {
        self.units.iter()
    }

    /// What stands in their places, each kind once, in order.
    pub fn absents(&self) -> &[Absent] {
        &self.absents
    }

    /// An axis with a label for each: patches if all are parts of pictures, else tokens, those of pictures and recordings with their boxes.
    pub fn axis(&self) -> Axis {
        let labels = || self.units.iter().map(|unit| unit.label.clone());
        let heard = labels().any(|label| label.modality == Modality::Audio);
        match labels().map(|label| label.patch).collect::<Option<Vec<_>>>() {
            Some(patches) if !patches.is_empty() && heard => {
                Axis::new(Role::Patch, Labels::Tokens(labels().collect()))
            }
            Some(patches) if !patches.is_empty() => Axis::patches(patches),
            _ => Axis::tokens(labels().collect()),
        }
    }

    /// Rows and columns, with their extents on the original picture, if these are the cells of one grid, row by row.
    pub fn grid_axes(&self) -> Option<[Axis; 2]> {
        self.grid.clone()
    }

    /// Which of them belong to a modality: an answer by modality is a sum over these.
    pub fn of_modality(&self, modality: Modality) -> Vec<usize> {
        let own = |(_, unit): &(usize, &Unit)| unit.label.modality == modality;
        self.units.iter().enumerate().filter(own).map(|(i, _)| i).collect()
    }
}

impl<'a> IntoIterator for &'a Units {
    type Item = &'a Unit;
    type IntoIter = std::slice::Iter<'a, Unit>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// The token map of one row without padding.
fn one_row(inputs: &Inputs) -> Result<&TokenMap, UnitError> {
    let (rows, positions, labelled) = (inputs.rows(), inputs.positions(), inputs.map().len());
    if rows != 1 || inputs.pads.iter().any(|pad| *pad > 0) || positions != labelled {
        return Err(UnitError::Rows { rows, positions, labelled });
    }
    Ok(inputs.map())
}

/// Spans between edges.
fn spans(edges: &[f64]) -> Vec<[f32; 2]> {
    let pairs = edges.iter().zip(edges.iter().skip(1));
    pairs.map(|(a, b)| [*a as f32, *b as f32]).collect()
}
