//! A model over a data set: answered item by item into a journal, then scored, with what trivial answers come to.

mod answer;
mod cases;
mod journal;
mod lmms;
mod score;
mod survey;

use std::io;
use std::path::{Path, PathBuf};

use mmlens_core::finding::{FileError, FindingError, TableError};
use mmlens_core::{
    AnalysisError, AnyAnalysis, Given, Memory, On, Selector, Shared, Subject, SubjectError, Watch, explain,
    step,
};
use mmlens_engine::{Aim, AimError};
use mmlens_files::WriteError;
use mmlens_store::{Recording, StoreError};
use serde::{Deserialize, Serialize};

use super::{
    Chair, Choice, Items, Mme, Pairwise, ReadError, ScoreError, Scorer, ScorerName, Source, Vqa, Winoground,
    YesNo,
};
use answer::{answered, blank, sample};
use journal::{Head, Line, Written};
use survey::Survey;

pub use cases::ItemCases;
pub use score::{Row, Scored};

/// What a run is called where it is watched.
const METHOD: &str = "benchmark";

/// How yes and no are told apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// By the text that the model writes.
    #[default]
    Answer,
    /// By the logits of the first token: that of yes against that of no.
    Logit,
}

/// How a data set is asked and scored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How answers are scored.
    pub scorer: ScorerName,
    /// How yes and no are told apart.
    pub by: By,
    /// What is asked where a data set asks nothing: of captions.
    pub ask: String,
    /// What stands behind every question.
    pub suffix: String,
    /// The most tokens of an answer.
    pub max_new: usize,
    /// Whether every item is asked about a blank picture too, of the mean colour of its own.
    pub blank: bool,
    /// Decides the draws of intervals.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            scorer: ScorerName::None,
            by: By::Answer,
            ask: "Describe the picture.".to_owned(),
            suffix: String::new(),
            max_new: 64,
            blank: true,
            seed: 1,
        }
    }
}

/// Why a benchmark was not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// The data set cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// An answer cannot be scored.
    #[error(transparent)]
    Score(#[from] ScoreError),
    /// The model cannot answer an item.
    #[error("item `{item}`: {source}")]
    Item {
        /// Which.
        item: String,
        /// What the model says.
        source: SubjectError,
    },
    /// An item that counts twice.
    #[error("item {index} is called `{item}`, as one before it is; expected an id of its own")]
    Twice {
        /// What both are called.
        item: String,
        /// Which is the second, from zero.
        index: usize,
    },
    /// A question that is too long to be asked.
    #[error("item `{item}`: a question of {tokens} tokens; expected at most {most}")]
    Long {
        /// Which.
        item: String,
        /// Tokens of its words.
        tokens: usize,
        /// The most that are asked.
        most: usize,
    },
    /// What is to be explained of an item cannot be settled.
    #[error("item `{item}`: {source}")]
    Aim {
        /// Which.
        item: String,
        /// Why.
        source: AimError,
    },
    /// A method cannot explain an item.
    #[error("item `{item}`: {source}")]
    Method {
        /// Which.
        item: String,
        /// Why.
        source: AnalysisError,
    },
    /// It was cancelled; or something else that long work reports.
    #[error(transparent)]
    Analysis(#[from] AnalysisError),
    /// The words yes and no begin with the same token.
    #[error("`{subject}` has no first token for {word} alone: yes and no cannot be told apart by it")]
    YesNo {
        /// The model.
        subject: String,
        /// Which word.
        word: &'static str,
    },
    /// A data set without items.
    #[error("{}: there is no item to answer", data.display())]
    Empty {
        /// Its file.
        data: PathBuf,
    },
    /// A setting that does not go with the data set.
    #[error("`{setting}` = {found}, but {expected}")]
    Setting {
        /// Which.
        setting: &'static str,
        /// What it is.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// The journal of another run, or one that is broken.
    #[error("{}, line {line}: {found}; expected {expected}", path.display())]
    Journal {
        /// The journal.
        path: PathBuf,
        /// Which line, from one.
        line: usize,
        /// What is there.
        found: String,
        /// What should be.
        expected: String,
    },
    /// The system refuses a file or folder.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What it says.
        source: io::Error,
    },
    /// A file that is not written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Activations that are not recorded.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Tables that do not fit together.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A finding that is not made.
    #[error(transparent)]
    Finding(#[from] FindingError),
    /// A finding that is not written.
    #[error(transparent)]
    File(#[from] FileError),
}

impl BenchError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Self::Io { path: path.to_owned(), source }
    }
}

/// A run of a model over a data set, into a folder.
///
/// The folder holds `answers.jsonl` (a head, then a line for each item in order), `scores.json`, `scores.safetensors` (a finding), and what lmms-eval writes:
/// `lmms_results.json` and `lmms_samples_NAME.jsonl`; `findings` and `activations` where they are asked for.
///
/// A line of `answers.jsonl` is on disk before the next item is asked. A run that was cut off goes on with the next item, and ends with
/// the same bytes as one that was not; a larger limit goes on where a smaller one ended. A journal of another model, data set or
/// settings is refused. The data set is known by the hash of its files; pictures that lie beside them are not looked at.
pub struct Bench<'a> {
    /// What it is called: the name of its task for lmms-eval.
    pub name: &'a str,
    /// Where the data set lies.
    pub source: &'a Source,
    /// How it is asked and scored.
    pub settings: &'a Settings,
    /// The list of synonyms that CHAIR needs.
    pub synonyms: Option<&'a Path>,
    /// No more items than this.
    pub limit: Option<usize>,
    /// Methods that explain every answer; each finding goes into `findings`.
    pub methods: &'a [Box<dyn AnyAnalysis>],
    /// Memory that methods may take.
    pub memory: Memory,
    /// Sites that are kept of every item, in a store in `activations`.
    pub read: Option<Selector>,
}

