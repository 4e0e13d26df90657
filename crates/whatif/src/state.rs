//! What was changed so far.

use std::collections::{BTreeMap, BTreeSet};

use mmlens_core::{Baseline, Seed, Words};
use mmlens_engine::Absent;
use serde::{Deserialize, Serialize};

use crate::request::Aimed;

/// What stands in the place of hidden cells of pictures, and of the spectrograms of recordings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum PictureFill {
    /// Zero as the tower is given it: of pictures the mean colour of the processor.
    Zero,
    /// The mean colour of the picture; of a recording the mean of every filter.
    #[default]
    Mean,
    /// Silence; of recordings alone.
    Silence,
    /// The picture, blurred; of pictures alone.
    Blur {
        /// By so many pixels of the original picture.
        sigma: f64,
    },
    /// Colours that are drawn; of a recording white noise as loud.
    Noise {
        /// Decides them.
        seed: u64,
    },
}

/// What stands in the place of struck words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WordFill {
    /// The word itself, that nobody attends to.
    #[default]
    Unattended,
    /// The vector zero.
    Zero,
    /// The mean of the words' vectors.
    Mean,
    /// The model's token for a missing word.
    Mask,
}

impl From<PictureFill> for Absent {
    fn from(fill: PictureFill) -> Self {
        match fill {
            PictureFill::Zero => Baseline::Zero.into(),
            PictureFill::Mean => Baseline::Mean.into(),
            PictureFill::Silence => Self::Silence,
            PictureFill::Blur { sigma } => Self::Blur { sigma },
            PictureFill::Noise { seed } => Self::Noise { seed: Seed(seed) },
        }
    }
}

impl From<WordFill> for Absent {
    fn from(fill: WordFill) -> Self {
        match fill {
            WordFill::Unattended => Self::Unattended,
            WordFill::Zero => Baseline::Zero.into(),
            WordFill::Mean => Baseline::Mean.into(),
            WordFill::Mask => Self::Mask,
        }
    }
}

/// A direction, added somewhere.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Steered {
    /// The direction's name.
    pub direction: String,
    /// A site or a selector.
    pub site: String,
    /// So many times.
    pub strength: f32,
}

/// An edit of the model, by its name.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change {
    Edit(String),
    Steer(Steered),
}

/// What was changed so far.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    pub(crate) words: Words,
    /// Hidden cells of each picture.
    pub(crate) cells: BTreeMap<usize, BTreeSet<usize>>,
    pub(crate) struck: BTreeSet<usize>,
    pub(crate) picture_fill: PictureFill,
    pub(crate) word_fill: WordFill,
    /// In the order in which they are made.
    pub(crate) edits: Vec<(String, Change)>,
    pub(crate) aim: Aimed,
}

impl State {
    pub(crate) fn new(words: Words) -> Self {
        Self {
            words,
            cells: BTreeMap::new(),
            struck: BTreeSet::new(),
            picture_fill: PictureFill::default(),
            word_fill: WordFill::default(),
            edits: Vec::new(),
            aim: Aimed::default(),
        }
    }

    /// Whether the model is shown the same pictures and asked the same words, with the same of them hidden.
    pub(crate) fn shows_as(&self, other: &Self) -> bool {
        self.words == other.words
            && self.cells == other.cells
            && (self.cells.is_empty() || self.picture_fill == other.picture_fill)
    }

    /// Whether the model says the same: what of it is explained makes no difference.
    pub(crate) fn says_as(&self, other: &Self) -> bool {
        self.shows_as(other)
            && self.edits == other.edits
            && self.struck == other.struck
            && (self.struck.is_empty() || self.word_fill == other.word_fill)
    }

    /// The question, or the prompt, as it stands.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.words {
            Words::Question(text) | Words::Prompt(text) => Some(text),
            Words::Texts(texts) => match texts.as_slice() {
                [text] => Some(text),
                _ => None,
            },
            Words::Nothing => None,
        }
    }

    /// The same words with another text.
    pub(crate) fn with_text(&self, text: String) -> Option<Words> {
        match &self.words {
            Words::Question(_) => Some(Words::Question(text)),
            Words::Prompt(_) => Some(Words::Prompt(text)),
            Words::Texts(texts) if texts.len() == 1 => Some(Words::Texts(vec![text])),
            _ => None,
        }
    }

    /// The next number that no edit is called by.
    pub(crate) fn free_name(&self) -> String {
        let taken = |name: &String| self.edits.iter().any(|(own, _)| own == name);
        (1..).map(|number: u32| number.to_string()).find(|name| !taken(name)).unwrap_or_default()
    }

    /// An edit in the place of the one of this name, or behind all others.
    pub(crate) fn put(&mut self, name: String, change: Change) {
        match self.edits.iter_mut().find(|(own, _)| *own == name) {
            Some((_, own)) => *own = change,
            None => self.edits.push((name, change)),
        }
    }
}
