//! Where a tensor lives, and the way back.

use burn::backend::flex::{FlexTensor, Layout};
use burn::backend::{Autodiff, Flex};
use burn::tensor::{Bytes, DType, Shape, Tensor};

use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::ops::{Backward, NodeGuard, OpsKind};

/// A float tensor of `flex` that gradients may flow to.
pub(crate) type Tracked = <Autodiff<Flex> as burn::backend::BackendTypes>::FloatTensorPrimitive;

/// The tensor of `flex` behind an f32 tensor without autodiff, or the tensor.
pub(crate) fn plain<const D: usize>(x: Tensor<D>) -> Result<FlexTensor, Tensor<D>> {
    if x.dtype() != DType::F32 || x.is_autodiff() {
        return Err(x);
    }
    match x.clone().try_into_primitive::<Flex>() {
        Ok(inner) => Ok(inner), // `x` is dropped here: `inner` is the only one left if `x` was
        Err(_) => Err(x),
    }
}

/// The tensor of `flex` with autodiff behind an f32 tensor, or the tensor.
pub(crate) fn tracked<const D: usize>(x: Tensor<D>) -> Result<Tracked, Tensor<D>> {
    if x.dtype() != DType::F32 || !x.is_autodiff() {
        return Err(x);
    }
    match x.clone().try_into_primitive::<Autodiff<Flex>>() {
        Ok(inner) => Ok(inner),
        Err(_) => Err(x),
    }
}

pub(crate) fn back<const D: usize>(x: FlexTensor) -> Tensor<D> {
    Tensor::from_primitive::<Flex>(x)
}

pub(crate) fn back_tracked<const D: usize>(x: Tracked) -> Tensor<D> {
    Tensor::from_primitive::<Autodiff<Flex>>(x)
}

/// A result on the tape: its backward step with what that needs, if any parent is tracked.
pub(crate) fn record<const N: usize, S: Backward<Flex, N>>(
    step: S,
    parents: [NodeGuard; N],
    state: impl FnOnce() -> S::State,
    value: FlexTensor,
) -> Tracked {
    match step.prepare::<NoCheckpointing>(parents).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish(state(), value),
        OpsKind::UnTracked(prep) => prep.finish(value),
    }
}

/// The same values, one after the other from the start of a buffer of just their size; copied only if they were not.
pub(crate) fn packed(x: FlexTensor) -> FlexTensor {
    let packed = x.to_contiguous();
    drop(x);
    packed
}

/// A tensor of row-major values.
pub(crate) fn filled(values: Vec<f32>, dims: impl Into<Vec<usize>>) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(Shape::from(dims.into())), DType::F32)
}

/// Length of each axis.
pub(crate) fn dims(x: &FlexTensor) -> Vec<usize> {
    x.layout().shape().as_slice().to_vec()
}
