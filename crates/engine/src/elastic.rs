//! Sparse logistic regression: the elastic net, in double precision.
//!
//! For rows `x_i` of class `c_i` the weights `w` and intercepts `b` make least
//!
//! ```text
//! (1/n) sum_i -ln p(c_i | x_i) + lambda (alpha |w|_1 + (1 - alpha) / 2 |w|^2),     p(. | x_i) = softmax(o_i + w x_i + b)
//! ```
//!
//! where `o_i` are scores that are given, or zero. Intercepts are not penalised, and two classes have one vector, that of the second against the first. scikit-learn's `LogisticRegression` (saga) minimises
//! the same with `l1_ratio = alpha`, `C = 1 / (n lambda)`.
//!
//! Classes take turns: the loss of one is replaced by the parabola that touches it, of which coordinates are set to their best one after the other; the step is halved until the loss itself goes down (Friedman,
//! Hastie, Tibshirani: Regularization Paths for Generalized Linear Models via Coordinate Descent, 2010). It has converged when no condition of optimality is missed by more than the tolerance.

use mmlens_core::{AnalysisError, Ended};

use crate::logistic::vectors;
use crate::{Classed, Limits, Logistic};

/// How strong the penalty is, and which part of it is on magnitudes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Penalty {
    /// How strong.
    pub lambda: f64,
    /// The share of the penalty that is on magnitudes; the rest is on squares.
    pub alpha: f64,
}

/// A row in which the loss curves less than this counts as if it curved so much.
const CURVED: f64 = 1e-5;
/// A step is halved so many times at most.
const HALVED: usize = 40;
/// So many rounds over the coordinates of one parabola.
const ROUNDS: usize = 100;

/// Rows to learn from, column by column.
#[derive(Debug, Clone)]
pub struct ElasticNet<'a> {
    rows: &'a Classed,
    columns: Vec<f64>,
    /// Of each row a number for each vector; none for zero.
    offsets: &'a [f64],
}

/// What has been found so far.
struct State {
    model: Logistic,
    /// Of each row the score of each vector.
    scores: Vec<f64>,
}

impl<'a> ElasticNet<'a> {
    /// Of rows of at least two classes; of each row a number for each vector, or none at all, is given beforehand.
    #[must_use]
    pub fn new(rows: &'a Classed, offsets: &'a [f64]) -> Self {
        let (n, width) = (rows.labels.len(), rows.width);
        let mut columns = vec![0.0; n * width];
        for (row, values) in rows.values.chunks_exact(width.max(1)).enumerate() {
            for (column, value) in values.iter().enumerate() {
                if let Some(slot) = columns.get_mut(column * n + row) {
                    *slot = *value;
                }
            }
        }
        Self { rows, columns, offsets }
    }

    fn n(&self) -> usize {
        self.rows.labels.len()
    }

    fn count(&self) -> usize {
        vectors(self.rows.classes)
    }

    fn column(&self, at: usize) -> &[f64] {
        let n = self.n();
        self.columns.get(at * n..(at + 1) * n).unwrap_or_default()
    }

    /// No weights, and the intercepts that are best then.
    ///
    /// # Errors
    /// As [`ElasticNet::fit`].
    pub fn start(&self, method: &'static str, limits: Limits) -> Result<Logistic, AnalysisError> {
        let zero = Logistic {
            weights: vec![vec![0.0; self.rows.width]; self.count()],
            intercepts: vec![0.0; self.count()],
        };
        let penalty = Penalty { lambda: f64::INFINITY, alpha: 1.0 };
        Ok(self.fit(method, penalty, limits, &zero, &mut |_| Ok(()))?.0)
    }

    /// The least `lambda` at which no weight is needed, from a model without weights.
    #[must_use]
    pub fn largest_lambda(&self, alpha: f64, start: &Logistic) -> f64 {
        let state = self.state(start.clone());
        let residuals = self.residuals(&state);
        let n = self.n().max(1) as f64;
        let mut most = 0.0_f64;
        for column in 0..self.rows.width {
            for class in 0..self.count() {
                let slope = self.pull(column, class, &residuals) / n;
                most = most.max(slope.abs()); // no NaN: finite rows
            }
        }
        most / alpha
    }

