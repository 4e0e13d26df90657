//! Weights by name: how they begin, and how a model takes them while they are trained.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};
use mmlens::zoo::ZooError;
use mmlens::zoo::checkpoint::WeightSource;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Weights by name, flat, with their shapes.
pub(crate) type Params = BTreeMap<String, (Vec<usize>, Tensor<1>)>;

/// A gradient for every weight that has one.
pub(crate) type Grads = BTreeMap<String, Tensor<1>>;

/// Whether a weight belongs to a helper that is thrown away after training.
pub(crate) fn is_helper(name: &str) -> bool {
    name.starts_with("helper.")
}

/// Draws every weight a model asks for.
pub(crate) struct Init {
    rng: ChaCha8Rng,
    pub(crate) params: Params,
    blocks: usize,
    device: Device,
}

impl Init {
    /// `blocks` is the depth that the last product of a branch is made smaller by.
    pub(crate) fn new(seed: u64, blocks: usize, device: &Device) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(seed);
        Self { rng, params: Params::new(), blocks, device: device.clone() }
    }

    fn values(&mut self, name: &str, shape: &[usize]) -> Vec<f32> {
        let count = shape.iter().product();
        let norm = name.contains("norm");
        if name == "logit_scale" {
            // CLIP's own: a temperature of 0.07.
            return vec![(1.0_f32 / 0.07).ln(); count];
        }
        if shape.len() == 1 && !name.ends_with("class_embedding") {
            return vec![if norm && name.ends_with("weight") { 1.0 } else { 0.0 }; count];
        }
        let inputs: usize = shape.iter().skip(1).product::<usize>().max(1);
        let deep = ["o_proj", "down_proj", "out_proj", "fc2"].iter().any(|n| name.contains(n));
        let embeds = ["embed_tokens", "token_embedding", "position_embedding", "class_embedding"];
        let std = match name {
            n if embeds.iter().any(|e| n.contains(e)) => 0.1,
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

/// The same weights as leaves of a graph.
pub(crate) fn tracked(params: &Params) -> Params {
    let leaf = |flat: &Tensor<1>| flat.clone().autodiff().require_grad();
    params.iter().map(|(name, (shape, flat))| (name.clone(), (shape.clone(), leaf(flat)))).collect()
}

/// The gradients of a loss by tracked weights, of those that it depends on.
pub(crate) fn slopes(loss: Tensor<1>, leaves: &Params) -> Grads {
    let mut grads = loss.backward();
    let taken =
        leaves.iter().filter_map(|(name, (_, leaf))| Some((name.clone(), leaf.grad_remove(&mut grads)?)));
    taken.collect()
}

/// Weights as a model asks for them.
pub(crate) struct Leaves<'a>(pub(crate) &'a Params);

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
