//! The search: stochastic gradient descent over cases that stream by.

use std::path::Path;

use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Tensor};
use mmlens_core::finding::largest;
use mmlens_core::kind::Space;
use mmlens_core::{
    Analysis as _, AnalysisError, AnyTensor, Case, Cases as _, Copies, HookError, On, Part, Plan, Point,
    Seed, Site, Subset, kind, step,
};
use mmlens_files::{doubles_to_bytes, read_doubles, write};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::translators::{Translator, doubles, floats, names};
use super::{CARD, Settings, Translators};
use crate::check::input;
use crate::layer::logit_lens::{self, LogitLens, Streams, read};

/// What is learned: translators with their momentum, and what was seen on the way.
pub(super) struct Search<'a> {
    on: &'a On<'a>,
    settings: &'a Settings,
    part: Part,
    space: Space,
    /// How the streams of a case are read.
    reader: LogitLens,
    device: Device,
    /// For each depth in front of the last.
    depths: Vec<Moving>,
    /// The sum of what the last layer says of all positions that were learned from.
    said: Option<Tensor<1>>,
    pub(super) seen: Seen,
}

/// What was counted on the way.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Seen {
    /// Steps taken.
    pub(super) steps: usize,
    /// Positions learned from, each as often as it was.
    pub(super) positions: usize,
    /// Positions of the cases learned from, each once.
    pub(super) different: usize,
    /// For each step and depth the mean divergence before it, in nats.
    pub(super) losses: Vec<Vec<f64>>,
    /// The largest absolute value of the gradient at the last step.
    pub(super) gradient: f64,
}

/// A translator on its way.
struct Moving {
    own: Translator,
    weight: Option<Tensor<2>>,
    bias: Tensor<1>,
}

/// Gradients of a step.
struct Pull {
    weight: Option<Tensor<2>>,
    bias: Tensor<1>,
    loss: f64,
}

impl<'a> Search<'a> {
    pub(super) fn new(
        on: &'a On<'a>,
        settings: &'a Settings,
        (part, space): (Part, Space),
        case: &Case,
    ) -> Result<Self, AnalysisError> {
        let subject = on.subject();
        let own = subject.anatomy().iter().find(|own| own.part == part);
        let width = own.map(|own| own.d_model).ok_or_else(|| input(&CARD, "blocks", "there are none"))?;
        let lens = logit_lens::Settings {
            part: Some(part),
            positions: settings.positions.clone(),
            rows: settings.rows,
            top: 1,
            ..Default::default()
        };
        let reader = LogitLens::new(lens)?.through(&CARD, Translators::new(width, Vec::new()).into());
        let device = device_of(on, part, case)?;
        let zero = || Moving {
            own: Translator {
                weight: settings.weights().then(|| Tensor::zeros([width, width], &device)),
                bias: Tensor::zeros([width], &device),
            },
            weight: settings.weights().then(|| Tensor::zeros([width, width], &device)),
            bias: Tensor::zeros([width], &device),
        };
        let depths = (0..kind::blocks(subject, part)).map(|_| zero()).collect();
        Ok(Self { on, settings, part, space, reader, device, depths, said: None, seen: Seen::default() })
    }

    /// Bytes that translators, momentum and gradients take.
    pub(super) fn held(&self) -> u64 {
        let each = |own: &Moving| {
            let weight = own.weight.as_ref().map_or(0, |weight| weight.dims().iter().product::<usize>());
            weight + own.bias.dims().iter().product::<usize>()
        };
        12 * self.depths.iter().map(each).sum::<usize>() as u64
    }

    /// Takes all steps that are left. What was found is kept in a file, if there is one, every so many of them.
    pub(super) fn run(
        &mut self,
        kept: &Subset<'_>,
        seed: Seed,
        (keep, made): (Option<&Path>, &Value),
    ) -> Result<(), AnalysisError> {
        let Settings { steps, batch, .. } = *self.settings;
        while self.seen.steps < steps {
            let first = self.seen.steps * batch;
            let cases: Vec<(usize, bool)> = (first..first + batch)
                .map(|item| Ok((shuffled(kept.len(), seed, item)?, item < kept.len())))
                .collect::<Result<_, AnalysisError>>()?;
            self.step(kept, &cases)?;
            if let Some(path) = keep
                && (self.seen.steps.is_multiple_of(KEPT_EVERY) || self.seen.steps == steps)
            {
                self.save(path, made)?;
            }
            step(self.on.watch(), CARD.id, self.seen.steps, steps + 1)?;
        }
        Ok(())
    }

