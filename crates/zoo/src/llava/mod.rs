//! LLaVA and the models laid out like it.

mod model;

pub use model::{FeatureLayers, LlavaConfig, LlavaModel};
