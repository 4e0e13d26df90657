//! Mergers: neighbouring patches side by side, then two linear layers into the decoder's width.

use burn::tensor::Tensor;

use super::{QwenKind, QwenTowerConfig};
use crate::ZooError;
use crate::checkpoint::WeightSource;
use crate::parts::{Act, Linear, Norm};

/// A merger.
#[derive(Debug, Clone)]
pub struct Merger {
    norm: Norm,
    up: Linear,
    down: Linear,
    unit: usize,
    /// Whether the norm is over all patches side by side.
    joined: bool,
}

impl Merger {
    /// Takes the merger before the decoder, `PREFIX.merger`.
    ///
    /// # Errors
    /// A tensor that is missing or misshapen.
    pub fn take(
        config: &QwenTowerConfig,
        weights: &mut impl WeightSource,
        prefix: &str,
    ) -> Result<Self, ZooError> {
        Self::named(config, weights, &format!("{prefix}.merger"), false)
    }

    /// Takes a merger of an earlier block, `PREFIX.deepstack_merger_list.INDEX`.
    ///
    /// # Errors
    /// A tensor that is missing or misshapen.
    pub fn deep(
        config: &QwenTowerConfig,
        weights: &mut impl WeightSource,
        prefix: &str,
        index: usize,
    ) -> Result<Self, ZooError> {
        Self::named(config, weights, &format!("{prefix}.deepstack_merger_list.{index}"), true)
    }

    fn named(
        config: &QwenTowerConfig,
        weights: &mut impl WeightSource,
        name: &str,
        joined: bool,
    ) -> Result<Self, ZooError> {
        let (d, wide, out) = (config.d_model, config.d_model * config.unit(), config.out);
        let at = |part: &str| format!("{name}.{part}");
        let normed = if joined { wide } else { d };
        let (first, second) = match config.kind {
            QwenKind::Three => ("linear_fc1", "linear_fc2"),
            _ => ("mlp.0", "mlp.2"),
        };
        Ok(Self {
            norm: match config.kind {
                QwenKind::Two => Norm::layer(weights, &at("ln_q"), normed, EPS)?,
                QwenKind::TwoFive => Norm::rms(weights, &at("ln_q"), normed, EPS)?,
                QwenKind::Three => Norm::layer(weights, &at("norm"), normed, EPS)?,
            },
            up: Linear::take(weights, &at(first), wide, wide, true)?,
            down: Linear::take(weights, &at(second), wide, out, true)?,
            unit: config.unit(),
            joined,
        })
    }

    /// `[1, patches, d]` to `[1, positions, d of the decoder]`.
    pub fn apply(&self, x: Tensor<3>) -> Tensor<3> {
        let [_, n, d] = x.dims();
        let beside = [1, n / self.unit, self.unit * d];
        let x = match self.joined {
            true => self.norm.apply(x.reshape(beside)),
            false => self.norm.apply(x).reshape(beside),
        };
        self.down.apply(Act::Gelu.apply(self.up.apply(x)))
    }
}

/// What norms of this family's towers add to the variance.
pub(super) const EPS: f64 = 1e-6;
