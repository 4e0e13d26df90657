//! What was learned: a sparse head as a method of single cases.

use mmlens_core::check::setting;
use mmlens_core::finding::{Axis, Labelled, Role, Unit};
use mmlens_core::{Analysis, AnalysisError, Answer, Card, Case, Cost, Fitted, On, Parts, Site, step};
use mmlens_engine::{Logistic, Positions, dot, vectors};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{CARD, feature_axis, with_vector};
use crate::learned::{Taken, of_rows, of_vector, read, row_axis, whole};

/// What a head has learned. It is written into every finding, bit for bit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Learned {
    /// What is read.
    pub site: Site,
    /// At which positions.
    pub positions: Positions,
    /// The classes, by name.
    pub classes: Vec<String>,
    /// A vector for each class; of two classes for the second alone.
    pub weights: Vec<Vec<f64>>,
    /// A number for each vector.
    pub intercepts: Vec<f64>,
    /// The mean of each feature over the rows learned from.
    pub means: Vec<f64>,
}

impl Default for Learned {
    fn default() -> Self {
        let super::Settings { site, positions, .. } = super::Settings::default();
        let (classes, weights, intercepts, means) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { site, positions, classes, weights, intercepts, means }
    }
}

/// A sparse head that was learned.
#[derive(Debug, Clone)]
pub struct Head {
    learned: Learned,
    model: Logistic,
    /// Features that any vector uses.
    used: Vec<usize>,
}

impl Analysis for Head {
    type Input = Case;
    type Settings = Learned;
    const CARD: Card = CARD;

    fn new(learned: Learned) -> Result<Self, AnalysisError> {
        let Learned { classes, weights, intercepts, means, .. } = &learned;
        if classes.len() < 2 {
            let expected = "there must be two: a head has to be learned";
            return Err(setting(&CARD, "classes", classes.len(), expected));
        }
        let (count, width) = (vectors(classes.len()), weights.first().map_or(0, Vec::len));
        whole(&CARD, "weights", weights, (count, width.max(1)))?;
        whole(&CARD, "intercepts", std::slice::from_ref(intercepts), (1, count))?;
        whole(&CARD, "means", std::slice::from_ref(means), (1, width))?;
        let used = (0..width).filter(|at| weights.iter().any(|own| own.get(*at).is_some_and(|w| *w != 0.0)));
        let model = Logistic { weights: weights.clone(), intercepts: intercepts.clone() };
        Ok(Self { used: used.collect(), model, learned })
    }

    fn settings(&self) -> &Learned {
        &self.learned
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        Ok(on.cost_of_pass(case)?)
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let Learned { site, positions, classes, weights, intercepts, means } = &self.learned;
        let inputs = on.encode(&case.sample)?;
        let held = read((on, &CARD), &inputs, (*site, positions), means.len())?;
        let (mut probabilities, mut contributions) = (Vec::new(), Vec::new());
        for row in held.rows() {
            let row: Vec<f64> = row.iter().map(|x| f64::from(*x)).collect();
            probabilities.extend(self.model.log_probabilities(&row).into_iter().map(|log| log.exp() as f32));
            for own in weights {
                let part = |at: &usize| Some((own.get(*at)? * (row.get(*at)? - means.get(*at)?)) as f32);
                contributions.extend(self.used.iter().filter_map(part));
            }
        }
        let base = weights.iter().zip(intercepts).map(|(own, b)| (dot(own, means) + b) as f32).collect();
        let rows = || row_axis(&inputs, &held);
        let all = Axis::names(Role::Concept, classes.iter().map(String::as_str));
        let told = || Axis::names(Role::Concept, with_vector(classes));
        let used = feature_axis(self.used.iter().copied());
        let mut tables =
            vec![Labelled::numbers("probabilities", Unit::Probability, vec![rows(), all], probabilities)?];
        if !self.used.is_empty() {
            let axes = vec![rows(), told(), used];
            tables.push(Labelled::numbers("contributions", Unit::Logit, axes, contributions)?);
        }
        tables.push(Labelled::numbers("base", Unit::Logit, vec![told()], base)?.aside());
        step(on.watch(), CARD.id, 1, 1)?;
        Ok(Answer::new(tables, [*site]))
    }
}

/// All that is learned but its numbers.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    site: Site,
    positions: Positions,
    classes: Vec<String>,
}

impl Fitted for Head {
    fn parts(&self) -> Result<Parts, AnalysisError> {
        let Learned { site, positions, classes, weights, intercepts, means } = &self.learned;
        let tensors = [
            ("weights", of_rows(weights)),
            ("intercepts", of_vector(intercepts)),
            ("means", of_vector(means)),
        ];
        let tensors = tensors.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect();
        let about = json!({ "site": site, "positions": positions, "classes": classes }).to_string();
        Ok(Parts { tensors, about })
    }

    fn of(parts: Parts) -> Result<Self, AnalysisError> {
        let (About { site, positions, classes }, mut taken) = Taken::of(&CARD, parts)?;
        let (weights, intercepts) = (taken.rows("weights")?, taken.vector("intercepts")?);
        let means = taken.vector("means")?;
        taken.done()?;
        Self::new(Learned { site, positions, classes, weights, intercepts, means })
    }
}
