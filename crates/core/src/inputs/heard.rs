//! A recording as a tower takes it, and what its spectrogram shows.

use mmlens_finding::{Modality, PatchLabel, SoundScale, TokenLabel};
use mmlens_sound::{LogMel, Mel, MelError, Sound};

use super::View;

/// How a recording is looked at: as a picture, its log-mel spectrogram, as many columns wide as the sound has frames, with the lowest
/// filter in the lowest row.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    /// What columns and rows stand for.
    pub scale: SoundScale,
    /// What silence beside this sound is in the numbers that the tower is given: the floor of its log-mel spectrogram.
    pub silence: f32,
}

/// A recording as a tower takes it: its log-mel spectrogram, and what tells where that lies.
#[derive(Debug, Clone, PartialEq)]
pub struct Listened {
    /// The spectrogram.
    pub mel: Mel,
    /// How what the tower is given lies on the picture: columns of padding lie on no part of it.
    pub view: View,
    /// What the picture shows.
    pub heard: Heard,
    /// The mean of every filter over the frames of the sound, the lowest first.
    pub means: Vec<f32>,
}

impl Listened {
    /// Listens to a sound that has the rate of the spectrogram. `image` is its number among pictures, clips and recordings.
    ///
    /// # Errors
    /// As [`LogMel::of`].
    pub fn to(listening: &LogMel, sound: &Sound, image: usize) -> Result<Self, MelError> {
        let mel = listening.of(sound)?;
        let (mels, frames, own) = (mel.mels, mel.frames, mel.sound_frames());
        let row = |filter: usize| [(mels - 1 - filter) as f32, (mels - filter) as f32];
        // What is padding begins and ends where the sound does.
        let column = |frame: usize| [frame.min(own) as f32, (frame + 1).min(own) as f32];
        let view =
            View { image, rows: (0..mels).map(row).collect(), cols: (0..frames).map(column).collect() };
        let mean = |filter: &[f32]| {
            let sum: f64 = filter.iter().take(own).map(|value| f64::from(*value)).sum();
            (sum / own.max(1) as f64) as f32
        };
        let means = mel.values.chunks(frames.max(1)).map(mean).collect();
        let [mut hertz, mut peaks] = [Vec::new(), Vec::new()];
        for filter in (0..mels).rev() {
            let Some([low, peak, high]) = listening.mel_hertz(filter) else { continue };
            if filter + 1 == mels {
                hertz.push(high);
            }
            peaks.push(peak);
            if filter == 0 {
                peaks.push(low);
            }
        }
        hertz.append(&mut peaks);
        let step = listening.frame_seconds(0).map_or(0.0, |[from, to]| to - from);
        let settings = listening.settings();
        let window = settings.window as f64 / f64::from(settings.rate);
        let scale = SoundScale { step, window, hertz };
        let silence = listening.silence_beside(&mel);
        Ok(Self { view, heard: Heard { scale, silence }, means, mel })
    }

    /// Width and height of the picture: frames of the sound, and filters.
    #[must_use]
    pub fn size(&self) -> (u32, u32) {
        (self.mel.sound_frames() as u32, self.mel.mels as u32)
    }
}

impl Heard {
    /// A part of the recording as a label, which has its time and frequencies for a name.
    #[must_use]
    pub fn label(&self, patch: PatchLabel) -> TokenLabel {
        TokenLabel::new(self.scale.describe(patch.bbox), Modality::Audio).with_patch(patch)
    }
}
