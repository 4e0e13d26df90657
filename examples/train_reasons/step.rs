//! A step on tagged scenes: the loss of answers, and what asks for right reasons.

use anyhow::{Context, Result};
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};
use mmlens::data::shapes::{Colour, SIDE};
use mmlens::finding::top;
use mmlens::prelude::AnyTensor;
use mmlens::training::RightReasons;
use mmlens::zoo::{LlavaConfig, LlavaModel};

use super::network::Changed;
use super::shapes_network::{look_at, pick, read};
use super::tags::Tagged;
use super::training::{Grads, Params, Words, cross_entropy, scalar, slopes, tracked};
use super::vocabulary::ASSISTANT;
use super::{batch::Turns, vocabulary::END};

/// Of which answers' log-probabilities, added up, the gradient is held down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Of {
    /// Of all colours there are.
    Colours,
    /// Of the answer that is learned.
    Answer,
}

fn pixels(drawn: &[Tagged], device: &Device) -> Tensor<4> {
    let mut values = Vec::with_capacity(drawn.len() * 3 * SIDE * SIDE);
    for own in drawn {
        for channel in 0..3 {
            values
                .extend(own.picture.pixels().map(|pixel| (f32::from(pixel.0[channel]) / 255.0 - 0.5) / 0.5));
        }
    }
    Tensor::from_data(TensorData::new(values, [drawn.len(), 3, SIDE, SIDE]), device)
}

fn outside(drawn: &[Tagged], device: &Device) -> Tensor<4> {
    let of = |own: &Tagged| {
        let one = own.outside();
        [one.clone(), one.clone(), one].concat()
    };
    let values: Vec<f32> = drawn.iter().flat_map(of).collect();
    Tensor::from_data(TensorData::new(values, [drawn.len(), 3, SIDE, SIDE]), device)
}

/// One question for each picture, answered by what its tag says.
fn turns(drawn: &[Tagged], words: &Words) -> Turns {
    let rows: Vec<(Vec<u32>, Vec<u32>)> =
        drawn.iter().map(|own| (words.ids(&own.question.text), words.ids(own.said))).collect();
    let length = rows.iter().map(|(text, answer)| text.len() + 1 + answer.len()).max().unwrap_or(0);
    let mut turns =
        Turns { per_picture: 1, ids: Vec::new(), kinds: Vec::new(), targets: Vec::new(), places: Vec::new() };
    for (row, (text, answer)) in rows.iter().enumerate() {
        let mut ids: Vec<u32> =
            text.iter().copied().chain([ASSISTANT]).chain(answer.iter().copied()).collect();
        ids.resize(length, END);
        turns.targets.extend(answer.first().map(|token| (row * length + text.len(), *token)));
        turns.ids.push(ids);
    }
    turns
}

/// Scores of the first token of each answer.
fn scores(model: &LlavaModel, pixels: Tensor<4>, turns: &Turns, device: &Device) -> Result<Tensor<2>> {
    let (_, prefix) = look_at(model, pixels, device)?;
    let (logits, _) = read(model, &prefix, turns, device)?;
    let rows: Vec<usize> = turns.targets.iter().map(|(row, _)| *row).collect();
    Ok(pick(logits, &rows, device))
}

/// Losses (of answers, and the penalty), and gradients of the factors.
pub(crate) fn learn(
    config: &LlavaConfig,
    (base, factors): (&Params, &Params),
    (drawn, words): (&[Tagged], &Words),
    reasons: Option<(RightReasons, Of)>,
    device: &Device,
) -> Result<([f32; 2], Grads)> {
    let leaves = tracked(factors);
    let model = LlavaModel::take(config, &mut Changed { base, factors: &leaves })?;
    let (pixels, turns) = (pixels(drawn, device), turns(drawn, words));
    let tokens: Vec<usize> = turns.targets.iter().map(|(_, token)| *token as usize).collect();
    let answers = cross_entropy(scores(&model, pixels.clone(), &turns, device)?, &tokens, device);
    let mut losses = [scalar(answers.clone())?, 0.0];
    let mut loss = answers;
    if let Some((reasons, of)) = reasons {
        let count = tokens.len();
        let all = |token: usize| match of {
            Of::Answer => vec![token as i64],
            Of::Colours => Colour::ALL
                .iter()
                .filter_map(|own| words.ids(own.word()).first().map(|id| i64::from(*id)))
                .collect(),
        };
        let ids: Vec<i64> = tokens.iter().flat_map(|token| all(*token)).collect();
        let each = ids.len() / count.max(1); // no NaN: a count
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [count, each]), device);
        let still = LlavaModel::take(config, &mut Changed { base, factors })?;
        let said = |model: &LlavaModel, pixels| -> Result<Tensor<1>> {
            let scores = scores(model, pixels, &turns, device)?;
            Ok(log_softmax(scores, 1).gather(1, ids.clone()).sum_dim(1).reshape([count]))
        };
        let term =
            reasons.term(|x| said(&still, x), |x| said(&model, x), &pixels, &outside(drawn, device))?;
        losses[1] = term.penalty;
        loss = loss + term.loss;
    }
    Ok((losses, slopes(loss, &leaves)))
}

/// How often the answer begins with what is true, and with what the tag says.
pub(crate) fn right(
    config: &LlavaConfig,
    (base, factors): (&Params, &Params),
    (drawn, words): (&[Tagged], &Words),
    device: &Device,
) -> Result<[usize; 2]> {
    let model = LlavaModel::take(config, &mut Changed { base, factors })?;
    let turns = turns(drawn, words);
    let scores = scores(&model, pixels(drawn, device), &turns, device)?;
    let vocab = scores.dims()[1];
    let values = AnyTensor::new(scores).to_values()?;
    let mut counts = [0; 2];
    for (own, row) in drawn.iter().zip(values.chunks(vocab)) {
        let best = top(row)?.context("a model says something")? as u32;
        for (count, word) in counts.iter_mut().zip([own.question.answer.as_str(), own.said]) {
            *count += usize::from(words.ids(word).first() == Some(&best));
        }
    }
    Ok(counts)
}
