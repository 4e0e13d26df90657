//! What rows of two sites have in common: HSIC of linear kernels, of one batch or as the mean over several.

use mmlens_core::ndarray::{Array2, Axis, Zip, s};
use mmlens_core::{AnalysisError, HookError};

/// Which matrices are multiplied. Both give the same but for rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Products of every two rows, `n x n`, of each site.
    Gram,
    /// Products of every two dimensions, `d x d`, of each pair of sites.
    Covariance,
}

/// What is computed, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct How {
    /// Which matrices are multiplied.
    pub way: Way,
    /// Whether HSIC is estimated without bias (Song et al. 2012), which takes four rows; else as the product of centred kernels.
    pub unbiased: bool,
}

impl How {
    /// What a product is divided by.
    fn norm(self, n: usize) -> f64 {
        let n = n as f64;
        if self.unbiased { n * (n - 3.0) } else { (n - 1.0) * (n - 1.0) }
    }
}

/// So many columns of a product of dimensions are there at a time.
pub const STRIP: usize = 128;

/// Bytes of the panels that a product copies its factors into: `256 x 1024` of the one and `64 x 256` of the other.
pub const PANELS: u64 = 8 * (256 * 1024 + 64 * 256);

/// The rows of a site, less their mean, as they are multiplied.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// `[n, n]` or `[n, d]`.
    matrix: Array2<f64>,
    /// The squared length of each row.
    squares: Vec<f64>,
}

impl Prepared {
    /// Of rows `[n, width]`, one after the other.
    ///
    /// # Errors
    /// [`HookError::Values`] for values that do not fill rows.
    pub fn new(how: How, values: Vec<f64>, width: usize) -> Result<Self, AnalysisError> {
        let (given, n) = (values.len(), values.len().checked_div(width).unwrap_or(0));
        let mut rows = Array2::from_shape_vec((n, width), values)
            .map_err(|_| HookError::Values { dims: vec![n, width], given })?;
        let means = rows.sum_axis(Axis(0)) / n as f64;
        rows -= &means;
        let squares = rows.rows().into_iter().map(|row| row.dot(&row)).collect();
        let matrix = match how.way {
            Way::Covariance => rows,
            Way::Gram if how.unbiased => {
                let mut gram = rows.dot(&rows.t());
                u_centre(&mut gram);
                gram
            }
            Way::Gram => rows.dot(&rows.t()),
        };
        Ok(Self { matrix, squares })
    }

    /// The same rows in another order.
    #[must_use]
    pub fn shuffled(&self, how: How, order: &[usize]) -> Self {
        let squares = order.iter().filter_map(|at| self.squares.get(*at).copied()).collect();
        let rows = self.matrix.select(Axis(0), order);
        let matrix = if how.way == Way::Gram { rows.select(Axis(1), order) } else { rows };
        Self { matrix, squares }
    }

    /// The sum of squared distances from the mean.
    #[must_use]
    pub fn trace(&self) -> f64 {
        self.squares.iter().sum()
    }

    /// The largest that HSIC of these rows with themselves could be.
    #[must_use]
    pub fn scale(&self, how: How) -> f64 {
        self.trace().powi(2) / how.norm(self.squares.len())
    }
}

/// HSIC of the rows of two sites, prepared in the same way.
#[must_use]
pub fn hsic(how: How, left: &Prepared, right: &Prepared) -> f64 {
    let size = left.squares.len();
    let (n, norm) = (size as f64, how.norm(size));
    if how.way == Way::Gram {
        let sum = Zip::from(&left.matrix).and(&right.matrix).fold(0.0, |sum, a, b| sum + a * b);
        return sum / norm;
    }
    let width = left.matrix.ncols();
    let strip = |from: usize| {
        let some = left.matrix.slice(s![.., from..width.min(from + STRIP)]);
        let products = some.t().dot(&right.matrix);
        products.iter().map(|x| x * x).sum::<f64>()
    };
    let cross: f64 = (0..width).step_by(STRIP).map(strip).sum();
    if !how.unbiased {
        return cross / norm;
    }
    // Rows sum to zero, so that a row of a kernel without its diagonal sums to minus the squared length of that row.
    let own: f64 = left.squares.iter().zip(&right.squares).map(|(k, l)| k * l).sum();
    let traces = left.trace() * right.trace() / ((n - 1.0) * (n - 2.0));
    (cross - n / (n - 2.0) * own + traces) / norm
}

/// A kernel without its diagonal, less what its rows and columns have on average, so that each sums to zero (Székely and Rizzo 2014).
fn u_centre(gram: &mut Array2<f64>) {
    gram.diag_mut().fill(0.0);
    let n = gram.nrows() as f64;
    let sums = gram.sum_axis(Axis(1));
    let all = sums.sum() / ((n - 1.0) * (n - 2.0));
    Zip::indexed(gram).for_each(|(i, j), x| {
        *x = if i == j { 0.0 } else { *x - (sums[i] + sums[j]) / (n - 2.0) + all };
    });
}

