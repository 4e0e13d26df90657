//! The network in training: CLIP from the zoo on tracked weights, and a helper that is thrown away afterwards.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, bail};
use burn::tensor::activation::softplus;
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use mmlens::core::{self, TokenMap};
use mmlens::data::shapes::Score;
use mmlens::prelude::{AnyTensor, Inputs, Plan, Run};
use mmlens::zoo::checkpoint::{Access, Checkpoint, WeightSource};
use mmlens::zoo::{ClipConfig, ClipModel};

use super::batch::{Batch, KINDS};
use super::training::{
    Grads, Init, Leaves, Params, cross_entropy, patch_head, patch_loss, pictures, scalar, slopes, tracked,
};

const SCALE: &str = "logit_scale";
/// The largest scale, as CLIP has it.
const MOST: f32 = 100.0;
const KIND_HEAD: &str = "helper.kind";
/// What the helpers count for.
const PATCHES: f32 = 0.25;
const NAMES: f32 = 0.1;

pub(crate) fn init(config: &ClipConfig, seed: u64, device: &Device) -> Result<Params> {
    let mut source = Init::new(seed, config.vision.blocks, device);
    ClipModel::take(config, &mut source)?;
    patch_head(&mut source, config.vision.d_model)?;
    let _: Tensor<2> = source.take(&format!("{KIND_HEAD}.weight"), [KINDS, config.shared])?;
    let _: Tensor<1> = source.take(&format!("{KIND_HEAD}.bias"), [KINDS])?;
    Ok(source.params)
}

/// Replaces the weights of the image tower by those of a LLaVA checkpoint; how many tensors.
pub(crate) fn take_tower(params: &mut Params, folder: &Path, device: &Device) -> Result<usize> {
    const OTHER: &str = "model.vision_tower.";
    let file = Checkpoint::open_with(folder, Access::Copied)?;
    let mut taken = 0;
    for (name, (shape, weight)) in params.iter_mut() {
        let Some(own) = name.strip_prefix("vision_model.").filter(|own| !own.starts_with("post_layernorm"))
        else {
            continue;
        };
        let values = file.floats(&format!("{OTHER}{own}"))?;
        if values.len() != shape.iter().product::<usize>() {
            bail!("`{OTHER}{own}` of {} has another shape than this network", folder.display());
        }
        let count = values.len();
        *weight = Tensor::from_data(TensorData::new(values, [count]), device);
        taken += 1;
    }
    Ok(taken)
}

/// Keeps the scale below its bound.
pub(crate) fn bound_scale(params: &mut Params) {
    if let Some((_, scale)) = params.get_mut(SCALE) {
        *scale = scale.clone().clamp_max(MOST.ln());
    }
}

/// Losses and gradients of a batch. Losses are those of captions, the right one among all that are false; of pictures, the right one among those that a caption is false
/// for; of patches; and of names, which kinds of object there are, from pictures and from captions.
pub(crate) fn learn(
    config: &ClipConfig,
    params: &Params,
    batch: &Batch,
    device: &Device,
) -> Result<([f32; 4], Grads)> {
    let leaves = tracked(params);
    let mut source = Leaves(&leaves);
    let model = ClipModel::take(config, &mut source)?;
    let (images, tower) = look(&model, batch, device)?;
    let tokens = tower.dims()[1];
    let shown = tower.narrow(1, 1, tokens - 1);
    let patches = patch_loss(&mut source, shown, &batch.patches, device)?;
    let texts = read(&model, &batch.ids, device)?;
    let named: Vec<i64> = batch.full.iter().map(|text| *text as i64).collect();
    let named = Tensor::<1, Int>::from_data(TensorData::new(named, [batch.full.len()]), device);
    let names = name_loss(&mut source, images.clone(), &batch.shown, device)?
        + name_loss(&mut source, texts.clone().select(0, named), &batch.named, device)?;
    let texts = unit(texts);
    let scale: Tensor<1> = source.take(SCALE, [1])?;
    let logits = unit(images).matmul(texts.transpose()) * scale.exp().unsqueeze();
    let (n, each) = (batch.scenes.len(), batch.each);
    let own: Vec<usize> = (0..n).map(|picture| picture * each).collect();
    let hidden = |picture: usize, text: usize| {
        text != picture * each && !batch.falsehoods[picture * batch.ids.len() + text]
    };
    let mask: Vec<bool> = (0..n)
        .flat_map(|picture| (0..n * each).map(move |text| (picture, text)))
        .map(|(p, t)| hidden(p, t))
        .collect();
    let mask = Tensor::<2, Bool>::from_data(TensorData::new(mask, [n, n * each]), device);
    let logits = logits.mask_fill(mask, -1e4);
    let captions = cross_entropy(logits.clone(), &own, device);
    let columns: Vec<i64> = own.iter().map(|text| *text as i64).collect();
    let columns = Tensor::<1, Int>::from_data(TensorData::new(columns, [n]), device);
    let straight: Vec<usize> = (0..n).collect();
    let backward = cross_entropy(logits.select(1, columns).transpose(), &straight, device);
    let loss = captions.clone()
        + backward.clone().mul_scalar(0.5)
        + patches.clone().mul_scalar(PATCHES)
        + names.clone().mul_scalar(NAMES);
    let losses = [scalar(captions)?, scalar(backward)?, scalar(patches)?, scalar(names)?];
    Ok((losses, slopes(loss, &leaves)))
}

