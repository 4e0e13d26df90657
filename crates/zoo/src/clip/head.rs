//! SigLIP's attention pooling: a learned query attends to all patches, an MLP follows.

use burn::tensor::{Tensor, activation::softmax};
use mmlens_core::{Part, Point, Run, Site};

use crate::ZooError;
use crate::checkpoint::WeightSource;
use crate::parts::{Linear, Norm};
use crate::vision::TowerConfig;

/// The head.
#[derive(Debug, Clone)]
pub struct PoolingHead {
    probe: Tensor<3>,
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    norm: Norm,
    up: Linear,
    down: Linear,
    config: TowerConfig,
}

impl PoolingHead {
    /// Takes the weights below a prefix such as `vision_model.head`.
    ///
    /// # Errors
    /// A tensor that is missing or misshapen.
    pub fn take(
        config: &TowerConfig,
        weights: &mut impl WeightSource,
        prefix: &str,
    ) -> Result<Self, ZooError> {
        let (d, neurons) = (config.d_model, config.neurons);
        let at = |name: &str| format!("{prefix}.{name}");
        let (weight, bias) = (at("attention.in_proj_weight"), at("attention.in_proj_bias"));
        let (weight, bias) = (weights.take(&weight, [3 * d, d])?, weights.take(&bias, [3 * d])?);
        let fused = Linear::of(weights, weight, Some(bias));
        let [q, k, v] = fused.split();
        Ok(Self {
            probe: weights.take(&at("probe"), [1, 1, d])?,
            q,
            k,
            v,
            o: Linear::take(weights, &at("attention.out_proj"), d, d, true)?,
            norm: Norm::layer(weights, &at("layernorm"), d, config.eps)?,
            up: Linear::take(weights, &at("mlp.fc1"), d, neurons, true)?,
            down: Linear::take(weights, &at("mlp.fc2"), neurons, d, true)?,
            config: config.clone(),
        })
    }

    /// `[image, pos, d]` to `[image, d]`.
    ///
    /// # Errors
    /// Whatever a site reports.
    pub fn forward(&self, x: Tensor<3>, run: &mut Run) -> Result<Tensor<2>, ZooError> {
        let [n, p, d] = x.dims();
        let (heads, width) = (self.config.heads, d / self.config.heads);
        let split = |x: Tensor<3>, len: usize| x.reshape([n, len, heads, width]).swap_dims(1, 2);
        let q = split(self.q.apply(self.probe.clone()).expand([n, 1, d]), 1);
        let (k, v) = (split(self.k.apply(x.clone()), p), split(self.v.apply(x), p));
        let scores = q.matmul(k.swap_dims(2, 3)).mul_scalar((width as f32).powf(-0.5));
        let pattern = run.at(Site::of(Part::Vision, Point::PoolPattern), softmax(scores, 3))?;
        let z = pattern.matmul(v).swap_dims(1, 2).reshape([n, d]);
        let x = self.o.apply(z);
        let mlp = self.down.apply(self.config.act.apply(self.up.apply(self.norm.apply(x.clone()))));
        Ok(x + mlp)
    }
}
