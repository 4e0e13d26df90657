//! Choosing the next token: the one with the highest score, or one drawn from a seed.

use super::Sampling;

/// Settings or scores by which no token can be chosen.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("`{field}` = {found}, expected {expected}")]
pub(super) struct ChoiceError {
    field: String,
    found: String,
    expected: &'static str,
}

impl ChoiceError {
    fn new(field: impl Into<String>, found: impl ToString, expected: &'static str) -> Self {
        Self { field: field.into(), found: found.to_string(), expected }
    }
}

/// Settings that can be chosen by.
///
/// # Errors
/// A temperature, share, number of beams or penalty that cannot be, by name.
pub(super) fn check(sampling: &Sampling) -> Result<(), ChoiceError> {
    match sampling {
        Sampling::Greedy => {}
        Sampling::Draw { temperature, top_p, .. } => {
            if !(temperature.is_finite() && *temperature > 0.0) {
                let expected = "a number above 0 (use greedy decoding for 0)";
                return Err(ChoiceError::new("temperature", temperature, expected));
            }
            if !(*top_p > 0.0 && *top_p <= 1.0) {
                return Err(ChoiceError::new("top_p", top_p, "a share above 0 and at most 1"));
            }
        }
        Sampling::Beams(beams) => {
            if beams.beams < 2 {
                let expected = "at least 2 (greedy decoding is one beam)";
                return Err(ChoiceError::new("beams", beams.beams, expected));
            }
            if !beams.length_penalty.is_finite() {
                return Err(ChoiceError::new("length_penalty", beams.length_penalty, "a finite number"));
            }
        }
    }
    Ok(())
}

/// The next token. Ties go to the lowest id; the draw of row `r` at step `s` depends on the seed, `r` and `s` alone.
///
/// # Errors
/// Scores of which none can be chosen: settings that forbid every token.
pub(super) fn choose(
    sampling: &Sampling,
    scores: &[f32],
    row: usize,
    step: usize,
) -> Result<u32, ChoiceError> {
    let least = (0, f32::NEG_INFINITY);
    let scored = scores.iter().enumerate();
    // no NaN: the model's own scores were looked at; what must not come stands at minus infinity
    let (top, highest) = scored.fold(least, |best, (i, s)| if *s > best.1 { (i, *s) } else { best });
    if !highest.is_finite() {
        let field = format!("the highest score of token {step} of row {row}");
        return Err(ChoiceError::new(field, highest, "a token that the generation settings do not forbid"));
    }
    let Sampling::Draw { temperature, top_p, seed } = sampling else { return Ok(top as u32) };
    let mut shares: Vec<(usize, f64)> =
        scores.iter().map(|s| f64::from((s - highest) / temperature).exp()).enumerate().collect();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let total: f64 = shares.iter().map(|(_, s)| s).sum();
    let (mut kept, mut sum) = (0, 0.0);
    for (_, share) in &shares {
        kept += 1;
        sum += share;
        if sum >= f64::from(*top_p) * total {
            break;
        }
    }
    let mut left = f64::from(seed.at(row as u64).at(step as u64).unit()) * sum;
    for (token, share) in shares.iter().take(kept) {
        left -= share;
        if left < 0.0 {
            return Ok(*token as u32);
        }
    }
    // What rounding leaves over is the last one's.
    let last = shares.iter().take(kept).next_back().map(|(token, _)| *token as u32);
    last.ok_or_else(|| {
        let field = format!("the scores of token {step} of row {row}");
        ChoiceError::new(field, "none", "at least one to draw by")
    })
}

#[cfg(test)]
mod tests {
    use crate::Seed;

    use super::*;

    /// How often each token is drawn of scores, among so many rows.
    fn drawn(scores: &[f32], temperature: f32, top_p: f32, rows: usize) -> Vec<f64> {
        let sampling = Sampling::Draw { temperature, top_p, seed: Seed(7) };
        let mut counts = vec![0.0; scores.len()];
        for row in 0..rows {
            counts[choose(&sampling, scores, row, 3).unwrap() as usize] += 1.0;
        }
        counts.into_iter().map(|count| count / rows as f64).collect()
    }

    #[test]
    fn shares_are_those_of_the_softmax_at_the_temperature() {
        // Logits of ln 1, ln 2 and ln 5 at temperature t are drawn as 1, 2^(1/t) and 5^(1/t): at 1 as 1, 2, 5 of 8, at
        // one half as 1, 4, 25 of 30, at 2 as 1, 1.414, 2.236 of 4.650.
        let scores = [0.0, 2.0_f32.ln(), 5.0_f32.ln()];
        let roots = 1.0 + 2.0_f64.sqrt() + 5.0_f64.sqrt();
        for (temperature, shares) in [
            (1.0, [1.0 / 8.0, 2.0 / 8.0, 5.0 / 8.0]),
            (0.5, [1.0 / 30.0, 4.0 / 30.0, 25.0 / 30.0]),
            (2.0, [1.0 / roots, 2.0_f64.sqrt() / roots, 5.0_f64.sqrt() / roots]),
        ] {
            let found = drawn(&scores, temperature, 1.0, 40_000);
            // Four deviations of a share of one half among 40,000 draws: 4 * 0.5 / 200.
            for (found, share) in found.iter().zip(shares) {
                assert!((found - share).abs() < 0.01, "{found} at {temperature}, expected {share}");
            }
        }
    }

    #[test]
    fn the_least_set_that_holds_the_share_is_drawn_from() {
        // Shares 5, 2 and 1 of 8: the first alone holds 0.6, the first two 0.875.
        let scores = [0.0, 2.0_f32.ln(), 5.0_f32.ln()];
        assert_eq!(drawn(&scores, 1.0, 0.6, 100), [0.0, 0.0, 1.0]);
        let two = drawn(&scores, 1.0, 0.7, 40_000);
        assert!(two[0] == 0.0 && (two[1] - 2.0 / 7.0).abs() < 0.01, "{two:?}");
    }

    #[test]
    fn what_must_not_come_is_not_drawn() {
        let never = drawn(&[f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY, 0.0], 1.5, 1.0, 2_000);
        assert!(never[0] == 0.0 && never[2] == 0.0 && (never[1] - 0.5).abs() < 0.05, "{never:?}");
        let sampling = Sampling::Draw { temperature: 1.0, top_p: 1.0, seed: Seed(0) };
        let said = choose(&sampling, &[f32::NEG_INFINITY; 3], 2, 5).unwrap_err().to_string();
        let expected = "`the highest score of token 5 of row 2` = -inf, expected a token that the generation settings do not forbid";
        assert_eq!(said, expected);
        // transformers takes the first token where none is left, which is none that anybody asked for.
        assert_eq!(
            choose(&Sampling::Greedy, &[f32::NEG_INFINITY; 3], 2, 5).unwrap_err().to_string(),
            expected
        );
        assert_eq!(choose(&Sampling::Greedy, &[1.0, 3.0, 3.0], 0, 0).unwrap(), 1);
    }
}
