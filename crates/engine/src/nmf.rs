//! Rows as sums of parts: non-negative matrix factorisation, and semi-non-negative, in double precision.
//!
//! For rows `X` the amounts `W >= 0` and parts `H` (`H >= 0` of NMF, of either sign of semi-NMF) make `|X - W H|^2` small. Coordinates are set one after the other to their best:
//! for each part the amounts of all rows, then for each part its numbers (HALS: Cichocki, Phan, IEICE Transactions 92, 2009; scikit-learn's solver `cd` takes the same steps).
//! A part or column of amounts that is zero stays as it is.
//!
//! Begun at random: number `i` of the amounts, then of the parts, is `sqrt(m / k) |g|`, with `m` the mean of the absolute numbers of `X`, `k` the count of parts, and `g` normal draw `seed.at(i)`; parts of either sign keep
//! the sign of `g`. At the end parts have length one, and the amounts what they had.

use mmlens_core::finding::largest;
use mmlens_core::{AnalysisError, Seed};

use crate::{Matrix, dot, normal};

/// Parts, and how much of each is in every row.
#[derive(Debug, Clone, PartialEq)]
pub struct Factors {
    /// `[rows, parts]`.
    pub amounts: Matrix,
    /// `[parts, width]`, of length one, or zero.
    pub parts: Matrix,
    /// `|X - W H|^2`.
    pub error: f64,
    /// Rounds over amounts and parts.
    pub rounds: usize,
    /// By what share of `|X|^2` the error fell in the last of them.
    pub fell: f64,
    /// Whether that was no more than the tolerance.
    pub converged: bool,
}

/// How a factorisation is searched.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Search {
    /// Whether parts are non-negative, too.
    pub non_negative: bool,
    /// The most rounds.
    pub rounds: usize,
    /// The share of `|X|^2` by which the error falls at most in the last round.
    pub tolerance: f64,
}

impl Factors {
    /// The best of several starts; `each` is told of every round, of all starts, and may end the search with an error.
    ///
    /// # Errors
    /// What `each` says.
    pub fn of(
        rows: &Matrix,
        count: usize,
        (starts, search): (usize, Search),
        seed: Seed,
        each: &mut dyn FnMut(usize) -> Result<(), AnalysisError>,
    ) -> Result<Self, AnalysisError> {
        let mut best: Option<Self> = None;
        for start in 0..starts.max(1) {
            let (amounts, parts) = drawn(rows, count, search.non_negative, seed.at(start as u64));
            let done = start * search.rounds;
            let own = Self::from(rows, (amounts, parts), search, &mut |round| each(done + round))?;
            each(done + search.rounds)?;
            best = match best {
                Some(best) if best.error <= own.error => Some(best),
                _ => Some(own),
            };
        }
        best.map_or_else(|| Self::from(rows, (Matrix::default(), Matrix::default()), search, each), Ok)
    }

    /// From amounts and parts on.
    ///
    /// # Errors
    /// What `each` says.
    ///
    /// # Cost
    /// `4 n count d` operations for each round.
    pub fn from(
        rows: &Matrix,
        (mut amounts, mut parts): (Matrix, Matrix),
        search: Search,
        each: &mut dyn FnMut(usize) -> Result<(), AnalysisError>,
    ) -> Result<Self, AnalysisError> {
        let (size, turned) = (rows.square(), rows.transposed());
        let mut error = left(rows, &amounts, &parts, size);
        let (mut rounds, mut fell, mut converged) = (0, f64::INFINITY, size == 0.0);
        while rounds < search.rounds && !converged {
            rounds += 1;
            settle(&mut amounts, &rows.products(&parts), &parts.products(&parts), true);
            let own = amounts.transposed();
            let mut columns = parts.transposed();
            settle(&mut columns, &turned.products(&own), &own.products(&own), search.non_negative);
            parts = columns.transposed();
            let now = left(rows, &amounts, &parts, size);
            fell = (error - now) / size;
            converged = fell <= search.tolerance;
            error = now;
            if rounds < search.rounds {
                each(rounds)?;
            }
        }
        for (at, part) in parts.rows_mut().enumerate() {
            let length = dot(part, part).sqrt();
            if length > 0.0 {
                part.iter_mut().for_each(|x| *x /= length);
                amounts.rows_mut().for_each(|row| row[at] *= length);
            }
        }
        Ok(Self { amounts, parts, error, rounds, fell, converged })
    }

    /// The amounts of other rows, with the parts held: the least squares with `w >= 0`, as far as so many rounds come.
    #[must_use]
    pub fn amounts_of(rows: &Matrix, parts: &Matrix, rounds: usize) -> Matrix {
        let (products, gram) = (rows.products(parts), parts.products(parts));
        let mut amounts = Matrix::zeros(rows.len(), parts.len());
        for _ in 0..rounds {
            let before = amounts.clone();
            settle(&mut amounts, &products, &gram, true);
            let moved = amounts.values().iter().zip(before.values()).map(|(a, b)| a - b);
            let least = f64::EPSILON * products.square().sqrt();
            if largest(&moved.collect::<Vec<f64>>()).is_ok_and(|most| most <= least) {
                break;
            }
        }
        amounts
    }
}

