//! The network: an audio tower, a projector of one layer, a Qwen2 decoder. Texts and recordings are the subject's business.
//!
//! Follows `Qwen2AudioForConditionalGeneration` of transformers.

use burn::tensor::{Device, Tensor};
use mmlens_core::{Anatomy, AxisName, Batch, Inputs, Part, Point, Port, Run, Site, SiteSpec, WeightSpec};

use super::Qwen2AudioConfig;
use crate::ZooError;
use crate::audio::{AudioTower, frames_of};
use crate::checkpoint::WeightSource;
use crate::decoder::{Decoder, Sequence};
use crate::parts::{KvCache, Linear, Named, named};
use crate::self_check::pattern;
use crate::vlm::{CheckInputs, Network, place, resumed};

/// The network.
#[derive(Debug, Clone)]
pub struct Qwen2AudioModel {
    /// The tower.
    pub audio: AudioTower,
    projector: Linear,
    text: Decoder,
    audio_token: u32,
}

impl Qwen2AudioModel {
    /// Takes all weights, by the names newer checkpoints have.
    ///
    /// # Errors
    /// A tensor that is missing or misshapen.
    pub fn take(config: &Qwen2AudioConfig, weights: &mut impl WeightSource) -> Result<Self, ZooError> {
        let (wide, d) = (config.audio.d_model, config.text.d_model);
        Ok(Self {
            audio: AudioTower::take(config.audio.clone(), weights, "model.audio_tower")?,
            projector: Linear::take(weights, "model.multi_modal_projector.linear", wide, d, true)?,
            text: Decoder::take(config.text.clone(), weights, "model.language_model", "lm_head")?,
            audio_token: config.audio_token,
        })
    }

    /// The same for recordings of four positions of the tower, two behind it.
    fn cropped(&self) -> Self {
        Self { audio: self.audio.cropped(4), ..self.clone() }
    }

    /// Recordings in the decoder's width, `[clip, pos, d]`, of which the first positions are of the sound; `None` if the pass ended
    /// before.
    fn hear(&self, mel: Tensor<3>, frames: &[usize], run: &mut Run) -> Result<Option<Tensor<3>>, ZooError> {
        let Some(features) = self.audio.forward(mel, frames, run)? else { return Ok(None) };
        let out = run.at(Site::of(Part::Connector, Point::Out), self.projector.apply(features))?;
        Ok((!run.done()).then_some(out))
    }
}

impl Network for Qwen2AudioModel {
    fn sites(&self) -> Vec<SiteSpec> {
        use AxisName::{Clip, DModel, Pos};
        let mut sites = self.audio.sites();
        let (positions, d) = (self.audio.config().tokens(), self.text.config().d_model);
        let stream = [(Clip, None), (Pos, Some(positions)), (DModel, Some(d))];
        sites.push(SiteSpec::new(Site::of(Part::Connector, Point::Out), stream));
        sites.extend(self.text.sites());
        sites
    }

    fn anatomy(&self) -> Vec<Anatomy> {
        vec![self.audio.anatomy(), self.text.anatomy()]
    }

    fn text(&self) -> &Decoder {
        &self.text
    }

    fn named(&self) -> Vec<Named> {
        let mut all = self.audio.named();
        let [out, wide] = self.projector.weight().dims();
        let at = |part, point| Some(Port::at(Site::of(part, point)));
        let (from, to) = (at(Part::Audio, Point::FinalNorm), at(Part::Connector, Point::Out));
        let axes = (&[(AxisName::DModel, out)][..], &[(AxisName::DModel, wide)][..]);
        let spec = WeightSpec::product("connector.projection", axes, from, to);
        all.extend(named::product(&self.projector, spec));
        all.extend(self.text.named(0));
        all
    }

    fn check_inputs(&self, device: &Device) -> Result<CheckInputs, ZooError> {
        let small = self.cropped();
        let tower = small.audio.config();
        let mel = pattern(&[1, tower.mels, tower.frames()], device)?;
        let count = tower.kept(tower.frames());
        let mut check_inputs = CheckInputs::words(small, (&[self.audio_token], count))?;
        check_inputs.inputs = check_inputs.inputs.with(|batch| {
            (batch.heard.values, batch.heard.of_rows) = (Some(mel), vec![vec![0]]);
        })?;
        Ok(check_inputs)
    }

    fn forward(
        &self,
        inputs: &Inputs,
        cache: Option<&mut KvCache>,
        device: &Device,
        run: &mut Run,
    ) -> Result<Option<Tensor<3>>, ZooError> {
        let Batch { ids, pads, heard, logits_at, .. } = &**inputs;
        let sequence = Sequence { pads, logits_at: *logits_at, ..Sequence::default() };
        if let Some(shape) = resumed(inputs, self.text.config().d_model, device, run) {
            return self.text.forward(shape, sequence, cache, run);
        }
        let (tower, frames) = (self.audio.config(), frames_of(inputs, self.audio.config()));
        let features = match &heard.values {
            None => None,
            Some(mel) => match self.hear(mel.clone().rank_of("audio.mel")?, &frames, run)? {
                None => return Ok(None),
                heard => heard,
            },
        };
        let words = run.at(Site::of(Part::Text, Point::Embed), self.text.embed(ids, device)?)?;
        let kept = |clip: &usize| {
            let (first, each) = (clip * tower.tokens(), frames.get(*clip).copied());
            first..first + each.map_or(0, |frames| tower.kept(frames))
        };
        let sources: Vec<Vec<usize>> =
            (0..inputs.rows()).map(|row| heard.of_row(row).iter().flat_map(kept).collect()).collect();
        let features = features.map(|x| {
            let [clips, positions, d] = x.dims();
            x.reshape([clips * positions, d])
        });
        let x = place(words, features, ids, &[self.audio_token], &sources)?;
        self.text.forward(x, sequence, cache, run)
    }
}
