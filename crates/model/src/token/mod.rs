//! Tokens: which pixels, patches and words an answer comes from.

pub mod attention_maps;
mod depths;
pub mod integrated_gradients;
pub mod kernel_shap;
pub mod latent_lens;
pub mod nearest_words;
pub mod occlusion;
pub mod sinks;
pub mod sinks_over_cases;
pub mod smooth_grad;
pub mod token_ablation;
pub mod token_ablation_over_cases;
