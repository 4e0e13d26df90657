//! Explanations beside what people wrote: BLEU, ROUGE-L and CIDEr, as the evaluation of COCO captions computes them.
//!
//! Texts are words with spaces between; how sentences are cut into words is the caller's business (COCO's evaluation lowers them and drops punctuation with a tokenizer of Stanford's in Java,
//! which is not here: cut both sides alike).
//!
//! | score | is |
//! |---|---|
//! | BLEU-n | over the whole set, the geometric mean of the precisions of 1- to n-grams, each word counted as often as in the reference that has it most often, times `exp(1 - r/c)` where all texts are shorter (`c` words) than their references (`r` words: of each text the reference nearest in length, the shorter of equals) |
//! | ROUGE-L | `(1 + b^2) p r / (r + b^2 p)` with `b = 1.2`, `p` and `r` the longest common subsequence over the words of the text and of the reference, each the largest over references; the mean over texts |
//! | CIDEr | ten times the mean, over 1- to 4-grams and over references, of the cosine of tf-idf vectors, clipped at the reference, times `exp(-d^2 / 72)`, `d` the difference in the number of 2-grams; document frequencies are those of the references of the set |
//!
//! Papineni et al.: BLEU. ACL 2002. <https://aclanthology.org/P02-1040>. Lin: ROUGE. 2004. <https://aclanthology.org/W04-1013>. Vedantam, Zitnick, Parikh: CIDEr. CVPR 2015. <https://arxiv.org/abs/1411.5726>.
//! Computed as in <https://github.com/tylin/coco-caption> (pycocoevalcap 1.2), which adds 1e-15 to what is found and 1e-9 to what is sought of BLEU.
//!
//! # When it misleads
//! Words shared are not reasons shared: a false explanation in the words of a true one scores high. CIDEr of one text is zero whatever it says, as every n-gram stands in all documents.

use std::collections::{BTreeMap, BTreeSet};

/// The longest n-grams that count.
const LONGEST: usize = 4;

/// A text and what people wrote of the same.
#[derive(Debug, Clone, Copy)]
pub struct Compared<'t> {
    /// The text.
    pub text: &'t str,
    /// References, at least one.
    pub references: &'t [&'t str],
}

/// What scores a set of texts has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scores {
    /// BLEU-1 to BLEU-4.
    pub bleu: [f64; LONGEST],
    /// ROUGE-L.
    pub rouge_l: f64,
    /// CIDEr.
    pub cider: f64,
}

/// n-grams of a text and how often each comes, by their length.
type Grams<'t> = BTreeMap<Vec<&'t str>, usize>;

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

fn grams<'t>(words: &[&'t str]) -> Grams<'t> {
    let mut found = Grams::new();
    for n in 1..=LONGEST {
        for gram in words.windows(n) {
            *found.entry(gram.to_vec()).or_insert(0) += 1;
        }
    }
    found
}

