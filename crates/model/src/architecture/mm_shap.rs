//! MM-SHAP: how much of what speaks for or against this answer lies in the picture, and how much in the words?
//!
//! # Idea
//! Every token of the text and every cell of a picture, cut so that there are about as many cells as tokens, is a player of one game ([`permutation_shap`](super::permutation_shap)). With `phi_i` their shares of the
//! objective, whatever their signs,
//!
//! ```text
//! T-SHAP = sum over words of |phi_i| / sum over all of |phi_i|,        V-SHAP = 1 - T-SHAP,        cells: p x p,  p = ceil( sqrt( tokens ) )
//! ```
//!
//! A model that only reads has a V-SHAP of 0; balanced use of both is said to be a half.
//!
//! # In and out
//! In: a [`Case`] of one row, with a picture and words. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `picture` | row, column | objective | the share of every cell, on the original |
//! | `tokens` | token | objective | the share of every token |
//! | `by modality` | concept | ratio | V-SHAP (`picture`) and T-SHAP (`words`); zero where no share is |
//! | `left of shares` | | ratio | the sum of all shares, without sign, over the sum of their magnitudes |
//! | `objective`, `objective of nothing`, `efficiency gap` | | objective | as in [`kernel_shap`](crate::kernel_shap) |
//! | `picture error`, `tokens error` | as the shares | objective | standard errors over pairs of orders; aside |
//! | `cautions` | rank | text | shares of both signs that cancel; shares that are zero or rounding; both ends barely differ |
//!
//! # Settings
//! - `orders`: 10 orders of the players and their reverses, as in `shap`, which the paper uses.
//! - `pixels`: zero after normalisation, as in the paper.
//! - `sounds`: silence in the place of absent parts of recordings, which the paper has none of.
//! - `words`: [`Hide::Replace`] of zero where the stream begins. (The paper replaces the token, by `[MASK]` or nothing: not every model has one.) A question that an encoder of its own reads
//!   (BLIP's question answering) has no such place that is published, so that its words cannot be absent and there is no share to give them; the passes alone would do, as they do in the paper, if tokens
//!   were replaced.
//! - `among`: which positions are words, by default the question; markers and the position that the answer is read at stay, as in the paper.
//! - `seed`, `rows`: of the orders, 0; 16 coalitions share a pass.
//!
//! # Cost
//! As [`permutation_shap`](super::permutation_shap): of `t` tokens `2 + 2 orders (t + p^2 - 1)` forward passes, and two more.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for no orders, no rows. Running: [`AnalysisError::Input`] for a sample without a picture or without words; otherwise as [`kernel_shap`](crate::kernel_shap).
//!
//! # When it misleads
//! - It says where effects lie, not whether they are right: a model that is misled by the picture has a high V-SHAP too.
//! - Magnitudes of many small parts that cancel add up, so that noise counts as use: how much is left of the shares is told, and less than a tenth spoken of.
//! - How finely each side is cut, and what stands for absence, decide the balance; compare models under the same settings alone (Parcalabescu, Frank 2023, who fix `p` for that).
//! - Ten orders leave errors that magnitudes turn into use: a share that is zero has a magnitude above zero.
//!
//! # Agreement
//! The mean over the same orders in torch, on `llava-a` and, as in the paper, on a dual encoder, `clip-a`: largest difference relative to the largest share 4.1e-6. Identities tested: of a subject that does not look at the picture V-SHAP is 0, of one that does not read T-SHAP is 0;
//! both add up to one; shares are those of `permutation-shap` with the same parts.
//!
//! # Reference
//! Parcalabescu, Frank: MM-SHAP: A Performance-agnostic Metric for Measuring Multimodal Contributions in Vision and Language Models and Tasks. ACL 2023. <https://arxiv.org/abs/2212.08158>.
//!
//! # Example
//! ```no_run
//! use mmlens_core::{Analysis, Case};
//! use mmlens_model::MmShap;
//! # fn explain(subject: &dyn mmlens_core::Subject, case: &Case) -> Result<(), mmlens_core::AnalysisError> {
//! let finding = MmShap::new(Default::default())?.run(subject, case)?;
//! println!("{:?}", finding.table("by modality")?.as_numbers());
//! # Ok(())
//! # }
//! ```

use std::num::NonZeroUsize;

use mmlens_core::finding::{Labelled, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Answer, Baseline, Capability, Card, Case, Cost, Inputs, Leaf, On, Part, Seed,
    caution,
};
use mmlens_engine::shapley;
use mmlens_engine::{Positions, one_row};
use serde::{Deserialize, Serialize};

