//! Why activations could not be recorded or read.

use std::path::{Path, PathBuf};

use mmlens_core::{AnalysisError, HookError, Site, SubjectError};
use mmlens_files::WriteError;

/// Why activations could not be recorded or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A file that cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file that could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A file that does not hold what it should.
    #[error("{}: {found}; expected {expected}", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is there.
        found: String,
        /// What should be.
        expected: String,
    },
    /// The folder holds another recording.
    #[error("{} holds another recording: `{field}` is {found} there, {asked} here", path.display())]
    Another {
        /// The folder.
        path: PathBuf,
        /// What differs.
        field: &'static str,
        /// As it is there.
        found: String,
        /// As it was asked for.
        asked: String,
    },
    /// Somebody else records into this folder.
    #[error("{} is being recorded into by another process", path.display())]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// Sites that cannot be recorded together.
    #[error("`{site}` {axes} cannot be recorded: {reason}")]
    Site {
        /// The site.
        site: String,
        /// Its axes.
        axes: String,
        /// Why not.
        reason: String,
    },
    /// Settings that say nothing.
    #[error("`{field}` is {found}, expected {expected}")]
    Setting {
        /// Which.
        field: &'static str,
        /// What was given.
        found: String,
        /// What is possible.
        expected: &'static str,
    },
    /// A value that is no finite number.
    #[error(
        "`{site}` of sample {sample} holds {found} at position {position}, coordinate {at}, where a finite number belongs"
    )]
    NotFinite {
        /// The site.
        site: Site,
        /// The sample.
        sample: u64,
        /// Which of its rows.
        position: u32,
        /// Where in the row.
        at: usize,
        /// What stands there.
        found: f32,
    },
    /// A column that was not recorded.
    #[error("`{found}` was not recorded; there is {}", have.join(", "))]
    NoColumn {
        /// What was asked for.
        found: String,
        /// What there is.
        have: Vec<String>,
    },
    /// A row that is not there.
    #[error("row {row} was asked for, there are {rows}")]
    NoRow {
        /// Which.
        row: u64,
        /// How many there are.
        rows: u64,
    },
    /// A pass that failed, or was cancelled.
    #[error(transparent)]
    Analysis(#[from] AnalysisError),
}

impl From<SubjectError> for StoreError {
    fn from(error: SubjectError) -> Self {
        Self::Analysis(error.into())
    }
}

impl From<HookError> for StoreError {
    fn from(error: HookError) -> Self {
        Self::Analysis(error.into())
    }
}

impl StoreError {
    /// For `map_err`: what the system says of a file.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        |source| Self::Io { path: path.to_owned(), source }
    }

    pub(crate) fn broken(path: &Path, found: impl ToString, expected: impl ToString) -> Self {
        Self::Broken { path: path.to_owned(), found: found.to_string(), expected: expected.to_string() }
    }
}
