//! CHAIR's score (Rohrbach et al., Object Hallucination in Image Captioning, 2018), as its script computes it
//! (LisaAnne/Hallucination, 6e4d33c).
//!
//! A caption in lower case is cut into words ([`tokens`]); of each the singular is taken, two words that stand for one thing are joined
//! (`hot dog`, `baby bear` is a bear, `toilet seat` a toilet), and if `toilet` and `seat` are both among them, `seat` goes. Words of the list of synonyms are objects, each standing for the first word of its
//! line. What is in a picture: the things marked in it and the objects that its own captions name, as a set. An object of a caption is
//! hallucinated if what it stands for is not in that set.
//!
//! CHAIRs is the share of captions with a hallucinated object, CHAIRi the share of objects that are hallucinated, each as often as it is named.
//! `recall` and `words` are what OPERA's copy of the script adds (Huang et al., 2024): of what is in the pictures the share that the caption names, summed over
//! pictures, and the words and marks of a caption, two joined ones counting as one.
//!
//! The list is a file as the script has it: a line for each class, words with a comma and a space between them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::plural::singular;
use super::words::tokens;
use super::{Answer, ScoreError, Scorer, Verdict, share};
use crate::benchmark::{Item, ReadError};

/// The most bytes of a list of synonyms.
const MOST_LIST: u64 = 1 << 24;

/// Two words that are taken for one.
const DOUBLE: &[&str] = &[
    "motor bike",
    "motor cycle",
    "air plane",
    "traffic light",
    "street light",
    "traffic signal",
    "stop light",
    "fire hydrant",
    "stop sign",
    "parking meter",
    "suit case",
    "sports ball",
    "baseball bat",
    "baseball glove",
    "tennis racket",
    "wine glass",
    "hot dog",
    "cell phone",
    "mobile phone",
    "teddy bear",
    "hair drier",
    "potted plant",
    "laptop computer",
    "stove top oven",
    "home plate",
    "train track",
];
/// Two words of which one is meant.
const MEANT: [(&str, &str); 3] = [("bow tie", "tie"), ("toilet seat", "toilet"), ("wine glas", "wine glass")];
/// Behind `baby` or `adult` they are meant, and no person.
const ANIMALS: [&str; 12] =
    ["bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "animal", "cub"];
/// Behind `passenger` they are meant, and no person.
const VEHICLES: [&str; 2] = ["jet", "train"];

/// Objects that a caption names and that are not there.
#[derive(Debug, Clone)]
pub struct Chair {
    /// Of each word the first of its line.
    stands: BTreeMap<String, String>,
}

/// The objects of a caption.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Objects {
    /// As the caption has them, in the singular.
    pub words: Vec<String>,
    /// What each stands for.
    pub classes: Vec<String>,
    /// Words and marks of the caption.
    pub length: usize,
}

fn joined(two: &str) -> Option<&str> {
    if let Some((_, meant)) = MEANT.iter().find(|(double, _)| *double == two) {
        return Some(meant);
    }
    if DOUBLE.contains(&two) {
        return Some(two);
    }
    let (first, second) = two.split_once(' ')?;
    let of = |all: &[&'static str]| all.iter().copied().find(|word| *word == second);
    match first {
        "baby" | "adult" => of(&ANIMALS),
        "passenger" => of(&VEHICLES),
        _ => None,
    }
}

impl Chair {
    /// The list of synonyms of a file.
    ///
    /// # Errors
    /// [`ReadError::Io`]; [`ReadError::Field`] for a list without a word.
    pub fn open(file: impl AsRef<Path>) -> Result<Self, ReadError> {
        let file = file.as_ref();
        let text = mmlens_files::read_text(file, MOST_LIST).map_err(ReadError::io(file))?;
        let chair = Self::new(&text);
        if chair.stands.is_empty() {
            return Err(ReadError::field(
                file,
                1,
                "",
                "no word",
                "a class on each line, words with `, ` between them",
            ));
        }
        Ok(chair)
    }

    /// The list of a text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut stands = BTreeMap::new();
        for line in text.lines() {
            let words: Vec<&str> = line.trim().split(", ").collect();
            let Some(first) = words.first().filter(|first| !first.is_empty()) else { continue };
            // Of a word on two lines the later one counts.
            stands.extend(words.iter().map(|word| ((*word).to_owned(), (*first).to_owned())));
        }
        Self { stands }
    }

    /// The objects of a caption.
    #[must_use]
    pub fn objects(&self, caption: &str) -> Objects {
        let single: Vec<String> = tokens(caption).iter().map(|word| singular(word)).collect();
        let (mut words, mut i) = (Vec::new(), 0);
        while let Some(word) = single.get(i) {
            let two = single.get(i + 1).map(|next| format!("{word} {next}"));
            let meant = two.as_deref().and_then(joined).map(str::to_owned);
            i += if meant.is_some() { 2 } else { 1 };
            words.push(meant.unwrap_or_else(|| word.clone()));
        }
        let length = words.len();
        let has = |wanted: &str| words.iter().any(|word| word == wanted);
        if has("toilet") && has("seat") {
            words.retain(|word| word != "seat");
        }
        words.retain(|word| self.stands.contains_key(word));
        let classes = words.iter().filter_map(|word| self.stands.get(word).cloned()).collect();
        Objects { words, classes, length }
    }

    /// What is in the picture of an item.
    ///
    /// # Errors
    /// [`ScoreError::Item`] for a thing that is marked and is not on the list.
    pub fn there(&self, item: &Item) -> Result<BTreeSet<String>, ScoreError> {
        let mut there = BTreeSet::new();
        for marked in &item.marked {
            let class = self.stands.get(&marked.name).ok_or_else(|| ScoreError::Item {
                scorer: "chair",
                item: item.id.clone(),
                found: format!("`{}` is marked in its picture", marked.name),
                expected: "a word of the list of synonyms",
            })?;
            there.insert(class.clone());
        }
        for caption in &item.captions {
            there.extend(self.objects(caption).classes);
        }
        Ok(there)
    }
}

impl Scorer for Chair {
    fn name(&self) -> &'static str {
        "chair"
    }

    fn figures(&self) -> &'static [&'static str] {
        &["CHAIRs", "CHAIRi", "recall", "words"]
    }

    fn judge(&self, item: &Item, answer: &Answer) -> Result<Verdict, ScoreError> {
        let (objects, there) = (self.objects(&answer.text), self.there(item)?);
        let (right, wrong): (Vec<&String>, Vec<&String>) =
            objects.classes.iter().partition(|class| there.contains(*class));
        let named: BTreeSet<&String> = right.into_iter().collect();
        let count = |n: usize| n as f64;
        let read = objects.classes.join(", ");
        let counts = vec![
            count(usize::from(!wrong.is_empty())),
            1.0,
            count(wrong.len()),
            count(objects.classes.len()),
            count(named.len()),
            count(there.len()),
            count(objects.length),
        ];
        Ok(Verdict { read, counts })
    }

    fn values(&self, counts: &[f64]) -> Vec<Option<f64>> {
        let [bad, captions, wrong, objects, named, there, words] = counts else {
            return vec![None; self.figures().len()];
        };
        vec![share(*bad, *captions), share(*wrong, *objects), share(*named, *there), share(*words, *captions)]
    }
}
