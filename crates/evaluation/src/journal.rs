//! What is done of an evaluation, on disk, and why one stops.

use std::path::{Path, PathBuf};

use mmlens_core::AnalysisError;
use mmlens_core::finding::{FindingError, TableError};
use mmlens_files::Journal;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::NoScore;

/// Why an evaluation stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluationError {
    /// The subject or the data set could not, or somebody wanted no more.
    #[error(transparent)]
    Analysis(#[from] AnalysisError),
    /// A result that does not fit its own labels.
    #[error(transparent)]
    Finding(#[from] FindingError),
    /// The journal cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A journal that is none, or one of another evaluation.
    #[error("{}, line {line}: {found}; expected {expected}", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What stands there.
        found: String,
        /// What should.
        expected: String,
    },
}

impl From<TableError> for EvaluationError {
    fn from(error: TableError) -> Self {
        Self::Finding(error.into())
    }
}

/// A row of a case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Line {
    pub(crate) case: usize,
    pub(crate) row: usize,
    /// Passes: for each metric, and last for making maps.
    pub(crate) spent: Vec<u64>,
    /// Seconds, where they are counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) seconds: Option<f64>,
    /// For each metric its numbers.
    pub(crate) cells: Vec<Result<Vec<f64>, NoScore>>,
}

/// The lines that there are, in the order of cases and rows.
pub(crate) struct Done {
    file: Option<(PathBuf, Journal)>,
    lines: Vec<Line>,
    items: usize,
    rows: usize,
}

impl Done {
    /// What a journal has of this evaluation; a new one is begun.
    pub(crate) fn open(
        path: Option<&Path>,
        about: &Value,
        [rows, items]: [usize; 2],
    ) -> Result<Self, EvaluationError> {
        let Some(path) = path else { return Ok(Self { file: None, lines: Vec::new(), items, rows }) };
        let fail = |source| EvaluationError::Io { path: path.to_owned(), source };
        let wrong = |line: usize, found: String, expected: &str| EvaluationError::Broken {
            path: path.to_owned(),
            line: line + 1,
            found,
            expected: expected.to_owned(),
        };
        let (mut journal, texts) = Journal::open(path).map_err(fail)?;
        let mut lines = Vec::new();
        match texts.split_first() {
            None => journal.append(&about.to_string()).map_err(fail)?,
            Some((head, rest)) => {
                let head: Value = mmlens_files::parse_json(head.as_bytes())
                    .map_err(|error| wrong(0, error.to_string(), "the head of an evaluation"))?;
                if let Some(field) = differing(&head, about) {
                    return Err(wrong(
                        0,
                        format!("an evaluation with other `{field}`"),
                        "this one: name another folder, or remove that file",
                    ));
                }
                for (at, text) in rest.iter().enumerate() {
                    let line: Line = mmlens_files::parse_json(text.as_bytes())
                        .map_err(|error| wrong(at + 1, error.to_string(), "a row of a case"))?;
                    let whole = line.spent.len() == items && line.cells.len() + 1 == items;
                    if (line.case, line.row) != (at / rows, at % rows) || !whole {
                        let found = format!("row {} of case {}", line.row, line.case);
                        let expected =
                            format!("row {} of case {} with {} metrics", at % rows, at / rows, items - 1);
                        return Err(wrong(at + 1, found, &expected));
                    }
                    lines.push(line);
                }
            }
        }
        Ok(Self { file: Some((path.to_owned(), journal)), lines, items, rows })
    }

    pub(crate) fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Whether every row of a case is done.
    pub(crate) fn has(&self, case: usize, rows: usize) -> bool {
        self.lines.len() >= (case + 1) * rows
    }

    /// What a row has spent so far.
    pub(crate) fn spent(&self, row: usize) -> Vec<u64> {
        let mut all = vec![0; self.items];
        for line in self.lines.iter().skip(row).step_by(self.rows.max(1)) {
            all.iter_mut().zip(&line.spent).for_each(|(all, own)| *all += own);
        }
        all
    }

    /// How many seconds a row has taken so far.
    pub(crate) fn seconds(&self, row: usize) -> f64 {
        self.lines.iter().skip(row).step_by(self.rows.max(1)).filter_map(|line| line.seconds).sum()
    }

    pub(crate) fn enter(&mut self, line: Line) -> Result<(), EvaluationError> {
        if let Some((path, journal)) = &mut self.file {
            let fail = |source| EvaluationError::Io { path: path.clone(), source };
            let text = serde_json::to_string(&line).map_err(|error| fail(std::io::Error::other(error)))?;
            journal.append(&text).map_err(fail)?;
        }
        self.lines.push(line);
        Ok(())
    }
}

/// The first field in which two heads differ.
fn differing(found: &Value, now: &Value) -> Option<String> {
    if found == now {
        return None;
    }
    let fields = now.as_object()?;
    let other = fields.iter().find(|(name, value)| found.get(name.as_str()) != Some(value));
    Some(other.map_or_else(|| "fields".to_owned(), |(name, _)| name.clone()))
}
