//! What was learned: a probe as a method of single cases.

use std::collections::BTreeMap;

use mmlens_core::finding::{Axis, Labelled, Role, Unit};
use mmlens_core::{Analysis, AnalysisError, Answer, Card, Case, Cost, Fitted, On, Parts, Site, step};
use mmlens_engine::{Logistic, Positions, label, rows_of, vectors};
use mmlens_files::Doubles;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::CARD;
use crate::check::setting;

/// What a probe has learned. It is written into every finding, bit for bit.
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
}

impl Default for Learned {
    fn default() -> Self {
        let super::Settings { site, positions, .. } = super::Settings::default();
        Self { site, positions, classes: Vec::new(), weights: Vec::new(), intercepts: Vec::new() }
    }
}

/// A probe that was learned: the probability of each class, at each row of a case.
#[derive(Debug, Clone)]
pub struct Probe {
    learned: Learned,
    model: Logistic,
}

impl Probe {
    /// The logarithm of the probability of each class, for one row.
    ///
    /// # Errors
    /// [`AnalysisError::Input`] for a row of another length.
    pub fn log_probabilities(&self, row: &[f32]) -> Result<Vec<f64>, AnalysisError> {
        let width = self.learned.weights.first().map_or(0, Vec::len);
        if row.len() != width {
            let found = format!("this one has {}", row.len());
            let needs = format!("rows of {width} numbers").into();
            return Err(AnalysisError::Input { method: CARD.id, needs, found });
        }
        let row: Vec<f64> = row.iter().map(|x| f64::from(*x)).collect();
        Ok(self.model.log_probabilities(&row))
    }
}

impl Analysis for Probe {
    type Input = Case;
    type Settings = Learned;
    const CARD: Card = CARD;

    fn new(learned: Learned) -> Result<Self, AnalysisError> {
        let Learned { classes, weights, intercepts, .. } = &learned;
        if classes.len() < 2 {
            return Err(setting(
                &CARD,
                "classes",
                classes.len(),
                "there must be two: a probe has to be learned",
            ));
        }
        let (count, width) = (vectors(classes.len()), weights.first().map_or(0, Vec::len));
        let whole = weights.len() == count && width > 0 && weights.iter().all(|vector| vector.len() == width);
        if !whole {
            let lengths: Vec<usize> = weights.iter().map(Vec::len).collect();
            let expected = "there must be a vector for each class (of two classes, one), all of one length";
            return Err(setting(&CARD, "weights", format!("vectors of lengths {lengths:?}"), expected));
        }
        if intercepts.len() != count {
            return Err(setting(&CARD, "intercepts", intercepts.len(), "there must be one for each vector"));
        }
        if let Some(value) = weights.iter().flatten().chain(intercepts).find(|value| !value.is_finite()) {
            return Err(setting(&CARD, "weights", value, "all must be finite"));
        }
        let model = Logistic { weights: weights.clone(), intercepts: intercepts.clone() };
        Ok(Self { learned, model })
    }

    fn settings(&self) -> &Learned {
        &self.learned
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        Ok(on.cost_of_pass(case)?)
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let Learned { site, positions, classes, .. } = &self.learned;
        let inputs = on.encode(&case.sample)?;
        let held = rows_of((on, CARD.id), &inputs, *site, positions)?;
        let mut values = Vec::with_capacity(held.places.len() * classes.len());
        for row in held.values.chunks_exact(held.width.max(1)) {
            values.extend(self.log_probabilities(row)?.into_iter().map(|log| log.exp() as f32));
        }
        let rows = match held.prompt {
            true => label::token_axis_at(inputs.map(), &held.places),
            false => Axis::count(Role::Sample, held.places.len()),
        };
        let axes = vec![rows, Axis::names(Role::Concept, classes.iter().map(String::as_str))];
        let table = Labelled::numbers("probabilities", Unit::Probability, axes, values)?;
        step(on.watch(), CARD.id, 1, 1)?;
        Ok(Answer::new(vec![table], [*site]))
    }
}

/// The names of the tensors in a file.
const WEIGHTS: &str = "weights";
const INTERCEPTS: &str = "intercepts";

/// All that is learned but its numbers.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    site: Site,
    positions: Positions,
    classes: Vec<String>,
}

impl Fitted for Probe {
    fn parts(&self) -> Result<Parts, AnalysisError> {
        let Learned { site, positions, classes, weights, intercepts } = &self.learned;
        let width = weights.first().map_or(0, Vec::len);
        let tensors = [
            (WEIGHTS, Doubles { shape: vec![weights.len(), width], values: weights.concat() }),
            (INTERCEPTS, Doubles { shape: vec![intercepts.len()], values: intercepts.clone() }),
        ];
        let tensors = tensors.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect();
        let about = json!({ "site": site, "positions": positions, "classes": classes }).to_string();
        Ok(Parts { tensors, about })
    }

    fn of(parts: Parts) -> Result<Self, AnalysisError> {
        let wrong = |reason: String| AnalysisError::Settings { method: CARD.id, reason };
        let Parts { mut tensors, about } = parts;
        let About { site, positions, classes } =
            mmlens_files::parse_json(about.as_bytes()).map_err(|error| wrong(error.to_string()))?;
        let take = |name: &str, rank: usize, tensors: &mut BTreeMap<String, Doubles>| {
            let tensor = tensors.remove(name).ok_or_else(|| wrong(format!("there is no tensor `{name}`")))?;
            match tensor.shape.len() == rank {
                true => Ok(tensor),
                false => Err(wrong(format!("`{name}` is {:?}, expected {rank} axes", tensor.shape))),
            }
        };
        let weights = take(WEIGHTS, 2, &mut tensors)?;
        let intercepts = take(INTERCEPTS, 1, &mut tensors)?;
        if let Some(name) = tensors.keys().next() {
            return Err(wrong(format!("a tensor `{name}` has no meaning")));
        }
        let width = weights.shape.last().copied().unwrap_or(0);
        let weights = weights.values.chunks(width.max(1)).map(<[f64]>::to_vec).collect();
        Self::new(Learned { site, positions, classes, weights, intercepts: intercepts.values })
    }
}
