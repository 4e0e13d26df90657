//! What was learned: a bottleneck as a method of single cases.

use std::collections::BTreeMap;

use mmlens_core::check::setting;
use mmlens_core::finding::{Axis, Labelled, Role, Unit};
use mmlens_core::{Analysis, AnalysisError, Answer, Card, Case, Cost, Fitted, On, Parts, Site, step};
use mmlens_engine::{Logistic, Positions, dot, vectors};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{CARD, scores};
use crate::learned::{Taken, of_rows, of_vector, read, row_axis, whole};
use crate::surrogate::sparse_head::with_vector;

/// What a bottleneck has learned. It is written into every finding, bit for bit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Learned {
    /// What is read.
    pub site: Site,
    /// At which positions.
    pub positions: Positions,
    /// The classes, by name.
    pub classes: Vec<String>,
    /// The concepts, by name.
    pub concepts: Vec<String>,
    /// The direction of each concept, of length one.
    pub directions: Vec<Vec<f64>>,
    /// What is added to each concept's part of a row: together they are its margin.
    pub offsets: Vec<f64>,
    /// The mean margin of rows that have the concept not.
    pub lacking: Vec<f64>,
    /// The mean margin of rows that have the concept.
    pub having: Vec<f64>,
    /// A vector over margins for each class; of two classes for the second alone.
    pub weights: Vec<Vec<f64>>,
    /// A number for each vector.
    pub intercepts: Vec<f64>,
    /// The mean of each margin over the rows learned from.
    pub means: Vec<f64>,
    /// What is added, a vector over the row itself for each of those over margins; none for a bottleneck without it.
    pub rest: Vec<Vec<f64>>,
    /// A number for each of these.
    pub rest_intercepts: Vec<f64>,
    /// Concepts that are known to be there, or not: their margins are not looked at.
    pub known: BTreeMap<String, bool>,
}

impl Default for Learned {
    fn default() -> Self {
        let super::Settings { site, positions, .. } = super::Settings::default();
        Self {
            site,
            positions,
            classes: Vec::new(),
            concepts: Vec::new(),
            directions: Vec::new(),
            offsets: Vec::new(),
            lacking: Vec::new(),
            having: Vec::new(),
            weights: Vec::new(),
            intercepts: Vec::new(),
            means: Vec::new(),
            rest: Vec::new(),
            rest_intercepts: Vec::new(),
            known: BTreeMap::new(),
        }
    }
}

/// A bottleneck that was learned.
#[derive(Debug, Clone)]
pub struct Bottleneck {
    learned: Learned,
    head: Logistic,
    rest: Logistic,
    /// Concepts that any vector uses.
    used: Vec<usize>,
}

impl Bottleneck {
    /// An intervention: concepts that are known to be there, or not, in the place of what rows say of them.
    ///
    /// # Errors
    /// [`AnalysisError::Setting`] for a concept that it knows nothing of.
    pub fn knowing(&self, known: BTreeMap<String, bool>) -> Result<Self, AnalysisError> {
        Self::new(Learned { known, ..self.learned.clone() })
    }

    /// Margins as they are, and with what is known put in.
    fn margins(&self, row: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let Learned { concepts, directions, offsets, lacking, having, known, .. } = &self.learned;
        let own: Vec<f64> =
            directions.iter().zip(offsets).map(|(own, offset)| dot(own, row) + offset).collect();
        let told = concepts.iter().zip(lacking.iter().zip(having)).zip(&own).map(
            |((name, (lacking, having)), own)| match known.get(name) {
                None => *own,
                Some(false) => *lacking,
                Some(true) => *having,
            },
        );
        let told = told.collect();
        (own, told)
    }
}

impl Analysis for Bottleneck {
    type Input = Case;
    type Settings = Learned;
    const CARD: Card = CARD;

