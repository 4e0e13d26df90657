//! The network: a tower, and a decoder that attends to it.

use burn::tensor::Tensor;
use mmlens_core::{Anatomy, Inputs, LogitsAt, Run, SiteSpec};

use super::{WhisperConfig, WhisperDecoder};
use crate::ZooError;
use crate::audio::{AudioTower, frames_of};
use crate::checkpoint::WeightSource;
use crate::parts::{Context, KvCache, Masking, Named, chosen};

/// The network.
#[derive(Debug, Clone)]
pub struct WhisperModel {
    /// The audio tower.
    pub audio: AudioTower,
    /// The decoder.
    pub text: WhisperDecoder,
}

impl WhisperModel {
    /// Takes all weights.
    ///
    /// # Errors
    /// A tensor that is missing or misshapen.
    pub fn take(config: &WhisperConfig, weights: &mut impl WeightSource) -> Result<Self, ZooError> {
        let audio = AudioTower::take(config.audio.clone(), weights, "model.encoder")?;
        Ok(Self { audio, text: WhisperDecoder::take(config.clone(), weights)? })
    }

    /// The same for recordings of so many positions.
    pub(crate) fn cropped(&self, positions: usize) -> Self {
        Self { audio: self.audio.cropped(positions), ..self.clone() }
    }

    /// Its sites, in the order of a pass.
    pub fn sites(&self) -> Vec<SiteSpec> {
        let mut sites = self.audio.sites();
        sites.extend(self.text.sites(self.audio.config().tokens()));
        sites
    }

    /// The sizes of its parts.
    pub fn anatomy(&self) -> Vec<Anatomy> {
        vec![self.audio.anatomy(), self.text.anatomy()]
    }

    /// Its weights by name.
    pub(crate) fn named(&self) -> Vec<Named> {
        let mut all = self.audio.named();
        all.extend(self.text.named());
        all
    }

    /// Logits, `[batch, asked, vocab]`; `None` if the pass ended before.
    ///
    /// # Errors
    /// Whatever a site reports; rows that do not play one recording each, tokens or positions there are not.
    pub fn forward(&self, inputs: &Inputs, run: &mut Run) -> Result<Option<Tensor<3>>, ZooError> {
        Ok(self.read(inputs, None, run)?.map(|(logits, _)| logits))
    }

    /// As [`Self::forward`], with what the decoder attended to, `[batch, pos, d]`, to go on from.
    pub(crate) fn read(
        &self,
        inputs: &Inputs,
        cache: Option<&mut KvCache>,
        run: &mut Run,
    ) -> Result<Option<(Tensor<3>, Tensor<3>)>, ZooError> {
        let Some(states) = self.hear(inputs, run)? else { return Ok(None) };
        let context = Context { states: states.clone(), masking: Masking::none() };
        let logits = self.text.forward(&inputs.ids, &inputs.pads, inputs.logits_at, &context, cache, run)?;
        Ok(logits.map(|logits| (logits, states)))
    }

    /// Goes on from a cache with one token for each row, `[batch, 1, vocab]`.
    pub(crate) fn go_on(
        &self,
        ids: &[Vec<u32>],
        pads: &[usize],
        states: &Tensor<3>,
        cache: &mut KvCache,
        run: &mut Run,
    ) -> Result<Option<Tensor<3>>, ZooError> {
        let context = Context { states: states.clone(), masking: Masking::none() };
        self.text.forward(ids, pads, LogitsAt::Last, &context, Some(cache), run)
    }

    /// The tower's states for every row.
    fn hear(&self, inputs: &Inputs, run: &mut Run) -> Result<Option<Tensor<3>>, ZooError> {
        let wrong = |found: String| ZooError::Value {
            field: "inputs".to_owned(),
            found,
            expected: "rows that play one recording each".to_owned(),
        };
        let played = |row: usize| match inputs.heard.of_row(row) {
            [clip] => Ok(*clip),
            own => Err(wrong(format!("a row of {} recordings", own.len()))),
        };
        let played: Vec<usize> = (0..inputs.rows()).map(played).collect::<Result<_, _>>()?;
        let mel = inputs.heard.values.clone().ok_or_else(|| wrong("no recording".to_owned()))?;
        let frames = frames_of(inputs, self.audio.config());
        let Some(x) = self.audio.forward(mel.rank_of("audio.mel")?, &frames, run)? else { return Ok(None) };
        Ok(Some(match played.iter().copied().eq(0..x.dims()[0]) {
            true => x,
            false => chosen(&x, &played),
        }))
    }
}