/// All scores of a set of texts. `None` for no texts, or a text without references or words.
pub fn scores(set: &[Compared<'_>]) -> Option<Scores> {
    let bare = |one: &Compared<'_>| one.references.is_empty() || words(one.text).is_empty();
    if set.is_empty() || set.iter().any(bare) {
        return None;
    }
    let rouge: f64 = set.iter().map(rouge_l).sum();
    Some(Scores { bleu: bleu(set), rouge_l: rouge / set.len() as f64, cider: cider(set) })
}

fn bleu(set: &[Compared<'_>]) -> [f64; LONGEST] {
    let (mut right, mut all) = ([0.0_f64; LONGEST], [0.0_f64; LONGEST]);
    let (mut length, mut reference) = (0.0, 0.0);
    for one in set {
        let own = words(one.text);
        let mut most = Grams::new();
        for other in one.references {
            for (gram, count) in grams(&words(other)) {
                let known = most.entry(gram).or_insert(0);
                *known = usize::max(*known, count); // no NaN: whole numbers
            }
        }
        for (gram, count) in grams(&own) {
            let clipped = usize::min(most.get(&gram).copied().unwrap_or(0), count); // no NaN: whole numbers
            right.iter_mut().skip(gram.len() - 1).take(1).for_each(|sum| *sum += clipped as f64);
        }
        for (n, sum) in all.iter_mut().enumerate() {
            *sum += own.len().saturating_sub(n) as f64;
        }
        let lengths = one.references.iter().map(|other| words(other).len());
        let nearest = lengths.min_by_key(|other| (other.abs_diff(own.len()), *other));
        reference += nearest.map_or(0.0, |nearest| nearest as f64);
        length += own.len() as f64;
    }
    let ratio = (length + 1e-15) / (reference + 1e-9);
    let brevity = if ratio < 1.0 { (1.0 - 1.0 / ratio).exp() } else { 1.0 };
    let (mut product, mut scores) = (1.0, [0.0; LONGEST]);
    for (n, ((score, right), all)) in scores.iter_mut().zip(right).zip(all).enumerate() {
        product *= (right + 1e-15) / (all + 1e-9);
        *score = f64::powf(product, 1.0 / (n + 1) as f64) * brevity;
    }
    scores
}

fn rouge_l(one: &Compared<'_>) -> f64 {
    let own = words(one.text);
    let (mut precision, mut recall) = (0.0_f64, 0.0_f64);
    for other in one.references {
        let other = words(other);
        let common = common(&own, &other) as f64;
        // no NaN: shares of texts with words
        precision = precision.max(common / own.len() as f64);
        recall = recall.max(if other.is_empty() { 0.0 } else { common / other.len() as f64 }); // no NaN: as above
    }
    let squared = 1.2 * 1.2;
    if precision > 0.0 && recall > 0.0 {
        (1.0 + squared) * precision * recall / (recall + squared * precision)
    } else {
        0.0
    }
}

/// The length of the longest common subsequence.
fn common(a: &[&str], b: &[&str]) -> usize {
    let mut row = vec![0; b.len() + 1];
    for own in a {
        let (mut diagonal, mut left) = (0, 0);
        for (above, other) in row.iter_mut().skip(1).zip(b) {
            // no NaN: whole numbers
            let here = if own == other { diagonal + 1 } else { usize::max(*above, left) };
            (diagonal, *above, left) = (*above, here, here);
        }
    }
    row.last().copied().unwrap_or(0)
}

/// A text as a vector of weights for each length of n-grams, with its norms and how many 2-grams it has.
struct Vector<'t> {
    weights: BTreeMap<Vec<&'t str>, f64>,
    norms: [f64; LONGEST],
    pairs: f64,
}

fn cider(set: &[Compared<'_>]) -> f64 {
    let mut documents: BTreeMap<Vec<&str>, f64> = BTreeMap::new();
    for one in set {
        let all: BTreeSet<Vec<&str>> =
            one.references.iter().flat_map(|other| grams(&words(other)).into_keys()).collect();
        all.into_iter().for_each(|gram| *documents.entry(gram).or_insert(0.0) += 1.0);
    }
    let of_all = (set.len() as f64).ln();
    let sum: f64 = set
        .iter()
        .map(|one| {
            let own = vector(one.text, &documents, of_all);
            let each = one.references.iter().map(|other| likeness(&own, &vector(other, &documents, of_all)));
            10.0 * each.sum::<f64>() / one.references.len() as f64
        })
        .sum();
    sum / set.len() as f64
}

fn vector<'t>(text: &'t str, documents: &BTreeMap<Vec<&str>, f64>, of_all: f64) -> Vector<'t> {
    let mut vector = Vector { weights: BTreeMap::new(), norms: [0.0; LONGEST], pairs: 0.0 };
    for (gram, count) in grams(&words(text)) {
        let frequency = documents.get(&gram).copied().unwrap_or(0.0).max(1.0); // no NaN: counts
        let weight = count as f64 * (of_all - frequency.ln());
        vector.norms.iter_mut().skip(gram.len() - 1).take(1).for_each(|norm| *norm += weight * weight);
        vector.pairs += if gram.len() == 2 { count as f64 } else { 0.0 };
        vector.weights.insert(gram, weight);
    }
    vector.norms.iter_mut().for_each(|norm| *norm = norm.sqrt());
    vector
}

/// The mean over lengths of n-grams of the clipped cosines, less where lengths differ.
fn likeness(own: &Vector<'_>, other: &Vector<'_>) -> f64 {
    let mut values = [0.0_f64; LONGEST];
    for (gram, weight) in &own.weights {
        let reference = other.weights.get(gram).copied().unwrap_or(0.0);
        let product = weight.min(reference) * reference; // no NaN: logarithms of counts
        values.iter_mut().skip(gram.len() - 1).take(1).for_each(|value| *value += product);
    }
    let norms = own.norms.iter().zip(other.norms);
    for (value, (a, b)) in values.iter_mut().zip(norms) {
        *value = if *a != 0.0 && b != 0.0 { *value / (a * b) } else { *value };
    }
    let apart = own.pairs - other.pairs;
    values.iter().sum::<f64>() / LONGEST as f64 * (-(apart * apart) / 72.0).exp()
}

#[cfg(test)]
mod tests {
    use super::{Compared, common, scores};

    #[test]
    fn what_is_the_same_scores_all_there_is() {
        let texts = ["a man stands on a board", "two dogs run in the snow today"];
        let set: Vec<Compared<'_>> =
            texts.iter().map(|text| Compared { text, references: std::slice::from_ref(text) }).collect();
        let found = scores(&set).unwrap();
        assert!(
            found.bleu.iter().all(|bleu| (bleu - 1.0).abs() < 1e-8) && (found.rouge_l - 1.0).abs() < 1e-12,
            "{found:?}"
        );
        assert!((found.cider - 10.0).abs() < 1e-9, "{found:?}");
        assert!(scores(&[]).is_none());
        assert!(scores(&[Compared { text: " ", references: &["a"] }]).is_none());
        assert!(scores(&[Compared { text: "a", references: &[] }]).is_none());
    }

    #[test]
    fn subsequences_need_not_be_whole() {
        assert_eq!(common(&["a", "x", "b", "c"], &["a", "b", "y", "c"]), 3);
        assert_eq!((common(&[], &["a"]), common(&["b", "a"], &["a", "b"])), (0, 1));
    }
}
