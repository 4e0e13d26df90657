//! Nonlinearities, alone and as gates.

use burn::tensor::Tensor;

use crate::plain;

/// A nonlinearity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    /// `x Φ(x)`, with the error function.
    Gelu,
    /// `x σ(2u)` with `u = sqrt(2/π) (x + 0.044715 x³)`: GELU by its tanh approximation, `x (1 + tanh u) / 2`.
    GeluTanh,
    /// `x σ(1.702 x)`.
    QuickGelu,
    /// `x σ(x)`.
    Silu,
}

impl Curve {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Gelu, Self::GeluTanh, Self::QuickGelu, Self::Silu];
}

/// `f(x)`, element by element, for any shape. In place where nothing else holds `x`.
///
/// The derivative is that of the formula itself, not of an approximation.
pub fn activate<const D: usize>(curve: Curve, x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    let x = match crate::fast::activation::activate(curve, x) {
        Ok(y) => return y,
        Err(x) => x,
    };
    plain::activate(curve, x)
}

/// `f(gate) * x`, element by element, for two tensors of one shape (Shazeer 2020). In place where nothing else holds one of them.
pub fn gate<const D: usize>(curve: Curve, gate: Tensor<D>, x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    let (gate, x) = match crate::fast::activation::gate(curve, gate, x) {
        Ok(y) => return y,
        Err(both) => both,
    };
    plain::gate(curve, gate, x)
}
