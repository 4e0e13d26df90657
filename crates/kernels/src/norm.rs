//! Normalisation over the last axis.

use burn::tensor::Tensor;

use crate::plain;

/// `weight * x / sqrt(mean(x²) + eps)` over the last axis (Zhang and Sennrich 2019); the weight is `[d]`. In place where
/// nothing else holds `x`.
///
/// # Shapes
/// A weight of another length is a panic of Burn.
pub fn rms_norm<const D: usize>(x: Tensor<D>, weight: Tensor<1>, eps: f64) -> Tensor<D> {
    #[cfg(feature = "flex")]
    let (x, weight) = match crate::fast::norm::norm(x, weight, None, eps) {
        Ok(y) => return y,
        Err((x, weight, _)) => (x, weight),
    };
    plain::rms_norm(x, weight, eps)
}

/// `weight * (x - mean(x)) / sqrt(variance(x) + eps) + bias` over the last axis (Ba et al. 2016); weight and bias are `[d]`.
///
/// Burn's own, which is fused, where `x` takes no gradient; with a backward pass of ours where it does.
///
/// # Shapes
/// A weight or bias of another length is a panic of Burn.
pub fn layer_norm<const D: usize>(x: Tensor<D>, weight: Tensor<1>, bias: Tensor<1>, eps: f64) -> Tensor<D> {
    #[cfg(feature = "flex")]
    let (x, weight, bias) = match crate::fast::norm::norm(x, weight, Some(bias.clone()), eps) {
        Ok(y) => return y,
        Err((x, weight, given)) => (x, weight, given.unwrap_or(bias)),
    };
    plain::layer_norm(x, weight, bias, eps)
}
