//! Attention, and the softmax in it.

use burn::tensor::{Bool, Tensor};

use crate::plain;

/// How scores are made of products.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionSettings {
    /// Multiplies the products.
    pub scale: f32,
    /// Scores `s` become `cap tanh(s / cap)`.
    pub cap: Option<f32>,
}

/// `softmax(scale * scores)` over the last axis of `[b, h, q, k]`; scores under a `true` of the mask count as the smallest
/// number there is. In place where nothing else holds `scores`.
///
/// The mask is `[b, h, q, k]`, with 1 for any of its axes but the last where that is all the same. A row without
/// anything to attend to is uniform, and its gradient zero.
///
/// # Shapes
/// A mask of another shape is a panic of Burn.
pub fn softmax(scores: Tensor<4>, scale: f32, mask: Option<Tensor<4, Bool>>) -> Tensor<4> {
    #[cfg(feature = "flex")]
    let (scores, mask) = match crate::fast::softmax::softmax(scores, scale, mask) {
        Ok(y) => return y,
        Err(both) => both,
    };
    plain::softmax(scores, scale, mask)
}

/// Attention: queries `[b, q, h, w]` over keys and values `[b, k, kv, w]`, to `[b, q, h, w]`. `kv` divides `h`: query head
/// `i` reads KV head `i / (h / kv)`, and nothing is repeated in memory.
///
/// Scores are held for some queries at a time only, and computed again in the backward pass. What every query of such a
/// group is masked from is not computed at all. The mask is as in [`softmax`].
///
/// # Shapes
/// Others than these are a panic of Burn.
pub fn attention(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    mask: Option<Tensor<4, Bool>>,
    settings: AttentionSettings,
) -> Tensor<4> {
    #[cfg(feature = "flex")]
    let ([q, k, v], mask) = match crate::fast::attention::attention([q, k, v], mask, settings) {
        Ok(z) => return z,
        Err(all) => all,
    };
    plain::attention(q, k, v, mask, settings)
}
