//! What is explained: one number of the output.

use std::fmt;

use burn::tensor::activation::{log_softmax, sigmoid, softmax};
use burn::tensor::{Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::{AnyTensor, HookError};

/// What a pass produced, as far as it went.
#[derive(Debug, Clone, Default)]
pub struct Output {
    /// `[batch, asked, vocab]`.
    pub logits: Option<AnyTensor>,
    /// What a dual encoder made of pictures and texts.
    pub pairs: Option<Pairs>,
}

/// What a dual encoder made of the pictures and the texts of a batch; rows of the batch are texts.
#[derive(Debug, Clone)]
pub struct Pairs {
    /// Pictures in the shared space, of length one, `[image, d]`.
    pub images: AnyTensor,
    /// Texts in the shared space, of length one, `[text, d]`.
    pub texts: AnyTensor,
    /// Cosine of every picture and every text, `[image, text]`.
    pub cosine: AnyTensor,
    /// The same with the model's scale and bias, `[image, text]`.
    pub logits: AnyTensor,
    /// For each text the picture it belongs to.
    pub own: Vec<usize>,
    /// Whether every pair is judged for itself (SigLIP: sigmoid), rather than a text among all texts (CLIP: softmax).
    pub apart: bool,
}

impl Pairs {
    /// How likely each text is for each picture, `[image, text]`: among the texts, or each for itself.
    ///
    /// # Errors
    /// [`HookError::Rank`] if the logits are no table.
    pub fn probabilities(&self) -> Result<AnyTensor, HookError> {
        let logits: Tensor<2> = self.logits.clone().rank_of("logits_per_image")?;
        Ok(if self.apart { sigmoid(logits) } else { softmax(logits, 1) }.into())
    }

    fn plain(self) -> Self {
        Self {
            images: self.images.plain(),
            texts: self.texts.plain(),
            cosine: self.cosine.plain(),
            logits: self.logits.plain(),
            ..self
        }
    }

    /// What a table, `[image, text]`, holds for each text and its own picture.
    fn own(&self, table: &AnyTensor) -> Result<Tensor<1>, HookError> {
        let table: Tensor<2> = table.clone().rank_of("similarity")?;
        let [images, texts] = table.dims();
        if self.own.len() != texts {
            return Err(HookError::Objective { what: "text", index: self.own.len(), len: texts });
        }
        if let Some(&index) = self.own.iter().find(|own| **own >= images) {
            return Err(HookError::Objective { what: "image", index, len: images });
        }
        let own: Vec<i64> = self.own.iter().map(|own| *own as i64).collect();
        let device = table.device().without_autodiff();
        let own = Tensor::<2, Int>::from_data(TensorData::new(own, [1, texts]), &device);
        Ok(table.gather(0, own).squeeze_dim(0))
    }

    /// One logit in the place of its text, zero for the other texts.
    fn one(&self, image: usize, text: usize) -> Result<Tensor<1>, HookError> {
        let logits: Tensor<2> = self.logits.clone().rank_of("logits_per_image")?;
        let [images, texts] = logits.dims();
        for (what, index, len) in [("image", image, images), ("text", text, texts)] {
            if index >= len {
                return Err(HookError::Objective { what, index, len });
            }
        }
        let chosen: Vec<f32> = (0..texts).map(|t| f32::from(u8::from(t == text))).collect();
        let device = logits.device().without_autodiff();
        let chosen = Tensor::<1>::from_data(TensorData::new(chosen, [texts]), &device);
        Ok(logits.narrow(0, image, 1).squeeze_dim::<1>(0) * chosen)
    }
}

impl Output {
    /// The logits of every row at one position, `[batch, vocab]`.
    ///
    /// # Errors
    /// [`HookError::NoOutput`] if there are none, [`HookError::Objective`] for a position out of range.
    pub fn at(&self, at: Ask) -> Result<Tensor<2>, HookError> {
        let logits = self.logits.clone().ok_or_else(|| HookError::NoOutput(format!("logits at {at}")))?;
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

    /// An output of logits, `[batch, asked, vocab]`.
    pub fn of_logits(logits: impl Into<AnyTensor>) -> Self {
        Self { logits: Some(logits.into()), pairs: None }
    }

    /// The output of a dual encoder.
    pub fn of_pairs(pairs: Pairs) -> Self {
        Self { logits: None, pairs: Some(pairs) }
    }

    /// Without gradient tracking.
    #[must_use]
    pub fn plain(self) -> Self {
        Self { logits: self.logits.map(AnyTensor::plain), pairs: self.pairs.map(Pairs::plain) }
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

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Last => f.write_str("the last position"),
            Self::At(i) => write!(f, "position {i}"),
        }
    }
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
    /// The logit of each text (row) of a dual encoder and its own picture, the first that the row shows: their entry of
    /// `logits_per_image`, the cosine times the model's scale and, where there is one, plus its bias.
    Similarity,
    /// The same before scale and bias: the cosine.
    Cosine,
    /// One entry of `logits_per_image`, for a batch taken as a whole. It is the value of that text's row; other rows
    /// have zero. A method that repeats rows needs [`Objective::Similarity`].
    Pair {
        /// Which picture of the batch.
        image: usize,
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
            Self::Similarity | Self::Cosine | Self::Pair { .. } => None,
        }
    }

    /// The token it is about, if it is about one.
    pub fn token(&self) -> Option<u32> {
        match *self {
            Self::Logit { token, .. }
            | Self::LogProbability { token, .. }
            | Self::LogitDifference { token, .. } => Some(token),
            Self::Similarity | Self::Cosine | Self::Pair { .. } => None,
        }
    }

    /// Its value for every row: `[batch]`.
    ///
    /// # Errors
    /// [`HookError::NoOutput`] if the output lacks what it needs, [`HookError::Objective`] if an index is out of range.
    pub fn score(&self, output: &Output) -> Result<Tensor<1>, HookError> {
        match *self {
            Self::Logit { at, token } => pick(self.logits(output, at)?, token),
            Self::LogProbability { at, token } => pick(log_softmax(self.logits(output, at)?, 1), token),
            Self::LogitDifference { at, token, against } => {
                let logits = self.logits(output, at)?;
                Ok(pick(logits.clone(), token)? - pick(logits, against)?)
            }
            Self::Similarity => self.pairs(output).and_then(|pairs| pairs.own(&pairs.logits)),
            Self::Cosine => self.pairs(output).and_then(|pairs| pairs.own(&pairs.cosine)),
            Self::Pair { image, text } => self.pairs(output)?.one(image, text),
        }
    }

    fn logits(&self, output: &Output, at: Ask) -> Result<Tensor<2>, HookError> {
        output.at(at).map_err(|error| match error {
            HookError::NoOutput(_) => HookError::NoOutput(self.to_string()),
            other => other,
        })
    }

    fn pairs<'a>(&self, output: &'a Output) -> Result<&'a Pairs, HookError> {
        output.pairs.as_ref().ok_or_else(|| HookError::NoOutput(self.to_string()))
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
        match *self {
            Self::Logit { at, token } => write!(f, "logit of token {token} at {at}"),
            Self::LogProbability { at, token } => {
                write!(f, "log-probability of token {token} at {at}")
            }
            Self::LogitDifference { at, token, against } => {
                write!(f, "logit of token {token} minus token {against} at {at}")
            }
            Self::Similarity => f.write_str("similarity of picture and text"),
            Self::Cosine => f.write_str("cosine of picture and text"),
            Self::Pair { image, text } => write!(f, "logit of picture {image} and text {text}"),
        }
    }
}
