//! A pass that keeps the stream after every block.

use std::path::Path;

use anyhow::{Context, Result};
use burn::tensor::Device;
use mmlens::prelude::*;
use mmlens::zoo::decoder::Sequence;
use serde_json::Value;

use crate::passes::decoder;
use crate::timed::Times;
use crate::{ids, open, random, sample};

/// Numbers of every place that are compared.
const SHOWN: usize = 32;

/// A classifier, some pictures.
pub(crate) fn vit(folder: &Path, rows: usize, times: Times) -> Result<Value> {
    let subject = open(folder, "b32")?;
    let inputs = subject.encode(&sample(folder, "b32", "clean")?)?.repeat_entries(rows)?;
    let pixels = random(folder, "pixels", [8, 3, 224, 224], &Device::flex())?;
    let inputs = inputs.with(|batch| batch.seen.values = Some(pixels.narrow(0, 0, rows).into()))?;
    let work = || Ok(subject.run(&inputs, Plan::new().read("vision.blocks.*.resid_post")?.to_output())?);
    times.measure(work, |trace| shown(&trace))
}

/// SmolLM's decoder, 128 tokens.
pub(crate) fn lm(folder: &Path, times: Times) -> Result<Value> {
    let device = Device::flex();
    let decoder = decoder(&folder.join("lm"), &device)?;
    let (ids, sites) = (ids(folder, &device)?, decoder.sites());
    let work = || {
        let plan = Plan::new().read("text.blocks.*.resid_post")?.to_output();
        let mut run = Run::start(plan, "lm", &sites)?;
        let x = decoder.embed(std::slice::from_ref(&ids), &device)?;
        let sequence = Sequence { pads: &[0], ..Sequence::default() };
        let logits = decoder.forward(x, sequence, None, &mut run)?.context("the pass ended early")?;
        Ok(run.finish(Output::of_logits(logits))?)
    };
    times.measure(work, |trace| shown(&trace))
}

/// The logits, and the last numbers of every place.
fn shown(trace: &Trace) -> Result<Vec<f32>> {
    let logits = trace.output().logits.clone().context("no logits")?;
    let mut shown = logits.to_values()?;
    for (_, value) in trace.values() {
        let values = value.to_values()?;
        shown.extend(values.iter().skip(values.len().saturating_sub(SHOWN)));
    }
    Ok(shown)
}
