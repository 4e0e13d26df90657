//! Instrumented multimodal architectures for mmlens, read from Hugging Face folders.

mod about;
pub mod audio;
pub mod bert;
pub mod blip;
pub mod certify;
pub mod checkpoint;
pub mod clip;
mod config;
pub mod decoder;
mod error;
pub mod families;
pub mod hub;
pub mod idefics3;
mod left_out;
pub mod llava;
pub mod llava_next;
mod open;
pub mod parts;
pub mod processor;
pub mod qwen2_audio;
pub mod qwen_vl;
mod redraw;
mod rules;
pub mod self_check;
pub mod shipped;
pub mod text;
pub mod vision;
pub mod vit;
pub mod vlm;
pub mod whisper;

pub use audio::{AudioConfig, AudioTower};
pub use clip::{ClipConfig, ClipModel, DualEncoder};
pub use decoder::{Decoder, DecoderConfig};
pub use error::ZooError;
pub use llava::{LlavaConfig, LlavaModel};
pub use open::{OpenOptions, model_type, open};
pub use redraw::{Opening, Redraw};
pub use self_check::SelfCheck;
pub use vision::{TowerConfig, VisionTower};
pub use vlm::Vlm;
pub use whisper::Whisper;

pub(crate) use config::{above_zero, architecture, blocks, causal, divides, positive, present};
