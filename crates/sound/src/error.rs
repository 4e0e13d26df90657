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
        "{name}: it is {found}; what is read are WAV (PCM of 8, 16, 24 or 32 bits, A-law, mu-law, floats of 32 or 64), FLAC, MP3 and Ogg \
         Vorbis"
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
    #[error("{name}: {}", no_part(*from, *to, *length))]
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

/// Why there is no such part of a sound.
fn no_part(from: f64, to: f64, length: f64) -> String {
    let [begins, ends] = [from, to].map(instant);
    let beyond = |what: &str, instant: &str| {
        format!("a part of it cannot {what} at {instant} s, expected an instant from 0 s to {length} s")
    };
    if !(from >= 0.0 && from <= length) {
        return beyond("begin", &begins);
    }
    // What is no number is in no range.
    if !(to >= 0.0 && to <= length) {
        return beyond("end", &ends);
    }
    match from < to {
        true => format!("no sample of it lies between {begins} s and {ends} s"),
        false => format!("a part from {begins} s to {ends} s does not end behind its beginning"),
    }
}

/// An instant in as few digits as tell it.
fn instant(seconds: f64) -> String {
    let size = seconds.abs();
    match size > 0.0 && !(1e-6..1e9).contains(&size) && seconds.is_finite() {
        true => format!("{seconds:e}"),
        false => seconds.to_string(),
    }
}