    fn new(learned: Learned) -> Result<Self, AnalysisError> {
        let Learned { classes, concepts, directions, weights, intercepts, rest, rest_intercepts, .. } =
            &learned;
        if classes.len() < 2 {
            let expected = "there must be two: a bottleneck has to be learned";
            return Err(setting(&CARD, "classes", classes.len(), expected));
        }
        let (vectors, count) = (vectors(classes.len()), concepts.len());
        let width = directions.first().map_or(0, Vec::len).max(1);
        let one = |name: &'static str, own: &Vec<f64>, len: usize| {
            whole(&CARD, name, std::slice::from_ref(own), (1, len))
        };
        whole(&CARD, "directions", directions, (count.max(1), width))?;
        whole(&CARD, "weights", weights, (vectors, count))?;
        one("intercepts", intercepts, vectors)?;
        for (name, own) in [
            ("offsets", &learned.offsets),
            ("lacking", &learned.lacking),
            ("having", &learned.having),
            ("means", &learned.means),
        ] {
            one(name, own, count)?;
        }
        if !rest.is_empty() || !rest_intercepts.is_empty() {
            whole(&CARD, "rest", rest, (vectors, width))?;
            one("rest_intercepts", rest_intercepts, vectors)?;
        }
        if let Some(name) = learned.known.keys().find(|name| !concepts.contains(name)) {
            let found = format!("`{name}`, which is none of `{}`", concepts.join("`, `"));
            return Err(setting(&CARD, "known", found, "it must be a concept that was learned"));
        }
        let used = (0..count).filter(|at| weights.iter().any(|own| own.get(*at).is_some_and(|w| *w != 0.0)));
        let head = Logistic { weights: weights.clone(), intercepts: intercepts.clone() };
        let rest = Logistic { weights: rest.clone(), intercepts: rest_intercepts.clone() };
        Ok(Self { used: used.collect(), head, rest, learned })
    }

    fn settings(&self) -> &Learned {
        &self.learned
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        Ok(on.cost_of_pass(case)?)
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let Learned { site, positions, classes, concepts, directions, weights, intercepts, means, .. } =
            &self.learned;
        let inputs = on.encode(&case.sample)?;
        let width = directions.first().map_or(0, Vec::len);
        let held = read((on, &CARD), &inputs, (*site, positions), width)?;
        let (mut probabilities, mut without, mut margins, mut contributions, mut rest) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for row in held.rows() {
            let row: Vec<f64> = row.iter().map(|x| f64::from(*x)).collect();
            let (own, told) = self.margins(&row);
            let more = scores(&self.rest, &row);
            let shares = |margins: &[f64]| -> Vec<f32> {
                let own = scores(&self.head, margins);
                let sum = own
                    .iter()
                    .enumerate()
                    .map(|(at, own)| own + more.get(at).copied().unwrap_or(0.0))
                    .collect();
                let all = Logistic { weights: vec![Vec::new(); own.len()], intercepts: sum };
                all.log_probabilities(&[]).into_iter().map(|log| log.exp() as f32).collect()
            };
            probabilities.extend(shares(&told));
            without.extend(shares(&own));
            for own in weights {
                let part = |at: &usize| Some((own.get(*at)? * (told.get(*at)? - means.get(*at)?)) as f32);
                contributions.extend(self.used.iter().filter_map(part));
            }
            margins.extend(own.into_iter().map(|own| own as f32));
            rest.extend(more.into_iter().map(|own| own as f32));
        }
        let base = weights.iter().zip(intercepts).map(|(own, b)| (dot(own, means) + b) as f32).collect();
        let rows = || row_axis(&inputs, &held);
        let all = || Axis::names(Role::Concept, classes.iter().map(String::as_str));
        let told = || Axis::names(Role::Concept, with_vector(classes));
        let features = Axis::names(Role::Feature, concepts.iter().map(String::as_str));
        let used = Axis::names(
            Role::Feature,
            self.used.iter().filter_map(|at| concepts.get(*at)).map(String::as_str),
        );
        let mut tables = vec![
            Labelled::numbers("probabilities", Unit::Probability, vec![rows(), all()], probabilities)?,
            Labelled::numbers("margins", Unit::Activation, vec![rows(), features], margins)?,
        ];
        if !self.used.is_empty() {
            tables.push(Labelled::numbers(
                "contributions",
                Unit::Logit,
                vec![rows(), told(), used],
                contributions,
            )?);
        }
        if !self.learned.known.is_empty() {
            tables.push(Labelled::numbers(
                "probabilities before",
                Unit::Probability,
                vec![rows(), all()],
                without,
            )?);
        }
        if !self.learned.rest.is_empty() {
            tables.push(Labelled::numbers("rest", Unit::Logit, vec![rows(), told()], rest)?);
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
    concepts: Vec<String>,
    known: BTreeMap<String, bool>,
    hybrid: bool,
}

impl Fitted for Bottleneck {
    fn parts(&self) -> Result<Parts, AnalysisError> {
        let Learned { site, positions, classes, concepts, known, rest, .. } = &self.learned;
        let own = &self.learned;
        let mut tensors = vec![
            ("directions", of_rows(&own.directions)),
            ("offsets", of_vector(&own.offsets)),
            ("lacking", of_vector(&own.lacking)),
            ("having", of_vector(&own.having)),
            ("weights", of_rows(&own.weights)),
            ("intercepts", of_vector(&own.intercepts)),
            ("means", of_vector(&own.means)),
        ];
        let hybrid = !rest.is_empty();
        if hybrid {
            tensors.push(("rest", of_rows(rest)));
            tensors.push(("rest_intercepts", of_vector(&own.rest_intercepts)));
        }
        let tensors = tensors.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect();
        let about = json!({ "site": site, "positions": positions, "classes": classes, "concepts": concepts, "known": known, "hybrid": hybrid });
        Ok(Parts { tensors, about: about.to_string() })
    }

    fn of(parts: Parts) -> Result<Self, AnalysisError> {
        let (About { site, positions, classes, concepts, known, hybrid }, mut taken) =
            Taken::of(&CARD, parts)?;
        let learned = Learned {
            site,
            positions,
            classes,
            concepts,
            known,
            directions: taken.rows("directions")?,
            offsets: taken.vector("offsets")?,
            lacking: taken.vector("lacking")?,
            having: taken.vector("having")?,
            weights: taken.rows("weights")?,
            intercepts: taken.vector("intercepts")?,
            means: taken.vector("means")?,
            rest: if hybrid { taken.rows("rest")? } else { Vec::new() },
            rest_intercepts: if hybrid { taken.vector("rest_intercepts")? } else { Vec::new() },
        };
        taken.done()?;
        Self::new(learned)
    }
}
