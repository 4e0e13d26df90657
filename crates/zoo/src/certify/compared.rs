//! One value of the reference beside the subject's own.

use mmlens_core::finding::{MASKED, Mismatch, Tolerance};
use mmlens_core::{
    AnyTensor, AxisName, Generation, HookError, Inputs, Sampling, SiteSpec, Subject, SubjectError, place,
};
use serde::Serialize;

use super::Refusal;
use super::reference::Reference;

/// What is compared, and with that how far it may be off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Token ids: equal.
    Ids,
    /// Normalised pixels.
    Pixels,
    /// Log-mel spectrograms.
    Spectrograms,
    /// Activations, logits, embeddings.
    Activations,
    /// Gradients.
    Gradients,
}

impl Kind {
    /// The largest error allowed, over what it is measured against.
    pub const fn bound(self) -> f64 {
        match self {
            Self::Ids => 0.0,
            Self::Pixels => 1e-6,
            // Logarithms of sums, in double precision on both sides and in single precision in the end.
            Self::Spectrograms => 1e-5,
            Self::Activations => 1e-4,
            Self::Gradients => 1e-3,
        }
    }
}

/// One value of the reference and the subject's own.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    /// The site, `grad.` and the site, or `logits`, `pixel_values`, `input_features`, `input_ids`, `generated`.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// The absolute error that comes closest to what is allowed or goes furthest beyond; for ids, how many differ.
    pub error: f64,
    /// What that error is measured against: the largest absolute value of the reference beside it, as [`SiteSpec::tolerance`]
    /// has it for each site.
    pub largest: f64,
    /// Where that error is.
    pub at: Vec<usize>,
    /// The largest error allowed, over that value: that of its kind, twice as much for scores, more where the reference says that
    /// float32 itself is further off; ids must be equal.
    pub bound: f64,
    /// What makes a comparison impossible: another shape, or a value of the subject that is no finite number.
    pub fault: Option<String>,
    /// Whether it is within the bound.
    pub passed: bool,
}

impl Compared {
    /// The error over what it is measured against.
    pub fn relative(&self) -> f64 {
        if self.error == 0.0 { 0.0 } else { self.error / self.largest }
    }

    pub(super) fn new(name: &str, kind: Kind) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            error: 0.0,
            largest: 0.0,
            at: Vec::new(),
            bound: kind.bound(),
            fault: None,
            passed: false,
        }
    }

    pub(super) fn failed(self, at: Vec<usize>, fault: String) -> Self {
        Self { at, fault: Some(fault), ..self }
    }
}

/// Where a reference says how far float32 itself is off, so many times that may be between it and the subject.
const ROUNDINGS: f64 = 4.0;

/// What a value of the reference belongs to.
pub(super) struct Beside<'a> {
    pub(super) reference: &'a Reference,
    pub(super) inputs: &'a Inputs,
    /// The site, if it is one.
    pub(super) spec: Option<&'a SiteSpec>,
    /// Where this is zero the reference has no value.
    pub(super) seen: Option<&'a [f32]>,
}

/// Holds a value against that of the reference.
///
/// # Errors
/// [`Refusal::Reference`] for a reference that holds no finite number where one belongs.
pub(super) fn compare(
    name: &str,
    kind: Kind,
    ours: &AnyTensor,
    (shape, theirs): &(Vec<usize>, Vec<f32>),
    beside: &Beside<'_>,
) -> Result<Compared, Refusal> {
    let out = Compared::new(name, kind);
    if ours.dims() != *shape {
        let fault = format!("its shape is {:?}, that of the reference {shape:?}", ours.dims());
        return Ok(out.failed(Vec::new(), fault));
    }
    let tolerance = match (kind, beside.spec) {
        (Kind::Pixels | Kind::Spectrograms | Kind::Ids, _) => Tolerance::relative(out.bound),
        (Kind::Activations, Some(spec)) => spec.tolerance(shape, out.bound),
        (Kind::Gradients, Some(spec)) => spec.gradient_tolerance(shape, out.bound),
        (_, None) => Tolerance::relative(out.bound).by_row(shape.last().copied().unwrap_or(1)),
    };
    // Both sides round, each in its own order.
    let rounding = beside.reference.rounding(name)?.map_or(0.0, |share| ROUNDINGS * share);
    let tolerance = Tolerance { relative: tolerance.relative.max(rounding), ..tolerance };
    // What is left out is zero on both sides: it differs by nothing and measures nothing.
    let left_out = |i: usize| {
        beside.seen.is_some_and(|seen| seen.get(i) == Some(&0.0))
            || beside.spec.is_some_and(|spec| padded(spec, &place(i, shape), shape, beside.inputs))
    };
    let (mut ours, mut theirs) = (ours.to_values().map_err(SubjectError::from)?, theirs.clone());
    for (i, (ours, theirs)) in ours.iter_mut().zip(&mut theirs).enumerate() {
        if left_out(i) {
            (*ours, *theirs) = (0.0, 0.0);
        }
    }
    match tolerance.check(name, &ours, &theirs) {
        Ok(gap) | Err(Mismatch::Apart { gap, .. }) => {
            let passed = gap.absolute <= tolerance.relative * gap.scale;
            let (error, largest, at) = (gap.absolute, gap.scale, place(gap.at, shape));
            Ok(Compared { error, largest, at, bound: tolerance.relative, passed, ..out })
        }
        Err(Mismatch::NotFinite { at, found, wanted, .. }) => {
            let at = place(at, shape);
            if !(wanted.is_finite() || tolerance.masks && wanted <= MASKED) {
                let reason = format!("{wanted} at {at:?}, where a finite number belongs");
                return Err(beside.reference.wrong(name, reason).into());
            }
            let fault = format!("{found} at {at:?}, where the reference has {wanted}");
            Ok(out.failed(at, fault))
        }
        Err(other) => Ok(out.failed(Vec::new(), other.to_string())),
    }
}

