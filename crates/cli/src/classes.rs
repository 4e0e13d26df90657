//! What a classifier makes of its rows, and an encoder of text of its masks.

use anyhow::{Context, Result};
use mmlens::core::{HookError, Inputs, Plan, Subject};
use mmlens::engine::distribution::{largest, log_probabilities};
use serde::Serialize;

use crate::refusal::numbers;

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
    let values = numbers(subject, logits.finite_values("logits"))?;
    let row = |row: &[f32]| {
        let class = |(id, log): (usize, f64)| -> Result<Class> {
            let (id, logit) = (u32::try_from(id)?, *row.get(id).context("a class without a logit")?);
            Ok(Class { id, text: subject.token(id), probability: log.exp() as f32, logit })
        };
        largest(&log_probabilities(row), MOST).into_iter().map(class).collect()
    };
    values.chunks(count.max(1)).map(row).collect()
}
