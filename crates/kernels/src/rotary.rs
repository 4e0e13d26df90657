//! Rotary position embedding.

use burn::tensor::Tensor;

use crate::plain;

/// Turns coordinates `i` and `i + w / 2` of `[b, p, h, w]` by the angles whose cosines and sines are given, `[b, p, 1, w / 2]` or
/// `[1, p, 1, w / 2]` (Su et al. 2021). In place where nothing else holds `x`.
///
/// # Shapes
/// Others than these are a panic of Burn; `w` is even.
pub fn rotate(x: Tensor<4>, cos: Tensor<4>, sin: Tensor<4>) -> Tensor<4> {
    #[cfg(feature = "flex")]
    let (x, cos, sin) = match crate::fast::rotary::rotate(x, cos, sin) {
        Ok(y) => return y,
        Err(all) => all,
    };
    plain::rotate(x, cos, sin)
}
