//! Qwen2-VL, Qwen2.5-VL and Qwen3-VL.

mod eyes;
mod film;
mod pixels;
#[cfg(test)]
mod recorded;
mod settings;
mod size;

pub use eyes::{Expected, QwenEyes};
pub use film::{Film, MOST_OF_CLIP};
pub use pixels::Cut;
pub use settings::{ClipKind, ClipSettings, Patches, Settings};
