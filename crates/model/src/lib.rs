//! Analyses of mmlens, from tokens to layers: integrated gradients, occlusion, rollout, logit lens, patching.
//!
//! Every method is one file and one type, made from checked settings and run on any
//! [`Subject`](mmlens_core::Subject); it gives a [`Finding`](mmlens_core::finding::Finding). [`METHODS`] lists
//! them.
//!
//! | question | method |
//! |---|---|
//! | which pixels and words, in shares that add up | [`IntegratedGradients`] |
//! | what is lost when a part is hidden | [`Occlusion`] |
//! | along which attention it could have come | [`AttentionRollout`] |
//! | what the model would say at each layer | [`LogitLens`] |
//! | which state brings the answer back | [`ActivationPatching`] |
//! | which states, heads and neurons carry the answer, in two passes | [`AttributionPatching`] |
//! | which connections between them do | [`EdgeAttribution`] |
//! | what one head tells another directly | [`PathPatching`] |
//! | along which route, and at which depth, it got there | [`AttentionKnockout`] |

use mmlens_core::Card;

pub mod activation_patching;
pub mod attention_knockout;
pub mod attention_rollout;
pub mod attribution_patching;
mod check;
pub mod edge_attribution;
pub mod integrated_gradients;
pub mod logit_lens;
pub mod occlusion;
mod pair;
pub mod path_patching;

pub use activation_patching::ActivationPatching;
pub use attention_knockout::AttentionKnockout;
pub use attention_rollout::AttentionRollout;
pub use attribution_patching::AttributionPatching;
pub use edge_attribution::EdgeAttribution;
pub use integrated_gradients::IntegratedGradients;
pub use logit_lens::LogitLens;
pub use occlusion::Occlusion;
pub use path_patching::PathPatching;

/// Every method of this crate.
pub const METHODS: &[Card] = &[
    integrated_gradients::CARD,
    occlusion::CARD,
    attention_rollout::CARD,
    logit_lens::CARD,
    activation_patching::CARD,
    attention_knockout::CARD,
    attribution_patching::CARD,
    edge_attribution::CARD,
    path_patching::CARD,
];