/// Says of every kind of object whether it is there, from the shared space, by one head for pictures and captions.
fn name_loss(
    weights: &mut impl WeightSource,
    x: Tensor<2>,
    truth: &[f32],
    device: &Device,
) -> Result<Tensor<1>> {
    let [n, d] = x.dims();
    if n == 0 {
        return Ok(Tensor::zeros([1], device));
    }
    let weight: Tensor<2> = weights.take(&format!("{KIND_HEAD}.weight"), [KINDS, d])?;
    let bias: Tensor<1> = weights.take(&format!("{KIND_HEAD}.bias"), [KINDS])?;
    let logits = x.matmul(weight.transpose()) + bias.unsqueeze();
    let truth = Tensor::<2>::from_data(TensorData::new(truth.to_vec(), [n, KINDS]), device);
    // Minus the log-likelihood: ln(1 + e^z) - z where it is there, ln(1 + e^z) where it is not.
    let loss = softplus(logits.clone(), 1.0) - logits * truth;
    Ok(loss.sum().div_scalar(n as f32))
}

/// Pictures in the shared space, and what leaves the last block of the tower.
fn look(model: &ClipModel, batch: &Batch, device: &Device) -> Result<(Tensor<2>, Tensor<3>)> {
    let seen = Arc::new(Mutex::new(None));
    let keep = seen.clone();
    let last = model.vision.config().blocks - 1;
    let plan = Plan::new().edit(format!("vision.blocks.{last}.resid_post"), move |x| {
        *keep.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(x.clone());
        Ok(x)
    })?;
    let mut run = Run::start(plan, "shapes", &model.sites())?;
    let images =
        model.see(pictures(batch.scenes.iter(), device), &mut run)?.context("the pass ended early")?;
    let seen = seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    Ok((images, seen.and_then(AnyTensor::typed).context("no features")?))
}

/// Texts in the shared space. Those of one length are computed together, so that nothing is padded.
fn read(model: &ClipModel, ids: &[Vec<u32>], device: &Device) -> Result<Tensor<2>> {
    let mut lengths: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (text, ids) in ids.iter().enumerate() {
        lengths.entry(ids.len()).or_default().push(text);
    }
    let mut parts = Vec::new();
    for texts in lengths.values() {
        let unlabelled = Arc::new(TokenMap::default());
        let inputs = Inputs::new(core::Batch {
            ids: texts.iter().map(|text| ids[*text].clone()).collect(),
            pads: vec![0; texts.len()],
            tails: vec![0; texts.len()],
            maps: vec![unlabelled; texts.len()],
            ..core::Batch::default()
        })?;
        parts.push(model.read(&inputs, &mut Run::idle())?.context("the pass ended early")?);
    }
    let order: Vec<usize> = lengths.into_values().flatten().collect();
    let mut back = vec![0_i64; order.len()];
    order.iter().enumerate().for_each(|(at, text)| back[*text] = at as i64);
    let count = back.len();
    Ok(Tensor::cat(parts, 0).select(0, Tensor::<1, Int>::from_data(TensorData::new(back, [count]), device)))
}

fn unit(x: Tensor<2>) -> Tensor<2> {
    let length = x.clone().square().sum_dim(1).sqrt();
    x / length
}

/// How often the first of a picture's captions is the most like it.
pub(crate) fn score(config: &ClipConfig, params: &Params, batch: &Batch, device: &Device) -> Result<Score> {
    let model = ClipModel::take(config, &mut Leaves(params))?;
    let (images, _) = look(&model, batch, device)?;
    let texts = unit(read(&model, &batch.ids, device)?);
    let cosines = AnyTensor::new(unit(images).matmul(texts.transpose())).to_values()?;
    let mut score = Score::default();
    for picture in 0..batch.scenes.len() {
        let from = picture * batch.ids.len() + picture * batch.each;
        let own = &cosines[from..from + batch.each];
        score.count(own[1..].iter().all(|other| *other < own[0]));
    }
    Ok(score)
}
