//! The tap: an identity whose backward pass hands over, and may rewrite, the gradient that flows through it.
//!
//! Burn keeps gradients of leaves only and cannot retain them at inner nodes. An identity operation with a
//! backward step of its own gives them at every site in one backward pass, without touching the weights.

use std::fmt;
use std::sync::{Arc, Mutex};

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind, unary};
use burn::backend::{Autodiff, Backend, DispatchKindConversion, DispatchTensor};
use burn::tensor::Tensor;

use crate::{AnyTensor, HookError, Site};

/// Called with the gradient at the tap; returns the gradient to pass on.
pub(crate) type OnGrad = Arc<dyn Fn(AnyTensor) -> AnyTensor + Send + Sync>;

#[derive(Clone)]
struct TapState(OnGrad);

impl fmt::Debug for TapState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TapState")
    }
}

#[derive(Debug)]
struct Tap<const D: usize>;

impl<B, const D: usize> Backward<B, 1> for Tap<D>
where
    B: Backend,
    DispatchTensor: DispatchKindConversion<B>,
{
    type State = TapState;

    fn backward(self, ops: Ops<TapState, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let TapState(on_grad) = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |grad| {
            let changed = on_grad(AnyTensor::new(Tensor::<D>::from_primitive::<B>(grad.clone())));
            changed.typed::<D>().and_then(|x| x.try_into_primitive::<B>().ok()).unwrap_or(grad)
        });
    }
}

fn tap_on<B, const D: usize>(x: Tensor<D>, on_grad: &OnGrad) -> Option<Tensor<D>>
where
    B: Backend,
    DispatchTensor: DispatchKindConversion<B> + DispatchKindConversion<Autodiff<B>>,
{
    let x = x.try_into_primitive::<Autodiff<B>>().ok()?;
    let y =
        match Backward::<B, 1>::prepare::<NoCheckpointing>(Tap::<D>, [x.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(TapState(on_grad.clone()), x.into_primitive()),
            OpsKind::UnTracked(prep) => prep.finish(x.into_primitive()),
        };
    Some(Tensor::from_primitive::<Autodiff<B>>(y))
}

/// Makes `x` tracked if it is not, and puts a tap on it.
#[allow(deprecated, reason = "a second CPU backend, kept to compare with for as long as Burn has it")]
fn tap<const D: usize>(x: Tensor<D>, on_grad: &OnGrad) -> Option<Tensor<D>> {
    let x = if x.is_tracked() { x } else { x.without_autodiff().autodiff().require_grad() };
    #[cfg(feature = "flex")]
    if let Some(y) = tap_on::<burn::backend::Flex, D>(x.clone(), on_grad) {
        return Some(y);
    }
    #[cfg(feature = "ndarray")]
    if let Some(y) = tap_on::<burn::backend::NdArray, D>(x.clone(), on_grad) {
        return Some(y);
    }
    #[cfg(feature = "wgpu")]
    if let Some(y) = tap_on::<burn::backend::Cube, D>(x.clone(), on_grad) {
        return Some(y);
    }
    #[cfg(feature = "remote")]
    if let Some(y) = tap_on::<burn::backend::Remote, D>(x.clone(), on_grad) {
        return Some(y);
    }
    None
}

pub(crate) type Taken = Arc<Mutex<Vec<(Site, AnyTensor)>>>;

/// Puts a tap on a value of any rank.
pub(crate) fn tap_any(x: AnyTensor, on_grad: &OnGrad) -> Result<AnyTensor, HookError> {
    crate::tensor::with_rank!(x, x => {
        let device = format!("{:?}", x.device());
        tap(x, on_grad).map(AnyTensor::new).ok_or(HookError::NoTap(device))
    })?
}
