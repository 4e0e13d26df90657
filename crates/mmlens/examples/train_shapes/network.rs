//! The network in training: LLaVA from the zoo on tracked weights, and two helpers that are thrown away afterwards.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, anyhow};
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};
use mmlens::data::shapes::Kind;
use mmlens::prelude::{AnyTensor, Asked, Plan, Run};
use mmlens::zoo::checkpoint::WeightSource;
use mmlens::zoo::decoder::Sequence;
use mmlens::zoo::parts::KvCache;
use mmlens::zoo::vlm::Network;
use mmlens::zoo::{LlavaConfig, LlavaModel, ZooError};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::batch::{Batch, Turns};
use crate::words::{BEGIN, IMAGE, USER};

/// Weights by name, flat, with their shapes.
pub(crate) type Params = BTreeMap<String, (Vec<usize>, Tensor<1>)>;

const PATCH_HEAD: &str = "helper.patch";
const PLACE_HEAD: &str = "helper.place";
/// Classes of the patch helper: shapes, colours, sizes, each with "none".
const CLASSES: [usize; 3] = [7, 9, 3];
/// Where the place helper reads: nouns know by then where their object is.
const PLACE_SITE: &str = "text.blocks.1.resid_post";

/// Draws every weight a model asks for.
struct Init {
    rng: ChaCha8Rng,
    params: Params,
    blocks: usize,
    device: Device,
}

impl Init {
    fn values(&mut self, name: &str, shape: &[usize]) -> Vec<f32> {
        let count = shape.iter().product();
        let norm = name.contains("norm");
        if shape.len() == 1 && !name.ends_with("class_embedding") {
            return vec![if norm && name.ends_with("weight") { 1.0 } else { 0.0 }; count];
        }
        let inputs: usize = shape.iter().skip(1).product::<usize>().max(1);
        let deep = ["o_proj", "down_proj", "out_proj", "fc2"].iter().any(|n| name.contains(n));
        let std = match name {
            n if n.contains("embed_tokens")
                || n.contains("position_embedding")
                || n.contains("class_embedding") =>
            {
                0.1
            }
            _ if deep => (inputs as f32).powf(-0.5) / (2.0 * self.blocks as f32).sqrt(),
            _ => (inputs as f32).powf(-0.5),
        };
        (0..count).map(|_| std * gauss(&mut self.rng)).collect()
    }
}

fn gauss(rng: &mut ChaCha8Rng) -> f32 {
    let (u, v): (f32, f32) = (rng.random::<f32>().max(1e-7), rng.random());
    (-2.0 * u.ln()).sqrt() * (std::f32::consts::TAU * v).cos()
}

impl WeightSource for Init {
    fn take<const D: usize>(&mut self, name: &str, shape: [usize; D]) -> Result<Tensor<D>, ZooError> {
        let values = self.values(name, &shape);
        let flat =
            Tensor::<1>::from_data(TensorData::new(values, [shape.iter().product::<usize>()]), &self.device);
        self.params.insert(name.to_owned(), (shape.to_vec(), flat.clone()));
        Ok(flat.reshape(shape))
    }

    fn has(&self, _: &str) -> bool {
        true
    }
}

/// Tracked leaves, one for each weight.
struct Leaves<'a>(&'a Params);

impl WeightSource for Leaves<'_> {
    fn take<const D: usize>(&mut self, name: &str, shape: [usize; D]) -> Result<Tensor<D>, ZooError> {
        let (_, flat) = self.0.get(name).ok_or_else(|| ZooError::Value {
            field: name.to_owned(),
            found: "nothing".to_owned(),
            expected: format!("a weight of shape {shape:?}"),
        })?;
        Ok(flat.clone().reshape(shape))
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

pub(crate) fn init(config: &LlavaConfig, seed: u64, device: &Device) -> Result<Params> {
    let blocks = config.decoder()?.blocks;
    let rng = ChaCha8Rng::seed_from_u64(seed);
    let mut source = Init { rng, params: Params::new(), blocks, device: device.clone() };
    LlavaModel::take(config, &mut source)?;
    let (wide, d) = (config.tower()?.d_model, config.decoder()?.d_model);
    source.take(&format!("{PATCH_HEAD}.weight"), [CLASSES.iter().sum(), wide])?;
    source.take(&format!("{PATCH_HEAD}.bias"), [CLASSES.iter().sum()])?;
    source.take(&format!("{PLACE_HEAD}.weight"), [2, d])?;
    source.take(&format!("{PLACE_HEAD}.bias"), [2])?;
    Ok(source.params)
}

pub(crate) fn is_helper(name: &str) -> bool {
    name.starts_with("helper.")
}

/// What a step saw.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Losses {
    pub(crate) answers: f32,
    pub(crate) stories: f32,
    pub(crate) patches: f32,
    pub(crate) places: f32,
}

