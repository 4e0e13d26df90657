//! The nearest of many rows to some vectors: exact, rows some at a time, and no more held than what is found.

use std::num::NonZeroUsize;

use burn::tensor::Tensor;
use mmlens_core::{AnyTensor, HookError};
use serde::{Deserialize, Serialize};

/// How near two vectors lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Nearness {
    /// The cosine of the angle between them; 0 if either is zero. The largest is the nearest.
    #[default]
    Cosine,
    /// Their inner product. The largest is the nearest.
    Dot,
    /// The length of their difference. The smallest is the nearest.
    Distance,
}

impl Nearness {
    /// Whether one score is nearer than another.
    pub fn nearer(self, one: f64, other: f64) -> bool {
        if self == Self::Distance { one < other } else { one > other }
    }

    /// Of an inner product and two lengths a number that is larger the nearer they lie, and how far off it is at most, where
    /// the product is summed in single precision.
    fn key(self, product: f64, own: f64, row: f64) -> (f64, f64) {
        let size = own * row;
        match self {
            Self::Cosine if size > 0.0 => (product / size, SLACK),
            Self::Cosine => (0.0, 0.0),
            Self::Dot => (product, SLACK * size),
            Self::Distance => (2.0 * product - own * own - row * row, 2.0 * SLACK * size),
        }
    }

    /// The key of two vectors in double precision.
    fn exact(self, own: &[f32], row: &[f32], (of_own, of_row): (f64, f64)) -> f64 {
        let pairs = || own.iter().zip(row).map(|(a, b)| (f64::from(*a), f64::from(*b)));
        match self {
            Self::Distance => -pairs().map(|(a, b)| (a - b).powi(2)).sum::<f64>(),
            _ => self.key(pairs().map(|(a, b)| a * b).sum(), of_own, of_row).0,
        }
    }

    fn score(self, key: f64) -> f64 {
        if self == Self::Distance { (-key).sqrt() } else { key }
    }
}

/// How far a product of two vectors of length one may be off in single precision: some hundred times what was ever seen.
const SLACK: f64 = 1e-4;

/// A row that was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Near {
    /// Its cosine, product or distance, in double precision.
    pub score: f64,
    /// Its number.
    pub row: u64,
}

/// Some vectors, and the nearest rows so far to each.
#[derive(Debug, Clone)]
pub struct Nearest {
    how: Nearness,
    count: NonZeroUsize,
    width: usize,
    queries: Vec<f32>,
    lengths: Vec<f64>,
    /// `[query, width]`, where products are made.
    there: Tensor<2>,
    /// Keys and rows, best first; of equal ones the first row.
    best: Vec<Vec<(f64, u64)>>,
}

impl Nearest {
    /// Of vectors `[query, width]` the `count` nearest are kept. `like` says on which device products are made.
    ///
    /// # Errors
    /// [`HookError::Values`] for vectors that are not of this width.
    pub fn new(
        queries: Vec<f32>,
        width: usize,
        (how, count): (Nearness, NonZeroUsize),
        like: &AnyTensor,
    ) -> Result<Self, HookError> {
        let rows = queries.len().checked_div(width).unwrap_or(0);
        let there = like.shaped(queries.clone(), &[rows, width])?.rank_of("vectors to be compared")?;
        let lengths = queries.chunks(width.max(1)).map(length).collect();
        Ok(Self { how, count, width, queries, lengths, there, best: vec![Vec::new(); rows] })
    }

    /// More rows, `[row, width]`, which are finite; the first of them has this number.
    ///
    /// # Errors
    /// [`HookError::Values`] for rows of another width.
    ///
    /// # Cost
    /// One product of all vectors with all rows; what is near enough is computed once more in double precision.
    pub fn offer(&mut self, rows: &[f32], first: u64) -> Result<(), HookError> {
        let count = rows.len().checked_div(self.width).unwrap_or(0) as u64;
        self.offer_numbered(rows, &(first..first + count).collect::<Vec<_>>())
    }

