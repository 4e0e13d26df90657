//! What methods of influence differ in, and how all of them learn.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use mmlens_core::check::input;
use mmlens_core::finding::{Axis, Caution, CautionKind, Labelled, Provenance, Role, Unit};
use mmlens_core::{
    AnalysisError, Card, Case, Cases, Cost, Ended, Fit, HookError, ManyCases, On, Outcome, Seed, Site,
    Source, Subject, Watch, fields, found,
};
use mmlens_engine::{Matrix, Progress};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::journal::{Kept, Row};
use super::ranked::{self, told};
use super::{Influence, Learned};

/// How a case is represented.
#[derive(Debug, Clone)]
pub struct Represented {
    /// Shares with their names: the case is their sum.
    pub shares: Vec<(String, Vec<f32>)>,
    /// The value of what is explained of it.
    pub value: f64,
    /// What that is measured in.
    pub unit: Unit,
    /// What speaks against it.
    pub cautions: Vec<Caution>,
}

impl Represented {
    /// The sum of its shares.
    #[must_use]
    pub fn whole(&self) -> Vec<f32> {
        let wide = self.shares.first().map_or(0, |(_, share)| share.len());
        let sum = |at: usize| {
            let each = self.shares.iter().filter_map(|(_, share)| share.get(at));
            each.map(|value| f64::from(*value)).sum::<f64>() as f32
        };
        match self.shares.as_slice() {
            [(_, only)] => only.clone(),
            _ => (0..wide).map(sum).collect(),
        }
    }
}

/// What training cases weigh: the score of case `i` is `gains[i]` times the product of its row with what is explained.
#[derive(Debug, Clone)]
pub struct Weighed {
    /// A row for each case.
    pub rows: Matrix,
    /// A factor for each case.
    pub gains: Vec<f64>,
    /// The score of each case for itself, where that says something.
    pub own: Option<Vec<f64>>,
    /// What speaks against them.
    pub cautions: Vec<Caution>,
}

/// What represents cases, once it is ready.
pub trait Represent {
    /// The sites that are looked at.
    fn sites(&self) -> Vec<Site>;

    /// What a case costs.
    ///
    /// # Errors
    /// As [`Represent::represent`].
    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError>;

    /// Represents a case, in one share or in all that are told apart.
    ///
    /// # Errors
    /// Whatever the pass reports.
    fn represent(&self, on: &On<'_>, case: &Case, apart: bool) -> Result<Represented, AnalysisError>;
}

/// What a method of influence is made of.
pub trait Measure: fmt::Debug + Clone + Copy + Send + Sync + 'static {
    /// Settings of what learns.
    type Settings: Serialize + DeserializeOwned + Default + Clone + fmt::Debug + Send + Sync;
    /// What is made ready for all cases, and represents each.
    type Ready: Represent;
    /// What the method is.
    const CARD: Card;
    /// What its scores are measured in.
    const UNIT: Unit;
    /// Whether scores are divided by the length of what is explained.
    const COSINE: bool;
    /// Whether scores of several models are summed; else products and factors are averaged apart.
    const SUMMED: bool;

    /// Checks the settings.
    ///
    /// # Errors
    /// [`AnalysisError::Setting`].
    fn check(settings: &Self::Settings) -> Result<(), AnalysisError>;

    /// Makes ready what all cases need.
    ///
    /// # Errors
    /// [`AnalysisError::Input`] for a subject that has not what the settings name.
    fn ready(settings: &Self::Settings, on: &On<'_>, seed: Seed) -> Result<Self::Ready, AnalysisError>;

    /// What training cases weigh, of their rows and the values of what was explained of each.
    ///
    /// # Errors
    /// [`AnalysisError::Input`] for rows that nothing can be made of.
    fn weigh(settings: &Self::Settings, rows: Matrix, values: &[f64]) -> Result<Weighed, AnalysisError>;
}

/// What learns from training cases, with checked settings.
#[derive(Debug, Clone)]
pub struct Learner<M: Measure> {
    settings: M::Settings,
}

/// Training cases, and the model that was trained on them.
#[derive(Clone)]
pub struct Taught {
    /// The model.
    pub subject: Arc<dyn Subject>,
    /// The cases.
    pub data: ManyCases,
}

impl fmt::Debug for Taught {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} and {:?}", self.subject.name(), self.data)
    }
}

/// Fewer training cases than this are cautioned of.
pub(super) const FEW: usize = 20;

impl<M: Measure> Fit for Learner<M> {
    type From = Taught;
    type Settings = M::Settings;
    type Fitted = Influence<M>;
    const CARD: Card = M::CARD;

    fn new(settings: M::Settings) -> Result<Self, AnalysisError> {
        M::check(&settings)?;
        Ok(Self { settings })
    }

    fn settings(&self) -> &M::Settings {
        &self.settings
    }

    fn fit(
        &self,
        from: &Taught,
        seed: Seed,
        watch: &dyn Watch,
    ) -> Result<Outcome<Influence<M>>, AnalysisError> {
        self.gathered(&On::new(&from.subject).watched(watch), from.data.data(), seed, None)
    }

    fn learn(
        &self,
        on: &On<'_>,
        data: &dyn Cases,
        seed: Seed,
    ) -> Result<Outcome<Influence<M>>, AnalysisError> {
        self.gathered(on, data, seed, None)
    }

