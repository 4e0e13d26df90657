//! How much memory a method may take, and what is cut so that it keeps to it.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{AnalysisError, HookError, Need, memory};

/// What the passes of a method may take at once, beside the model, its inputs and what was there before.
///
/// How many rows share a pass, how many layers or positions are held, follow from it and from shapes alone, never from what is
/// free at the moment: the same budget gives the same bits.
///
/// Written as a number with a unit: `800MB`, `2GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    bytes: u64,
    rows: NonZeroUsize,
    /// Of the bytes, those that are taken already.
    #[serde(skip)]
    taken: u64,
}

/// A size that is none, or cannot be meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoSize {
    /// No number with a unit.
    #[error("`{0}` is no size; expected a number with a unit, such as 800MB or 2GiB")]
    Unread(String),
    /// Too little for anything.
    #[error("`{found}` is {}: did you mean {meant}?", memory::size(*bytes))]
    Little {
        /// What was given.
        found: String,
        /// Bytes that it says.
        bytes: u64,
        /// What may have been meant.
        meant: String,
    },
    /// More than any machine has.
    #[error("`{found}` is more than any machine has: did you mean {meant}?")]
    Much {
        /// What was given.
        found: String,
        /// What may have been meant.
        meant: String,
    },
}

/// No more than this is taken for the memory of a machine.
const MOST: f64 = 64e12;

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

    /// The same when so many bytes are taken already.
    #[must_use]
    pub fn less(self, taken: u64) -> Self {
        Self { taken: self.taken.saturating_add(taken), ..self }
    }

    /// What is not taken of the budget.
    pub fn left(&self) -> u64 {
        self.bytes.saturating_sub(self.taken)
    }

    /// The budget, in bytes.
    pub fn budget(&self) -> u64 {
        self.bytes
    }

    /// The most rows of one pass.
    pub fn most_rows(&self) -> NonZeroUsize {
        self.rows
    }

    /// The largest count up to the most rows whose need fits beside what is `kept` already. `need` grows with the count.
    ///
    /// # Errors
    /// [`AnalysisError::Memory`] where not even one fits; whatever `need` reports.
    pub fn rows(
        &self,
        method: &'static str,
        kept: u64,
        need: impl FnMut(usize) -> Result<Need, HookError>,
    ) -> Result<NonZeroUsize, AnalysisError> {
        self.most(method, kept, self.rows, need)
    }

    /// The largest count up to `most` whose need fits beside what is `kept` already. `need` grows with the count.
    ///
    /// # Errors
    /// [`AnalysisError::Memory`] where not even one fits; whatever `need` reports.
    pub fn most(
        &self,
        method: &'static str,
        kept: u64,
        most: NonZeroUsize,
        mut need: impl FnMut(usize) -> Result<Need, HookError>,
    ) -> Result<NonZeroUsize, AnalysisError> {
        let one = need(1)?;
        self.hold(method, kept, one)?;
        let (mut fits, mut beyond) = (1, most.get() + 1);
        while beyond - fits > 1 {
            let middle = fits + (beyond - fits) / 2;
            match kept.saturating_add(need(middle)?.bytes) <= self.left() {
                true => fits = middle,
                false => beyond = middle,
            }
        }
        Ok(NonZeroUsize::new(fits).unwrap_or(NonZeroUsize::MIN))
    }

    /// That a need fits beside what is `kept` already.
    ///
    /// # Errors
    /// [`AnalysisError::Memory`].
    pub fn hold(&self, method: &'static str, kept: u64, need: Need) -> Result<(), AnalysisError> {
        let all = self.taken.saturating_add(kept).saturating_add(need.bytes);
        match all <= self.bytes {
            true => Ok(()),
            false => Err(AnalysisError::Memory { method, need: all, at: need.at, budget: self.bytes }),
        }
    }
}

impl Default for Memory {
    /// 4 GiB, at most 64 variants.
    fn default() -> Self {
        Self { bytes: 4 << 30, rows: NonZeroUsize::new(64).unwrap_or(NonZeroUsize::MIN), taken: 0 }
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&memory::size(self.bytes))
    }
}

