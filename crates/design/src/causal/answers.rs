//! Answers by their scores: what methods over classes share.

use mmlens_core::check::input;
use mmlens_core::finding::top;
use mmlens_core::{AnalysisError, Card, Cases, HookError};

/// The place of the largest score, the first of equals.
pub(super) fn chosen(scores: &[f64]) -> Result<usize, AnalysisError> {
    let values = top(scores).map_err(|error| HookError::not_finite("answers", &[scores.len()], 0, error))?;
    Ok(values.ok_or(HookError::NoObjective)?)
}

/// That there are cases to compare, and classes to choose from.
pub(super) fn checked(card: &Card, data: &dyn Cases) -> Result<(), AnalysisError> {
    match (data.len(), data.classes().len()) {
        (2.., 2..) => Ok(()),
        (cases, classes) => {
            let found = format!("`{}` has {cases} of {classes} classes", data.name());
            Err(input(card, "at least two cases, and two classes, which are the answers", found))
        }
    }
}
