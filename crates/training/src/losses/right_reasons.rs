//! Right for the right reasons: a loss that asks a model not to look where the answer is not.
//!
//! # Idea
//! Of case `i` of `n` it is known which numbers of the input are no evidence: `a_i` is 1 there and 0 on the evidence. With `l_i(x)` the sum of the log-probabilities of all answers there are, the loss gets
//!
//! ```text
//! lambda R,   R = 1/n sum_i |a_i * dl_i/dx|^2
//! ```
//!
//! Its gradient takes derivatives of derivatives, which Burn does not take. But it is one along a direction: with `v_i = a_i^2 * dl_i/dx`, held fixed,
//!
//! ```text
//! dR/dw = 2/n sum_i v_i . d/dx dl_i/dw  =  2/n sum_i d/dt dl_i/dw at x_i + t v_i, t = 0
//!       ~ 2/n sum_i c_i (dl_i/dw at x_i + h v_i/m_i  -  dl_i/dw at x_i - h v_i/m_i),   c_i = m_i / 2h,  m_i the largest |v_i|
//! ```
//!
//! which is the plain gradient of a difference of two log-probabilities (Pearlmutter 1994). No number of the input moves by more than `h`.
//!
//! # In and out
//! In: what gives `l` of each case from an input `[case, ...]`, with weights that are tracked and with the same that are not; the input; the mask `a` of its shape. Out: a [`Term`]: `loss`, to be added to the loss of answers, whose *gradient* is that of `lambda R` (its
//! value is none), and `penalty`, which is `R`.
//!
//! # Settings
//! - `lambda`: 1, zero or more. What is right hangs on the scale of the input and of the log-probabilities: watch `penalty` fall, and answers stay.
//! - `step`: 0.01, above zero, the `h`. The difference is off by its square; too small a step leaves rounding.
//!
//! # Cost
//! A pass and its gradient of the input; two passes more, whose gradients are part of the step: so that a step takes about three times what it takes without.
//!
//! # Errors
//! What the passes say; [`AnalysisError::Setting`] for numbers that cannot be; [`AnalysisError::Input`] for a mask of another shape, as many log-probabilities as there are not cases, a gradient that is no number.
//!
//! # When it misleads
//! - Of the right answer's log-probability alone the gradient vanishes where a model is sure, whatever it looks at: a model can learn the wrong reason and pay nothing. Take the sum over all answers, as published.
//! - It holds down the *gradient* where you say so. A model may look there all the same where its gradient is flat, and methods that go further than a gradient may show it.
//! - A mask that leaves out evidence teaches the model not to see it.
//! - That maps lie on the evidence afterwards is what was asked for, and no proof of anything: look at answers on inputs where the wrong reason points the other way.
//!
//! # Agreement
//! torch 2.15 differentiating twice, on a network of two layers and `tanh` in single precision, five cases: gradients of all weights within 1e-3 of the largest. Tested: of a sum of cubes the closed form; without a mask
//! the gradient is none.
//!
//! # Reference
//! Ross, Hughes, Doshi-Velez: Right for the Right Reasons. IJCAI 2017. <https://arxiv.org/abs/1703.03717>. The product with a Hessian: Pearlmutter: Fast Exact Multiplication
//! by the Hessian. Neural Computation 1994.

use burn::tensor::Tensor;
use mmlens_core::finding::finite;
use mmlens_core::{AnalysisError, AnyTensor};
use serde::{Deserialize, Serialize};

/// What errors are of.
const ID: &str = "right-reasons";

/// The loss.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RightReasons {
    /// How much it weighs.
    pub lambda: f32,
    /// How far the input is moved.
    pub step: f32,
}

impl Default for RightReasons {
    fn default() -> Self {
        Self { lambda: 1.0, step: 0.01 }
    }
}

/// What is added to a loss.
#[derive(Debug)]
pub struct Term {
    /// A number whose gradient is that of the penalty, weighed.
    pub loss: Tensor<1>,
    /// The penalty, not weighed.
    pub penalty: f32,
}

impl RightReasons {
    /// The term of some cases. `looks` and `says` give `l` of each case from the input of all: `looks` with weights that are
    /// not tracked, since what is differentiated once is used up, `says` with those that are learned.
    ///
    /// # Errors
    /// See the module.
    pub fn term<const D: usize, E: From<AnalysisError>>(
        &self,
        looks: impl FnOnce(Tensor<D>) -> Result<Tensor<1>, E>,
        says: impl Fn(Tensor<D>) -> Result<Tensor<1>, E>,
        x: &Tensor<D>,
        outside: &Tensor<D>,
    ) -> Result<Term, E> {
        self.checked()?;
        let x = x.clone().without_autodiff();
        let cases = x.dims().first().copied().unwrap_or(0);
        if outside.dims() != x.dims() {
            let found = format!("it is {:?}, of {:?}", outside.dims(), x.dims());
            return Err(input("a mask as large as the input", found).into());
        }
        let of_each = |said: Tensor<1>| match said.dims() == [cases] {
            true => Ok(said),
            false => {
                let found = format!("they are {:?}, of {cases}", said.dims());
                Err(input("a log-probability for each case", found))
            }
        };
        let leaf = x.clone().autodiff().require_grad();
        let said = of_each(looks(leaf.clone())?)?;
        let grads = said.sum().backward();
        let grad = leaf
            .grad(&grads)
            .ok_or_else(|| input("log-probabilities that depend on the input", "they do not"))?;
        let masked = grad * outside.clone().without_autodiff();
        let penalty = masked.clone().square().sum().div_scalar(cases.max(1) as f32);
        let penalty = number(penalty)?;
        let along = masked * outside.clone().without_autodiff();
        let rest: usize = x.dims().iter().skip(1).product();
        let largest: Tensor<2> = along.clone().abs().reshape([cases, rest]).max_dim(1);
        // Where nothing is held down nothing moves.
        let unit = along.reshape([cases, rest]) / largest.clone().clamp_min(f32::MIN_POSITIVE);
        let moved: Tensor<D> = unit.mul_scalar(self.step).reshape(x.dims());
        let apart = of_each(says(x.clone() + moved.clone())?)? - of_each(says(x - moved)?)?;
        let weights: Tensor<1> =
            largest.reshape([cases]).mul_scalar(self.lambda / (self.step * cases.max(1) as f32));
        Ok(Term { loss: (apart * weights.autodiff()).sum(), penalty })
    }
}

impl RightReasons {
    fn checked(&self) -> Result<(), AnalysisError> {
        let Self { lambda, step } = *self;
        let wrong = |setting, found: f32, expected| {
            Err(AnalysisError::Setting { method: ID, setting, found: found.to_string(), expected })
        };
        match (lambda >= 0.0 && lambda.is_finite(), step > 0.0 && step.is_finite()) {
            (true, true) => Ok(()),
            (false, _) => wrong("lambda", lambda, "it must be zero or more"),
            (true, false) => wrong("step", step, "it must be above 0"),
        }
    }
}

fn input(needs: &'static str, found: impl Into<String>) -> AnalysisError {
    AnalysisError::Input { method: ID, needs: needs.into(), found: found.into() }
}

fn number(x: Tensor<1>) -> Result<f32, AnalysisError> {
    let values = AnyTensor::new(x).to_values()?;
    finite(&values).map_err(|error| input("gradients that are finite", error.to_string()))?;
    Ok(values.first().copied().unwrap_or_default())
}
