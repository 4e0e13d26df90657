//! Eigenvalues and eigenvectors of symmetric matrices.
//!
//! Householder's reduction to three diagonals, then the implicit QL method with Wilkinson's shifts (Bowdler, Martin, Reinsch,
//! Wilkinson, Numerische Mathematik 11, 1968; Golub, Van Loan, Matrix Computations, 4th edition, 2013, section 8.3). Libraries that have
//! it ask for other features of crates that Burn is built on, and Burn is built again.

use mmlens_core::AnalysisError;

use crate::Matrix;

/// So many turns of QL find an eigenvalue, or it is given up.
const TURNS: usize = 60;

/// Eigenvalues in descending order, and a row for each with its eigenvector, of length one.
#[derive(Debug, Clone, PartialEq)]
pub struct Eigen {
    /// Eigenvalues, the largest first.
    pub values: Vec<f64>,
    /// Eigenvectors, a row each.
    pub vectors: Matrix,
}

impl Eigen {
    /// Of a symmetric matrix, of which the lower half is read. The sign of each vector makes its largest entry (of several the first) positive.
    ///
    /// # Errors
    /// [`AnalysisError::NotFinite`] for a matrix that is not square, holds another than finite numbers, or on which the method does not end.
    ///
    /// # Cost
    /// About `9 n^3` operations.
    pub fn of(method: &'static str, matrix: &Matrix) -> Result<Self, AnalysisError> {
        let n = matrix.len();
        let failed = |at, found| failed(method, at, found);
        if matrix.width() != n {
            return Err(failed(format!("{n} rows of {}", matrix.width()), f64::NAN));
        }
        if let Some(at) = matrix.values().iter().position(|value| !value.is_finite()) {
            return Err(failed(format!("entry {at}"), f64::NAN));
        }
        let mut v: Vec<Vec<f64>> = matrix.rows().map(<[f64]>::to_vec).collect();
        let (mut d, mut e) = (vec![0.0; n], vec![0.0; n]);
        if n > 0 {
            reduce(&mut v, &mut d, &mut e);
            // Columns become rows, so that a turn goes through memory in order.
            let mut rows: Vec<Vec<f64>> = (0..n).map(|at| v.iter().map(|row| row[at]).collect()).collect();
            if let Some(at) = turn(&mut rows, &mut d, &mut e) {
                return Err(failed(format!("eigenvalue {at}"), d[at]));
            }
            v = rows;
        }
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|a, b| d[*b].total_cmp(&d[*a]).then(a.cmp(b))); // no NaN: the search ended
        let mut vectors = Matrix::zeros(n, n);
        for (to, at) in vectors.rows_mut().zip(&order) {
            to.copy_from_slice(&v[*at]);
            let mut largest = 0.0_f64;
            for x in to.iter() {
                // no NaN: vectors of a finite matrix
                if x.abs() > largest.abs() {
                    largest = *x;
                }
            }
            if largest < 0.0 {
                to.iter_mut().for_each(|x| *x = -*x);
            }
        }
        Ok(Self { values: order.iter().map(|at| d[*at]).collect(), vectors })
    }
}

fn failed(method: &str, at: String, found: f64) -> AnalysisError {
    let table = "a symmetric matrix".to_owned();
    AnalysisError::NotFinite { method: method.to_owned(), table, at, found: found as f32 }
}

/// The first principal components of rows that are centred already, a row each, of length one; fewer, where the rows span fewer dimensions.
///
/// # Errors
/// As [`Eigen::of`].
///
/// # Cost
/// `9 m^3 + 2 m n d` operations for `n` rows of `d` numbers, with `m` the smaller of the two.
pub fn principal(method: &'static str, rows: &Matrix, count: usize) -> Result<Matrix, AnalysisError> {
    let least = |values: &[f64]| f64::EPSILON * values.len() as f64 * values.first().copied().unwrap_or(0.0);
    let wide = rows.width() > rows.len();
    let turned = rows.transposed();
    let Eigen { values, vectors } =
        Eigen::of(method, &if wide { rows.products(rows) } else { turned.products(&turned) })?;
    let spanned = values.iter().take(count).take_while(|value| **value > least(&values)).count();
    let vectors = vectors.chosen(&(0..spanned).collect::<Vec<_>>());
    match wide {
        false => Ok(vectors),
        // From what rows weigh to what they add up to.
        true => vectors.times(rows).normalised().map_err(|at| failed(method, format!("component {at}"), 0.0)),
    }
}

