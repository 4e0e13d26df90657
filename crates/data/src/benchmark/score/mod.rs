//! Scores: what an answer comes to, and what all of them come to, with an interval.
//!
//! A [`Scorer`] counts: of one answer to one item it says what was read of it and some counts. Counts of the items of one group (the
//! questions about one picture) are added up, and figures are quotients of sums over groups. So an interval is drawn from the
//! groups, since questions about one picture share what is hard about it.

mod bootstrap;
mod chair;
mod choice;
mod digits;
mod mme;
mod pairwise;
mod plural;
mod pope;
mod vqa;
mod winoground;
mod words;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use mmlens_core::Seed;
use serde::{Deserialize, Serialize};

use super::{Item, ReadError, Reader};

pub use bootstrap::DRAWS;
pub use chair::Chair;
pub use choice::Choice;
pub(super) use choice::letter;
pub use mme::Mme;
pub use pairwise::Pairwise;
pub use pope::YesNo;
pub use vqa::Vqa;
pub use winoground::Winoground;
pub use words::tokens;

/// What was answered to an item.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The text, without white space around it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// How well each caption and its foil fit the picture.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fits: Vec<Fits>,
    /// The logits of yes and of no as the first token, where they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yes_no: Option<[f32; 2]>,
}

impl Answer {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }
}

/// How well a caption and its foil fit a picture: the similarity, of a dual encoder; of a model that writes, the log-probability
/// of the text, with the number of its tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Fits {
    /// That of the caption.
    pub caption: f32,
    /// That of the foil.
    pub foil: f32,
    /// Tokens of both, of a model that writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<[usize; 2]>,
}

/// What an answer comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// What was read of the answer: `yes`, a letter, the normalised text.
    pub read: String,
    /// What it counts, as the scorer adds it up.
    pub counts: Vec<f64>,
}

/// Why an answer is not scored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScoreError {
    /// An item that does not say what the scorer needs.
    #[error("scorer `{scorer}`, item `{item}`: {found}; expected {expected}")]
    Item {
        /// Which scorer.
        scorer: &'static str,
        /// Which item.
        item: String,
        /// What it has.
        found: String,
        /// What it needs.
        expected: &'static str,
    },
    /// A name that no scorer has.
    #[error("there is no scorer `{found}`; there are {}", ScorerName::names())]
    Name {
        /// The name.
        found: String,
    },
    /// A scorer that needs a file.
    #[error("scorer `{scorer}` needs {expected}")]
    Needs {
        /// Which.
        scorer: &'static str,
        /// What.
        expected: &'static str,
    },
    /// The file it needs.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// How answers are scored.
pub trait Scorer: Send + Sync {
    /// What it is called.
    fn name(&self) -> &'static str;

    /// What its figures are called.
    fn figures(&self) -> &'static [&'static str];

    /// What an answer comes to.
    ///
    /// # Errors
    /// [`ScoreError::Item`] for an item that does not say what is right.
    fn judge(&self, item: &Item, answer: &Answer) -> Result<Verdict, ScoreError>;

    /// What the answers to the items of one group count together: their sum.
    fn gathered(&self, group: &[&[f64]]) -> Vec<f64> {
        sum(group.iter().copied())
    }

    /// The figures of counts; `None` where one is a quotient of zeros.
    fn values(&self, counts: &[f64]) -> Vec<Option<f64>>;

    /// The figures of several tasks together: of their summed counts.
    fn together(&self, tasks: &[&[f64]]) -> Vec<Option<f64>> {
        self.values(&sum(tasks.iter().copied()))
    }

    /// Tasks that are told together, beside all of them.
    fn sets(&self) -> &'static [(&'static str, &'static [&'static str])] {
        &[]
    }

    /// Whether an answer is read as yes or no, so that always saying one of them is something to compare with.
    fn yes_no(&self) -> bool {
        false
    }
}

fn sum<'a>(all: impl Iterator<Item = &'a [f64]>) -> Vec<f64> {
    let mut sums: Vec<f64> = Vec::new();
    for counts in all {
        sums.resize(sums.len().max(counts.len()), 0.0);
        sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    sums
}

fn share(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}

/// The scorers by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScorerName {
    /// POPE's: accuracy, precision, recall, F1, share of yes.
    Pope,
    /// MME's: accuracy by question and by picture, and their sum.
    Mme,
    /// VQA's soft accuracy over ten answers.
    Vqa,
    /// CHAIR: objects that a caption names and that are not there.
    Chair,
    /// Whether the caption fits better than its foil.
    Pairwise,
    /// Whether two captions go with two pictures the right way round.
    Winoground,
    /// A letter or a text that is the right one.
    Choice,
    /// None: answers are written down alone.
    None,
}

