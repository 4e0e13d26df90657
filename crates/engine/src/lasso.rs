//! Sparse non-negative coding: the lasso, in double precision.
//!
//! For a target `z` and atoms `c_j` the weights `w >= 0` make least
//!
//! ```text
//! |z - sum_j w_j c_j|^2 + penalty * sum_j w_j
//! ```
//!
//! scikit-learn's `Lasso(alpha, positive=True)` divides the square by twice the numbers `d` of the target: its `alpha` is `penalty / (2 d)`.
//!
//! Coordinates are set one after the other to their best, among those that are not zero and those that would rise, in the order of their numbers, until no condition
//! of optimality is missed by more than a tolerance.

use crate::{Matrix, dot};

/// A code, and how well it keeps the conditions of optimality.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Code {
    /// Atoms with a weight above zero, by number, in ascending order.
    pub weights: Vec<(usize, f64)>,
    /// By how much a condition of optimality is missed at most: `c_j . r = penalty / 2` where a weight is above zero, no more where it is zero, with what is left
    /// `r = z - sum_j w_j c_j`.
    pub missed: f64,
    /// Rounds over the coordinates.
    pub rounds: usize,
}

/// When a search ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CodeLimits {
    /// The most rounds over the coordinates.
    pub rounds: usize,
    /// How far a condition may be missed.
    pub missed: f64,
}

impl Code {
    /// The best code of a target, from another on.
    ///
    /// # Cost
    /// Of `V` atoms of `d` numbers, of which `a` are looked at, `2 V d` for each set of them and `2 a^2` for each round.
    #[must_use]
    pub fn of(target: &[f64], atoms: &Matrix, penalty: f64, limits: CodeLimits, from: &Self) -> Self {
        let half = penalty / 2.0;
        let mut active: Vec<usize> = from.weights.iter().map(|(at, _)| *at).collect();
        let mut weights: Vec<f64> = from.weights.iter().map(|(_, weight)| *weight).collect();
        let mut rounds = 0;
        let missed = loop {
            let (gram, own) = sums(target, atoms, &active);
            while rounds < limits.rounds {
                rounds += 1;
                let mut moved = 0.0_f64;
                for at in 0..active.len() {
                    let row = &gram[at * active.len()..(at + 1) * active.len()];
                    let square = row[at];
                    let before = weights[at];
                    let pull = own[at] - dot(row, &weights) + square * before - half;
                    weights[at] = if square > 0.0 { (pull / square).max(0.0) } else { 0.0 }; // no NaN: finite atoms
                    moved = moved.max((weights[at] - before).abs() * square); // no NaN: finite atoms
                }
                if moved <= 0.1 * limits.missed {
                    break;
                }
            }
            // What falls to zero is looked at again with all others.
            let kept: Vec<bool> = weights.iter().map(|weight| *weight > 0.0).collect();
            let keep = |at: usize| kept.get(at).copied().unwrap_or(false);
            active =
                active.into_iter().enumerate().filter(|(at, _)| keep(*at)).map(|(_, atom)| atom).collect();
            weights.retain(|weight| *weight > 0.0);
            let left = residual(target, atoms, &active, &weights);
            let (mut missed, mut rising) = (0.0_f64, Vec::new());
            for (at, atom) in atoms.rows().enumerate() {
                let pull = dot(atom, &left) - half;
                let own = match active.binary_search(&at) {
                    Ok(_) => pull.abs(),
                    Err(_) => pull.max(0.0), // no NaN: finite atoms
                };
                missed = missed.max(own); // no NaN: finite atoms
                if own > limits.missed && active.binary_search(&at).is_err() {
                    rising.push((at, own));
                }
            }
            if missed <= limits.missed || rounds >= limits.rounds {
                break missed;
            }
            // Those that would rise most, so that few are looked at together.
            rising.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))); // no NaN: finite atoms
            rising.truncate(10.max(active.len()));
            let mut all: Vec<(usize, f64)> = active.into_iter().zip(weights).collect();
            all.extend(rising.into_iter().map(|(at, _)| (at, 0.0)));
            all.sort_by_key(|(at, _)| *at);
            (active, weights) = all.into_iter().unzip();
        };
        Self { weights: active.into_iter().zip(weights).collect(), missed, rounds }
    }

    /// What the code makes of the atoms.
    #[must_use]
    pub fn made(&self, atoms: &Matrix) -> Vec<f64> {
        let mut made = vec![0.0; atoms.width()];
        for (at, weight) in &self.weights {
            made.iter_mut().zip(atoms.row(*at)).for_each(|(sum, x)| *sum += weight * x);
        }
        made
    }
}

