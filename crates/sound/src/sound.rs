//! A recording: samples of one channel, and how many of them a second has.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use mmlens_files::Refused;

use crate::decode::{Decoded, decoded};
use crate::error::SoundError;

/// The most bytes of a recording's file.
pub const MOST_SOUND_BYTES: u64 = 1 << 28;
/// The most samples of a recording, over all channels together: 46 minutes in 48 kHz of one channel.
pub const MOST_SAMPLES: usize = 1 << 27;
/// The most channels of a recording: WAV has places for so many.
pub const MOST_CHANNELS: usize = 26;
/// The lowest rate that is taken, in Hz.
pub const LOWEST_RATE: u32 = 1_000;
/// The highest rate that is taken, in Hz.
pub const HIGHEST_RATE: u32 = 768_000;
/// The largest absolute value of a sample: 24 dB above full scale. What is beyond was meant to be divided first, by 32768 for
/// instance.
pub const MOST_LEVEL: f32 = 16.0;

/// Where a sound came from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// A file, by its path.
    File(String),
    /// Memory.
    Memory,
    /// Silence as long as what came from there.
    SilenceOf(Box<Self>),
}

/// Root mean square of samples around their mean below which nothing is heard: 80 dB below full scale, three steps of 16 bits.
const SILENT: f64 = 1e-4;
/// Which share of the power of channels is left at least where they are mixed. Of channels that have nothing to do with each other it is
/// one over their number.
const LEFT: f64 = 0.01;

/// Why next to nothing is heard of a recording.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Unheard {
    /// It is silence, or one level throughout.
    Level {
        /// The mean of its samples, of full scale.
        mean: f64,
        /// Their root mean square around that.
        deviation: f64,
    },
    /// Its channels cancel where they are mixed.
    Cancels {
        /// Which share of their mean power is left.
        left: f64,
    },
}

impl Unheard {
    /// How loud it is: the root mean square around the mean, or the share of power that is left.
    #[must_use]
    pub const fn number(self) -> f64 {
        match self {
            Self::Level { deviation, .. } => deviation,
            Self::Cancels { left } => left,
        }
    }
}

impl fmt::Display for Unheard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Level { mean, deviation } if mean.abs() > SILENT => write!(
                f,
                "is one level throughout: {mean:.3} of full scale, with a root mean square of {deviation:.5} around it"
            ),
            Self::Level { deviation, .. } => {
                write!(f, "is silent: its root mean square is {deviation:.5} of full scale")
            }
            Self::Cancels { left } => write!(
                f,
                "has channels that cancel where they are mixed: {:.2} % of their power is left; give one of them",
                100.0 * left
            ),
        }
    }
}

/// A recording of one channel.
///
/// Samples are in single precision; full scale is -1 to 1. Files of floats and lossy formats may go beyond, as they do in
/// `soundfile`; what is beyond [`MOST_LEVEL`], infinite or no number is refused.
///
/// # Memory
/// A clone shares the samples.
#[derive(Debug, Clone)]
pub struct Sound {
    /// What it is called in findings and reports.
    pub name: String,
    /// Where it came from.
    pub origin: Origin,
    samples: Arc<Vec<f32>>,
    rate: u32,
    part: Option<[f64; 2]>,
    /// Which share of the mean power of its channels is left of what they were mixed to, if there were several and something in them.
    left: Option<f64>,
}

impl Sound {
    /// A sound from memory: samples of one channel, of which there are `rate` in a second.
    ///
    /// # Errors
    /// [`SoundError::Rate`] for a rate that is not from [`LOWEST_RATE`] to [`HIGHEST_RATE`], [`SoundError::Empty`] without
    /// samples, [`SoundError::Most`] for more than [`MOST_SAMPLES`], [`SoundError::Sample`] for one that is no number or beyond
    /// [`MOST_LEVEL`].
    pub fn new(name: impl Into<String>, samples: Vec<f32>, rate: u32) -> Result<Self, SoundError> {
        let (name, found) = (name.into(), samples.len());
        rate_within(&name, rate)?;
        if found > MOST_SAMPLES {
            let (found, most) = (found as u64, MOST_SAMPLES as u64);
            return Err(SoundError::Most { name, what: "samples", found, most });
        }
        Self::checked(name.clone(), name, Origin::Memory, Decoded { samples, rate, channels: None })
    }

