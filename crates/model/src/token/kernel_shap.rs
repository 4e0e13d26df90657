//! Kernel SHAP: what is each part of the picture and each word worth to this answer, and how much of it does each modality carry?
//!
//! # Idea
//! The parts of a sample are players of a game. A coalition `S` of them scores `v(S)`: the objective of a pass in which every other part is
//! absent. The share of part `i` of `n` is the mean, over all orders in which parts may come, of what it adds to those before it:
//!
//! ```text
//! phi_i = sum over S without i of |S|! (n - |S| - 1)! / n! (v(S + i) - v(S)),      sum of phi_i = v(all) - v(none)
//! ```
//!
//! Pictures and words are players of one game, so that what both do together is split between them. By modality `M` the part of
//! `sum of |phi_i|` that lies in `M` is reported (MM-SHAP).
//!
//! # In and out
//! In: a [`Case`] of one row. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `picture` | row, column; patch | objective | the share of every part of the picture, on the original |
//! | `tokens` | token | objective | the share of every word or token |
//! | `by modality` | concept | ratio | of all shares' magnitudes that of `picture` and of `words`; zero where no share is |
//! | `objective` | | objective | `v(all)` |
//! | `objective of nothing` | | objective | `v(none)` |
//! | `efficiency gap` | | objective | the sum of all shares less `v(all) - v(none)`: rounding |
//! | `picture error`, `tokens error` | as the shares | objective | standard errors from the coalitions drawn; zero where all were taken |
//!
//! Several pictures have tables of their own, `picture/0`, `picture/1`, as in [`occlusion`](super::occlusion); `by modality` is there if
//! the sample has parts of both kinds.
//!
//! # Settings
//! - `picture`: how pictures are cut, by default [`Cover::Grid`] of 4 x 4 cells; [`Cover::Patches`], [`Cover::Slic`], [`Cover::Whole`].
//!   Windows that overlap are no players. `None` leaves pictures as they are.
//! - `sounds`: what is heard in the place of absent parts of recordings, by default silence, as in occlusion.
//! - `pixels`: what stands in the place of absent pixels, by default the picture's own mean colour, as in occlusion.
//! - `words`: what stands in the place of absent words, by default zero at `text.blocks.0.resid_pre`; `None` leaves words as they are.
//! - `each`: [`Each::Word`] (default: fewer players, and what a reader takes for one), [`Each::Token`], [`Each::All`].
//! - `among`: which positions are words, by default the question: markers of a template carry the format, not the evidence. The last position of
//!   the prompt is no part of it, nor are tokens of spaces alone where words are players: they stay in every coalition.
//! - `samples`: 512 coalitions beside all and none, some for each of the 16 cells and a few words. Where there are no more than
//!   that, all are taken and shares are exact.
//! - `seed`: of the draws, 0.
//! - `rows`: 16 coalitions share a pass.
//!
//! # Cost
//! `min(2^n, samples + 2)` forward passes, and two more; coalitions that lack words alone do not run the tower. No gradients. Peak memory
//! grows with `rows`; the numbers do not depend on it beyond rounding. Least squares takes `samples n^2` operations on the host.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for nothing that can be absent, a grid of nothing, windows, no rows. Running: as occlusion, and
//! [`AnalysisError::Setting`] for too few samples to tell the parts apart.
//!
//! # When it misleads
//! - A coalition is a picture with holes and a sentence with gaps, which the model has never seen (Sundararajan, Najmi 2020, "The Many
//!   Shapley Values for Model Explanation"); what stands there instead decides the shares.
//! - Shares of parts that only count together, or stand for each other, are split evenly: a small share is no proof that a part is not used
//!   (Kumar et al. 2020, "Problems with Shapley-value-based explanations as feature importance measures").
//! - `by modality` depends on how finely each is cut: magnitudes of many small parts that cancel add up. Compare models and samples under
//!   the same settings alone (Parcalabescu, Frank 2023).
//! - With few samples the errors are large; look at `picture error` before a ranking.
//!
//! # Agreement
//! `shap` 0.51's `ExactExplainer`, and a mean over all orders in torch, on `llava-a`, of four cells and three words: largest difference
//! relative to the largest share 4.5e-6. Identities tested: enumerated or drawn, shares add up to what all parts change; a part that
//! changes nothing has no share, and leaves the others theirs; shares of an affine subject are its drops; one part alone has all; pictures
//! in tiles and in patches too.
//!
//! # Reference
//! Lundberg, Lee: A Unified Approach to Interpreting Model Predictions. NeurIPS 2017. <https://arxiv.org/abs/1705.07874>. By modality:
//! Parcalabescu, Frank: MM-SHAP. ACL 2023. <https://arxiv.org/abs/2212.08158>; they permute tokens and patches and set pixels to zero after
//! normalisation, we take Kernel SHAP's coalitions and the mean colour. How coalitions are drawn is said in
//! [`shapley`].
//!
//! # Example
//! ```no_run
//! use mmlens_core::{Analysis, Case};
//! use mmlens_model::{KernelShap, kernel_shap::{Cover, Settings}};
//! # fn explain(subject: &dyn mmlens_core::Subject, case: &Case) -> Result<(), mmlens_core::AnalysisError> {
//! let picture = Some(Cover::Grid { rows: 2, cols: 2 });
//! let finding = KernelShap::new(Settings { picture, samples: 256, ..Settings::default() })?.run(subject, case)?;
//! println!("{:?}", finding.table("by modality")?.as_numbers());
//! # Ok(())
//! # }
//! ```

