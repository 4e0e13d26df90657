//! Weights and optimiser moments on disk, so that training goes on after it was killed.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use burn::tensor::{Device, Tensor, TensorData};
use burn_optim::{AdaptiveMomentumState, AdamW, AdamWConfig, AdamWState, Optimizer};
use mmlens::prelude::AnyTensor;
use safetensors::tensor::{Dtype, TensorView};

use crate::network::Params;

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
            let (shape, weight) = self.params.remove(&name).with_context(|| format!("a gradient for nothing: {name}"))?;
            let optimiser = if shape.len() > 1 { &self.decayed } else { &self.kept };
            let (weight, state) = optimiser.step(rate, weight, grad.mul_scalar(scale), self.moments.remove(&name));
            self.moments.extend(state.map(|s| (name.clone(), s)));
            self.params.insert(name, (shape, weight));
        }
        self.step += 1;
        Ok(norm)
    }

    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        let mut held: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
        let mut keep = |name: String, shape: Vec<usize>, x: &Tensor<1>| -> Result<()> {
            let values = AnyTensor::new(x.clone()).to_values()?;
            held.push((name, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect()));
            Ok(())
        };
        for (name, (shape, weight)) in &self.params {
            keep(name.clone(), shape.clone(), weight)?;
            if let Some(state) = self.moments.get(name) {
                keep(format!("first.{name}"), shape.clone(), &state.momentum.moment_1)?;
                keep(format!("second.{name}"), shape.clone(), &state.momentum.moment_2)?;
            }
        }
        let views: Result<Vec<_>, _> = held
            .iter()
            .map(|(name, shape, bytes)| TensorView::new(Dtype::F32, shape.clone(), bytes).map(|v| (name.clone(), v)))
            .collect();
        let about = std::collections::HashMap::from([("step".to_owned(), self.step.to_string())]);
        let bytes = safetensors::serialize(views?, Some(about))?;
        let part = path.with_extension("part");
        std::fs::write(&part, bytes).with_context(|| part.display().to_string())?;
        std::fs::rename(&part, path).with_context(|| path.display().to_string())
    }

    pub(crate) fn load(&mut self, path: &Path, device: &Device) -> Result<()> {
        let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes)?;
        let about = header.metadata().clone().unwrap_or_default();
        let file = safetensors::SafeTensors::deserialize(&bytes)?;
        let read = |name: &str| -> Result<Tensor<1>> {
            let view = file.tensor(name)?;
            let values: Vec<f32> =
                view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
            let count = values.len();
            Ok(Tensor::from_data(TensorData::new(values, [count]), device))
        };
        self.step = about.get("step").context("no step in the saved state")?.parse()?;
        let time = self.step;
        let names: Vec<String> = self.params.keys().cloned().collect();
        for name in names {
            let weight = read(&name).with_context(|| format!("{}: {name}", path.display()))?;
            if let Some(slot) = self.params.get_mut(&name) {
                if slot.1.dims() != weight.dims() {
                    bail!("{}: `{name}` has another shape than this network; delete the file to start anew", path.display());
                }
                slot.1 = weight;
            }
            if file.tensor(&format!("first.{name}")).is_ok() {
                let (moment_1, moment_2) = (read(&format!("first.{name}"))?, read(&format!("second.{name}"))?);
                let momentum = AdaptiveMomentumState { time, moment_1, moment_2, max_moment_2: None };
                self.moments.insert(name, AdamWState { momentum });
            }
        }
        Ok(())
    }
}