impl Bench<'_> {
    /// The scorer that the settings name.
    ///
    /// # Errors
    /// [`ScoreError::Needs`] for CHAIR without a list of synonyms; a list that cannot be read.
    pub fn scorer(&self) -> Result<Option<Box<dyn Scorer>>, ScoreError> {
        Ok(Some(match self.settings.scorer {
            ScorerName::Pope => Box::new(YesNo),
            ScorerName::Mme => Box::new(Mme),
            ScorerName::Vqa => Box::new(Vqa),
            ScorerName::Pairwise => Box::new(Pairwise),
            ScorerName::Winoground => Box::new(Winoground),
            ScorerName::Choice => Box::new(Choice),
            ScorerName::Chair => {
                let expected = "a list of synonyms: a file with a class on each line";
                let list = self.synonyms.ok_or(ScoreError::Needs { scorer: "chair", expected })?;
                Box::new(Chair::open(list)?)
            }
            ScorerName::None => return Ok(None),
        }))
    }

    /// Looks at all items, answers what is not answered yet, scores all, writes all.
    ///
    /// # Errors
    /// [`BenchError`], with the item that could not be read, answered or scored; with [`AnalysisError::Cancelled`] the journal keeps
    /// what is answered.
    ///
    /// # Cost
    /// For each item an answer, and another with a blank picture if the settings say so; with [`By::Logit`] a pass instead of an answer; of a pair
    /// of caption and foil two passes, or one of a dual encoder. Each item is read once more before the first is answered. Memory: one item beside the model, and some hundred bytes
    /// for each answer.
    pub fn run(&self, subject: &dyn Subject, out: &Path, watch: &dyn Watch) -> Result<Scored, BenchError> {
        let (settings, scorer) = (self.settings, self.scorer()?);
        if settings.by == By::Logit && !scorer.as_ref().is_some_and(|scorer| scorer.yes_no()) {
            return Err(BenchError::Setting {
                setting: "by",
                found: "logit".to_owned(),
                expected: "only answers of yes and no are told apart by logits: scorers pope and mme"
                    .to_owned(),
            });
        }
        if settings.max_new == 0 {
            let (found, expected) = ("0".to_owned(), "an answer has at least one token".to_owned());
            return Err(BenchError::Setting { setting: "max_new", found, expected });
        }
        let items = self.source.open()?;
        let count = self.limit.map_or(items.len(), |limit| limit.min(items.len()));
        if count == 0 {
            return Err(BenchError::Empty { data: self.source.data.clone() });
        }
        let survey = Survey::of(items.as_ref(), count, (scorer.as_deref(), self.source.reader))?;
        std::fs::create_dir_all(out).map_err(BenchError::io(out))?;
        let head = Head::of(self, subject)?;
        let mut written = Written::open(out, &head)?;
        step(watch, METHOD, written.lines.len().min(count), count)?;
        for index in written.lines.len()..count {
            let line = self.line(subject, (index, items.as_ref()), out, watch)?;
            written.append(line)?;
            step(watch, METHOD, index + 1, count)?;
        }
        let mut lines = written.lines;
        lines.truncate(count);
        if let Some(read) = &self.read {
            let cases = ItemCases::new(&head.data, items.as_ref(), settings, count);
            // Pictures may differ in size: one at a time.
            Recording::new(read.clone()).batch(1)?.run(subject, out.join("activations"), &cases, watch)?;
        }
        let scored = Scored::of(self, (scorer.as_deref(), &survey), items.as_ref(), &lines, &head)?;
        scored.write(self, subject, items.as_ref(), &lines, out)?;
        Ok(scored)
    }

    /// An item, answered and explained.
    fn line(
        &self,
        subject: &dyn Subject,
        (index, items): (usize, &dyn Items),
        out: &Path,
        watch: &dyn Watch,
    ) -> Result<Line, BenchError> {
        let item = items.item(index)?;
        let settings = self.settings;
        let pictures = item.pictures.iter().map(super::Shown::open).collect::<Result<Vec<_>, _>>();
        let pictures = pictures.map_err(|source| BenchError::Item { item: item.id.clone(), source })?;
        let answer = answered(subject, &item, &pictures, settings)?;
        let blank = match settings.blank && !pictures.is_empty() {
            true => Some(answered(subject, &item, &blank(&item, &pictures)?, settings)?.answer),
            false => None,
        };
        if !self.methods.is_empty() {
            let (shared, id) = (Shared::new(), || item.id.clone());
            let on = On::new(subject).watched(watch).within(self.memory).sharing(&shared);
            let aim = Aim::default().at_most(settings.max_new);
            let settled = aim
                .settle(&on, sample(&item, &pictures, settings))
                .map_err(|source| BenchError::Aim { item: id(), source })?;
            let given = Given::new(settled.case).map_err(|source| BenchError::Item { item: id(), source })?;
            let folder = out.join("findings");
            std::fs::create_dir_all(&folder).map_err(BenchError::io(&folder))?;
            for (method, finding) in self.methods.iter().zip(explain(self.methods, on, &given)) {
                let finding = finding.map_err(|source| match source {
                    cancelled @ AnalysisError::Cancelled { .. } => BenchError::Analysis(cancelled),
                    source => BenchError::Method { item: id(), source },
                })?;
                finding.save(folder.join(format!("{index:06}.{}.safetensors", method.card().short)))?;
            }
        }
        Ok(Line { item: index, id: item.id.clone(), answer: answer.answer, cut: answer.cut, blank })
    }
}
