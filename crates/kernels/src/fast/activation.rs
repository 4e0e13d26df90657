//! Nonlinearities and gates, a chunk at a time.

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, unary};
use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;

use super::home::{back, back_tracked, dims, filled, packed, plain, record, tracked};
use super::math::{erf, exp, sigmoid};
use super::simd::{Isa, Kind, Level, versions};
use super::slices;
use crate::Curve;

/// A curve and its slope at a point.
pub(crate) trait Form: Send + Sync + 'static {
    fn value<I: Isa>(x: f32) -> f32;
    fn slope<I: Isa>(x: f32) -> f32;
}

struct Gelu;

impl Form for Gelu {
    #[inline(always)]
    fn value<I: Isa>(x: f32) -> f32 {
        let half = 0.5 * x;
        I::mul_add(half, erf::<I>(x * std::f32::consts::FRAC_1_SQRT_2), half)
    }

    #[inline(always)]
    fn slope<I: Isa>(x: f32) -> f32 {
        let x = held(x);
        let below = I::mul_add(0.5, erf::<I>(x * std::f32::consts::FRAC_1_SQRT_2), 0.5);
        let density = exp::<I>(-0.5 * x * x) * 0.398_942_3; // 1 / sqrt(2π)
        I::mul_add(x, density, below)
    }
}

/// `x σ(g(x))`.
trait Gated: Send + Sync + 'static {
    fn inner<I: Isa>(x: f32) -> f32;
    fn inner_slope<I: Isa>(x: f32) -> f32;
}

impl<G: Gated> Form for G {
    #[inline(always)]
    fn value<I: Isa>(x: f32) -> f32 {
        x * sigmoid::<I>(G::inner::<I>(x))
    }

    #[inline(always)]
    fn slope<I: Isa>(x: f32) -> f32 {
        let x = held(x);
        let s = sigmoid::<I>(G::inner::<I>(x));
        I::mul_add(x * s * (1.0 - s), G::inner_slope::<I>(x), s)
    }
}

/// All slopes are 0 or 1 beyond; held there, no infinity meets a zero.
#[inline(always)]
fn held(x: f32) -> f32 {
    let x = if x > 100.0 { 100.0 } else { x };
    if x < -100.0 { -100.0 } else { x }
}

struct GeluTanh;

const ROOT: f32 = 1.595_769; // 2 sqrt(2/π)

impl Gated for GeluTanh {
    #[inline(always)]
    fn inner<I: Isa>(x: f32) -> f32 {
        ROOT * x * I::mul_add(0.044_715, x * x, 1.0)
    }

    #[inline(always)]
    fn inner_slope<I: Isa>(x: f32) -> f32 {
        ROOT * I::mul_add(3.0 * 0.044_715, x * x, 1.0)
    }
}

struct QuickGelu;

impl Gated for QuickGelu {
    #[inline(always)]
    fn inner<I: Isa>(x: f32) -> f32 {
        1.702 * x
    }

    #[inline(always)]
    fn inner_slope<I: Isa>(_: f32) -> f32 {
        1.702
    }
}

struct Silu;

impl Gated for Silu {
    #[inline(always)]
    fn inner<I: Isa>(x: f32) -> f32 {
        x
    }

    #[inline(always)]
    fn inner_slope<I: Isa>(_: f32) -> f32 {
        1.0
    }
}

versions! {
    /// `x = f(x)`.
    fn apply<K: super::activation::Form>(x: &mut [f32]) = apply_body;
}
versions! {
    /// `out = f(x)`.
    fn apply_to<K: super::activation::Form>(x: &[f32], out: &mut [f32]) = apply_to_body;
}
versions! {
    /// `grad *= f'(x)`.
    fn chain<K: super::activation::Form>(x: &[f32], grad: &mut [f32]) = chain_body;
}
versions! {
    /// `x *= f(gate)`.
    fn gate_x<K: super::activation::Form>(gate: &[f32], x: &mut [f32]) = gate_x_body;
}
versions! {
    /// `gate = f(gate) x`.
    fn gate_gate<K: super::activation::Form>(x: &[f32], gate: &mut [f32]) = gate_gate_body;
}
versions! {
    /// `to_gate = grad x f'(gate)`, `grad *= f(gate)`.
    fn gate_chain<K: super::activation::Form>(
        gate: &[f32],
        x: &[f32],
        grad: &mut [f32],
        to_gate: &mut [f32],
    ) = gate_chain_body;
}

