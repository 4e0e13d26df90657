//! Rotary embedding, head by head.

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, unary};
use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;

use super::home::{back, back_tracked, packed, plain, record, tracked};
use super::simd::{Isa, Kind, Level, versions};
use super::slices;

versions! {
    /// All heads of a position turned by its angles, or back.
    fn turn<K: Copy>(heads: &mut [f32], cos: &[f32], sin: &[f32], sign: f32) = turn_body;
}

#[inline(always)]
fn turn_body<I: Isa, K>(_: Kind<I, K>, heads: &mut [f32], cos: &[f32], sin: &[f32], sign: f32) {
    let half = cos.len();
    for head in heads.chunks_exact_mut(2 * half) {
        let (first, second) = head.split_at_mut(half);
        for (((a, b), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
            let sin = sign * sin;
            (*a, *b) = (I::mul_add(*a, *cos, -(*b * sin)), I::mul_add(*b, *cos, *a * sin));
        }
    }
}

/// Cosines and sines, and for how many positions in all.
#[derive(Debug, Clone)]
struct Angles {
    cos: FlexTensor,
    sin: FlexTensor,
    half: usize,
    positions: usize,
}

fn forward(x: FlexTensor, angles: &Angles, width: usize, sign: f32) -> FlexTensor {
    let level = Level::taken();
    let mut x = packed(x);
    let (cos, sin) = (angles.cos.storage::<f32>(), angles.sin.storage::<f32>());
    let half = angles.half;
    slices::each_rows(x.storage_mut::<f32>(), width, |first, rows| {
        for (i, heads) in rows.chunks_mut(width.max(1)).enumerate() {
            let at = (first + i) % angles.positions * half;
            turn::<()>(level, heads, &cos[at..at + half], &sin[at..at + half], sign);
        }
    });
    x
}

type Given = (Tensor<4>, Tensor<4>, Tensor<4>);

/// The turned heads, or what was given again if it is not for us.
pub(crate) fn rotate(x: Tensor<4>, cos: Tensor<4>, sin: Tensor<4>) -> Result<Tensor<4>, Given> {
    let [b, p, h, w] = x.dims();
    let half = w / 2;
    let fits = |t: &Tensor<4>| t.dims() == [b, p, 1, half] || t.dims() == [1, p, 1, half];
    if w % 2 != 0 || x.dims().contains(&0) || cos.dims() != sin.dims() || !fits(&cos) {
        return Err((x, cos, sin));
    }
    let positions = cos.dims()[0] * p;
    let cos = match plain(cos) {
        Ok(cos) => packed(cos),
        Err(cos) => return Err((x, cos, sin)),
    };
    let sin = match plain(sin) {
        Ok(sin) => packed(sin),
        Err(sin) => return Err((x, back(cos), sin)),
    };
    let angles = Angles { cos, sin, half, positions };
    match plain(x) {
        Ok(x) => Ok(back(forward(x, &angles, h * w, 1.0))),
        Err(x) => match tracked(x) {
            Ok(x) => {
                let (x, node) = x.into_parts();
                let y = forward(x, &angles, h * w, 1.0);
                Ok(back_tracked(record(Rotate(h * w), [node], || angles, y)))
            }
            Err(x) => Err((x, back(angles.cos), back(angles.sin))),
        },
    }
}

/// The backward step, the turn back; the state is the angles.
#[derive(Debug)]
struct Rotate(usize);

impl Backward<Flex, 1> for Rotate {
    type State = Angles;

    fn backward(self, ops: Ops<Angles, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let Ops { parents, node, state } = ops;
        unary::<Flex, _>(parents, node, grads, |grad| forward(grad, &state, self.0, -1.0));
    }
}
