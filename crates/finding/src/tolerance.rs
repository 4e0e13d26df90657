//! How far two arrays lie apart, and how far they may: the one comparison of numbers.
//!
//! Finite first: a NaN or an infinity on either side is no distance but a [`Mismatch`]. Every comparison with NaN is false,
//! so that a search for the largest difference would pass it by, and one infinity among the values wanted would make
//! every relative difference zero.

use crate::finite::highest;

/// A value at or below this is masked, where masks are expected ([`Tolerance::masked`]): some libraries add the lowest
/// number there is to what may not be attended to, others minus infinity.
pub const MASKED: f64 = -1e30;

/// A row counts as if its largest value were no less than this share of the largest of all.
///
/// Small enough that nothing hides beside a value ten thousand times as large, and large enough that a row of zeros,
/// which others compute as 1e-12, is not refused.
pub const LEAST: f64 = 1e-4;

/// The distance of the value that comes closest to what is allowed, or goes furthest beyond it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gap {
    /// The absolute difference.
    pub absolute: f64,
    /// That difference over `scale`; zero where there is none.
    pub relative: f64,
    /// What it is measured against.
    pub scale: f64,
    /// Where it is.
    pub at: usize,
}

/// What a difference is measured against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Against {
    /// The largest absolute value wanted.
    All,
    /// The largest absolute value wanted in the same row of so many values, though no less than [`LEAST`] of that of all:
    /// what is wrong in one row is not hidden by a large value in another.
    Row(usize),
}

