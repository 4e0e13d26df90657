//! Does a map owe anything to what the model learned? The map of the model beside those of models with weights drawn anew.
//!
//! # Idea
//! Of the model there are others whose weights were drawn anew, of the same mean and deviation tensor by tensor: in a *cascade*, part by part from the top, until none is left
//! as trained; or *independently*, one part each. What is explained stays the same. With `m` the masses of the map on the units, without signs, and `m_k` those of the map on
//! model `k`,
//!
//! ```text
//! similarity_k = correlation of the ranks of m and m_k (Spearman), or their structural similarity
//! ```
//!
//! # In and out
//! | column | unit | better | meaning |
//! |---|---|---|---|
//! | `cascade: PARTS` | ratio | lower | one for every step of the cascade; the last has no trained weight |
//! | `independent: PART` | ratio | lower | one for every part |
//!
//! Lower is better as far as 0: a map that is turned round (-1) still owes its shape to something that was not learned.
//!
//! # Settings
//! - `over`: the units, by default an 8 x 8 grid.
//! - `similarity`: `rank` (default) or `structure`: [`ssim`] on the cells of a grid of at least 7 x 7, each map divided by its largest mass.
//!
//! # Cost
//! The method once for every model.
//!
//! # Errors
//! No score without such models, or where a map is the same on all units. A method that refuses a redrawn model has no score.
//!
//! # When it misleads
//! - Part of every map is the picture: an edge filter has 1 here and needs no model, and a map that follows edges stays alike for that reason.
//! - A method may fail the test where the network's make alone (pooling, skips) says much about what matters (Yona and Greenfeld 2021; Binder et al. 2023).
//! - Redrawn weights give numbers that no trained model has: some methods fail there rather than differ.
//!
//! # Agreement
//! Quantus 0.6 `correlation_spearman` on the masses, and scikit-image 0.26 `structural_similarity` on the grid, to 1e-9. (Quantus gives `ssim` a map laid out in one line.) A model beside itself has 1.
//!
//! # Reference
//! Adebayo et al.: Sanity Checks for Saliency Maps, NeurIPS 2018. <https://arxiv.org/abs/1810.03292>. There weights are initialised anew; here they are drawn with the moments that the trained ones have, so that
//! activations stay of the size that a deep network needs.

use mmlens_core::finding::largest;
use mmlens_core::{AnalysisError, On};
use serde::{Deserialize, Serialize};

use crate::alike::{rank_correlation, ssim};
use crate::metric::{AtHand, Better, Column, Metric, MetricCard, NoScore, Redrawn, Redraws, setting};
use crate::{Map, Over, Side, Sign};

/// How alike two maps are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Similarity {
    /// The correlation of ranks.
    #[default]
    Rank,
    /// The structural similarity.
    Structure,
}

/// How maps are compared.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandomisationSettings {
    /// Over which units.
    pub over: Over,
    /// How.
    pub similarity: Similarity,
}

impl RandomisationSettings {
    fn check(&self, card: &MetricCard) -> Result<(), AnalysisError> {
        match (self.similarity, self.over) {
            (Similarity::Structure, Over::Grid { rows, cols }) if rows >= 7 && cols >= 7 => Ok(()),
            (Similarity::Structure, over) => Err(setting(
                card,
                "over",
                format!("{over:?}"),
                "structure is compared on a grid of 7 x 7 cells or more",
            )),
            _ => Ok(()),
        }
    }

    fn masses(&self, asked: &AtHand<'_>, map: &Map) -> Result<Vec<f64>, NoScore> {
        Ok(map.signed(Sign::Absolute).on(&self.over.units(asked.inputs, asked.picture)?))
    }

