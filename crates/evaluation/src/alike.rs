//! How alike two maps are, and how uneven one is.

use mmlens_core::finding::{correlation, largest, ranks};

/// The correlation of ranks (Spearman 1904), equal values having the mean of their ranks; `None` of fewer than three values, or where one
/// list does not vary.
#[must_use]
pub fn rank_correlation(a: &[f64], b: &[f64]) -> Option<f64> {
    correlation(&ranks(a), &ranks(b))
}

/// Numbers in steps of a millionth of the largest magnitude: sums of the same parts are equal then, in whatever order they were added, and
/// so are their ranks.
#[must_use]
pub(crate) fn in_steps(masses: &[f64]) -> Vec<f64> {
    match largest(masses) {
        Ok(most) if most > 0.0 => masses.iter().map(|mass| (mass / (1e-6 * most)).round()).collect(),
        _ => masses.to_vec(),
    }
}

/// The side of a window of [`ssim`].
const WINDOW: usize = 7;

/// The structural similarity of two grids (Wang et al. 2004): the mean over all windows of 7 x 7 cells that lie within, with covariances over
/// 49 - 1, `K1` 0.01, `K2` 0.03, and for the range of values that of both grids together. `None` of a grid that is smaller, or where no value
/// differs.
#[must_use]
pub fn ssim(a: &[f64], b: &[f64], [rows, cols]: [usize; 2]) -> Option<f64> {
    if rows < WINDOW || cols < WINDOW || a.len() != rows * cols || b.len() != a.len() {
        return None;
    }
    let both = || a.iter().chain(b).copied();
    let range = both().fold(f64::NEG_INFINITY, f64::max) - both().fold(f64::INFINITY, f64::min); // no NaN: masses are finite
    if range <= 0.0 || !range.is_finite() {
        return None;
    }
    let (c1, c2) = ((0.01 * range).powi(2), (0.03 * range).powi(2));
    let count = (WINDOW * WINDOW) as f64;
    let mut sum = 0.0;
    for top in 0..=rows - WINDOW {
        for left in 0..=cols - WINDOW {
            let window = |values: &[f64]| -> Vec<f64> {
                let row = |row: usize| values.iter().skip(row * cols + left).take(WINDOW).copied();
                (top..top + WINDOW).flat_map(row).collect()
            };
            let (x, y) = (window(a), window(b));
            let mean = |values: &[f64]| values.iter().sum::<f64>() / count;
            let (mx, my) = (mean(&x), mean(&y));
            let apart = |one: &[f64], m1: f64, other: &[f64], m2: f64| {
                one.iter().zip(other).map(|(a, b)| (a - m1) * (b - m2)).sum::<f64>() / (count - 1.0)
            };
            let (vx, vy, vxy) = (apart(&x, mx, &x, mx), apart(&y, my, &y, my), apart(&x, mx, &y, my));
            sum += (2.0 * mx * my + c1) * (2.0 * vxy + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2));
        }
    }
    Some(sum / ((rows - WINDOW + 1) * (cols - WINDOW + 1)) as f64)
}

/// The Gini index of values that are not below zero: 0 where all are equal, `1 - 1/n` where one has everything; `None` where all are zero.
///
/// With the values in ascending order, counted from 1: `sum_i (2 i - n - 1) v_i / (n sum_i v_i)`.
#[must_use]
pub fn gini(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (n, total) = (sorted.len() as f64, sorted.iter().sum::<f64>());
    let weighted = sorted.iter().enumerate().map(|(i, value)| (2.0 * (i + 1) as f64 - n - 1.0) * value);
    (total > 0.0).then(|| weighted.sum::<f64>() / (n * total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gini_of_little_lists() {
        assert_eq!(gini(&[2.0; 5]), Some(0.0));
        // One of four has everything: (2 * 4 - 4 - 1) / 4 = 3/4.
        assert_eq!(gini(&[0.0, 0.0, 8.0, 0.0]), Some(0.75));
        // 1, 3: (-1 * 1 + 1 * 3) / (2 * 4) = 1/4.
        assert_eq!(gini(&[3.0, 1.0]), Some(0.25));
        assert_eq!(gini(&[0.0; 3]), None);
        assert_eq!(gini(&[]), None);
    }

    #[test]
    fn a_grid_is_like_itself() {
        let grid: Vec<f64> = (0..80).map(|i| f64::from((i * 7919) % 101)).collect();
        assert!((ssim(&grid, &grid, [8, 10]).unwrap() - 1.0).abs() < 1e-12);
        let turned: Vec<f64> = grid.iter().map(|v| 100.0 - v).collect();
        assert!(ssim(&grid, &turned, [8, 10]).unwrap() < 0.0);
        assert_eq!(ssim(&grid, &grid, [6, 10]), None);
        assert_eq!(ssim(&[1.0; 49], &[1.0; 49], [7, 7]), None);
    }

    #[test]
    fn equal_sums_are_equal_in_any_order() {
        let levels = [7, 90, 13, 200, 31].map(|level| f64::from(level as f32 / 255.0));
        let sum = |order: &[usize]| order.iter().map(|at| levels[*at]).sum::<f64>();
        let masses =
            [sum(&[0, 1, 2, 3, 4]), sum(&[4, 3, 2, 1, 0]), f64::from(341.0_f32 / 255.0), sum(&[0, 1])];
        let steps = in_steps(&masses);
        assert_eq!((steps[0], steps[1]), (1e6, 1e6));
        assert!((steps[2] - 1e6).abs() <= 1.0 && steps[3] < 3e5, "{steps:?}");
        assert_eq!(in_steps(&[0.0; 3]), [0.0; 3]);
    }

    #[test]
    fn ranks_are_what_counts() {
        let rising: [f64; 4] = [1.0, 2.0, 3.0, 4.0];
        let found = rank_correlation(&rising, &rising.map(f64::exp)).unwrap();
        assert!((found - 1.0).abs() < 1e-12, "{found}");
        assert_eq!(rank_correlation(&rising, &[1.0; 4]), None);
    }
}
