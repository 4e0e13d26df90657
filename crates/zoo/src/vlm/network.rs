//! What a language model with or without eyes computes.

use burn::tensor::{Device, Tensor};
use mmlens_core::{Anatomy, Asked, Inputs, Part, Point, Resume, Run, Site, SiteSpec};

use crate::ZooError;
use crate::decoder::{Decoder, Sequence};
use crate::parts::KvCache;

/// The network of a language model that may be shown pictures.
pub trait Network: std::fmt::Debug + Send + Sync {
    /// Its sites, in the order of a pass.
    fn sites(&self) -> Vec<SiteSpec>;

    /// The sizes of its parts.
    fn anatomy(&self) -> Vec<Anatomy>;

    /// The decoder.
    fn text(&self) -> &Decoder;

    /// The whole pass, `[batch, asked, vocab]`; `None` if it ended before. A pass that resumes in the decoder computes
    /// nothing before it.
    ///
    /// # Errors
    /// Whatever a site reports, or inputs that do not fit.
    fn forward(
        &self,
        inputs: &Inputs,
        cache: Option<&mut KvCache>,
        device: &Device,
        run: &mut Run,
    ) -> Result<Option<Tensor<3>>, ZooError>;

    /// Goes on from a cache with one or more tokens for each row, `[batch, asked, vocab]`.
    ///
    /// # Errors
    /// Whatever a site reports, or inputs that do not fit.
    fn go_on(
        &self,
        ids: &[Vec<u32>],
        pads: &[usize],
        cache: &mut KvCache,
        device: &Device,
        run: &mut Run,
    ) -> Result<Option<Tensor<3>>, ZooError> {
        let x = run.at(Site::of(Part::Text, Point::Embed), self.text().embed(ids, device)?)?;
        let sequence = Sequence { pads, asked: Asked::Last, ..Sequence::default() };
        self.text().forward(x, sequence, Some(cache), run)
    }
}

/// In the place of token vectors, where a pass resumes in the decoder and does not need them.
pub fn resumed(inputs: &Inputs, width: usize, device: &Device, run: &Run) -> Option<Tensor<3>> {
    matches!(run.resume(Part::Text), Resume::At(..))
        .then(|| Tensor::zeros([inputs.rows(), inputs.positions(), width], device))
}

impl Network for Decoder {
    fn sites(&self) -> Vec<SiteSpec> {
        Self::sites(self)
    }

    fn anatomy(&self) -> Vec<Anatomy> {
        vec![Self::anatomy(self)]
    }

    fn text(&self) -> &Decoder {
        self
    }

    fn forward(
        &self,
        inputs: &Inputs,
        cache: Option<&mut KvCache>,
        device: &Device,
        run: &mut Run,
    ) -> Result<Option<Tensor<3>>, ZooError> {
        let x = match resumed(inputs, self.config().d_model, device, run) {
            Some(shape) => shape,
            None => run.at(Site::of(Part::Text, Point::Embed), self.embed(&inputs.ids, device)?)?,
        };
        let sequence = Sequence { pads: &inputs.pads, asked: inputs.asked, ..Sequence::default() };
        Self::forward(self, x, sequence, cache, run)
    }
}
