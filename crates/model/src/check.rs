//! What all methods word alike: refusals.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;

use mmlens_core::{AnalysisError, Ask, Card, Inputs, Part, Plan, Point, Site, Subject, kind};

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

/// Points that lie in blocks, each once, at least one.
pub(crate) fn points_of_blocks(card: &Card, points: &[Point]) -> Result<(), AnalysisError> {
    let wrong = |found: String, expected| Err(setting(card, "points", found, expected));
    if points.is_empty() {
        return wrong("none".to_owned(), "there must be one");
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = points.iter().find(|point| !seen.insert(**point)) {
        return wrong(format!("`{}` twice", twice.name()), "a point is named once");
    }
    match points.iter().find(|point| !point.in_block()) {
        Some(outside) => wrong(format!("`{}`", outside.name()), "a point must lie in a block"),
        None => Ok(()),
    }
}

/// A count that must not be zero.
pub(crate) fn at_least_one(
    card: &Card,
    name: &'static str,
    count: usize,
) -> Result<NonZeroUsize, AnalysisError> {
    NonZeroUsize::new(count).ok_or_else(|| setting(card, name, count, "it must be at least 1"))
}

/// The position that an answer is read at: that of its objective, or the last. A text tower says it by what it pools: the vector
/// of that position (one pass).
pub(crate) fn read_at(
    card: &Card,
    subject: &dyn Subject,
    inputs: &Inputs,
    objective: Option<Ask>,
) -> Result<usize, AnalysisError> {
    if let Some(Ask::At(at)) = objective {
        return Ok(at);
    }
    let [normed, pooled] = [Point::FinalNorm, Point::Pooled].map(|point| Site::of(Part::Text, point));
    if ![normed, pooled].iter().all(|site| kind::has(subject, *site)) {
        return Ok(inputs.positions().saturating_sub(1));
    }
    let trace = subject.run(inputs, Plan::new().read(normed)?.read(pooled)?)?;
    let (all, one) = (trace.get(normed)?.to_values()?, trace.get(pooled)?.to_values()?);
    let found = all.chunks(one.len().max(1)).position(|vector| vector == one);
    found.ok_or_else(|| input(card, "a text tower that pools one of its positions", "this one does not"))
}
