//! Recordings: read within limits, resampled, and turned into the log-mel spectrograms that Whisper and Qwen2-Audio take.
//!
//! ```text
//! a file ── format, whole, decode ──> Sound ── resample ──> Sound at 16 kHz ── settings, filters, mel ──> Mel
//! ```
//!
//! - `format` tells by the first bytes what a file is, `whole` that nothing of it is missing, `codebooks` that its header asks for
//!   no more room than it should; `decode` takes its samples, by symphonia, within the limits of `sound`, where [`Sound`] is.
//! - [`wav`](fn@wav) writes samples as a file again.
//! - [`resample`] brings a sound to another rate.
//! - `settings` reads `preprocessor_config.json`; `filters` are Slaney's mel filters; [`mel`] makes the spectrogram.
//! - Errors are in `error` and `settings`; a panic of a decoder is one ([`Panicked`]).
//!
//! No model is known here, and no tensor library.
//!
//! ```
//! use mmlens_sound::{LogMel, LogMelSettings, Sound};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let hum = (0..44100).map(|i| (i as f32 * 0.05).sin() * 0.5).collect();
//! let hum = Sound::new("hum", hum, 44100)?.between(0.25, 0.75)?.at(16000)?;
//! assert_eq!((hum.samples().len(), hum.seconds()), (8000, 0.5));
//!
//! let listening = LogMel::new(LogMelSettings::default())?;
//! let mel = listening.of(&hum)?;
//! assert_eq!((mel.mels, mel.frames, mel.sound_frames()), (80, 3000, 50));
//! assert_eq!(listening.frame_seconds(49), Some([0.49, 0.5]));
//! # Ok(())
//! # }
//! ```

mod codebooks;
mod decode;
mod error;
mod filters;
mod format;
pub mod mel;
pub mod resample;
mod settings;
mod sound;
mod wav;
mod whole;

pub use error::SoundError;
pub use mel::{LogMel, Mel};
pub use mmlens_files::Panicked;
pub use settings::{LogMelSettings, MelError};
pub use sound::{
    HIGHEST_RATE, LOWEST_RATE, MOST_CHANNELS, MOST_LEVEL, MOST_SAMPLES, MOST_SOUND_BYTES, Origin, Sound,
    Unheard,
};
pub use wav::wav;