/// Loss and gradients of a batch.
pub(crate) fn learn(
    config: &LlavaConfig,
    params: &Params,
    batch: &Batch,
    device: &Device,
) -> Result<(Losses, BTreeMap<String, Tensor<1>>)> {
    let leaves: Params = params
        .iter()
        .map(|(name, (shape, flat))| (name.clone(), (shape.clone(), flat.clone().autodiff().require_grad())))
        .collect();
    let mut source = Leaves(&leaves);
    let model = LlavaModel::take(config, &mut source)?;
    let (features, prefix) = look(&model, batch, device)?;
    let patches = patch_loss(&mut source, features, batch, device)?;
    let (answers, place) = turn_loss(&model, &mut source, &prefix, &batch.questions, device)?;
    let (stories, place_told) = turn_loss(&model, &mut source, &prefix, &batch.stories, device)?;
    let places = place + place_told.mul_scalar(0.5);
    let loss =
        answers.clone() + stories.clone().mul_scalar(0.7) + patches.clone().mul_scalar(0.5) + places.clone();
    let mut grads = loss.backward();
    let losses = Losses {
        answers: scalar(answers)?,
        stories: scalar(stories)?,
        patches: scalar(patches)?,
        places: scalar(places)?,
    };
    let taken = leaves
        .iter()
        .filter_map(|(name, (_, leaf))| leaf.grad_remove(&mut grads).map(|g| (name.clone(), g)))
        .collect();
    Ok((losses, taken))
}

fn scalar(x: Tensor<1>) -> Result<f32> {
    AnyTensor::new(x.without_autodiff()).to_values()?.first().copied().context("a loss has no value")
}

/// Features of the tower and the cache of everything up to the question.
fn look(model: &LlavaModel, batch: &Batch, device: &Device) -> Result<(Tensor<3>, KvCache)> {
    let side = model.vision.config().image_size;
    let pixels = Tensor::<4>::from_data(
        TensorData::new(batch.pixels.clone(), [batch.pictures, 3, side, side]),
        device,
    );
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
    let ids = vec![ids; batch.pictures];
    let images: Vec<Vec<usize>> = (0..batch.pictures).map(|i| vec![i]).collect();
    let mut idle = Run::idle();
    let x = model.embed(&ids, Some(features), &images, device, &mut idle)?;
    let mut cache = KvCache::default();
    let pads = vec![0; batch.pictures];
    let sequence = Sequence { pads: &pads, ..Sequence::default() };
    model.text.forward(x, sequence, Some(&mut cache), &mut idle)?;
    Ok((tower, cache))
}

/// Logits of turns, `[rows * length, vocab]`, and the states where the place helper reads, `[rows * length, d]`.
fn read(
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
    let sequence = Sequence { pads: &pads, asked: Asked::All, ..Sequence::default() };
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

fn patch_loss(
    weights: &mut Leaves<'_>,
    features: Tensor<3>,
    batch: &Batch,
    device: &Device,
) -> Result<Tensor<1>> {
    let [n, p, d] = features.dims();
    let all: usize = CLASSES.iter().sum();
    let weight: Tensor<2> = weights.take(&format!("{PATCH_HEAD}.weight"), [all, d])?;
    let bias: Tensor<1> = weights.take(&format!("{PATCH_HEAD}.bias"), [all])?;
    let logits = features.reshape([n * p, d]).matmul(weight.transpose()) + bias.unsqueeze();
    let mut start = 0;
    let mut losses = Vec::new();
    for (i, classes) in CLASSES.into_iter().enumerate() {
        let labels: Vec<usize> = batch.patches.iter().map(|l| usize::from(l[i])).collect();
        losses.push(cross_entropy(logits.clone().narrow(1, start, classes), &labels, device));
        start += classes;
    }
    losses.into_iter().reduce(|a, b| a + b).ok_or_else(|| anyhow!("no classes"))
}

fn pick(x: Tensor<2>, rows: &[usize], device: &Device) -> Tensor<2> {
    let rows: Vec<i64> = rows.iter().map(|r| *r as i64).collect();
    let count = rows.len();
    x.select(0, Tensor::<1, Int>::from_data(TensorData::new(rows, [count]), device))
}

fn cross_entropy(logits: Tensor<2>, classes: &[usize], device: &Device) -> Tensor<1> {
    let index: Vec<i64> = classes.iter().map(|c| *c as i64).collect();
    let index = Tensor::<2, Int>::from_data(TensorData::new(index, [classes.len(), 1]), device);
    log_softmax(logits, 1).gather(1, index).mean().neg()
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
            let top = scores.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(i, _)| i);
            right[row / turns.length()] &= top == Some(*token as usize);
        }
        for (kind, right) in turns.kinds.iter().zip(right) {
            let count = counts.entry(*kind).or_default();
            count.0 += usize::from(right);
            count.1 += 1;
        }
    }
    Ok(counts)
}
