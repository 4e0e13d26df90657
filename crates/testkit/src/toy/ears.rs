//! The ears of a toy: a tower over a log-mel spectrogram of 6 filters and 20 frames, a second of sound at 16 kHz.
//!
//! Two frames are a position of the tower, through which one block of attention runs; two of its positions are one of the features, and the
//! features that hold the sound take the places of placeholders. Padding is looked at like sound, as Whisper's tower does.

use burn::tensor::{Bool, Tensor};
use mmlens_core::sound::{LogMel, LogMelSettings, Sound};
use mmlens_core::{
    Anatomy, AnyTensor, AxisName, Inputs, Listened, Part, Point, Resume, Run, Site, SiteSpec, SubjectError,
};

use super::{Draw, HEAD, HEADS, NEURONS, Toy, ToyBlock, WIDTH, sites, times};

pub(super) const MELS: usize = 6;
pub(super) const FRAMES: usize = 20;
/// Frames of a position of the tower, and of a position of the features.
const STRIDE: usize = 2;
pub(super) const POOLED: usize = 4;
pub(super) const LENGTH: usize = FRAMES / STRIDE;
pub(super) const FEATURES: usize = FRAMES / POOLED;

/// How the toy listens: a window of 100 ms every 50 ms.
pub(super) const SETTINGS: LogMelSettings =
    LogMelSettings { mels: MELS, rate: 16_000, hop: 800, window: 1600, seconds: 1, padding: 0.0 };

#[derive(Debug)]
pub(super) struct Ears {
    pub(super) listening: LogMel,
    hear: Tensor<2>,
    block: ToyBlock,
}

impl Ears {
    pub(super) fn new(draw: &mut Draw) -> Self {
        // The settings are fixed, and make a spectrogram.
        let listening = LogMel::new(SETTINGS).unwrap_or_else(|error| unreachable!("{error}"));
        Self { listening, hear: draw.matrix(MELS * STRIDE, WIDTH), block: draw.block() }
    }
}

/// The anatomy of the tower.
pub(super) const ANATOMY: Anatomy = Anatomy {
    part: Part::Audio,
    blocks: 1,
    heads: HEADS,
    kv_heads: HEADS,
    d_model: WIDTH,
    d_head: HEAD,
    d_mlp: NEURONS,
    made_for: None,
};

/// Where the tower can be read and changed.
pub(super) fn sites_heard() -> Vec<SiteSpec> {
    use AxisName::{Clip, DModel, Frame, Mel, Pos};
    let site = |point| Site::of(Part::Audio, point);
    let mel = [(Clip, None), (Mel, Some(MELS)), (Frame, Some(FRAMES))];
    let stream = |length| [(Clip, None), (Pos, Some(length)), (DModel, Some(WIDTH))];
    let mut all =
        vec![SiteSpec::new(site(Point::Mel), mel), SiteSpec::new(site(Point::Embed), stream(LENGTH))];
    all.extend(sites::block(Part::Audio, 0, Clip, Some(LENGTH)));
    all.push(SiteSpec::new(site(Point::Features), stream(FEATURES)));
    all
}

impl Toy {
    /// A sound as the toy takes it.
    pub(super) fn listened(
        &self,
        ears: &Ears,
        sound: &Sound,
        image: usize,
    ) -> Result<Listened, SubjectError> {
        let sound = sound.at(SETTINGS.rate).map_err(|error| self.refuse(error.to_string()))?;
        Listened::to(&ears.listening, &sound, image).map_err(|error| self.refuse(error.to_string()))
    }

    /// Features of the recordings in the decoder's width, `[clip, feature, d]`; `None` if the pass ended before.
    pub(super) fn listen(&self, inputs: &Inputs, run: &mut Run) -> Result<Option<Tensor<3>>, SubjectError> {
        let (Some(ears), Some(mel)) = (&self.ears, inputs.heard.values.clone()) else {
            return Err(self.refuse("it hears no recordings"));
        };
        let (n, x) = match run.resume(Part::Audio) {
            Resume::At(_, hidden) => {
                let x: Tensor<3> = hidden.rank_of("the saved state")?;
                if x.dims()[1..] != [LENGTH, WIDTH] {
                    return Err(self.refuse(format!("a state of shape {:?}", x.dims())));
                }
                (x.dims()[0], x)
            }
            _ => self.enters(ears, mel, run)?,
        };
        if run.done() {
            return Ok(None);
        }
        let hidden = Tensor::<4, Bool>::zeros([n, 1, LENGTH, LENGTH], &self.device);
        let x = self.block((&ears.block, Part::Audio, 0), x, &hidden, None, run)?;
        if run.done() {
            return Ok(None);
        }
        let pairs = POOLED / STRIDE;
        let pooled = x.reshape([n * FEATURES, pairs, WIDTH]).mean_dim(1).reshape([n, FEATURES, WIDTH]);
        let features = run.at(Site::of(Part::Audio, Point::Features), pooled)?;
        Ok((!run.done()).then_some(features))
    }

    fn enters(&self, ears: &Ears, mel: AnyTensor, run: &mut Run) -> Result<(usize, Tensor<3>), SubjectError> {
        let mel: Tensor<3> = mel.rank_of("audio.mel")?;
        let [n, mels, frames] = mel.dims();
        if [mels, frames] != [MELS, FRAMES] {
            return Err(self.refuse(format!("spectrograms of {mels} x {frames}, not {MELS} x {FRAMES}")));
        }
        self.worked(|work| work.recordings += n);
        let mel = run.at(Site::of(Part::Audio, Point::Mel), mel)?;
        let windows = mel.reshape([n, MELS, LENGTH, STRIDE]).permute([0, 2, 1, 3]);
        let windows = windows.reshape([n, LENGTH, MELS * STRIDE]);
        Ok((n, run.at(Site::of(Part::Audio, Point::Embed), times(windows, &ears.hear))?))
    }
}
