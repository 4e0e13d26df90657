//! `x Wᵗ + b` for plain weights.

mod columns;
mod panel;
mod tile;

use std::mem::MaybeUninit;

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, unary};
use burn::backend::flex::FlexTensor;
use burn::backend::flex::ops::matmul::matmul;
use burn::tensor::{Shape, Tensor};
use rayon::prelude::*;

use super::home::{back, back_tracked, dims, filled, packed, plain, record, tracked};
use super::simd::Level;
use columns::Columns;
use panel::Panels;
use tile::Tiles;

/// Length of the sums between two visits to the result: a tile's rows of both factors fit a core's first cache.
const DEPTH: usize = 1024;

/// From so many rows on, they are turned into panels first.
const MANY: usize = 16;

/// Below so many products, one core does it all.
const FEW: usize = 1 << 18;

/// Rows one after the other, some floats apart.
#[derive(Clone, Copy)]
struct Rows<'a> {
    data: &'a [f32],
    stride: usize,
}

impl<'a> Rows<'a> {
    fn cut<const N: usize>(&self, first: usize, from: usize, length: usize) -> [&'a [f32]; N] {
        std::array::from_fn(|i| {
            let start = (first + i) * self.stride + from;
            &self.data[start..start + length]
        })
    }
}

/// A weight of `flex` whose rows are contiguous.
struct Weight<'a> {
    rows: Rows<'a>,
    output: usize,
    input: usize,
}

fn contiguous_rows(weight: &FlexTensor) -> bool {
    let (shape, strides) = (weight.layout().shape().as_slice(), weight.layout().strides());
    matches!((shape, strides), ([_, input], [row, 1]) if *row >= *input as isize)
}

impl<'a> Weight<'a> {
    fn of(weight: &'a FlexTensor) -> Option<Self> {
        let &[output, input] = weight.layout().shape().as_slice() else { return None };
        if !contiguous_rows(weight) || input == 0 || output == 0 {
            return None;
        }
        let stride = usize::try_from(*weight.layout().strides().first()?).ok()?;
        let data = weight.storage::<f32>().get(weight.layout().start_offset()..)?;
        Some(Self { rows: Rows { data, stride }, output, input })
    }
}

fn forward(level: Level, x: &[f32], weight: &Weight<'_>, bias: Option<&[f32]>) -> Vec<f32> {
    let (input, output) = (weight.input, weight.output);
    let many = x.len() / input;
    let mut out = Vec::with_capacity(many * output);
    let room = &mut out.spare_capacity_mut()[..many * output];
    let x = Rows { data: x, stride: input };
    if many >= MANY {
        in_panels(level, x, weight, bias, room);
    } else if many * input * output < FEW {
        columns(level, x, weight, bias, Columns::all(room, output));
    } else {
        let (_, wide) = tile::sizes(level);
        let parts = Columns::split(room, output, share(output, wide));
        parts.into_par_iter().for_each(|part| columns(level, x, weight, bias, part));
    }
    // SAFETY: every row and column was written.
    #[allow(unsafe_code, reason = "the result is written without being cleared before")]
    unsafe {
        out.set_len(many * output);
    }
    out
}

/// Columns that a task computes: some tasks for every core, each of whole tiles.
fn share(output: usize, wide: usize) -> usize {
    output.div_ceil(4 * rayon::current_num_threads()).next_multiple_of(wide)
}

fn in_panels(
    level: Level,
    x: Rows<'_>,
    weight: &Weight<'_>,
    bias: Option<&[f32]>,
    out: &mut [MaybeUninit<f32>],
) {
    let (input, output) = (weight.input, weight.output);
    let rows = out.len() / output;
    let (width, strip) = panel::sizes(level);
    let mut data = vec![0.0; rows.next_multiple_of(width) * input];
    data.par_chunks_mut(width * input).enumerate().for_each(|(i, panel)| {
        panel::turn(level, x, i * width, width.min(rows - i * width), panel);
    });
    let x = Panels { data: &data, rows, input };
    let parts = Columns::split(out, output, share(output, strip).min(8 * strip));
    parts.into_par_iter().for_each(|mut part| panel::run(level, x, weight.rows, bias, &mut part));
}

/// Some columns of the result, for all of a few rows.
fn columns(level: Level, x: Rows<'_>, weight: &Weight<'_>, bias: Option<&[f32]>, mut out: Columns<'_>) {
    let input = weight.input;
    let depth = input.div_ceil(input.div_ceil(DEPTH)).next_multiple_of(16);
    for from in (0..input).step_by(depth) {
        let tiles = Tiles { x, weight: weight.rows, from, length: depth.min(input - from), bias };
        tile::run(level, &tiles, 0..out.rows(), &mut out);
    }
}

