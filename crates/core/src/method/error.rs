//! Why running a method failed.

use std::borrow::Cow;

use mmlens_finding::{FindingError, TableError};

use crate::{HookError, Site, SubjectError, memory};

/// Why running a method failed. The kinds are shared by all methods.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnalysisError {
    /// The subject could not.
    #[error(transparent)]
    Subject(#[from] SubjectError),
    /// A result that does not fit its own labels.
    #[error(transparent)]
    Finding(#[from] FindingError),
    /// Settings that cannot be.
    #[error("{method}: {setting} = {found}, but {expected}")]
    Setting {
        /// The method.
        method: &'static str,
        /// The setting.
        setting: &'static str,
        /// Its value.
        found: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// Settings that are not those of the method.
    #[error("settings of {method}: {reason}")]
    Settings {
        /// The method.
        method: &'static str,
        /// Which field, what was found, and what is expected.
        reason: String,
    },
    /// An input the method cannot work on.
    #[error("{method} needs {needs}, but {found}")]
    Input {
        /// The method.
        method: &'static str,
        /// What it needs.
        needs: Cow<'static, str>,
        /// What it was given.
        found: String,
    },
    /// A result that is no finite number.
    #[error("{method}: `{table}` holds {found} at {at}, where a finite number belongs")]
    NotFinite {
        /// The method.
        method: String,
        /// The table.
        table: String,
        /// Where in it, by the labels of its axes.
        at: String,
        /// What stands there.
        found: f32,
    },
    /// What does not fit into the memory the method may take, though as little is held at once as can be.
    #[error(
        "{method} takes up to {} at once, most of it at `{at}`, and its budget is {}: give it a larger budget, or fewer \
         positions, pictures or layers",
        memory::size(*need), memory::size(*budget)
    )]
    Memory {
        /// The method.
        method: &'static str,
        /// Bytes it takes at most.
        need: u64,
        /// Where most of them are taken.
        at: Site,
        /// Bytes it may take.
        budget: u64,
    },
    /// Stopped by the watcher.
    #[error("{method} was cancelled after {done} of {total}")]
    Cancelled {
        /// The method.
        method: &'static str,
        /// Steps done.
        done: usize,
        /// Steps in all.
        total: usize,
    },
}

/// A name that no method of a table has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no method is called `{asked}`{}", crate::error::suggestion(nearest))]
pub struct NoMethod {
    /// What was asked for.
    pub asked: String,
    /// The closest name.
    pub nearest: Option<String>,
}

impl From<HookError> for AnalysisError {
    fn from(error: HookError) -> Self {
        Self::Subject(error.into())
    }
}

impl From<TableError> for AnalysisError {
    fn from(error: TableError) -> Self {
        Self::Finding(error.into())
    }
}
