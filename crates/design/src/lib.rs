//! Architectures designed to be understood, and what stands in for one that was not: directions of concepts, bottlenecks, sparse heads, trees, prototypes, and the effects of modalities told apart as causes.
//!
//! `docs/causal.md` and `docs/design.md` say which to use when.

pub mod causal;
pub mod concept;
mod learned;
pub mod prototype;
mod stability;
pub mod surrogate;

pub use causal::{Exchange, Measured};

mmlens_core::methods! {
    causal::modality_effects::ModalityEffects,
    causal::modality_effects_over_cases::ModalityEffectsOverCases,
    causal::cf_vqa::CfVqa,
    causal::causal_mediation::CausalMediation,
    causal::emap::Emap,
    concept::tcav::Tcav,
    surrogate::decision_tree::DecisionTree,
}

mmlens_core::fits! {
    concept::bottleneck::PostHocBottleneck,
    surrogate::sparse_head::SparseHead,
    prototype::prototypes::PrototypeHead,
}
