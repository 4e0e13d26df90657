//! Instrumented multimodal architectures for mmlens, read from Hugging Face folders.
