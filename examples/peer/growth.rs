//! What many pictures in one sequence and long texts take: blocks of real width, a few of them.

use std::path::Path;

use anyhow::{Context, Result};
use burn::tensor::{Device, Tensor};
use mmlens::core::{Entries, Grid, Inputs, among_threads};
use mmlens::prelude::*;
use mmlens::zoo::checkpoint::{Checkpoint, Layout, Weights, read_json};
use mmlens::zoo::qwen_vl::{QwenVlConfig, QwenVlModel};
use serde_json::Value;

use crate::passes::{decoder, step};
use crate::timed::Times;
use crate::{ids, random};

/// Rows and columns of a picture's patches.
const SIDE: usize = 60;

/// So many pictures of 3600 patches through Qwen2.5-VL's tower and its merger; the last position is compared.
pub(crate) fn pictures(folder: &Path, count: usize, times: Times) -> Result<Value> {
    let device = Device::flex();
    let model = folder.join("qwen");
    let config = QwenVlConfig::read(&read_json::<Value>(model.join("config.json"))?)?;
    let checkpoint = Checkpoint::open(&model)?;
    let weights = Weights::new(&checkpoint, &device).layout(Layout::QWEN_VL);
    let model = weights.build(|weights| QwenVlModel::take(config.clone(), weights))?;
    let values = model.config().vision.values();
    let pixels: Tensor<2> = random(folder, "patches", [SIDE * SIDE, values], &device)?;
    let inputs = Inputs::new(Batch {
        ids: vec![Vec::new()],
        pads: vec![0],
        tails: vec![0],
        maps: vec![Default::default()],
        seen: Entries {
            values: Some(pixels.repeat_dim(0, count).into()),
            grids: vec![Grid { frames: 1, rows: SIDE, cols: SIDE, seconds: None }; count],
            of_rows: vec![(0..count).collect()],
            ..Entries::default()
        },
        ..Batch::default()
    })?;
    let see = || among_threads("flex", || model.see(&inputs, &mut Run::idle()));
    times.measure(
        || see()?.context("the pass ended early"),
        |seen| {
            let last = seen.out.dims()[1] - 1;
            Ok(AnyTensor::new(seen.out.narrow(1, last, 1)).to_values()?)
        },
    )
}

/// A text of so many tokens through blocks of SmolLM-135M's width; the logits of the last are compared.
pub(crate) fn positions(folder: &Path, count: usize, times: Times) -> Result<Value> {
    let device = Device::flex();
    let decoder = decoder(&folder.join("long"), &device)?;
    let ids: Vec<u32> = ids(folder, &device)?.into_iter().cycle().take(count).collect();
    times.measure(|| step(&decoder, &ids, None, &device), Ok)
}
