//! What a row of logits says: its best words, its certainty, its distance from another.

/// Natural logarithms of the probabilities a row of logits stands for.
pub fn log_probabilities(logits: &[f32]) -> Vec<f64> {
    // no NaN: one that is passed by here makes the sum NaN, and with it every value.
    let highest = logits.iter().fold(f64::NEG_INFINITY, |m, v| m.max(f64::from(*v)));
    let total: f64 = logits.iter().map(|v| (f64::from(*v) - highest).exp()).sum();
    let shift = highest + total.ln();
    logits.iter().map(|v| f64::from(*v) - shift).collect()
}

/// Shannon entropy in nats.
pub fn entropy(logs: &[f64]) -> f64 {
    -logs.iter().map(|l| weighted(*l, *l)).sum::<f64>()
}

/// Kullback-Leibler divergence `D(reference || other)`, `sum reference (ln reference - ln other)`, in nats: of `reference` from
/// `other`.
pub fn divergence(reference: &[f64], other: &[f64]) -> f64 {
    reference.iter().zip(other).map(|(r, o)| weighted(*r, r - o)).sum()
}

fn weighted(log: f64, value: f64) -> f64 {
    let share = log.exp();
    if share > 0.0 { share * value } else { 0.0 }
}

/// The `count` largest values with their places, largest first; of equal ones the first comes first. NaN is never large.
pub fn largest(values: &[f64], count: usize) -> Vec<(usize, f64)> {
    let mut best: Vec<(usize, f64)> = Vec::with_capacity(count.min(values.len()) + 1);
    for (i, value) in values.iter().enumerate().filter(|(_, v)| !v.is_nan()) {
        let better = |(_, kept): &(usize, f64)| kept >= value;
        if best.len() == count && best.last().is_none_or(better) {
            continue;
        }
        let place = best.partition_point(better);
        best.insert(place, (i, *value));
        best.truncate(count);
    }
    best
}

/// How many values are larger than the one at a place; `None` for a place there is not, or one that holds no number.
pub fn rank(values: &[f64], place: usize) -> Option<usize> {
    let own = values.get(place).filter(|own| !own.is_nan())?;
    Some(values.iter().filter(|v| *v > own).count())
}

#[cfg(test)]
mod tests {
    use super::{divergence, entropy, largest, log_probabilities, rank};

    #[test]
    fn even_logits_are_an_even_distribution() {
        let logs = log_probabilities(&[7.0; 4]);
        assert!(logs.iter().all(|l| (l - 0.25_f64.ln()).abs() < 1e-15));
        assert!((entropy(&logs) - 4.0_f64.ln()).abs() < 1e-14);
        assert!(divergence(&logs, &logs).abs() < 1e-15);
    }

    #[test]
    fn a_divergence_by_hand() {
        // p = (3/4, 1/4), q = (1/2, 1/2): 3/4 ln(3/2) + 1/4 ln(1/2)
        let p = log_probabilities(&[3.0_f32.ln(), 0.0]);
        let q = log_probabilities(&[0.0, 0.0]);
        let wanted = 0.75 * 1.5_f64.ln() + 0.25 * 0.5_f64.ln();
        assert!((divergence(&p, &q) - wanted).abs() < 1e-7);
    }

    #[test]
    fn huge_and_tiny_logits_stay_finite() {
        let logs = log_probabilities(&[1e30, -1e30, 0.0]);
        assert_eq!(logs[0], 0.0);
        assert_eq!(entropy(&logs), 0.0);
        assert_eq!(divergence(&logs, &logs), 0.0);
    }

    #[test]
    fn the_best_come_first_and_ties_keep_their_order() {
        let values = [1.0, 5.0, f64::NAN, 5.0, 3.0, 5.0];
        let places = |count| largest(&values, count).iter().map(|(at, _)| *at).collect::<Vec<_>>();
        assert_eq!(places(3), [1, 3, 5]);
        assert_eq!(largest(&values, 4), [(1, 5.0), (3, 5.0), (5, 5.0), (4, 3.0)]);
        assert_eq!(places(9), [1, 3, 5, 4, 0]);
        assert!(largest(&values, 0).is_empty());
        let ranks = [3, 4, 0, 2, 6].map(|place| rank(&values, place));
        assert_eq!(ranks, [Some(0), Some(3), Some(4), None, None]);
    }
}
