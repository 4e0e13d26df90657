//! Least squares with weights, a penalty on the size of what is fitted, and an intercept without one.

use mmlens_core::HookError;

use crate::Matrix;
use crate::cholesky::Cholesky;

/// A linear function that was fitted.
#[derive(Debug, Clone, PartialEq)]
pub struct Ridge {
    /// How much each column counts.
    pub coefficients: Vec<f64>,
    /// What is left where all columns are zero.
    pub intercept: f64,
    /// The share of the weighted variance that it explains (R²): one where nothing varies.
    pub explained: f64,
}

impl Ridge {
    /// The minimum of `sum over rows of w (y - b - x c)^2 + penalty |c|^2`: columns and values less their weighted means are solved by a
    /// Cholesky factor, in double precision.
    ///
    /// # Errors
    /// [`HookError::Values`] for another number of values or weights than rows, or columns that cannot be told apart (without a penalty).
    pub fn fit(rows: &Matrix, values: &[f64], weights: &[f64], penalty: f64) -> Result<Self, HookError> {
        let (count, wide) = (rows.len(), rows.width());
        let wrong = |given| HookError::Values { dims: vec![count, wide], given };
        if values.len() != count || weights.len() != count || count == 0 {
            return Err(wrong(values.len().min(weights.len())));
        }
        let all: f64 = weights.iter().sum();
        let mean = |of: &dyn Fn(usize) -> f64| -> f64 {
            weights.iter().enumerate().map(|(row, weight)| weight * of(row)).sum::<f64>() / all
        };
        let level = mean(&|row| values.get(row).copied().unwrap_or(f64::NAN));
        let column = |at: usize| mean(&|row| rows.row(row).get(at).copied().unwrap_or(f64::NAN));
        let means: Vec<f64> = (0..wide).map(column).collect();
        let (mut square, mut right, mut varies) = (vec![0.0; wide * wide], vec![0.0; wide], 0.0);
        for ((row, value), weight) in rows.rows().zip(values).zip(weights) {
            let x: Vec<f64> = row.iter().zip(&means).map(|(x, mean)| x - mean).collect();
            let y = value - level;
            varies += weight * y * y;
            for ((line, right), x_i) in square.chunks_mut(wide.max(1)).zip(&mut right).zip(&x) {
                line.iter_mut().zip(&x).for_each(|(slot, x_j)| *slot += weight * x_i * x_j);
                *right += weight * x_i * y;
            }
        }
        square.iter_mut().step_by(wide + 1).for_each(|own| *own += penalty);
        let factor = Cholesky::of(square, wide).ok_or_else(|| wrong(count * wide))?;
        let coefficients = factor.solve(&right);
        let dot = |row: &[f64]| row.iter().zip(&coefficients).map(|(x, c)| x * c).sum::<f64>();
        let intercept = level - dot(&means);
        let rest = rows.rows().zip(values).zip(weights);
        let rest: f64 =
            rest.map(|((row, value), weight)| weight * (value - intercept - dot(row)).powi(2)).sum();
        let explained = if varies == 0.0 { 1.0 } else { 1.0 - rest / varies };
        Ok(Self { coefficients, intercept, explained })
    }
}

#[cfg(test)]
mod tests {
    use super::Ridge;
    use crate::Matrix;

    #[test]
    fn a_line_is_found_and_a_penalty_shrinks_it() {
        let rows = Matrix::new(vec![0.0, 1.0, 2.0, 3.0], 1).unwrap();
        let fit = |values: [f64; 4], weights: [f64; 4], penalty| {
            Ridge::fit(&rows, &values, &weights, penalty).unwrap()
        };
        let line = fit([1.0, 3.0, 5.0, 7.0], [1.0; 4], 0.0);
        assert!(
            (line.coefficients[0] - 2.0).abs() < 1e-12
                && (line.intercept - 1.0).abs() < 1e-12
                && line.explained > 1.0 - 1e-12
        );
        // x less its mean squares to 5, times y to 10: 10 / (5 + 5)
        let shrunk = fit([1.0, 3.0, 5.0, 7.0], [1.0; 4], 5.0);
        assert!((shrunk.coefficients[0] - 1.0).abs() < 1e-12 && (shrunk.intercept - 2.5).abs() < 1e-12);
        // What weighs nothing does not count.
        let some = fit([1.0, 3.0, 5.0, 99.0], [1.0, 1.0, 1.0, 0.0], 0.0);
        assert!((some.coefficients[0] - 2.0).abs() < 1e-12);
        assert_eq!(fit([4.0; 4], [1.0; 4], 1.0).explained, 1.0);
        let twice = Matrix::new(vec![0.0, 0.0, 1.0, 1.0], 2).unwrap();
        assert!(Ridge::fit(&twice, &[0.0, 1.0], &[1.0, 1.0], 0.0).is_err());
        assert!(Ridge::fit(&twice, &[0.0], &[1.0, 1.0], 1.0).is_err());
    }
}