    fn alike(&self, a: &[f64], b: &[f64]) -> Result<f64, NoScore> {
        let scaled = |values: &[f64]| -> Result<Vec<f64>, NoScore> {
            let most = largest(values).map_err(|error| NoScore::Undefined(error.to_string()))?;
            Ok(values.iter().map(|value| if most > 0.0 { value / most } else { 0.0 }).collect())
        };
        let found = match (self.similarity, self.over) {
            (Similarity::Structure, Over::Grid { rows, cols }) => {
                ssim(&scaled(a)?, &scaled(b)?, [rows, cols])
            }
            _ => rank_correlation(a, b),
        };
        found.ok_or_else(|| NoScore::Undefined("a map is the same on all units".to_owned()))
    }

    fn scores(&self, asked: &AtHand<'_>, map: &Map, models: &[Redrawn<'_>]) -> Result<Vec<f64>, NoScore> {
        let own = self.masses(asked, map)?;
        let of = |model: &Redrawn<'_>| {
            let on = On::new(model.subject).watched(asked.on.watch()).within(asked.on.memory());
            let other = asked.explainer.map(&on, asked.case, self.over.side())?;
            self.alike(&own, &self.masses(asked, &other)?)
        };
        models.iter().map(of).collect()
    }

    fn cost(asked: &AtHand<'_>, models: &[Redrawn<'_>]) -> Result<u64, NoScore> {
        if models.is_empty() {
            return Err(NoScore::Lacks("no model with weights drawn anew was given".to_owned()));
        }
        Ok(models.len() as u64 * asked.explainer.cost(&asked.on, asked.case)?)
    }
}

macro_rules! randomisation {
    ($(#[$doc:meta])* $name:ident, $id:literal, $field:ident, $prefix:literal, $question:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name(RandomisationSettings);

        impl Metric for $name {
            type Settings = RandomisationSettings;
            const CARD: MetricCard = MetricCard {
                id: $id,
                question: $question,
                needs: "the method, run on models with weights drawn anew",
                cost: "models x the method",
                citation: "Adebayo et al.: Sanity Checks for Saliency Maps. NeurIPS 2018. https://arxiv.org/abs/1810.03292",
                misleads: &[
                    "A map that follows edges stays alike, since the picture stays.",
                    "Redrawn weights give numbers that no trained model has.",
                ],
            };

            fn new(settings: RandomisationSettings) -> Result<Self, AnalysisError> {
                settings.check(&Self::CARD)?;
                Ok(Self(settings))
            }

            fn settings(&self) -> &RandomisationSettings {
                &self.0
            }

            fn columns(&self, redraws: Redraws<'_>) -> Vec<Column> {
                let of = |model: &Redrawn<'_>| Column::new(format!("{}{}", $prefix, model.name), Better::Lower);
                redraws.$field.iter().map(of).collect()
            }

            fn side(&self) -> Side {
                self.0.over.side()
            }

            fn cost(&self, asked: &AtHand<'_>) -> Result<u64, NoScore> {
                RandomisationSettings::cost(asked, asked.redraws.$field)
            }

            fn scores(&self, asked: &AtHand<'_>, map: &Map) -> Result<Vec<f64>, NoScore> {
                self.0.scores(asked, map, asked.redraws.$field)
            }
        }
    };
}

randomisation!(
    /// The map as the model forgets part by part, from the top.
    CascadingRandomisation,
    "cascading-randomisation",
    cascade,
    "cascade: ",
    "Does the map change as the model forgets what it learned, part by part from the top?"
);
randomisation!(
    /// The map as one part of the model forgets.
    IndependentRandomisation,
    "independent-randomisation",
    each,
    "independent: ",
    "Does the map change as one part of the model forgets what it learned?"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structure_needs_a_grid() {
        let settings = RandomisationSettings { over: Over::Patches, similarity: Similarity::Structure };
        let said = CascadingRandomisation::new(settings).unwrap_err().to_string();
        assert_eq!(
            said,
            "cascading-randomisation: over = Patches, but structure is compared on a grid of 7 x 7 cells or more"
        );
    }
}
