//! VQA's score (Goyal et al., Making the V in VQA Matter, 2017), as the script of VQA v2 computes it (GT-Vision-Lab/VQA, a013f00).
//!
//! Of an answer a and right answers r_1 .. r_n (ten of them): the mean over i of min(1, m_i / 3), where m_i is the number of answers other than r_i that equal
//! a. An item's right answers have line breaks and tabs replaced by spaces and white space around them cut off; so has a. If the right
//! answers are then not all the same, a and they are normalised:
//!
//! 1. punctuation. For each of `; / [ ] " { } ( ) = + \ _ - > < @ ` , ? !`: it is taken out, if the text holds it with a space before or behind it, or
//!    holds a comma between two digits; else it is replaced by a space. Then the first 32 full stops that no digit follows are taken out.
//! 2. words. In lower case and cut at white space: number words from `none` (0) and `zero` to `ten` become digits, `a`, `an` and `the` go, and
//!    contractions get their apostrophes back (`dont`). Joined with single spaces.
//!
//! Where all right answers are the same, nothing is normalised, not even the case: `Cat` is not `cat`. The 32 is a slip of the script, which
//! passes a flag where a count is expected; of its contractions `somebody'd` loses its apostrophe.

use std::collections::BTreeSet;

use super::digits::{is_digit, is_space};
use super::{Answer, ScoreError, Scorer, Verdict, share};
use crate::benchmark::Item;

const PUNCTUATION: [char; 21] = [
    ';', '/', '[', ']', '"', '{', '}', '(', ')', '=', '+', '\\', '_', '-', '>', '<', '@', '`', ',', '?', '!',
];
/// Full stops that are taken out at most.
const STOPS: usize = 32;
const NUMBERS: [(&str, &str); 12] = [
    ("none", "0"),
    ("zero", "0"),
    ("one", "1"),
    ("two", "2"),
    ("three", "3"),
    ("four", "4"),
    ("five", "5"),
    ("six", "6"),
    ("seven", "7"),
    ("eight", "8"),
    ("nine", "9"),
    ("ten", "10"),
];
const ARTICLES: [&str; 3] = ["a", "an", "the"];
/// Known without their apostrophe.
const CONTRACTIONS: &[&str] = &[
    "ain't",
    "aren't",
    "can't",
    "could've",
    "couldn't",
    "didn't",
    "doesn't",
    "don't",
    "hadn't",
    "hasn't",
    "haven't",
    "he'd",
    "he's",
    "how'd",
    "how'll",
    "how's",
    "isn't",
    "it'd",
    "it'll",
    "ma'am",
    "mightn't",
    "might've",
    "mustn't",
    "must've",
    "needn't",
    "not've",
    "o'clock",
    "oughtn't",
    "shan't",
    "should've",
    "shouldn't",
    "somebody'll",
    "somebody's",
    "someone'd",
    "someone'll",
    "someone's",
    "something'd",
    "something'll",
    "that's",
    "there'd",
    "there're",
    "there's",
    "they'd",
    "they'll",
    "they're",
    "they've",
    "'twas",
    "wasn't",
    "we've",
    "weren't",
    "what'll",
    "what're",
    "what's",
    "what've",
    "when's",
    "where'd",
    "where's",
    "where've",
    "who'd",
    "who'll",
    "who's",
    "who've",
    "why'll",
    "why're",
    "why's",
    "won't",
    "would've",
    "wouldn't",
    "y'all",
    "you'd",
    "you'll",
    "you're",
    "you've",
];
/// Known without one of their apostrophes.
const DOUBLE: &[&str] = &[
    "'ow's'at",
    "couldn't've",
    "hadn't've",
    "he'd've",
    "it'd've",
    "mightn't've",
    "she'd've",
    "shouldn't've",
    "somebody'd've",
    "someone'd've",
    "something'd've",
    "there'd've",
    "they'd've",
    "we'd've",
    "who'd've",
    "wouldn't've",
    "y'all'd've",
    "y'all'll",
    "you'd've",
];

/// Soft accuracy over the answers that people gave.
#[derive(Debug, Clone, Copy, Default)]
pub struct Vqa;

fn cleaned(text: &str) -> String {
    text.replace(['\n', '\t'], " ").trim_matches(is_space).to_owned()
}

/// With the apostrophes that a contraction lacks.
fn mended(word: String) -> String {
    if word == "somebody'd" {
        return word.replace('\'', "");
    }
    let same = |whole: &str, left_out: usize| {
        let mut letters = whole.chars().enumerate().filter(|(at, _)| *at != left_out).map(|(_, c)| c);
        word.chars().all(|c| letters.next() == Some(c)) && letters.next().is_none()
    };
    let one_less = |whole: &str| whole.char_indices().any(|(at, c)| c == '\'' && same(whole, at));
    let bare = |whole: &str| whole.chars().filter(|c| *c != '\'').eq(word.chars());
    let found =
        CONTRACTIONS.iter().find(|whole| bare(whole)).or_else(|| DOUBLE.iter().find(|whole| one_less(whole)));
    found.map_or(word, |whole| (*whole).to_owned())
}

fn normalised(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let comma = letters.windows(3).any(|three| is_digit(three[0]) && three[1] == ',' && is_digit(three[2]));
    let mut out = text.to_owned();
    for mark in PUNCTUATION {
        let apart = text.contains(&format!("{mark} ")) || text.contains(&format!(" {mark}"));
        out = out.replace(mark, if apart || comma { "" } else { " " });
    }
    let letters: Vec<char> = out.chars().collect();
    let mut stops = 0;
    let kept = letters.iter().enumerate().filter(|(at, c)| {
        let goes = **c == '.' && stops < STOPS && !letters.get(at + 1).is_some_and(|next| is_digit(*next));
        stops += usize::from(goes);
        !goes
    });
    let out: String = kept.map(|(_, c)| *c).collect();
    let out = out.to_lowercase();
    let words = out.split(is_space).filter(|word| !word.is_empty()).filter_map(|word| {
        let number = NUMBERS.iter().find(|(name, _)| *name == word);
        let word = number.map_or(word, |(_, digits)| digits);
        (!ARTICLES.contains(&word)).then(|| mended(word.to_owned()))
    });
    words.collect::<Vec<_>>().join(" ")
}

impl Scorer for Vqa {
    fn name(&self) -> &'static str {
        "vqa"
    }

    fn figures(&self) -> &'static [&'static str] {
        &["accuracy"]
    }

    fn judge(&self, item: &Item, answer: &Answer) -> Result<Verdict, ScoreError> {
        if item.answers.is_empty() {
            let (scorer, item) = (self.name(), item.id.clone());
            let (found, expected) = ("no answers".to_owned(), "the answers that people gave, ten in VQA v2");
            return Err(ScoreError::Item { scorer, item, found, expected });
        }
        let mut read = cleaned(&answer.text);
        let mut right: Vec<String> = item.answers.iter().map(|answer| cleaned(answer)).collect();
        if right.iter().collect::<BTreeSet<_>>().len() > 1 {
            right = right.iter().map(|answer| normalised(answer)).collect();
            read = normalised(&read);
        }
        let same = right.iter().filter(|answer| **answer == read).count();
        let without = |answer: &String| (same - usize::from(*answer == read)) as f64 / 3.0;
        let all = right.iter().map(|answer| without(answer).min(1.0)).sum::<f64>();
        Ok(Verdict { read, counts: vec![all / right.len() as f64, 1.0] })
    }

    fn values(&self, counts: &[f64]) -> Vec<Option<f64>> {
        let [right, all] = counts else { return vec![None; self.figures().len()] };
        vec![share(*right, *all)]
    }
}
