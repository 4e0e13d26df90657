//! What was learned of training cases: a method of single cases.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use mmlens_core::check::{at_least_one, input, setting};
use mmlens_core::finding::{Caution, CautionKind, Unit};
use mmlens_core::{Analysis, AnalysisError, Answer, Card, Case, Cost, Fitted, On, Parts, Seed, Site, step};
use mmlens_engine::{Matrix, dot};
use mmlens_files::{Doubles, parse_value};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ranked::{SHOWN, Scores};
use super::{Measure, Represent, Represented};

/// What was learned and what is shown of it. Rows are named by their hash: they are many.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Learned {
    /// How many training cases are shown.
    pub shown: usize,
    /// The data set of the training cases.
    pub data: String,
    /// How many there are.
    pub cases: usize,
    /// Their hash.
    pub sha256: String,
    /// The hash of the weights they were passed through.
    pub weights: String,
    /// The seed of all draws.
    pub seed: u64,
    /// The settings of what learned.
    pub fit: Value,
    /// The hash of what is kept of the cases.
    pub rows: String,
}

impl Default for Learned {
    fn default() -> Self {
        Self {
            shown: SHOWN,
            data: String::new(),
            cases: 0,
            sha256: String::new(),
            weights: String::new(),
            seed: 0,
            fit: json!({}),
            rows: String::new(),
        }
    }
}

/// The influence of training cases on a case.
#[derive(Debug, Clone)]
pub struct Influence<M: Measure> {
    learned: Learned,
    settings: M::Settings,
    rows: Matrix,
    gains: Vec<f64>,
    names: Vec<String>,
    /// What the objectives of training cases were measured in.
    unit: Unit,
    measure: PhantomData<M>,
}

/// Products with a case.
pub(super) struct Products {
    pub(super) shares: Shares,
    pub(super) cautions: Vec<Caution>,
    pub(super) sites: Vec<Site>,
}

/// Shares by name, each with a number for every training case.
pub(super) type Shares = Vec<(String, Vec<f64>)>;

impl<M: Measure> Influence<M> {
    /// Of rows, a factor for each, and a name for each.
    ///
    /// # Errors
    /// [`AnalysisError::Settings`] for settings that cannot be read, or another number of factors or names than rows.
    pub(super) fn with(
        mut learned: Learned,
        (rows, gains): (Matrix, Vec<f64>),
        names: Vec<String>,
        unit: Unit,
    ) -> Result<Self, AnalysisError> {
        let wrong = |reason: String| AnalysisError::Settings { method: M::CARD.id, reason };
        at_least_one(&M::CARD, "shown", learned.shown)?;
        let settings: M::Settings = parse_value(&learned.fit).map_err(|error| wrong(error.to_string()))?;
        M::check(&settings)?;
        let counts = [rows.len(), gains.len(), names.len()];
        if counts != [learned.cases; 3] || learned.cases == 0 {
            let reason = format!("rows, factors and names of {} cases are {counts:?}", learned.cases);
            return Err(wrong(reason));
        }
        if let Some(value) = rows.values().iter().chain(&gains).find(|value| !value.is_finite()) {
            return Err(wrong(format!("its rows hold {value}, where a finite number belongs")));
        }
        let bytes: Vec<u8> =
            rows.values().iter().chain(&gains).flat_map(|value| value.to_le_bytes()).collect();
        learned.rows = mmlens_files::sha256(bytes);
        Ok(Self { learned, settings, rows, gains, names, unit, measure: PhantomData })
    }

    /// The same with another number of cases shown.
    ///
    /// # Errors
    /// [`AnalysisError::Setting`] for none.
    pub fn showing(self, shown: usize) -> Result<Self, AnalysisError> {
        at_least_one(&M::CARD, "shown", shown)?;
        Ok(Self { learned: Learned { shown, ..self.learned }, ..self })
    }

    /// What speaks against a case that is explained.
    fn cautions(&self, own: &Represented) -> Vec<Caution> {
        let mut said = own.cautions.clone();
        if own.unit != self.unit {
            let text = format!(
                "what is explained is a {}, and of the training cases it was a {}: their gradients are of different things",
                own.unit, self.unit
            );
            said.push(Caution::new(CautionKind::Other, 1.0, text));
        }
        if own.shares.iter().all(|(_, share)| share.iter().all(|x| *x == 0.0)) {
            let count = own.shares.iter().map(|(_, share)| share.len()).sum::<usize>();
            let text = format!("all {count} numbers that stand for the case are zero, and all scores");
            said.push(Caution::new(CautionKind::NothingMoved, count as f32, text));
        }
        said
    }

    /// Whether the same training cases were learned from, in the same order.
    pub(super) fn is_of_the_cases_of(&self, other: &Self) -> bool {
        let of = |own: &Learned| (own.sha256.clone(), own.cases);
        of(&self.learned) == of(&other.learned) && self.names == other.names && self.unit == other.unit
    }

