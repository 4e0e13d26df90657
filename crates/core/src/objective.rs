//! What is explained: one number of the output.

use std::fmt;

use burn::tensor::{Tensor, activation::log_softmax};
use serde::{Deserialize, Serialize};

use crate::{AnyTensor, HookError};

/// What a pass produced, as far as it went.
#[derive(Debug, Clone, Default)]
pub struct Output {
    /// `[batch, asked, vocab]`.
    pub logits: Option<AnyTensor>,
    /// Image-text similarity before any temperature, `[image, text]`.
    pub similarity: Option<AnyTensor>,
}

impl Output {
    /// An output of logits, `[batch, asked, vocab]`.
    pub fn of_logits(logits: impl Into<AnyTensor>) -> Self {
        Self { logits: Some(logits.into()), similarity: None }
    }

    /// Without gradient tracking.
    #[must_use]
    pub fn plain(self) -> Self {
        Self { logits: self.logits.map(AnyTensor::plain), similarity: self.similarity.map(AnyTensor::plain) }
    }
}

/// Which of the asked positions of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// The last position, where the next token is decided.
    Last,
    /// A position counted from the start of the (padded) sequence. The inputs must ask for all positions.
    At(usize),
}

/// The number a method explains.
///
/// Every row of a batch has its own value; token ids are those of the subject's tokenizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Objective {
    /// The logit of a token. Unit: logit.
    Logit {
        /// Where.
        at: Ask,
        /// Which token.
        token: u32,
    },
    /// The log-probability of a token. Unit: nat.
    LogProbability {
        /// Where.
        at: Ask,
        /// Which token.
        token: u32,
    },
    /// The logit of one token minus that of another. Unit: logit.
    LogitDifference {
        /// Where.
        at: Ask,
        /// The token for.
        token: u32,
        /// The token against.
        against: u32,
    },
    /// Similarity of an image and a text of a dual encoder; each image row of a batch against the one text.
    Similarity {
        /// Which text.
        text: usize,
    },
}

impl Objective {
    /// The logit of a token at the last position.
    pub fn logit(token: u32) -> Self {
        Self::Logit { at: Ask::Last, token }
    }

    /// The log-probability of a token at the last position.
    pub fn log_probability(token: u32) -> Self {
        Self::LogProbability { at: Ask::Last, token }
    }

    /// Logit of `token` minus logit of `against` at the last position.
    pub fn logit_difference(token: u32, against: u32) -> Self {
        Self::LogitDifference { at: Ask::Last, token, against }
    }

    /// Which position of the output it looks at, if it looks at one.
    pub fn at(&self) -> Option<Ask> {
        match *self {
            Self::Logit { at, .. } | Self::LogProbability { at, .. } | Self::LogitDifference { at, .. } => {
                Some(at)
            }
            Self::Similarity { .. } => None,
        }
    }

    /// The token it is about, if it is about one.
    pub fn token(&self) -> Option<u32> {
        match *self {
            Self::Logit { token, .. }
            | Self::LogProbability { token, .. }
            | Self::LogitDifference { token, .. } => Some(token),
            Self::Similarity { .. } => None,
        }
    }

    /// Its value for every row: `[batch]`.
    ///
    /// # Errors
    /// [`HookError::NoOutput`] if the output lacks what it needs, [`HookError::Objective`] if an index is out of range.
    pub fn score(&self, output: &Output) -> Result<Tensor<1>, HookError> {
        match *self {
            Self::Logit { at, token } => pick(self.position(output, at)?, token),
            Self::LogProbability { at, token } => pick(log_softmax(self.position(output, at)?, 1), token),
            Self::LogitDifference { at, token, against } => {
                let logits = self.position(output, at)?;
                Ok(pick(logits.clone(), token)? - pick(logits, against)?)
            }
            Self::Similarity { text } => {
                let table = output.similarity.clone().ok_or_else(|| HookError::NoOutput(self.to_string()))?;
                let table: Tensor<2> = table.rank_of("similarity")?;
                let len = table.dims()[1];
                if text >= len {
                    return Err(HookError::Objective { what: "text", index: text, len });
                }
                Ok(table.narrow(1, text, 1).squeeze_dim(1))
            }
        }
    }

    fn position(&self, output: &Output, at: Ask) -> Result<Tensor<2>, HookError> {
        let logits = output.logits.clone().ok_or_else(|| HookError::NoOutput(self.to_string()))?;
        let logits: Tensor<3> = logits.rank_of("logits")?;
        let len = logits.dims()[1];
        let index = match at {
            Ask::Last => len.saturating_sub(1),
            Ask::At(index) => index,
        };
        if index >= len {
            return Err(HookError::Objective { what: "position", index, len });
        }
        Ok(logits.narrow(1, index, 1).squeeze_dim(1))
    }
}

fn pick(logits: Tensor<2>, token: u32) -> Result<Tensor<1>, HookError> {
    let (index, len) = (token as usize, logits.dims()[1]);
    if index >= len {
        return Err(HookError::Objective { what: "token", index, len });
    }
    Ok(logits.narrow(1, index, 1).squeeze_dim(1))
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = |at: Ask| match at {
            Ask::Last => "the last position".to_owned(),
            Ask::At(i) => format!("position {i}"),
        };
        match *self {
            Self::Logit { at, token } => write!(f, "logit of token {token} at {}", place(at)),
            Self::LogProbability { at, token } => {
                write!(f, "log-probability of token {token} at {}", place(at))
            }
            Self::LogitDifference { at, token, against } => {
                write!(f, "logit of token {token} minus token {against} at {}", place(at))
            }
            Self::Similarity { text } => write!(f, "similarity with text {text}"),
        }
    }
}
