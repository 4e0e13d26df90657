//! Evidence in a spectrogram: which cells, frames by mel filters, hold the sounds that an answer rests on.
//!
//! # Idea
//! A sound lies in boxes of seconds and Hz ([`Event::regions`]). A spectrogram sees it through a window: a frame has a part of every
//! sound that its window meets, and a tone reaches as far up and down as the window's main lobe. So a box is in the frames whose
//! window meets it and in the filters that see more of it than of its surroundings: those that begin below its upper and end above
//! its lower end, where one bin of the spectrum (rate / window) is added at either end.
//!
//! # In and out
//! | name | axes | unit | meaning |
//! |---|---|---|---|
//! | mask | filters from the highest on, frames | yes or no | whether the cell is evidence |
//!
//! # When it misleads
//! What a window makes of a tone never ends: a loud tone is above the floor of the spectrogram, 80 dB below the loudest value, in cells far
//! beyond its boxes. The masks hold [`LEAST_SHARE`] of the power of every sound, and not every cell that has some of it.

use image::GrayImage;
use mmlens_sound::{LogMel, LogMelSettings, Mel, MelError};

use super::event::{Event, Region};
use super::question::Question;
use super::scene::{MILLISECONDS, RATE, SAMPLES, Scene};

/// The least share of the power of a sound, summed over filters and frames of its log-mel spectrogram, that the cells of its boxes
/// hold. With 40, 80 and 128 filters of Whisper's settings.
pub const LEAST_SHARE: f64 = 0.998;

/// Cells of a spectrogram: rows are filters, the highest first, columns are the frames of the recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cells {
    /// How many filters.
    pub mels: usize,
    /// How many frames.
    pub frames: usize,
    /// Whether a cell is one of them, row by row.
    pub inside: Vec<bool>,
}

impl Cells {
    /// Whether they hold a cell, given by the number of its filter, from the lowest on, and its frame.
    #[must_use]
    pub fn holds(&self, mel: usize, frame: usize) -> bool {
        let row = self.mels.checked_sub(mel + 1);
        let at = row.filter(|_| frame < self.frames).map(|row| row * self.frames + frame);
        at.and_then(|at| self.inside.get(at)).copied().unwrap_or(false)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.inside.iter().filter(|inside| **inside).count()
    }

    /// The cells that hold some boxes, in the spectrogram that `listening` makes of a recording of this world.
    #[must_use]
    pub fn of(regions: &[Region], listening: &LogMel) -> Self {
        let settings = listening.settings();
        let frames = SAMPLES.div_ceil(settings.hop.max(1)).min(settings.frames());
        let half = settings.window as f64 / 2.0 / f64::from(RATE);
        let bin = f64::from(RATE) / settings.window as f64;
        let columns = |region: &Region| {
            let [from, to] = region.seconds;
            let meets = move |frame: &usize| {
                let instant = (frame * settings.hop) as f64 / f64::from(RATE);
                instant + half > from && instant - half < to
            };
            (0..frames).filter(meets).collect::<Vec<_>>()
        };
        let rows = |region: &Region| {
            let [low, high] = region.hertz.map(f64::from);
            let meets = move |row: &usize| {
                let hertz = listening.mel_hertz(settings.mels - 1 - row);
                hertz.is_some_and(|[begin, _, end]| begin < high + bin && end > low - bin)
            };
            (0..settings.mels).filter(meets).collect::<Vec<_>>()
        };
        let mut inside = vec![false; settings.mels * frames];
        for region in regions {
            let columns = columns(region);
            for row in rows(region) {
                for column in &columns {
                    if let Some(cell) = inside.get_mut(row * frames + column) {
                        *cell = true;
                    }
                }
            }
        }
        Self { mels: settings.mels, frames, inside }
    }
}

impl Event {
    /// The cells it is heard in: those of its boxes.
    #[must_use]
    pub fn cells(&self, listening: &LogMel) -> Cells {
        Cells::of(&self.regions(), listening)
    }
}

impl Scene {
    /// The cells that are the evidence for an answer: those of the boxes of its sounds.
    #[must_use]
    pub fn cells(&self, question: &Question, listening: &LogMel) -> Cells {
        Cells::of(&self.regions(question), listening)
    }

    /// The cells of all sounds in one picture, as wide as the recording has frames and as high as there are filters, the highest at
    /// the top: of the grey of a pixel the bit `i` says whether sound `i` is there, so that 3 is the first and the second one.
    #[must_use]
    pub fn labels(&self, listening: &LogMel) -> GrayImage {
        let nothing = Cells::of(&[], listening);
        let mut labels = GrayImage::new(nothing.frames as u32, nothing.mels as u32);
        for (bit, event) in (0..8).zip(&self.events) {
            let cells = event.cells(listening);
            for (pixel, inside) in labels.pixels_mut().zip(&cells.inside) {
                pixel.0[0] |= u8::from(*inside) << bit;
            }
        }
        labels
    }
}

/// How recordings of this world are listened to: Whisper's settings, with three seconds in the place of thirty.
///
/// # Errors
/// None: these settings make a spectrogram.
pub fn listening() -> Result<LogMel, MelError> {
    LogMel::new(LogMelSettings { seconds: (MILLISECONDS / 1000) as usize, ..LogMelSettings::default() })
}

/// A spectrogram as a picture, the highest filter at the top: the lowest value is black, the highest white. Frames of the padding
/// are left out.
#[must_use]
pub fn picture(mel: &Mel) -> GrayImage {
    let values = || mel.values.iter().copied();
    let (least, most) = values().fold((f32::INFINITY, f32::NEG_INFINITY), |(least, most), value| {
        (least.min(value), most.max(value)) // no NaN: logarithms of powers above zero
    });
    let reach = (most - least).max(f32::MIN_POSITIVE); // no NaN: as above
    GrayImage::from_fn(mel.sound_frames() as u32, mel.mels as u32, |x, y| {
        let value = mel.at(mel.mels - 1 - y as usize, x as usize).unwrap_or(least);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 255")]
        image::Luma([((value - least) / reach * 255.0).round() as u8])
    })
}
