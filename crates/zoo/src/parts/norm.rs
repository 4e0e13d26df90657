//! Layer norm and RMS norm.

use burn::tensor::Tensor;
use mmlens_kernels::{layer_norm, rms_norm};

use crate::ZooError;
use crate::checkpoint::WeightSource;

/// A normalisation over the last axis.
#[derive(Debug, Clone)]
pub enum Norm {
    /// Subtracts the mean, divides by the standard deviation (Ba et al. 2016).
    Layer {
        /// `[d]`.
        weight: Tensor<1>,
        /// `[d]`.
        bias: Tensor<1>,
        /// Added to the variance.
        eps: f64,
    },
    /// Divides by the root mean square (Zhang and Sennrich 2019).
    Rms {
        /// `[d]`.
        weight: Tensor<1>,
        /// Added to the mean square.
        eps: f64,
    },
}

impl Norm {
    /// Takes `NAME.weight` and `NAME.bias`.
    ///
    /// # Errors
    /// A tensor that is missing or misshapen.
    pub fn layer(
        weights: &mut impl WeightSource,
        name: &str,
        width: usize,
        eps: f64,
    ) -> Result<Self, ZooError> {
        let weight = weights.take(&format!("{name}.weight"), [width])?;
        let bias = weights.take(&format!("{name}.bias"), [width])?;
        Ok(Self::Layer { weight, bias, eps })
    }

    /// Takes `NAME.weight`.
    ///
    /// # Errors
    /// A tensor that is missing or misshapen.
    pub fn rms(
        weights: &mut impl WeightSource,
        name: &str,
        width: usize,
        eps: f64,
    ) -> Result<Self, ZooError> {
        Ok(Self::Rms { weight: weights.take(&format!("{name}.weight"), [width])?, eps })
    }

    /// Takes `NAME.weight` and adds `offset` to it (Gemma: 1, its files hold the weight less one).
    ///
    /// # Errors
    /// A tensor that is missing or misshapen.
    pub fn rms_offset(
        weights: &mut impl WeightSource,
        name: &str,
        width: usize,
        eps: f64,
        offset: f32,
    ) -> Result<Self, ZooError> {
        let weight: Tensor<1> = weights.take(&format!("{name}.weight"), [width])?;
        let add = |weight: Tensor<1>| if offset == 0.0 { weight } else { weight.add_scalar(offset) };
        Ok(Self::Rms { weight: weights.made(weight, [width], add), eps })
    }

    /// Normalises the last axis.
    pub fn apply<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Layer { weight, bias, eps } => layer_norm(x, weight.clone(), bias.clone(), *eps),
            Self::Rms { weight, eps } => rms_norm(x, weight.clone(), *eps),
        }
    }
}
