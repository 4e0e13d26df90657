//! RMS norm, and layer norm where there is a bias.

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, unary};
use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;

use super::home::{back, back_tracked, dims, filled, packed, plain, record, tracked};
use super::simd::{Isa, Kind, Level, sum_of, versions};
use super::slices;

versions! {
    /// `row = weight row / rms(row)`, or `weight (row - mean) / deviation + bias`.
    fn norm_row<K: Copy>(row: &mut [f32], weight: &[f32], bias: Option<&[f32]>, eps: f32) = norm_row_body;
}
versions! {
    /// The gradient before the norm from that after it, in place; `centred` for layer norm.
    fn norm_row_back<K: Copy>(x: &[f32], grad: &mut [f32], weight: &[f32], centred: bool, eps: f32) = norm_row_back_body;
}

/// The mean that is subtracted and the factor that follows.
#[inline(always)]
fn moments<I: Isa>(row: &[f32], centred: bool, eps: f32) -> (f32, f32) {
    let n = row.len() as f32;
    let mean = if centred { sum_of(row, row, |x, _, sum| sum + x) / n } else { 0.0 };
    let squares = sum_of(row, row, |x, _, sum| I::mul_add(x - mean, x - mean, sum));
    (mean, 1.0 / (squares / n + eps).sqrt())
}

#[inline(always)]
fn norm_row_body<I: Isa, K>(_: Kind<I, K>, row: &mut [f32], weight: &[f32], bias: Option<&[f32]>, eps: f32) {
    let (mean, factor) = moments::<I>(row, bias.is_some(), eps);
    match bias {
        Some(bias) => {
            for ((x, weight), bias) in row.iter_mut().zip(weight).zip(bias) {
                *x = I::mul_add((*x - mean) * factor, *weight, *bias);
            }
        }
        None => {
            for (x, weight) in row.iter_mut().zip(weight) {
                *x = *x * factor * weight;
            }
        }
    }
}

/// With `u = (x - mean) factor` and `g = weight grad`: `factor (g - mean(g) - u mean(g u))`; without centring, no `mean(g)`.
#[inline(always)]
fn norm_row_back_body<I: Isa, K>(
    _: Kind<I, K>,
    x: &[f32],
    grad: &mut [f32],
    weight: &[f32],
    centred: bool,
    eps: f32,
) {
    let (mean, factor) = moments::<I>(x, centred, eps);
    for (grad, weight) in grad.iter_mut().zip(weight) {
        *grad *= weight;
    }
    let n = x.len() as f32;
    let along = sum_of(x, grad, |x, g, sum| I::mul_add((x - mean) * factor, g, sum)) / n;
    let level = if centred { sum_of(grad, grad, |g, _, sum| sum + g) / n } else { 0.0 };
    for (grad, x) in grad.iter_mut().zip(x) {
        *grad = factor * (*grad - level - (x - mean) * factor * along);
    }
}

/// What belongs to a norm besides its input.
#[derive(Debug, Clone)]
struct Settings {
    weight: FlexTensor,
    bias: Option<FlexTensor>,
    eps: f32,
}

fn forward(x: FlexTensor, settings: &Settings) -> FlexTensor {
    let level = Level::taken();
    let mut x = packed(x);
    let weight = settings.weight.storage::<f32>();
    let bias = settings.bias.as_ref().map(FlexTensor::storage::<f32>);
    let width = weight.len();
    let rows = |rows: &mut [f32]| {
        rows.chunks_mut(width.max(1)).for_each(|row| norm_row::<()>(level, row, weight, bias, settings.eps));
    };
    if let Some(values) = x.try_storage_mut::<f32>() {
        slices::each_rows(values, width, |_, values| rows(values));
        return x;
    }
    let values = x.storage::<f32>();
    let mut out = vec![0.0; values.len()];
    slices::zip_rows(values, &mut out, width, |_, x, out| {
        out.copy_from_slice(x);
        rows(out);
    });
    filled(out, dims(&x))
}

type Given<const D: usize> = (Tensor<D>, Tensor<1>, Option<Tensor<1>>);

/// Layer norm if there is a bias, else RMS norm; or what was given again if it is not for us.
pub(crate) fn norm<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<1>,
    bias: Option<Tensor<1>>,
    eps: f64,
) -> Result<Tensor<D>, Given<D>> {
    let fits = |w: &Tensor<1>| x.dims().last() == Some(&w.dims()[0]);
    if !fits(&weight) || !bias.as_ref().is_none_or(fits) {
        return Err((x, weight, bias));
    }
    let weight = match plain(weight) {
        Ok(weight) => packed(weight),
        Err(weight) => return Err((x, weight, bias)),
    };
    let bias = match bias.map(plain).transpose() {
        Ok(bias) => bias.map(packed),
        Err(bias) => return Err((x, back(weight), Some(bias))),
    };
    let settings = Settings { weight, bias, eps: eps as f32 };
    match plain(x) {
        // Burn's layer norm is fused already: ours is for its backward pass.
        Ok(x) if settings.bias.is_some() => Err((back(x), back(settings.weight), settings.bias.map(back))),
        Ok(x) => Ok(back(forward(x, &settings))),
        Err(x) => match tracked(x) {
            Ok(x) => {
                let (x, node) = x.into_parts();
                let kept = x.clone();
                let y = forward(x, &settings);
                Ok(back_tracked(record(Norm, [node], || (kept, settings), y)))
            }
            Err(x) => Err((x, back(settings.weight), settings.bias.map(back))),
        },
    }
}

/// The backward step; the state is the input and the settings.
#[derive(Debug)]
struct Norm;

impl Backward<Flex, 1> for Norm {
    type State = (FlexTensor, Settings);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let Ops { parents, node, state: (x, settings) } = ops;
        unary::<Flex, _>(parents, node, grads, |grad| {
            let (level, x, mut grad) = (Level::taken(), packed(x), packed(grad));
            let weight = settings.weight.storage::<f32>();
            let (width, centred) = (weight.len(), settings.bias.is_some());
            slices::zip_rows(x.storage(), grad.storage_mut(), width, |_, x, grad| {
                for (x, grad) in x.chunks(width.max(1)).zip(grad.chunks_mut(width.max(1))) {
                    norm_row_back::<()>(level, x, grad, weight, centred, settings.eps);
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
        for n in [1, 5, 16, 17, 40, 576] {
            let x: Vec<f32> = (0..n).map(|i| ((i * 37) % 23) as f32 * 0.3 - 3.0).collect();
            let weight: Vec<f32> = (0..n).map(|i| (i % 5) as f32 * 0.2).collect();
            for bias in [None, Some(x.as_slice())] {
                let all = |level| {
                    let (mut a, mut b) = (x.clone(), weight.clone());
                    norm_row::<()>(level, &mut a, &weight, bias, 1e-5);
                    norm_row_back::<()>(level, &x, &mut b, &weight, bias.is_some(), 1e-5);
                    [a, b].concat()
                };
                let want = all(Level::Portable);
                for level in Level::all() {
                    for (got, want) in all(level).iter().zip(&want) {
                        assert!((got - want).abs() < 2e-6, "{n} {level:?}: {got} {want}");
                    }
                }
            }
        }
    }
}