    /// The same with numbers of their own.
    ///
    /// # Errors
    /// [`HookError::Values`] for rows of another width, or not as many as there are numbers.
    pub fn offer_numbered(&mut self, rows: &[f32], numbers: &[u64]) -> Result<(), HookError> {
        let count = numbers.len();
        if count * self.width != rows.len() {
            return Err(HookError::Values { dims: vec![count, self.width], given: rows.len() });
        }
        if count == 0 || self.best.is_empty() {
            return Ok(());
        }
        let like = AnyTensor::new(self.there.clone());
        let given: Tensor<2> =
            like.shaped(rows.to_vec(), &[count, self.width])?.rank_of("rows to be compared")?;
        let products = AnyTensor::new(self.there.clone().matmul(given.transpose())).to_values()?;
        let lengths: Vec<f64> = rows.chunks(self.width).map(length).collect();
        let (how, most) = (self.how, self.count.get());
        let own = self.queries.chunks(self.width).zip(&self.lengths);
        for ((products, (query, of_query)), best) in products.chunks(count).zip(own).zip(&mut self.best) {
            for (at, ((product, of_row), number)) in products.iter().zip(&lengths).zip(numbers).enumerate() {
                let (key, slack) = how.key(f64::from(*product), *of_query, *of_row);
                let full = best.len() == most;
                if full && best.last().is_some_and(|(least, _)| key + slack < *least) {
                    continue;
                }
                let row = rows.get(at * self.width..(at + 1) * self.width).unwrap_or_default();
                let key = how.exact(query, row, (*of_query, *of_row));
                let place = best.partition_point(|(kept, _)| *kept >= key);
                if place < most {
                    best.insert(place, (key, *number));
                    best.truncate(most);
                }
            }
        }
        Ok(())
    }

    /// The nearest rows to each vector, nearest first; of equally near ones that which came first.
    pub fn found(&self) -> Vec<Vec<Near>> {
        let near = |(key, row): &(f64, u64)| Near { score: self.how.score(*key), row: *row };
        self.best.iter().map(|best| best.iter().map(near).collect()).collect()
    }

    /// Bytes that rows take while they are compared, each.
    pub fn of_a_row(&self) -> u64 {
        // Twice on the host, once on the device, and their products on both.
        (4 * (3 * self.width + 2 * self.best.len()) + 8) as u64
    }
}

fn length(vector: &[f32]) -> f64 {
    vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn found(
        how: Nearness,
        queries: &[[f32; 2]],
        rows: &[[f32; 2]],
        count: usize,
        at_once: usize,
    ) -> Vec<Vec<Near>> {
        let like = AnyTensor::from_values(vec![0.0], &[1], &Device::default()).unwrap();
        let count = NonZeroUsize::new(count).unwrap();
        let mut nearest = Nearest::new(queries.concat(), 2, (how, count), &like).unwrap();
        for (at, some) in rows.chunks(at_once).enumerate() {
            nearest.offer(&some.concat(), (at * at_once) as u64).unwrap();
        }
        nearest.found()
    }

    #[test]
    fn the_nearest_come_first_however_rows_come() {
        let rows = [[1.0, 0.0], [0.0, 2.0], [3.0, 4.0], [1.0, 0.0], [0.0, 0.0]];
        for at_once in 1..6 {
            let of = |how| {
                let near = found(how, &[[2.0, 0.0], [0.0, 0.0]], &rows, 3, at_once);
                near.into_iter()
                    .map(|own| own.into_iter().map(|n| (n.row, n.score)).collect::<Vec<_>>())
                    .collect::<Vec<_>>()
            };
            // (3, 4) is 0.6 along the first axis; nothing is along a vector of zeros.
            assert_eq!(of(Nearness::Cosine)[0], [(0, 1.0), (3, 1.0), (2, 0.6)]);
            assert_eq!(of(Nearness::Cosine)[1], [(0, 0.0), (1, 0.0), (2, 0.0)]);
            assert_eq!(of(Nearness::Dot)[0], [(2, 6.0), (0, 2.0), (3, 2.0)]);
            assert_eq!(of(Nearness::Distance)[0], [(0, 1.0), (3, 1.0), (4, 2.0)]);
            assert_eq!(of(Nearness::Distance)[1], [(4, 0.0), (0, 1.0), (3, 1.0)]);
        }
        assert!(Nearness::Distance.nearer(1.0, 2.0) && Nearness::Cosine.nearer(2.0, 1.0));
    }
}
