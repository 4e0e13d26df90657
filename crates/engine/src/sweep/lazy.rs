//! What a sweep runs: variants that are made when their pass is due.

use std::sync::Arc;

use burn::tensor::Tensor;
use mmlens_core::{AnalysisError, AnyTensor, HookError, Inputs, SubjectError};

use super::Edit;

/// Variants of one case, known by their number, each made when it is needed.
pub(crate) trait Variants: Sync {
    /// How many there are.
    fn len(&self) -> usize;

    /// What one changes. It is asked for several times, to plan and to run, and must give the same each time.
    fn edits(&self, variant: usize) -> Vec<Edit>;

    /// Whether one shows other pixels.
    fn shows(&self, _variant: usize) -> bool {
        false
    }

    /// The pixels that one shows: asked for once, when its pass is due.
    ///
    /// # Errors
    /// Whatever making them reports.
    fn shown(&self, _variant: usize) -> Result<Shown, AnalysisError> {
        Ok(Shown { entries: Vec::new(), pixels: None })
    }
}

/// Pictures that a variant shows in the place of the case's own.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    /// Which entries of the pixel batch; of a tower that is given patches all of them, or none.
    pub(crate) entries: Vec<usize>,
    /// Their pixels, as many as entries along the first axis; of patches those of the whole case. `None` for no entry.
    pub(crate) pixels: Option<AnyTensor>,
}

/// Edits made by a function of the variant's number.
#[derive(Clone)]
pub(super) struct Made {
    len: usize,
    edits: Arc<dyn Fn(usize) -> Vec<Edit> + Send + Sync>,
}

impl Made {
    pub(super) fn new(len: usize, edits: impl Fn(usize) -> Vec<Edit> + Send + Sync + 'static) -> Self {
        Self { len, edits: Arc::new(edits) }
    }
}

impl Variants for Made {
    fn len(&self) -> usize {
        self.len
    }

    fn edits(&self, variant: usize) -> Vec<Edit> {
        (self.edits)(variant)
    }
}

impl std::fmt::Debug for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} variants", self.len)
    }
}

/// A case of one row, once for each of `shown`, with those pictures in the places of its own. Pictures that stay the same are shared
/// by all copies.
///
/// # Errors
/// [`HookError::Values`] if pictures differ in shape.
pub(crate) fn showing(inputs: &Inputs, shown: &[Shown]) -> Result<Inputs, SubjectError> {
    let mut images = inputs.repeat(shown.len()).images.clone();
    let patches = !inputs.grids.is_empty();
    let pictures = inputs.pictures();
    let own = |entry: &usize, shown: &Shown| patches || shown.entries.contains(entry);
    // The case's own pictures come first, if a copy shows one of them.
    let kept = shown.iter().any(|s| inputs.images.iter().flatten().any(|entry| !own(entry, s)));
    let mut stack: Vec<AnyTensor> = inputs.pixels.iter().filter(|_| kept).cloned().collect();
    let mut next = if kept { pictures } else { 0 };
    let mut sources: Vec<usize> = if kept { (0..pictures).collect() } else { Vec::new() };
    for (copy, shown) in shown.iter().enumerate() {
        let entries: Vec<usize> = if patches { (0..pictures).collect() } else { shown.entries.clone() };
        match (&shown.pixels, &inputs.pixels) {
            (Some(pixels), _) => stack.push(pixels.clone()),
            (None, Some(pixels)) if patches => stack.push(pixels.clone()),
            _ => {}
        }
        let rows = inputs.rows();
        for own in images.iter_mut().skip(copy * rows).take(rows) {
            for image in own.iter_mut() {
                if let Some(at) = entries.iter().position(|entry| entry == image) {
                    *image = next + at;
                }
            }
        }
        next += entries.len();
        sources.extend(entries);
    }
    let pixels = stacked(stack)?;
    inputs.repeat(shown.len()).with(|batch| {
        batch.images = images;
        batch.colours = sources.iter().filter_map(|entry| inputs.colours.get(*entry).copied()).collect();
        batch.grids = sources.iter().filter_map(|entry| inputs.grids.get(*entry).copied()).collect();
        batch.pixels = pixels;
    })
}

/// Values one after the other along their first axis.
fn stacked(all: Vec<AnyTensor>) -> Result<Option<AnyTensor>, HookError> {
    let Some(first) = all.first() else { return Ok(None) };
    if all.len() == 1 {
        return Ok(all.into_iter().next());
    }
    let dims = first.dims();
    if let Some(other) = all.iter().find(|x| x.dims().get(1..) != dims.get(1..)) {
        return Err(HookError::Values { dims, given: other.dims().iter().product() });
    }
    match dims.len() {
        2 => joined::<2>(all),
        3 => joined::<3>(all),
        4 => joined::<4>(all),
        _ => joined::<5>(all),
    }
    .map(Some)
}

fn joined<const D: usize>(all: Vec<AnyTensor>) -> Result<AnyTensor, HookError> {
    let all: Result<Vec<_>, HookError> = all.into_iter().map(|x| x.rank_of::<D>("vision.pixels")).collect();
    Ok(Tensor::cat(all?, 0).into())
}