use std::num::NonZeroUsize;

use mmlens_core::{Analysis, AnalysisError, Answer, Baseline, Card, Case, Cost, Inputs, Leaf, On, Seed};
use mmlens_engine::Positions;
use mmlens_engine::shapley::{self, MOST_PLAYERS};
use serde::{Deserialize, Serialize};

use crate::check::at_least_one;
use crate::game::{Drawn, Game, Score};
use crate::parts::{PartSettings, Parts};

pub use crate::parts::{Cover, Each, Hide, Hush};

/// What this method is.
pub const CARD: Card = Card {
    id: "kernel-shap",
    short: "shap",
    name: "Kernel SHAP",
    question: "What is each part of the picture and each word worth to this answer?",
    citation: "Lundberg, Lee: A Unified Approach to Interpreting Model Predictions. NeurIPS 2017. https://arxiv.org/abs/1705.07874",
    leaf: Leaf::Token,
    cost: "2 + min(2^parts, samples + 2) forward, in batches",
    needs: &[],
    misleads: &[
        "Pictures with holes and sentences with gaps are something the model has never seen.",
        "Parts that only count together, or stand for each other, split their share.",
        "The balance of modalities depends on how finely each is cut.",
    ],
    first: false,
};

/// What the players are, and how many coalitions of them are scored.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How pictures are cut; `None` leaves them as they are, as does a sample without any.
    pub picture: Option<Cover>,
    /// What stands in the place of absent pixels.
    pub pixels: Baseline,
    /// What is heard in the place of absent parts of recordings.
    pub sounds: Hush,
    /// What stands in the place of absent words; `None` leaves them as they are, as does a sample without any, and one whose words an
    /// encoder of its own reads.
    pub words: Option<Hide>,
    /// What of the words is one player.
    pub each: Each,
    /// Which positions are words.
    pub among: Positions,
    /// Coalitions beside all and none; where there are no more, all are taken.
    pub samples: usize,
    /// Of the draws.
    pub seed: Seed,
    /// How many coalitions share a pass.
    pub rows: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            picture: Some(Cover::Grid { rows: 4, cols: 4 }),
            pixels: Baseline::Mean,
            sounds: Hush::Silence,
            words: Some(Hide::Replace(Baseline::Zero)),
            each: Each::Word,
            among: Positions::Question,
            samples: 512,
            seed: Seed(0),
            rows: 16,
        }
    }
}

impl Settings {
    fn part_settings(&self) -> PartSettings<'_> {
        let Self { picture, pixels, sounds, words, each, among, .. } = self;
        let (card, picture, words, each) = (&CARD, *picture, words.as_ref(), *each);
        PartSettings { card, picture, pixels, sounds, words, each, among }
    }

    /// Whether all coalitions of so many parts are scored.
    fn enumerates(&self, parts: usize) -> bool {
        parts <= MOST_PLAYERS && (1_usize << parts) <= self.samples.saturating_add(2)
    }
}

/// Kernel SHAP with checked settings.
#[derive(Debug, Clone)]
pub struct KernelShap {
    settings: Settings,
    rows: NonZeroUsize,
}

impl KernelShap {
    fn parts(&self, on: &On<'_>, case: &Case, inputs: &Inputs) -> Result<Parts, AnalysisError> {
        self.settings.part_settings().of(on.subject(), case, inputs)
    }
}

impl Analysis for KernelShap {
    type Input = Case;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        settings.part_settings().check_apart()?;
        at_least_one(&CARD, "samples", settings.samples)?;
        let rows = at_least_one(&CARD, "rows", settings.rows)?;
        Ok(Self { settings, rows })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        let inputs = on.encode(&case.sample)?;
        let parts = self.parts(on, case, &inputs)?;
        let players = parts.units.len();
        let coalitions = match self.settings.enumerates(players) {
            true => 1 << players,
            false => shapley::coalitions(players, self.settings.samples, self.settings.seed),
        };
        let cost = Cost::rows(case.settling() + 1 + parts.settling() + coalitions);
        Ok(cost.at_once(self.rows.get(), on.row(case, &inputs, &[])?, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let Settings { samples, seed, .. } = self.settings;
        let game = Game { parts: self.settings.part_settings(), rows: self.rows, seed };
        let solve = |players: usize, score: &mut Score<'_>| match self.settings.enumerates(players) {
            true => Ok((shapley::exact(players, score)?, Drawn(false))),
            false => Ok((shapley::kernel(players, samples, seed, score)?, Drawn(true))),
        };
        let total = |players: usize| match self.settings.enumerates(players) {
            true => 1 << players,
            false => shapley::coalitions(players, samples, seed),
        };
        Ok(game.played(on, case, (&solve, &total))?.answer)
    }
}
