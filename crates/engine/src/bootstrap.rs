//! Means of cases: intervals by drawing cases again, and what signs drawn by chance would make of them.

use mmlens_core::Seed;

/// How often cases are drawn.
const DRAWS: usize = 1000;
/// The share of draws below an interval, and above it.
const TAIL: f64 = 0.025;

/// An index below a length, each as likely as the others.
#[must_use]
pub fn drawn_index(seed: Seed, len: usize) -> usize {
    ((u128::from(seed.value()) * len as u128) >> 64) as usize
}

/// The interval that holds 95 % of the means of as many values as there are, drawn with replacement 1000 times (the bootstrap;
/// Efron 1979): from the smallest mean that at least 2.5 % of the draws do not exceed to the smallest that 97.5 % do not. `None` for fewer than two values.
#[must_use]
pub fn mean_interval(values: &[f64], seed: Seed) -> Option<[f64; 2]> {
    let n = values.len();
    let mean = |draw: usize| {
        let seed = seed.at(draw as u64);
        let drawn = (0..n).filter_map(|i| values.get(drawn_index(seed.at(i as u64), n)));
        drawn.sum::<f64>() / n as f64
    };
    let drawn = sorted((0..DRAWS).map(mean));
    (n > 1).then(|| Some([share(&drawn, TAIL)?, share(&drawn, 1.0 - TAIL)?]))?
}

/// What 95 % of the means do not exceed in size where each value has its sign drawn by chance, 1000 times (Fisher 1935): a mean beyond it is not one of
/// values that are as often below zero as above. `None` for no values.
#[must_use]
pub fn sign_flips(values: &[f64], seed: Seed) -> Option<f64> {
    let mean = |draw: usize| {
        let seed = seed.at(draw as u64);
        let sign = |i: usize| if seed.at(i as u64).unit() < 0.5 { -1.0 } else { 1.0 };
        let sum: f64 = values.iter().enumerate().map(|(i, value)| sign(i) * value).sum();
        (sum / values.len() as f64).abs()
    };
    if values.is_empty() { None } else { share(&sorted((0..DRAWS).map(mean)), 1.0 - 2.0 * TAIL) }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// The smallest that a share of sorted values does not exceed.
fn share(sorted: &[f64], share: f64) -> Option<f64> {
    sorted.get(((share * sorted.len() as f64).ceil() as usize).saturating_sub(1)).copied()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn intervals_hold_the_mean_and_have_the_width_of_its_error() {
        let values: Vec<f64> = (0..100).map(|i| 3.0 + Seed(1).at(i).normal()).collect();
        let mean = values.iter().sum::<f64>() / 100.0;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let error = (squares / 99.0 / 100.0).sqrt();
        let [low, high] = mean_interval(&values, Seed(2)).unwrap();
        // 1.96 errors to either side, as far as 1000 draws say.
        assert!(low < mean && mean < high && ((high - low) / (2.0 * 1.96 * error) - 1.0).abs() < 0.15);
        assert_eq!(mean_interval(&[2.0, 2.0], Seed(0)), Some([2.0, 2.0]));
        assert_eq!((mean_interval(&[2.0], Seed(0)), sign_flips(&[], Seed(0))), (None, None));
        // Of signs drawn by chance 95 % of means lie within 1.96 roots of the mean square over n.
        let root = (values.iter().map(|v| v * v).sum::<f64>() / 100.0 / 100.0).sqrt();
        assert!((sign_flips(&values, Seed(3)).unwrap() / (1.96 * root) - 1.0).abs() < 0.15);
        // A single value is as large with either sign.
        assert_eq!(sign_flips(&[-2.0], Seed(0)), Some(2.0));
    }
}
