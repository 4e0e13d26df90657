//! What a language model with or without eyes computes.

use burn::tensor::{Device, Tensor};
use mmlens_core::{Anatomy, Inputs, LogitsAt, Part, Point, Resume, Run, Site, SiteSpec};

use crate::ZooError;
use crate::decoder::{Decoder, Sequence};
use crate::parts::{KvCache, Named};
use crate::self_check::{pattern, small_inputs};

/// The network of a language model that may be shown pictures.
pub trait Network: std::fmt::Debug + Send + Sync {
    /// Its sites, in the order of a pass.
    fn sites(&self) -> Vec<SiteSpec>;

    /// The sizes of its parts.
    fn anatomy(&self) -> Vec<Anatomy>;

    /// Behind how many of its blocks the tower is read, where it is not behind all of them alone ([`mmlens_core::Subject::read_behind`]).
    fn seen_behind(&self) -> Option<Vec<usize>> {
        None
    }

    /// The decoder.
    fn text(&self) -> &Decoder;

    /// Its weights by name: those of its decoder, unless a network says otherwise.
    fn named(&self) -> Vec<Named> {
        self.text().named(0)
    }

    /// The least that shows every site: the network, cut down to small pictures, and inputs of a few positions. The weights
    /// are shared. Unless a network says otherwise: itself, and a few words.
    ///
    /// # Errors
    /// Sizes that cannot be cut down.
    fn check_inputs(&self, _device: &Device) -> Result<CheckInputs, ZooError> {
        let inputs = small_inputs(self.text().config().vocab, (&[], 0), None)?;
        Ok(CheckInputs { network: None, inputs })
    }

    /// Whether a pass may go on from some positions alone, given keys and values of those before.
    fn resumes_from_suffix(&self) -> bool {
        true
    }

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
        let sequence = Sequence { pads, logits_at: LogitsAt::Last, ..Sequence::default() };
        self.text().forward(x, sequence, Some(cache), run)
    }
}

/// A network and what it is shown to be looked over.
#[derive(Debug)]
pub struct CheckInputs {
    /// The network in its place; `None` for itself.
    pub network: Option<Box<dyn Network>>,
    /// What it is shown.
    pub inputs: Inputs,
}

impl CheckInputs {
    /// A network that is shown a picture of some pixels, which takes `count` positions of the first of its visual tokens.
    pub(crate) fn at(
        network: impl Network + 'static,
        shown: (&[u32], usize),
        pixels: &[usize],
        device: &Device,
    ) -> Result<Self, ZooError> {
        let pixels = pattern(pixels, device)?;
        let inputs = small_inputs(network.text().config().vocab, shown, Some(pixels))?;
        Ok(Self { network: Some(Box::new(network)), inputs })
    }

    /// A network that is given a few words, and `count` positions of the first of its visual tokens between them.
    pub(crate) fn words(network: impl Network + 'static, shown: (&[u32], usize)) -> Result<Self, ZooError> {
        let inputs = small_inputs(network.text().config().vocab, shown, None)?;
        Ok(Self { network: Some(Box::new(network)), inputs })
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
        let sequence = Sequence { pads: &inputs.pads, logits_at: inputs.logits_at, ..Sequence::default() };
        Self::forward(self, x, sequence, cache, run)
    }
}
