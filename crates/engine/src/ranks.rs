//! Two groups compared by the ranks of their values, and many such comparisons at once.

/// Values by their ranks, from 1; equal ones share the mean of theirs.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranked {
    /// The rank of each value.
    pub ranks: Vec<f64>,
    /// The sum of `t^3 - t` over all sets of `t` equal values.
    pub ties: f64,
}

impl Ranked {
    /// Of values that are all numbers.
    pub fn of(values: &[f32]) -> Self {
        let value = |at: &usize| values.get(*at).copied().unwrap_or(0.0);
        let mut order: Vec<usize> = (0..values.len()).collect();
        // `0` and `-0` are equal.
        order.sort_by(|a, b| (value(a) + 0.0).total_cmp(&(value(b) + 0.0))); // no NaN: the caller's numbers
        let (mut ranks, mut ties, mut from) = (vec![0.0; values.len()], 0.0, 0);
        for equal in order.chunk_by(|a, b| value(a) == value(b)) {
            let t = equal.len() as f64;
            let rank = from as f64 + (t + 1.0) / 2.0;
            for at in equal {
                if let Some(slot) = ranks.get_mut(*at) {
                    *slot = rank;
                }
            }
            ties += t * t * t - t;
            from += equal.len();
        }
        Self { ranks, ties }
    }
}

/// The test of Mann and Whitney between two groups of fixed sizes, two-sided.
#[derive(Debug, Clone)]
pub struct MannWhitney {
    sizes: [usize; 2],
    /// How likely each value of U is where nothing is equal, for groups of which one is small.
    exact: Option<Vec<f64>>,
}

/// A group of no more values is small.
const SMALL: usize = 8;

impl MannWhitney {
    /// For groups of so many values, none of them empty.
    ///
    /// # Cost
    /// Where one has no more than eight values, time and memory in proportion to the product of the sizes.
    pub fn new(first: usize, second: usize) -> Self {
        let small = first.min(second) <= SMALL; // no NaN: whole numbers
        Self { sizes: [first, second], exact: small.then(|| distribution(first, second)) }
    }

    /// U of the first group: how often one of its values is above one of the second, equal ones counted half.
    pub fn u(&self, ranked: &Ranked, first: &[bool]) -> f64 {
        let sum: f64 = ranked.ranks.iter().zip(first).filter(|(_, own)| **own).map(|(rank, _)| rank).sum();
        let n = self.sizes[0] as f64;
        sum - n * (n + 1.0) / 2.0
    }

    /// The probability of a U as far from the middle, on either side: exact where a group is small and no values are equal, else by the
    /// normal distribution, with corrections for equal values and continuity.
    pub fn p(&self, u: f64, ties: f64) -> f64 {
        let [a, b] = self.sizes.map(|size| size as f64);
        let far = u.max(a * b - u); // no NaN: sums of ranks
        let tail = match &self.exact {
            Some(exact) if ties == 0.0 => exact.iter().skip(far as usize).sum::<f64>(),
            _ => {
                let n = a + b;
                let variance = a * b / 12.0 * (n + 1.0 - ties / (n * (n - 1.0)));
                if variance <= 0.0 {
                    return 1.0;
                }
                let z = (far - a * b / 2.0 - 0.5) / variance.sqrt();
                0.5 * libm::erfc(z / std::f64::consts::SQRT_2)
            }
        };
        (2.0 * tail).min(1.0) // no NaN: sums of probabilities
    }
}

