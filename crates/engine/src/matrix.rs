//! Rows of numbers in double precision, on the host: what is learned from and told of many cases.

use mmlens_core::HookError;

/// Rows of one length, one after the other.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Matrix {
    values: Vec<f64>,
    width: usize,
}

impl Matrix {
    /// Rows of so many numbers.
    ///
    /// # Errors
    /// [`HookError::Values`] for values that do not fill rows.
    pub fn new(values: Vec<f64>, width: usize) -> Result<Self, HookError> {
        match values.len().checked_rem(width) {
            Some(0) => Ok(Self { values, width }),
            _ => Err(HookError::Values { dims: vec![width], given: values.len() }),
        }
    }

    /// The same of single precision.
    ///
    /// # Errors
    /// As [`Matrix::new`].
    pub fn of_floats(values: &[f32], width: usize) -> Result<Self, HookError> {
        Self::new(values.iter().map(|value| f64::from(*value)).collect(), width)
    }

    /// Rows of zeros.
    #[must_use]
    pub fn zeros(rows: usize, width: usize) -> Self {
        Self { values: vec![0.0; rows * width], width }
    }

    /// Its rows.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f64]> + Clone {
        self.values.chunks_exact(self.width.max(1))
    }

    /// Its rows, to be changed.
    pub fn rows_mut(&mut self) -> impl ExactSizeIterator<Item = &mut [f64]> {
        self.values.chunks_exact_mut(self.width.max(1))
    }

    /// One row; nothing past the end.
    #[must_use]
    pub fn row(&self, row: usize) -> &[f64] {
        self.values.get(row * self.width..(row + 1) * self.width).unwrap_or_default()
    }

    /// Rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len().checked_div(self.width).unwrap_or(0)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Numbers of a row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// All numbers, row by row.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// Some rows, in the order given; those past the end are left out.
    #[must_use]
    pub fn chosen(&self, rows: &[usize]) -> Self {
        Self { values: rows.iter().flat_map(|row| self.row(*row)).copied().collect(), width: self.width }
    }

    /// The mean of its rows; zeros, of none.
    #[must_use]
    pub fn mean(&self) -> Vec<f64> {
        let mut mean = vec![0.0; self.width];
        for row in self.rows() {
            mean.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
        }
        let n = self.len().max(1) as f64;
        mean.iter_mut().for_each(|sum| *sum /= n);
        mean
    }

    /// Its rows less a vector.
    #[must_use]
    pub fn less(mut self, vector: &[f64]) -> Self {
        self.rows_mut().for_each(|row| row.iter_mut().zip(vector).for_each(|(x, v)| *x -= v));
        self
    }

    /// Its rows brought to length one. `Err` holds a row that has no length.
    ///
    /// # Errors
    /// The number of the first row of zeros.
    pub fn normalised(mut self) -> Result<Self, usize> {
        for (at, row) in self.rows_mut().enumerate() {
            let length = dot(row, row).sqrt();
            if length == 0.0 {
                return Err(at);
            }
            row.iter_mut().for_each(|x| *x /= length);
        }
        Ok(self)
    }

    /// The products of each of its rows with each row of another, `[rows, rows of the other]`.
    #[must_use]
    pub fn products(&self, other: &Self) -> Self {
        let values = self.rows().flat_map(|row| other.rows().map(move |own| dot(row, own))).collect();
        Self { values, width: other.len() }
    }

    /// Itself times another, `[rows, width] [width, columns]`.
    #[must_use]
    pub fn times(&self, other: &Self) -> Self {
        let mut all = Self::zeros(self.len(), other.width);
        for (row, to) in self.rows().zip(all.rows_mut()) {
            for (x, own) in row.iter().zip(other.rows()).filter(|(x, _)| **x != 0.0) {
                to.iter_mut().zip(own).for_each(|(to, y)| *to += x * y);
            }
        }
        all
    }

    /// Rows as columns.
    #[must_use]
    pub fn transposed(&self) -> Self {
        let mut all = Self::zeros(self.width, self.len());
        let width = self.len();
        for (at, row) in self.rows().enumerate() {
            for (column, x) in row.iter().enumerate() {
                all.values[column * width + at] = *x;
            }
        }
        all
    }

    /// The sum of the squares of all its numbers.
    #[must_use]
    pub fn square(&self) -> f64 {
        dot(&self.values, &self.values)
    }
}

/// The product of two vectors, in an order of summation that depends on their length alone.
#[must_use]
pub fn dot(left: &[f64], right: &[f64]) -> f64 {
    const LANES: usize = 8;
    let (mut sums, whole) = ([0.0; LANES], left.len().min(right.len()) / LANES * LANES);
    let (a, b) = (left.split_at(whole), right.split_at(whole));
    for (x, y) in a.0.chunks_exact(LANES).zip(b.0.chunks_exact(LANES)) {
        for lane in 0..LANES {
            sums[lane] += x[lane] * y[lane];
        }
    }
    sums.iter().sum::<f64>() + a.1.iter().zip(b.1).map(|(x, y)| x * y).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::{Matrix, dot};

    #[test]
    fn by_hand() {
        let m = Matrix::new(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3).unwrap();
        assert_eq!((m.len(), m.width(), m.row(1), m.row(2)), (2, 3, &[4.0, 5.0, 6.0][..], &[][..]));
        assert_eq!(m.mean(), [2.5, 3.5, 4.5]);
        // 1 + 4 + 9, 4 + 10 + 18, 16 + 25 + 36
        assert_eq!(m.products(&m).values(), [14.0, 32.0, 32.0, 77.0]);
        assert_eq!(m.times(&m.transposed()), m.products(&m));
        assert_eq!(m.chosen(&[1, 0, 1]).values(), [4.0, 5.0, 6.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(m.clone().less(&[1.0, 2.0, 3.0]).values(), [0.0, 0.0, 0.0, 3.0, 3.0, 3.0]);
        assert_eq!(m.clone().less(&[1.0, 2.0, 3.0]).normalised(), Err(0));
        assert_eq!(Matrix::new(vec![3.0, 4.0], 2).unwrap().normalised().unwrap().values(), [0.6, 0.8]);
        assert!(Matrix::new(vec![1.0; 4], 3).is_err() && Matrix::new(vec![1.0], 0).is_err());
        let long: Vec<f64> = (0..19).map(f64::from).collect();
        // the sum of squares up to n is n (n + 1) (2 n + 1) / 6
        assert_eq!(dot(&long, &long), 18.0 * 19.0 * 37.0 / 6.0);
    }
}
