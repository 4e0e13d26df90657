//! Tokens: which pixels, patches and words an answer comes from.

pub mod integrated_gradients;
pub mod occlusion;
