//! The network in training: Qwen2-Audio from the zoo on tracked weights, and two helpers that are thrown away afterwards.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use burn::tensor::{Device, Int, Tensor, TensorData};
use mmlens::data::tones::Kind;
use mmlens::finding::top;
use mmlens::prelude::{AnyTensor, LogitsAt, Plan, Run};
use mmlens::zoo::ZooError;
use mmlens::zoo::audio::AudioTower;
use mmlens::zoo::checkpoint::WeightSource;
use mmlens::zoo::decoder::{Decoder, Sequence};
use mmlens::zoo::parts::{KvCache, Linear};
use mmlens::zoo::qwen2_audio::Qwen2AudioConfig;

use super::batch::{Batch, PITCHES, POSITIONS, Turns};
use super::training::{Grads, Init, Leaves, Params, cross_entropy, scalar, slopes, tracked};
use super::vocabulary::{AUDIO_BEGIN, AUDIO_END, BEGIN, USER};

const SOUND_HEAD: &str = "helper.sound";
/// Classes of the sound helper at each pitch: timbres, loudnesses, each with "none".
const CLASSES: [usize; 2] = [5, 3];
const TIME_HEAD: &str = "helper.time";
/// Where the time helper reads: nouns know by then when their sound is.
const TIME_SITE: &str = "text.blocks.1.resid_post";

/// As `Qwen2AudioModel` of the zoo, with what stands between its parts in reach.
pub(crate) struct Model {
    audio: AudioTower,
    projector: Linear,
    text: Decoder,
}

impl Model {
    pub(crate) fn take(config: &Qwen2AudioConfig, weights: &mut impl WeightSource) -> Result<Self, ZooError> {
        let (wide, d) = (config.audio.d_model, config.text.d_model);
        Ok(Self {
            audio: AudioTower::take(config.audio.clone(), weights, "model.audio_tower")?,
            projector: Linear::take(weights, "model.multi_modal_projector.linear", wide, d, true)?,
            text: Decoder::take(config.text.clone(), weights, "model.language_model", "lm_head")?,
        })
    }
}

pub(crate) fn init(config: &Qwen2AudioConfig, seed: u64, device: &Device) -> Result<Params> {
    let mut source = Init::new(seed, config.text.blocks, device);
    Model::take(config, &mut source)?;
    let classes = PITCHES * CLASSES.iter().sum::<usize>();
    source.take(&format!("{SOUND_HEAD}.weight"), [classes, config.audio.d_model])?;
    source.take(&format!("{SOUND_HEAD}.bias"), [classes])?;
    source.take(&format!("{TIME_HEAD}.weight"), [2, config.text.d_model])?;
    source.take(&format!("{TIME_HEAD}.bias"), [2])?;
    let (shape, positions) = sinusoids(config);
    let positions = Tensor::from_data(TensorData::new(positions, [shape[0] * shape[1]]), device);
    source.params.insert("model.audio_tower.embed_positions.weight".to_owned(), (shape, positions));
    Ok(source.params)
}

/// Whisper's positions, with which training begins: sines of wavelengths from 2 pi to 10000 x 2 pi, then cosines.
fn sinusoids(config: &Qwen2AudioConfig) -> (Vec<usize>, Vec<f32>) {
    let half = config.audio.d_model / 2;
    let rate = |i: usize| (-(10_000.0_f64.ln()) * i as f64 / (half - 1) as f64).exp();
    let row = |position: usize| {
        let angle = move |i: usize| position as f64 * rate(i);
        (0..half).map(move |i| angle(i).sin() as f32).chain((0..half).map(move |i| angle(i).cos() as f32))
    };
    (vec![config.audio.positions, config.audio.d_model], (0..config.audio.positions).flat_map(row).collect())
}

/// Losses (of answers, stories, sounds, times) and gradients of a batch.
pub(crate) fn learn(
    config: &Qwen2AudioConfig,
    params: &Params,
    batch: &Batch,
    device: &Device,
) -> Result<([f32; 4], Grads)> {
    let leaves = tracked(params);
    let mut source = Leaves(&leaves);
    let model = Model::take(config, &mut source)?;
    let (features, prefix) = listen(&model, batch, device)?;
    let sounds = sound_loss(&mut source, features, batch, device)?;
    let (answers, time) = turn_loss(&model, &mut source, &prefix, &batch.questions, device)?;
    let (stories, time_told) = turn_loss(&model, &mut source, &prefix, &batch.stories, device)?;
    let times = time + time_told.mul_scalar(0.5);
    let loss =
        answers.clone() + stories.clone().mul_scalar(0.7) + sounds.clone().mul_scalar(0.5) + times.clone();
    let losses = [scalar(answers)?, scalar(stories)?, scalar(sounds)?, scalar(times)?];
    Ok((losses, slopes(loss, &leaves)))
}

