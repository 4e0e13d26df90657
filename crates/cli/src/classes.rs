//! What a classifier makes of its rows, and an encoder of text of its masks.

use anyhow::Result;
use mmlens::core::{HookError, Inputs, Plan, Subject};
use mmlens::engine::distribution::{largest, log_probabilities};
use serde::Serialize;

use crate::refusal::Refusal;

/// More classes than this are not told.
const MOST: usize = 5;

/// One class, or one token.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Class {
    pub(crate) id: u32,
    /// Its label.
    pub(crate) text: String,
    /// Among all classes.
    pub(crate) probability: f32,
    pub(crate) logit: f32,
}

/// The most likely classes of every row and asked position, the likeliest first; tokens, of a model of language.
pub(crate) fn classes(subject: &dyn Subject, inputs: &Inputs) -> Result<Vec<Vec<Class>>> {
    let trace = subject.run(inputs, Plan::new().to_output())?;
    let logits = trace.output().logits.as_ref().ok_or_else(|| HookError::NoOutput("classes".to_owned()))?;
    let count = logits.dims().last().copied().unwrap_or(0);
    let values = logits.to_values()?;
    if values.iter().any(|value| value.is_nan()) {
        return Err(Refusal::NoNumbers { model: subject.name().to_owned() }.into());
    }
    let class = |row: &[f32], shares: &[f64], id: usize| Class {
        id: u32::try_from(id).unwrap_or(u32::MAX),
        text: subject.token(u32::try_from(id).unwrap_or(u32::MAX)),
        probability: shares.get(id).map_or(0.0, |share| share.exp()) as f32,
        logit: row.get(id).copied().unwrap_or(f32::NAN),
    };
    let row = |row: &[f32]| {
        let shares = log_probabilities(row);
        largest(&shares, MOST).into_iter().map(|id| class(row, &shares, id)).collect()
    };
    Ok(values.chunks(count.max(1)).map(row).collect())
}
