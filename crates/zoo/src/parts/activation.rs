//! Nonlinearities, by the names configs give them.

use burn::tensor::{Tensor, activation};
use mmlens_kernels::{Curve, activate, gate};

use crate::ZooError;

/// A nonlinearity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// `x Φ(x)`, with the error function (Hendrycks and Gimpel 2016).
    Gelu,
    /// GELU by its tanh approximation.
    GeluTanh,
    /// `x σ(1.702 x)`, as CLIP was trained with.
    QuickGelu,
    /// `x σ(x)`.
    Silu,
    /// `max(x, 0)`.
    Relu,
}

impl Act {
    const NAMES: [(&'static str, Self); 8] = [
        ("gelu", Self::Gelu),
        ("gelu_new", Self::GeluTanh),
        ("gelu_fast", Self::GeluTanh),
        ("gelu_pytorch_tanh", Self::GeluTanh),
        ("quick_gelu", Self::QuickGelu),
        ("silu", Self::Silu),
        ("swish", Self::Silu),
        ("relu", Self::Relu),
    ];

    /// The nonlinearity a config calls `name`.
    ///
    /// # Errors
    /// [`ZooError::Unsupported`] for a name not known here, with those that are.
    pub fn named(field: &str, name: &str) -> Result<Self, ZooError> {
        Self::NAMES.iter().find(|(n, _)| *n == name).map(|(_, act)| *act).ok_or_else(|| {
            ZooError::Unsupported {
                field: field.to_owned(),
                found: name.to_owned(),
                supported: Self::NAMES.iter().map(|(n, _)| *n).collect::<Vec<_>>().join(", "),
            }
        })
    }

    /// The curve that is fused on the CPU, if it is one.
    fn curve(self) -> Option<Curve> {
        match self {
            Self::Gelu => Some(Curve::Gelu),
            Self::GeluTanh => Some(Curve::GeluTanh),
            Self::QuickGelu => Some(Curve::QuickGelu),
            Self::Silu => Some(Curve::Silu),
            Self::Relu => None,
        }
    }

    /// Applies it element by element.
    pub fn apply<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self.curve() {
            Some(curve) => activate(curve, x),
            None => activation::relu(x),
        }
    }

    /// `act(gate) * x`, element by element.
    pub fn gate<const D: usize>(self, branch: Tensor<D>, x: Tensor<D>) -> Tensor<D> {
        match self.curve() {
            Some(curve) => gate(curve, branch, x),
            None => self.apply(branch) * x,
        }
    }
}
