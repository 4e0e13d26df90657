//! Coordinates scaled to mean 0 and deviation 1, and linear functions of them told of what they were before.

use crate::Logistic;

/// What every coordinate is less, and divided by.
#[derive(Debug, Clone, PartialEq)]
pub struct Scale {
    /// What it is less.
    pub means: Vec<f64>,
    /// What it is divided by.
    pub deviations: Vec<f64>,
}

/// A deviation that is no larger a share of the mean is rounding, and of more rows in proportion.
const ROUNDING: f64 = 1e-12;

impl Scale {
    /// Nothing is changed.
    #[must_use]
    pub fn none(width: usize) -> Self {
        Self { means: vec![0.0; width], deviations: vec![1.0; width] }
    }

    /// Means and deviations of some rows, which are gone through twice. A coordinate that is always the same is divided by one.
    pub fn of_rows<'a, X, R>(width: usize, rows: impl Fn() -> R) -> Self
    where
        X: Copy + Into<f64> + 'a,
        R: Iterator<Item = &'a [X]>,
    {
        let n = rows().count().max(1) as f64;
        let mut scale = Self { means: vec![0.0; width], deviations: vec![0.0; width] };
        for row in rows() {
            scale.means.iter_mut().zip(row).for_each(|(mean, x)| *mean += (*x).into() / n);
        }
        for row in rows() {
            let each = scale.deviations.iter_mut().zip(&scale.means).zip(row);
            each.for_each(|((square, mean), x)| *square += ((*x).into() - mean).powi(2) / n);
        }
        // A coordinate that is always the same says nothing, at any scale: what its mean is off by is rounding.
        for (deviation, mean) in scale.deviations.iter_mut().zip(&scale.means) {
            let own = deviation.sqrt();
            *deviation = if own > ROUNDING.max(n * f64::EPSILON) * mean.abs() { own } else { 1.0 };
        }
        scale
    }

    /// A row, scaled.
    pub fn of<'a, X: Copy + Into<f64>>(&'a self, row: &'a [X]) -> impl Iterator<Item = f64> + 'a {
        let each = row.iter().zip(&self.means).zip(&self.deviations);
        each.map(|((x, mean), deviation)| ((*x).into() - mean) / deviation)
    }

    /// The same model of rows that are not scaled.
    #[must_use]
    pub fn undone(&self, model: Logistic) -> Logistic {
        let each = model.weights.into_iter().zip(model.intercepts).map(|(weights, intercept)| {
            let weights: Vec<f64> = weights.iter().zip(&self.deviations).map(|(w, d)| w / d).collect();
            let shift: f64 = weights.iter().zip(&self.means).map(|(w, mean)| w * mean).sum();
            (weights, intercept - shift)
        });
        let (weights, intercepts) = each.unzip();
        Logistic { weights, intercepts }
    }
}

#[cfg(test)]
mod tests {
    use mmlens_core::finding::Tolerance;

    use super::Scale;
    use crate::Logistic;

    /// The mean of thirteen ones, each divided by thirteen, is not one.
    #[test]
    fn rounding_is_no_deviation() {
        let rows = [[1.0_f32, 0.1]; 13];
        let scale = Scale::of_rows(2, || rows.iter().map(|row| &row[..]));
        assert!(scale.means[0] != 1.0);
        assert_eq!(scale.deviations, [1.0, 1.0]);
    }

    #[test]
    fn what_is_undone_says_the_same() {
        let rows = [[1.0_f32, 5.0, 2.0], [3.0, 5.0, -2.0], [5.0, 5.0, 0.0]];
        let scale = Scale::of_rows(3, || rows.iter().map(|row| &row[..]));
        // Variances 8/3, none, 8/3.
        let deviation = (8.0_f64 / 3.0).sqrt();
        assert_eq!(
            (scale.means.clone(), scale.deviations.clone()),
            (vec![3.0, 5.0, 0.0], vec![deviation, 1.0, deviation])
        );
        let model = Logistic { weights: vec![vec![1.0, -2.0, 0.5]], intercepts: vec![0.3] };
        let undone = scale.undone(model.clone());
        for row in &rows {
            let scaled: Vec<f64> = scale.of(row).collect();
            let plain: Vec<f64> = Scale::none(3).of(row).collect();
            let (a, b) = (model.log_probabilities(&scaled), undone.log_probabilities(&plain));
            Tolerance::absolute(1e-12).check("logs", &a, &b).unwrap();
        }
    }
}
