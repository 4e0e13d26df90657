//! What the numbers of a table are measured in.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What the numbers of a table are measured in. Tables of different units are never compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Unit {
    /// Unnormalised score of a token or class, or a share of one.
    Logit,
    /// Information or loss with natural logarithms.
    Nat,
    /// Natural logarithm of a probability.
    LogProbability,
    /// Probability, or a difference of two.
    Probability,
    /// Cosine similarity.
    Cosine,
    /// A share or quotient without a dimension of its own: accuracy, recovered fraction, normalised score.
    Ratio,
    /// Whatever a site of the network holds.
    Activation,
    /// Change of the objective per unit of activation or input.
    Gradient,
    /// How many.
    Count,
    /// Pixels of the original picture.
    Pixel,
    /// Seconds of time, in a recording or on a clock.
    Second,
    /// Texts, identifiers and numbers that measure nothing.
    None,
}

impl Unit {
    /// The unit in words: `log probability`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Logit => "logit",
            Self::Nat => "nat",
            Self::LogProbability => "log probability",
            Self::Probability => "probability",
            Self::Cosine => "cosine",
            Self::Ratio => "ratio",
            Self::Activation => "activation",
            Self::Gradient => "gradient",
            Self::Count => "count",
            Self::Pixel => "pixel",
            Self::Second => "second",
            Self::None => "no unit",
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