    /// The minimum, from a model on; `each` is told of every round over the classes, and may end the search with an error.
    ///
    /// # Errors
    /// What `each` says; [`AnalysisError::NotFinite`] for rows in which the loss is no number.
    ///
    /// # Cost
    /// `2 x rows x width x vectors` operations for each round, and as many for each coordinate that is not zero of each parabola. Memory: twice the rows.
    pub fn fit(
        &self,
        method: &'static str,
        penalty: Penalty,
        limits: Limits,
        from: &Logistic,
        each: &mut dyn FnMut(usize) -> Result<(), AnalysisError>,
    ) -> Result<(Logistic, Ended), AnalysisError> {
        let mut state = self.state(from.clone());
        let mut value = self.value(&state, penalty);
        if !value.is_finite() {
            let (table, at) = ("what is to be made least".to_owned(), "the start".to_owned());
            return Err(AnalysisError::NotFinite {
                method: method.to_owned(),
                table,
                at,
                found: value as f32,
            });
        }
        let (mut steps, mut missed) = (0, self.missed(&state, penalty));
        let (mut least, mut since) = (missed, 0);
        while missed > limits.gradient && steps < limits.steps && since < PATIENT {
            for class in 0..self.count() {
                value = self.step(&mut state, class, penalty, value);
            }
            if self.count() > 1 && penalty.lambda.is_finite() && centre(&mut state.model, penalty.alpha) {
                value = self.value(&state, penalty);
            }
            missed = self.missed(&state, penalty);
            since = if missed < least { 0 } else { since + 1 };
            least = least.min(missed); // no NaN: finite rows
            steps += 1;
            each(steps)?;
        }
        let State { mut model, .. } = state;
        if model.intercepts.len() > 1 {
            // The same added to all says the same.
            let mean = model.intercepts.iter().sum::<f64>() / model.intercepts.len() as f64;
            model.intercepts.iter_mut().for_each(|own| *own -= mean);
        }
        let ended = match missed <= limits.gradient {
            true => Ended::Converged { steps, gradient: missed },
            false => Ended::Stopped { steps, gradient: missed },
        };
        Ok((model, ended))
    }

    fn state(&self, model: Logistic) -> State {
        let (n, count) = (self.n(), self.count());
        let mut scores =
            if self.offsets.len() == n * count { self.offsets.to_vec() } else { vec![0.0; n * count] };
        for (class, (weights, intercept)) in model.weights.iter().zip(&model.intercepts).enumerate() {
            let own = scores.iter_mut().skip(class).step_by(count.max(1));
            own.for_each(|score| *score += intercept);
            for (column, weight) in weights.iter().enumerate().filter(|(_, weight)| **weight != 0.0) {
                let own = scores.iter_mut().skip(class).step_by(count.max(1));
                own.zip(self.column(column)).for_each(|(score, x)| *score += weight * x);
            }
        }
        State { model, scores }
    }

    /// Of each row the logarithm of the sum of all classes' exponentials.
    fn log_sum(&self, scores: &[f64]) -> f64 {
        // The first of two classes has the score zero.
        let least = if self.count() == 1 { 0.0 } else { f64::NEG_INFINITY };
        let most = scores.iter().copied().fold(least, f64::max); // no NaN: one makes the sum below NaN
        let first = if self.count() == 1 { (-most).exp() } else { 0.0 };
        most + (first + scores.iter().map(|score| (score - most).exp()).sum::<f64>()).ln()
    }

    /// Whether a row is of the class that a vector stands for.
    fn is(&self, label: usize, class: usize) -> bool {
        label == class + (self.rows.classes - self.count())
    }

    fn loss(&self, scores: &[f64]) -> f64 {
        let count = self.count().max(1);
        let each = scores.chunks_exact(count).zip(&self.rows.labels).map(|(scores, label)| {
            let own = scores.iter().enumerate().find(|(class, _)| self.is(*label, *class));
            self.log_sum(scores) - own.map_or(0.0, |(_, score)| *score)
        });
        each.sum::<f64>() / self.n().max(1) as f64
    }

    fn penalised(penalty: Penalty, weights: &[f64]) -> f64 {
        let Penalty { lambda, alpha } = penalty;
        let sum: f64 = weights.iter().map(|w| alpha * w.abs() + (1.0 - alpha) / 2.0 * w * w).sum();
        if sum == 0.0 { 0.0 } else { lambda * sum }
    }

    fn value(&self, state: &State, penalty: Penalty) -> f64 {
        let of_weights: f64 = state.model.weights.iter().map(|own| Self::penalised(penalty, own)).sum();
        self.loss(&state.scores) + of_weights
    }

    /// Of each row and vector, whether it is of the class, less the probability.
    fn residuals(&self, state: &State) -> Vec<f64> {
        let count = self.count().max(1);
        let mut all = Vec::with_capacity(state.scores.len());
        for (scores, label) in state.scores.chunks_exact(count).zip(&self.rows.labels) {
            let sum = self.log_sum(scores);
            let each = scores.iter().enumerate();
            all.extend(
                each.map(|(class, score)| f64::from(u8::from(self.is(*label, class))) - (score - sum).exp()),
            );
        }
        all
    }

