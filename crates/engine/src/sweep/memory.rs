//! How many variants fit into memory at once.

use std::num::NonZeroUsize;

use mmlens_core::{Asked, AxisName, Inputs, Part, Subject};

/// What a sweep may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    bytes: u64,
    rows: NonZeroUsize,
}

impl Memory {
    /// So many bytes for activations, beside the model and what was there before.
    pub fn bytes(bytes: u64) -> Self {
        Self { bytes, ..Self::default() }
    }

    /// At most so many variants in one pass, however much memory there is.
    #[must_use]
    pub fn at_most(mut self, rows: NonZeroUsize) -> Self {
        self.rows = rows;
        self
    }

    /// How many variants share a pass: at least one, even where the estimate says that it will not fit.
    pub fn rows(&self, subject: &dyn Subject, inputs: &Inputs, own_pictures: bool) -> NonZeroUsize {
        let each = estimate(subject, inputs, own_pictures).max(1);
        let fits = usize::try_from(self.bytes / each).unwrap_or(usize::MAX);
        NonZeroUsize::new(fits).map_or(NonZeroUsize::MIN, |fits| fits.min(self.rows))
    }
}

impl Default for Memory {
    /// A quarter of what is available (1 GiB where the system does not tell), at most 64 variants.
    fn default() -> Self {
        let bytes = available().map_or(1 << 30, |free| free / 4);
        Self { bytes, rows: NonZeroUsize::new(64).unwrap_or(NonZeroUsize::MIN) }
    }
}

/// Bytes of activations one variant needs at the worst moment of a pass: what one block holds at a time, the stream before
/// and after it, and the logits. From the shapes a subject publishes, in f32.
pub(crate) fn estimate(subject: &dyn Subject, inputs: &Inputs, own_pictures: bool) -> u64 {
    let spec = |axis: AxisName| subject.sites().iter().find_map(|s| s.axes.get(s.axis(axis)?)?.1);
    let mut most = 0;
    let positions = inputs.positions();
    for part in subject.anatomy() {
        let length = match part.part {
            Part::Vision if !own_pictures => continue,
            Part::Vision => patches(inputs),
            _ => positions,
        };
        let stream = length * part.d_model;
        let heads = length * part.d_head * (2 * part.heads + 2 * part.kv_heads);
        let attention = 4 * heads.max(stream) + 3 * part.heads * length * length;
        let mlp = 4 * length * part.d_mlp;
        most = most.max(4 * stream + attention.max(mlp));
    }
    let asked = if inputs.asked == Asked::All { positions } else { 1 };
    let logits = 3 * asked * spec(AxisName::Vocab).unwrap_or(0);
    let pixels = match (&inputs.pixels, own_pictures) {
        (Some(pixels), true) => 3 * pixels.dims().iter().product::<usize>(),
        _ => 0,
    };
    4 * (most.max(logits) + pixels) as u64
}

/// Positions a tower has for all pictures of a case; a pixel of a patch each at worst.
fn patches(inputs: &Inputs) -> usize {
    match inputs.grids.as_slice() {
        [] => inputs.map().tokens.iter().filter(|token| token.patch.is_some()).count() + inputs.pictures(),
        grids => grids.iter().map(|grid| grid.frames * grid.rows * grid.cols).sum(),
    }
}

/// Bytes that can be taken without swapping, where the system tells (Linux).
fn available() -> Option<u64> {
    let told = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = told.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024).filter(|bytes| *bytes > 0)
}
