//! Pictures seen through veils: at every place a share of what is there, and of what stands for nothing the rest.

use mmlens_core::{
    AnalysisError, AnyTensor, Baseline, HookError, Inputs, Memory, Part, Point, Site, SiteSpec, Subject,
};

use super::canvas::Canvas;
use super::{UnitError, one_row};
use crate::sweep::{self, Shown, Variants};
use crate::{Edit, Measured, Metric, Progress};

const PIXELS: Site = Site::of(Part::Vision, Point::Pixels);

/// How much is seen through some veil, 0 to 1, at a place of a picture: which veil, which picture, and how far across and down it lies, as shares
/// of its width and height.
pub type Veil<'a> = &'a (dyn Fn(usize, usize, [f64; 2]) -> f32 + Sync);

/// A case whose pictures can be veiled. A place is defined on the original picture, and veiled in every tile that shows it.
#[derive(Clone)]
pub struct Veiled<'a> {
    subject: &'a dyn Subject,
    inputs: &'a Inputs,
    canvas: Canvas,
    fill: AnyTensor,
    /// Of every entry its picture, and where its columns and rows lie on it.
    places: Vec<(usize, Vec<f64>, Vec<f64>)>,
}

impl<'a> Veiled<'a> {
    /// A case of one row, with what stands in the place of what is not seen.
    ///
    /// # Errors
    /// [`UnitError::Rows`], [`UnitError::Nothing`] without a picture, [`UnitError::Pixels`] for pixels whose place cannot be told; whatever making
    /// the baseline reports.
    pub fn new(subject: &'a dyn Subject, inputs: &'a Inputs, baseline: &Baseline) -> Result<Self, UnitError> {
        one_row(inputs)?;
        let canvas = Canvas::of(inputs)?.ok_or(UnitError::Nothing("picture"))?;
        let fill = baseline.at(SiteSpec::among(subject.sites(), PIXELS)?, &canvas.pixels, inputs)?;
        let (map, found) = (inputs.map(), canvas.pixels.dims());
        let order = inputs.images.first().map_or(&[][..], Vec::as_slice);
        let mut places = vec![None; canvas.sheets().len()];
        for (view, entry) in map.views.iter().zip(order) {
            let (wide, high) =
                map.pictures.get(view.image).copied().ok_or(UnitError::Pixels { found: found.clone() })?;
            let middle = |span: &[f32; 2], of: u32| {
                f64::midpoint(f64::from(span[0]), f64::from(span[1])) / f64::from(of)
            };
            let across = view.cols.iter().map(|span| middle(span, wide)).collect();
            let down = view.rows.iter().map(|span| middle(span, high)).collect();
            let slot = places.get_mut(*entry).ok_or(UnitError::Pixels { found: found.clone() })?;
            *slot = Some((view.image, across, down));
        }
        let places: Option<Vec<_>> = places.into_iter().collect();
        let places = places.ok_or(UnitError::Pixels { found })?;
        Ok(Self { subject, inputs, canvas, fill, places })
    }

    /// Some metrics of the case behind each of `veils` veils, and of the case as it is: one entry for each metric.
    ///
    /// # Errors
    /// As [`Hiding::measure`](super::Hiding::measure).
    ///
    /// # Cost
    /// A pass for each, from the pixels, and one more. One pack of pixels is there at a time, thrice.
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
        let share = |entry: usize, row: usize, col: usize| {
            let (image, across, down) = self.places.get(entry)?;
            Some(veil(which, *image, [*across.get(col)?, *down.get(row)?]))
        };
        self.canvas.blended(&share, &self.fill).map_err(|error| error.of("veiled"))
    }
}

impl std::fmt::Debug for Veiled<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} veiled pictures of `{}`", self.places.len(), self.subject.name())
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
