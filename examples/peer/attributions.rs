//! What each pixel or cell of a picture contributes to the top answer.

use std::path::Path;

use anyhow::{Context, Result};
use mmlens::engine::End;
use mmlens::model::occlusion::Cover;
use mmlens::model::{IntegratedGradients, Occlusion, integrated_gradients, occlusion};
use mmlens::prelude::*;
use serde_json::Value;

use crate::timed::Times;
use crate::{open, sample};

/// Every so many-th pixel is compared.
const STEP: usize = 7;

/// Integrated gradients of the pixels, from zero in 50 steps.
pub(crate) fn gradients(folder: &Path, model: &str, times: Times) -> Result<Value> {
    let subject = open(folder, model)?;
    let case = Case::new(sample(folder, model, "clean")?);
    let along = Some(vec![End::new("vision.pixels".parse()?, Baseline::Zero)]);
    let settings = integrated_gradients::Settings { along, steps: Some(50), ..Default::default() };
    let method = IntegratedGradients::new(settings)?;
    times.measure(
        || Ok(method.run(subject.as_ref(), &case)?),
        |finding| {
            let pixels = finding.table("vision.pixels")?;
            Ok(pixels.as_numbers().context("no numbers")?.iter().step_by(STEP).copied().collect())
        },
    )
}

/// Cells of the picture hidden one at a time: 14 by 14 of 16 pixels, or 16 by 16 of 4 where the picture is 64 pixels wide.
pub(crate) fn occlusion(folder: &Path, model: &str, times: Times) -> Result<Value> {
    let subject = open(folder, model)?;
    let case = Case::new(sample(folder, model, "clean")?);
    let cells = if model == "shapes" { 16 } else { 14 };
    let picture = Some(Cover::Grid { rows: cells, cols: cells });
    let method = Occlusion::new(occlusion::Settings { picture, words: None, ..Default::default() })?;
    times.measure(
        || Ok(method.run(subject.as_ref(), &case)?),
        |finding| Ok(finding.table("picture")?.as_numbers().context("no numbers")?.to_vec()),
    )
}