/// The products of some atoms with one another and with the target.
fn sums(target: &[f64], atoms: &Matrix, active: &[usize]) -> (Vec<f64>, Vec<f64>) {
    let each =
        |at: &usize| active.iter().map(|other| dot(atoms.row(*at), atoms.row(*other))).collect::<Vec<_>>();
    (active.iter().flat_map(each).collect(), active.iter().map(|at| dot(atoms.row(*at), target)).collect())
}

fn residual(target: &[f64], atoms: &Matrix, active: &[usize], weights: &[f64]) -> Vec<f64> {
    let mut left = target.to_vec();
    for (at, weight) in active.iter().zip(weights) {
        left.iter_mut().zip(atoms.row(*at)).for_each(|(x, c)| *x -= weight * c);
    }
    left
}

#[cfg(test)]
mod tests {
    use mmlens_core::Seed;
    use proptest::prelude::*;

    use super::{Code, CodeLimits};
    use crate::{Matrix, direction, dot};

    const LIMITS: CodeLimits = CodeLimits { rounds: 100_000, missed: 1e-10 };

    #[test]
    fn by_hand() {
        // Atoms at right angles: each weight is max(0, c . z - penalty / 2).
        let atoms = Matrix::new(vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0], 3).unwrap();
        let code = Code::of(&[0.5, 0.1, -2.0], &atoms, 0.4, LIMITS, &Code::default());
        assert_eq!(code.weights.len(), 1);
        assert!((code.weights[0].1 - 0.3).abs() < 1e-12 && code.weights[0].0 == 0, "{code:?}");
        let none = Code::of(&[0.5, 0.1, -2.0], &atoms, 1.1, LIMITS, &code);
        assert!(none.weights.is_empty() && none.missed == 0.0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        /// Nothing near it is better, wherever the search begins; an atom that nothing explains better is its own code.
        #[test]
        fn it_is_a_minimum(seed in 0..1000_u64, atoms in 2..40_usize, width in 2..12_usize, penalty in 0.01..0.8_f64) {
            let all = (0..atoms as u64).flat_map(|at| direction(width, Seed(seed).at(at))).collect();
            let all = Matrix::new(all, width).unwrap();
            let target = direction(width, Seed(seed).at(999));
            let code = Code::of(&target, &all, penalty, LIMITS, &Code::default());
            prop_assert!(code.missed <= LIMITS.missed, "{:?}", code);
            let value = |code: &Code| {
                let made = code.made(&all);
                let left: Vec<f64> = target.iter().zip(&made).map(|(z, x)| z - x).collect();
                dot(&left, &left) + penalty * code.weights.iter().map(|(_, weight)| weight).sum::<f64>()
            };
            let least = value(&code);
            for at in 0..atoms {
                for by in [1e-3, -1e-3] {
                    let mut other = code.clone();
                    match other.weights.iter_mut().find(|(own, _)| *own == at) {
                        Some((_, weight)) => *weight = (*weight + by).max(0.0),
                        None if by > 0.0 => other.weights.push((at, by)),
                        None => continue,
                    }
                    prop_assert!(value(&other) >= least - 1e-12);
                }
            }
            let start = Code { weights: (0..atoms).map(|at| (at, 1.0)).collect(), ..Code::default() };
            prop_assert!((value(&Code::of(&target, &all, penalty, LIMITS, &start)) - least).abs() < 1e-9);
        }
    }
}
