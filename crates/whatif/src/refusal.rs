//! Why a request is not carried out.

use std::fmt;

use mmlens_core::{AlterationError, AnalysisError, HookError, SubjectError};
use mmlens_engine::{AimError, UnitError};
use serde::Serialize;

/// What kind of reason it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Kind {
    /// The request is no JSON, or a field is missing, unknown or of another kind.
    Request,
    /// More than a session takes: a longer text, more edits, a table of more numbers.
    Size,
    /// A cell, word, edit, direction or method that there is not.
    Missing,
    /// The model cannot be changed or asked so.
    Model,
    /// It was stopped before it was done.
    Stopped,
}

/// Why a request is not carried out: the state is what it was before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
pub struct Refusal {
    /// What kind of reason it is.
    pub kind: Kind,
    /// The field of the request, `do` for the request as a whole.
    pub field: String,
    /// What stands there.
    pub found: String,
    /// What was expected, or what stood in the way.
    pub expected: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is `{}`: {}", self.field, self.found, self.expected)
    }
}

/// The most characters that a refusal repeats of what was found.
const REPEATED: usize = 200;

impl Refusal {
    pub(crate) fn new(kind: Kind, field: &str, found: impl ToString, expected: impl ToString) -> Self {
        let found = found.to_string();
        let found = match found.char_indices().nth(REPEATED) {
            Some((end, _)) => format!("{}...", found.get(..end).unwrap_or_default()),
            None => found,
        };
        Self { kind, field: field.to_owned(), found, expected: expected.to_string() }
    }

    pub(crate) fn size(field: &str, found: impl ToString, most: usize, of: &str) -> Self {
        Self::new(Kind::Size, field, found, format_args!("expected at most {most} {of}"))
    }
}

/// An error of the library, told of a field and what stands there.
pub(crate) trait Of<T> {
    fn of(self, field: &str, found: impl ToString) -> Result<T, Refusal>;
}

macro_rules! of_model {
    ($($error:ty),+) => {
        $(impl<T> Of<T> for Result<T, $error> {
            fn of(self, field: &str, found: impl ToString) -> Result<T, Refusal> {
                self.map_err(|error| Refusal::new(Kind::Model, field, found, error))
            }
        })+
    };
}

of_model!(SubjectError, HookError, UnitError, AimError);

impl<T> Of<T> for Result<T, AlterationError> {
    fn of(self, field: &str, found: impl ToString) -> Result<T, Refusal> {
        self.map_err(|error| Refusal::new(Kind::Request, field, found, error))
    }
}

impl<T> Of<T> for Result<T, AnalysisError> {
    fn of(self, field: &str, found: impl ToString) -> Result<T, Refusal> {
        self.map_err(|error| match &error {
            AnalysisError::Cancelled { done, total, .. } => {
                Refusal::new(Kind::Stopped, field, found, format_args!("stopped after {done} of {total}"))
            }
            AnalysisError::Setting { .. } | AnalysisError::Settings { .. } => {
                Refusal::new(Kind::Request, field, found, error)
            }
            _ => Refusal::new(Kind::Model, field, found, error),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, Refusal};

    #[test]
    fn a_long_text_is_not_repeated_whole() {
        let refusal = Refusal::new(Kind::Size, "text", "ä".repeat(1000), "expected at most 9 bytes");
        assert_eq!(refusal.found.chars().count(), 203);
        assert_eq!(
            Refusal::size("top", 101, 100, "tokens").to_string(),
            "`top` is `101`: expected at most 100 tokens"
        );
    }
}
