//! Whole passes of a tower and of a decoder, without a plan.

use std::path::Path;

use anyhow::{Context, Result, bail};
use burn::tensor::{Device, Tensor};
use mmlens::core::among_threads;
use mmlens::finding::top;
use mmlens::prelude::*;
use mmlens::zoo::checkpoint::{Checkpoint, Layout, Weights, read_json};
use mmlens::zoo::clip::{ClipConfig, ClipModel};
use mmlens::zoo::decoder::{Decoder, DecoderConfig, Sequence};
use mmlens::zoo::parts::KvCache;
use mmlens::zoo::vision::VisionTower;
use serde_json::Value;

use crate::timed::Times;
use crate::{ids, random};

/// CLIP's tower: the states of the class token, or the gradient of their sum with respect to the pixels.
pub(crate) fn vit(folder: &Path, what: &str, times: Times) -> Result<Value> {
    let device = Device::flex();
    let tower = tower(&folder.join("vit"), &device)?;
    let rows = if what.ends_with('8') { 8 } else { 1 };
    let pixels: Tensor<4> = random(folder, "pixels", [8, 3, 224, 224], &device)?;
    let pixels = pixels.narrow(0, 0, rows);
    match what {
        "1" | "8" => times.measure(|| among_threads("flex", || see(&tower, pixels.clone())), Ok),
        "grad-1" | "grad-8" => {
            times.measure(|| among_threads("flex", || gradient(&tower, pixels.clone())), Ok)
        }
        _ => bail!("`vit-{what}` is no case"),
    }
}

/// SmolLM's decoder: a prompt of 128 tokens, or 64 tokens after 16.
pub(crate) fn lm(folder: &Path, what: &str, times: Times) -> Result<Value> {
    let device = Device::flex();
    let decoder = decoder(&folder.join("lm"), &device)?;
    let ids = ids(folder, &device)?;
    match what {
        "prompt-128" => times.measure(|| step(&decoder, &ids, None, &device), Ok),
        "decode-64" => times.measure(|| decode(&decoder, ids.get(..16).unwrap_or(&ids), 64, &device), Ok),
        _ => bail!("`{what}` is no case"),
    }
}

fn tower(folder: &Path, device: &Device) -> Result<VisionTower> {
    let config = ClipConfig::read(&read_json::<Value>(folder.join("config.json"))?)?;
    let checkpoint = Checkpoint::open(folder)?;
    Ok(Weights::new(&checkpoint, device).build(|weights| ClipModel::take(&config, weights))?.vision)
}

pub(crate) fn decoder(folder: &Path, device: &Device) -> Result<Decoder> {
    let config = DecoderConfig::read(&read_json::<Value>(folder.join("config.json"))?, "", "llama")?;
    let checkpoint = Checkpoint::open(folder)?;
    let weights = Weights::new(&checkpoint, device).layout(Layout::DECODER);
    Ok(weights.build(|weights| Decoder::take(config.clone(), weights, "model", "lm_head"))?)
}

fn states(tower: &VisionTower, pixels: Tensor<4>) -> Result<Tensor<3>> {
    let last = tower.config().blocks;
    let states = tower.forward(pixels, &[last], &mut Run::idle())?;
    states.and_then(|mut states| states.pop()).context("the pass ended early")
}

fn see(tower: &VisionTower, pixels: Tensor<4>) -> Result<Vec<f32>> {
    Ok(AnyTensor::new(states(tower, pixels)?.narrow(1, 0, 1)).to_values()?)
}

fn gradient(tower: &VisionTower, pixels: Tensor<4>) -> Result<Vec<f32>> {
    let pixels = pixels.autodiff().require_grad();
    let grads = states(tower, pixels.clone())?.narrow(1, 0, 1).sum().backward();
    Ok(AnyTensor::new(pixels.grad(&grads).context("no gradient")?).to_values()?)
}

pub(crate) fn step(
    decoder: &Decoder,
    ids: &[u32],
    cache: Option<&mut KvCache>,
    device: &Device,
) -> Result<Vec<f32>> {
    let x = decoder.embed(&[ids.to_vec()], device)?;
    let sequence = Sequence { pads: &[0], ..Sequence::default() };
    let logits = among_threads("flex", || decoder.forward(x, sequence, cache, &mut Run::idle()))?;
    Ok(AnyTensor::new(logits.context("the pass ended early")?).to_values()?)
}

/// So many tokens, the likeliest each time.
fn decode(decoder: &Decoder, ids: &[u32], tokens: usize, device: &Device) -> Result<Vec<f32>> {
    let mut cache = KvCache::default();
    let mut next = ids.to_vec();
    let mut said = Vec::with_capacity(tokens);
    while said.len() < tokens {
        let logits = step(decoder, &next, Some(&mut cache), device)?;
        let top = top(&logits)?.context("no logits")?;
        said.push(top as f32);
        next = vec![top as u32];
    }
    Ok(said)
}