    pub(super) fn gains(&self) -> &[f64] {
        &self.gains
    }

    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// The product of every training case with a case, share by share, what speaks against them, and where was looked.
    pub(super) fn products(&self, on: &On<'_>, case: &Case) -> Result<Products, AnalysisError> {
        let ready = self.fits(on)?;
        let own = ready.represent(on, case, true)?;
        let shares = self.multiplied(&own.shares)?;
        Ok(Products { shares, cautions: self.cautions(&own), sites: ready.sites() })
    }

    /// Products of all training cases with what is explained, share by share.
    fn multiplied(&self, shares: &[(String, Vec<f32>)]) -> Result<Shares, AnalysisError> {
        let wide = self.rows.width();
        let mut all = Vec::with_capacity(shares.len());
        let mut whole = vec![0.0_f64; wide];
        for (_, share) in shares {
            if share.len() != wide {
                let found = format!("this one has {}", share.len());
                return Err(input(&M::CARD, format!("a model of which a case is {wide} numbers"), found));
            }
            whole.iter_mut().zip(share).for_each(|(sum, value)| *sum += f64::from(*value));
        }
        let length = dot(&whole, &whole).sqrt();
        let by = if !M::COSINE {
            1.0
        } else if length > 0.0 {
            1.0 / length
        } else {
            0.0
        };
        for (name, share) in shares {
            let share: Vec<f64> = share.iter().map(|value| f64::from(*value)).collect();
            let each = self.rows.rows().map(|row| by * dot(row, &share));
            all.push((name.clone(), each.collect()));
        }
        Ok(all)
    }

    fn fits(&self, on: &On<'_>) -> Result<M::Ready, AnalysisError> {
        let (own, found) = (&self.learned.weights, on.subject().weights_hash());
        if *own != found {
            let needs = format!("the model that its training cases were passed through, of weights {own}");
            return Err(input(&M::CARD, needs, format!("`{}` has {found}", on.subject().name())));
        }
        M::ready(&self.settings, on, Seed(self.learned.seed))
    }
}

impl<M: Measure> Analysis for Influence<M> {
    type Input = Case;
    type Settings = Learned;
    const CARD: Card = M::CARD;

    fn new(learned: Learned) -> Result<Self, AnalysisError> {
        let found = if learned.rows.is_empty() { "none".to_owned() } else { learned.rows };
        Err(setting(&M::CARD, "rows", found, "it is learned of training cases, or loaded from its file"))
    }

    fn settings(&self) -> &Learned {
        &self.learned
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        self.fits(on)?.cost(on, case)
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let Products { mut shares, cautions, sites } = self.products(on, case)?;
        let weighed = |(_, values): &mut (String, Vec<f64>)| {
            values.iter_mut().zip(&self.gains).for_each(|(value, gain)| *value *= gain);
        };
        shares.iter_mut().for_each(weighed);
        step(on.watch(), M::CARD.id, 1, 1)?;
        let scores = Scores {
            unit: M::UNIT,
            names: &self.names,
            shares,
            shown: self.learned.shown,
            seed: Seed(self.learned.seed),
            sites,
        };
        Ok(scores.answer()?.cautioned(cautions))
    }
}

/// The names of the tensors in a file.
const ROWS: &str = "rows";
const GAINS: &str = "gains";

/// All that is learned but its numbers.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    learned: Learned,
    names: Vec<String>,
    unit: Unit,
}

impl<M: Measure> Fitted for Influence<M> {
    fn parts(&self) -> Result<Parts, AnalysisError> {
        let rows =
            Doubles { shape: vec![self.rows.len(), self.rows.width()], values: self.rows.values().to_vec() };
        let gains = Doubles { shape: vec![self.gains.len()], values: self.gains.clone() };
        let tensors = [(ROWS.to_owned(), rows), (GAINS.to_owned(), gains)].into();
        let about = About { learned: self.learned.clone(), names: self.names.clone(), unit: self.unit };
        Ok(Parts { tensors, about: json!(about).to_string() })
    }

    fn of(Parts { mut tensors, about }: Parts) -> Result<Self, AnalysisError> {
        let wrong = |reason: String| AnalysisError::Settings { method: M::CARD.id, reason };
        let About { learned, names, unit } =
            mmlens_files::parse_json(about.as_bytes()).map_err(|error| wrong(error.to_string()))?;
        let take = |tensors: &mut BTreeMap<String, Doubles>, name: &str, rank: usize| {
            let tensor = tensors.remove(name).ok_or_else(|| wrong(format!("there is no tensor `{name}`")))?;
            match tensor.shape.len() == rank {
                true => Ok(tensor),
                false => Err(wrong(format!("`{name}` is {:?}, expected {rank} axes", tensor.shape))),
            }
        };
        let (rows, gains) = (take(&mut tensors, ROWS, 2)?, take(&mut tensors, GAINS, 1)?);
        if let Some(name) = tensors.keys().next() {
            return Err(wrong(format!("a tensor `{name}` has no meaning")));
        }
        let width = rows.shape.last().copied().unwrap_or(0);
        let hash = learned.rows.clone();
        let own = Self::with(learned, (Matrix::new(rows.values, width)?, gains.values), names, unit)?;
        match own.learned.rows == hash {
            true => Ok(own),
            false => Err(wrong("its rows are not those that it names".to_owned())),
        }
    }
}