/// How likely each value of U is, of groups without equal values: the coefficients of a Gaussian binomial, each divided by their sum.
fn distribution(a: usize, b: usize) -> Vec<f64> {
    let (few, many) = (a.min(b), a.max(b)); // no NaN: whole numbers
    let mut counts = vec![0.0_f64; few * many + 1];
    if let Some(first) = counts.first_mut() {
        *first = 1.0;
    }
    for i in 1..=few {
        // Times 1 - x^(many + i), over 1 - x^i: from the top down, then from the bottom up.
        let up = many + i;
        for at in (up..counts.len()).rev() {
            let less = counts.get(at - up).copied().unwrap_or(0.0);
            if let Some(slot) = counts.get_mut(at) {
                *slot -= less;
            }
        }
        for at in i..counts.len() {
            let more = counts.get(at - i).copied().unwrap_or(0.0);
            if let Some(slot) = counts.get_mut(at) {
                *slot += more;
            }
        }
    }
    let total: f64 = counts.iter().sum();
    counts.into_iter().map(|count| count / total).collect()
}

/// p-values adjusted by Benjamini and Hochberg: those up to a level are of findings of which in the mean no larger share is false, where
/// they are independent. `q` of the `i`-th smallest of `m` is the least of `p m / j` over all `j` from `i` on.
pub fn benjamini_hochberg(p: &[f64]) -> Vec<f64> {
    let value = |at: &usize| p.get(*at).copied().unwrap_or(1.0);
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| value(a).total_cmp(&value(b))); // no NaN: probabilities
    let (m, mut least, mut q) = (p.len() as f64, 1.0_f64, vec![1.0; p.len()]);
    for (rank, at) in order.iter().enumerate().rev() {
        least = least.min(value(at) * m / (rank + 1) as f64); // no NaN: probabilities
        if let Some(slot) = q.get_mut(*at) {
            *slot = least;
        }
    }
    q
}

#[cfg(test)]
mod tests {
    use super::{MannWhitney, Ranked, benjamini_hochberg, distribution};

    #[test]
    fn equal_values_share_their_ranks() {
        let ranked = Ranked::of(&[3.0, 1.0, 3.0, 2.0, 3.0, -0.0, 0.0]);
        // 0 and -0 are 1 and 2, then 1, 2 and three times 3: (5 + 6 + 7) / 3
        assert_eq!(ranked.ranks, [6.0, 3.0, 6.0, 4.0, 6.0, 1.5, 1.5]);
        // 3^3 - 3 + 2^3 - 2
        assert_eq!(ranked.ties, 30.0);
    }

    #[test]
    fn the_exact_distribution_counts_orders() {
        // Of 2 and 2 there are 6 orders, with U = 0, 1, 2, 2, 3, 4.
        let wanted = [1.0, 1.0, 2.0, 1.0, 1.0].map(|count| count / 6.0);
        assert_eq!(distribution(2, 2), wanted);
        let wide = distribution(8, 400);
        assert!((wide.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        let turned: Vec<f64> = wide.iter().rev().copied().collect();
        assert!(wide.iter().zip(&turned).all(|(a, b)| (a - b).abs() < 1e-15 && *a >= 0.0));
    }

    #[test]
    fn groups_that_do_not_overlap_are_as_unlikely_as_their_number_of_orders() {
        let (test, ranked) = (MannWhitney::new(2, 3), Ranked::of(&[9.0, 8.0, 1.0, 2.0, 3.0]));
        let first = [true, true, false, false, false];
        let u = test.u(&ranked, &first);
        // One of 10 orders, and its mirror.
        assert_eq!((u, test.p(u, ranked.ties)), (6.0, 0.2));
        let same = Ranked::of(&[1.0; 5]);
        assert_eq!(test.p(test.u(&same, &first), same.ties), 1.0);
    }

    #[test]
    fn adjusted_values_by_hand() {
        // sorted 0.01, 0.02, 0.04, 0.8 of 4: 0.04, 0.04, 0.0533.., 0.8
        let q = benjamini_hochberg(&[0.04, 0.01, 0.8, 0.02]);
        let wanted = [0.04 * 4.0 / 3.0, 0.04, 0.8, 0.04];
        assert!(q.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-15), "{q:?}");
        // A larger one never has a smaller adjusted value.
        assert_eq!(benjamini_hochberg(&[0.03, 0.03]), [0.03, 0.03]);
        assert!(benjamini_hochberg(&[]).is_empty());
    }
}