/// Units and what they are, the largest of each kind first.
const UNITS: [(&str, f64); 9] = [
    ("TB", 1e12),
    ("GB", 1e9),
    ("MB", 1e6),
    ("kB", 1e3),
    ("TiB", (1_u64 << 40) as f64),
    ("GiB", (1_u64 << 30) as f64),
    ("MiB", (1_u64 << 20) as f64),
    ("KiB", (1_u64 << 10) as f64),
    ("B", 1.0),
];

impl FromStr for Memory {
    type Err = NoSize;

    fn from_str(text: &str) -> Result<Self, NoSize> {
        let unread = || NoSize::Unread(text.to_owned());
        let (number, unit) =
            text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len()));
        let number = number.trim();
        let value: f64 = number.parse().map_err(|_| unread())?;
        if !value.is_finite() || value <= 0.0 {
            return Err(unread());
        }
        let bare = unit.is_empty();
        let known = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit));
        let size = if bare { 1.0 } else { known.ok_or_else(unread)?.1 };
        let bytes = value * size;
        // The largest unit that makes a size of the number.
        let meant = || {
            let fitting = UNITS[1..4].iter().find(|(_, size)| value * size <= MOST);
            format!("{number}{}", fitting.map_or("GB", |(name, _)| name))
        };
        let found = || text.to_owned();
        match bytes {
            // A number of bytes is written out by programs only, and is large.
            _ if bytes < if bare { 1e6 } else { 1e3 } => {
                Err(NoSize::Little { found: found(), bytes: bytes as u64, meant: meant() })
            }
            _ if bytes > MOST => Err(NoSize::Much { found: found(), meant: meant() }),
            _ => Ok(Self::bytes(bytes as u64)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::Memory;
    use crate::{Need, Part, Point, Site};

    #[test]
    fn sizes_are_read_with_their_units() {
        for (text, bytes) in [
            ("12345678", 12_345_678),
            ("2GiB", 2 << 30),
            ("1.5 MiB", 3 << 19),
            ("800MB", 800_000_000),
            ("4kb", 4000),
            ("64TB", 64_000_000_000_000),
        ] {
            assert_eq!(text.parse::<Memory>(), Ok(Memory::bytes(bytes)), "{text}");
        }
        for text in ["", "GiB", "2 apples", "-1MB", "0", "1e400", "nan", "1 000MB"] {
            let said = text.parse::<Memory>().unwrap_err().to_string();
            let wanted = "is no size; expected a number with a unit, such as 800MB or 2GiB";
            assert_eq!(said, format!("`{text}` {wanted}"));
        }
    }

    #[test]
    fn a_size_that_cannot_be_meant_is_told_what_may_be() {
        for (text, wanted) in [
            ("3", "`3` is 3 bytes: did you mean 3GB?"),
            ("800", "`800` is 800 bytes: did you mean 800GB?"),
            ("65536", "`65536` is 65.6 kB: did you mean 65536MB?"),
            ("0.5b", "`0.5b` is 0 bytes: did you mean 0.5GB?"),
            ("99999TB", "`99999TB` is more than any machine has: did you mean 99999MB?"),
            ("100TB", "`100TB` is more than any machine has: did you mean 100GB?"),
        ] {
            assert_eq!(text.parse::<Memory>().unwrap_err().to_string(), wanted);
        }
    }

    #[test]
    fn as_many_rows_as_fit_and_no_more() {
        let at = Site::of(Part::Text, Point::Input);
        // 100 bytes, and 30 for each row.
        let need = |rows: usize| Ok(Need { bytes: 100 + 30 * rows as u64, at });
        let rows = |bytes, kept, most| {
            let memory = Memory::bytes(bytes).at_most(NonZeroUsize::new(most).unwrap());
            memory.rows("test", kept, need).map(NonZeroUsize::get)
        };
        assert_eq!(rows(1000, 0, 64).unwrap(), 30);
        assert_eq!(rows(1000, 300, 64).unwrap(), 20);
        assert_eq!(rows(1000, 0, 8).unwrap(), 8);
        assert_eq!(rows(130, 0, 64).unwrap(), 1);
        let said = rows(1_000_000, 1_500_000, 64).unwrap_err().to_string();
        assert_eq!(
            said,
            "test takes up to 1.51 MB at once, most of it at `text.input`, and its budget is 1.00 MB: give it a \
             larger budget, or fewer positions, pictures or layers"
        );
    }
}
