//! Weights and optimiser moments on disk, so that training goes on after it was killed.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use burn::tensor::{Device, Tensor, TensorData};
use burn_optim::{AdamW, AdamWConfig, AdamWState, AdaptiveMomentumState, Optimizer};
use mmlens::prelude::AnyTensor;
use mmlens::zoo::checkpoint::{Access, Checkpoint, HostTensor, SaveSettings, save_safetensors};

use super::Params;

pub(crate) struct Trainer {
    pub(crate) params: Params,
    moments: BTreeMap<String, AdamWState<1>>,
    pub(crate) step: usize,
    decayed: AdamW,
    kept: AdamW,
}

/// The longest gradient, over all weights together.
const CLIP: f32 = 1.0;

impl Trainer {
    pub(crate) fn new(params: Params) -> Self {
        let adam = AdamWConfig::new().with_beta_2(0.98).with_epsilon(1e-8);
        let decayed = adam.clone().with_weight_decay(0.02).build();
        let kept = adam.with_weight_decay(0.0).build();
        Self { params, moments: BTreeMap::new(), step: 0, decayed, kept }
    }

    /// One step of AdamW on the mean of several gradients, clipped.
    pub(crate) fn update(&mut self, rate: f64, grads: Vec<BTreeMap<String, Tensor<1>>>) -> Result<f32> {
        let parts = grads.len() as f32;
        let mut sum: BTreeMap<String, Tensor<1>> = BTreeMap::new();
        for (name, grad) in grads.into_iter().flatten() {
            let entry = match sum.remove(&name) {
                Some(other) => other + grad,
                None => grad,
            };
            sum.insert(name, entry);
        }
        let mut squares = 0.0;
        for grad in sum.values() {
            let square = AnyTensor::new(grad.clone().square().sum()).to_values()?;
            squares += square.first().copied().unwrap_or(f32::NAN);
        }
        let norm = squares.sqrt() / parts;
        if !norm.is_finite() {
            bail!("the gradient is not finite at step {}", self.step);
        }
        let scale = (CLIP / norm.max(1e-12)).min(1.0) / parts;
        for (name, grad) in sum {
            let (shape, weight) =
                self.params.remove(&name).with_context(|| format!("a gradient for nothing: {name}"))?;
            let optimiser = if shape.len() > 1 { &self.decayed } else { &self.kept };
            let (weight, state) =
                optimiser.step(rate, weight, grad.mul_scalar(scale), self.moments.remove(&name));
            self.moments.extend(state.map(|s| (name.clone(), s)));
            self.params.insert(name, (shape, weight));
        }
        self.step += 1;
        Ok(norm)
    }

    /// Writes the state, of a training with some settings. It comes last of what is saved: whatever was cut off is then done again
    /// from the state before.
    pub(crate) fn save(&self, path: &Path, settings: &str) -> Result<()> {
        let mut tensors = Vec::new();
        let mut keep = |name: String, shape: &[usize], x: &Tensor<1>| -> Result<()> {
            let values = AnyTensor::new(x.clone()).to_values()?;
            let tensor = HostTensor::new(&name, shape.to_vec(), values)?;
            tensors.push((name, tensor));
            Ok(())
        };
        for (name, (shape, weight)) in &self.params {
            keep(name.clone(), shape, weight)?;
            if let Some(state) = self.moments.get(name) {
                keep(format!("first.{name}"), shape, &state.momentum.moment_1)?;
                keep(format!("second.{name}"), shape, &state.momentum.moment_2)?;
            }
        }
        let about =
            SaveSettings::new().metadata("step", &self.step.to_string()).metadata("settings", settings);
        Ok(save_safetensors(path, tensors, &about)?)
    }

    /// Goes on from a state if there is one, and says so; whether there is. The state's folder is made.
    pub(crate) fn resume(&mut self, path: &Path, settings: &str, device: &Device) -> Result<bool> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let there = path.exists();
        if there {
            self.load(path, settings, device)?;
            println!("resuming at step {}", self.step);
        }
        Ok(there)
    }

    fn load(&mut self, path: &Path, settings: &str, device: &Device) -> Result<()> {
        let file = Checkpoint::open_with(path, Access::Copied)?;
        let found = file.metadata().get("settings").map_or("none", String::as_str);
        if found != settings {
            bail!("{}: settings {found}, expected {settings}; delete the file to start anew", path.display());
        }
        let read = |name: &str| -> Result<Tensor<1>> {
            let values = file.floats(name)?;
            let count = values.len();
            Ok(Tensor::from_data(TensorData::new(values, [count]), device))
        };
        self.step = file.metadata().get("step").context("no step in the saved state")?.parse()?;
        let time = self.step;
        let names: Vec<String> = self.params.keys().cloned().collect();
        for name in names {
            let weight = read(&name)?;
            if let Some(slot) = self.params.get_mut(&name) {
                if slot.1.dims() != weight.dims() {
                    bail!(
                        "{}: `{name}` has another shape than this network; delete the file to start anew",
                        path.display()
                    );
                }
                slot.1 = weight;
            }
            if file.info(&format!("first.{name}")).is_some() {
                let (moment_1, moment_2) =
                    (read(&format!("first.{name}"))?, read(&format!("second.{name}"))?);
                let momentum = AdaptiveMomentumState { time, moment_1, moment_2, max_moment_2: None };
                self.moments.insert(name, AdamWState { momentum });
            }
        }
        Ok(())
    }
}
