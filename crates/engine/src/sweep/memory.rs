//! How many variants fit into memory at once.

use std::num::NonZeroUsize;
use std::str::FromStr;

use mmlens_core::{AxisName, Inputs, Part, Point, Site, Subject};

/// What a sweep may use.
///
/// Written as a number of bytes or with a unit: `800MB`, `2GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    bytes: u64,
    rows: NonZeroUsize,
}

/// What is computed for every variant apart from the others, beyond the language model itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Demand {
    /// Its own pictures, and what a tower makes of them.
    pub pictures: bool,
    /// Attention scores as numbers: something is read or changed there.
    pub scores: bool,
    /// How many of `attn.q_in`, `k_in`, `v_in` and `result` are read or changed: copies of the stream for every head.
    pub heads: usize,
    /// Logits, as so many numbers; 0 for those of a vocabulary at one position.
    pub logits: usize,
}

/// A size that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no size; expected a number of bytes or one with a unit, such as 800MB or 2GiB")]
pub struct NoSize(String);

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
    pub fn rows(&self, subject: &dyn Subject, inputs: &Inputs, demand: Demand) -> NonZeroUsize {
        let each = estimate(subject, inputs, demand).max(1);
        let fits = usize::try_from(self.bytes / each).unwrap_or(usize::MAX);
        NonZeroUsize::new(fits).map_or(NonZeroUsize::MIN, |fits| fits.min(self.rows))
    }

    /// The same when so many bytes are taken already.
    pub(super) fn less(self, taken: u64) -> Self {
        Self { bytes: self.bytes.saturating_sub(taken), ..self }
    }
}

impl Default for Memory {
    /// A quarter of what is available (1 GiB where the system does not tell), at most 64 variants.
    fn default() -> Self {
        let bytes = available().map_or(1 << 30, |free| free / 4);
        Self { bytes, rows: NonZeroUsize::new(64).unwrap_or(NonZeroUsize::MIN) }
    }
}

impl FromStr for Memory {
    type Err = NoSize;

    fn from_str(text: &str) -> Result<Self, NoSize> {
        let wrong = || NoSize(text.to_owned());
        let (number, unit) =
            text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len()));
        let unit: f64 = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 1.0,
            "kb" => 1e3,
            "mb" => 1e6,
            "gb" => 1e9,
            "tb" => 1e12,
            "kib" => 1024.0,
            "mib" => 1024.0 * 1024.0,
            "gib" => 1024.0 * 1024.0 * 1024.0,
            "tib" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
            _ => return Err(wrong()),
        };
        let number: f64 = number.trim().parse().map_err(|_| wrong())?;
        let bytes = number * unit;
        if bytes.is_finite() && bytes >= 1.0 { Ok(Self::bytes(bytes as u64)) } else { Err(wrong()) }
    }
}

/// Bytes of activations one variant needs at the worst moment of a pass, from the shapes a subject publishes, in f32: the
/// state it starts from, the stream before, within and after a block, and what attention or the MLP hold at a time. It is
/// meant to be more than is used, since it does not follow every kernel: by up to a factor of two and a half, or four where
/// scores or heads are held apart (`tests/memory.rs`).
pub(crate) fn estimate(subject: &dyn Subject, inputs: &Inputs, demand: Demand) -> u64 {
    let length_at = |site: Site, axis: AxisName| {
        let spec = subject.sites().iter().find(|spec| spec.site == site)?;
        spec.axes.get(spec.axis(axis)?)?.1
    };
    let (positions, pictures) = (inputs.positions(), inputs.pictures());
    let (mut most, mut seen) = (0, 0);
    for part in subject.anatomy() {
        let (count, length) = match part.part {
            Part::Vision if !demand.pictures => continue,
            Part::Vision => match inputs.grids.as_slice() {
                [] => {
                    let stream = Site::block(Part::Vision, 0, Point::ResidPre);
                    (pictures, length_at(stream, AxisName::Pos).unwrap_or(positions))
                }
                grids => (1, grids.iter().map(|grid| grid.frames * grid.rows * grid.cols).sum()),
            },
            _ => (1, positions),
        };
        let (heads, kv) = (part.heads, part.kv_heads);
        let stream = length * part.d_model;
        let mut attention = length * part.d_head * (3 * heads + 4 * kv);
        if demand.scores {
            attention += 4 * heads * length * length + length * part.d_head * 4 * heads;
        }
        attention += 3 * demand.heads * heads * stream;
        // no NaN: whole numbers
        most = most.max(count * (6 * stream + attention.max(3 * length * part.d_mlp)));
        if part.part == Part::Vision {
            seen = count * stream;
        }
    }
    // Beside the logits, their exponentials, and a copy on the host.
    let logits = 5 * if demand.logits == 0 { vocab(subject) } else { demand.logits };
    let pixels = match (&inputs.pixels, demand.pictures) {
        (Some(pixels), true) => 3 * pixels.dims().iter().product::<usize>(),
        _ => 0,
    };
    4 * (most.max(logits) + pixels + seen) as u64
}

/// Tokens or classes a subject tells apart.
pub(super) fn vocab(subject: &dyn Subject) -> usize {
    subject.sites().iter().find_map(|s| s.axes.get(s.axis(AxisName::Vocab)?)?.1).unwrap_or(0)
}

/// Bytes that can be taken without swapping, where the system tells (Linux).
fn available() -> Option<u64> {
    let told = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = told.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024).filter(|bytes| *bytes > 0)
}

#[cfg(test)]
mod tests {
    use super::Memory;

    #[test]
    fn sizes_are_read_with_their_units() {
        for (text, bytes) in
            [("123", 123), ("2GiB", 2 << 30), ("1.5 MiB", 3 << 19), ("800MB", 800_000_000), ("4kb", 4000)]
        {
            assert_eq!(text.parse::<Memory>(), Ok(Memory::bytes(bytes)), "{text}");
        }
        for text in ["", "GiB", "2 apples", "-1MB", "0", "1e400", "nan"] {
            let said = text.parse::<Memory>().unwrap_err().to_string();
            assert!(said.starts_with(&format!("`{text}` is no size")), "{said}");
        }
    }
}
