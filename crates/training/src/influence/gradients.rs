//! Cases by their gradients of the weights.

use mmlens_core::caution::saturated;
use mmlens_core::check::{at_least_one, input};
use mmlens_core::finding::Caution;
use mmlens_core::{AnalysisError, Card, Case, Copies, Cost, Inputs, Objective, On, Part, Point, Seed, Site};
use mmlens_engine::WeightGradients;
use serde::{Deserialize, Serialize};

use super::measure::{Represent, Represented, finite};

/// Whether gradients are kept whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Projected {
    /// As sketches, by products with random signs.
    #[default]
    Signs,
    /// Whole: for few weights.
    None,
}

/// How gradients are taken and kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Of which weights, by patterns such as `text.blocks.*.mlp`; without one of all that are covered.
    pub weights: Vec<String>,
    /// Whether they are sketched.
    pub projected: Projected,
    /// Numbers of a sketch.
    pub features: usize,
    /// What scores are multiplied by: the learning rate at the checkpoint.
    pub rate: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { weights: Vec::new(), projected: Projected::Signs, features: 512, rate: 1.0 }
    }
}

impl Settings {
    pub(super) fn check(&self, card: &Card) -> Result<(), AnalysisError> {
        at_least_one(card, "features", self.features)?;
        mmlens_core::check::above_zero(card, "rate", self.rate)
    }
}

/// The most numbers of a gradient that is kept whole.
const WHOLE: usize = 1 << 16;

/// By what the gradient of a case is multiplied, of what is explained and its value; and what speaks against it.
pub(super) type Factor = fn(&Objective, f64) -> Result<(f64, Option<Caution>), AnalysisError>;

/// The gradient as it is.
pub(super) fn plain(objective: &Objective, value: f64) -> Result<(f64, Option<Caution>), AnalysisError> {
    Ok((1.0, saturated(objective, value as f32)))
}

/// What gradients are taken of.
pub struct Ready {
    card: &'static Card,
    factor: Factor,
    weights: WeightGradients,
    settings: Settings,
    seed: Seed,
    /// Whether a product gives the logits of words: then all positions are asked for.
    words: bool,
}

impl std::fmt::Debug for Ready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "gradients of {} weights", self.weights.len())
    }
}

impl Ready {
    pub(super) fn new(
        card: &'static Card,
        settings: &Settings,
        on: &On<'_>,
        (seed, factor): (Seed, Factor),
    ) -> Result<Self, AnalysisError> {
        let weights = WeightGradients::of(on.subject(), &settings.weights)?;
        if weights.is_empty() {
            let found = format!("`{}` shows none", on.subject().name());
            return Err(input(card, "weights by name, between a site they read and one they write", found));
        }
        if settings.projected == Projected::None && weights.numbers() > WHOLE {
            let found = format!("{} weights have {}", weights.len(), weights.numbers());
            return Err(input(
                card,
                format!("at most {WHOLE} numbers in a gradient that is kept whole"),
                found,
            ));
        }
        let words = weights.sites().contains(&Site::of(Part::Text, Point::Logits));
        Ok(Self { card, factor, weights, settings: settings.clone(), seed, words })
    }

    fn opened(&self, inputs: Inputs) -> Inputs {
        if self.words { inputs.all_logits() } else { inputs }
    }

    /// Numbers held beside the pass of a case.
    fn beside(&self, inputs: &Inputs, on: &On<'_>) -> Result<u64, AnalysisError> {
        let mut most = 0;
        for site in self.weights.sites() {
            let dims = on.subject().dims(inputs, site)?;
            let numbers: usize = dims.iter().product();
            let width = dims.iter().skip(1).product::<usize>();
            // Signs of one side, their products with all positions, and what is copied of them.
            let own = match self.settings.projected {
                Projected::Signs => {
                    self.settings.features * (width + 3 * dims.iter().take(2).product::<usize>())
                }
                Projected::None => self.weights.numbers(),
            };
            most = u64::max(most, 4 * (numbers + own) as u64); // no NaN: whole numbers
        }
        Ok(most)
    }
}

impl Represent for Ready {
    fn sites(&self) -> Vec<Site> {
        self.weights.sites()
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        let inputs = self.opened(on.encode(&case.sample)?);
        let plan = self.weights.plan(&on.form(case, &inputs)?, &inputs)?;
        let need = on.subject().need(&inputs, &plan, Copies::ONE)?;
        let bytes = need.bytes.saturating_add(self.beside(&inputs, on)?);
        Ok(Cost::rows(1 + case.settling()).with_gradients(1).taking(bytes, on.memory().budget()))
    }

    fn represent(&self, on: &On<'_>, case: &Case, apart: bool) -> Result<Represented, AnalysisError> {
        let (inputs, objective) = on.open(case)?;
        let inputs = self.opened(inputs);
        let plan = self.weights.plan(&objective, &inputs)?;
        let need = on.subject().need(&inputs, &plan, Copies::ONE)?;
        on.memory().hold(self.card.id, self.beside(&inputs, on)?, need)?;
        let trace = on.subject().run(&inputs, plan)?;
        let value: f64 = trace.scores()?.iter().map(|score| f64::from(*score)).sum();
        let (by, caution) = (self.factor)(&objective, value)?;
        let factors = self.weights.factors(&inputs, &trace)?;
        let told = apart.then(|| self.weights.shares(&inputs, &factors));
        let rows = match self.settings.projected {
            Projected::Signs => {
                self.weights.sketch(&factors, told.as_ref(), (self.settings.features, self.seed))?
            }
            Projected::None => self.weights.whole(&factors, told.as_ref())?,
        };
        let names = told.map_or_else(|| vec!["all".to_owned()], |told| told.names);
        let scaled = |row: Vec<f32>| row.into_iter().map(|x| (f64::from(x) * by) as f32).collect();
        let shares: Vec<(String, Vec<f32>)> = names.into_iter().zip(rows.into_iter().map(scaled)).collect();
        for (_, share) in &shares {
            finite("gradients of weights", share)?;
        }
        Ok(Represented { shares, value, unit: objective.unit(), cautions: caution.into_iter().collect() })
    }
}
