//! What stands at a leaf of the survey beside its methods.

use crate::Leaf;

/// Something of a leaf that is no method: a reader, a scorer, a kind of sample, a page. It takes no settings and gives no finding of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tool {
    /// Its name in lists.
    pub id: &'static str,
    /// The leaf it belongs to.
    pub leaf: Leaf,
    /// The question it answers.
    pub question: &'static str,
    /// Where it is found.
    pub reach: Reach,
}

/// Where a [`Tool`] is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reach {
    /// By a command, as it may be typed; words in capitals stand for one's own.
    Command(&'static str),
    /// By a path of the library.
    Library(&'static str),
}

impl Reach {
    /// The command, or the path.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Command(text) | Self::Library(text) => text,
        }
    }
}
