//! Instrumented multimodal architectures for mmlens, read from Hugging Face folders.

pub mod checkpoint;
mod error;

pub use error::ZooError;
