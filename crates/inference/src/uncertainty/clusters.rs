//! Texts that say the same, and the entropies of what they are.

use mmlens_core::HookError;

/// A text as it is compared: in lower case, without ASCII punctuation, without the words `a`, `an` and `the`, its words with single spaces between them. It is the
/// normalisation of SQuAD's script (Rajpurkar et al. 2016).
#[must_use]
pub fn normalised(text: &str) -> String {
    let plain: String = text.to_lowercase().chars().filter(|c| !c.is_ascii_punctuation()).collect();
    let mut kept = String::with_capacity(plain.len());
    // Runs of letters and digits, and what lies between them.
    let mut rest = plain.as_str();
    while let Some(first) = rest.chars().next() {
        let same = |c: char| c.is_alphanumeric() == first.is_alphanumeric();
        let (run, others) = rest.split_at(rest.find(|c| !same(c)).unwrap_or(rest.len()));
        kept.push_str(if ["a", "an", "the"].contains(&run) { " " } else { run });
        rest = others;
    }
    kept.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The cluster of each text, numbered by their first: a text joins the first cluster whose first text is the same by `alike`, else begins one. With texts that are entailed
/// by one another both ways it is the clustering of semantic entropy; who entails whom a function of the caller's says, by another model.
///
/// # Errors
/// Whatever the function reports.
pub fn clustered<E>(
    texts: &[String],
    mut alike: impl FnMut(&str, &str) -> Result<bool, E>,
) -> Result<Vec<usize>, E> {
    let mut firsts: Vec<&String> = Vec::new();
    let mut clusters = Vec::with_capacity(texts.len());
    for text in texts {
        let mut own = firsts.len();
        for (at, first) in firsts.iter().enumerate() {
            if alike(first, text)? {
                own = at;
                break;
            }
        }
        if own == firsts.len() {
            firsts.push(text);
        }
        clusters.push(own);
    }
    Ok(clusters)
}

/// The clusters of texts that are the same once they are [`normalised`].
#[must_use]
pub fn by_words(texts: &[String]) -> Vec<usize> {
    let same = |a: &str, b: &str| Ok::<_, std::convert::Infallible>(normalised(a) == normalised(b));
    clustered(texts, same).unwrap_or_default()
}

/// The share of each cluster among so many texts.
#[must_use]
pub fn shares(clusters: &[usize]) -> Vec<f64> {
    let weights = vec![1.0; clusters.len()];
    shared(clusters, &weights)
}

/// The share of each cluster where a text counts as much as its likelihood, given as logarithms: of several draws of one text each counts.
///
/// # Errors
/// [`HookError::Values`] for another number of likelihoods than texts.
pub fn weighted_shares(clusters: &[usize], logs: &[f64]) -> Result<Vec<f64>, HookError> {
    if clusters.len() != logs.len() {
        return Err(HookError::Values { dims: vec![clusters.len()], given: logs.len() });
    }
    // no NaN: one among them makes every share NaN
    let highest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = logs.iter().map(|log| (log - highest).exp()).collect();
    Ok(shared(clusters, &weights))
}

fn shared(clusters: &[usize], weights: &[f64]) -> Vec<f64> {
    let count = clusters.iter().map(|cluster| cluster + 1).max().unwrap_or(0); // no NaN: whole numbers
    let mut shares = vec![0.0; count];
    let all: f64 = weights.iter().sum();
    for (cluster, weight) in clusters.iter().zip(weights) {
        if let Some(share) = shares.get_mut(*cluster) {
            *share += weight;
        }
    }
    shares.iter_mut().for_each(|share| *share /= all);
    shares
}

/// The entropy of shares, in nats.
#[must_use]
pub fn entropy(shares: &[f64]) -> f64 {
    -shares.iter().filter(|share| **share > 0.0).map(|share| share * share.ln()).sum::<f64>()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn texts(all: &[&str]) -> Vec<String> {
        all.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn texts_that_differ_in_form_alone_are_one() {
        assert_eq!(normalised(" The red  circle. "), "red circle");
        assert_eq!(normalised("A theory, an ant!"), "theory ant");
        assert_eq!(normalised("the—end a\u{a0}b it's"), "—end b its");
        assert_eq!(by_words(&texts(&["Red.", "blue", "a red", "Blue!", "green"])), [0, 1, 0, 1, 2]);
    }

    #[test]
    fn a_function_decides_who_is_alike() {
        let mut asked = Vec::new();
        let clusters = clustered(&texts(&["one", "two", "uno", "dos"]), |a, b| {
            asked.push(format!("{a} {b}"));
            Ok::<_, ()>([a, b] == ["one", "uno"] || [a, b] == ["two", "dos"])
        });
        assert_eq!(clusters, Ok(vec![0, 1, 0, 1]));
        assert_eq!(asked, ["one two", "one uno", "one dos", "two dos"]);
        assert_eq!(clustered(&texts(&["a", "b"]), |_, _| Err("no")), Err("no"));
    }

    #[test]
    fn entropies_by_hand() {
        // Two of four, one, one: 1/2 ln 2 + 2 (1/4 ln 4) = 3/2 ln 2.
        let clusters = [0, 1, 0, 2];
        assert_eq!(shares(&clusters), [0.5, 0.25, 0.25]);
        assert!((entropy(&shares(&clusters)) - 1.5 * 2.0_f64.ln()).abs() < 1e-12);
        assert_eq!(entropy(&shares(&[0, 0, 0])), 0.0);
        // Likelihoods 1, 2, 1, 4 of 8: shares 2/8, 2/8, 4/8.
        let logs = [1.0_f64, 2.0, 1.0, 4.0].map(f64::ln);
        let found = weighted_shares(&clusters, &logs).unwrap();
        assert!(found.iter().zip([0.25, 0.25, 0.5]).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?}");
        // However unlikely all of them are.
        let low = logs.map(|log| log - 900.0);
        assert!((entropy(&weighted_shares(&clusters, &low).unwrap()) - entropy(&found)).abs() < 1e-12);
        assert!(weighted_shares(&clusters, &[0.0]).is_err());
    }
}
