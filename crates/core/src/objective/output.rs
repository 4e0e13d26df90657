//! What a pass produced.

use std::collections::BTreeMap;

use burn::tensor::activation::{sigmoid, softmax};
use burn::tensor::{Int, Tensor, TensorData};

use super::{Rows, pick};
use crate::{AnyTensor, HookError, LogitSelection, Position, Site, SiteSpec};

/// What a pass produced, as far as it went.
#[derive(Debug, Clone, Default)]
pub struct Output {
    /// `[batch, asked, vocab]`; none if the pass was run for some of them alone.
    pub logits: Option<AnyTensor>,
    /// Some of them, `[batch, positions, tokens]`, and which.
    some: Option<(AnyTensor, LogitSelection)>,
    /// What a dual encoder made of pictures and texts.
    pub pairs: Option<Pairs>,
    /// What sites held that an objective looks at.
    kept: BTreeMap<Site, Kept>,
}

/// What a site held, and which of its entries belong to which row.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) spec: SiteSpec,
    pub(crate) value: AnyTensor,
    pub(crate) rows: Rows,
}

impl Kept {
    fn plain(self) -> Self {
        Self { value: self.value.plain(), ..self }
    }
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
    /// What a cosine is multiplied by for its logit, `[1]`.
    pub scale: AnyTensor,
    /// What is added then, `[1]`, where something is (SigLIP).
    pub bias: Option<AnyTensor>,
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
            scale: self.scale.plain(),
            bias: self.bias.map(AnyTensor::plain),
            ..self
        }
    }

    /// For each text how far its logit with its own picture lies above that of another text, given by where it lies in the shared
    /// space.
    pub(super) fn against(&self, other: &[f32]) -> Result<Tensor<1>, HookError> {
        let images: Tensor<2> = self.images.clone().rank_of("images")?;
        let [_, width] = images.dims();
        if other.len() != width {
            return Err(HookError::Values { dims: vec![width], given: other.len() });
        }
        let device = images.device().without_autodiff();
        let other = Tensor::<2>::from_data(TensorData::new(other.to_vec(), [width, 1]), &device);
        let texts = self.own.len();
        let others = images.matmul(other).expand([-1, texts as i32]);
        let scale: Tensor<1> = self.scale.clone().rank_of("scale")?;
        // A bias is the same for both.
        Ok((self.own(&self.cosine)? - self.own(&others.into())?) * scale)
    }

    /// What a table, `[image, text]`, holds for each text and its own picture.
    pub(super) fn own(&self, table: &AnyTensor) -> Result<Tensor<1>, HookError> {
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
    pub(super) fn one(&self, image: usize, text: usize) -> Result<Tensor<1>, HookError> {
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
    pub fn at(&self, at: Position) -> Result<Tensor<2>, HookError> {
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
    pub fn logit(&self, at: Position, token: u32) -> Result<Tensor<1>, HookError> {
        let Some((some, wanted)) = self.some.as_ref().filter(|_| self.logits.is_none()) else {
            return pick(self.at(at)?, token);
        };
        let none = || HookError::NoOutput(format!("logit of token {token} at {at}"));
        let (place, entry) = wanted.place(at, Some(token)).ok_or_else(none)?;
        let logits: Tensor<3> = some.clone().rank_of("logits")?;
        pick(logits.narrow(1, place, 1).squeeze_dim(1), entry.map_or(token, |entry| entry as u32))
    }

    /// What a site held after edits, of those that the plan [keeps](crate::Plan::keep) or its objective looks at. Gradients flow
    /// through it.
    ///
    /// # Errors
    /// [`HookError::NotRead`] for another site.
    pub fn kept(&self, site: Site) -> Result<&AnyTensor, HookError> {
        self.kept_of(site).map(|kept| &kept.value)
    }

    pub(crate) fn kept_of(&self, site: Site) -> Result<&Kept, HookError> {
        self.kept.get(&site).ok_or(HookError::NotRead(site))
    }

    /// The same with what sites held.
    pub(crate) fn keeping(self, kept: BTreeMap<Site, Kept>) -> Self {
        Self { kept, ..self }
    }

    /// An output of logits, `[batch, asked, vocab]`.
    pub fn of_logits(logits: impl Into<AnyTensor>) -> Self {
        Self { logits: Some(logits.into()), ..Self::default() }
    }

    /// An output of some logits alone, `[batch, positions, tokens]`, both in the order wanted.
    pub(crate) fn of_wanted(logits: impl Into<AnyTensor>, wanted: LogitSelection) -> Result<Self, HookError> {
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
            kept: self.kept.into_iter().map(|(site, kept)| (site, kept.plain())).collect(),
        }
    }
}
