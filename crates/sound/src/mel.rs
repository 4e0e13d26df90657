//! The log-mel spectrogram of a sound, as Whisper and Qwen2-Audio take it.
//!
//! # Idea
//! The sound is padded to the length that the model takes, and at both ends by half a window with its own mirror image. Frame `i`
//! is the stretch of one window around sample `i hop`, weighted by a Hann window; `P` is the squared absolute value of its
//! spectrum, `F` the mel filters. Of all frames together
//!
//! ```text
//! m = log10(max(F P, 1e-10)),   value = (max(m, max over all m - 8) + 4) / 4
//! ```
//!
//! so that values are from -1.5 on, and what is 80 dB below the loudest is as loud as that. The last frame, around the end of the
//! padding, is left out.
//!
//! # In and out
//! | name | axes | unit | meaning |
//! |---|---|---|---|
//! | `values` | mels, frames | none | as above, single precision |
//! | `mask` | frames | yes or no | whether sample `i hop` is one of the sound, not of the padding |
//!
//! # Settings
//! [`LogMelSettings`]: those of `WhisperFeatureExtractor`, read from its file or given.
//!
//! # Cost
//! One Fourier transform of a window for each frame, in double precision: 3000 for Whisper, some 30 ms. Memory: the values
//! twice, in double precision and in single.
//!
//! # Errors
//! Making it: [`MelError::Field`] and those of reading the file. Running it: [`MelError::Rate`] for a sound at another rate,
//! [`MelError::Long`] for one that is longer than what it is padded to; transformers cuts it off there without a word.
//!
//! # When it misleads
//! - Values hang on the loudest one anywhere: a click lifts the floor under everything else.
//! - Frames of padding are not empty: they have the value of the floor, and the last ones of the sound see the padding.
//! - With `rate` below 16000 the upper filters are above half the rate, and have the value of the floor (as in transformers).
//!
//! # Agreement
//! `WhisperFeatureExtractor` of transformers 5.23, on sounds at their own rate. Its path in numpy: to 2e-7. Its path in torch,
//! which it takes where torch is installed, is in single precision: to 5e-6 on noise, 1.3e-5 on recordings at 8 kHz taken to 16,
//! 7e-5 on pure tones and chirps, beside which the quietest values are rounding. The two paths differ as much from each other.
//!
//! # Reference
//! Radford et al.: Robust Speech Recognition via Large-Scale Weak Supervision, ICML 2023, section 2.2.
//! <https://arxiv.org/abs/2212.04356>. Mel filters: Slaney, Auditory Toolbox, 1998.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use realfft::{RealFftPlanner, RealToComplex};

use crate::filters::{Filter, filters};
use crate::settings::{LogMelSettings, MelError};
use crate::sound::Sound;

/// No power is taken to be less.
const LEAST_POWER: f64 = 1e-10;
/// No value is further below the largest, in powers of ten.
const DEPTH: f64 = 8.0;

/// Turns sounds into log-mel spectrograms. See [`mel`](crate::mel).
#[derive(Clone)]
pub struct LogMel {
    settings: LogMelSettings,
    window: Vec<f64>,
    filters: Vec<Filter>,
    fft: Arc<dyn RealToComplex<f64>>,
}

impl fmt::Debug for LogMel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LogMel").field(&self.settings).finish()
    }
}

/// A log-mel spectrogram.
#[derive(Debug, Clone, PartialEq)]
pub struct Mel {
    /// The values, one row of `frames` for each filter, the lowest first.
    pub values: Vec<f32>,
    /// How many filters.
    pub mels: usize,
    /// How many frames, those of the padding with them.
    pub frames: usize,
    /// Of each frame, whether it is one of the sound: transformers' `attention_mask`, in frames.
    pub mask: Vec<bool>,
}

impl Mel {
    /// The value of a filter in a frame, if there are such.
    #[must_use]
    pub fn at(&self, mel: usize, frame: usize) -> Option<f32> {
        (frame < self.frames).then(|| self.values.get(mel * self.frames + frame).copied()).flatten()
    }

    /// How many frames are of the sound: they come first.
    #[must_use]
    pub fn sound_frames(&self) -> usize {
        self.mask.iter().filter(|own| **own).count()
    }
}

impl LogMel {
    /// With such settings.
    ///
    /// # Errors
    /// [`MelError::Field`] for settings that make no spectrogram, or one too large.
    pub fn new(settings: LogMelSettings) -> Result<Self, MelError> {
        settings.check(None)?;
        let length = settings.window;
        // Periodic: the value behind the last would be the first.
        let turn = |at: usize| std::f64::consts::TAU * at as f64 / length as f64;
        let window = (0..length).map(|at| 0.5 - 0.5 * turn(at).cos()).collect();
        let filters = filters(settings.mels, length / 2 + 1, settings.rate);
        let fft = RealFftPlanner::new().plan_fft_forward(length);
        Ok(Self { settings, window, filters, fft })
    }

