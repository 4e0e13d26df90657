//! The same operations in Burn's own: for every backend and precision, and what the fused ones are tested against.

use std::ops::Range;

use burn::tensor::{Bool, Tensor, activation, module};

use crate::masking::Part;
use crate::{AttentionSettings, Curve, Masking};

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
pub fn softmax(scores: Tensor<4>, scale: f32) -> Tensor<4> {
    activation::softmax(if scale == 1.0 { scores } else { scores.mul_scalar(scale) }, 3)
}

/// As [`crate::attention`]. Scores are computed in rectangles of a bounded size, each from the first to the last key that one of
/// its queries sees; with gradients, all rectangles are held.
pub fn attention(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    masking: &Masking,
    settings: AttentionSettings,
) -> Tensor<4> {
    let ([batch, queries, heads, _], [_, keys, kv, _]) = (q.dims(), k.dims());
    let group = heads / kv.max(1);
    let (q, k, v) = (q.swap_dims(1, 2), spread(k, group), spread(v, group));
    let parts = masking.parts([batch, queries, keys], &q.device().without_autodiff());
    let part = |x: &Tensor<4>, rows: &Range<usize>, positions: &Range<usize>| {
        x.clone().narrow(0, rows.start, rows.len()).narrow(2, positions.start, positions.len())
    };
    if let [Part { keys: own, hidden, .. }] = parts.as_slice()
        && own.len() == keys
    {
        return mixed(q, k, v, hidden.clone(), settings).swap_dims(1, 2);
    }
    let mut rows: Vec<(usize, Vec<Tensor<4>>)> = Vec::new();
    for Part { rows: own, queries, keys, hidden } in parts {
        let [q, k, v] = [part(&q, &own, &queries), part(&k, &own, &keys), part(&v, &own, &keys)];
        let z = mixed(q, k, v, hidden, settings);
        match rows.last_mut() {
            Some((first, row)) if *first == own.start => row.push(z),
            _ => rows.push((own.start, vec![z])),
        }
    }
    let rows = rows.into_iter().map(|(_, parts)| Tensor::cat(parts, 2)).collect();
    Tensor::cat(rows, 0).swap_dims(1, 2)
}

/// One rectangle, `[b, h, p, w]`; masked scores are the smallest number.
fn mixed(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    hidden: Option<Tensor<4, Bool>>,
    settings: AttentionSettings,
) -> Tensor<4> {
    let AttentionSettings { scale, cap } = settings;
    let mut scores = q.matmul(k.swap_dims(2, 3)).mul_scalar(scale);
    if let Some(cap) = cap {
        scores = scores.div_scalar(cap).tanh().mul_scalar(cap);
    }
    if let Some(hidden) = hidden {
        let dims = scores.dims();
        scores = scores.mask_fill(hidden.expand(dims), f32::MIN);
    }
    softmax(scores, 1.0).matmul(v)
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
