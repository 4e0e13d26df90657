//! POPE's score (Li et al., Evaluating Object Hallucination in Large Vision-Language Models, 2023).
//!
//! Of an answer the part before the first `.` counts. Commas are taken out of it, it is cut at single spaces, and it is `no` if one of the
//! words is `No`, `no` or `not`, in just these letters; else it is `yes`. Positive is `yes`: with TP, FP, TN, FN as usual, accuracy is (TP + TN) / n, precision
//! TP / (TP + FP), recall TP / (TP + FN), F1 = 2 P R / (P + R), and the yes ratio (TP + FP) / n, the share of answers
//! that were read as yes. (lmms-eval gives the share of questions whose right answer is yes under that name.)

use super::{Answer, ScoreError, Scorer, Verdict, share};
use crate::benchmark::Item;

/// Yes or no, as POPE reads them.
#[derive(Debug, Clone, Copy, Default)]
pub struct YesNo;

/// What is read of an answer.
fn said(text: &str) -> bool {
    let first = text.split('.').next().unwrap_or_default().replace(',', "");
    !first.split(' ').any(|word| matches!(word, "No" | "no" | "not"))
}

/// Whether the right answer is yes.
pub(super) fn truth(scorer: &'static str, item: &Item) -> Result<bool, ScoreError> {
    match item.label.as_deref().map(str::to_lowercase).as_deref() {
        Some("yes") => Ok(true),
        Some("no") => Ok(false),
        other => Err(ScoreError::Item {
            scorer,
            item: item.id.clone(),
            found: other.map_or_else(|| "no label".to_owned(), |label| format!("the label `{label}`")),
            expected: "`yes` or `no`",
        }),
    }
}

pub(super) fn word(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

impl Scorer for YesNo {
    fn name(&self) -> &'static str {
        "pope"
    }

    fn figures(&self) -> &'static [&'static str] {
        &["accuracy", "precision", "recall", "F1", "yes ratio"]
    }

    fn judge(&self, item: &Item, answer: &Answer) -> Result<Verdict, ScoreError> {
        let (said, truth) = (said(&answer.text), truth(self.name(), item)?);
        let count = |wanted: (bool, bool)| f64::from(u8::from((said, truth) == wanted));
        let counts = [(true, true), (true, false), (false, false), (false, true)].map(count);
        Ok(Verdict { read: word(said), counts: counts.to_vec() })
    }

    fn values(&self, counts: &[f64]) -> Vec<Option<f64>> {
        let [tp, fp, tn, fn_] = counts else { return vec![None; self.figures().len()] };
        let all = tp + fp + tn + fn_;
        let (precision, recall) = (share(*tp, tp + fp), share(*tp, tp + fn_));
        let f1 = precision.zip(recall).and_then(|(p, r)| share(2.0 * p * r, p + r));
        vec![share(tp + tn, all), precision, recall, f1, share(tp + fp, all)]
    }

    fn yes_no(&self) -> bool {
        true
    }
}
