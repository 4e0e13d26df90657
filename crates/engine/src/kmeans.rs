//! k-means: rows in groups around their means, in double precision.
//!
//! Centres are drawn from the rows (k-means++: Arthur, Vassilvitskii, SODA 2007): the first at random, each further one with a probability in proportion to the squared
//! distance of a row from the nearest centre so far. Then rows go to the nearest centre (of several as near the first) and centres to the mean of their rows, until no row
//! moves (Lloyd 1982). A centre that is left without rows goes to the row that lies farthest from its own centre, of several the first. Of several starts the one with the
//! least sum of squared distances is kept, of several as small the first.
//!
//! Draws of start `i` are those of `seed.at(i)`: draw `j` in [0, 1) is that of `.at(j)`, times `n` rounded down the number of the first row, times the sum of the squared distances the
//! place in their running sum (the first row at which it is exceeded).

use mmlens_core::{AnalysisError, Seed};

use crate::{Matrix, dot};

/// Groups of rows.
#[derive(Debug, Clone, PartialEq)]
pub struct KMeans {
    /// The means, a row each.
    pub centres: Matrix,
    /// The group of each row.
    pub groups: Vec<usize>,
    /// The sum of squared distances from the centres.
    pub error: f64,
    /// Rounds that the start took that was kept.
    pub rounds: usize,
    /// Whether no row moved in the last of them.
    pub converged: bool,
}

impl KMeans {
    /// Groups rows into `count` groups, at most as many as there are rows; `each` is told of every start and may end the search with an error.
    ///
    /// # Errors
    /// What `each` says.
    ///
    /// # Cost
    /// `3 n count d` operations for each round.
    pub fn of(
        rows: &Matrix,
        count: usize,
        (starts, rounds): (usize, usize),
        seed: Seed,
        each: &mut dyn FnMut(usize) -> Result<(), AnalysisError>,
    ) -> Result<Self, AnalysisError> {
        let mut best: Option<Self> = None;
        for start in 0..starts {
            let own = Self::from(rows, drawn(rows, count, seed.at(start as u64)), rounds);
            // no NaN: rows are finite
            if best.as_ref().is_none_or(|best| own.error < best.error) {
                best = Some(own);
            }
            each(start + 1)?;
        }
        Ok(best.unwrap_or_else(|| Self::from(rows, Matrix::zeros(0, rows.width()), 0)))
    }

    /// From some centres on.
    #[must_use]
    pub fn from(rows: &Matrix, mut centres: Matrix, most: usize) -> Self {
        let (mut groups, mut converged, mut rounds) = (vec![usize::MAX; rows.len()], false, 0);
        let mut nearest = Vec::new();
        while !converged && rounds < most {
            rounds += 1;
            nearest = near(rows, &centres);
            let mut taken: Vec<usize> = nearest.iter().map(|(group, _)| *group).collect();
            refilled(&mut taken, &mut nearest, centres.len());
            converged = taken == groups;
            groups = taken;
            if !converged {
                centres = means(rows, &groups, centres.len());
            }
        }
        if !converged {
            nearest = near(rows, &centres);
            groups = nearest.iter().map(|(group, _)| *group).collect();
        }
        let error = nearest.iter().map(|(_, distance)| distance).sum();
        Self { centres, groups, error, rounds, converged }
    }
}

/// The nearest centre of each row, and its squared distance.
pub(crate) fn near(rows: &Matrix, centres: &Matrix) -> Vec<(usize, f64)> {
    let squares: Vec<f64> = centres.rows().map(|centre| dot(centre, centre)).collect();
    let nearest = |row: &[f64]| {
        let mut best = (0, f64::INFINITY);
        for (at, (centre, square)) in centres.rows().zip(&squares).enumerate() {
            let far = square - 2.0 * dot(row, centre);
            // no NaN: rows are finite
            if far < best.1 {
                best = (at, far);
            }
        }
        let centre = centres.row(best.0);
        // Anew, for the digits that the products lose.
        (best.0, row.iter().zip(centre).map(|(x, c)| (x - c) * (x - c)).sum())
    };
    rows.rows().map(nearest).collect()
}

/// Groups without rows take those that lie farthest from their centres.
fn refilled(groups: &mut [usize], nearest: &mut [(usize, f64)], count: usize) {
    for empty in 0..count.min(groups.len()) {
        if groups.contains(&empty) {
            continue;
        }
        let mut farthest: Option<(usize, f64)> = None;
        for (row, (group, distance)) in nearest.iter().enumerate() {
            let alone = groups.iter().filter(|own| *own == group).count() < 2;
            if !alone && farthest.is_none_or(|(_, far)| *distance > far) {
                farthest = Some((row, *distance));
            }
        }
        if let Some((row, _)) = farthest {
            groups[row] = empty;
            nearest[row] = (empty, 0.0);
        }
    }
}