    /// One step on some cases, of which those that come for the first time are counted.
    fn step(&mut self, kept: &Subset<'_>, cases: &[(usize, bool)]) -> Result<(), AnalysisError> {
        let mut pulls: Vec<Pull> = self.depths.iter().map(|own| Pull::none(own, &self.device)).collect();
        let (mut positions, mut said) = (0, self.said.take());
        for (case, first) in cases {
            let own = self.each(&kept.case(*case)?, |states, last, depth| {
                let (target, probabilities) = last;
                if depth == 0 {
                    let sum = probabilities.clone().sum_dim(0).squeeze_dim::<1>(0);
                    said = Some(match said.take() {
                        Some(all) => all + sum,
                        None => sum,
                    });
                }
                let (Some(pull), Some(own)) = (pulls.get_mut(depth), self.depths.get(depth)) else {
                    return Ok(());
                };
                self.pull(own, states, (target, probabilities), pull)
            })?;
            positions += own;
            self.seen.different += if *first { own } else { 0 };
        }
        self.said = said;
        let share = 1.0 / positions.max(1) as f64;
        self.seen.losses.push(pulls.iter().map(|pull| pull.loss * share).collect());
        self.seen.gradient = 0.0;
        let mut norm = 0.0;
        for pull in &mut pulls {
            pull.scale(share as f32);
            norm += pull.squares()?;
            self.seen.gradient = self.seen.gradient.max(pull.most()?); // no NaN: finite, as `most` has it
        }
        let rate = self.settings.rate_at(self.seen.steps) as f32;
        let clipped = self.settings.clip.map_or(1.0, |most| (most / (norm.sqrt() as f32 + 1e-6)).min(1.0));
        let (momentum, decay) = (self.settings.momentum, self.settings.weight_decay);
        for (own, mut pull) in self.depths.iter_mut().zip(pulls) {
            pull.scale(clipped);
            if let (Some(weight), Some(moving), Some(pull)) =
                (&mut own.own.weight, &mut own.weight, pull.weight)
            {
                moved(weight, moving, pull, (rate, momentum, decay));
            }
            moved(&mut own.own.bias, &mut own.bias, pull.bias, (rate, momentum, decay));
        }
        self.seen.positions += positions;
        self.seen.steps += 1;
        Ok(())
    }

