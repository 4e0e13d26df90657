//! What methods refuse alike.

use mmlens_core::{AnalysisError, Card};

/// Settings that cannot be.
pub(crate) fn setting(
    card: &Card,
    setting: &'static str,
    found: impl ToString,
    expected: &'static str,
) -> AnalysisError {
    AnalysisError::Setting { method: card.id, setting, found: found.to_string(), expected }
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
