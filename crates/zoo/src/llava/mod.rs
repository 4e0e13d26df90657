//! LLaVA and the models laid out like it.

mod model;
mod subject;

pub use model::{FeatureLayers, LlavaConfig, LlavaModel};
pub use subject::{Llava, LlavaParts};
