//! Scaled masked softmax, row by row.

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, unary};
use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;

use super::home::{back, back_tracked, dims, filled, packed, plain, record, tracked};
use super::math::{exp, tanh};
use super::simd::{Isa, Kind, Level, largest, sum_of, versions};
use super::slices;

versions! {
    /// `row = softmax(scale * row)`.
    fn softmax_row<K: Copy>(row: &mut [f32], scale: f32) = softmax_row_body;
}
versions! {
    /// `row = exp(scale * row - top)`, where the new top is the largest of the scaled row and the old top; that, and the row's sum.
    fn exp_row<K: Copy>(row: &mut [f32], scale: f32, top: f32) -> (f32, f32) = exp_row_body;
}
versions! {
    /// `row = share * exp(scale * row - top)`.
    fn weigh_row<K: Copy>(row: &mut [f32], scale: f32, top: f32, share: f32) = weigh_row_body;
}
versions! {
    /// `row *= by`.
    fn scale_row<K: Copy>(row: &mut [f32], by: f32) = scale_row_body;
}
versions! {
    /// `grad = scale * y (grad - mean)`, the gradient before the softmax from that after it, whose mean over `y` is given.
    fn softmax_row_back<K: Copy>(y: &[f32], grad: &mut [f32], mean: f32, scale: f32) = softmax_row_back_body;
}
versions! {
    /// `sum(x y)`.
    fn dot_row<K: Copy>(x: &[f32], y: &[f32]) -> f32 = dot_row_body;
}
versions! {
    /// `row = cap tanh(scale row / cap)`.
    fn cap_row<K: Copy>(row: &mut [f32], scale: f32, cap: f32) = cap_row_body;
}
versions! {
    /// `grad *= scale (1 - (capped / cap)²)`.
    fn cap_row_back<K: Copy>(capped: &[f32], grad: &mut [f32], scale: f32, cap: f32) = cap_row_back_body;
}

#[inline(always)]
fn softmax_row_body<I: Isa, K>(kind: Kind<I, K>, row: &mut [f32], scale: f32) {
    let (_, sum) = exp_row_body(kind, row, scale, f32::NEG_INFINITY);
    let share = 1.0 / sum;
    for x in row.iter_mut() {
        *x *= share;
    }
}

#[inline(always)]
fn exp_row_body<I: Isa, K>(_: Kind<I, K>, row: &mut [f32], scale: f32, top: f32) -> (f32, f32) {
    if scale != 1.0 {
        for x in row.iter_mut() {
            *x *= scale;
        }
    }
    let own = largest(row);
    let top = if own > top { own } else { top };
    // Where all are minus infinity, nothing may be subtracted: the sum of none is 0, and of no numbers none.
    let less = if top == f32::NEG_INFINITY { 0.0 } else { top };
    for x in row.iter_mut() {
        *x = exp::<I>(*x - less);
    }
    (top, sum_of(row, row, |x, _, sum| sum + x))
}

#[inline(always)]
fn weigh_row_body<I: Isa, K>(_: Kind<I, K>, row: &mut [f32], scale: f32, top: f32, share: f32) {
    for x in row {
        *x = exp::<I>(*x * scale - top) * share;
    }
}

#[inline(always)]
fn scale_row_body<I: Isa, K>(_: Kind<I, K>, row: &mut [f32], by: f32) {
    for x in row {
        *x *= by;
    }
}

#[inline(always)]
fn softmax_row_back_body<I: Isa, K>(_: Kind<I, K>, y: &[f32], grad: &mut [f32], mean: f32, scale: f32) {
    for (grad, y) in grad.iter_mut().zip(y) {
        *grad = scale * y * (*grad - mean);
    }
}

#[inline(always)]
fn dot_row_body<I: Isa, K>(_: Kind<I, K>, x: &[f32], y: &[f32]) -> f32 {
    sum_of(x, y, I::mul_add)
}