impl ScorerName {
    const ALL: [(Self, &'static str); 8] = [
        (Self::Pope, "pope"),
        (Self::Mme, "mme"),
        (Self::Vqa, "vqa"),
        (Self::Chair, "chair"),
        (Self::Pairwise, "pairwise"),
        (Self::Winoground, "winoground"),
        (Self::Choice, "choice"),
        (Self::None, "none"),
    ];

    fn names() -> String {
        Self::ALL.map(|(_, name)| name).join(", ")
    }

    /// The one that a data set is scored with, if nobody says another; `chair` only where its list of synonyms is given.
    #[must_use]
    pub const fn of(reader: Reader) -> Self {
        match reader {
            Reader::Pope => Self::Pope,
            Reader::Mme => Self::Mme,
            Reader::Vqa => Self::Vqa,
            Reader::CocoCaptions | Reader::CocoInstances => Self::Chair,
            Reader::Valse => Self::Pairwise,
            Reader::Tsv | Reader::Jsonl | Reader::Csv | Reader::Parquet => Self::Choice,
            Reader::Llava | Reader::LlavaQuestions => Self::None,
        }
    }

    /// Whether it is told how well a caption and its foil fit, and no answer.
    #[must_use]
    pub const fn of_pairs(self) -> bool {
        matches!(self, Self::Pairwise | Self::Winoground)
    }

    /// What it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(own, _)| *own == self).map_or("", |(_, name)| name)
    }
}

impl fmt::Display for ScorerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ScorerName {
    type Err = ScoreError;

    fn from_str(text: &str) -> Result<Self, ScoreError> {
        let found = || ScoreError::Name { found: text.to_owned() };
        Self::ALL.into_iter().find(|(_, name)| *name == text).map(|(own, _)| own).ok_or_else(found)
    }
}

/// A figure with its interval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What it is called.
    pub name: String,
    /// `None` where it is a quotient of zeros.
    pub value: Option<f64>,
    /// Between which it lies in 95 % of draws of the groups; `None` with fewer than two groups.
    pub interval: Option<[f64; 2]>,
    /// Its standard deviation over these draws, over one less than their number.
    pub error: Option<f64>,
}

/// The figures of a task, of a set of tasks, or of all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// Which; `all` for all.
    pub task: String,
    /// Items in it.
    pub items: usize,
    /// Groups of items that are not independent.
    pub groups: usize,
    /// Its figures.
    pub figures: Vec<Figure>,
}

/// What all of them are called together.
pub const ALL: &str = "all";

/// Verdicts as they come, added up at the end.
#[derive(Debug, Default)]
pub struct Tally {
    /// Of each group and task the counts of its items.
    groups: BTreeMap<(String, String), Vec<Vec<f64>>>,
}

impl Tally {
    /// Adds a verdict.
    pub fn add(&mut self, item: &Item, verdict: &Verdict) {
        let task = item.task.clone().unwrap_or_default();
        self.groups.entry((item.group.clone(), task)).or_default().push(verdict.counts.clone());
    }

    /// The figures: of all items first, then of sets of tasks, then of each task, where there are several.
    ///
    /// # Cost
    /// [`DRAWS`] times the number of groups.
    #[must_use]
    pub fn scores(&self, scorer: &dyn Scorer, seed: Seed) -> Vec<Part> {
        let mut tasks: Vec<&str> = self.groups.keys().map(|(_, task)| task.as_str()).collect();
        tasks.sort_unstable();
        tasks.dedup();
        let place = |task: &str| tasks.binary_search(&task).unwrap_or_default();
        // Groups in the order of their names, each with its counts by task.
        let mut groups: Vec<Vec<(usize, Vec<f64>)>> = Vec::new();
        let (mut last, mut items, mut of_task) = (None, vec![0; tasks.len()], vec![0; tasks.len()]);
        for ((group, task), counts) in &self.groups {
            if last != Some(group) {
                groups.push(Vec::new());
                last = Some(group);
            }
            let own: Vec<&[f64]> = counts.iter().map(Vec::as_slice).collect();
            let at = place(task);
            items[at] += counts.len();
            of_task[at] += 1;
            if let Some(group) = groups.last_mut() {
                group.push((at, scorer.gathered(&own)));
            }
        }
        // What is told: some tasks each.
        let mut parts: Vec<(String, Vec<usize>)> = vec![(ALL.to_owned(), (0..tasks.len()).collect())];
        if tasks.len() > 1 {
            for (name, wanted) in scorer.sets() {
                let some: Vec<usize> = (0..tasks.len()).filter(|at| wanted.contains(&tasks[*at])).collect();
                if !some.is_empty() {
                    parts.push(((*name).to_owned(), some));
                }
            }
            parts.extend(tasks.iter().enumerate().map(|(at, task)| ((*task).to_owned(), vec![at])));
        }
        let figures = bootstrap::figures(scorer, &groups, tasks.len(), &parts, seed);
        let part = |((task, some), figures): ((String, Vec<usize>), Vec<Figure>)| Part {
            task,
            items: some.iter().map(|at| items[*at]).sum(),
            groups: match some.as_slice() {
                [one] => of_task[*one],
                _ => groups.iter().filter(|group| group.iter().any(|(at, _)| some.contains(at))).count(),
            },
            figures,
        };
        parts.into_iter().zip(figures).map(part).collect()
    }
}
