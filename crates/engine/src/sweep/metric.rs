//! What is measured of every variant of a sweep.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use mmlens_core::finding::{Unit, finite};
use mmlens_core::{
    AnyTensor, HookError, Inputs, LogitSelection, LogitsAt, Objective, Output, Part, Plan, Position, Site,
};

use crate::distribution::{divergence, log_probabilities, rank};

/// A measurement written by the user: one number for every row of an output.
pub type OutputFn = Arc<dyn Fn(&Output) -> Result<Vec<f32>, HookError> + Send + Sync>;

/// What is measured of every variant.
#[derive(Clone)]
#[non_exhaustive]
pub enum Metric {
    /// Whatever can be explained: a logit, a probability, a phrase, a similarity, what a site holds.
    Objective(Objective),
    /// How many tokens have a larger logit.
    Rank {
        /// Where.
        at: Position,
        /// Of which.
        token: u32,
    },
    /// How far the next-token distribution has moved: sum p (ln p - ln q), where p is without edits. In nats.
    Divergence {
        /// Where.
        at: Position,
    },
    /// Any function of the output. It may be NaN where it has no value.
    Output {
        /// What it is called.
        name: String,
        /// What it is measured in.
        unit: Unit,
        /// One number for every row.
        value: OutputFn,
    },
}

impl Metric {
    /// Any function of the output.
    pub fn of(
        name: impl Into<String>,
        unit: Unit,
        value: impl Fn(&Output) -> Result<Vec<f32>, HookError> + Send + Sync + 'static,
    ) -> Self {
        Self::Output { name: name.into(), unit, value: Arc::new(value) }
    }

    /// What it is called in tables.
    pub fn name(&self) -> String {
        match self {
            Self::Objective(objective) => objective.to_string(),
            Self::Rank { at, token } => format!("rank of token {token} at {at}"),
            Self::Divergence { at } => format!("divergence at {at}"),
            Self::Output { name, .. } => name.clone(),
        }
    }

    /// What it is measured in.
    pub fn unit(&self) -> Unit {
        match self {
            Self::Objective(objective) => objective.unit(),
            Self::Rank { .. } => Unit::Count,
            Self::Divergence { .. } => Unit::Nat,
            Self::Output { unit, .. } => *unit,
        }
    }

    /// The only logits it looks at; `None` if it looks at something else.
    fn selected_logits(&self) -> Option<LogitSelection> {
        match self {
            Self::Objective(objective) => objective.selected_logits(),
            Self::Rank { at, .. } | Self::Divergence { at } => Some(LogitSelection::at(*at)),
            Self::Output { .. } => None,
        }
    }

    /// Its value for every row of an output. `base` is the output without edits, of one row.
    fn of_rows(&self, output: &Output, base: &Output) -> Result<Vec<f32>, HookError> {
        match self {
            Self::Objective(objective) => AnyTensor::new(objective.score(output)?).to_values(),
            Self::Rank { at, token } => {
                let (rows, vocab) = host(output, *at)?;
                within(*token, vocab)?;
                let outside = || HookError::Objective { what: "token", index: *token as usize, len: vocab };
                let rank = |row: &[f32]| {
                    let row: Vec<f64> = row.iter().map(|logit| f64::from(*logit)).collect();
                    rank(&row, *token as usize).map(|rank| rank as f32).ok_or_else(outside)
                };
                rows.chunks(vocab.max(1)).map(rank).collect()
            }
            Self::Divergence { at } => {
                let (reference, _) = host(base, *at)?;
                let reference = log_probabilities(&reference);
                let (rows, vocab) = host(output, *at)?;
                let apart = |row: &[f32]| divergence(&reference, &log_probabilities(row)) as f32;
                Ok(rows.chunks(vocab.max(1)).map(apart).collect())
            }
            Self::Output { value, .. } => value(output),
        }
    }
}

impl From<Objective> for Metric {
    fn from(objective: Objective) -> Self {
        Self::Objective(objective)
    }
}

impl From<&Objective> for Metric {
    fn from(objective: &Objective) -> Self {
        Self::Objective(objective.clone())
    }
}

impl fmt::Debug for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

/// The only logits that metrics look at, all together; `None` if one looks at something else.
fn selected_logits(metrics: &[Metric]) -> Option<LogitSelection> {
    let all: Option<Vec<LogitSelection>> = metrics.iter().map(Metric::selected_logits).collect();
    all?.into_iter().reduce(|all, own| all.and(&own))
}

/// The sites that metrics look at.
pub(super) fn sites(metrics: &[Metric]) -> BTreeSet<Site> {
    let of = |metric: &Metric| match metric {
        Metric::Objective(objective) => objective.sites(),
        _ => Vec::new(),
    };
    metrics.iter().flat_map(of).collect()
}

/// A plan that runs to what the metrics look at: sites, some logits, or all of the output.
pub(super) fn measuring(plan: Plan, metrics: &[Metric]) -> Result<Plan, HookError> {
    let plan = sites(metrics).into_iter().try_fold(plan, Plan::keep)?;
    Ok(match selected_logits(metrics) {
        Some(wanted) => plan.select_logits(wanted),
        None => plan.to_output(),
    })
}

/// The last position from which on a pass may be computed for the metrics; `None` if they may look at any.
pub(super) fn latest(metrics: &[Metric], inputs: &Inputs) -> Option<usize> {
    let last = inputs.positions().checked_sub(1)?;
    if sites(metrics).iter().any(|site| site.part() == Part::Text) {
        return None;
    }
    match (selected_logits(metrics), inputs.logits_at) {
        (Some(wanted), _) => {
            let at = |ask: &Position| if let Position::At(index) = ask { *index } else { last };
            wanted.read_at().iter().map(at).min()
        }
        (None, LogitsAt::Last) => Some(last),
        (None, LogitsAt::All) => None,
    }
}

/// Every metric, for every row: finite numbers, but for functions of users.
pub(super) fn rows(
    metrics: &[Metric],
    output: &Output,
    base: &Output,
    rows: usize,
) -> Result<Vec<Vec<f32>>, HookError> {
    let one = |metric: &Metric| {
        let values = metric.of_rows(output, base)?;
        if values.len() != rows {
            return Err(HookError::Values { dims: vec![rows], given: values.len() });
        }
        // A function of the user's own may have no value for some output.
        if !matches!(metric, Metric::Output { .. }) {
            finite(&values).map_err(|error| HookError::not_finite(metric.name(), &[rows], 0, error))?;
        }
        Ok(values)
    };
    metrics.iter().map(one).collect()
}

fn host(output: &Output, at: Position) -> Result<(Vec<f32>, usize), HookError> {
    let logits = output.at(at)?;
    let [_, vocab] = logits.dims();
    Ok((AnyTensor::new(logits).finite_values(format!("text.logits at {at}"))?, vocab))
}

fn within(token: u32, vocab: usize) -> Result<(), HookError> {
    match token as usize {
        index if index >= vocab => Err(HookError::Objective { what: "token", index, len: vocab }),
        _ => Ok(()),
    }
}