fn apply(x: FlexTensor, weight: &Weight<'_>, bias: Option<&FlexTensor>) -> FlexTensor {
    let mut shape = dims(&x);
    let x = packed(x);
    let bias = bias.map(|bias| packed(bias.clone()));
    let out = forward(Level::taken(), x.storage(), weight, bias.as_ref().map(FlexTensor::storage));
    if let Some(last) = shape.last_mut() {
        *last = weight.output;
    }
    filled(out, shape)
}

type Given<const D: usize> = (Tensor<D>, Tensor<2>, Option<Tensor<1>>);

/// The product, or what was given again if it is not for us.
pub(crate) fn linear<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Result<Tensor<D>, Given<D>> {
    let level = Level::taken();
    let [output, input] = weight.dims();
    let fits = x.dims().last() == Some(&input) && bias.as_ref().is_none_or(|bias| bias.dims() == [output]);
    if level == Level::Portable || !fits {
        return Err((x, weight, bias));
    }
    let inner = match plain(weight) {
        Ok(inner) => inner,
        Err(weight) => return Err((x, weight, bias)),
    };
    let added = match bias.map(plain).transpose() {
        Ok(added) => added,
        Err(bias) => return Err((x, back(inner), Some(bias))),
    };
    let Some(known) = Weight::of(&inner) else { return Err((x, back(inner), added.map(back))) };
    match plain(x) {
        Ok(x) => Ok(back(apply(x, &known, added.as_ref()))),
        Err(x) => match tracked(x) {
            Ok(x) => {
                let (x, node) = x.into_parts();
                let y = apply(x, &known, added.as_ref());
                Ok(back_tracked(record(Linear, [node], || inner.clone(), y)))
            }
            Err(x) => Err((x, back(inner), added.map(back))),
        },
    }
}

/// The backward step; the state is the weight.
#[derive(Debug)]
struct Linear;

impl Backward<Flex, 1> for Linear {
    type State = FlexTensor;

    fn backward(self, ops: Ops<FlexTensor, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let Ops { parents, node, state: weight } = ops;
        unary::<Flex, _>(parents, node, grads, |grad| {
            let mut shape = dims(&grad);
            let output = shape.pop().unwrap_or(1);
            let rows = shape.iter().product::<usize>();
            shape.push(dims(&weight).last().copied().unwrap_or(1));
            let folded = packed(grad).reshape(Shape::from(vec![rows, output]));
            matmul(folded, weight).reshape(Shape::from(shape))
        });
    }
}

/// Rows made contiguous, if the weight is of `flex` and they are not.
pub(crate) fn lay_out(weight: Tensor<2>) -> Tensor<2> {
    match plain(weight) {
        Ok(inner) if contiguous_rows(&inner) => back(inner),
        Ok(inner) => back(packed(inner)),
        Err(weight) => weight,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every level and every remainder of a tile, against sums in double precision.
    #[test]
    fn sums_of_every_size() {
        for level in Level::all().filter(|level| *level > Level::Portable) {
            for (rows, input, output) in [
                (1, 1, 1),
                (1, 40, 7),
                (2, 17, 3),
                (3, 16, 6),
                (4, 48, 12),
                (5, 31, 11),
                (9, 2100, 13),
                (133, 20, 5),
                (64, 70, 30),
                (97, 1100, 25),
                (300, 513, 37),
            ] {
                let x: Vec<f32> = (0..rows * input).map(|i| ((i * 7) % 13) as f32 - 6.0).collect();
                let w: Vec<f32> = (0..output * input).map(|i| ((i * 5) % 11) as f32 - 5.0).collect();
                let bias: Vec<f32> = (0..output).map(|i| i as f32).collect();
                let weight = Weight { rows: Rows { data: &w, stride: input }, output, input };
                let got = forward(level, &x, &weight, Some(&bias));
                for (i, got) in got.iter().enumerate() {
                    let (x, w) = (&x[i / output * input..], &w[i % output * input..]);
                    let want: f64 = (0..input).map(|j| f64::from(x[j]) * f64::from(w[j])).sum();
                    assert_eq!(
                        f64::from(*got),
                        want + f64::from(bias[i % output]),
                        "{level:?} {rows} {input} {output}"
                    );
                }
            }
        }
    }
}
