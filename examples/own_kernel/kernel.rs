//! A fused operation of one's own, with its backward pass: what a state holds along a direction is taken out of it.
//!
//! `y = x - (x · u) u` for every position, with `u` of length one: one pass over the values, in place where nobody else holds
//! them. In tensor operations it would be a product, a sum, a product and a difference, each with a buffer of its own.
//!
//! `#[backend_extension]` writes the dispatch from a tensor to the backend it lives on. What to know of it:
//!
//! - It panics on a backend that is not listed. [`without`] looks first, and refuses other devices with an error.
//! - A tensor that is tracked lives on `Autodiff<Flex>`, which needs an implementation of its own, with a backward step.
//! - Arguments that are no tensors pass through as they are. The direction is one of them, so that it is a constant of the graph.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind, unary};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{DType, Tensor};
use mmlens::prelude::*;

/// The operation, for a backend.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait Directions: Backend {
    /// Rows `[n, d]` without what they hold along a direction `[d]` of length one.
    fn without(x: FloatTensor<Self>, direction: Arc<[f32]>) -> FloatTensor<Self>;
}

impl Directions for Flex {
    fn without(x: FlexTensor, direction: Arc<[f32]>) -> FlexTensor {
        // In order from the start of a buffer; copied only if it was not, or if somebody else holds it.
        let mut x = x.to_contiguous();
        for row in x.storage_mut::<f32>().chunks_mut(direction.len().max(1)) {
            let along: f32 = row.iter().zip(direction.iter()).map(|(x, u)| x * u).sum();
            row.iter_mut().zip(direction.iter()).for_each(|(x, u)| *x -= along * u);
        }
        x
    }
}

impl<B: Backend + Directions, C: CheckpointStrategy> Directions for Autodiff<B, C> {
    fn without(x: FloatTensor<Self>, direction: Arc<[f32]>) -> FloatTensor<Self> {
        match Backward::<B, 1>::prepare::<C>(Without, [x.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                prep.finish(direction.clone(), B::without(x.into_primitive(), direction))
            }
            OpsKind::UnTracked(prep) => prep.finish(B::without(x.into_primitive(), direction)),
        }
    }
}

/// The backward step. The operation is a symmetric matrix, so that the gradient takes the same one.
#[derive(Debug)]
struct Without;

impl<B: Backend + Directions> Backward<B, 1> for Without {
    type State = Arc<[f32]>;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        unary::<B, _>(ops.parents, ops.node, grads, |grad| B::without(grad, ops.state));
    }
}

/// A direction of length one.
#[derive(Debug, Clone)]
pub(crate) struct Direction(pub(crate) Arc<[f32]>);

impl Direction {
    /// That of a vector; `None` for one of no length.
    pub(crate) fn of(vector: &[f32]) -> Option<Self> {
        let length = vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        let unit = vector.iter().map(|x| (f64::from(*x) / length) as f32).collect();
        (length.is_finite() && length > 0.0).then_some(Self(unit))
    }
}

/// States `[batch, pos, d]` without what they hold along a direction: an edit of any site of the stream.
///
/// # Errors
/// [`HookError::Operand`] for states of another width, [`HookError::Read`] for a device or precision without the operation.
pub(crate) fn without(site: Site, x: AnyTensor, direction: &Direction) -> Result<AnyTensor, HookError> {
    let x: Tensor<3> = x.rank_of(site)?;
    let [rows, positions, width] = x.dims();
    if width != direction.0.len() {
        let (holds, given) = (x.dims().to_vec(), vec![direction.0.len()]);
        return Err(HookError::Operand { site, holds, given, verb: "taken out" });
    }
    let here = match x.is_autodiff() {
        true => x.clone().try_into_primitive::<Autodiff<Flex>>().is_ok(),
        false => x.clone().try_into_primitive::<Flex>().is_ok(),
    };
    if !here || x.dtype() != DType::F32 {
        return Err(HookError::Read(format!("no such operation for {:?} on {:?}", x.dtype(), x.device())));
    }
    let flat = x.reshape([rows * positions, width]);
    let changed = <Dispatch as Directions>::without(flat.into_dispatch(), direction.0.clone());
    Ok(Tensor::<2>::from_dispatch(changed).reshape([rows, positions, width]).into())
}
