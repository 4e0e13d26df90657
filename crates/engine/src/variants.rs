//! Many variants of one pass, packed into batches; what they share is computed once.

use std::num::NonZeroUsize;
use std::ops::Range;

use mmlens_core::{AnalysisError, HookError, Inputs, Objective, Part, Plan, State, Subject, Trace};

use crate::Progress;

/// Where the passes of a sweep begin: at the input, or at a block whose state was computed once.
#[derive(Debug, Clone)]
pub struct Start {
    inputs: Inputs,
    state: Option<State>,
}

impl Start {
    /// At the input. The pictures are shared by all copies, so the tower runs once a batch.
    pub fn input(inputs: &Inputs) -> Self {
        Self { inputs: inputs.clone(), state: None }
    }

    /// At a block of the language model whose `resid_pre` a trace has read. Towers do not run at all.
    ///
    /// # Errors
    /// [`HookError::NotRead`] if the trace did not read it.
    pub fn block(inputs: &Inputs, trace: &Trace, block: usize) -> Result<Self, HookError> {
        Ok(Self { inputs: inputs.clone(), state: Some(trace.state(Part::Text, block)?) })
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
        Ok((self.inputs.repeat(times), plan))
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
