//! Logistic regression, in double precision.
//!
//! For rows `x_i` of class `c_i` the weights `w` and intercepts `b` make least
//!
//! ```text
//! (1/n) sum_i -ln p(c_i | x_i) + |w|^2 / (2 C n),     p(. | x) = softmax(w x + b)
//! ```
//!
//! as scikit-learn's `LogisticRegression` does: `C` is the inverse strength of the penalty, intercepts are not penalised, and two
//! classes have one vector of weights, that of the second against the first.

use mmlens_core::{AnalysisError, Ended};

use crate::lbfgs::{Limits, minimise};

/// Rows in double precision, `[rows, width]`, with the class of each.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Classed {
    /// Rows, one after the other.
    pub values: Vec<f64>,
    /// Numbers of a row.
    pub width: usize,
    /// The class of each row.
    pub labels: Vec<usize>,
    /// Classes there are, at least two.
    pub classes: usize,
}

impl Classed {
    /// Rows with their classes.
    fn each(&self) -> impl Iterator<Item = (&[f64], usize)> {
        self.values.chunks_exact(self.width.max(1)).zip(self.labels.iter().copied())
    }
}

/// Classes as a softmax of linear functions.
#[derive(Debug, Clone, PartialEq)]
pub struct Logistic {
    /// A vector for each class; of two classes for the second alone.
    pub weights: Vec<Vec<f64>>,
    /// A number for each vector; of more than two classes they sum to zero.
    pub intercepts: Vec<f64>,
}

/// So many vectors of weights tell so many classes apart.
#[must_use]
pub const fn vectors(classes: usize) -> usize {
    if classes == 2 { 1 } else { classes }
}

impl Logistic {
    /// Learns from rows, from zero on; `each` is told of every step.
    ///
    /// # Errors
    /// As [`minimise`](crate::minimise).
    ///
    /// # Cost
    /// For each value `4 x rows x width x vectors` multiplications and additions.
    pub fn fit(
        method: &'static str,
        rows: &Classed,
        inverse_strength: f64,
        limits: Limits,
        each: &mut dyn FnMut(usize) -> Result<(), AnalysisError>,
    ) -> Result<(Self, Ended), AnalysisError> {
        let (count, width) = (vectors(rows.classes), rows.width);
        let n = rows.labels.len().max(1) as f64;
        let penalty = 1.0 / (inverse_strength * n);
        let mut value = |at: &[f64], gradient: &mut [f64]| {
            let (weights, intercepts) = at.split_at(count * width);
            let (of_weights, of_intercepts) = gradient.split_at_mut(count * width);
            for (gradient, weight) in of_weights.iter_mut().zip(weights) {
                *gradient = penalty * weight;
            }
            of_intercepts.fill(0.0);
            let mut loss = 0.0;
            for (row, label) in rows.each() {
                let scores = weights.chunks_exact(width.max(1)).zip(intercepts).map(|(w, b)| dot(w, row) + b);
                let logs = log_shares(scores.collect());
                loss -= logs.get(label).copied().unwrap_or(f64::NAN);
                // The first of two classes has no vector of its own.
                let first = logs.len() - count;
                let vectors = of_weights.chunks_exact_mut(width.max(1)).zip(of_intercepts.iter_mut());
                for ((class, log), (vector, intercept)) in logs.iter().enumerate().skip(first).zip(vectors) {
                    let off = (log.exp() - f64::from(u8::from(class == label))) / n;
                    vector.iter_mut().zip(row).for_each(|(gradient, x)| *gradient += off * x);
                    *intercept += off;
                }
            }
            loss / n + 0.5 * penalty * dot(weights, weights)
        };
        let start = vec![0.0; count * (width + 1)];
        let found = minimise(method, start, limits, &mut value, each)?;
        let (weights, intercepts) = found.at.split_at(count * width);
        // The same added to all intercepts of more than two classes says the same: their sum is zero but for rounding, which steep
        // penalties make large.
        let mean = if count == 1 { 0.0 } else { intercepts.iter().sum::<f64>() / count as f64 };
        let intercepts = intercepts.iter().map(|own| own - mean).collect();
        let weights = weights.chunks_exact(width.max(1)).map(<[f64]>::to_vec).collect();
        Ok((Self { weights, intercepts }, found.ended))
    }

    /// The logarithm of the probability of each class.
    pub fn log_probabilities(&self, row: &[f64]) -> Vec<f64> {
        let scores = self.weights.iter().zip(&self.intercepts).map(|(w, b)| dot(w, row) + b);
        log_shares(scores.collect())
    }
}

/// The logarithm of the softmax; one score is that of the second of two classes, and the first has zero.
fn log_shares(mut scores: Vec<f64>) -> Vec<f64> {
    if scores.len() == 1 {
        scores.insert(0, 0.0);
    }
    // no NaN: one would make the sum, and so every share, NaN
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum = most + scores.iter().map(|score| (score - most).exp()).sum::<f64>().ln();
    scores.iter_mut().for_each(|score| *score -= sum);
    scores
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use mmlens_core::finding::Tolerance;

    use super::{Classed, Logistic, log_shares};
    use crate::lbfgs::Limits;

    #[test]
    fn shares_sum_to_one_whatever_their_size() {
        for scores in [vec![0.3], vec![-800.0], vec![1e3, 1e3 - 1.0, -5e2], vec![0.0, 0.0, 0.0]] {
            let sum: f64 = log_shares(scores.clone()).iter().map(|log| log.exp()).sum();
            assert!((sum - 1.0).abs() < 1e-12, "{scores:?}: {sum}");
        }
    }

    /// Two rows at 1 and -1, one of each class: by symmetry `b = 0`, and the slope at the least value says
    /// `w / C = 2 / (1 + e^w)`.
    #[test]
    fn two_rows_have_their_equation() {
        let rows = Classed { values: vec![-1.0, 1.0], width: 1, labels: vec![0, 1], classes: 2 };
        let limits = Limits { steps: 100, gradient: 1e-12 };
        let (found, ended) = Logistic::fit("test", &rows, 3.0, limits, &mut |_| Ok(())).unwrap();
        assert!(ended.converged(), "{ended}");
        let w = found.weights[0][0];
        assert!((w / 3.0 - 2.0 / (1.0 + w.exp())).abs() < 1e-9, "{w}");
        assert!(found.intercepts[0].abs() < 1e-9);
    }

    /// With next to no freedom for weights, intercepts alone are left: the shares of the classes.
    #[test]
    fn without_weights_the_shares_of_the_classes_are_left() {
        let labels = vec![0, 0, 0, 1, 1, 2, 2, 2, 2, 2];
        let values = (0..20).map(|i| f64::from(i * 7 % 11) - 5.0).collect();
        let rows = Classed { values, width: 2, labels, classes: 3 };
        let limits = Limits { steps: 200, gradient: 1e-10 };
        let (found, ended) = Logistic::fit("test", &rows, 1e-9, limits, &mut |_| Ok(())).unwrap();
        let shares: Vec<f64> = found.log_probabilities(&[1.0, -2.0]).iter().map(|log| log.exp()).collect();
        Tolerance::absolute(1e-6).check("shares", &shares, &[0.3, 0.2, 0.5]).unwrap();
        let sum: f64 = found.intercepts.iter().sum();
        assert!(sum.abs() < 1e-9, "{sum:e} after {ended} of {found:?}");
    }
}
