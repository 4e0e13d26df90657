//! Attention, and the softmax in it.

use burn::tensor::Tensor;

use crate::{Masking, plain};

/// How scores are made of products.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionSettings {
    /// Multiplies the products.
    pub scale: f32,
    /// Scores `s` become `cap tanh(s / cap)`.
    pub cap: Option<f32>,
}

/// `softmax(scale * scores)` over the last axis of `[b, h, q, k]`. In place where nothing else holds `scores`.
pub fn softmax(scores: Tensor<4>, scale: f32) -> Tensor<4> {
    #[cfg(feature = "flex")]
    let scores = match crate::fast::softmax::softmax(scores, scale) {
        Ok(y) => return y,
        Err(scores) => scores,
    };
    plain::softmax(scores, scale)
}

/// Attention: queries `[b, q, h, w]` over keys and values `[b, k, kv, w]`, to `[b, q, h, w]`. `kv` divides `h`: query head
/// `i` reads KV head `i / (h / kv)`, and nothing is repeated in memory.
///
/// # Cost
/// Scores are held for some queries and keys at a time only, and computed again in the backward pass: memory grows with the
/// positions, time with the pairs that see one another and a strip beside them ([`Masking::visits`]). What is computed does
/// not depend on the number of threads.
///
/// # Shapes
/// Others than these are a panic of Burn, a mask for others a panic here.
pub fn attention(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    masking: &Masking,
    settings: AttentionSettings,
) -> Tensor<4> {
    #[cfg(feature = "flex")]
    let [q, k, v] = match crate::fast::attention::attention([q, k, v], masking, settings) {
        Ok(z) => return z,
        Err(all) => all,
    };
    plain::attention(q, k, v, masking, settings)
}