#[inline(always)]
fn apply_body<I: Isa, S: Form>(_: Kind<I, S>, x: &mut [f32]) {
    for x in x {
        *x = S::value::<I>(*x);
    }
}

#[inline(always)]
fn apply_to_body<I: Isa, S: Form>(_: Kind<I, S>, x: &[f32], out: &mut [f32]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out = S::value::<I>(*x);
    }
}

#[inline(always)]
fn chain_body<I: Isa, S: Form>(_: Kind<I, S>, x: &[f32], grad: &mut [f32]) {
    for (grad, x) in grad.iter_mut().zip(x) {
        *grad *= S::slope::<I>(*x);
    }
}

#[inline(always)]
fn gate_x_body<I: Isa, S: Form>(_: Kind<I, S>, gate: &[f32], x: &mut [f32]) {
    for (x, gate) in x.iter_mut().zip(gate) {
        *x *= S::value::<I>(*gate);
    }
}

#[inline(always)]
fn gate_gate_body<I: Isa, S: Form>(_: Kind<I, S>, x: &[f32], gate: &mut [f32]) {
    for (gate, x) in gate.iter_mut().zip(x) {
        *gate = S::value::<I>(*gate) * x;
    }
}

#[inline(always)]
fn gate_chain_body<I: Isa, S: Form>(
    _: Kind<I, S>,
    gate: &[f32],
    x: &[f32],
    grad: &mut [f32],
    to_gate: &mut [f32],
) {
    for (((gate, x), grad), to_gate) in gate.iter().zip(x).zip(grad).zip(to_gate) {
        *to_gate = *grad * x * S::slope::<I>(*gate);
        *grad *= S::value::<I>(*gate);
    }
}

/// Runs an expression with the type of a curve.
macro_rules! with_form {
    ($curve:expr, $form:ident => $body:expr) => {
        match $curve {
            Curve::Gelu => {
                type $form = Gelu;
                $body
            }
            Curve::GeluTanh => {
                type $form = GeluTanh;
                $body
            }
            Curve::QuickGelu => {
                type $form = QuickGelu;
                $body
            }
            Curve::Silu => {
                type $form = Silu;
                $body
            }
        }
    };
}

fn forward(curve: Curve, x: FlexTensor) -> FlexTensor {
    let level = Level::taken();
    let mut x = packed(x);
    if let Some(values) = x.try_storage_mut::<f32>() {
        with_form!(curve, S => slices::each(values, |x| apply::<S>(level, x)));
        return x;
    }
    let values = x.storage::<f32>();
    let mut out = vec![0.0; values.len()];
    with_form!(curve, S => slices::zip(values, &mut out, |x, out| apply_to::<S>(level, x, out)));
    filled(out, dims(&x))
}

fn gated(curve: Curve, gate: FlexTensor, x: FlexTensor) -> FlexTensor {
    let level = Level::taken();
    let (mut gate, mut x) = (packed(gate), packed(x));
    if let Some(gates) = gate.try_storage_mut::<f32>() {
        let x = x.storage::<f32>();
        with_form!(curve, S => slices::zip(x, gates, |x, gate| gate_gate::<S>(level, x, gate)));
        return gate;
    }
    let gates = gate.storage::<f32>();
    with_form!(curve, S => slices::zip(gates, x.storage_mut(), |gate, x| gate_x::<S>(level, gate, x)));
    x
}

/// `f(x)`, or `x` again if it is not for us.
pub(crate) fn activate<const D: usize>(curve: Curve, x: Tensor<D>) -> Result<Tensor<D>, Tensor<D>> {
    match plain(x) {
        Ok(x) => Ok(back(forward(curve, x))),
        Err(x) => tracked(x).map(|x| {
            let (x, node) = x.into_parts();
            let kept = x.clone();
            back_tracked(record(Activate(curve), [node], || kept, forward(curve, x)))
        }),
    }
}

/// The backward step of a curve; the state is its input.
#[derive(Debug)]
struct Activate(Curve);

impl Backward<Flex, 1> for Activate {
    type State = FlexTensor;

    fn backward(self, ops: Ops<FlexTensor, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let Ops { parents, node, state } = ops;
        unary::<Flex, _>(parents, node, grads, |grad| {
            let (level, x, mut grad) = (Level::taken(), packed(state), packed(grad));
            let (values, into) = (x.storage::<f32>(), grad.storage_mut::<f32>());
            with_form!(self.0, S => slices::zip(values, into, |x, grad| chain::<S>(level, x, grad)));
            grad
        });
    }
}

