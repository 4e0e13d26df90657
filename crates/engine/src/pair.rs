//! What methods that compare a clean with a corrupted prompt need of both.

use mmlens_core::check::input;
use mmlens_core::finding::{Caution, Labelled, TableError, TokenLabel};
use mmlens_core::{AnalysisError, Card, Inputs, LogitsAt, Objective, On, Pair, TokenMap, caution};

use crate::{label, one_row};

/// Both prompts, encoded and found to be comparable position by position.
#[derive(Debug, Clone)]
pub struct OpenPair {
    /// The clean prompt.
    pub clean: Inputs,
    /// The corrupted one.
    pub corrupted: Inputs,
    /// What is explained, settled by the clean case.
    pub objective: Objective,
}

impl OpenPair {
    /// Encodes both and settles the objective by the clean case.
    ///
    /// # Errors
    /// [`AnalysisError::Input`] for several rows, other lengths, or pictures at other positions; whatever encoding reports.
    pub fn new(card: &Card, on: &On<'_>, pair: &Pair) -> Result<Self, AnalysisError> {
        let (clean, objective) = on.open(&pair.clean)?;
        let corrupted = on.encode(&pair.corrupted)?;
        let corrupted = if clean.logits_at == LogitsAt::All { corrupted.all_logits() } else { corrupted };
        comparable(card, &clean, one_row(card.id, &clean)?, &corrupted, one_row(card.id, &corrupted)?)?;
        Ok(Self { clean, corrupted, objective })
    }

    /// The token map of the clean prompt.
    #[must_use]
    pub fn map(&self) -> &TokenMap {
        self.clean.map()
    }

    /// What the corrupted prompt has at each position of the clean one.
    ///
    /// # Errors
    /// [`TableError`] for maps of different lengths.
    pub fn other_tokens(&self) -> Result<Labelled, TableError> {
        let texts = self.corrupted.map().tokens.iter().map(|token| token.text.clone()).collect();
        Labelled::texts("corrupted tokens", vec![label::token_axis(self.map())], texts)
    }

    /// A pair that is told apart barely, or the wrong way round.
    #[must_use]
    pub fn caution(&self, at_clean: f32, at_corrupted: f32) -> Option<Caution> {
        let (clean, corrupted) = ((at_clean, "in the clean run"), (at_corrupted, "in the corrupted one"));
        caution::contrast(&self.objective, clean, corrupted)
    }
}

/// States of one run fit into the other only position by position.
fn comparable(
    card: &Card,
    clean: &Inputs,
    map: &TokenMap,
    corrupted: &Inputs,
    other: &TokenMap,
) -> Result<(), AnalysisError> {
    let (left, right) = (clean.positions(), corrupted.positions());
    if left != right {
        let found = format!("the clean one has {left} positions and the corrupted one {right}");
        return Err(input(card, "clean and corrupted samples of the same length", found));
    }
    let image = |token: &TokenLabel| token.modality.is_perceived();
    match map.tokens.iter().zip(&other.tokens).position(|(a, b)| image(a) != image(b)) {
        Some(position) => {
            let found = format!("at position {position} only one of them shows a picture");
            Err(input(card, "clean and corrupted samples with pictures at the same positions", found))
        }
        None => Ok(()),
    }
}