    /// With the settings of a file; see [`LogMelSettings::read`].
    ///
    /// # Errors
    /// As [`LogMelSettings::read`].
    pub fn open(file: impl AsRef<Path>) -> Result<Self, MelError> {
        Self::new(LogMelSettings::read(file)?)
    }

    /// Its settings.
    #[must_use]
    pub fn settings(&self) -> &LogMelSettings {
        &self.settings
    }

    /// The spectrogram of a sound.
    ///
    /// # Errors
    /// [`MelError::Rate`] for a sound at another rate, [`MelError::Long`] for one longer than what it is padded to.
    pub fn of(&self, sound: &Sound) -> Result<Mel, MelError> {
        let LogMelSettings { mels, rate, hop, window: length, seconds, padding } = self.settings;
        let (samples, all, frames) = (sound.samples(), self.settings.samples(), self.settings.frames());
        if sound.rate() != rate {
            return Err(MelError::Rate { name: sound.name.clone(), found: sound.rate(), expected: rate });
        }
        if samples.len() > all {
            return Err(MelError::Long { name: sound.name.clone(), found: sound.seconds(), most: seconds });
        }
        // Position `at` of what is padded by half a window at both ends.
        let padded = |at: usize| {
            let inside = at.abs_diff(length / 2);
            let inside = if inside >= all { 2 * (all - 1) - inside } else { inside };
            f64::from(samples.get(inside).copied().unwrap_or(padding))
        };
        let (mut frame, mut spectrum) = (self.fft.make_input_vec(), self.fft.make_output_vec());
        let mut scratch = self.fft.make_scratch_vec();
        let mut powers = vec![0.0; spectrum.len()];
        let mut logs = vec![0.0; mels * frames];
        let mut largest = f64::NEG_INFINITY;
        for at in 0..frames {
            for (offset, (value, weight)) in frame.iter_mut().zip(&self.window).enumerate() {
                *value = padded(at * hop + offset) * weight;
            }
            // It fails for buffers of another length alone, and these are its own.
            let done = self.fft.process_with_scratch(&mut frame, &mut spectrum, &mut scratch);
            debug_assert!(done.is_ok());
            for (power, value) in powers.iter_mut().zip(&spectrum) {
                *power = value.norm_sqr();
            }
            for (row, filter) in logs.chunks_exact_mut(frames).zip(&self.filters) {
                let taken = powers.iter().skip(filter.first).zip(&filter.weights);
                let power: f64 = taken.map(|(power, weight)| power * weight).sum();
                let log = power.max(LEAST_POWER).log10();
                largest = largest.max(log); // no NaN: logarithms of what is above zero, and samples are finite
                if let Some(value) = row.get_mut(at) {
                    *value = log;
                }
            }
        }
        let value = |log: &f64| ((log.max(largest - DEPTH) + 4.0) / 4.0) as f32;
        let mask = (0..frames).map(|at| at * hop < samples.len()).collect();
        Ok(Mel { values: logs.iter().map(value).collect(), mels, frames, mask })
    }

    /// What silence is beside a sound, in the numbers of its spectrogram: the floor under them, 80 dB below the loudest value or at the
    /// least power that is told.
    #[must_use]
    pub fn silence_beside(&self, mel: &Mel) -> f32 {
        let loudest = mel.values.iter().copied().fold(f32::NEG_INFINITY, f32::max); // no NaN: made from finite samples
        let floor = f64::from(loudest) - DEPTH / 4.0;
        floor.max((LEAST_POWER.log10() + 4.0) / 4.0) as f32
    }

    /// The stretch of time that stands for a frame, from its own instant to the next one's, in seconds: together they are the
    /// whole. The window of a frame reaches further, by half its length before and behind its instant. None for a frame that
    /// there is not.
    #[must_use]
    pub fn frame_seconds(&self, frame: usize) -> Option<[f64; 2]> {
        let instant = |frame: usize| (frame * self.settings.hop) as f64 / f64::from(self.settings.rate);
        (frame < self.settings.frames()).then(|| [instant(frame), instant(frame + 1)])
    }

    /// Where a filter begins, has its peak and ends, in Hz. None for a filter that there is not.
    #[must_use]
    pub fn mel_hertz(&self, mel: usize) -> Option<[f64; 3]> {
        self.filters.get(mel).map(|filter| filter.hertz)
    }

    /// The weights of a filter: the first bin of the spectrum that has one, and those of this bin and the ones behind it. Bin
    /// `k` is the frequency `k rate / n_fft`. None for a filter that there is not.
    #[must_use]
    pub fn mel_weights(&self, mel: usize) -> Option<(usize, &[f64])> {
        self.filters.get(mel).map(|filter| (filter.first, filter.weights.as_slice()))
    }
}
