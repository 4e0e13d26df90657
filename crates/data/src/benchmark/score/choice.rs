//! Whether the right one was chosen.
//!
//! Where an item has choices, the letter that an answer gives is read: the whole answer, or its beginning before `.`, `)`, `:` or `,`, in
//! brackets or not, in whatever case; else the choice whose text the answer is, if there is one alone; else none. Without choices an answer is right if it is one of the item's answers. Texts
//! are compared in lower case, without white space around them and one full stop at their end. `whole groups` is the share of groups all of whose
//! items are right: in tables of VLMEvalKit a group is a question with its choices turned (circular evaluation).

use super::{Answer, ScoreError, Scorer, Verdict, share, sum};
use crate::benchmark::Item;

/// A letter or a text.
#[derive(Debug, Clone, Copy, Default)]
pub struct Choice;

fn plain(text: &str) -> String {
    let text = text.trim();
    text.strip_suffix('.').unwrap_or(text).trim_end().to_lowercase()
}

/// The letter that an answer gives.
pub(crate) fn letter<'a>(item: &'a Item, text: &str) -> Option<&'a str> {
    let text = text.trim();
    let end = text.find(['.', ')', ':', ',']).unwrap_or(text.len());
    let first = text.get(..end).unwrap_or_default().trim_start_matches('(').trim();
    let of = |wanted: &str| item.choices.iter().find(|(letter, _)| letter.eq_ignore_ascii_case(wanted));
    if let Some((letter, _)) = of(first) {
        return Some(letter);
    }
    let wanted = plain(text);
    let mut same = item.choices.iter().filter(|(_, choice)| plain(choice) == wanted);
    same.next().filter(|_| same.next().is_none()).map(|(letter, _)| letter.as_str())
}

impl Scorer for Choice {
    fn name(&self) -> &'static str {
        "choice"
    }

    fn figures(&self) -> &'static [&'static str] {
        &["accuracy", "whole groups", "no choice"]
    }

    fn judge(&self, item: &Item, answer: &Answer) -> Result<Verdict, ScoreError> {
        let missing = |expected| {
            let found = "no right answer".to_owned();
            Err(ScoreError::Item { scorer: self.name(), item: item.id.clone(), found, expected })
        };
        let (read, right, none) = if item.choices.is_empty() {
            if item.answers.is_empty() {
                return missing("an answer");
            }
            if item.answers.iter().any(|answer| plain(answer).is_empty()) {
                let (found, expected) = ("an empty right answer".to_owned(), "a text");
                return Err(ScoreError::Item { scorer: self.name(), item: item.id.clone(), found, expected });
            }
            let read = plain(&answer.text);
            let right = item.answers.iter().any(|answer| plain(answer) == read);
            (read, right, false)
        } else {
            let Some(truth) = item.label.as_deref().and_then(|label| letter(item, label)) else {
                return missing("the letter or the text of a choice");
            };
            let read = letter(item, &answer.text);
            (read.unwrap_or_default().to_owned(), read == Some(truth), read.is_none())
        };
        let counts = vec![f64::from(u8::from(right)), 1.0, f64::from(u8::from(none))];
        Ok(Verdict { read, counts })
    }

    fn gathered(&self, group: &[&[f64]]) -> Vec<f64> {
        let mut counts = sum(group.iter().copied());
        let right = counts.first().copied().unwrap_or_default();
        counts.extend([f64::from(u8::from(right == group.len() as f64)), 1.0]);
        counts
    }

    fn values(&self, counts: &[f64]) -> Vec<Option<f64>> {
        let [right, all, none, whole, groups] = counts else { return vec![None; self.figures().len()] };
        vec![share(*right, *all), share(*whole, *groups), share(*none, *all)]
    }
}
