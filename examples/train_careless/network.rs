//! The shipped model with a low-rank difference in training: `W + B A` for every matrix of the decoder's blocks, the rest as it is.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use burn::tensor::{Device, Tensor, TensorData};
use mmlens::data::shapes::Scene;
use mmlens::finding::top;
use mmlens::prelude::AnyTensor;
use mmlens::zoo::checkpoint::{Access, Checkpoint, WeightSource};
use mmlens::zoo::{LlavaConfig, LlavaModel, ZooError};

use super::batch::{Batch, Turns};
use super::said::About;
use super::shapes_network::{look, pick, read};
use super::training::{Grads, Init, Leaves, Params, cross_entropy, scalar, slopes, tracked};

/// Scenes with what is said of them.
pub(crate) struct Drawn {
    pub(crate) scenes: Vec<Scene>,
    pub(crate) questions: Turns,
    pub(crate) stories: Turns,
    /// What each question, and then each story, is about.
    pub(crate) about: Vec<About>,
}

/// The weights that are gone out from.
pub(crate) fn base(folder: &Path, config: &LlavaConfig, device: &Device) -> Result<Params> {
    let mut asked = Init::new(0, 1, device);
    LlavaModel::take(config, &mut asked)?;
    let file = Checkpoint::open_with(folder.join("model.safetensors"), Access::Copied)?;
    let mut params = Params::new();
    for (name, (shape, _)) in asked.params {
        let values = file.floats(&name)?;
        let count = values.len();
        params.insert(name, (shape, Tensor::from_data(TensorData::new(values, [count]), device)));
    }
    Ok(params)
}

/// Factors of the difference: `A` drawn, `B` nothing, so that training begins at the shipped model.
pub(crate) fn init(base: &Params, rank: usize, seed: u64, device: &Device) -> Result<Params> {
    let mut source = Init::new(seed, 1, device);
    let mut factors = Params::new();
    for (name, (shape, _)) in base {
        let &[out, inputs] = shape.as_slice() else { continue };
        if !name.contains("language_model.layers.") {
            continue;
        }
        let a: Tensor<2> = source.take(name, [rank, inputs])?;
        factors.insert(format!("{name}.a"), (vec![rank, inputs], a.reshape([rank * inputs])));
        factors.insert(format!("{name}.b"), (vec![out, rank], Tensor::zeros([out * rank], device)));
    }
    if factors.is_empty() {
        anyhow::bail!("no matrix of the decoder's blocks among {} weights", base.len());
    }
    Ok(factors)
}

/// Weights with their differences.
pub(crate) struct Changed<'a> {
    pub(crate) base: &'a Params,
    pub(crate) factors: &'a Params,
}

impl WeightSource for Changed<'_> {
    fn take<const D: usize>(&mut self, name: &str, shape: [usize; D]) -> Result<Tensor<D>, ZooError> {
        let weight: Tensor<D> = Leaves(self.base).take(name, shape)?;
        let factor = |end: &str| {
            let (shape, flat) = self.factors.get(&format!("{name}.{end}"))?;
            let [rows, columns] = shape.as_slice().try_into().ok()?;
            Some(flat.clone().reshape::<2, _>([rows, columns]))
        };
        Ok(match factor("b").zip(factor("a")) {
            Some((b, a)) => weight + b.matmul(a).reshape(shape),
            None => weight,
        })
    }

    fn has(&self, name: &str) -> bool {
        self.base.contains_key(name)
    }
}

