//! How well does a map stand for the model nearby, read as the simplest model there is: a sum over units?
//!
//! # Idea
//! A map is a linear surrogate, whatever made it: of a sample without the units `H` it says that the answer falls by its mass on them, `s(H)`. Of `draws` sets drawn anew, none of which a method was fitted
//! on, what is lost is `d_i = f(x) - f(x without H_i)`, and
//!
//! ```text
//! fidelity        the correlation of s_i and d_i (Pearson)
//! fidelity rank   that of their ranks (Spearman), equal values having the mean of their ranks
//! ```
//!
//! The square of the first, where it is above zero, is `R^2`: the share of the variance of what is lost that the best line through the map's sums tells. Neither depends on the scale of a map.
//!
//! # In and out
//! | column | unit | better | meaning |
//! |---|---|---|---|
//! | `fidelity`, `fidelity rank` | ratio | higher | as above; 0 says nothing, -1 says the opposite |
//!
//! # Settings
//! - `over`, `instead`: the units, and what stands in the place of hidden ones, as in [`perturbation`](crate::perturbation).
//! - `draws`: 64 sets of hidden units. `share`: 0.25, as in [`infidelity`](crate::infidelity), whose draws these are.
//! - `sign`: `signed`.
//!
//! # Cost
//! `draws` passes, and one; one more where words are replaced.
//!
//! # Errors
//! No score for a sample without such units, where what is hidden changes the answer by no more than rounding ([`caution::rounding`](mmlens_core::caution::rounding)), and for a map whose sums do not vary.
//!
//! # When it misleads
//! - A correlation is blind to a map that adds the same to every unit as far as sets are of one size: `infidelity` is not.
//! - With few draws it is near nothing by chance alone: of 64, a random map has one beyond 0.25 in 5 % of cases.
//! - A model that is no sum has no linear surrogate, and the best map there is may have little.
//!
//! # Agreement
//! `pearsonr` and `spearmanr` of scipy 1.17, on the same sets of hidden units, on `llava-a` and `clip-a`: to 1e-4. A linear model's own contributions have 1. Quantus calls the first
//! `FaithfulnessCorrelation`, and hides sets of one size.
//!
//! # Reference
//! Bhatt, Weller, Moura: Evaluating and Aggregating Feature-based Model Explanations. IJCAI 2020. <https://arxiv.org/abs/2005.00631>. Of local surrogates: Ribeiro, Singh, Guestrin: "Why Should I Trust You?". KDD 2016.
//! <https://arxiv.org/abs/1602.04938>.

use mmlens_core::AnalysisError;
use mmlens_core::finding::{correlation, ranks};
use serde::{Deserialize, Serialize};

use crate::hidden::Hidden;
use crate::metric::{AtHand, Better, Column, Metric, MetricCard, NoScore, Redraws};
use crate::{Instead, Map, Over, Side, Sign};

/// How sets of units are drawn and hidden.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FidelitySettings {
    /// Over which units.
    pub over: Over,
    /// What stands in the place of hidden ones.
    pub instead: Instead,
    /// How many sets.
    pub draws: usize,
    /// Which share of the units is hidden.
    pub share: f64,
    /// Which way numbers of the map count.
    pub sign: Sign,
}

impl Default for FidelitySettings {
    fn default() -> Self {
        Self {
            over: Over::default(),
            instead: Instead::default(),
            draws: 64,
            share: 0.25,
            sign: Sign::Signed,
        }
    }
}

/// How what a map says goes with what is lost.
#[derive(Debug, Clone)]
pub struct Fidelity(FidelitySettings);

impl Metric for Fidelity {
    type Settings = FidelitySettings;
    const CARD: MetricCard = MetricCard {
        id: "fidelity",
        question: "How well does the map, read as a sum over places, stand for the model nearby?",
        needs: "passes of the subject",
        cost: "draws + 1",
        citation: "Bhatt, Weller, Moura: Evaluating and Aggregating Feature-based Model Explanations. IJCAI 2020. https://arxiv.org/abs/2005.00631",
        misleads: &[
            "A model that is no sum has no linear surrogate.",
            "A sample with holes is one that the model never saw.",
        ],
    };

    fn new(settings: FidelitySettings) -> Result<Self, AnalysisError> {
        Hidden::check(&Self::CARD, settings.draws, settings.share)?;
        Ok(Self(settings))
    }

    fn settings(&self) -> &FidelitySettings {
        &self.0
    }

    fn columns(&self, _: Redraws<'_>) -> Vec<Column> {
        ["fidelity", "fidelity rank"].map(|name| Column::new(name, Better::Higher)).to_vec()
    }

    fn side(&self) -> Side {
        self.0.over.side()
    }

    fn cost(&self, _: &AtHand<'_>) -> Result<u64, NoScore> {
        Ok(self.0.draws as u64 + 1 + u64::from(self.side() == Side::Words))
    }

    fn scores(&self, asked: &AtHand<'_>, map: &Map) -> Result<Vec<f64>, NoScore> {
        let FidelitySettings { over, ref instead, draws, share, sign } = self.0;
        let (told, lost) = Hidden { over, instead, draws, share, sign }.told(asked, map, Self::CARD.id)?;
        let found = [correlation(&told, &lost), correlation(&ranks(&told), &ranks(&lost))];
        let still = || NoScore::Undefined("what the map says of these sets does not vary".to_owned());
        found.into_iter().map(|found| found.ok_or_else(still)).collect()
    }
}
