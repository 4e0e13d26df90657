//! Instrumented multimodal architectures for mmlens, read from Hugging Face folders.

pub mod checkpoint;
mod config;
mod decoder;
mod error;
mod generate;
pub mod hub;
mod llava;
mod open;
pub mod parts;
pub mod processor;
pub mod shipped;
pub mod text;
mod vision;

pub use decoder::{Llama, LlamaConfig};
pub use error::ZooError;
pub use llava::{FeatureLayers, Llava, LlavaConfig, LlavaModel, LlavaParts};
pub use open::open;
pub use vision::{ClipVision, ClipVisionConfig};

pub(crate) use config::{blocks, divides, positive};