use crate::check::{at_least_one, input};
use crate::game::{Drawn, Game, Played, Score};
use crate::parts::PartSettings;

pub use crate::parts::{Cover, Each, Hide, Hush};

/// What this method is.
pub const CARD: Card = Card {
    id: "mm-shap",
    short: "mmshap",
    name: "MM-SHAP",
    question: "How much of what speaks for or against this answer lies in the picture, and how much in the words?",
    citation: "Parcalabescu, Frank: MM-SHAP: A Performance-agnostic Metric for Measuring Multimodal Contributions. ACL 2023. https://arxiv.org/abs/2212.08158",
    leaf: Leaf::Architecture,
    cost: "4 + 2 x orders x (parts - 1) forward, in batches",
    needs: &[Capability::Perception, Capability::Blocks(Part::Text), Capability::OwnWords],
    misleads: &[
        "It says where effects lie, not whether they are right.",
        "Small shares that cancel add up to use.",
        "How finely each side is cut decides the balance.",
    ],
    first: false,
};

/// How shares are made.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Orders of the players, each with its reverse.
    pub orders: usize,
    /// What stands in the place of absent pixels.
    pub pixels: Baseline,
    /// What is heard in the place of absent parts of recordings.
    pub sounds: Hush,
    /// What stands in the place of absent words.
    pub words: Hide,
    /// Which positions are words.
    pub among: Positions,
    /// Of the orders.
    pub seed: Seed,
    /// How many coalitions share a pass.
    pub rows: usize,
}

impl Default for Settings {
    fn default() -> Self {
        let (pixels, words) = (Baseline::Zero, Hide::Replace(Baseline::Zero));
        let sounds = Hush::Silence;
        Self { orders: 10, pixels, sounds, words, among: Positions::Question, seed: Seed(0), rows: 16 }
    }
}

/// MM-SHAP with checked settings.
#[derive(Debug, Clone)]
pub struct MmShap {
    settings: Settings,
    orders: NonZeroUsize,
    rows: NonZeroUsize,
}

impl MmShap {
    /// Tokens, and about as many cells.
    fn parts(&self, inputs: &Inputs) -> Result<PartSettings<'_>, AnalysisError> {
        let Settings { pixels, sounds, words, among, .. } = &self.settings;
        let tokens = among.chosen(CARD.id, one_row(CARD.id, inputs)?)?.len();
        if inputs.towers().next().is_none() {
            return Err(input(&CARD, "a picture or recording beside the words", "the sample has none"));
        }
        // The least whose square is no less.
        let side = (1..=tokens).find(|side| side * side >= tokens).unwrap_or(1);
        let picture = Some(Cover::Grid { rows: side, cols: side });
        let (words, each) = (Some(words), Each::Token);
        Ok(PartSettings { card: &CARD, picture, pixels, sounds, words, each, among })
    }
}

impl Analysis for MmShap {
    type Input = Case;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        let orders = at_least_one(&CARD, "orders", settings.orders)?;
        let rows = at_least_one(&CARD, "rows", settings.rows)?;
        Ok(Self { settings, orders, rows })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        let inputs = on.encode(&case.sample)?;
        let parts = self.parts(&inputs)?.of(on.subject(), case, &inputs)?;
        let coalitions = shapley::permuted(parts.units.len(), self.orders.get());
        let cost = Cost::rows(case.settling() + 1 + parts.settling() + coalitions);
        Ok(cost.at_once(self.rows.get(), on.row(case, &inputs, &[])?, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let (seed, orders) = (self.settings.seed, self.orders.get());
        let inputs = on.encode(&case.sample)?;
        let game = Game { parts: self.parts(&inputs)?, rows: self.rows, seed };
        let solve = |players: usize, score: &mut Score<'_>| {
            Ok((shapley::permutation(players, orders, seed, score)?, Drawn(true)))
        };
        let total = |players: usize| shapley::permuted(players, orders);
        let Played { answer, shares } = game.played(on, case, (&solve, &total))?;
        let sum: f64 = shares.values.iter().map(|share| f64::from(*share)).sum();
        let size: f64 = shares.values.iter().map(|share| f64::from(share.abs())).sum();
        let left = if size == 0.0 { 0.0 } else { (sum / size).abs() };
        let cancelled = (size > 0.0).then(|| caution::cancelled(left, "shares of parts", "")).flatten();
        let answer = answer.cautioned(cancelled);
        Ok(answer.with([Labelled::scalar("left of shares", Unit::Ratio, left as f32)]))
    }
}
