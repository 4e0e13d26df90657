//! How Qwen2-Audio listens: each recording through the feature extractor, its positions in the order of time.

use burn::tensor::Device;
use mmlens_core::finding::PatchLabel;
use mmlens_core::{Sample, View};

use crate::ZooError;
use crate::audio::{AudioConfig, Hearing};
use crate::vision::joined;
use crate::vlm::{Expansion, Eyes, Placeholder, Seen};

/// The feature extractor and the positions of a recording.
#[derive(Debug, Clone)]
pub struct Qwen2AudioEars {
    hearing: Hearing,
    tower: AudioConfig,
    placeholder: Placeholder,
}

/// Frames of a spectrogram that become one position of the language model: two in the tower, of which two become one.
const FRAMES: usize = 4;

impl Qwen2AudioEars {
    /// For a tower, whose placeholder is called `text`.
    pub fn new(hearing: Hearing, tower: AudioConfig, placeholder: Placeholder) -> Self {
        Self { hearing, tower, placeholder }
    }

    /// The feature extractor.
    pub fn hearing(&self) -> &Hearing {
        &self.hearing
    }

    /// What stands for a recording, each position with the frames it is made of, as far as they are of the sound.
    fn expand(&self, name: &str, view: &View, (frames, mels): (u32, u32)) -> Result<Expansion, ZooError> {
        let kept = self.tower.kept(frames as usize);
        if kept == 0 {
            // Two frames are one position of the tower, and it takes two of these.
            let least = FRAMES - 1;
            return Err(ZooError::Short { name: name.to_owned(), frames: frames as usize, least });
        }
        let place = |(col, [from, to]): (usize, &[f32; 2])| PatchLabel {
            image: view.image,
            tile: 0,
            frame: 0,
            row: 0,
            col,
            bbox: [*from, 0.0, *to, mels as f32],
        };
        let columns = joined(&view.cols, FRAMES);
        let places = columns.iter().take(kept).enumerate().map(place).map(Some).collect();
        Ok(Expansion { text: self.placeholder.text.repeat(kept), places })
    }
}

impl Eyes for Qwen2AudioEars {
    fn picture(&self) -> Option<&Placeholder> {
        None
    }

    fn recording(&self) -> Option<&Placeholder> {
        Some(&self.placeholder)
    }

    fn look(&self, sample: &Sample, device: &Device) -> Result<Seen, ZooError> {
        let (pictures, clips) = (sample.pictures.len(), sample.clips.len());
        let heard = self.hearing.hear(&sample.recordings, pictures + clips, device)?;
        let own = sample.recordings.iter().zip(&heard.views).zip(&heard.sizes);
        let recordings = own.map(|((sound, view), size)| self.expand(&sound.name, view, *size));
        let recordings = recordings.collect::<Result<_, _>>()?;
        // Whoever is shown pictures is told that there is no placeholder for them.
        let [pictures, clips] = [pictures, clips].map(|count| vec![Expansion::default(); count]);
        Ok(Seen { pictures, clips, recordings, heard, ..Seen::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sound_that_ends_within_a_position_covers_what_it_has_of_it() {
        // 7 frames: 4 positions of the tower, two behind it, the second of three frames.
        let cols = (0..12u16).map(|frame| [f32::from(frame.min(7)), f32::from((frame + 1).min(7))]).collect();
        let view = View { image: 2, rows: Vec::new(), cols };
        let boxes: Vec<[f32; 2]> = joined(&view.cols, FRAMES);
        assert_eq!(boxes, [[0.0, 4.0], [4.0, 7.0], [7.0, 7.0]]);
    }
}
