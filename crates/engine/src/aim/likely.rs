//! What a classifier makes of its rows, and an encoder of text of its masks.

use mmlens_core::{HookError, Inputs, Plan, Subject, SubjectError};
use serde::Serialize;

use crate::distribution::{largest, log_probabilities};

/// One class, or one token.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Likely {
    /// Its id.
    pub id: u32,
    /// Its label.
    pub text: String,
    /// Among all.
    pub probability: f32,
    /// Its logit.
    pub logit: f32,
}

/// The most likely classes of every row and position of the output, the likeliest first; tokens, of a model of language.
///
/// # Errors
/// [`HookError::NoOutput`] of a subject without logits, [`HookError::NotFinite`]; whatever the pass reports.
pub fn likely(subject: &dyn Subject, inputs: &Inputs, most: usize) -> Result<Vec<Vec<Likely>>, SubjectError> {
    rows(subject, inputs)?.iter().map(|row| Ok(best(subject, row, most)?)).collect()
}

/// The logits of every row and position of the output.
pub(super) fn rows(subject: &dyn Subject, inputs: &Inputs) -> Result<Vec<Vec<f32>>, SubjectError> {
    let trace = subject.run(inputs, Plan::new().to_output())?;
    let none = || HookError::NoOutput("classes".to_owned());
    let logits = trace.output().logits.as_ref().ok_or_else(none)?;
    let count = logits.dims().last().copied().ok_or_else(none)?;
    let values = logits.finite_values("logits")?;
    Ok(values.chunks(count.max(1)).map(<[f32]>::to_vec).collect())
}

/// The most likely of a row.
pub(super) fn best(subject: &dyn Subject, row: &[f32], most: usize) -> Result<Vec<Likely>, HookError> {
    let one = |(id, log): (usize, f64)| {
        let outside = HookError::Objective { what: "token", index: id, len: row.len() };
        let logit = *row.get(id).ok_or(outside)?;
        let id = id as u32;
        Ok(Likely { id, text: subject.token(id), probability: log.exp() as f32, logit })
    };
    largest(&log_probabilities(row), most).into_iter().map(one).collect()
}
