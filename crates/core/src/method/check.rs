//! What methods of all crates refuse alike.

use std::borrow::Cow;
use std::num::NonZeroUsize;

use crate::{AnalysisError, Card};

/// The most that a setting may count, of draws, samples, ranks and the like: more than that is a slip, and would fill the memory before
/// anything was found.
pub const MOST_COUNTED: usize = 1 << 20;

/// Settings that cannot be.
#[must_use]
pub fn setting(
    card: &Card,
    setting: &'static str,
    found: impl ToString,
    expected: &'static str,
) -> AnalysisError {
    AnalysisError::Setting { method: card.id, setting, found: found.to_string(), expected }
}

/// An input the method cannot work on.
#[must_use]
pub fn input(card: &Card, needs: impl Into<Cow<'static, str>>, found: impl Into<String>) -> AnalysisError {
    AnalysisError::Input { method: card.id, needs: needs.into(), found: found.into() }
}

/// A count that must be neither zero nor beyond [`MOST_COUNTED`].
///
/// # Errors
/// [`AnalysisError::Setting`] otherwise.
pub fn at_least_one(card: &Card, name: &'static str, count: usize) -> Result<NonZeroUsize, AnalysisError> {
    at_most(card, name, count)?;
    NonZeroUsize::new(count).ok_or_else(|| setting(card, name, count, "it must be at least 1"))
}

/// A count that must not be beyond [`MOST_COUNTED`].
///
/// # Errors
/// [`AnalysisError::Setting`] otherwise.
pub fn at_most(card: &Card, name: &'static str, count: usize) -> Result<(), AnalysisError> {
    let fits = count <= MOST_COUNTED;
    fits.then_some(()).ok_or_else(|| setting(card, name, count, "it must be at most 2^20"))
}

/// A number that must be finite and above zero.
///
/// # Errors
/// [`AnalysisError::Setting`] otherwise.
pub fn above_zero<N: Into<f64> + Copy + ToString>(
    card: &Card,
    name: &'static str,
    found: N,
) -> Result<(), AnalysisError> {
    let value: f64 = found.into();
    let fits = value > 0.0 && value.is_finite();
    fits.then_some(()).ok_or_else(|| setting(card, name, found, "it must be a finite number above zero"))
}

/// A number that must be finite and not below zero.
///
/// # Errors
/// [`AnalysisError::Setting`] otherwise.
pub fn not_below_zero<N: Into<f64> + Copy + ToString>(
    card: &Card,
    name: &'static str,
    found: N,
) -> Result<(), AnalysisError> {
    let value: f64 = found.into();
    let fits = value >= 0.0 && value.is_finite();
    fits.then_some(()).ok_or_else(|| setting(card, name, found, "it must be a finite number, not below zero"))
}

/// A share that must be neither nothing nor all.
///
/// # Errors
/// [`AnalysisError::Setting`] otherwise.
pub fn share(card: &Card, name: &'static str, value: f64) -> Result<(), AnalysisError> {
    let fits = value > 0.0 && value < 1.0;
    fits.then_some(()).ok_or_else(|| setting(card, name, value, "it must lie between 0 and 1"))
}

/// A number within bounds, both included.
///
/// # Errors
/// [`AnalysisError::Setting`] otherwise.
pub fn within(
    card: &Card,
    name: &'static str,
    value: f32,
    [least, most]: [f32; 2],
    expected: &'static str,
) -> Result<(), AnalysisError> {
    match value >= least && value <= most {
        true => Ok(()),
        false => Err(setting(card, name, value, expected)),
    }
}