pub(super) fn ids(inputs: &Inputs, shape: &[usize], theirs: &[i64]) -> Compared {
    let mut found = Compared::new("input_ids", Kind::Ids);
    let own = [inputs.rows(), inputs.positions()];
    if shape != own {
        return found.failed(Vec::new(), format!("its shape is {own:?}, that of the reference {shape:?}"));
    }
    found.passed = true;
    for (row, (ours, theirs)) in inputs.ids.iter().zip(theirs.chunks(inputs.positions().max(1))).enumerate() {
        let real = inputs.pads[row]..inputs.positions() - inputs.tails[row];
        for (p, (a, b)) in ours.iter().zip(theirs).enumerate() {
            if real.contains(&p) && i64::from(*a) != *b {
                if found.at.is_empty() {
                    found.at = vec![row, p];
                }
                found.error += 1.0;
                found.passed = false;
            }
        }
    }
    found
}

pub(super) fn generated(
    subject: &dyn Subject,
    inputs: &Inputs,
    shape: &[usize],
    theirs: &[i64],
) -> Result<Compared, Refusal> {
    let mut found = Compared::new("generated", Kind::Ids);
    let [wanted, length] = *shape else {
        let fault = format!("it has rows of tokens, the reference {shape:?}");
        return Ok(found.failed(Vec::new(), fault));
    };
    let how = Generation { max_new: length, sampling: Sampling::Greedy, stop_at_end: true };
    let rows = match subject.generate(inputs, &how) {
        Ok(rows) => rows,
        Err(SubjectError::Hook(error @ HookError::NotFinite { .. })) => {
            return Ok(found.failed(Vec::new(), error.to_string()));
        }
        Err(error) => return Err(error.into()),
    };
    if wanted != rows.len() {
        let fault = format!("it has {} rows, the reference {shape:?}", rows.len());
        return Ok(found.failed(Vec::new(), fault));
    }
    found.passed = true;
    let pad = i64::from(subject.pad());
    for (row, (ours, theirs)) in rows.iter().zip(theirs.chunks(length.max(1))).enumerate() {
        for (i, theirs) in theirs.iter().enumerate() {
            let ours = ours.tokens.get(i).map_or(pad, |token| i64::from(*token));
            if ours != *theirs {
                if found.at.is_empty() {
                    found.at = vec![row, i];
                }
                found.error += 1.0;
                found.passed = false;
            }
        }
    }
    Ok(found)
}

/// Whether an entry lies at a position that is padding.
fn padded(spec: &SiteSpec, at: &[usize], shape: &[usize], inputs: &Inputs) -> bool {
    let Some(row) = spec.axis(AxisName::Batch).and_then(|axis| at.get(axis)) else { return false };
    let (Some(pad), Some(tail)) = (inputs.pads.get(*row), inputs.tails.get(*row)) else { return false };
    [AxisName::Pos, AxisName::Query, AxisName::Key].into_iter().filter_map(|axis| spec.axis(axis)).any(
        |axis| {
            let own = spec.axes.get(axis).is_some_and(|(_, fixed)| fixed.is_none());
            let (at, len) = (at.get(axis).copied().unwrap_or(0), shape.get(axis).copied().unwrap_or(0));
            // Patches that cross-attention looks at, and answers behind a question, are no positions of the row.
            own && len == inputs.positions() && (at < *pad || at + tail >= len && *tail > 0)
        },
    )
}
