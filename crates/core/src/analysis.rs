//! The one shape of every analysis: made from checked settings, run on a subject and a case, giving a finding.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use mmlens_finding::{Finding, FindingError, Labelled, Provenance, TableError, finite, top};

use crate::{
    Ask, HookError, Inputs, Objective, Plan, Sample, Seed, Site, Subject, SubjectError, memory, place,
};

/// What a method is, for people who choose one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Card {
    /// Its name in findings and on the command line.
    pub id: &'static str,
    /// Its name in the literature.
    pub name: &'static str,
    /// The question it answers.
    pub question: &'static str,
    /// Authors, title, venue, year, link.
    pub citation: &'static str,
    /// Passes as a formula.
    pub cost: &'static str,
    /// What a subject must offer.
    pub needs: &'static str,
    /// When it misleads.
    pub misleads: &'static [&'static str],
}

/// Why running a method failed. The kinds are shared by all methods.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnalysisError {
    /// The subject could not.
    #[error(transparent)]
    Subject(#[from] SubjectError),
    /// A result that does not fit its own labels.
    #[error(transparent)]
    Finding(#[from] FindingError),
    /// Settings that cannot be.
    #[error("{method}: {setting} = {found}, but {expected}")]
    Setting {
        /// The method.
        method: &'static str,
        /// The setting.
        setting: &'static str,
        /// Its value.
        found: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// An input the method cannot work on.
    #[error("{method} needs {needs}, but {found}")]
    Input {
        /// The method.
        method: &'static str,
        /// What it needs.
        needs: &'static str,
        /// What it was given.
        found: String,
    },
    /// A result that is no finite number.
    #[error("{method}: `{table}` holds {found} at {at}, where a finite number belongs")]
    NotFinite {
        /// The method.
        method: String,
        /// The table.
        table: String,
        /// Where in it, by the labels of its axes.
        at: String,
        /// What stands there.
        found: f32,
    },
    /// What does not fit into the memory the method may take, though as little is held at once as can be.
    #[error(
        "{method} takes up to {} at once, most of it at `{at}`, and its budget is {}: give it a larger budget, or fewer \
         positions, pictures or layers",
        memory::size(*need), memory::size(*budget)
    )]
    Memory {
        /// The method.
        method: &'static str,
        /// Bytes it takes at most.
        need: u64,
        /// Where most of them are taken.
        at: Site,
        /// Bytes it may take.
        budget: u64,
    },
    /// Stopped by the watcher.
    #[error("{method} was cancelled after {done} of {total}")]
    Cancelled {
        /// The method.
        method: &'static str,
        /// Steps done.
        done: usize,
        /// Steps in all.
        total: usize,
    },
}

impl From<HookError> for AnalysisError {
    fn from(error: HookError) -> Self {
        Self::Subject(error.into())
    }
}

impl From<TableError> for AnalysisError {
    fn from(error: TableError) -> Self {
        Self::Finding(error.into())
    }
}

/// Sees how far a long piece of work has come, and may stop it.
pub trait Watch: Sync {
    /// Called after each step; `Break` cancels.
    fn step(&self, method: &'static str, done: usize, total: usize) -> ControlFlow<()>;
}

/// Watches nothing.
#[derive(Debug, Clone, Copy)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn step(&self, _: &'static str, _: usize, _: usize) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// Reports a step, and turns a break into an error.
///
/// # Errors
/// [`AnalysisError::Cancelled`].
pub fn step(watch: &dyn Watch, method: &'static str, done: usize, total: usize) -> Result<(), AnalysisError> {
    match watch.step(method, done, total) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(AnalysisError::Cancelled { method, done, total }),
    }
}

/// What is to be explained about a sample.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Target {
    /// The logit of the token the model is most likely to say next.
    #[default]
    Top,
    /// The logit of a token.
    Token(u32),
    /// Any objective.
    Objective(Objective),
}

/// A sample and what is to be explained about it.
#[derive(Debug, Clone)]
pub struct Case {
    /// The sample.
    pub sample: Sample,
    /// What is explained.
    pub target: Target,
}

impl Case {
    /// The model's top answer to a sample.
    pub fn new(sample: Sample) -> Self {
        Self { sample, target: Target::Top }
    }

    /// Encodes the sample and settles the objective (one pass, if the target is the top token). An objective at a
    /// position of its own asks for the output at all of them.
    ///
    /// # Errors
    /// Whatever encoding or the pass reports.
    pub fn open(&self, subject: &dyn Subject) -> Result<(Inputs, Objective), SubjectError> {
        let inputs = subject.encode(&self.sample)?;
        let objective = match &self.target {
            Target::Token(token) => Objective::logit(*token),
            Target::Objective(objective) => *objective,
            Target::Top => Objective::logit(top_token(subject, &inputs)?),
        };
        let inputs = if matches!(objective.at(), Some(Ask::At(_))) { inputs.ask_all() } else { inputs };
        Ok((inputs, objective))
    }
}

