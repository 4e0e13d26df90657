//! Permutation SHAP: what is each part of the picture and each word worth to this answer, in the mean over some orders in which they come?
//!
//! # Idea
//! The share of a part in [`kernel_shap`](crate::kernel_shap) is the mean, over all orders in which parts may come, of what it adds to those before it. Here some orders are drawn, and each is taken
//! with its reverse: what is there early in one is there late in the other, so that an effect of two parts together is split evenly in every pair.
//!
//! ```text
//! phi_i = 1 / 2m sum over m orders and their reverses of v(before i, and i) - v(before i),        sum of phi_i = v(all) - v(none)
//! ```
//!
//! Kernel SHAP solves for all shares at once from coalitions of the sizes that tell most; orders ask for coalitions of all sizes alike, and give for every share an error that needs no model of the game. A game of
//! pairs alone is exact from one order on.
//!
//! # In and out
//! In: a [`Case`] of one row. Out: as [`kernel_shap`](crate::kernel_shap): `picture`, `tokens`, `by modality`, `objective`, `objective of nothing`, `efficiency gap`, and aside
//! `picture error`, `tokens error`: standard errors of the mean over pairs of orders, zero where all coalitions were taken (or one pair alone).
//!
//! # Settings
//! - `picture`, `pixels`, `sounds`, `words`, `each`, `among`, `rows`: as in Kernel SHAP, with the same defaults.
//! - `orders`: 10 orders and their reverses, as `shap`'s explainer takes.
//! - `exact`: false. With it every coalition is taken, of up to 20 parts, and shares are those of the definition.
//! - `seed`: of the orders, 0.
//!
//! # Cost
//! `2 + 2 orders (n - 1)` forward passes of `n` parts, or `2^n`, and two more; coalitions that lack words alone do not run the tower. No gradients.
//!
//! # Errors
//! Making: as Kernel SHAP, and [`AnalysisError::Setting`] for no orders. Running: as Kernel SHAP; [`AnalysisError::Setting`] for more than 20 parts with `exact`.
//!
//! # When it misleads
//! - As Kernel SHAP: coalitions are pictures with holes, and shares of parts that count together are split.
//! - Errors come from as many pairs as there are orders: of few they are themselves uncertain (with 10 by about a quarter).
//!
//! # Agreement
//! A mean over all orders in torch, and `shap` 0.51's `ExactExplainer`, on `llava-a` of four cells and three words and on `clip-a` of four and two (with `exact`), and the mean over the same drawn orders written out on both and on
//! `vit-a` of four cells: largest difference relative to the largest share 4.5e-6 with `exact`, 4.1e-6 of drawn orders. Identities tested: shares add up to what all parts change, whatever is drawn; of an affine subject they are the drops, from one order on; a game of pairs is exact from one order on.
//!
//! # Reference
//! Castro, Gómez, Tejada: Polynomial calculation of the Shapley value based on sampling. Computers & Operations Research 2009. <https://doi.org/10.1016/j.cor.2008.04.004>. With reverses: Mitchell, Cooper, Frank, Holmes: Sampling
//! Permutations for Shapley Value Estimation. JMLR 2022. <https://arxiv.org/abs/2104.12199>.
//!
//! # Example
//! ```no_run
//! use mmlens_core::{Analysis, Case};
//! use mmlens_model::{PermutationShap, permutation_shap::Settings};
//! # fn explain(subject: &dyn mmlens_core::Subject, case: &Case) -> Result<(), mmlens_core::AnalysisError> {
//! let finding = PermutationShap::new(Settings { orders: 20, ..Settings::default() })?.run(subject, case)?;
//! println!("{:?}", finding.table("tokens error")?.as_numbers());
//! # Ok(())
//! # }
//! ```

use std::num::NonZeroUsize;

use mmlens_core::{Analysis, AnalysisError, Answer, Baseline, Card, Case, Cost, Leaf, On, Seed};
use mmlens_engine::Positions;
use mmlens_engine::shapley::{self, MOST_PLAYERS};
use serde::{Deserialize, Serialize};

use crate::check::{at_least_one, setting};
use crate::game::{Drawn, Game, Score};
use crate::parts::PartSettings;

pub use crate::parts::{Cover, Each, Hide, Hush};

/// What this method is.
pub const CARD: Card = Card {
    id: "permutation-shap",
    short: "permshap",
    name: "Permutation SHAP",
    question: "What is each part of the picture and each word worth to this answer, in the mean over some orders in which they come?",
    citation: "Castro, Gómez, Tejada: Polynomial calculation of the Shapley value based on sampling. Computers & Operations Research 2009. https://doi.org/10.1016/j.cor.2008.04.004",
    leaf: Leaf::Architecture,
    cost: "4 + 2 x orders x (parts - 1) forward, in batches",
    needs: &[],
    misleads: &[
        "Pictures with holes and sentences with gaps are something the model has never seen.",
        "Parts that only count together, or stand for each other, split their share.",
        "Errors from few orders are themselves uncertain.",
    ],
    first: false,
};

/// What the players are, and how many orders of them are walked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How pictures are cut; `None` leaves them as they are, as does a sample without any.
    pub picture: Option<Cover>,
    /// What stands in the place of absent pixels.
    pub pixels: Baseline,
    /// What is heard in the place of absent parts of recordings.
    pub sounds: Hush,
    /// What stands in the place of absent words; `None` leaves them as they are.
    pub words: Option<Hide>,
    /// What of the words is one player.
    pub each: Each,
    /// Which positions are words.
    pub among: Positions,
    /// Orders, each with its reverse.
    pub orders: usize,
    /// Whether every coalition is taken instead.
    pub exact: bool,
    /// Of the orders.
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
            orders: 10,
            exact: false,
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
}

/// Permutation SHAP with checked settings.
#[derive(Debug, Clone)]
pub struct PermutationShap {
    settings: Settings,
    orders: NonZeroUsize,
    rows: NonZeroUsize,
}

impl PermutationShap {
    /// Coalitions of so many players that are scored.
    fn coalitions(&self, players: usize) -> Result<usize, AnalysisError> {
        match (self.settings.exact, players) {
            (true, ..=MOST_PLAYERS) => Ok(1 << players),
            (true, _) => {
                Err(setting(&CARD, "exact", format!("true, of {players} parts"), "at most 20 are enumerated"))
            }
            (false, _) => Ok(shapley::permuted(players, self.orders.get())),
        }
    }
}

impl Analysis for PermutationShap {
    type Input = Case;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        settings.part_settings().check_apart()?;
        let orders = at_least_one(&CARD, "orders", settings.orders)?;
        let rows = at_least_one(&CARD, "rows", settings.rows)?;
        Ok(Self { settings, orders, rows })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        let inputs = on.encode(&case.sample)?;
        let parts = self.settings.part_settings().of(on.subject(), case, &inputs)?;
        let coalitions = self.coalitions(parts.units.len())?;
        let cost = Cost::rows(case.settling() + 1 + parts.settling() + coalitions);
        Ok(cost.at_once(self.rows.get(), on.row(case, &inputs, &[])?, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let Settings { exact, seed, .. } = self.settings;
        let game = Game { parts: self.settings.part_settings(), rows: self.rows, seed };
        let solve = |players: usize, score: &mut Score<'_>| {
            self.coalitions(players)?;
            match exact {
                true => Ok((shapley::exact(players, score)?, Drawn(false))),
                false => Ok((shapley::permutation(players, self.orders.get(), seed, score)?, Drawn(true))),
            }
        };
        let total = |players: usize| self.coalitions(players).unwrap_or(0);
        Ok(game.played(on, case, (&solve, &total))?.answer)
    }
}