#[inline(always)]
fn cap_row_body<I: Isa, K>(_: Kind<I, K>, row: &mut [f32], scale: f32, cap: f32) {
    let inner = scale / cap;
    for x in row {
        *x = cap * tanh::<I>(*x * inner);
    }
}

#[inline(always)]
fn cap_row_back_body<I: Isa, K>(_: Kind<I, K>, capped: &[f32], grad: &mut [f32], scale: f32, cap: f32) {
    for (grad, capped) in grad.iter_mut().zip(capped) {
        let share = capped / cap;
        *grad *= scale * (1.0 - share * share);
    }
}

fn forward(scores: FlexTensor, scale: f32) -> FlexTensor {
    let level = Level::taken();
    let mut x = packed(scores);
    let keys = dims(&x).last().copied().unwrap_or(0);
    let rows = |rows: &mut [f32]| {
        rows.chunks_mut(keys.max(1)).for_each(|row| softmax_row::<()>(level, row, scale));
    };
    if let Some(values) = x.try_storage_mut::<f32>() {
        slices::each_rows(values, keys, |_, own| rows(own));
        return x;
    }
    let values = x.storage::<f32>();
    let mut out = vec![0.0; values.len()];
    slices::zip_rows(values, &mut out, keys, |_, x, out| {
        out.copy_from_slice(x);
        rows(out);
    });
    filled(out, dims(&x))
}

/// The softmax, or what was given again if it is not for us.
pub(crate) fn softmax(scores: Tensor<4>, scale: f32) -> Result<Tensor<4>, Tensor<4>> {
    match plain(scores) {
        Ok(scores) => Ok(back(forward(scores, scale))),
        Err(scores) => {
            let (scores, node) = tracked(scores)?.into_parts();
            let y = forward(scores, scale);
            let kept = y.clone();
            Ok(back_tracked(record(Softmax(scale), [node], || kept, y)))
        }
    }
}

/// The backward step; the state is the output.
#[derive(Debug)]
struct Softmax(f32);

impl Backward<Flex, 1> for Softmax {
    type State = FlexTensor;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let Ops { parents, node, state: y } = ops;
        unary::<Flex, _>(parents, node, grads, |grad| {
            let (level, mut grad) = (Level::taken(), packed(grad));
            let keys = dims(&y).last().copied().unwrap_or(0);
            slices::zip_rows(y.storage(), grad.storage_mut(), keys, |_, y, grad| {
                let width = keys.max(1);
                for (y, grad) in y.chunks(width).zip(grad.chunks_mut(width)) {
                    let mean = dot_row::<()>(level, y, grad);
                    softmax_row_back::<()>(level, y, grad, mean, self.0);
                }
            });
            grad
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_agree() {
        for n in [0, 1, 2, 15, 16, 17, 31, 33, 64, 100] {
            let x: Vec<f32> = (0..n).map(|i| ((i * 37) % 23) as f32 * 0.3 - 3.0).collect();
            let all = |level| {
                let (mut a, mut b, mut c, mut d) = (x.clone(), x.clone(), x.clone(), x.clone());
                softmax_row::<()>(level, &mut a, 0.5);
                let mean = dot_row::<()>(level, &a, &b);
                softmax_row_back::<()>(level, &a, &mut b, mean, 0.5);
                cap_row::<()>(level, &mut c, 0.5, 2.0);
                cap_row_back::<()>(level, &c, &mut d, 0.5, 2.0);
                let (mut e, mut f) = (x.clone(), x.clone());
                let (top, sum) = exp_row::<()>(level, &mut e, 0.5, 1.0);
                weigh_row::<()>(level, &mut f, 0.5, top, 1.0 / sum);
                scale_row::<()>(level, &mut e, 1.0 / sum);
                [a, b, c, d, e, f, vec![top, mean]].concat()
            };
            let want = all(Level::Portable);
            for level in Level::all() {
                for (got, want) in all(level).iter().zip(&want) {
                    assert!((got - want).abs() < 1e-6, "{n} {level:?}: {got} {want}");
                }
            }
        }
    }
}
