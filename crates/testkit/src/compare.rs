//! How far two arrays lie apart, and how far they may.

/// The largest distance between found and wanted values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gap {
    /// Largest absolute difference.
    pub absolute: f64,
    /// That difference over the largest absolute value wanted; zero where both are zero.
    pub relative: f64,
    /// Where it is.
    pub at: usize,
}

/// What may differ.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// Largest absolute difference that passes on its own.
    pub absolute: f64,
    /// Largest difference relative to the largest absolute value wanted.
    pub relative: f64,
}

/// Why two arrays are not the same.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Mismatch {
    /// Another number of values.
    #[error("{what}: found {found} values, wanted {wanted}")]
    Length {
        /// What was compared.
        what: String,
        /// How many were found.
        found: usize,
        /// How many were wanted.
        wanted: usize,
    },
    /// A value that is no number.
    #[error("{what}: value {at} is {found}, wanted {wanted}")]
    NotANumber {
        /// What was compared.
        what: String,
        /// Where.
        at: usize,
        /// What was found.
        found: f64,
        /// What was wanted.
        wanted: f64,
    },
    /// Values too far apart.
    #[error("{what}: values differ by up to {} (relative {}) at {}, allowed {} or relative {}",
        .gap.absolute, .gap.relative, .gap.at, .allowed.absolute, .allowed.relative)]
    Apart {
        /// What was compared.
        what: String,
        /// How far.
        gap: Gap,
        /// How far they may be.
        allowed: Tolerance,
    },
}

impl Tolerance {
    /// No difference at all.
    pub const EXACT: Self = Self { absolute: 0.0, relative: 0.0 };

    /// A difference relative to the largest absolute value wanted.
    pub const fn relative(relative: f64) -> Self {
        Self { absolute: 0.0, relative }
    }

    /// An absolute difference.
    pub const fn absolute(absolute: f64) -> Self {
        Self { absolute, relative: 0.0 }
    }

    /// Compares; a NaN equals nothing.
    ///
    /// # Errors
    /// [`Mismatch`].
    pub fn check<A, B>(self, what: &str, found: &[A], wanted: &[B]) -> Result<Gap, Mismatch>
    where
        A: Copy + Into<f64>,
        B: Copy + Into<f64>,
    {
        let what = || what.to_owned();
        if found.len() != wanted.len() {
            return Err(Mismatch::Length { what: what(), found: found.len(), wanted: wanted.len() });
        }
        let (mut gap, mut scale) = (Gap { absolute: 0.0, relative: 0.0, at: 0 }, 0.0_f64);
        for (at, (found, wanted)) in found.iter().zip(wanted).enumerate() {
            let (found, wanted): (f64, f64) = ((*found).into(), (*wanted).into());
            if found.is_nan() || wanted.is_nan() {
                return Err(Mismatch::NotANumber { what: what(), at, found, wanted });
            }
            scale = scale.max(wanted.abs());
            let apart = if found == wanted { 0.0 } else { (found - wanted).abs() };
            if apart > gap.absolute {
                gap = Gap { absolute: apart, relative: 0.0, at };
            }
        }
        if gap.absolute > 0.0 {
            gap.relative = gap.absolute / scale;
        }
        if gap.absolute <= self.absolute || gap.relative <= self.relative {
            return Ok(gap);
        }
        Err(Mismatch::Apart { what: what(), gap, allowed: self })
    }
}

#[cfg(test)]
mod tests {
    use super::{Mismatch, Tolerance};

    #[test]
    fn distance_is_measured_against_the_largest_value() {
        let gap = Tolerance::relative(0.2).check("x", &[1.0_f32, -3.5], &[1.0_f64, -4.0]).unwrap();
        assert_eq!((gap.absolute, gap.relative, gap.at), (0.5, 0.125, 1));
    }

    #[test]
    fn what_is_too_far_is_named() {
        let error = Tolerance::relative(0.1).check("x", &[1.0_f32, -3.0], &[1.0_f64, -4.0]).unwrap_err();
        let text = "x: values differ by up to 1 (relative 0.25) at 1, allowed 0 or relative 0.1";
        assert_eq!(error.to_string(), text);
        assert!(matches!(
            Tolerance::absolute(9.0).check("x", &[f32::NAN], &[f32::NAN]),
            Err(Mismatch::NotANumber { .. })
        ));
        assert!(matches!(
            Tolerance::EXACT.check("x", &[1.0_f32], &[1.0_f32, 1.0]),
            Err(Mismatch::Length { .. })
        ));
        assert!(Tolerance::EXACT.check("x", &[f32::INFINITY], &[f32::INFINITY]).is_ok());
    }
}