/// The most likely next token of the first row.
///
/// # Errors
/// Whatever the pass reports, [`HookError::NoOutput`] for a subject without logits, [`HookError::NotFinite`] if one of them
/// is no number.
pub fn top_token(subject: &dyn Subject, inputs: &Inputs) -> Result<u32, SubjectError> {
    let trace = subject.run(inputs, Plan::new().to_output())?;
    let logits = trace.output().logits.clone().ok_or_else(|| HookError::NoOutput("top token".to_owned()))?;
    let [_, asked, vocab] = match logits.dims().as_slice() {
        [b, a, v] => [*b, *a, *v],
        dims => return Err(HookError::Rank { site: "logits".to_owned(), holds: dims.len(), asked: 3 }.into()),
    };
    let (values, dims) = (logits.to_values()?, logits.dims());
    let none = || HookError::NoOutput("top token".to_owned());
    let first = asked.checked_sub(1).ok_or_else(none)? * vocab;
    let last = values.get(first..first + vocab).ok_or_else(none)?;
    let top = top(last).map_err(|error| HookError::not_finite("text.logits", &dims, first, error))?;
    Ok(top.ok_or_else(none)? as u32)
}

/// A clean case and a corrupted sample of the same length.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The case whose answer is to be explained.
    pub clean: Case,
    /// The sample that leads to another answer.
    pub corrupted: Sample,
}

/// A method, made from checked settings.
pub trait Analysis {
    /// What it is run on: a [`Case`], a [`Pair`] or a slice of cases.
    type Input: ?Sized;

    /// What it is.
    fn card(&self) -> &'static Card;

    /// Runs it, telling `watch` how far it has come.
    ///
    /// # Errors
    /// See [`AnalysisError`].
    fn run_watched(
        &self,
        subject: &dyn Subject,
        input: &Self::Input,
        watch: &dyn Watch,
    ) -> Result<Finding, AnalysisError>;

    /// Runs it.
    ///
    /// # Errors
    /// See [`AnalysisError`].
    fn run(&self, subject: &dyn Subject, input: &Self::Input) -> Result<Finding, AnalysisError> {
        self.run_watched(subject, input, &Unwatched)
    }
}

/// A method that learns first. What it learns is itself an analysis.
pub trait Fit {
    /// What it learns from.
    type Corpus: ?Sized;
    /// What it becomes.
    type Fitted: Analysis;

    /// Learns.
    ///
    /// # Errors
    /// See [`AnalysisError`].
    fn fit(
        &self,
        subject: &dyn Subject,
        corpus: &Self::Corpus,
        seed: Seed,
    ) -> Result<Self::Fitted, AnalysisError>;
}

/// What a method found: tables of which every number is finite.
///
/// # Errors
/// [`AnalysisError::NotFinite`] with the first value that is none, and [`AnalysisError::Finding`] for tables of one name.
pub fn found(made: Provenance, tables: Vec<Labelled>) -> Result<Finding, AnalysisError> {
    for table in &tables {
        let Err(error) = finite(table.as_numbers().unwrap_or_default()) else { continue };
        let places = place(error.at, &table.shape());
        let named = table.axes().iter().zip(places).map(|(axis, at)| {
            let label = axis.label(at).unwrap_or_else(|| at.to_string());
            format!("{} `{label}`", axis.role)
        });
        let at = named.collect::<Vec<_>>().join(", ");
        let at = if at.is_empty() { "its only place".to_owned() } else { at };
        let (method, table) = (made.method.clone(), table.name().to_owned());
        return Err(AnalysisError::NotFinite { method, table, at, found: error.found as f32 });
    }
    Ok(Finding::new(made, tables)?)
}

/// The provenance every finding carries, filled from the subject; a method adds its own settings. What decides the last digits
/// stands among the settings: what a method says of its passes, and the path of the kernels (`kernels`).
pub fn provenance(
    subject: &dyn Subject,
    card: &Card,
    mut settings: BTreeMap<String, serde_json::Value>,
    sites: &[Site],
    objective: Option<&Objective>,
) -> Provenance {
    settings.extend(subject.kernels().map(|path| ("kernels".to_owned(), path.into())));
    Provenance {
        method: card.id.to_owned(),
        settings,
        subject: subject.name().to_owned(),
        weights_hash: subject.weights_hash(),
        alterations: subject.alterations().to_vec(),
        sites: sites.iter().map(ToString::to_string).collect(),
        objective: objective.map(ToString::to_string),
        baseline: None,
        seed: None,
        dtype: subject.dtype(),
        device: subject.device(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use mmlens_finding::{Axis, Labelled, Provenance, Role, Unit};

    use super::found;

    #[test]
    fn a_result_that_is_no_number_is_named_by_its_labels() {
        let axes = || vec![Axis::count(Role::Layer, 2), Axis::names(Role::Token, ["a", "red"])];
        let table = |values| Labelled::numbers("effect", Unit::Logit, axes(), values).unwrap();
        let made = || Provenance::new("patching", "toy");
        assert!(found(made(), vec![table(vec![0.0, 1.0, 2.0, 3.0])]).is_ok());
        let said = found(made(), vec![table(vec![0.0, 1.0, 2.0, f32::NAN])]).unwrap_err().to_string();
        assert_eq!(
            said,
            "patching: `effect` holds NaN at layer `1`, token `red`, where a finite number belongs"
        );
        let scalar = Labelled::scalar("objective", Unit::Logit, f32::INFINITY);
        let said = found(made(), vec![scalar]).unwrap_err().to_string();
        assert_eq!(said, "patching: `objective` holds inf at its only place, where a finite number belongs");
    }
}
