//! Products with stored weights.

use burn::tensor::Tensor;

use crate::plain;

/// `x Wᵗ + b`: `[..., in]` to `[..., out]`, with the weight as published, `[out, in]`, and a bias `[out]` or none.
///
/// The weight is read as it lies, never packed or copied. Of few rows of `x`, products are summed along rows of both; many
/// are turned into panels first. A weight whose rows are not contiguous takes the plain path; see [`lay_out`].
///
/// # Shapes
/// Others than these are a panic of Burn.
pub fn linear<const D: usize>(x: Tensor<D>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<D> {
    #[cfg(all(feature = "flex", target_arch = "x86_64"))]
    let (x, weight, bias) = match crate::fast::linear::linear(x, weight, bias) {
        Ok(y) => return y,
        Err(all) => all,
    };
    plain::linear(x, weight, bias)
}

/// The same weight with rows that [`linear`] can read in order; copied if it is a transposed view, and kept if not.
///
/// To be done once, at load.
pub fn lay_out(weight: Tensor<2>) -> Tensor<2> {
    #[cfg(all(feature = "flex", target_arch = "x86_64"))]
    let weight = crate::fast::linear::lay_out(weight);
    weight
}
