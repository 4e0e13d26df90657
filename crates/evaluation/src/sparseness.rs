//! How few places does a map name?
//!
//! # Idea
//! The Gini index of the map's masses on the units, without signs: with `v_1 <= ... <= v_n`,
//!
//! ```text
//! sparseness = sum over i of (2 i - n - 1) v_i / (n sum v_i)
//! ```
//!
//! 0: the same everywhere; `1 - 1/n`: one unit has everything. It tells what a map is like, and not whether it is right.
//!
//! # In and out
//! | column | unit | meaning |
//! |---|---|---|
//! | `sparseness` | ratio | as above |
//!
//! # Settings
//! - `over`: the units, by default an 8 x 8 grid: the same for all maps, since a finer one has a larger index for no other reason.
//!
//! # Cost
//! No pass.
//!
//! # Errors
//! No score for a sample without such units, and for a map that is zero everywhere.
//!
//! # When it misleads
//! - A map of one outlier is the sparsest of all.
//! - Evidence that is large makes a right map less sparse.
//!
//! # Agreement
//! Quantus 0.6 `Sparseness`, which adds 1e-7 to every value: largest difference 1e-5.
//!
//! # Reference
//! Chalasani et al.: Concise Explanations of Neural Networks using Adversarial Training, ICML 2020. <https://arxiv.org/abs/1810.06583>.

use mmlens_core::AnalysisError;
use serde::{Deserialize, Serialize};

use crate::alike::gini;
use crate::metric::{AtHand, Better, Column, Metric, MetricCard, NoScore, Redraws};
use crate::{Map, Over, Side, Sign};

/// Over which units.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SparsenessSettings {
    /// The units.
    pub over: Over,
}

/// The Gini index of a map.
#[derive(Debug, Clone)]
pub struct Sparseness(SparsenessSettings);

impl Metric for Sparseness {
    type Settings = SparsenessSettings;
    const CARD: MetricCard = MetricCard {
        id: "sparseness",
        question: "How few places does the map name?",
        needs: "nothing but the map",
        cost: "none",
        citation: "Chalasani et al.: Concise Explanations of Neural Networks using Adversarial Training. ICML 2020. https://arxiv.org/abs/1810.06583",
        misleads: &[
            "A map of one outlier is the sparsest of all.",
            "It does not say whether a map is right.",
        ],
    };

    fn new(settings: SparsenessSettings) -> Result<Self, AnalysisError> {
        Ok(Self(settings))
    }

    fn settings(&self) -> &SparsenessSettings {
        &self.0
    }

    fn columns(&self, _: Redraws<'_>) -> Vec<Column> {
        vec![Column::new("sparseness", Better::Neither)]
    }

    fn side(&self) -> Side {
        self.0.over.side()
    }

    fn scores(&self, asked: &AtHand<'_>, map: &Map) -> Result<Vec<f64>, NoScore> {
        let units = self.0.over.units(asked.inputs, asked.picture)?;
        let index = gini(&map.signed(Sign::Absolute).on(&units));
        Ok(vec![index.ok_or_else(|| NoScore::Undefined("the map is zero everywhere".to_owned()))?])
    }
}
