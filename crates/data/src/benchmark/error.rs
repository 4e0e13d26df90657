//! Why a data set is not read.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Where in a file something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// In no place of its own.
    File,
    /// A line, counted from one.
    Line(usize),
    /// A row of a Parquet file, counted from one.
    Row(usize),
}

impl From<usize> for At {
    fn from(line: usize) -> Self {
        Self::Line(line)
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => Ok(()),
            Self::Line(line) => write!(f, ", line {line}"),
            Self::Row(row) => write!(f, ", row {row}"),
        }
    }
}

/// Why a data set is not read. It names the file, and of what is wrong inside it the line and the field.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The system refuses a file, or it is none that is read.
    #[error("{}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A line, or a field of it, that is not what it should be.
    #[error("{}{at}: {}{found}; expected {expected}", file.display(), of(field))]
    Field {
        /// The file.
        file: PathBuf,
        /// Where in it.
        at: At,
        /// The field, with those around it: `mturk.caption`. Empty for the whole line.
        field: String,
        /// What is there.
        found: String,
        /// What should be.
        expected: String,
    },
    /// A source that lacks something, or has too much.
    #[error("reader `{reader}`: {found}; expected {expected}")]
    Source {
        /// Which reader.
        reader: &'static str,
        /// What was given.
        found: String,
        /// What it needs.
        expected: String,
    },
    /// An item past the end.
    #[error("{}: there is no item {index}; it has {len}", file.display())]
    Past {
        /// The file.
        file: PathBuf,
        /// What was asked for.
        index: usize,
        /// Items there are.
        len: usize,
    },
}

fn of(field: &str) -> String {
    if field.is_empty() { String::new() } else { format!("field `{field}`: ") }
}

impl ReadError {
    pub(crate) fn io(file: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Self::Io { file: file.to_owned(), source }
    }

    pub(crate) fn field(
        file: &Path,
        at: impl Into<At>,
        field: impl Into<String>,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        let (field, found, expected) = (field.into(), found.into(), expected.into());
        Self::Field { file: file.to_owned(), at: at.into(), field, found, expected }
    }
}

/// The most characters of a value that an error quotes.
const QUOTED: usize = 60;

/// A value as an error tells it: a text, a number or a word as it is, cut if it is long; of lists and objects what they are.
pub(crate) fn told(value: &Value) -> String {
    match value {
        Value::Array(list) => format!("a list of {}", list.len()),
        Value::Object(fields) => format!("an object of {} fields", fields.len()),
        Value::String(text) => format!("`{}`", cut(text)),
        other => other.to_string(),
    }
}

/// A text, cut if it is long.
pub(crate) fn cut(text: &str) -> String {
    match text.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
