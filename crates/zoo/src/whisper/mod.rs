//! Whisper (Radford et al. 2023): writes down what is said in a recording, in its language or in English.
//!
//! A tower hears the recording ([`crate::audio`]), a decoder of pre-norm blocks attends to it: `text.blocks.i.cross.pattern` says which
//! stretches of time a word looks at. Each of the tower's positions is two frames of the spectrogram, 20 ms in published models.
//!
//! A sample is one recording, brought to the rate of the checkpoint, and
//!
//! - no words: the prompt is the checkpoint's own, of the tokens that its generation settings name ([`PromptSettings`]);
//! - a prompt, taken as it is, in which special tokens are recognised: `<|startoftranscript|><|en|><|transcribe|><|notimestamps|>`, with
//!   words behind it or, behind `<|startofprev|>`, before. That is how a language is chosen, or another task.
//!
//! Answers are generated as in transformers' short form: tokens that the settings suppress do not come, nor, as the first, those that are
//! suppressed there. Times (`<|1.08|>`) are tokens like any other and are shown; transformers' tokenizer leaves them out of its text, and its
//! `generate` goes on from a time that the model writes where it should not, unless told to make one call. Padding behind a sound is
//! heard as silence.
//!
//! Follows transformers 5.23. Not supported, and refused by name: a sound longer than what it is padded to, times that the model is made to
//! write (`return_timestamps`), passes that are repeated by thresholds, languages that are guessed, other architectures than
//! `WhisperForConditionalGeneration`.

mod config;
mod decoder;
mod languages;
mod model;
mod prompt;
mod subject;

pub use config::WhisperConfig;
pub use decoder::WhisperDecoder;
pub use model::WhisperModel;
pub use prompt::PromptSettings;
pub use subject::{Whisper, WhisperParts, open_whisper};
