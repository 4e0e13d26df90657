//! What a metric is, and what it has at hand about one case.

use std::fmt;

use mmlens_core::finding::Unit;
use mmlens_core::{AnalysisError, Case, Inputs, Mask, Objective, On, PersonMap, Seed, Subject};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Map, Side};

/// What a metric is, for people and programs that choose one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricCard {
    /// Its name.
    pub id: &'static str,
    /// The question it answers.
    pub question: &'static str,
    /// What it needs beside a map.
    pub needs: &'static str,
    /// Passes as a formula.
    pub cost: &'static str,
    /// Authors, title, venue, year, link.
    pub citation: &'static str,
    /// When it misleads.
    pub misleads: &'static [&'static str],
}

/// Which numbers are the good ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// The high ones.
    Higher,
    /// The low ones.
    Lower,
    /// Neither: it tells what a map is like.
    Neither,
}

/// A number that a metric gives: one column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// What it is called.
    pub name: String,
    /// What it is measured in.
    pub unit: Unit,
    /// Which way it is good.
    pub better: Better,
    /// Whether a map that looks neither at the picture nor at the model is at its best here: that a baseline is ahead then says nothing.
    pub blind: bool,
}

impl Column {
    pub(crate) fn new(name: impl Into<String>, better: Better) -> Self {
        Self { name: name.into(), unit: Unit::Ratio, better, blind: false }
    }
}

impl fmt::Display for Better {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Higher => "higher",
            Self::Lower => "lower",
            Self::Neither => "neither",
        })
    }
}

/// Why a case has no score.
#[derive(Debug, Clone, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum NoScore {
    /// Its passes would go beyond what is left of the budget, or its row has spent its seconds.
    #[error("not run (cost)")]
    Cost,
    /// The case lacks what the metric or the method needs.
    #[error("{0}")]
    Lacks(String),
    /// The number is not defined here.
    #[error("{0}")]
    Undefined(String),
    /// The method or the subject refused.
    #[error("{0}")]
    Refused(String),
    /// Somebody wants no more of it.
    #[error("cancelled")]
    Cancelled,
}

impl From<AnalysisError> for NoScore {
    fn from(error: AnalysisError) -> Self {
        match error {
            AnalysisError::Cancelled { .. } => Self::Cancelled,
            AnalysisError::Input { .. } => Self::Lacks(error.to_string()),
            other => Self::Refused(other.to_string()),
        }
    }
}

impl From<mmlens_core::SubjectError> for NoScore {
    fn from(error: mmlens_core::SubjectError) -> Self {
        Self::Refused(error.to_string())
    }
}

/// What makes the map that is scored, so that a metric can have it made again: of another sample, or on another subject.
pub trait Explainer {
    /// The map of a case.
    ///
    /// # Errors
    /// [`NoScore`].
    fn map(&self, on: &On<'_>, case: &Case, side: Side) -> Result<Map, NoScore>;

    /// The passes it takes: rows forward, and two for each row of which gradients are taken.
    ///
    /// # Errors
    /// [`NoScore`].
    fn cost(&self, on: &On<'_>, case: &Case) -> Result<u64, NoScore>;

    /// The same with other draws; `None` of what draws nothing.
    ///
    /// # Errors
    /// [`NoScore`].
    fn anew(&self, _seed: Seed) -> Result<Option<Box<dyn Explainer + '_>>, NoScore> {
        Ok(None)
    }
}

/// A model like the one that is explained, with weights drawn anew.
#[derive(Clone, Copy)]
pub struct Redrawn<'a> {
    /// What was drawn anew.
    pub name: &'a str,
    /// The model.
    pub subject: &'a dyn Subject,
}

impl fmt::Debug for Redrawn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.name, self.subject.name())
    }
}

/// The models with weights drawn anew that there are.
#[derive(Debug, Clone, Copy, Default)]
pub struct Redraws<'a> {
    /// From the top: each has all that was drawn anew in the one before, and more. The last has no trained weight.
    pub cascade: &'a [Redrawn<'a>],
    /// One part each.
    pub each: &'a [Redrawn<'a>],
}

/// What a metric has at hand about one case.
#[derive(Clone, Copy)]
pub struct AtHand<'a> {
    /// The subject, within its memory.
    pub on: On<'a>,
    /// The case; what is explained is settled.
    pub case: &'a Case,
    /// The sample as the subject takes it.
    pub inputs: &'a Inputs,
    /// What is explained.
    pub objective: &'a Objective,
    /// Which picture it is about.
    pub picture: usize,
    /// Regions that are known to matter.
    pub masks: &'a [Mask],
    /// What persons hold to matter.
    pub persons: &'a [PersonMap],
    /// What made the map.
    pub explainer: &'a dyn Explainer,
    /// Models with weights drawn anew.
    pub redraws: Redraws<'a>,
    /// The seed of every draw about this case: the same for all maps.
    pub seed: Seed,
}

impl fmt::Debug for AtHand<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {:?}", self.objective, self.on)
    }
}