/// To three diagonals: `d` on the diagonal, `e` below it from its second entry on, and the columns of `v` the vectors that lead there.
fn reduce(v: &mut [Vec<f64>], d: &mut [f64], e: &mut [f64]) {
    let n = d.len();
    d.copy_from_slice(&v[n - 1]);
    for i in (1..n).rev() {
        let scale: f64 = d[..i].iter().map(|x| x.abs()).sum();
        let mut h = 0.0;
        if scale == 0.0 {
            e[i] = d[i - 1];
            for j in 0..i {
                d[j] = v[i - 1][j];
                v[i][j] = 0.0;
                v[j][i] = 0.0;
            }
        } else {
            for x in &mut d[..i] {
                *x /= scale;
                h += *x * *x;
            }
            let f = d[i - 1];
            let g = if f > 0.0 { -h.sqrt() } else { h.sqrt() };
            e[i] = scale * g;
            h -= f * g;
            d[i - 1] = f - g;
            e[..i].fill(0.0);
            for j in 0..i {
                let f = d[j];
                v[j][i] = f;
                let mut g = e[j] + v[j][j] * f;
                for k in j + 1..i {
                    g += v[k][j] * d[k];
                    e[k] += v[k][j] * f;
                }
                e[j] = g;
            }
            let mut f = 0.0;
            for j in 0..i {
                e[j] /= h;
                f += e[j] * d[j];
            }
            let half = f / (h + h);
            for j in 0..i {
                e[j] -= half * d[j];
            }
            for j in 0..i {
                let (f, g) = (d[j], e[j]);
                for k in j..i {
                    v[k][j] -= f * e[k] + g * d[k];
                }
                d[j] = v[i - 1][j];
                v[i][j] = 0.0;
            }
        }
        d[i] = h;
    }
    for i in 0..n - 1 {
        v[n - 1][i] = v[i][i];
        v[i][i] = 1.0;
        let h = d[i + 1];
        if h != 0.0 {
            for k in 0..=i {
                d[k] = v[k][i + 1] / h;
            }
            for j in 0..=i {
                let g: f64 = (0..=i).map(|k| v[k][i + 1] * v[k][j]).sum();
                for k in 0..=i {
                    v[k][j] -= g * d[k];
                }
            }
        }
        for row in &mut v[..=i] {
            row[i + 1] = 0.0;
        }
    }
    for j in 0..n {
        d[j] = v[n - 1][j];
        v[n - 1][j] = 0.0;
    }
    v[n - 1][n - 1] = 1.0;
    e[0] = 0.0;
}

/// From three diagonals to one, turning the rows of `v` along. `Some` names an eigenvalue that was not found.
fn turn(v: &mut [Vec<f64>], d: &mut [f64], e: &mut [f64]) -> Option<usize> {
    let n = d.len();
    e.copy_within(1.., 0);
    e[n - 1] = 0.0;
    let (mut shift, mut size) = (0.0_f64, 0.0_f64);
    for l in 0..n {
        size = size.max(d[l].abs() + e[l].abs()); // no NaN: checked when read
        let mut m = l;
        while m < n - 1 && e[m].abs() > f64::EPSILON * size {
            m += 1;
        }
        let mut turns = 0;
        while m > l && e[l].abs() > f64::EPSILON * size {
            turns += 1;
            if turns > TURNS {
                return Some(l);
            }
            let g = d[l];
            let p = (d[l + 1] - g) / (2.0 * e[l]);
            let r = if p < 0.0 { -p.hypot(1.0) } else { p.hypot(1.0) };
            d[l] = e[l] / (p + r);
            d[l + 1] = e[l] * (p + r);
            let next = d[l + 1];
            let h = g - d[l];
            d[l + 2..].iter_mut().for_each(|x| *x -= h);
            shift += h;
            let mut p = d[m];
            let (mut c, mut c2, mut c3) = (1.0, 1.0, 1.0);
            let (mut s, mut s2) = (0.0, 0.0);
            let below = e[l + 1];
            for i in (l..m).rev() {
                c3 = c2;
                c2 = c;
                s2 = s;
                let g = c * e[i];
                let h = c * p;
                let r = p.hypot(e[i]);
                e[i + 1] = s * r;
                s = e[i] / r;
                c = p / r;
                p = c * d[i] - s * g;
                d[i + 1] = h + s * (c * g + s * d[i]);
                let (left, right) = v.split_at_mut(i + 1);
                for (a, b) in left[i].iter_mut().zip(right[0].iter_mut()) {
                    let h = *b;
                    *b = s * *a + c * h;
                    *a = c * *a - s * h;
                }
            }
            p = -s * s2 * c3 * below * e[l] / next;
            e[l] = s * p;
            d[l] = c * p;
        }
        d[l] += shift;
        e[l] = 0.0;
    }
    None
}

