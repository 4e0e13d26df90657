//! Scaled masked softmax, row by row.

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, unary};
use burn::backend::flex::FlexTensor;
use burn::tensor::{Bool, Tensor};

use super::home::{back, back_tracked, dims, filled, packed, plain, record, tracked};
use super::math::{exp, tanh};
use super::simd::{Isa, Kind, Level, largest, sum_of, versions};
use super::slices;

versions! {
    /// `row = softmax(scale * row)`, masked.
    fn softmax_row<K: Copy>(row: &mut [f32], mask: Option<&[u8]>, scale: f32) = softmax_row_body;
}
versions! {
    /// `grad = scale * y (grad - sum(grad y))`, the gradient before the softmax from that after it; 0 where masked.
    fn softmax_row_back<K: Copy>(y: &[f32], grad: &mut [f32], mask: Option<&[u8]>, scale: f32) = softmax_row_back_body;
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
fn softmax_row_body<I: Isa, K>(_: Kind<I, K>, row: &mut [f32], mask: Option<&[u8]>, scale: f32) {
    match mask {
        Some(mask) => {
            for (x, masked) in row.iter_mut().zip(mask) {
                *x = if *masked != 0 { f32::MIN } else { *x * scale };
            }
        }
        None if scale != 1.0 => {
            for x in row.iter_mut() {
                *x *= scale;
            }
        }
        None => {}
    }
    let top = largest(row);
    for x in row.iter_mut() {
        *x = exp::<I>(*x - top);
    }
    let share = 1.0 / sum_of(row, row, |x, _, sum| sum + x);
    for x in row.iter_mut() {
        *x *= share;
    }
}

#[inline(always)]
fn softmax_row_back_body<I: Isa, K>(
    _: Kind<I, K>,
    y: &[f32],
    grad: &mut [f32],
    mask: Option<&[u8]>,
    scale: f32,
) {
    let mean = sum_of(y, grad, I::mul_add);
    for (grad, y) in grad.iter_mut().zip(y) {
        *grad = scale * y * (*grad - mean);
    }
    if let Some(mask) = mask {
        for (grad, masked) in grad.iter_mut().zip(mask) {
            *grad = if *masked != 0 { 0.0 } else { *grad };
        }
    }
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

/// A mask with a length of 1 for whatever axis it is the same along; rows of it for rows of scores.
#[derive(Debug, Clone)]
pub(crate) struct Mask {
    bytes: FlexTensor,
    strides: [usize; 3],
    heads: usize,
    queries: usize,
}

impl Mask {
    /// For scores `[b, h, q, k]`; the mask again if it is of another shape or place.
    pub(crate) fn of(mask: Tensor<4, Bool>, [b, h, q, k]: [usize; 4]) -> Result<Self, Tensor<4, Bool>> {
        let [mb, mh, mq, mk] = mask.dims();
        let fits = |has: usize, wants: usize| has == wants || has == 1;
        if !(fits(mb, b) && fits(mh, h) && fits(mq, q) && mk == k) {
            return Err(mask);
        }
        let Ok(bytes) = mask.clone().without_autodiff().try_into_primitive::<Flex>() else {
            return Err(mask);
        };
        let bytes = packed(bytes);
        if bytes.bytes().len() != mb * mh * mq * mk {
            return Err(mask); // not stored as bytes
        }
        let stride = |has: usize, step: usize| if has == 1 { 0 } else { step };
        let strides = [stride(mb, mh * mq * k), stride(mh, mq * k), stride(mq, k)];
        Ok(Self { bytes, strides, heads: h, queries: q })
    }

    /// Whether all heads have one mask.
    pub(crate) fn is_same_for_heads(&self) -> bool {
        self.strides[1] == 0
    }

    /// For one row of a batch, one head and one query.
    pub(crate) fn row(&self, batch: usize, head: usize, query: usize, keys: usize) -> &[u8] {
        let [b, h, q] = self.strides;
        let from = batch * b + head * h + query * q;
        &self.bytes.bytes()[from..from + keys]
    }

    /// For row `i` of all scores.
    fn nth(&self, i: usize, keys: usize) -> &[u8] {
        let (rest, query) = (i / self.queries, i % self.queries);
        self.row(rest / self.heads, rest % self.heads, query, keys)
    }
}

fn forward(scores: FlexTensor, scale: f32, mask: Option<&Mask>) -> FlexTensor {
    let level = Level::taken();
    let mut x = packed(scores);
    let keys = dims(&x).last().copied().unwrap_or(0);
    let rows = |first: usize, rows: &mut [f32]| {
        for (i, row) in rows.chunks_mut(keys.max(1)).enumerate() {
            softmax_row::<()>(level, row, mask.map(|mask| mask.nth(first + i, keys)), scale);
        }
    };
    if let Some(values) = x.try_storage_mut::<f32>() {
        slices::each_rows(values, keys, rows);
        return x;
    }
    let values = x.storage::<f32>();
    let mut out = vec![0.0; values.len()];
    slices::zip_rows(values, &mut out, keys, |first, x, out| {
        out.copy_from_slice(x);
        rows(first, out);
    });
    filled(out, dims(&x))
}

type Given = (Tensor<4>, Option<Tensor<4, Bool>>);

/// The softmax, or what was given again if it is not for us.
pub(crate) fn softmax(
    scores: Tensor<4>,
    scale: f32,
    mask: Option<Tensor<4, Bool>>,
) -> Result<Tensor<4>, Given> {
    let Ok(known) = mask.clone().map(|mask| Mask::of(mask, scores.dims())).transpose() else {
        return Err((scores, mask));
    };
    match plain(scores) {
        Ok(scores) => Ok(back(forward(scores, scale, known.as_ref()))),
        Err(scores) => match tracked(scores) {
            Ok(scores) => {
                let (scores, node) = scores.into_parts();
                let y = forward(scores, scale, known.as_ref());
                let kept = y.clone();
                Ok(back_tracked(record(Softmax(scale), [node], || (kept, known), y)))
            }
            Err(scores) => Err((scores, mask)),
        },
    }
}

/// The backward step; the state is the output and the mask.
#[derive(Debug)]
struct Softmax(f32);

impl Backward<Flex, 1> for Softmax {
    type State = (FlexTensor, Option<Mask>);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let Ops { parents, node, state: (y, mask) } = ops;
        unary::<Flex, _>(parents, node, grads, |grad| {
            let (level, mut grad) = (Level::taken(), packed(grad));
            let keys = dims(&y).last().copied().unwrap_or(0);
            slices::zip_rows(y.storage(), grad.storage_mut(), keys, |first, y, grad| {
                let width = keys.max(1);
                for (i, (y, grad)) in y.chunks(width).zip(grad.chunks_mut(width)).enumerate() {
                    let mask = mask.as_ref().map(|mask| mask.nth(first + i, keys));
                    softmax_row_back::<()>(level, y, grad, mask, self.0);
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
            let mask: Vec<u8> = (0..n).map(|i| u8::from(i % 3 == 1)).collect();
            for mask in [None, Some(mask.as_slice())] {
                let all = |level| {
                    let (mut a, mut b, mut c) = (x.clone(), x.clone(), x.clone());
                    softmax_row::<()>(level, &mut a, mask, 0.5);
                    softmax_row_back::<()>(level, &a, &mut b, mask, 0.5);
                    cap_row::<()>(level, &mut c, 0.5, 2.0);
                    let mut d = x.clone();
                    cap_row_back::<()>(level, &c, &mut d, 0.5, 2.0);
                    [a, b, c, d].concat()
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
}
