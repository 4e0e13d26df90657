//! One timed case on this side of `benches/peers/compare.py`, which makes the checkpoints and the inputs, runs the same in PyTorch,
//! and compares results before times.
//!
//! `peer CASE FOLDER REPETITIONS`: FOLDER holds `vit`, `lm` (Hugging Face folders) and `inputs.safetensors`. It prints one
//! line of JSON: times in milliseconds, and some numbers of the result.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use burn::tensor::{Device, Tensor};
use mmlens::prelude::*;
use mmlens::zoo::checkpoint::{Checkpoint, Layout, WeightSource, Weights, read_json};
use mmlens::zoo::clip::{ClipConfig, ClipModel};
use mmlens::zoo::decoder::{Decoder, DecoderConfig, Sequence};
use mmlens::zoo::parts::KvCache;
use mmlens::zoo::vision::VisionTower;
use serde_json::{Value, json};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [case, folder, repetitions] = arguments.as_slice() else {
        bail!("peer CASE FOLDER REPETITIONS");
    };
    let (folder, repetitions) = (Path::new(folder), repetitions.parse::<usize>()?);
    let device = Device::flex();
    let inputs = Checkpoint::open(folder.join("inputs.safetensors"))?;
    let mut inputs = Weights::new(&inputs, &device);
    let (times, result) = match case.as_str() {
        "vit-1" | "vit-8" | "vit-grad-1" | "vit-grad-8" => {
            let tower = tower(&folder.join("vit"), &device)?;
            let rows = if case.ends_with('8') { 8 } else { 1 };
            let pixels: Tensor<4> = WeightSource::take(&mut inputs, "pixels", [8, 3, 224, 224])?;
            let pixels = pixels.narrow(0, 0, rows);
            match case.contains("grad") {
                false => timed(repetitions, || see(&tower, pixels.clone()))?,
                true => timed(repetitions, || gradient(&tower, pixels.clone()))?,
            }
        }
        "prompt-128" | "decode-64" => {
            let decoder = decoder(&folder.join("lm"), &device)?;
            let ids: Tensor<1> = WeightSource::take(&mut inputs, "ids", [128])?;
            let ids: Vec<u32> = AnyTensor::new(ids).to_values()?.iter().map(|id| *id as u32).collect();
            match case.as_str() {
                "prompt-128" => timed(repetitions, || prompt(&decoder, &ids, &device))?,
                _ => timed(repetitions, || decode(&decoder, &ids[..16], 64, &device))?,
            }
        }
        other => bail!("`{other}` is no case"),
    };
    #[allow(clippy::print_stdout, reason = "this is its answer")]
    {
        println!("{}", json!({ "times": times, "result": result }));
    }
    Ok(())
}

/// Each time in milliseconds, after one that does not count, and the result.
fn timed(repetitions: usize, f: impl Fn() -> Result<Vec<f32>>) -> Result<(Vec<f64>, Vec<f32>)> {
    let result = f()?;
    let mut times = Vec::with_capacity(repetitions);
    for _ in 0..repetitions {
        let start = Instant::now();
        f()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok((times, result))
}

fn tower(folder: &Path, device: &Device) -> Result<VisionTower> {
    let config = ClipConfig::read(&read_json::<Value>(folder.join("config.json"))?)?;
    let checkpoint = Checkpoint::open(folder)?;
    Ok(Weights::new(&checkpoint, device).build(|weights| ClipModel::take(&config, weights))?.vision)
}

fn decoder(folder: &Path, device: &Device) -> Result<Decoder> {
    let config = DecoderConfig::read(&read_json::<Value>(folder.join("config.json"))?, "", "llama")?;
    let checkpoint = Checkpoint::open(folder)?;
    let weights = Weights::new(&checkpoint, device).layout(Layout::DECODER);
    Ok(weights.build(|weights| Decoder::take(config, weights, "model", "lm_head"))?)
}

fn states(tower: &VisionTower, pixels: Tensor<4>) -> Result<Tensor<3>> {
    let last = tower.config().blocks;
    let states = tower.forward(pixels, &[last], &mut Run::idle())?;
    states.and_then(|mut states| states.pop()).context("the pass ended early")
}

/// The last states of the class token.
fn see(tower: &VisionTower, pixels: Tensor<4>) -> Result<Vec<f32>> {
    Ok(AnyTensor::new(states(tower, pixels)?.narrow(1, 0, 1)).to_values()?)
}

/// The gradient of the sum of those with respect to the pixels: the first numbers of it.
fn gradient(tower: &VisionTower, pixels: Tensor<4>) -> Result<Vec<f32>> {
    let pixels = pixels.autodiff().require_grad();
    let grads = states(tower, pixels.clone())?.narrow(1, 0, 1).sum().backward();
    let mut values = AnyTensor::new(pixels.grad(&grads).context("no gradient")?).to_values()?;
    values.truncate(4096);
    Ok(values)
}

fn step(decoder: &Decoder, ids: &[u32], cache: Option<&mut KvCache>, device: &Device) -> Result<Vec<f32>> {
    let x = decoder.embed(&[ids.to_vec()], device)?;
    let sequence = Sequence { pads: &[0], ..Sequence::default() };
    let logits = decoder.forward(x, sequence, cache, &mut Run::idle())?;
    Ok(AnyTensor::new(logits.context("the pass ended early")?).to_values()?)
}

/// The logits at the last position.
fn prompt(decoder: &Decoder, ids: &[u32], device: &Device) -> Result<Vec<f32>> {
    let mut logits = step(decoder, ids, None, device)?;
    logits.truncate(4096);
    Ok(logits)
}

/// So many tokens, the likeliest each time.
fn decode(decoder: &Decoder, ids: &[u32], tokens: usize, device: &Device) -> Result<Vec<f32>> {
    let mut cache = KvCache::default();
    let mut next = ids.to_vec();
    let mut said = Vec::with_capacity(tokens);
    while said.len() < tokens {
        let logits = step(decoder, &next, Some(&mut cache), device)?;
        let top = logits
            .iter()
            .enumerate()
            .fold((0, f32::MIN), |top, (i, x)| if *x > top.1 { (i, *x) } else { top });
        said.push(top.0 as f32);
        next = vec![top.0 as u32];
    }
    Ok(said)
}
