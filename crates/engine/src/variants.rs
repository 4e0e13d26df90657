//! Many variants of one pass, packed into batches; what they share is computed once.

use std::num::NonZeroUsize;
use std::ops::Range;

use mmlens_core::{AnalysisError, HookError, Inputs, Objective, Part, Plan, State, Subject, Trace};

use crate::{Progress, Stacked};

/// Where the passes of a sweep begin: at the input, or at a block whose state was computed once.
#[derive(Debug, Clone)]
pub struct Start {
    inputs: Inputs,
    stacked: Stacked,
    state: Option<State>,
}

impl Start {
    /// At the input. The pictures are shared by all copies, so the tower runs once a batch.
    pub fn input(inputs: &Inputs) -> Self {
        Self { inputs: inputs.clone(), stacked: Stacked::of(inputs, Part::Text), state: None }
    }

    /// At a block of a part whose `resid_pre` a trace has read. Parts before it do not run at all; where it is a tower, each copy has
    /// pictures of its own.
    ///
    /// # Errors
    /// [`HookError::NotRead`] if the trace did not read it.
    pub fn block(inputs: &Inputs, trace: &Trace, (part, block): (Part, usize)) -> Result<Self, HookError> {
        let stacked = Stacked::of(inputs, part);
        Ok(Self { inputs: inputs.clone(), stacked, state: Some(trace.state(part, block)?) })
    }

    /// So many copies, all alike so far.
    ///
    /// # Errors
    /// [`HookError::Values`] if the state cannot be repeated.
    pub fn copies(&self, times: usize) -> Result<(Inputs, Plan), HookError> {
        let plan = match &self.state {
            None => Plan::new(),
            Some(State { site, hidden }) => {
                Plan::new().resume(State { site: *site, hidden: hidden.repeat_rows(times)? })
            }
        };
        Ok((self.stacked.inputs(&self.inputs, times)?, plan))
    }
}

/// The objective of every variant. `prepare` is given a range of variants and makes one row for each.
///
/// # Errors
/// Whatever preparing or a pass reports, [`AnalysisError::Cancelled`], and [`HookError::Values`] for a subject
/// that gives another number of scores than it was given rows.
pub fn sweep(
    subject: &dyn Subject,
    objective: &Objective,
    variants: usize,
    rows: NonZeroUsize,
    progress: &mut Progress<'_>,
    mut prepare: impl FnMut(Range<usize>) -> Result<(Inputs, Plan), AnalysisError>,
) -> Result<Vec<f32>, AnalysisError> {
    let mut scores = Vec::with_capacity(variants);
    for range in crate::batches(variants, rows) {
        let wanted = range.len();
        let (inputs, plan) = prepare(range)?;
        let trace = subject.run(&inputs, plan.objective(objective))?;
        scores.extend_from_slice(exactly(trace.scores()?, wanted)?);
        progress.advance(wanted)?;
    }
    Ok(scores)
}

/// The objective of a pass over one row.
///
/// # Errors
/// [`HookError::NoObjective`], or [`HookError::Values`] for another number of rows.
pub fn score(trace: &Trace) -> Result<f32, HookError> {
    let scores = trace.scores()?;
    scores
        .first()
        .copied()
        .filter(|_| scores.len() == 1)
        .ok_or(HookError::Values { dims: vec![1], given: scores.len() })
}

fn exactly(scores: &[f32], wanted: usize) -> Result<&[f32], HookError> {
    match scores.len() {
        given if given == wanted => Ok(scores),
        given => Err(HookError::Values { dims: vec![wanted], given }),
    }
}