#[cfg(test)]
mod tests {
    use mmlens_core::finding::Tolerance;

    use super::{How, Prepared, Way, hsic};

    fn drawn(rows: usize, width: usize, seed: u64) -> Vec<f64> {
        let draw = |i: usize| {
            // a mean that centring has to take away
            5.0 + f64::from(mmlens_core::Seed(seed).at(i as u64).unit())
        };
        (0..rows * width).map(draw).collect()
    }

    fn kernel(rows: &[f64], width: usize) -> Vec<Vec<f64>> {
        let rows: Vec<&[f64]> = rows.chunks(width).collect();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
        rows.iter().map(|a| rows.iter().map(|b| dot(a, b)).collect()).collect()
    }

    /// HSIC_1 as Song et al. write it (2012, equation 5), from kernels that are not centred, and HSIC_0 as the trace of `K H L H`.
    fn by_the_book(k: &[Vec<f64>], l: &[Vec<f64>], unbiased: bool) -> f64 {
        let size = k.len();
        let n = size as f64;
        let each = |f: &dyn Fn(usize, usize) -> f64| -> f64 {
            (0..size).flat_map(|i| (0..size).map(move |j| (i, j))).map(|(i, j)| f(i, j)).sum()
        };
        if unbiased {
            let off = |m: &[Vec<f64>], i: usize, j: usize| if i == j { 0.0 } else { m[i][j] };
            let row = |m: &[Vec<f64>], i: usize| (0..size).map(|j| off(m, i, j)).sum::<f64>();
            let traces = each(&|i, j| off(k, i, j) * off(l, i, j));
            let (of_k, of_l) = (each(&|i, j| off(k, i, j)), each(&|i, j| off(l, i, j)));
            let mixed: f64 = (0..size).map(|i| row(k, i) * row(l, i)).sum();
            return (traces + of_k * of_l / ((n - 1.0) * (n - 2.0)) - 2.0 / (n - 2.0) * mixed)
                / (n * (n - 3.0));
        }
        let centred = |m: &[Vec<f64>], i: usize, j: usize| {
            let row: f64 = m[i].iter().sum::<f64>() / n;
            let column: f64 = m.iter().map(|row| row[j]).sum::<f64>() / n;
            m[i][j] - row - column + each(&|i, j| m[i][j]) / (n * n)
        };
        each(&|i, j| centred(k, i, j) * centred(l, i, j)) / ((n - 1.0) * (n - 1.0))
    }

    #[test]
    fn both_ways_give_what_the_papers_write() {
        for (n, [a, b]) in [(4, [3, 2]), (9, [2, 5]), (7, [40, 1]), (12, [140, 150])] {
            let (x, y) = (drawn(n, a, 1), drawn(n, b, 2));
            for unbiased in [false, true] {
                let wanted = by_the_book(&kernel(&x, a), &kernel(&y, b), unbiased);
                for way in [Way::Gram, Way::Covariance] {
                    let how = How { way, unbiased };
                    let of = |rows: &[f64], width: usize| Prepared::new(how, rows.to_vec(), width).unwrap();
                    let found = hsic(how, &of(&x, a), &of(&y, b));
                    // Kernels of rows that are not centred hold numbers up to 30 * 150, whose products lose 1e-16 of their size.
                    let bound = Tolerance::absolute(1e-7);
                    bound.check(&format!("{n} {a} {b} {how:?}"), &[found], &[wanted]).unwrap();
                }
            }
        }
    }

    #[test]
    fn shuffled_rows_are_rows_in_another_order() {
        let (n, width, order) = (6, 4, [3, 1, 5, 0, 4, 2]);
        let (x, y) = (drawn(n, 3, 1), drawn(n, width, 2));
        let moved: Vec<f64> = order.iter().flat_map(|at| y[at * width..(at + 1) * width].to_vec()).collect();
        for way in [Way::Gram, Way::Covariance] {
            for unbiased in [false, true] {
                let how = How { way, unbiased };
                let of = |rows: &[f64], width| Prepared::new(how, rows.to_vec(), width).unwrap();
                let (left, right) = (of(&x, 3), of(&y, width));
                let found = hsic(how, &left, &right.shuffled(how, &order));
                let wanted = hsic(how, &left, &of(&moved, width));
                Tolerance::absolute(1e-12).check("shuffled", &[found], &[wanted]).unwrap();
                assert!((found - hsic(how, &left, &right)).abs() > 1e-4, "{how:?}");
            }
        }
    }
}
