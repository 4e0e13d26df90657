//! Instrumented multimodal architectures for mmlens, read from Hugging Face folders.

pub mod checkpoint;
mod config;
mod decoder;
mod error;
mod llava;
pub mod parts;
pub mod processor;
mod vision;

pub use decoder::{Llama, LlamaConfig};
pub use error::ZooError;
pub use llava::{FeatureLayers, LlavaConfig, LlavaModel};
pub use vision::{ClipVision, ClipVisionConfig};

pub(crate) use config::{divides, positive};
