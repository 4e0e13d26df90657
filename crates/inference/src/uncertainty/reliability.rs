//! Whether confidences are right as often as they say, and whether they tell right from wrong.

use mmlens_core::finding::{NotFinite, finite};

/// Some cases of like confidence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bin {
    /// How many.
    pub cases: usize,
    /// Their mean confidence.
    pub confidence: f64,
    /// How many of them are right, as a share.
    pub right: f64,
}

/// Confidences, each from 0 to 1, and whether each case is right.
#[derive(Debug, Clone, PartialEq)]
pub struct Reliability {
    cases: Vec<(f64, bool)>,
}

impl Reliability {
    /// Some cases.
    ///
    /// # Errors
    /// [`NotFinite`] for a confidence that is no number.
    pub fn new(cases: Vec<(f64, bool)>) -> Result<Self, NotFinite> {
        finite(&cases.iter().map(|(confidence, _)| *confidence).collect::<Vec<f64>>())?;
        Ok(Self { cases })
    }

    fn bin(cases: &[(f64, bool)]) -> Bin {
        let count = cases.len() as f64;
        Bin {
            cases: cases.len(),
            confidence: cases.iter().map(|(confidence, _)| confidence).sum::<f64>() / count,
            right: cases.iter().filter(|(_, right)| *right).count() as f64 / count,
        }
    }

    /// So many bins of equal width, `(k / bins, (k + 1) / bins]`, a confidence of 0 in the first; empty ones are `None`.
    #[must_use]
    pub fn of_equal_width(&self, bins: usize) -> Vec<Option<Bin>> {
        let mut all: Vec<Vec<(f64, bool)>> = vec![Vec::new(); bins];
        for case in &self.cases {
            // The first bin whose upper end is not below it.
            let at = (0..bins).find(|k| case.0 <= (k + 1) as f64 / bins as f64);
            if let Some(bin) = all.get_mut(at.unwrap_or(bins.saturating_sub(1))) {
                bin.push(*case);
            }
        }
        all.iter().map(|bin| (!bin.is_empty()).then(|| Self::bin(bin))).collect()
    }

    /// So many bins of as many cases each, in the order of their confidence: the first ones have one more where they do not come out even.
    /// Cases of one confidence stay in their order.
    #[must_use]
    pub fn of_equal_mass(&self, bins: usize) -> Vec<Bin> {
        let mut sorted = self.cases.clone();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (each, more) = (sorted.len() / bins.max(1), sorted.len() % bins.max(1));
        let mut rest = sorted.as_slice();
        let mut found = Vec::new();
        for at in 0..bins {
            let (bin, others) = rest.split_at(each + usize::from(at < more));
            if !bin.is_empty() {
                found.push(Self::bin(bin));
            }
            rest = others;
        }
        found
    }

    /// How far confidence and share of right ones are apart in the bins, on average over the cases.
    #[must_use]
    pub fn calibration_error(bins: &[Bin]) -> f64 {
        let all: usize = bins.iter().map(|bin| bin.cases).sum();
        let apart = |bin: &Bin| bin.cases as f64 * (bin.confidence - bin.right).abs();
        bins.iter().map(apart).sum::<f64>() / all as f64
    }

    /// The mean squared difference of confidence and being right.
    #[must_use]
    pub fn brier(&self) -> f64 {
        let square = |(confidence, right): &(f64, bool)| (confidence - f64::from(u8::from(*right))).powi(2);
        self.cases.iter().map(square).sum::<f64>() / self.cases.len() as f64
    }

    /// The chance that a right case has a higher confidence than a wrong one, halves of equals counted; `None` if all are right, or none.
    #[must_use]
    pub fn auroc(&self) -> Option<f64> {
        let mut sorted: Vec<&(f64, bool)> = self.cases.iter().collect();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
        let right = sorted.iter().filter(|(_, right)| *right).count();
        let wrong = sorted.len() - right;
        if right == 0 || wrong == 0 {
            return None;
        }
        let (mut ahead, mut below) = (0.0, 0.0);
        for equal in sorted.chunk_by(|a, b| a.0 == b.0) {
            let own = equal.iter().filter(|(_, right)| *right).count() as f64;
            let others = equal.len() as f64 - own;
            ahead += own * (below + 0.5 * others);
            below += others;
        }
        Some(ahead / (right * wrong) as f64)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn measures_by_hand() {
        let own = Reliability::new(vec![(0.9, true), (0.5, false), (0.2, false), (0.5, true), (0.0, false)])
            .unwrap();
        // (0, 1/2]: 0.5, 0.2, 0.5, 0: mean 0.3, one right of four; (1/2, 1]: 0.9, right.
        let wide: Vec<Bin> = own.of_equal_width(2).into_iter().flatten().collect();
        assert_eq!((wide[0].cases, wide[0].right, wide[1].cases), (4, 0.25, 1));
        // (4 (0.3 - 0.25) + 1 (1 - 0.9)) / 5 = 0.06
        assert!((Reliability::calibration_error(&wide) - 0.06).abs() < 1e-12);
        // 0, 0.2, 0.5 (wrong) and 0.5, 0.9: |0.7 / 3 - 0| and |0.7 - 1|: (0.7 + 0.6) / 5
        let even = own.of_equal_mass(2);
        assert_eq!([even[0].cases, even[1].cases], [3, 2]);
        assert!((Reliability::calibration_error(&even) - 0.26).abs() < 1e-12);
        // 0.01 + 0.25 + 0.04 + 0.25 + 0 = 0.55
        assert!((own.brier() - 0.11).abs() < 1e-12);
        // Of six pairs the right one is ahead in five, and level in one: 0.5 against 0.5.
        assert!((own.auroc().unwrap() - 5.5 / 6.0).abs() < 1e-12);
        assert_eq!(Reliability::new(vec![(0.4, true)]).unwrap().auroc(), None);
        assert!(own.of_equal_width(4)[2].is_none());
        assert_eq!(own.of_equal_mass(9).len(), 5);
        assert!(Reliability::new(vec![(f64::NAN, true)]).is_err());
    }
}