    /// Every depth of every position of a case, some at a time: states `[rows, d_model]`, and what the last layer says there, in
    /// logarithms and in probabilities. Gives the number of positions.
    pub(super) fn each(
        &self,
        case: &Case,
        mut look: impl FnMut(Tensor<2>, (&Tensor<2>, &Tensor<2>), usize) -> Result<(), AnalysisError>,
    ) -> Result<usize, AnalysisError> {
        let (on, subject) = (self.on, self.on.subject());
        let inputs = on.encode(&case.sample)?;
        mmlens_engine::one_row(CARD.id, &inputs)?;
        let streams = Streams::of(&CARD, subject, &inputs, (self.part, self.space), self.reader.settings())?;
        let on = on.within(on.memory().less(self.held()));
        let limits = self.reader.limits(&on, &streams, &inputs)?;
        let look = |held: &logit_lens::Held<'_>| -> Result<(), AnalysisError> {
            let (last, others) =
                streams.sites.split_last().ok_or_else(|| input(&CARD, "blocks", "there are none"))?;
            let logits = read(&CARD, subject, self.part, held.at(*last)?)?;
            let target = log_softmax(logits.rank_of::<2>("logits")?, 1);
            let probabilities = target.clone().exp();
            for (depth, site) in others.iter().enumerate() {
                look(held.at(*site)?.rank_of(site)?, (&target, &probabilities), depth)?;
            }
            Ok(())
        };
        streams.each_told((&on, &inputs), &limits, look, |_| Ok(()))?;
        Ok(streams.count())
    }

    /// Adds the gradient of the divergence of some states, summed over them.
    fn pull(
        &self,
        own: &Moving,
        states: Tensor<2>,
        (target, probabilities): (&Tensor<2>, &Tensor<2>),
        pull: &mut Pull,
    ) -> Result<(), AnalysisError> {
        let leaf = own.own.apply(states.clone()).autodiff().require_grad();
        let logits = read(&CARD, self.on.subject(), self.part, leaf.clone().into())?;
        let said = log_softmax(logits.rank_of::<2>("logits")?, 1);
        let loss = (probabilities.clone() * (target.clone() - said)).sum();
        let none = || HookError::NoObjective;
        let value = AnyTensor::new(loss.clone().without_autodiff()).finite_values("the divergence")?;
        pull.loss += f64::from(*value.first().ok_or_else(none)?);
        let back = leaf.grad(&loss.backward()).ok_or_else(none)?.without_autodiff();
        pull.bias = pull.bias.clone() + back.clone().sum_dim(0).squeeze_dim::<1>(0);
        if let Some(weight) = &mut pull.weight {
            *weight = weight.clone() + back.transpose().matmul(states);
        }
        Ok(())
    }

    /// What was learned.
    pub(super) fn translators(&self) -> Translators {
        let width = self.depths.first().map_or(0, |own| own.bias.dims()[0]);
        Translators::new(width, self.depths.iter().map(|own| own.own.clone()).collect())
    }

    /// Logarithms of the mean of what the last layer said of all positions learned from: the best that one answer for all could know.
    pub(super) fn constant(&self) -> Result<Vec<f64>, AnalysisError> {
        let said = self.said.clone().ok_or_else(|| input(&CARD, "at least one step", "none was taken"))?;
        let sums = AnyTensor::new(said).finite_values("what the last layer says")?;
        let total: f64 = sums.iter().map(|sum| f64::from(*sum)).sum();
        // What f32 holds no more of is not impossible.
        let log = |sum: &f32| (f64::from(sum.max(f32::MIN_POSITIVE)) / total).ln(); // no NaN: finite sums
        Ok(sums.iter().map(log).collect())
    }

    /// Writes all that it takes to go on.
    fn save(&self, path: &Path, made: &Value) -> Result<(), AnalysisError> {
        let mut tensors = self.translators().tensors()?;
        for (depth, own) in self.depths.iter().enumerate() {
            let [weight, bias] = names(depth).map(|name| format!("{name}.{MOMENTUM}"));
            if let Some(own) = &own.weight {
                tensors.insert(weight, doubles(&own.clone().into())?);
            }
            tensors.insert(bias, doubles(&own.bias.clone().into())?);
        }
        if let Some(said) = &self.said {
            tensors.insert(SAID.to_owned(), doubles(&said.clone().into())?);
        }
        let texts = [(MADE, made.to_string()), (SEEN, json!(self.seen).to_string())];
        let texts = texts.into_iter().map(|(name, text)| (name.to_owned(), text)).collect();
        let bytes = doubles_to_bytes(&tensors, &texts).map_err(|error| unkept(path, error.to_string()))?;
        write(path, bytes).map_err(|error| unkept(path, error.to_string()))
    }

    /// Goes on from what was written, if there is something.
    pub(super) fn resume(&mut self, path: &Path, made: &Value) -> Result<(), AnalysisError> {
        if !path.exists() {
            return Ok(());
        }
        let wrong = |reason: String| unkept(path, reason);
        let (mut tensors, texts) = read_doubles(path).map_err(|error| wrong(error.to_string()))?;
        let text = |name: &str| texts.get(name).ok_or_else(|| wrong(format!("there is no text `{name}`")));
        let made = made.to_string();
        if *text(MADE)? != made {
            return Err(wrong(format!("it was begun as {}, and this is {made}", text(MADE)?)));
        }
        let seen: Result<Seen, mmlens_files::JsonError> = mmlens_files::parse_json(text(SEEN)?.as_bytes());
        let seen = seen.map_err(|error| wrong(error.to_string()))?;
        let mut take = |name: String, shape: &[usize]| -> Result<AnyTensor, AnalysisError> {
            match tensors.remove(&name) {
                Some(own) if own.shape == shape => {
                    let values = own.values.iter().map(|value| *value as f32).collect();
                    Ok(AnyTensor::from_values(values, shape, &self.device)?)
                }
                Some(own) => Err(wrong(format!("`{name}` is {:?}, expected {shape:?}", own.shape))),
                None => Err(wrong(format!("there is no tensor `{name}`"))),
            }
        };
        for (depth, own) in self.depths.iter_mut().enumerate() {
            let [weights, biases] = names(depth);
            let wide = own.bias.dims()[0];
            if own.weight.is_some() {
                own.own.weight = Some(take(weights.clone(), &[wide, wide])?.rank_of(&weights)?);
                own.weight = Some(take(format!("{weights}.{MOMENTUM}"), &[wide, wide])?.rank_of(&weights)?);
            }
            own.own.bias = take(biases.clone(), &[wide])?.rank_of(&biases)?;
            own.bias = take(format!("{biases}.{MOMENTUM}"), &[wide])?.rank_of(&biases)?;
        }
        if let Some(said) = tensors.remove(SAID) {
            self.said = Some(
                floats(&said)?
                    .beside(&AnyTensor::new(Tensor::<1>::zeros([1], &self.device)))?
                    .rank_of(SAID)?,
            );
        }
        self.seen = seen;
        Ok(())
    }
}