    /// The product of a column with what is left of a class.
    fn pull(&self, column: usize, class: usize, residuals: &[f64]) -> f64 {
        let own = residuals.iter().skip(class).step_by(self.count().max(1));
        own.zip(self.column(column)).map(|(left, x)| left * x).sum()
    }

    /// By how much a condition of optimality is missed at most.
    fn missed(&self, state: &State, penalty: Penalty) -> f64 {
        let (n, count) = (self.n().max(1) as f64, self.count().max(1));
        let residuals = self.residuals(state);
        let mut worst = 0.0_f64;
        for (class, weights) in state.model.weights.iter().enumerate() {
            let free: f64 = residuals.iter().skip(class).step_by(count).sum();
            worst = worst.max((free / n).abs()); // no NaN: finite rows
            if penalty.lambda.is_infinite() {
                continue;
            }
            for (column, weight) in weights.iter().enumerate() {
                worst = worst.max(penalty.missed(-self.pull(column, class, &residuals) / n, *weight)); // no NaN: finite rows
            }
        }
        worst
    }

    /// Makes the value less by the weights of one class; returns it.
    fn step(&self, state: &mut State, class: usize, penalty: Penalty, value: f64) -> f64 {
        let (n, count) = (self.n().max(1) as f64, self.count().max(1));
        let (Some(weights), Some(intercept)) =
            (state.model.weights.get(class).cloned(), state.model.intercepts.get(class).copied())
        else {
            return value;
        };
        let residuals = self.residuals(state);
        let mut left: Vec<f64> = residuals.iter().skip(class).step_by(count).copied().collect();
        let curves: Vec<f64> = left
            .iter()
            .zip(&self.rows.labels)
            .map(|(left, label)| {
                let share = f64::from(u8::from(self.is(*label, class))) - left;
                (share * (1.0 - share)).max(CURVED) // no NaN: a probability
            })
            .collect();
        let steep = curves.iter().sum::<f64>() / n;
        let (mut next, mut next_intercept) = (weights.clone(), intercept);
        let fixed = penalty.lambda.is_infinite();
        let columns = if fixed { 0 } else { self.rows.width };
        let curved = |column: &[f64]| curves.iter().zip(column).map(|(c, x)| c * x * x).sum::<f64>() / n;
        let squares: Vec<f64> = (0..columns).map(|column| curved(self.column(column))).collect();
        let mut active: Vec<usize> = (0..columns).collect();
        for round in 0..ROUNDS {
            // Over all coordinates first and whenever those that are not zero have settled.
            let whole = active.len() == columns;
            let by = left.iter().sum::<f64>() / n / steep;
            next_intercept += by;
            left.iter_mut().zip(&curves).for_each(|(left, curve)| *left -= curve * by);
            let mut moved = steep * by.abs();
            for at in &active {
                let (Some(weight), Some(square)) = (next.get_mut(*at), squares.get(*at).copied()) else {
                    continue;
                };
                if square == 0.0 {
                    continue;
                }
                let column = self.column(*at);
                let slope = left.iter().zip(column).map(|(left, x)| left * x).sum::<f64>() / n;
                let own = penalty.best(slope + square * *weight, square);
                let by = own - *weight;
                if by != 0.0 {
                    *weight = own;
                    let each = left.iter_mut().zip(&curves).zip(column);
                    each.for_each(|((left, curve), x)| *left -= curve * x * by);
                    moved = moved.max(square * by.abs()); // no NaN: finite rows
                }
            }
            let settled = moved < SETTLED;
            if settled && (whole || round + 1 == ROUNDS) {
                break;
            }
            active = match settled {
                true => (0..columns).collect(),
                false => (0..columns).filter(|at| next.get(*at).is_some_and(|w| *w != 0.0)).collect(),
            };
        }
        self.halved(state, class, (&weights, intercept), (&next, next_intercept), (penalty, value))
    }

