//! The network in training: LLaVA from the zoo on tracked weights, and two helpers that are thrown away afterwards.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use burn::tensor::{Device, Int, Tensor, TensorData};
use mmlens::data::shapes::Kind;
use mmlens::finding::top;
use mmlens::prelude::{AnyTensor, LogitsAt, Plan, Run};
use mmlens::zoo::checkpoint::WeightSource;
use mmlens::zoo::decoder::Sequence;
use mmlens::zoo::parts::KvCache;
use mmlens::zoo::vlm::Network;
use mmlens::zoo::{LlavaConfig, LlavaModel};

use super::batch::{Batch, Turns};
use super::training::{
    Grads, Init, Leaves, Params, cross_entropy, patch_head, patch_loss, pictures, scalar, slopes, tracked,
};
use super::vocabulary::{BEGIN, IMAGE, USER};

const PLACE_HEAD: &str = "helper.place";
/// Where the place helper reads: nouns know by then where their object is.
const PLACE_SITE: &str = "text.blocks.1.resid_post";

pub(crate) fn init(config: &LlavaConfig, seed: u64, device: &Device) -> Result<Params> {
    let blocks = config.decoder()?.blocks;
    let mut source = Init::new(seed, blocks, device);
    LlavaModel::take(config, &mut source)?;
    let (wide, d) = (config.tower()?.d_model, config.decoder()?.d_model);
    patch_head(&mut source, wide)?;
    source.take(&format!("{PLACE_HEAD}.weight"), [2, d])?;
    source.take(&format!("{PLACE_HEAD}.bias"), [2])?;
    Ok(source.params)
}

/// Losses (of answers, stories, patches, places) and gradients of a batch.
pub(crate) fn learn(
    config: &LlavaConfig,
    params: &Params,
    batch: &Batch,
    device: &Device,
) -> Result<([f32; 4], Grads)> {
    let leaves = tracked(params);
    let mut source = Leaves(&leaves);
    let model = LlavaModel::take(config, &mut source)?;
    let (features, prefix) = look(&model, batch, device)?;
    let patches = patch_loss(&mut source, features, &batch.patches, device)?;
    let (answers, place) = turn_loss(&model, &mut source, &prefix, &batch.questions, device)?;
    let (stories, place_told) = turn_loss(&model, &mut source, &prefix, &batch.stories, device)?;
    let places = place + place_told.mul_scalar(0.5);
    let loss =
        answers.clone() + stories.clone().mul_scalar(0.7) + patches.clone().mul_scalar(0.5) + places.clone();
    let losses = [scalar(answers)?, scalar(stories)?, scalar(patches)?, scalar(places)?];
    Ok((losses, slopes(loss, &leaves)))
}

/// Features of the tower and the cache of everything up to the question.
pub(crate) fn look(model: &LlavaModel, batch: &Batch, device: &Device) -> Result<(Tensor<3>, KvCache)> {
    look_at(model, pictures(batch.scenes.iter(), device), device)
}

/// The same of given pixels, `[picture, 3, side, side]`.
pub(crate) fn look_at(
    model: &LlavaModel,
    pixels: Tensor<4>,
    device: &Device,
) -> Result<(Tensor<3>, KvCache)> {
    let count = pixels.dims()[0];
    let seen = Arc::new(Mutex::new(None));
    let keep = seen.clone();
    let plan = Plan::new().edit("vision.features", move |x| {
        *keep.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(x.clone());
        Ok(x)
    })?;
    let mut run = Run::start(plan, "shapes", &model.sites())?;
    let features = model.see(pixels, &mut run)?.context("the pass ended early")?;
    let seen = seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    let tower: Tensor<3> = seen.and_then(AnyTensor::typed).context("no features")?;
    let mut ids = vec![BEGIN, USER];
    ids.extend(vec![IMAGE; model.image_tokens()]);
    let ids = vec![ids; count];
    let images: Vec<Vec<usize>> = (0..count).map(|i| vec![i]).collect();
    let mut idle = Run::idle();
    let x = model.embed(&ids, Some(features), &images, device, &mut idle)?;
    let mut cache = KvCache::default();
    let pads = vec![0; count];
    let sequence = Sequence { pads: &pads, ..Sequence::default() };
    model.text.forward(x, sequence, Some(&mut cache), &mut idle)?;
    Ok((tower, cache))
}

