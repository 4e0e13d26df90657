//! MME's score (Fu et al., MME: A Comprehensive Evaluation Benchmark for Multimodal Large Language Models, 2023).
//!
//! Of an answer in lower case the first four characters count: it is `yes` if they hold `yes`, else `no` if they hold `no`, else it is neither, and
//! wrong. acc is the share of questions answered rightly, acc+ the share of pictures both of whose questions are; the score of a task is
//! 100 acc + 100 acc+. The score of several tasks is the sum of theirs, while their acc and acc+ are those of all their questions and
//! pictures together. A picture with another number of questions than two (a run that was cut off by a limit) counts for acc alone.

use super::pope::truth;
use super::{Answer, ScoreError, Scorer, Verdict, share, sum};
use crate::benchmark::Item;

/// Yes or no, as MME reads them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mme;

fn said(text: &str) -> &'static str {
    let four: String = text.to_lowercase().chars().take(4).collect();
    match (four.contains("yes"), four.contains("no")) {
        (true, _) => "yes",
        (false, true) => "no",
        (false, false) => "other",
    }
}

impl Scorer for Mme {
    fn name(&self) -> &'static str {
        "mme"
    }

    fn figures(&self) -> &'static [&'static str] {
        &["acc", "acc+", "score", "neither"]
    }

    fn judge(&self, item: &Item, answer: &Answer) -> Result<Verdict, ScoreError> {
        let read = said(&answer.text);
        let right = read == if truth(self.name(), item)? { "yes" } else { "no" };
        let counts = vec![f64::from(u8::from(right)), 1.0, f64::from(u8::from(read == "other"))];
        Ok(Verdict { read: read.to_owned(), counts })
    }

    /// Behind the counts of questions: pictures of which both are right, and pictures.
    fn gathered(&self, group: &[&[f64]]) -> Vec<f64> {
        let mut counts = sum(group.iter().copied());
        let right = counts.first().copied().unwrap_or_default();
        counts.extend(if group.len() == 2 { [f64::from(u8::from(right == 2.0)), 1.0] } else { [0.0; 2] });
        counts
    }

    fn values(&self, counts: &[f64]) -> Vec<Option<f64>> {
        let [right, all, other, pairs, pictures] = counts else { return vec![None; self.figures().len()] };
        let (acc, plus) = (share(*right, *all), share(*pairs, *pictures));
        let score = acc.zip(plus).map(|(acc, plus)| 100.0 * acc + 100.0 * plus);
        vec![acc, plus, score, share(*other, *all)]
    }

    fn together(&self, tasks: &[&[f64]]) -> Vec<Option<f64>> {
        let scores = tasks.iter().map(|counts| self.values(counts).get(2).copied().flatten());
        let score = scores.sum::<Option<f64>>();
        let mut values = self.values(&sum(tasks.iter().copied()));
        if let Some(own) = values.get_mut(2) {
            *own = score;
        }
        values
    }

    fn sets(&self) -> &'static [(&'static str, &'static [&'static str])] {
        &[
            (
                "perception",
                &[
                    "existence",
                    "count",
                    "position",
                    "color",
                    "posters",
                    "celebrity",
                    "scene",
                    "landmark",
                    "artwork",
                    "OCR",
                ],
            ),
            (
                "cognition",
                &["commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning"],
            ),
        ]
    }

    fn yes_no(&self) -> bool {
        true
    }
}