    fn learn_from(
        &self,
        from: &Source<'_>,
        seed: Seed,
        keep: Option<&Path>,
    ) -> Result<Outcome<Influence<M>>, AnalysisError> {
        match from {
            Source::Cases(on, data) => self.gathered(on, *data, seed, keep),
            Source::Recorded(recorded, _) => {
                let found = format!("only recorded activations of `{}` are there", recorded.data());
                Err(input(&M::CARD, "training cases, and the model that was trained on them", found))
            }
        }
    }
}

impl<M: Measure> Learner<M> {
    fn gathered(
        &self,
        on: &On<'_>,
        data: &dyn Cases,
        seed: Seed,
        keep: Option<&Path>,
    ) -> Result<Outcome<Influence<M>>, AnalysisError> {
        let (card, subject) = (M::CARD, on.subject());
        card.allows(subject)?;
        if data.is_empty() {
            return Err(input(&card, "training cases", format!("`{}` has none", data.name())));
        }
        let made = self.made(on, data, seed)?;
        let about = json!({
            "method": card.id, "made": made.settings, "seed": seed.value(),
            "weights": made.weights_hash, "alterations": made.alterations,
        });
        let mut kept = Kept::open(&card, keep, &about.to_string())?;
        let ready = M::ready(&self.settings, on, seed)?;
        let mut progress = Progress::new(on.watch(), card.id, data.len());
        let (mut rows, mut names) = (Vec::new(), Vec::new());
        for index in 0..data.len() {
            let case = data.case(index)?;
            names.push(ranked::name(index, &case, class(data, index)?));
            let row = if let Some(row) = kept.take(index) {
                row
            } else {
                let own = ready.represent(on, &case, false)?;
                let row = Row { values: own.whole(), value: own.value, unit: own.unit };
                kept.enter(&card, &row)?;
                row
            };
            rows.push(row);
            progress.advance(1)?;
        }
        let wide = rows.first().map_or(0, |row| row.values.len());
        let units = rows.first().map(|row| row.unit);
        if let Some(at) = rows.iter().position(|row| row.values.len() != wide || Some(row.unit) != units) {
            let found = format!("case {at} is of another length or unit than the first");
            return Err(input(&card, "training cases that are explained alike", found));
        }
        let values: Vec<f64> = rows.iter().map(|row| row.value).collect();
        let flat: Vec<f32> = rows.iter().flat_map(|row| row.values.iter().copied()).collect();
        let flat = Matrix::of_floats(&flat, wide)?;
        let lengths: Vec<f64> = flat.rows().map(|row| mmlens_engine::dot(row, row).sqrt()).collect();
        let Weighed { rows, gains, own, mut cautions } = M::weigh(&self.settings, flat, &values)?;
        if data.len() < FEW {
            let text = format!("{} training cases are few: ranks among so few say little", data.len());
            cautions.insert(0, Caution::new(CautionKind::FewRows, data.len() as f32, text));
        }
        let mut tables = told(own.as_ref().unwrap_or(&lengths), own.is_some(), &names)?;
        let samples = vec![Axis::count(Role::Sample, data.len())];
        let values = values.iter().map(|value| *value as f32).collect();
        let unit = units.unwrap_or(Unit::None);
        tables.push(Labelled::numbers("what is explained", unit, samples, values)?.aside());
        tables.extend(Caution::tables(&cautions)?);
        let made = Provenance { sites: ready.sites().iter().map(ToString::to_string).collect(), ..made };
        let finding = found(made, tables)?;
        let learned = Learned {
            data: data.name().to_owned(),
            cases: data.len(),
            sha256: data.hash()?,
            weights: subject.weights_hash(),
            seed: seed.value(),
            fit: json!(self.settings),
            ..Learned::default()
        };
        let fitted = Influence::with(learned, (rows, gains), names, unit)?;
        let ended = Ended::Converged { steps: data.len(), gradient: 0.0 };
        Ok(Outcome { fitted, ended, finding })
    }

    fn made(&self, on: &On<'_>, data: &dyn Cases, seed: Seed) -> Result<Provenance, AnalysisError> {
        made(&M::CARD, &self.settings, on, data, seed)
    }
}

/// How something was made of training cases.
pub(super) fn made<S: Serialize>(
    card: &Card,
    settings: &S,
    on: &On<'_>,
    data: &dyn Cases,
    seed: Seed,
) -> Result<Provenance, AnalysisError> {
    let subject = on.subject();
    let known = json!({ "name": data.name(), "cases": data.len(), "sha256": data.hash()? });
    let made = Provenance {
        weights_hash: subject.weights_hash(),
        alterations: subject.alterations().to_vec(),
        settings: fields(card.id, settings)?,
        seed: Some(seed.value()),
        dtype: subject.dtype(),
        device: subject.device(),
        kernels: subject.kernels(),
        memory: Some(on.memory().budget()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Provenance::new(card.id, subject.name())
    };
    Ok(made.with_setting("data", known))
}

/// The class of a case, by its name.
pub(super) fn class(data: &dyn Cases, index: usize) -> Result<Option<&str>, AnalysisError> {
    Ok(data.label(index)?.and_then(|label| data.classes().get(label)).map(String::as_str))
}

/// That numbers are finite.
pub(super) fn finite(what: &str, values: &[f32]) -> Result<(), HookError> {
    mmlens_core::finding::finite(values)
        .map_err(|error| HookError::not_finite(what, &[values.len()], 0, error))
}

/// Rows of length one; a row of zeros stays one.
pub(super) fn unit_rows(mut rows: Matrix) -> Matrix {
    for row in rows.rows_mut() {
        let length = mmlens_engine::dot(row, row).sqrt();
        if length > 0.0 {
            row.iter_mut().for_each(|x| *x /= length);
        }
    }
    rows
}