/// Features of the tower and the cache of everything up to the question.
fn listen(model: &Model, batch: &Batch, device: &Device) -> Result<(Tensor<3>, KvCache)> {
    let count = batch.mels.len();
    let values = TensorData::new(batch.mels.concat(), [count, batch.filters, batch.frames]);
    let frames = vec![batch.frames; count];
    let mels = Tensor::from_data(values, device);
    let features = model.audio.forward(mels, &frames, &mut Run::idle())?.context("the pass ended early")?;
    let vectors = model.projector.apply(features.clone());
    let row = |ids: &[u32]| vec![ids.to_vec(); count];
    let before = model.text.embed(&row(&[BEGIN, USER, AUDIO_BEGIN]), device)?;
    let behind = model.text.embed(&row(&[AUDIO_END]), device)?;
    debug_assert_eq!(vectors.dims()[1], POSITIONS);
    let x = Tensor::cat(vec![before, vectors, behind], 1);
    let mut cache = KvCache::default();
    let pads = vec![0; count];
    let sequence = Sequence { pads: &pads, ..Sequence::default() };
    model.text.forward(x, sequence, Some(&mut cache), &mut Run::idle())?;
    Ok((features, cache))
}

/// Names timbre and loudness of what sounds at each position and pitch.
fn sound_loss(
    weights: &mut Leaves<'_>,
    features: Tensor<3>,
    batch: &Batch,
    device: &Device,
) -> Result<Tensor<1>> {
    let [n, positions, d] = features.dims();
    let classes: usize = CLASSES.iter().sum();
    let weight: Tensor<2> = weights.take(&format!("{SOUND_HEAD}.weight"), [PITCHES * classes, d])?;
    let bias: Tensor<1> = weights.take(&format!("{SOUND_HEAD}.bias"), [PITCHES * classes])?;
    let logits = features.reshape([n * positions, d]).matmul(weight.transpose()) + bias.unsqueeze();
    let logits = logits.reshape([n * positions * PITCHES, classes]);
    let label = |at: usize| batch.sounds.iter().flatten().map(|own| usize::from(own[at])).collect::<Vec<_>>();
    let timbre = cross_entropy(logits.clone().narrow(1, 0, CLASSES[0]), &label(0), device);
    let loudness = cross_entropy(logits.narrow(1, CLASSES[0], CLASSES[1]), &label(1), device);
    // Most places are silent.
    Ok((timbre + loudness).mul_scalar(4.0))
}

/// Logits of turns, `[rows * length, vocab]`, and the states where the time helper reads, `[rows * length, d]`.
fn read(model: &Model, prefix: &KvCache, turns: &Turns, device: &Device) -> Result<(Tensor<2>, Tensor<2>)> {
    let mut cache = prefix.fork(turns.per_sound);
    let seen = Arc::new(Mutex::new(None));
    let keep = seen.clone();
    let plan = Plan::new().edit(TIME_SITE, move |x| {
        *keep.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(x.clone());
        Ok(x)
    })?;
    let mut run = Run::start(plan, "tones", &model.text.sites())?;
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
    model: &Model,
    weights: &mut Leaves<'_>,
    prefix: &KvCache,
    turns: &Turns,
    device: &Device,
) -> Result<(Tensor<1>, Tensor<1>)> {
    let (logits, states) = read(model, prefix, turns, device)?;
    let rows: Vec<usize> = turns.targets.iter().map(|(row, _)| *row).collect();
    let tokens: Vec<usize> = turns.targets.iter().map(|(_, token)| *token as usize).collect();
    let answers = cross_entropy(pick(logits, &rows, device), &tokens, device);
    let rows: Vec<usize> = turns.times.iter().map(|(row, _)| *row).collect();
    if rows.is_empty() {
        return Ok((answers, Tensor::zeros([1], device)));
    }
    let d = states.dims()[1];
    let weight: Tensor<2> = weights.take(&format!("{TIME_HEAD}.weight"), [2, d])?;
    let bias: Tensor<1> = weights.take(&format!("{TIME_HEAD}.bias"), [2])?;
    let found = pick(states, &rows, device).matmul(weight.transpose()) + bias.unsqueeze();
    let truth: Vec<f32> = turns.times.iter().flat_map(|(_, at)| *at).collect();
    let truth = Tensor::<2>::from_data(TensorData::new(truth, [rows.len(), 2]), device);
    let times = (found - truth).square().mean().mul_scalar(4.0);
    Ok((answers, times))
}

fn pick(x: Tensor<2>, rows: &[usize], device: &Device) -> Tensor<2> {
    let rows: Vec<i64> = rows.iter().map(|r| *r as i64).collect();
    let count = rows.len();
    x.select(0, Tensor::<1, Int>::from_data(TensorData::new(rows, [count]), device))
}

/// How many turns of each kind would be answered exactly (greedy decoding agrees with the truth while it follows it).
pub(crate) fn score(
    config: &Qwen2AudioConfig,
    params: &Params,
    batch: &Batch,
    device: &Device,
) -> Result<BTreeMap<Kind, (usize, usize)>> {
    let model = Model::take(config, &mut Leaves(params))?;
    let (_, prefix) = listen(&model, batch, device)?;
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
