//! Tokens: which pixels, patches and words an answer comes from.

pub mod attention_maps;
pub mod integrated_gradients;
pub mod kernel_shap;
pub mod occlusion;
mod parts;
pub mod smooth_grad;