/// Logits of turns, `[rows * length, vocab]`, and the states where the place helper reads, `[rows * length, d]`.
pub(crate) fn read(
    model: &LlavaModel,
    prefix: &KvCache,
    turns: &Turns,
    device: &Device,
) -> Result<(Tensor<2>, Tensor<2>)> {
    let mut cache = prefix.fork(turns.per_picture);
    let seen = Arc::new(Mutex::new(None));
    let keep = seen.clone();
    let plan = Plan::new().edit(PLACE_SITE, move |x| {
        *keep.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(x.clone());
        Ok(x)
    })?;
    let mut run = Run::start(plan, "shapes", &model.sites())?;
    let x = model.text.embed(&turns.ids, device)?;
    let pads = vec![0; turns.ids.len()];
    let sequence = Sequence { pads: &pads, logits_at: LogitsAt::All, ..Sequence::default() };
    let logits = model.text.forward(x, sequence, Some(&mut cache), &mut run)?;
    let logits = logits.context("the pass ended early")?;
    let [rows, length, vocab] = logits.dims();
    let seen = seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    let states: Tensor<3> = seen.and_then(AnyTensor::typed).context("no states")?;
    let d = states.dims()[2];
    Ok((logits.reshape([rows * length, vocab]), states.reshape([rows * length, d])))
}

fn turn_loss(
    model: &LlavaModel,
    weights: &mut Leaves<'_>,
    prefix: &KvCache,
    turns: &Turns,
    device: &Device,
) -> Result<(Tensor<1>, Tensor<1>)> {
    let (logits, states) = read(model, prefix, turns, device)?;
    let rows: Vec<usize> = turns.targets.iter().map(|(row, _)| *row).collect();
    let tokens: Vec<usize> = turns.targets.iter().map(|(_, token)| *token as usize).collect();
    let answers = cross_entropy(pick(logits, &rows, device), &tokens, device);
    let rows: Vec<usize> = turns.places.iter().map(|(row, _)| *row).collect();
    if rows.is_empty() {
        return Ok((answers, Tensor::zeros([1], device)));
    }
    let d = states.dims()[1];
    let weight: Tensor<2> = weights.take(&format!("{PLACE_HEAD}.weight"), [2, d])?;
    let bias: Tensor<1> = weights.take(&format!("{PLACE_HEAD}.bias"), [2])?;
    let found = pick(states, &rows, device).matmul(weight.transpose()) + bias.unsqueeze();
    let truth: Vec<f32> = turns.places.iter().flat_map(|(_, xy)| *xy).collect();
    let truth = Tensor::<2>::from_data(TensorData::new(truth, [rows.len(), 2]), device);
    let places = (found - truth).square().mean().mul_scalar(4.0);
    Ok((answers, places))
}

pub(crate) fn pick(x: Tensor<2>, rows: &[usize], device: &Device) -> Tensor<2> {
    let rows: Vec<i64> = rows.iter().map(|r| *r as i64).collect();
    let count = rows.len();
    x.select(0, Tensor::<1, Int>::from_data(TensorData::new(rows, [count]), device))
}

/// How many turns of each kind would be answered exactly (greedy decoding agrees with the truth while it follows it).
pub(crate) fn score(
    config: &LlavaConfig,
    params: &Params,
    batch: &Batch,
    device: &Device,
) -> Result<BTreeMap<Kind, (usize, usize)>> {
    let model = LlavaModel::take(config, &mut Leaves(params))?;
    let (_, prefix) = look(&model, batch, device)?;
    let mut counts = BTreeMap::<Kind, (usize, usize)>::new();
    for turns in [&batch.questions, &batch.stories] {
        let (logits, _) = read(&model, &prefix, turns, device)?;
        let vocab = logits.dims()[1];
        let values = AnyTensor::new(logits).to_values()?;
        let mut right = vec![true; turns.ids.len()];
        for (row, token) in &turns.targets {
            let scores = &values[row * vocab..(row + 1) * vocab];
            right[row / turns.length()] &= top(scores)? == Some(*token as usize);
        }
        for (kind, right) in turns.kinds.iter().zip(right) {
            let count = counts.entry(*kind).or_default();
            count.0 += usize::from(right);
            count.1 += 1;
        }
    }
    Ok(counts)
}