    /// Goes from one vector to another, or as far as makes the value less; returns it.
    fn halved(
        &self,
        state: &mut State,
        class: usize,
        (weights, intercept): (&[f64], f64),
        (next, next_intercept): (&[f64], f64),
        (penalty, value): (Penalty, f64),
    ) -> f64 {
        let count = self.count().max(1);
        let mut way = vec![next_intercept - intercept; self.n()];
        for (column, (from, to)) in weights.iter().zip(next).enumerate().filter(|(_, (from, to))| from != to)
        {
            way.iter_mut().zip(self.column(column)).for_each(|(way, x)| *way += (to - from) * x);
        }
        let others: f64 = state
            .model
            .weights
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != class)
            .map(|(_, own)| Self::penalised(penalty, own))
            .sum();
        let mut share = 1.0;
        for _ in 0..HALVED {
            let own: Vec<f64> = match share == 1.0 {
                true => next.to_vec(),
                false => weights.iter().zip(next).map(|(from, to)| from + share * (to - from)).collect(),
            };
            let mut scores = state.scores.clone();
            let each = scores.iter_mut().skip(class).step_by(count);
            each.zip(&way).for_each(|(score, way)| *score += share * way);
            let there = self.loss(&scores) + others + Self::penalised(penalty, &own);
            // Near the end what is gained is less than rounding.
            if there <= value + ROUNDING * value.abs() {
                state.scores = scores;
                if let (Some(slot), Some(free)) =
                    (state.model.weights.get_mut(class), state.model.intercepts.get_mut(class))
                {
                    *slot = own;
                    *free = intercept + share * (next_intercept - intercept);
                }
                return there;
            }
            share /= 2.0;
        }
        value
    }
}

/// So much of a value is rounding.
const ROUNDING: f64 = 4.0 * f64::EPSILON;
/// So many rounds without getting nearer are no end in sight.
const PATIENT: usize = 20;
/// Coordinates of a parabola that move its slope by less have settled.
const SETTLED: f64 = 1e-12;

/// The same added to the weights of all classes says the same: what makes the penalty least is taken off. Whether anything was.
///
/// Classes that take turns find that by themselves only as fast as the penalty is strong.
fn centre(model: &mut Logistic, alpha: f64) -> bool {
    let mut moved = false;
    for column in 0..model.weights.first().map_or(0, Vec::len) {
        let own: Vec<f64> = model.weights.iter().filter_map(|own| own.get(column).copied()).collect();
        let shift = middle(&own, alpha);
        if shift != 0.0 {
            moved = true;
            model.weights.iter_mut().filter_map(|own| own.get_mut(column)).for_each(|own| *own -= shift);
        }
    }
    moved
}

/// The `c` that makes `sum over k of alpha |w_k - c| + (1 - alpha) / 2 (w_k - c)^2` least; of several that nearest to zero.
fn middle(weights: &[f64], alpha: f64) -> f64 {
    let n = weights.len() as f64;
    let slope = |at: f64| -> f64 {
        weights
            .iter()
            .filter(|own| **own != at)
            .map(|own| alpha * (at - own).signum() + (1.0 - alpha) * (at - own))
            .sum()
    };
    let mut kinks = weights.to_vec();
    kinks.sort_by(f64::total_cmp); // no NaN: finite rows
    let mut best: Option<f64> = None;
    for at in &kinks {
        let as_high = weights.iter().filter(|own| *own == at).count() as f64;
        // no NaN: finite rows
        if slope(*at).abs() <= alpha * as_high && best.is_none_or(|best| at.abs() < best.abs()) {
            best = Some(*at);
        }
    }
    // Between two weights, where as a whole they pull neither way.
    best.unwrap_or_else(|| {
        let sum: f64 = weights.iter().sum();
        let below = kinks.iter().filter(|at| slope(**at) < 0.0).count() as f64;
        (sum - alpha * (2.0 * below - n) / (1.0 - alpha)) / n
    })
}

impl Penalty {
    /// The best weight of a parabola with this curvature and this slope at zero.
    fn best(self, slope: f64, square: f64) -> f64 {
        let least = self.lambda * self.alpha;
        let over = (slope.abs() - least).max(0.0); // no NaN: finite rows
        over * slope.signum() / (square + self.lambda * (1.0 - self.alpha))
    }

    /// By how much a weight misses its condition, with the slope of the loss along it.
    fn missed(self, slope: f64, weight: f64) -> f64 {
        let Self { lambda, alpha } = self;
        let slope = slope + lambda * (1.0 - alpha) * weight;
        match weight == 0.0 {
            true => (slope.abs() - lambda * alpha).max(0.0), // no NaN: finite rows
            false => (slope + lambda * alpha * weight.signum()).abs(),
        }
    }
}

#[cfg(test)]
mod tests {
    use mmlens_core::Seed;
    use mmlens_core::finding::Tolerance;

    use super::{ElasticNet, Penalty, middle};
    use crate::{Classed, Limits, Logistic, normal};

    const LIMITS: Limits = Limits { steps: 2000, gradient: 1e-9 };

