//! Symmetric matrices that are positive definite, taken apart (Cholesky).

/// The Cholesky factor of a symmetric matrix, lower, row by row.
#[derive(Debug, Clone)]
pub struct Cholesky {
    lower: Vec<f64>,
    size: usize,
}

impl Cholesky {
    /// `None` for a matrix that is not positive definite, up to rounding.
    #[must_use]
    pub fn of(mut matrix: Vec<f64>, size: usize) -> Option<Self> {
        let scale =
            (0..size).filter_map(|i| matrix.get(i * size + i)).fold(0.0, |most: f64, own| most.max(*own)); // no NaN: sums of weights
        for i in 0..size {
            for j in 0..=i {
                let sum: f64 = (0..j).map(|k| matrix[i * size + k] * matrix[j * size + k]).sum();
                let rest = matrix[i * size + j] - sum;
                matrix[i * size + j] = match i == j {
                    true if rest <= 1e-10 * scale => return None,
                    true => rest.sqrt(),
                    false => rest / matrix[j * size + j],
                };
            }
        }
        Some(Self { lower: matrix, size })
    }

    /// The solution of `matrix x = right`.
    #[must_use]
    pub fn solve(&self, right: &[f64]) -> Vec<f64> {
        let (lower, size) = (&self.lower, self.size);
        let mut x = right.to_vec();
        for i in 0..size {
            let sum: f64 = (0..i).map(|k| lower[i * size + k] * x[k]).sum();
            x[i] = (x[i] - sum) / lower[i * size + i];
        }
        for i in (0..size).rev() {
            let sum: f64 = (i + 1..size).map(|k| lower[k * size + i] * x[k]).sum();
            x[i] = (x[i] - sum) / lower[i * size + i];
        }
        x
    }
}