#[cfg(test)]
mod tests {
    use mmlens_core::Seed;
    use proptest::prelude::*;

    use super::{Eigen, principal};
    use crate::{Matrix, normal};

    #[test]
    fn by_hand() {
        // (2 1; 1 2) has 3 along (1, 1) and 1 along (1, -1).
        let found = Eigen::of("test", &Matrix::new(vec![2.0, 1.0, 1.0, 2.0], 2).unwrap()).unwrap();
        assert!((found.values[0] - 3.0).abs() < 1e-15 && (found.values[1] - 1.0).abs() < 1e-15, "{found:?}");
        let half = 0.5_f64.sqrt();
        for (x, y) in found.vectors.row(0).iter().zip([half, half]) {
            assert!((x - y).abs() < 1e-15, "{found:?}");
        }
        let one = Eigen::of("test", &Matrix::new(vec![-4.0], 1).unwrap()).unwrap();
        assert_eq!((one.values, one.vectors.values()), (vec![-4.0], &[1.0][..]));
        assert!(Eigen::of("test", &Matrix::default()).unwrap().values.is_empty());
        assert!(Eigen::of("test", &Matrix::zeros(2, 3)).is_err());
        assert!(Eigen::of("test", &Matrix::new(vec![f64::NAN], 1).unwrap()).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        /// The matrix is put together again from them, and the vectors are at right angles.
        #[test]
        fn values_and_vectors_make_the_matrix(seed in 0..1000_u64, n in 1..24_usize, rank in 1..30_usize) {
            let draw = |at: usize| normal(Seed(seed).at(at as u64));
            let rows = Matrix::new((0..n * rank).map(draw).collect(), rank).unwrap();
            let matrix = rows.products(&rows);
            let found = Eigen::of("test", &matrix).unwrap();
            prop_assert!(found.values.windows(2).all(|pair| pair[0] >= pair[1]));
            // The components of rows are the directions of the covariance, whichever way they are found.
            let centred = rows.clone().less(&rows.mean());
            let turned = centred.transposed();
            let spread = Eigen::of("test", &turned.products(&turned)).unwrap().values;
            let components = principal("test", &centred, 2).unwrap();
            for (at, component) in components.rows().enumerate() {
                let along: f64 = centred.rows().map(|row| crate::dot(row, component).powi(2)).sum();
                prop_assert!((along - spread[at]).abs() <= 1e-10 * spread[0]);
            }
            let scale = matrix.square().sqrt();
            let each = found.vectors.products(&found.vectors);
            for i in 0..n {
                for j in 0..n {
                    let made: f64 = (0..n)
                        .map(|k| found.values[k] * found.vectors.row(k)[i] * found.vectors.row(k)[j])
                        .sum();
                    prop_assert!((made - matrix.row(i)[j]).abs() <= 1e-13 * scale);
                    prop_assert!((each.row(i)[j] - f64::from(u8::from(i == j))).abs() < 1e-13);
                }
            }
        }
    }
}
