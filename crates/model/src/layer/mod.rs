//! Layers, heads and what flows between them: where an answer is made, and along which way.

pub mod activation_patching;
pub mod attention_by_depth;
pub mod attention_knockout;
pub mod attention_rollout;
pub mod attribution_patching;
pub mod causal_tracing;
pub mod cka;
pub mod direct_logit_attribution;
pub mod edge_attribution;
pub mod head_measures;
pub mod layer_skipping;
pub mod logit_lens;
pub mod path_patching;
mod restoring;
pub mod tuned_lens;
