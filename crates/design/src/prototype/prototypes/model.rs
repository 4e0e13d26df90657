//! What was learned: prototypes as a method of single cases.

use mmlens_core::check::{above_zero, setting};
use mmlens_core::finding::{Axis, Labelled, Role, Unit};
use mmlens_core::{Analysis, AnalysisError, Answer, Card, Case, Cost, Fitted, On, Parts, Site, step};
use mmlens_engine::{Logistic, Positions, dot, vectors};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{CARD, similarity};
use crate::learned::{Taken, of_rows, of_vector, read, row_axis, whole};
use crate::surrogate::sparse_head::with_vector;

/// What a prototype head has learned. It is written into every finding, bit for bit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Learned {
    /// What is read.
    pub site: Site,
    /// Which positions are patches.
    pub positions: Positions,
    /// The classes, by name.
    pub classes: Vec<String>,
    /// The prototypes, by name.
    pub names: Vec<String>,
    /// Where each is from.
    pub from: Vec<String>,
    /// The state of each.
    pub states: Vec<Vec<f64>>,
    /// What squared distances are divided by.
    pub scale: f64,
    /// What keeps the similarity of a patch with itself finite.
    pub epsilon: f64,
    /// A vector over prototypes for each class; of two classes for the second alone.
    pub weights: Vec<Vec<f64>>,
    /// A number for each vector.
    pub intercepts: Vec<f64>,
    /// The mean activation of each prototype over the cases learned from.
    pub means: Vec<f64>,
}

impl Default for Learned {
    fn default() -> Self {
        let super::Settings { site, positions, epsilon, .. } = super::Settings::default();
        Self {
            site,
            positions,
            epsilon,
            scale: 1.0,
            classes: Vec::new(),
            names: Vec::new(),
            from: Vec::new(),
            states: Vec::new(),
            weights: Vec::new(),
            intercepts: Vec::new(),
            means: Vec::new(),
        }
    }
}

/// A prototype head that was learned.
#[derive(Debug, Clone)]
pub struct Prototypes {
    learned: Learned,
    head: Logistic,
}

impl Analysis for Prototypes {
    type Input = Case;
    type Settings = Learned;
    const CARD: Card = CARD;

    fn new(learned: Learned) -> Result<Self, AnalysisError> {
        let Learned { classes, names, from, states, scale, epsilon, weights, intercepts, means, .. } =
            &learned;
        if classes.len() < 2 {
            let expected = "there must be two: prototypes have to be learned";
            return Err(setting(&CARD, "classes", classes.len(), expected));
        }
        let (vectors, count) = (vectors(classes.len()), names.len());
        if count == 0 || from.len() != count {
            let found = format!("{count}, from {} places", from.len());
            return Err(setting(&CARD, "names", found, "there is at least one, each from a place"));
        }
        above_zero(&CARD, "scale", *scale)?;
        above_zero(&CARD, "epsilon", *epsilon)?;
        let width = states.first().map_or(0, Vec::len).max(1); // no NaN: whole numbers
        whole(&CARD, "states", states, (count, width))?;
        whole(&CARD, "weights", weights, (vectors, count))?;
        for (name, own, len) in [("intercepts", intercepts, vectors), ("means", means, count)] {
            whole(&CARD, name, std::slice::from_ref(own), (1, len))?;
        }
        let head = Logistic { weights: weights.clone(), intercepts: intercepts.clone() };
        Ok(Self { learned, head })
    }

    fn settings(&self) -> &Learned {
        &self.learned
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        Ok(on.cost_of_pass(case)?)
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let Learned {
            site,
            positions,
            classes,
            names,
            from,
            states,
            scale,
            epsilon,
            weights,
            intercepts,
            means,
        } = &self.learned;
        let inputs = on.encode(&case.sample)?;
        let width = states.first().map_or(0, Vec::len);
        let held = read((on, &CARD), &inputs, (*site, positions), width)?;
        let rows: Vec<Vec<f64>> =
            held.rows().map(|row| row.iter().map(|x| f64::from(*x)).collect()).collect();
        let of = |state: &Vec<f64>| -> Vec<f64> {
            rows.iter().map(|row| similarity(row, state, (*scale, *epsilon))).collect()
        };
        let maps: Vec<Vec<f64>> = states.iter().map(of).collect();
        let most = |map: &Vec<f64>| map.iter().copied().fold(f64::NEG_INFINITY, f64::max); // no NaN: states are finite
        let activations: Vec<f64> = maps.iter().map(most).collect();
        let probabilities =
            self.head.log_probabilities(&activations).into_iter().map(|log| log.exp() as f32).collect();
        let parts = weights.iter().flat_map(|own| {
            own.iter().zip(&activations).zip(means).map(|((w, a), mean)| (w * (a - mean)) as f32)
        });
        let base = weights.iter().zip(intercepts).map(|(own, b)| (dot(own, means) + b) as f32).collect();
        let features = || Axis::names(Role::Feature, names.iter().map(String::as_str));
        let told = || Axis::names(Role::Concept, with_vector(classes));
        let all = Axis::names(Role::Concept, classes.iter().map(String::as_str));
        let active = activations.iter().map(|own| *own as f32).collect();
        let mut tables = vec![
            Labelled::numbers("probabilities", Unit::Probability, vec![all], probabilities)?,
            Labelled::numbers("activation", Unit::None, vec![features()], active)?,
            Labelled::numbers("contributions", Unit::Logit, vec![told(), features()], parts.collect())?,
        ];
        for (name, map) in names.iter().zip(&maps) {
            let values = map.iter().map(|own| *own as f32).collect();
            let axes = vec![row_axis(&inputs, &held)];
            tables.push(Labelled::numbers(format!("like {name}"), Unit::None, axes, values)?);
        }
        tables.push(Labelled::texts("prototypes", vec![features()], from.clone())?);
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
    names: Vec<String>,
    from: Vec<String>,
}

impl Fitted for Prototypes {
    fn parts(&self) -> Result<Parts, AnalysisError> {
        let Learned {
            site,
            positions,
            classes,
            names,
            from,
            states,
            scale,
            epsilon,
            weights,
            intercepts,
            means,
        } = &self.learned;
        let tensors = [
            ("states", of_rows(states)),
            ("distance", of_vector(&[*scale, *epsilon])),
            ("weights", of_rows(weights)),
            ("intercepts", of_vector(intercepts)),
            ("means", of_vector(means)),
        ];
        let tensors = tensors.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect();
        let about =
            json!({ "site": site, "positions": positions, "classes": classes, "names": names, "from": from });
        Ok(Parts { tensors, about: about.to_string() })
    }

    fn of(parts: Parts) -> Result<Self, AnalysisError> {
        let (About { site, positions, classes, names, from }, mut taken) = Taken::of(&CARD, parts)?;
        let distance = taken.vector("distance")?;
        let [scale, epsilon] = distance[..] else {
            let expected = "there are two: what distances are divided by, and epsilon";
            return Err(setting(&CARD, "distance", format!("{} numbers", distance.len()), expected));
        };
        let learned = Learned {
            site,
            positions,
            classes,
            names,
            from,
            scale,
            epsilon,
            states: taken.rows("states")?,
            weights: taken.rows("weights")?,
            intercepts: taken.vector("intercepts")?,
            means: taken.vector("means")?,
        };
        taken.done()?;
        Self::new(learned)
    }
}
