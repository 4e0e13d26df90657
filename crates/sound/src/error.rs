//! Why a recording is refused.

use std::io;

use mmlens_files::Panicked;

use crate::sound::{HIGHEST_RATE, LOWEST_RATE, MOST_LEVEL};

/// Why a sound is not read, cut or resampled. `name` is the file, or what a sound from memory is called.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SoundError {
    /// The file cannot be read, or is larger than [`MOST_SOUND_BYTES`](crate::MOST_SOUND_BYTES).
    #[error("{name}: {source}")]
    Io {
        /// Which sound.
        name: String,
        /// What the system says, or a [`Refused`](mmlens_files::Refused).
        source: io::Error,
    },
    /// A format that is not read, or none at all.
    #[error(
        "{name}: it is {found}; what is read are WAV (PCM of 8, 16, 24 or 32 bits, floats of 32 or 64), FLAC, MP3 and Ogg Vorbis"
    )]
    Format {
        /// Which sound.
        name: String,
        /// What its bytes say it is.
        found: &'static str,
    },
    /// More than is taken of something.
    #[error("{name}: it has {found} {what}, expected at most {most}")]
    Most {
        /// Which sound.
        name: String,
        /// Of what.
        what: &'static str,
        /// How much there is; of what is counted while it is read, what was read so far.
        found: u64,
        /// The most that is taken.
        most: u64,
    },
    /// A rate beyond the limits.
    #[error("{name}: its rate is {found} Hz, expected {LOWEST_RATE} to {HIGHEST_RATE}")]
    Rate {
        /// Which sound.
        name: String,
        /// The rate.
        found: u32,
    },
    /// The file ends before the recording does.
    #[error("{name}: it is cut off: {reason}, after {read} samples ({seconds:.3} s)")]
    CutOff {
        /// Which sound.
        name: String,
        /// How that is known.
        reason: String,
        /// How many samples of each channel were read.
        read: u64,
        /// How long they are.
        seconds: f64,
    },
    /// The file is damaged, or says what its format does not allow.
    #[error("{name}: {reason}, after {read} samples were read")]
    Broken {
        /// Which sound.
        name: String,
        /// What is wrong.
        reason: String,
        /// How many samples of each channel were read before.
        read: u64,
    },
    /// A decoder panics over the file.
    #[error("{name}: the decoder fails: {source}")]
    Panic {
        /// Which sound.
        name: String,
        /// What it says.
        source: Panicked,
    },
    /// A sample that is no number, or is far beyond full scale.
    #[error(
        "{name}: sample {at} is {found}, expected a number from -{MOST_LEVEL} to {MOST_LEVEL} (full scale is 1)"
    )]
    Sample {
        /// Which sound.
        name: String,
        /// Which sample, counted from zero.
        at: usize,
        /// What it is.
        found: f32,
    },
    /// Nothing is left to hear.
    #[error("{name}: {what} has no samples")]
    Empty {
        /// Which sound.
        name: String,
        /// It, or what was to be made of it.
        what: String,
    },
    /// A part that is not inside the sound.
    #[error(
        "{name}: {from} s to {to} s is no part of it, expected from 0 s to {length} s, the first before the second"
    )]
    Part {
        /// Which sound.
        name: String,
        /// From when, in seconds.
        from: f64,
        /// Until when, in seconds.
        to: f64,
        /// How long the sound is, in seconds.
        length: f64,
    },
}
