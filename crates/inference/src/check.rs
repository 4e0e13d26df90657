//! What methods refuse alike.

use mmlens_core::{AnalysisError, Card, MOST_COUNTED};

/// Settings that cannot be.
pub(crate) fn setting(
    card: &Card,
    setting: &'static str,
    found: impl ToString,
    expected: &'static str,
) -> AnalysisError {
    AnalysisError::Setting { method: card.id, setting, found: found.to_string(), expected }
}

/// A count that must be neither zero nor beyond [`MOST_COUNTED`].
pub(crate) fn at_least_one(card: &Card, name: &'static str, count: usize) -> Result<(), AnalysisError> {
    match count {
        0 => Err(setting(card, name, count, "it must be at least 1")),
        most if most > MOST_COUNTED => Err(setting(card, name, most, "it must be at most 2^20")),
        _ => Ok(()),
    }
}

/// An input the method cannot work on.
pub(crate) fn input(card: &Card, needs: &'static str, found: impl Into<String>) -> AnalysisError {
    AnalysisError::Input { method: card.id, needs: needs.into(), found: found.into() }
}

/// A number within bounds, both included.
pub(crate) fn within(
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
