//! Opens up multimodal language models: which pixels, tokens, layers and heads led to this answer.
//!
//! This crate has no code of its own; it gathers the crates of the workspace under one name.

pub use mmlens_core as core;
pub use mmlens_data as data;
pub use mmlens_engine as engine;
pub use mmlens_files as files;
pub use mmlens_finding as finding;
pub use mmlens_kernels as kernels;
pub use mmlens_model as model;
pub use mmlens_report as report;
pub use mmlens_store as store;
pub use mmlens_zoo as zoo;

// What signatures need, and what settings of a method of one's own derive: with `#[serde(crate = "mmlens::serde")]`.
pub use mmlens_core::{burn, ndarray, serde, serde_json};

#[doc(inline)]
pub use mmlens_model::METHODS;

/// What most programs need.
pub mod prelude {
    pub use mmlens_core::burn::tensor::{Device, Tensor};
    pub use mmlens_core::*;
    pub use mmlens_engine::{Aim, Edit, Metric, Progress, Settled, Sweep};
    pub use mmlens_finding::{
        Axis, Caution, CautionKind, Finding, Labelled, Labels, Modality, Provenance, Role, TokenLabel, Unit,
    };

    pub use crate::METHODS;
}

/// The sample of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
