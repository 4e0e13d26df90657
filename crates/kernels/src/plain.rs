//! The same operations in Burn's own: for every backend and precision, and what the fused ones are tested against.

use burn::tensor::{Bool, Tensor, activation, module};

use crate::{AttentionSettings, Curve};

/// As [`crate::activate`].
pub fn activate<const D: usize>(curve: Curve, x: Tensor<D>) -> Tensor<D> {
    match curve {
        // Composed, since the backward pass Burn gives `gelu` by default is that of an approximation.
        Curve::Gelu => {
            let share = x.clone().mul_scalar(std::f32::consts::FRAC_1_SQRT_2).erf().add_scalar(1.0);
            x.mul_scalar(0.5) * share
        }
        Curve::GeluTanh => activation::gelu_approximate(x),
        Curve::QuickGelu => {
            let share = activation::sigmoid(x.clone().mul_scalar(1.702));
            x * share
        }
        Curve::Silu => activation::silu(x),
    }
}

/// As [`crate::gate`].
pub fn gate<const D: usize>(curve: Curve, gate: Tensor<D>, x: Tensor<D>) -> Tensor<D> {
    activate(curve, gate) * x
}

/// As [`crate::softmax`].
pub fn softmax(scores: Tensor<4>, scale: f32, mask: Option<Tensor<4, Bool>>) -> Tensor<4> {
    activation::softmax(masked(scores, scale, mask), 3)
}

/// Scaled scores, the masked ones at the smallest number.
fn masked(scores: Tensor<4>, scale: f32, mask: Option<Tensor<4, Bool>>) -> Tensor<4> {
    let scores = if scale == 1.0 { scores } else { scores.mul_scalar(scale) };
    let dims = scores.dims();
    match mask {
        Some(mask) => scores.mask_fill(mask.expand(dims), f32::MIN),
        None => scores,
    }
}

/// As [`crate::attention`].
pub fn attention(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    mask: Option<Tensor<4, Bool>>,
    settings: AttentionSettings,
) -> Tensor<4> {
    let AttentionSettings { scale, cap } = settings;
    let group = q.dims()[2] / k.dims()[2].max(1);
    let (q, k, v) = (q.swap_dims(1, 2), spread(k, group), spread(v, group));
    let mut scores = q.matmul(k.swap_dims(2, 3)).mul_scalar(scale);
    if let Some(cap) = cap {
        scores = scores.div_scalar(cap).tanh().mul_scalar(cap);
    }
    softmax(scores, 1.0, mask).matmul(v).swap_dims(1, 2)
}

/// Keys or values, `[b, p, kv, w]`, for every query head: `[b, kv * group, p, w]`.
pub fn spread(x: Tensor<4>, group: usize) -> Tensor<4> {
    let x = x.swap_dims(1, 2);
    if group == 1 {
        return x;
    }
    let [b, kv, p, w] = x.dims();
    x.unsqueeze_dim::<5>(2).expand([b, kv, group, p, w]).reshape([b, kv * group, p, w])
}

/// As [`crate::rms_norm`].
pub fn rms_norm<const D: usize>(x: Tensor<D>, weight: Tensor<1>, eps: f64) -> Tensor<D> {
    let scale = x.clone().square().mean_dim(D - 1).add_scalar(eps).sqrt().recip();
    x * scale * weight.unsqueeze()
}

/// As [`crate::layer_norm`].
pub fn layer_norm<const D: usize>(x: Tensor<D>, weight: Tensor<1>, bias: Tensor<1>, eps: f64) -> Tensor<D> {
    module::layer_norm(x, weight, Some(bias), eps)
}

/// As [`crate::rotate`].
pub fn rotate(x: Tensor<4>, cos: Tensor<4>, sin: Tensor<4>) -> Tensor<4> {
    let half = x.dims()[3] / 2;
    let (a, b) = (x.clone().narrow(3, 0, half), x.narrow(3, half, half));
    let first = a.clone() * cos.clone() - b.clone() * sin.clone();
    let second = b * cos + a * sin;
    Tensor::cat(vec![first, second], 3)
}

/// As [`crate::linear`].
pub fn linear<const D: usize>(x: Tensor<D>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<D> {
    let mut dims = x.dims();
    let [output, input] = weight.dims();
    let rows = dims.iter().rev().skip(1).product::<usize>();
    if rows == 0 {
        // `reshape` takes a 0 for "as it was".
        dims[D - 1] = output;
        return Tensor::zeros(dims, &x.device());
    }
    let mut y = x.reshape([rows, input]).matmul(weight.transpose());
    if let Some(bias) = bias {
        y = y + bias.unsqueeze_dim(0);
    }
    if let Some(last) = dims.last_mut() {
        *last = output;
    }
    y.reshape(dims)
}