    /// A sound from a file: WAV (PCM of 8, 16, 24 or 32 bits, A-law and mu-law, floats of 32 or 64 bits), FLAC, MP3, Ogg Vorbis.
    ///
    /// Its format is told by its bytes, whatever the file is called. Several channels become one by their mean, as in
    /// `librosa.to_mono`. What an encoder of MP3 or Vorbis put before and behind the recording, and wrote down, is left out, as
    /// `soundfile` does. A file that is cut off is an error that says how much could be read; one that holds what decoders
    /// would pass over (frames that are damaged, pages that are missing) is one too. WAV that was written without its length
    /// ends where the file does.
    ///
    /// # Errors
    /// [`SoundError::Io`] for a file that cannot be read or is larger than [`MOST_SOUND_BYTES`], [`SoundError::Format`] for a
    /// format that is not read, [`SoundError::CutOff`], [`SoundError::Broken`] and [`SoundError::Panic`] for a file that is not
    /// whole or damaged, and those of [`Sound::new`], with more than [`MOST_CHANNELS`] channels beside (in Vorbis more than two, which the decoder gets wrong).
    ///
    /// # Memory
    /// The file, and its samples in one channel. No length that a file claims is believed: room is taken as samples come.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, SoundError> {
        let path = path.as_ref();
        let shown = path.display().to_string();
        let bytes = mmlens_files::read(path, MOST_SOUND_BYTES)
            .map_err(|source| SoundError::Io { name: shown.clone(), source })?;
        let name = path.file_name().map_or_else(|| shown.clone(), |name| name.to_string_lossy().into_owned());
        let sound = decoded(&shown, &bytes)?;
        Self::checked(name, shown.clone(), Origin::File(shown), sound)
    }

    /// A sound from the bytes of a file, as [`Sound::open`] reads one.
    ///
    /// # Errors
    /// As [`Sound::open`], with the name instead of the file.
    pub fn from_bytes(name: impl Into<String>, bytes: &[u8]) -> Result<Self, SoundError> {
        let (name, found) = (name.into(), bytes.len() as u64);
        if found > MOST_SOUND_BYTES {
            let source = Refused::Size { found, most: MOST_SOUND_BYTES }.into();
            return Err(SoundError::Io { name, source });
        }
        let sound = decoded(&name, bytes)?;
        Self::checked(name.clone(), name, Origin::Memory, sound)
    }

    /// `shown` is what errors say.
    fn checked(name: String, shown: String, origin: Origin, sound: Decoded) -> Result<Self, SoundError> {
        let Decoded { samples, rate, channels } = sound;
        if samples.is_empty() {
            return Err(SoundError::Empty { name: shown, what: "it".to_owned() });
        }
        // What is no number is in no range.
        if let Some(at) = samples.iter().position(|sample| !(-MOST_LEVEL..=MOST_LEVEL).contains(sample)) {
            let found = samples.get(at).copied().unwrap_or(f32::NAN);
            return Err(SoundError::Sample { name: shown, at, found });
        }
        let mixed = channels.filter(|power| power.sqrt() > SILENT);
        let left = mixed.map(|power| mean(&samples, |sample| sample.powi(2)) / power);
        Ok(Self { name, origin, samples: Arc::new(samples), rate, part: None, left })
    }

    /// The samples, in the order of time.
    #[must_use]
    pub fn samples(&self) -> &[f32] {
        &self.samples
    }

    /// How many samples a second has, in Hz.
    #[must_use]
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// How long it is, in seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.samples.len() as f64 / f64::from(self.rate)
    }

    /// The part between two instants, in seconds, each moved to the nearest sample; the sample at the second one is not in it.
    /// The parts before and behind an instant, put together, are the whole.
    ///
    /// # Errors
    /// [`SoundError::Part`] for instants that are not inside the sound, in their order, or between which no sample is.
    ///
    /// # Memory
    /// A copy of the part.
    pub fn between(&self, from: f64, to: f64) -> Result<Self, SoundError> {
        let outside = || SoundError::Part { name: self.name.clone(), from, to, length: self.seconds() };
        let [first, end] = [from, to].map(|instant| (instant * f64::from(self.rate)).round());
        if !(from >= 0.0 && first < end && end <= self.samples.len() as f64) {
            return Err(outside());
        }
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "from zero to the number of samples, as checked above"
        )]
        let samples = self.samples.get(first as usize..end as usize).ok_or_else(outside)?;
        let before = self.part.map_or(0.0, |[from, _]| from);
        let part = Some([before + from, before + to]);
        Ok(Self { part, left: self.left, ..self.with(samples.to_vec(), self.rate) })
    }

    /// Which part it is of what it came from, from when to when in seconds; none, if it is all of it.
    #[must_use]
    pub fn part(&self) -> Option<[f64; 2]> {
        self.part
    }

    /// The same under another name.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// Silence of the same length at the same rate.
    #[must_use]
    pub fn silence(&self) -> Self {
        Self {
            name: format!("silence of {}", self.name),
            origin: Origin::SilenceOf(Box::new(self.origin.clone())),
            ..self.with(vec![0.0; self.samples.len()], self.rate)
        }
    }

    /// White noise of the same length, rate and root mean square, drawn evenly: `draw` gives for each sample a number from 0 to 1.
    ///
    /// # Errors
    /// [`SoundError::Sample`] for noise beyond [`MOST_LEVEL`], which is `sqrt(3)` times as loud at its peaks as in the mean.
    pub fn noise(&self, draw: impl Fn(u64) -> f64) -> Result<Self, SoundError> {
        let power: f64 = self.samples.iter().map(|sample| f64::from(*sample).powi(2)).sum();
        // Even draws from -a to a have the mean square a² / 3.
        let most = (3.0 * power / self.samples.len() as f64).sqrt();
        let sample = |at: usize| ((2.0 * draw(at as u64) - 1.0) * most) as f32;
        let samples = (0..self.samples.len()).map(sample).collect();
        let (name, rate) = (format!("noise for {}", self.name), self.rate);
        Self::checked(name.clone(), name, Origin::Memory, Decoded { samples, rate, channels: None })
    }

    /// Why next to nothing is heard of it; none, if something is.
    ///
    /// Whether channels cancel is told of the whole file, of a part too.
    #[must_use]
    pub fn unheard(&self) -> Option<Unheard> {
        if let Some(left) = self.left.filter(|left| *left < LEFT) {
            return Some(Unheard::Cancels { left });
        }
        let level = mean(&self.samples, |sample| sample);
        let deviation = mean(&self.samples, |sample| (sample - level).powi(2)).sqrt();
        (deviation < SILENT).then_some(Unheard::Level { mean: level, deviation })
    }

    /// Whether it is the same sound: the same name, rate and part of the same samples in memory.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        (&self.name, self.rate) == (&other.name, other.rate) && Arc::ptr_eq(&self.samples, &other.samples)
    }

    /// A sound of the same name and origin.
    pub(crate) fn with(&self, samples: Vec<f32>, rate: u32) -> Self {
        let (name, origin) = (self.name.clone(), self.origin.clone());
        Self { name, origin, samples: Arc::new(samples), rate, part: self.part, left: None }
    }

    /// SHA-256 of the rate (`16000 Hz `) and of the samples behind it (single precision, little endian), in hexadecimal digits.
    /// Name and origin have no part in it.
    ///
    /// # Memory
    /// The samples once more.
    #[must_use]
    pub fn sha256(&self) -> String {
        let mut bytes = format!("{} Hz ", self.rate).into_bytes();
        bytes.extend(self.samples.iter().flat_map(|sample| sample.to_le_bytes()));
        mmlens_files::sha256(bytes)
    }
}

fn mean(samples: &[f32], of: impl Fn(f64) -> f64) -> f64 {
    samples.iter().map(|sample| of(f64::from(*sample))).sum::<f64>() / samples.len() as f64
}

/// Refuses a rate that is not taken.
pub(crate) fn rate_within(name: &str, rate: u32) -> Result<(), SoundError> {
    match (LOWEST_RATE..=HIGHEST_RATE).contains(&rate) {
        true => Ok(()),
        false => Err(SoundError::Rate { name: name.to_owned(), found: rate }),
    }
}