/// Steps between two times that what was found is kept.
const KEPT_EVERY: usize = 10;
/// The names in the file of a search that is not done.
const MOMENTUM: &str = "momentum";
const SAID: &str = "said";
const MADE: &str = "made";
const SEEN: &str = "seen";

fn unkept(path: &Path, reason: String) -> AnalysisError {
    let found = format!("{}: {reason}", path.display());
    input(&CARD, "a file of this fit to go on from", found)
}

/// The device that the stream of a part lies on: one pass, which ends there.
fn device_of(on: &On<'_>, part: Part, case: &Case) -> Result<Device, AnalysisError> {
    let site = Site::block(part, 0, Point::ResidPre);
    let inputs = on.encode(&case.sample)?;
    let plan = Plan::new().read(site)?;
    on.memory().hold(CARD.id, 0, on.subject().need(&inputs, &plan, Copies::ONE)?)?;
    let trace = on.subject().run(&inputs, plan)?;
    Ok(trace.tensor::<3>(site)?.device().without_autodiff())
}

/// The case that is number `item` of an endless row: all of them in an order that is drawn anew each time.
fn shuffled(count: usize, seed: Seed, item: usize) -> Result<usize, AnalysisError> {
    let none = || input(&CARD, "cases to learn from", "there are none");
    let (round, place) = (item.checked_div(count).ok_or_else(none)?, item % count.max(1));
    let draws = seed.at(ORDER).at(round as u64);
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_key(|case| (draws.at(*case as u64).value(), *case));
    order.get(place).copied().ok_or_else(none)
}

/// Which item of a seed the order of cases follows from.
const ORDER: u64 = 1 << 32;

/// A step of gradient descent with Nesterov's momentum, as torch has it: weight decay is added to the gradient, and the momentum begins with it.
fn moved<const D: usize>(
    value: &mut Tensor<D>,
    moving: &mut Tensor<D>,
    pull: Tensor<D>,
    (rate, momentum, decay): (f32, f32, f32),
) {
    let pull = pull + value.clone().mul_scalar(decay);
    *moving = moving.clone().mul_scalar(momentum) + pull.clone();
    *value = value.clone() - (pull + moving.clone().mul_scalar(momentum)).mul_scalar(rate);
}

impl Pull {
    fn none(like: &Moving, device: &Device) -> Self {
        Self {
            weight: like.weight.as_ref().map(|own| Tensor::zeros(own.dims(), device)),
            bias: Tensor::zeros(like.bias.dims(), device),
            loss: 0.0,
        }
    }

    fn scale(&mut self, by: f32) {
        self.weight = self.weight.take().map(|own| own.mul_scalar(by));
        self.bias = self.bias.clone().mul_scalar(by);
    }

    fn all(&self) -> impl Iterator<Item = AnyTensor> {
        self.weight.clone().map(AnyTensor::new).into_iter().chain([AnyTensor::new(self.bias.clone())])
    }

    /// The sum of their squares.
    fn squares(&self) -> Result<f64, HookError> {
        let mut sum = 0.0;
        for own in self.all() {
            let values = own.finite_values("the gradient of a translator")?;
            sum += values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>();
        }
        Ok(sum)
    }

    fn most(&self) -> Result<f64, HookError> {
        let mut most = 0.0_f64;
        for own in self.all() {
            let values = own.finite_values("the gradient of a translator")?;
            let own = largest(&values);
            let own = own.map_err(|error| HookError::not_finite("a gradient", &[values.len()], 0, error))?;
            most = if own > most { own } else { most };
        }
        Ok(most)
    }
}