/// What may differ: a value passes that is within one of the two.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// Largest absolute difference.
    pub absolute: f64,
    /// Largest difference relative to what it is measured against.
    pub relative: f64,
    /// What the latter is.
    pub against: Against,
    /// Whether values may be [`MASKED`]: in both arrays, or in none.
    pub masks: bool,
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
    /// A value that is no finite number, found or wanted.
    #[error("{what}: value {at} is {found}, wanted {wanted}")]
    NotFinite {
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
    #[error("{what}: value {} is off by {:e}, {:e} of {:e}; allowed {:e}, or {:e} of it",
        .gap.at, .gap.absolute, .gap.relative, .gap.scale, .allowed.absolute, .allowed.relative)]
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
    pub const EXACT: Self = Self::either(0.0, 0.0);

    /// A difference relative to the largest absolute value wanted.
    pub const fn relative(relative: f64) -> Self {
        Self::either(0.0, relative)
    }

    /// An absolute difference.
    pub const fn absolute(absolute: f64) -> Self {
        Self::either(absolute, 0.0)
    }

    /// Either of them: an absolute difference, or one relative to the largest absolute value wanted.
    pub const fn either(absolute: f64, relative: f64) -> Self {
        Self { absolute, relative, against: Against::All, masks: false }
    }

    /// Measured row by row, each of so many values.
    #[must_use]
    pub const fn by_row(self, width: usize) -> Self {
        Self { against: Against::Row(width), ..self }
    }

    /// Where values may be masked. What both mask is equal and no measure of the others.
    #[must_use]
    pub const fn masked(self) -> Self {
        Self { masks: true, ..self }
    }

    /// Whether found values are those wanted.
    ///
    /// # Errors
    /// [`Mismatch`].
    ///
    /// # Cost
    /// Three readings of the arrays, and one number for every row.
    pub fn check<A, B>(self, what: &str, found: &[A], wanted: &[B]) -> Result<Gap, Mismatch>
    where
        A: Copy + Into<f64>,
        B: Copy + Into<f64>,
    {
        self.judge(what, self.gap(what, found, wanted)?)
    }

    /// The same, with what the difference of every value is measured against.
    ///
    /// # Errors
    /// [`Mismatch`].
    pub fn check_by<A, B>(
        self,
        what: &str,
        found: &[A],
        wanted: &[B],
        scale: impl Fn(usize) -> f64,
    ) -> Result<Gap, Mismatch>
    where
        A: Copy + Into<f64>,
        B: Copy + Into<f64>,
    {
        self.same_kind(what, found, wanted)?;
        self.judge(what, self.worst(found, wanted, scale))
    }

    /// How far they lie apart, whatever is allowed.
    ///
    /// # Errors
    /// [`Mismatch::Length`], [`Mismatch::NotFinite`].
    pub fn gap<A, B>(self, what: &str, found: &[A], wanted: &[B]) -> Result<Gap, Mismatch>
    where
        A: Copy + Into<f64>,
        B: Copy + Into<f64>,
    {
        self.same_kind(what, found, wanted)?;
        let sizes = |values: &[B]| {
            let values = values.iter().map(|value| (*value).into());
            highest(values.filter(|value| !self.masks_one(*value)).map(f64::abs))
        };
        let all = sizes(wanted);
        Ok(match self.against {
            Against::All => self.worst(found, wanted, |_| all),
            Against::Row(width) => {
                let width = width.max(1);
                let least = LEAST * all;
                let rows: Vec<f64> = wanted.chunks(width).map(|row| sizes(row).max(least)).collect();
                self.worst(found, wanted, |i| rows.get(i / width).copied().unwrap_or(all))
            }
        })
    }

    fn masks_one(self, value: f64) -> bool {
        self.masks && value <= MASKED
    }

    /// As many values, all finite but what both mask.
    fn same_kind<A, B>(self, what: &str, found: &[A], wanted: &[B]) -> Result<(), Mismatch>
    where
        A: Copy + Into<f64>,
        B: Copy + Into<f64>,
    {
        if found.len() != wanted.len() {
            let (what, found, wanted) = (what.to_owned(), found.len(), wanted.len());
            return Err(Mismatch::Length { what, found, wanted });
        }
        let masked = |value| self.masks_one(value);
        for (at, (found, wanted)) in found.iter().zip(wanted).enumerate() {
            let (found, wanted): (f64, f64) = ((*found).into(), (*wanted).into());
            let (a, b) = (masked(found), masked(wanted));
            if a != b || !(a || found.is_finite() && wanted.is_finite()) {
                return Err(Mismatch::NotFinite { what: what.to_owned(), at, found, wanted });
            }
        }
        Ok(())
    }

    /// The value that comes closest to what is allowed.
    fn worst<A, B>(self, found: &[A], wanted: &[B], scale: impl Fn(usize) -> f64) -> Gap
    where
        A: Copy + Into<f64>,
        B: Copy + Into<f64>,
    {
        let mut worst = Gap { absolute: 0.0, relative: 0.0, scale: scale(0), at: 0 };
        let mut most = (0.0, 0.0);
        for (at, (found, wanted)) in found.iter().zip(wanted).enumerate() {
            let (found, wanted): (f64, f64) = ((*found).into(), (*wanted).into());
            let absolute = (found - wanted).abs();
            if absolute == 0.0 || self.masks_one(wanted) {
                continue;
            }
            let scale = scale(at);
            let reach = (absolute / self.absolute.max(self.relative * scale), absolute);
            // no NaN: one is told before
            if reach > most {
                most = reach;
                worst = Gap { absolute, relative: absolute / scale, scale, at };
            }
        }
        worst
    }

    fn judge(self, what: &str, gap: Gap) -> Result<Gap, Mismatch> {
        let within = gap.absolute <= self.absolute || gap.absolute <= self.relative * gap.scale;
        match within {
            true => Ok(gap),
            false => Err(Mismatch::Apart { what: what.to_owned(), gap, allowed: self }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LEAST, Mismatch, Tolerance};

    #[test]
    fn distance_is_measured_against_the_largest_value() {
        let gap = Tolerance::relative(0.2).check("x", &[1.0_f32, -3.5], &[1.0_f64, -4.0]).unwrap();
        assert_eq!((gap.absolute, gap.relative, gap.scale, gap.at), (0.5, 0.125, 4.0, 1));
        assert_eq!(Tolerance::EXACT.check::<f32, f32>("x", &[], &[]).unwrap().absolute, 0.0);
    }

    #[test]
    fn what_is_too_far_is_named() {
        let error = Tolerance::relative(0.1).check("x", &[1.0_f32, -3.0], &[1.0_f64, -4.0]).unwrap_err();
        assert_eq!(error.to_string(), "x: value 1 is off by 1e0, 2.5e-1 of 4e0; allowed 0e0, or 1e-1 of it");
        let error = Tolerance::EXACT.check("x", &[1.0_f32], &[1.0_f32, 1.0]).unwrap_err();
        assert_eq!(error.to_string(), "x: found 1 values, wanted 2");
        // Of what is off, the furthest, and not the first.
        let error = Tolerance::EXACT.check("x", &[1.0_f32, 2.0, 1.0], &[0.0_f32; 3]).unwrap_err();
        assert!(matches!(error, Mismatch::Apart { gap, .. } if gap.at == 1), "{error}");
    }

    /// Wherever it stands and on whichever side, with whatever tolerance.
    #[test]
    fn what_is_no_number_is_never_close() {
        let whole = [1.0_f32, -2.0, 3.0];
        for odd in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in 0..3 {
                let mut values = whole;
                values[at] = odd;
                for tolerance in
                    [Tolerance::EXACT, Tolerance::absolute(f64::MAX), Tolerance::relative(1.0).by_row(2)]
                {
                    for (found, wanted) in [(values, whole), (whole, values), (values, values)] {
                        let error = tolerance.check("x", &found, &wanted).unwrap_err();
                        let said = format!("x: value {at} is {}, wanted {}", found[at], wanted[at]);
                        assert_eq!(error.to_string(), said);
                    }
                }
            }
        }
    }

    /// One infinity among the values wanted once made every other difference zero, relatively.
    #[test]
    fn an_infinity_does_not_excuse_the_rest() {
        let (found, wanted) = ([f32::INFINITY, 1000.0], [f32::INFINITY, 0.0]);
        let error = Tolerance::relative(1.0).check("x", &found, &wanted).unwrap_err();
        assert_eq!(error.to_string(), "x: value 0 is inf, wanted inf");
    }

    #[test]
    fn masks_are_equal_to_masks_alone_and_measure_nothing() {
        let masked = Tolerance::relative(0.2).masked();
        // Minus infinity here, the lowest number there. Of the others 0.5 of 4 is 1/8.
        let gap = masked.check("x", &[f32::NEG_INFINITY, -3.5], &[f32::MIN, -4.0]).unwrap();
        assert_eq!((gap.absolute, gap.relative, gap.at), (0.5, 0.125, 1));
        let error = masked.check("x", &[f32::NEG_INFINITY, 1.0], &[0.5, 1.0]).unwrap_err();
        assert_eq!(error.to_string(), "x: value 0 is -inf, wanted 0.5");
        let error = masked.check("x", &[0.5, 1.0], &[f32::NEG_INFINITY, 1.0]).unwrap_err();
        assert_eq!(error.to_string(), "x: value 0 is 0.5, wanted -inf");
        for odd in [f32::NAN, f32::INFINITY] {
            assert!(masked.check("x", &[odd], &[odd]).is_err());
        }
        assert!(Tolerance::relative(0.2).check("x", &[f32::NEG_INFINITY], &[f32::NEG_INFINITY]).is_err());
    }

    /// 0.5 beside 1 is half of its row, and a twelve-hundredth of the largest value of the other.
    #[test]
    fn nothing_hides_beside_a_large_value_in_another_row() {
        let (found, wanted) = ([600.0_f32, 0.0, 0.5, 0.0], [600.0_f32, 0.0, 1.0, 0.0]);
        let gap = Tolerance::relative(1e-3).check("x", &found, &wanted).unwrap();
        assert!(gap.relative < 1e-3);
        let error = Tolerance::relative(1e-3).by_row(2).check("x", &found, &wanted).unwrap_err();
        assert_eq!(error.to_string(), "x: value 2 is off by 5e-1, 5e-1 of 1e0; allowed 0e0, or 1e-3 of it");
        // A row of zeros has a measure all the same.
        let (found, wanted) = ([600.0_f32, 1e-7], [600.0_f32, 0.0]);
        let gap = Tolerance::relative(1e-4).by_row(1).check("x", &found, &wanted).unwrap();
        assert_eq!((gap.at, gap.scale), (1, 600.0 * LEAST));
    }

    /// The worst is what goes furthest beyond what is allowed there, not what differs most.
    #[test]
    fn the_worst_is_told_by_its_own_scale() {
        let (found, wanted) = ([101.0_f32, 1.5], [100.0_f32, 1.0]);
        let error =
            Tolerance::relative(0.1).check_by("x", &found, &wanted, |i| f64::from(wanted[i])).unwrap_err();
        assert!(
            matches!(error, Mismatch::Apart { gap, .. } if (gap.at, gap.relative) == (1, 0.5)),
            "{error}"
        );
    }
}