/// A metric, made from checked settings.
pub trait Metric: Sized + Send + Sync + 'static {
    /// Its settings. They are kept in the finding and read back.
    type Settings: Serialize + DeserializeOwned + Default + Clone + fmt::Debug;

    /// What it is.
    const CARD: MetricCard;

    /// Checks the settings.
    ///
    /// # Errors
    /// [`AnalysisError::Setting`] for what cannot be.
    fn new(settings: Self::Settings) -> Result<Self, AnalysisError>;

    /// The settings it was made from.
    fn settings(&self) -> &Self::Settings;

    /// The numbers it gives, in their order.
    fn columns(&self, redraws: Redraws<'_>) -> Vec<Column>;

    /// On what of a sample the map must lie.
    fn side(&self) -> Side {
        Side::Pictures
    }

    /// The passes it takes, at most, beside those of the map.
    ///
    /// # Errors
    /// [`NoScore`] where it can be told that there will be none.
    fn cost(&self, _asked: &AtHand<'_>) -> Result<u64, NoScore> {
        Ok(0)
    }

    /// Its numbers for a map, one for each column.
    ///
    /// # Errors
    /// [`NoScore`].
    fn scores(&self, asked: &AtHand<'_>, map: &Map) -> Result<Vec<f64>, NoScore>;

    /// Whether it compares with persons, so that these have scores too.
    fn judges_persons(&self) -> bool {
        false
    }

    /// What persons score, by what they agree among each other; `None` for a metric that does not compare with them.
    fn of_persons(&self, _asked: &AtHand<'_>) -> Option<Result<Vec<f64>, NoScore>> {
        None
    }
}

/// A metric of whatever type.
pub trait AnyMetric: Send + Sync {
    /// What it is.
    fn card(&self) -> MetricCard;

    /// The settings it was made from.
    ///
    /// # Errors
    /// [`AnalysisError::Settings`] for what cannot be written.
    fn settings(&self) -> Result<Value, AnalysisError>;

    /// See [`Metric::columns`].
    fn columns(&self, redraws: Redraws<'_>) -> Vec<Column>;

    /// See [`Metric::side`].
    fn side(&self) -> Side;

    /// See [`Metric::cost`].
    ///
    /// # Errors
    /// As there.
    fn cost(&self, asked: &AtHand<'_>) -> Result<u64, NoScore>;

    /// See [`Metric::scores`].
    ///
    /// # Errors
    /// As there.
    fn scores(&self, asked: &AtHand<'_>, map: &Map) -> Result<Vec<f64>, NoScore>;

    /// See [`Metric::judges_persons`].
    fn judges_persons(&self) -> bool;

    /// See [`Metric::of_persons`].
    fn of_persons(&self, asked: &AtHand<'_>) -> Option<Result<Vec<f64>, NoScore>>;
}

impl<M: Metric> AnyMetric for M {
    fn card(&self) -> MetricCard {
        M::CARD
    }

    fn settings(&self) -> Result<Value, AnalysisError> {
        serde_json::to_value(Metric::settings(self))
            .map_err(|error| AnalysisError::Settings { method: M::CARD.id, reason: error.to_string() })
    }

    fn columns(&self, redraws: Redraws<'_>) -> Vec<Column> {
        Metric::columns(self, redraws)
    }

    fn side(&self) -> Side {
        Metric::side(self)
    }

    fn cost(&self, asked: &AtHand<'_>) -> Result<u64, NoScore> {
        Metric::cost(self, asked)
    }

    fn scores(&self, asked: &AtHand<'_>, map: &Map) -> Result<Vec<f64>, NoScore> {
        Metric::scores(self, asked, map)
    }

    fn judges_persons(&self) -> bool {
        Metric::judges_persons(self)
    }

    fn of_persons(&self, asked: &AtHand<'_>) -> Option<Result<Vec<f64>, NoScore>> {
        Metric::of_persons(self, asked)
    }
}

/// A row of the table of metrics.
#[derive(Clone, Copy)]
pub struct MetricRow {
    /// What it is.
    pub card: MetricCard,
    make: fn(Value) -> Result<Box<dyn AnyMetric>, AnalysisError>,
}

impl fmt::Debug for MetricRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.card.id)
    }
}

impl MetricRow {
    /// The row of a metric.
    #[must_use]
    pub const fn of<M: Metric>() -> Self {
        Self {
            card: M::CARD,
            make: |settings| {
                let settings = mmlens_files::parse_value(&settings).map_err(|error| {
                    AnalysisError::Settings { method: M::CARD.id, reason: error.to_string() }
                })?;
                Ok(Box::new(M::new(settings)?))
            },
        }
    }

    /// The metric, made from settings by name; what is not named has its default.
    ///
    /// # Errors
    /// [`AnalysisError::Settings`], and whatever [`Metric::new`] says.
    pub fn make(&self, settings: Value) -> Result<Box<dyn AnyMetric>, AnalysisError> {
        (self.make)(settings)
    }
}

/// A setting that cannot be.
pub(crate) fn setting(
    card: &MetricCard,
    setting: &'static str,
    found: impl ToString,
    expected: &'static str,
) -> AnalysisError {
    AnalysisError::Setting { method: card.id, setting, found: found.to_string(), expected }
}
