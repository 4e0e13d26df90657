//! How the score with the picture and that without become one, and what is left where one branch says a constant.

use serde::{Deserialize, Serialize};

/// Between minus this and this a constant is fitted.
const BOUND: f64 = 20.0;
/// Constants whose cross-entropies differ by less than this fit as well.
const ALIKE: f64 = 1e-4;
/// Inside a logarithm, as in the reference.
const EPSILON: f64 = 1e-12;

/// How one score is made of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fusion {
    /// The harmonic one.
    Hm,
    /// The logarithm of the sigmoid of the sum.
    Sum,
    /// That of RUBi: a mask.
    Rubi,
}

impl Fusion {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Hm, Self::Sum, Self::Rubi];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hm => "hm",
            Self::Sum => "sum",
            Self::Rubi => "rubi",
        }
    }

    /// Of the score with the picture and that without.
    #[must_use]
    pub fn of(self, with: f64, without: f64) -> f64 {
        match self {
            Self::Hm => {
                let product = sigmoid(with) * sigmoid(without);
                (product + EPSILON).ln() - product.ln_1p()
            }
            Self::Sum => (sigmoid(with + without) + EPSILON).ln(),
            Self::Rubi => with * sigmoid(without),
        }
    }

    /// For each answer its total indirect effect, with a constant for the blocked branch.
    #[must_use]
    pub fn tie(self, with: &[f64], without: &[f64], constant: f64) -> Vec<f64> {
        let one = |(k, q): (&f64, &f64)| self.of(*k, *q) - self.of(constant, *q);
        with.iter().zip(without).map(one).collect()
    }

    /// For each answer its natural direct effect: what the words do by themselves.
    #[must_use]
    pub fn nde(self, without: &[f64], constant: f64) -> Vec<f64> {
        without.iter().map(|q| self.of(constant, *q) - self.of(constant, constant)).collect()
    }

    pub(super) fn fused(self, with: &[f64], without: &[f64]) -> Vec<f64> {
        with.iter().zip(without).map(|(k, q)| self.of(*k, *q)).collect()
    }

    /// The constant that brings what is said with a blocked branch nearest to what is said, in the mean cross-entropy, between -20 and 20.
    #[must_use]
    pub fn constant(self, cases: &[Scores]) -> Constant {
        let said: Vec<Vec<f64>> =
            cases.iter().map(|own| logs(&self.fused(&own.with, &own.without))).collect();
        let loss = |constant: f64| -> f64 {
            let one = |(said, own): (&Vec<f64>, &Scores)| -> f64 {
                let blocked: Vec<f64> = own.without.iter().map(|q| self.of(constant, *q)).collect();
                -said.iter().zip(logs(&blocked)).map(|(p, q)| p.exp() * q).sum::<f64>()
            };
            said.iter().zip(cases).map(one).sum::<f64>() / cases.len().max(1) as f64
        };
        // The best of a grid, then a section around it: there may be more than one hollow.
        let step = BOUND / 200.0;
        let grid: Vec<f64> = (0..=400).map(|i| -BOUND + step * f64::from(i)).collect();
        let losses: Vec<(f64, f64)> = grid.iter().map(|c| (loss(*c), *c)).collect();
        let best = losses.iter().copied().min_by(|a, b| a.0.total_cmp(&b.0)); // no NaN: finite scores
        let (least, middle) = best.unwrap_or_default();
        let alike = losses.iter().filter(|(loss, _)| *loss <= least + ALIKE).count();
        let (mut low, mut high) = ((middle - step).max(-BOUND), (middle + step).min(BOUND)); // no NaN: a grid
        let golden = (5.0_f64.sqrt() - 1.0) / 2.0;
        for _ in 0..60 {
            let (a, b) = (high - golden * (high - low), low + golden * (high - low));
            if loss(a) <= loss(b) { high = b } else { low = a }
        }
        let value = (low + high) / 2.0;
        Constant { value, inside: value.abs() < BOUND - step, span: alike.saturating_sub(1) as f64 * step }
    }
}

/// A constant that was fitted, or given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Constant {
    /// What a blocked branch says.
    pub value: f64,
    /// Whether it lies inside of what was searched.
    pub inside: bool,
    /// How wide the constants lie apart that fit as well.
    pub span: f64,
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Logarithms of the softmax.
fn logs(scores: &[f64]) -> Vec<f64> {
    let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max); // no NaN: finite scores
    let sum: f64 = scores.iter().map(|score| (score - highest).exp()).sum();
    scores.iter().map(|score| score - highest - sum.ln()).collect()
}

/// Scores of the answers of a case, with the picture and without it.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    /// With the picture.
    pub with: Vec<f64>,
    /// Without it.
    pub without: Vec<f64>,
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn fusions_by_hand() {
        // sigmoid(0) is 1/2, of both 1/4: ln(1/4) - ln(5/4).
        assert!((Fusion::Hm.of(0.0, 0.0) - 0.2_f64.ln()).abs() < 1e-10);
        assert!((Fusion::Sum.of(1.0, -1.0) - 0.5_f64.ln()).abs() < 1e-10);
        assert!((Fusion::Rubi.of(3.0, 0.0) - 1.5).abs() < 1e-12);
        assert_eq!(Fusion::Rubi.tie(&[3.0], &[0.0], 1.0), [1.0]);
        assert_eq!(Fusion::Rubi.nde(&[0.0], 0.0), [0.0]);
    }

    #[test]
    fn a_prior_that_says_all_is_fitted_by_the_constant_that_leaves_it() {
        // What is said with the picture is a constant more: blocking it with that constant changes nothing.
        let case = |a: f64| Scores { with: vec![1.5, 1.5, 1.5], without: vec![a, -a, 0.3] };
        for fusion in Fusion::ALL {
            let constant = fusion.constant(&[case(1.0), case(-0.7)]);
            assert!((constant.value - 1.5).abs() < 1e-5 && constant.inside, "{fusion:?}: {constant:?}");
        }
    }
}