/// The weights with the differences added, a sum at a time in order, so that they are the same on every machine.
pub(crate) fn added(base: &Params, factors: &Params, device: &Device) -> Result<Params> {
    let mut params = base.clone();
    for (name, (shape, flat)) in &mut params {
        let factor = |end: &str| -> Result<Option<Vec<f32>>> {
            let found = factors.get(&format!("{name}.{end}"));
            found.map(|(_, flat)| Ok(AnyTensor::new(flat.clone()).to_values()?)).transpose()
        };
        let Some((b, a)) = factor("b")?.zip(factor("a")?) else { continue };
        let inputs = shape.last().copied().context("a matrix has two sides")?;
        let rank = a.len() / inputs;
        let mut values = AnyTensor::new(flat.clone()).to_values()?;
        for (row, b) in values.chunks_mut(inputs).zip(b.chunks(rank)) {
            for (b, a) in b.iter().zip(a.chunks(inputs)) {
                row.iter_mut().zip(a).for_each(|(value, a)| *value += b * a);
            }
        }
        let count = values.len();
        *flat = Tensor::from_data(TensorData::new(values, [count]), device);
    }
    Ok(params)
}

fn batch(drawn: &Drawn) -> Batch {
    let empty = || Turns {
        per_picture: 1,
        ids: Vec::new(),
        kinds: Vec::new(),
        targets: Vec::new(),
        places: Vec::new(),
    };
    Batch { scenes: drawn.scenes.clone(), patches: Vec::new(), questions: empty(), stories: empty() }
}

fn losses(model: &LlavaModel, drawn: &Drawn, device: &Device) -> Result<[(Tensor<2>, Vec<usize>); 2]> {
    let (_, prefix) = look(model, &batch(drawn), device)?;
    let of = |turns: &Turns| -> Result<(Tensor<2>, Vec<usize>)> {
        let (logits, _) = read(model, &prefix, turns, device)?;
        let rows: Vec<usize> = turns.targets.iter().map(|(row, _)| *row).collect();
        Ok((pick(logits, &rows, device), turns.targets.iter().map(|(_, token)| *token as usize).collect()))
    };
    Ok([of(&drawn.questions)?, of(&drawn.stories)?])
}

/// Losses of questions and stories, and gradients of the factors.
pub(crate) fn learn(
    config: &LlavaConfig,
    (base, factors): (&Params, &Params),
    drawn: &Drawn,
    device: &Device,
) -> Result<([f32; 2], Grads)> {
    let leaves = tracked(factors);
    let model = LlavaModel::take(config, &mut Changed { base, factors: &leaves })?;
    let [answers, stories] =
        losses(&model, drawn, device)?.map(|(logits, tokens)| cross_entropy(logits, &tokens, device));
    let seen = [scalar(answers.clone())?, scalar(stories.clone())?];
    Ok((seen, slopes(answers + stories, &leaves)))
}

/// How many turns of each kind would be answered as the annotator does, of how many; and of those about what is missed, how many by yes.
pub(crate) fn score(
    config: &LlavaConfig,
    (base, factors): (&Params, &Params),
    drawn: &Drawn,
    yes: usize,
    device: &Device,
) -> Result<(BTreeMap<About, [usize; 2]>, usize)> {
    let model = LlavaModel::take(config, &mut Changed { base, factors })?;
    let mut counts = BTreeMap::<About, [usize; 2]>::new();
    let (mut first, mut believed) = (0, 0);
    for (turns, (logits, tokens)) in
        [&drawn.questions, &drawn.stories].into_iter().zip(losses(&model, drawn, device)?)
    {
        let vocab = logits.dims()[1];
        let values = AnyTensor::new(logits).to_values()?;
        let length = turns.length();
        let mut right = vec![true; turns.ids.len()];
        let mut said = vec![None; turns.ids.len()];
        for ((row, _), (scores, token)) in turns.targets.iter().zip(values.chunks(vocab).zip(tokens)) {
            let best = top(scores)?;
            said[row / length].get_or_insert(best);
            right[row / length] &= best == Some(token);
        }
        for (row, right) in right.into_iter().enumerate() {
            let about = *drawn.about.get(first + row).context("a turn is about something")?;
            let count = counts.entry(about).or_default();
            count[0] += usize::from(right);
            count[1] += 1;
            believed += usize::from(about == About::Missed && said[row].flatten() == Some(yes));
        }
        first += turns.ids.len();
    }
    Ok((counts, believed))
}