type Both<const D: usize> = (Tensor<D>, Tensor<D>);

/// `f(gate) x`, or both again if they are not for us.
pub(crate) fn gate<const D: usize>(
    curve: Curve,
    gate: Tensor<D>,
    x: Tensor<D>,
) -> Result<Tensor<D>, Both<D>> {
    if gate.dims() != x.dims() {
        return Err((gate, x));
    }
    if gate.is_autodiff() || x.is_autodiff() {
        let (gate, x) = (tracked(gate.autodiff()), tracked(x.autodiff()));
        return match (gate, x) {
            (Ok(gate), Ok(x)) => {
                let ((gate, gate_node), (x, x_node)) = (gate.into_parts(), x.into_parts());
                let kept = (gate.clone(), x.clone());
                let y = gated(curve, gate, x);
                Ok(back_tracked(record(Gate(curve), [gate_node, x_node], || kept, y)))
            }
            (gate, x) => {
                Err((gate.map_or_else(|gate| gate, back_tracked), x.map_or_else(|x| x, back_tracked)))
            }
        };
    }
    match (plain(gate), plain(x)) {
        (Ok(gate), Ok(x)) => Ok(back(gated(curve, gate, x))),
        (gate, x) => Err((gate.map_or_else(|gate| gate, back), x.map_or_else(|x| x, back))),
    }
}

/// The backward step of a gate; the state is both inputs.
#[derive(Debug)]
struct Gate(Curve);

impl Backward<Flex, 2> for Gate {
    type State = (FlexTensor, FlexTensor);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (level, (gate, x)) = (Level::taken(), ops.state);
        let (gate, x, mut grad) = (packed(gate), packed(x), packed(grads.consume::<Flex>(&ops.node)));
        let (gates, values, to_x) = (gate.storage::<f32>(), x.storage::<f32>(), grad.storage_mut::<f32>());
        let mut to_gate = vec![0.0; gates.len()];
        with_form!(self.0, S => slices::zip22(gates, values, to_x, &mut to_gate, |gate, x, to_x, to_gate| {
            gate_chain::<S>(level, gate, x, to_x, to_gate);
        }));
        let [gate_node, x_node] = ops.parents;
        if let Some(node) = gate_node {
            grads.register::<Flex>(node.id, filled(to_gate, dims(&gate)));
        }
        if let Some(node) = x_node {
            grads.register::<Flex>(node.id, grad);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every level of instructions gives what the portable one gives, up to rounding.
    #[test]
    fn levels_agree() {
        let x: Vec<f32> = (-333..=333).map(|i| i as f32 * 0.07).collect();
        let other: Vec<f32> = x.iter().map(|x| (x * 1.3).sin()).collect();
        for curve in Curve::ALL {
            let all = |level| {
                let (mut a, mut b, mut c) = (x.clone(), vec![0.0; x.len()], other.clone());
                let (mut d, mut e, mut f) = (other.clone(), x.clone(), other.clone());
                let mut g = vec![0.0; x.len()];
                with_form!(curve, S => {
                    apply::<S>(level, &mut a);
                    apply_to::<S>(level, &x, &mut b);
                    chain::<S>(level, &x, &mut c);
                    gate_x::<S>(level, &x, &mut d);
                    gate_gate::<S>(level, &other, &mut e);
                    gate_chain::<S>(level, &x, &other, &mut f, &mut g);
                });
                assert_eq!(a, b);
                [a, c, d, e, f, g]
            };
            let want = all(Level::Portable);
            for level in Level::all() {
                for (got, want) in all(level).iter().flatten().zip(want.iter().flatten()) {
                    assert!((got - want).abs() < 2e-6, "{curve:?} {level:?}: {got} {want}");
                }
            }
        }
    }

    /// Slopes are what central differences say.
    #[test]
    fn slopes_are_differences() {
        let h = 1e-2_f32;
        for curve in Curve::ALL {
            for i in -60..=60 {
                let x = i as f32 * 0.1;
                let (mut ends, mut slope) = ([x - h, x + h], [1.0]);
                with_form!(curve, S => {
                    apply::<S>(Level::taken(), &mut ends);
                    chain::<S>(Level::taken(), &[x], &mut slope);
                });
                let want = (ends[1] - ends[0]) / (2.0 * h);
                assert!((slope[0] - want).abs() < 2e-4, "{curve:?} at {x}: {} {want}", slope[0]);
            }
        }
    }
}