fn means(rows: &Matrix, groups: &[usize], count: usize) -> Matrix {
    let mut sums = Matrix::zeros(count, rows.width());
    let mut sizes = vec![0.0; count];
    let mut all: Vec<&mut [f64]> = sums.rows_mut().collect();
    for (row, group) in rows.rows().zip(groups) {
        if let (Some(sum), Some(size)) = (all.get_mut(*group), sizes.get_mut(*group)) {
            sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
            *size += 1.0;
        }
    }
    for (sum, size) in all.iter_mut().zip(&sizes).filter(|(_, size)| **size > 0.0) {
        sum.iter_mut().for_each(|x| *x /= size);
    }
    sums
}

/// Rows as centres to begin with.
fn drawn(rows: &Matrix, count: usize, seed: Seed) -> Matrix {
    let (n, count) = (rows.len(), count.min(rows.len()));
    let unit = |at: usize| f64::from(seed.at(at as u64).unit());
    let mut chosen = Vec::with_capacity(count);
    if count > 0 {
        chosen.push(((unit(0) * n as f64) as usize).min(n - 1));
    }
    let mut distances = vec![f64::INFINITY; n];
    while chosen.len() < count {
        let last = rows.row(chosen[chosen.len() - 1]).to_vec();
        for (distance, row) in distances.iter_mut().zip(rows.rows()) {
            let own: f64 = row.iter().zip(&last).map(|(x, c)| (x - c) * (x - c)).sum();
            *distance = distance.min(own); // no NaN: of finite rows
        }
        let total: f64 = distances.iter().sum();
        let place = unit(chosen.len()) * total;
        let mut running = 0.0;
        let found = distances.iter().position(|distance| {
            running += distance;
            running > place
        });
        // Where all rows are centres already, what is left are copies of them.
        let next = found.or_else(|| (0..n).find(|row| !chosen.contains(row)));
        chosen.push(next.unwrap_or(0));
    }
    rows.chosen(&chosen)
}

#[cfg(test)]
mod tests {
    use mmlens_core::Seed;
    use proptest::prelude::*;

    use super::KMeans;
    use crate::{Matrix, normal};

    fn of(rows: &Matrix, count: usize, seed: u64) -> KMeans {
        KMeans::of(rows, count, (4, 200), Seed(seed), &mut |_| Ok(())).unwrap()
    }

    #[test]
    fn by_hand() {
        // Two pairs on a line: means 1 and 11, each row 1 away from its own.
        let rows = Matrix::new(vec![0.0, 2.0, 10.0, 12.0], 1).unwrap();
        let found = of(&rows, 2, 1);
        let mut centres = found.centres.values().to_vec();
        centres.sort_by(f64::total_cmp);
        assert_eq!((centres, found.error, found.converged), (vec![1.0, 11.0], 4.0, true));
        assert_eq!(found.groups[0], found.groups[1]);
        let all = of(&rows, 9, 1);
        assert_eq!((all.centres.len(), all.error), (4, 0.0));
        let same = Matrix::new(vec![3.0; 4], 1).unwrap();
        assert_eq!(of(&same, 2, 1).error, 0.0);
        // A centre that no row is near to takes the row that is farthest from its own.
        let lost = Matrix::new(vec![1.0, 1000.0], 1).unwrap();
        assert_eq!(KMeans::from(&rows, lost, 200).error, 4.0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        /// Every row is with the nearest centre, every centre the mean of its rows, more groups are no worse, and blobs that lie apart are told apart.
        #[test]
        fn a_fixed_point(seed in 0..1000_u64, n in 6..40_usize, width in 1..6_usize, count in 1..6_usize) {
            let draw = |at: usize| normal(Seed(seed).at(at as u64));
            let rows = Matrix::new((0..n * width).map(draw).collect(), width).unwrap();
            let found = of(&rows, count, seed);
            prop_assert!(found.converged);
            for (row, group) in rows.rows().zip(&found.groups) {
                let far = |at: usize| row.iter().zip(found.centres.row(at)).map(|(x, c)| (x - c).powi(2)).sum::<f64>();
                prop_assert!((0..count).all(|other| far(*group) <= far(other) + 1e-12));
            }
            for group in 0..count {
                let own: Vec<usize> = (0..n).filter(|row| found.groups[*row] == group).collect();
                let mean = rows.chosen(&own).mean();
                prop_assert!(found.centres.row(group).iter().zip(mean).all(|(a, b)| (a - b).abs() < 1e-12));
            }
            let blobs = Matrix::new((0..n * width).map(|at| draw(at) + 100.0 * (at / width % 3) as f64).collect(), width).unwrap();
            let found = of(&blobs, 3, seed);
            prop_assert!((0..n).all(|row| found.groups[row] == found.groups[row % 3]));
        }
    }
}