    fn drawn(classes: usize, n: usize, width: usize, seed: u64) -> Classed {
        let labels: Vec<usize> = (0..n).map(|i| i % classes).collect();
        let value = |i: usize, j: usize| {
            let signal = if j < classes && j == labels[i] { 1.0 } else { 0.0 };
            normal(Seed(seed).at((i * width + j) as u64)) + signal
        };
        let values = (0..n).flat_map(|i| (0..width).map(move |j| (i, j))).map(|(i, j)| value(i, j)).collect();
        Classed { values, width, labels, classes }
    }

    fn fit(rows: &Classed, penalty: Penalty, offsets: &[f64]) -> Logistic {
        let net = ElasticNet::new(rows, offsets);
        let start = net.start("test", LIMITS).unwrap();
        let (found, ended) = net.fit("test", penalty, LIMITS, &start, &mut |_| Ok(())).unwrap();
        assert!(ended.converged(), "{ended}");
        found
    }

    /// Without a penalty on magnitudes it is the logistic regression that is found another way.
    #[test]
    fn squares_alone_are_ridge_regression() {
        for classes in [2, 3, 5] {
            let rows = drawn(classes, 60, 6, 3);
            let ours = fit(&rows, Penalty { lambda: 1.0 / (0.7 * 60.0), alpha: 0.0 }, &[]);
            let limits = Limits { steps: 1000, gradient: 1e-11 };
            let (other, _) = Logistic::fit("test", &rows, 0.7, limits, &mut |_| Ok(())).unwrap();
            let bound = Tolerance::absolute(1e-6);
            bound.check("weights", &ours.weights.concat(), &other.weights.concat()).unwrap();
            bound.check("intercepts", &ours.intercepts, &other.intercepts).unwrap();
        }
    }

    /// At the largest penalty no weight is needed, just below it one is; the sparser, the stronger it is.
    #[test]
    fn weights_come_one_after_the_other() {
        for classes in [2, 4] {
            let rows = drawn(classes, 80, 9, 5);
            let net = ElasticNet::new(&rows, &[]);
            let start = net.start("test", LIMITS).unwrap();
            let most = net.largest_lambda(0.9, &start);
            let count = |lambda: f64| {
                let found = fit(&rows, Penalty { lambda, alpha: 0.9 }, &[]);
                found.weights.iter().flatten().filter(|w| **w != 0.0).count()
            };
            assert_eq!((count(1.0001 * most), count(0.9999 * most)), (0, 1));
            let counts: Vec<usize> =
                [0.5, 0.2, 0.05, 0.001].iter().map(|share| count(share * most)).collect();
            assert!(counts.is_sorted() && counts[0] < counts[3], "{counts:?}");
        }
    }

    /// No other number taken off makes the penalty less, on a fine grid around it.
    #[test]
    fn the_middle_is_that_of_the_penalty() {
        let mut between = 0;
        for case in 0..200 {
            let weights: Vec<f64> = (0..2 + case % 5)
                .map(
                    |at| if (case + at) % 4 == 0 { 0.0 } else { normal(Seed(1).at((10 * case + at) as u64)) },
                )
                .collect();
            for alpha in [0.0, 0.3, 0.99, 1.0] {
                let penalty = |c: f64| -> f64 {
                    weights
                        .iter()
                        .map(|w| alpha * (w - c).abs() + (1.0 - alpha) / 2.0 * (w - c).powi(2))
                        .sum()
                };
                let found = middle(&weights, alpha);
                between += usize::from(!weights.contains(&found));
                for step in -400..=400 {
                    let other = penalty(found + f64::from(step) / 100.0);
                    assert!(penalty(found) <= other + 1e-12, "{weights:?} {alpha}: {found}");
                }
            }
        }
        assert!(between > 100, "{between}");
    }

    /// With the scores of a model given, nothing is left to be learned of the same penalty-free fit.
    #[test]
    fn what_is_given_is_not_learned_again() {
        let rows = drawn(3, 90, 4, 8);
        let first = fit(&rows, Penalty { lambda: 1e-4, alpha: 0.0 }, &[]);
        let offsets: Vec<f64> = rows
            .values
            .chunks(4)
            .flat_map(|row| {
                let score = |(w, b): (&Vec<f64>, &f64)| crate::dot(w, row) + b;
                first.weights.iter().zip(&first.intercepts).map(score).collect::<Vec<_>>()
            })
            .collect();
        let second = fit(&rows, Penalty { lambda: 0.3, alpha: 1.0 }, &offsets);
        assert!(second.weights.iter().flatten().all(|w| *w == 0.0), "{second:?}");
    }
}
