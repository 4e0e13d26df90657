//! Does a method that draws give the same map again?
//!
//! # Idea
//! Kernel SHAP, LIME, RISE and their kind fit a map to samples drawn at random. With other draws they give another, and as far as it is another it says nothing about the model. The map is made `draws` times, the first of them
//! the one that is scored, draw `k` with the seed `seed.at(k)`, and
//!
//! ```text
//! stability         the mean over all pairs of maps of the correlation of ranks of their numbers (Spearman)
//! stability least   the least of them
//! ```
//!
//! What draws nothing has no score: it gives the same map every time.
//!
//! # In and out
//! | column | unit | better | meaning |
//! |---|---|---|---|
//! | `stability`, `stability least` | ratio | higher | as above |
//!
//! # Settings
//! - `draws`: 3, at most 64. Each but the first costs the method once.
//! - `sign`: `signed`.
//!
//! # Cost
//! `draws - 1` times the method, and nothing for one that draws nothing.
//!
//! # Errors
//! No score for what draws nothing, for maps of fewer than three places, that do not vary, or whose places differ from draw to draw.
//!
//! # When it misleads
//! - A map that hardly looks at the model's answer is steadier than one that does: methods on a model with random weights may have far more than on the trained one. It is no measure of being right.
//! - Ranks of many places of no weight go up and down by chance, though those that matter stay: look at `top-k` of single maps.
//!
//! # Agreement
//! `spearmanr` of scipy, as in [`randomisation`](crate::randomisation). Tested: a random map, drawn anew, has a mean of no more than chance; Kernel SHAP over all coalitions, which leaves nothing
//! to draw, has 1, and with few of them less.
//!
//! # Reference
//! Of surrogates that are drawn: Slack, Hilgard, Singh, Lakkaraju: Reliable Post hoc Explanations. NeurIPS 2021. <https://arxiv.org/abs/2008.05030>; Visani et al.: Statistical stability indices for LIME.
//! J. Oper. Res. Soc. 2022. <https://arxiv.org/abs/2001.11757>.

use mmlens_core::AnalysisError;
use serde::{Deserialize, Serialize};

use crate::alike::rank_correlation;
use crate::metric::{AtHand, Better, Column, Metric, MetricCard, NoScore, Redraws, setting};
use crate::{Map, Place, Sign};

/// The most maps: all of them are held.
const MOST: usize = 64;

/// How often a map is made.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StabilitySettings {
    /// How many maps are compared.
    pub draws: usize,
    /// Which way numbers of the map count.
    pub sign: Sign,
}

impl Default for StabilitySettings {
    fn default() -> Self {
        Self { draws: 3, sign: Sign::Signed }
    }
}

/// How alike maps are that one method gives with other draws.
#[derive(Debug, Clone)]
pub struct Stability(StabilitySettings);

impl Metric for Stability {
    type Settings = StabilitySettings;
    const CARD: MetricCard = MetricCard {
        id: "stability",
        question: "Does a method that draws at random give the same map again?",
        needs: "the method, run again",
        cost: "(draws - 1) x the method; nothing for one that draws nothing",
        citation: "Slack, Hilgard, Singh, Lakkaraju: Reliable Post hoc Explanations. NeurIPS 2021. https://arxiv.org/abs/2008.05030",
        misleads: &[
            "A map that hardly looks at the model is steadier than one that does.",
            "Ranks of places without weight go up and down by chance.",
        ],
    };

    fn new(settings: StabilitySettings) -> Result<Self, AnalysisError> {
        match settings.draws {
            2..=MOST => Ok(Self(settings)),
            other => Err(setting(&Self::CARD, "draws", other, "it must lie between 2 and 64")),
        }
    }

    fn settings(&self) -> &StabilitySettings {
        &self.0
    }

    fn columns(&self, _: Redraws<'_>) -> Vec<Column> {
        let steady = |name| Column { blind: true, ..Column::new(name, Better::Higher) };
        ["stability", "stability least"].map(steady).to_vec()
    }

    fn cost(&self, asked: &AtHand<'_>) -> Result<u64, NoScore> {
        match asked.explainer.anew(asked.seed)? {
            Some(explainer) => Ok((self.0.draws as u64 - 1) * explainer.cost(&asked.on, asked.case)?),
            None => Ok(0),
        }
    }

    fn scores(&self, asked: &AtHand<'_>, map: &Map) -> Result<Vec<f64>, NoScore> {
        let side = Metric::side(self);
        let mut maps = vec![map.signed(self.0.sign)];
        for draw in 1..self.0.draws {
            match asked.explainer.anew(asked.seed.at(draw as u64))? {
                Some(again) => maps.push(again.map(&asked.on, asked.case, side)?.signed(self.0.sign)),
                None => {
                    return Err(NoScore::Lacks(
                        "it draws nothing: its map is the same every time".to_owned(),
                    ));
                }
            }
        }
        let mut alike = Vec::new();
        for (at, one) in maps.iter().enumerate() {
            for other in maps.iter().skip(at + 1) {
                alike.push(of_ranks(one, other)?);
            }
        }
        let least = alike.iter().copied().fold(1.0, f64::min); // no NaN: correlations
        Ok(vec![alike.iter().sum::<f64>() / alike.len() as f64, least])
    }
}

/// How alike the ranks of two maps are.
fn of_ranks(one: &Map, other: &Map) -> Result<f64, NoScore> {
    let places = |map: &Map| map.places().iter().map(|(place, _)| *place).collect::<Vec<Place>>();
    if places(one) != places(other) {
        return Err(NoScore::Undefined("the map has other places with other draws".to_owned()));
    }
    let numbers = |map: &Map| map.places().iter().map(|(_, value)| *value).collect::<Vec<f64>>();
    rank_correlation(&numbers(one), &numbers(other))
        .ok_or_else(|| NoScore::Undefined("a map of this does not vary, or has few places".to_owned()))
}
