//! Pictures and recordings behind veils: at every place a share of what is there, and of what stands for nothing the rest.

use mmlens_core::{AnalysisError, AnyTensor, HookError, Inputs, Memory, Part, Sample, Subject};

use super::canvas::Canvas;
use super::fill::Filling;
use super::{Absent, UnitError, one_row};
use crate::sweep::{self, Shown, Variants};
use crate::{Edit, Measured, Metric, Progress};

/// How much is there behind some veil, 0 to 1, at a place of a picture or recording: which veil, which picture, and how far across and down it
/// lies, as shares of its width and height.
pub type Veil<'a> = &'a (dyn Fn(usize, usize, [f64; 2]) -> f32 + Sync);

/// A case whose pictures and recordings can be veiled. A place is defined on the original picture, and veiled in every tile that shows it.
#[derive(Clone)]
pub struct Veiled<'a> {
    subject: &'a dyn Subject,
    inputs: &'a Inputs,
    towers: Vec<Tower>,
}

/// What one tower is given.
#[derive(Clone)]
struct Tower {
    canvas: Canvas,
    fill: AnyTensor,
    /// Of every entry its picture, and where its columns and rows lie on it. Padding behind a recording lies nowhere, and nothing veils it.
    places: Vec<(usize, Vec<Option<f64>>, Vec<f64>)>,
}

impl<'a> Veiled<'a> {
    /// A case of one row, with what stands in the place of what is not seen, and of what is not heard.
    ///
    /// # Errors
    /// [`UnitError::Rows`], [`UnitError::Nothing`] without a picture or recording, [`UnitError::Pixels`] for pixels whose place cannot be told; whatever making
    /// the baseline reports.
    pub fn new(
        subject: &'a dyn Subject,
        sample: &Sample,
        inputs: &'a Inputs,
        (seen, heard): (&Absent, &Absent),
    ) -> Result<Self, UnitError> {
        one_row(inputs)?;
        let (map, mut towers) = (inputs.map(), Vec::new());
        let canvases = Canvas::all(inputs)?;
        for canvas in &canvases {
            let found = canvas.values.dims();
            let none = || UnitError::Pixels { found: found.clone() };
            let absent = if canvas.tower == Part::Audio { heard } else { seen };
            absent.check()?;
            let filling = Filling { subject, sample, inputs, canvases: &canvases };
            let given = filling.given(absent, &[canvas.tower])?.into_iter().next();
            let (_, fill) = given.ok_or_else(none)?;
            let order = inputs.entries(canvas.tower).map_or(&[][..], |own| own.of_row(0));
            let mut places = vec![None; canvas.sheets().len()];
            for (view, entry) in map.views_of(canvas.tower).iter().zip(order) {
                let (wide, high) = map.pictures.get(view.image).copied().ok_or_else(none)?;
                let middle = |span: &[f32; 2], of: u32| {
                    f64::midpoint(f64::from(span[0]), f64::from(span[1])) / f64::from(of)
                };
                let padding = |span: &[f32; 2]| canvas.tower == Part::Audio && span[0] >= span[1];
                let across = |span| (!padding(span)).then(|| middle(span, wide));
                let across = view.cols.iter().map(across).collect();
                let down = view.rows.iter().map(|span| middle(span, high)).collect();
                let slot = places.get_mut(*entry).ok_or_else(none)?;
                *slot = Some((view.image, across, down));
            }
            let places: Option<Vec<_>> = places.into_iter().collect();
            towers.push(Tower { places: places.ok_or_else(none)?, canvas: canvas.clone(), fill });
        }
        match towers.is_empty() {
            true => Err(UnitError::Nothing("picture")),
            false => Ok(Self { subject, inputs, towers }),
        }
    }

    /// Some metrics of the case behind each of `veils` veils, and of the case as it is: one entry for each metric.
    ///
    /// # Errors
    /// As [`Hiding::measure`](super::Hiding::measure).
    ///
    /// # Cost
    /// A pass for each, from what towers are given, and one more. One pack of that is there at a time, thrice.
    pub fn measure(
        &self,
        metrics: &[Metric],
        (veils, veil): (usize, Veil<'_>),
        memory: &Memory,
        progress: &mut Progress<'_>,
    ) -> Result<Vec<Measured>, AnalysisError> {
        let variants = Veils { veiled: self, len: veils, veil };
        sweep::run(&variants, metrics, self.subject, self.inputs, memory, progress)
    }

    fn shown(&self, which: usize, veil: Veil<'_>) -> Result<Shown, AnalysisError> {
        let of = |tower: &Tower| {
            let share = |entry: usize, row: usize, col: usize| {
                let (image, across, down) = tower.places.get(entry)?;
                match *across.get(col)? {
                    Some(across) => Some(veil(which, *image, [across, *down.get(row)?])),
                    None => Some(1.0),
                }
            };
            tower.canvas.blended(&share, &tower.fill).map_err(|error| error.of("veiled"))
        };
        Ok(Shown(self.towers.iter().map(of).collect::<Result<_, _>>()?))
    }
}

impl std::fmt::Debug for Veiled<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let entries: usize = self.towers.iter().map(|tower| tower.places.len()).sum();
        write!(f, "{entries} veiled pictures and recordings of `{}`", self.subject.name())
    }
}

/// Veils as the variants of a sweep.
struct Veils<'a> {
    veiled: &'a Veiled<'a>,
    len: usize,
    veil: Veil<'a>,
}

impl Variants for Veils<'_> {
    fn len(&self) -> usize {
        self.len
    }

    fn edits(&self, _: usize) -> Vec<Edit> {
        Vec::new()
    }

    fn shows(&self, _: usize) -> bool {
        true
    }

    fn shown(&self, variant: usize) -> Result<Shown, AnalysisError> {
        match variant < self.len {
            true => self.veiled.shown(variant, self.veil),
            false => Err(HookError::Values { dims: vec![self.len], given: variant }.into()),
        }
    }
}