/// One round over the coordinates of `[rows, k]`: each to its best, given products with the parts `[rows, k]` and those of the parts `[k, k]`.
fn settle(amounts: &mut Matrix, products: &Matrix, gram: &Matrix, non_negative: bool) {
    for at in 0..gram.len() {
        let of_part = gram.row(at);
        let square = of_part[at];
        if square == 0.0 {
            continue;
        }
        for (row, product) in amounts.rows_mut().zip(products.rows()) {
            let best = row[at] + (product[at] - dot(row, of_part)) / square;
            row[at] = if non_negative { best.max(0.0) } else { best }; // no NaN: finite rows, and a square above zero
        }
    }
}

/// `|X - W H|^2`, summed row by row.
fn left(rows: &Matrix, amounts: &Matrix, parts: &Matrix, _size: f64) -> f64 {
    let made = amounts.times(parts);
    rows.rows()
        .zip(made.rows())
        .map(|(x, y)| x.iter().zip(y).map(|(x, y)| (x - y) * (x - y)).sum::<f64>())
        .sum()
}

fn drawn(rows: &Matrix, count: usize, non_negative: bool, seed: Seed) -> (Matrix, Matrix) {
    let (n, width) = (rows.len(), rows.width());
    let mean = rows.values().iter().map(|x| x.abs()).sum::<f64>() / rows.values().len().max(1) as f64;
    let scale = (mean / count.max(1) as f64).sqrt();
    let mut amounts = Matrix::zeros(n, count);
    let mut parts = Matrix::zeros(count, width);
    let mut at = 0;
    let mut next = || {
        at += 1;
        scale * normal(seed.at(at - 1))
    };
    amounts.rows_mut().flatten().for_each(|x| *x = next().abs());
    parts.rows_mut().flatten().for_each(|x| {
        let own = next();
        *x = if non_negative { own.abs() } else { own };
    });
    (amounts, parts)
}

#[cfg(test)]
mod tests {
    use mmlens_core::Seed;
    use proptest::prelude::*;

    use super::{Factors, Search};
    use crate::{Eigen, Matrix, normal};

    fn search(non_negative: bool) -> Search {
        Search { non_negative, rounds: 2000, tolerance: 1e-12 }
    }

    #[test]
    fn by_hand() {
        // Rows of two parts at right angles: (3, 0), (0, 2), (1, 1) are those sums themselves.
        let rows = Matrix::new(vec![3.0, 0.0, 0.0, 2.0, 1.0, 1.0], 2).unwrap();
        let found = Factors::of(&rows, 2, (3, search(true)), Seed(1), &mut |_| Ok(())).unwrap();
        assert!(found.error < 1e-10 && found.converged, "{found:?}");
        for part in found.parts.rows() {
            assert!((part.iter().map(|x| x * x).sum::<f64>() - 1.0).abs() < 1e-12);
        }
        let made = found.amounts.times(&found.parts);
        assert!(made.values().iter().zip(rows.values()).all(|(a, b)| (a - b).abs() < 1e-5), "{made:?}");
        let zero = Factors::of(&Matrix::zeros(3, 2), 2, (1, search(true)), Seed(1), &mut |_| Ok(())).unwrap();
        assert_eq!((zero.error, zero.converged), (0.0, true));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(30))]

        /// The error never rises, is that of what is made, and is no less than that of the principal components; amounts of given parts are a minimum.
        #[test]
        fn errors_fall(seed in 0..1000_u64, n in 4..14_usize, width in 2..8_usize, count in 1..4_usize, non_negative: bool) {
            let draw = |at: usize| normal(Seed(seed).at(at as u64));
            let sign = |x: f64| if non_negative { x.abs() } else { x };
            let rows = Matrix::new((0..n * width).map(|at| sign(draw(at))).collect(), width).unwrap();
            let mut last = f64::INFINITY;
            for rounds in [1, 2, 3, 10, 100] {
                let own = Search { rounds, tolerance: 0.0, non_negative };
                let found = Factors::of(&rows, count, (1, own), Seed(seed), &mut |_| Ok(())).unwrap();
                prop_assert!(found.error <= last * (1.0 + 1e-12));
                last = found.error;
                prop_assert!(found.amounts.values().iter().all(|x| *x >= 0.0));
                prop_assert!(!non_negative || found.parts.values().iter().all(|x| *x >= 0.0));
                let made = found.amounts.times(&found.parts);
                let error: f64 = made.values().iter().zip(rows.values()).map(|(a, b)| (a - b).powi(2)).sum();
                prop_assert!((error - found.error).abs() <= 1e-9 * rows.square());
            }
            let turned = rows.transposed();
            let values = Eigen::of("test", &turned.products(&turned)).unwrap().values;
            let least: f64 = values.iter().skip(count).sum();
            prop_assert!(last >= least - 1e-9 * rows.square());
            let found = Factors::of(&rows, count, (1, search(non_negative)), Seed(seed), &mut |_| Ok(())).unwrap();
            let amounts = Factors::amounts_of(&rows, &found.parts, 1_000_000);
            let value = |amounts: &Matrix| {
                let made = amounts.times(&found.parts);
                made.values().iter().zip(rows.values()).map(|(a, b)| (a - b).powi(2)).sum::<f64>()
            };
            let best = value(&amounts);
            prop_assert!(best <= found.error + 1e-9 * rows.square());
            for at in 0..n * count {
                for by in [1e-3, -1e-3] {
                    let mut other = amounts.clone();
                    let own = other.rows_mut().nth(at / count).unwrap();
                    own[at % count] = (own[at % count] + by).max(0.0);
                    prop_assert!(value(&other) >= best - 1e-10 * rows.square());
                }
            }
        }
    }
}
