//! How many answers were right.

use serde::{Deserialize, Serialize};

/// How many answers were given and how many of them were right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Score {
    /// Answers given.
    pub n: usize,
    /// Answers right.
    pub right: usize,
}

impl Score {
    /// Counts one more answer.
    pub fn count(&mut self, right: bool) {
        self.n += 1;
        self.right += usize::from(right);
    }

    /// The part that was right; `None` if nothing was answered.
    pub fn rate(&self) -> Option<f64> {
        (self.n > 0).then(|| self.right as f64 / self.n as f64)
    }
}
