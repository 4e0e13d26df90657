//! What is explained: one number of the output.

use std::fmt;

use burn::tensor::activation::{log_softmax, sigmoid, softmax};
use burn::tensor::{Int, Tensor, TensorData};
use mmlens_finding::Unit;
use serde::{Deserialize, Serialize};

use crate::{AnyTensor, HookError, Wanted};

/// What a pass produced, as far as it went.
#[derive(Debug, Clone, Default)]
pub struct Output {
    /// `[batch, asked, vocab]`; none if the pass was run for some of them alone.
    pub logits: Option<AnyTensor>,
    /// Some of them, `[batch, positions, tokens]`, and which.
    some: Option<(AnyTensor, Wanted)>,
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
        let none = || HookError::NoOutput(format!("logits at {at}"));
        let (logits, index) = match (&self.logits, &self.some) {
            (Some(logits), _) => {
                let logits: Tensor<3> = logits.clone().rank_of("logits")?;
                let index = at.index(logits.dims()[1])?;
                (logits, index)
            }
            (None, Some((some, wanted))) => {
                let (place, _) = wanted.place(at, None).ok_or_else(none)?;
                (some.clone().rank_of("logits")?, place)
            }
            (None, None) => return Err(none()),
        };
        Ok(logits.narrow(1, index, 1).squeeze_dim(1))
    }

    /// The logits of one token of every row at one position, `[batch]`.
    ///
    /// # Errors
    /// [`HookError::NoOutput`] if they are not there, [`HookError::Objective`] for a position or token out of range.
    pub fn logit(&self, at: Ask, token: u32) -> Result<Tensor<1>, HookError> {
        let Some((some, wanted)) = self.some.as_ref().filter(|_| self.logits.is_none()) else {
            return pick(self.at(at)?, token);
        };
        let none = || HookError::NoOutput(format!("logit of token {token} at {at}"));
        let (place, entry) = wanted.place(at, Some(token)).ok_or_else(none)?;
        let logits: Tensor<3> = some.clone().rank_of("logits")?;
        pick(logits.narrow(1, place, 1).squeeze_dim(1), entry.map_or(token, |entry| entry as u32))
    }

    /// An output of logits, `[batch, asked, vocab]`.
    pub fn of_logits(logits: impl Into<AnyTensor>) -> Self {
        Self { logits: Some(logits.into()), ..Self::default() }
    }

    /// An output of some logits alone, `[batch, positions, tokens]`, both in the order wanted.
    pub(crate) fn of_wanted(logits: impl Into<AnyTensor>, wanted: Wanted) -> Result<Self, HookError> {
        let logits = logits.into();
        let (found, (positions, tokens)) = (logits.dims(), wanted.lengths());
        match *found {
            [_, at, of] if at == positions && tokens.is_none_or(|n| n == of) => {
                Ok(Self { some: Some((logits, wanted)), ..Self::default() })
            }
            _ => Err(HookError::Unwanted { found, positions, tokens }),
        }
    }

    /// The output of a dual encoder.
    pub fn of_pairs(pairs: Pairs) -> Self {
        Self { pairs: Some(pairs), ..Self::default() }
    }

    /// Without gradient tracking.
    #[must_use]
    pub fn plain(self) -> Self {
        Self {
            logits: self.logits.map(AnyTensor::plain),
            some: self.some.map(|(logits, wanted)| (logits.plain(), wanted)),
            pairs: self.pairs.map(Pairs::plain),
        }
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

impl Ask {
    /// Its index in a row of so many positions.
    pub(crate) fn index(self, len: usize) -> Result<usize, HookError> {
        let index = match self {
            Self::Last => len.saturating_sub(1),
            Self::At(index) => index,
        };
        if index < len { Ok(index) } else { Err(HookError::Objective { what: "position", index, len }) }
    }
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
    /// The logit of a token.
    Logit {
        /// Where.
        at: Ask,
        /// Which token.
        token: u32,
    },
    /// The natural logarithm of the probability of a token.
    LogProbability {
        /// Where.
        at: Ask,
        /// Which token.
        token: u32,
    },
    /// The logit of one token minus that of another.
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

    /// What it is measured in.
    pub fn unit(&self) -> Unit {
        match self {
            Self::Logit { .. } | Self::LogitDifference { .. } | Self::Similarity | Self::Pair { .. } => {
                Unit::Logit
            }
            Self::LogProbability { .. } => Unit::LogProbability,
            Self::Cosine => Unit::Cosine,
        }
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

    /// The only logits it looks at; `None` if it looks at something else.
    pub fn wanted(&self) -> Option<Wanted> {
        match *self {
            Self::Logit { at, token } => Some(Wanted::tokens_at(at, [token])),
            Self::LogitDifference { at, token, against } => Some(Wanted::tokens_at(at, [token, against])),
            Self::LogProbability { at, .. } => Some(Wanted::at(at)),
            Self::Similarity | Self::Cosine | Self::Pair { .. } => None,
        }
    }

    /// Its value for every row: `[batch]`.
    ///
    /// # Errors
    /// [`HookError::NoOutput`] if the output lacks what it needs, [`HookError::Objective`] if an index is out of range.
    pub fn score(&self, output: &Output) -> Result<Tensor<1>, HookError> {
        match *self {
            Self::Logit { at, token } => self.named(output.logit(at, token)),
            Self::LogProbability { at, token } => pick(log_softmax(self.named(output.at(at))?, 1), token),
            Self::LogitDifference { at, token, against } => {
                Ok(self.named(output.logit(at, token))? - self.named(output.logit(at, against))?)
            }
            Self::Similarity => self.pairs(output).and_then(|pairs| pairs.own(&pairs.logits)),
            Self::Cosine => self.pairs(output).and_then(|pairs| pairs.own(&pairs.cosine)),
            Self::Pair { image, text } => self.pairs(output)?.one(image, text),
        }
    }

    fn named<T>(&self, found: Result<T, HookError>) -> Result<T, HookError> {
        found.map_err(|error| match error {
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

#[cfg(test)]
mod tests {
    use super::{Ask, Objective, Unit};

    /// What the lens calls a log probability is one here, so that the two can be compared.
    #[test]
    fn every_objective_has_a_unit() {
        assert_eq!(Objective::logit(1).unit(), Unit::Logit);
        assert_eq!(Objective::logit_difference(1, 2).unit(), Unit::Logit);
        assert_eq!(Objective::log_probability(1).unit(), Unit::LogProbability);
        assert_eq!(Objective::LogProbability { at: Ask::At(3), token: 1 }.unit(), Unit::LogProbability);
        assert_eq!(Objective::Similarity.unit(), Unit::Logit);
        assert_eq!(Objective::Pair { image: 0, text: 1 }.unit(), Unit::Logit);
        assert_eq!(Objective::Cosine.unit(), Unit::Cosine);
    }
}
