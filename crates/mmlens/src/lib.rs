//! Opens up multimodal language models: which pixels, tokens, layers and heads led to this answer.
//!
//! This crate has no code of its own; it gathers the crates of the workspace under one name, and their tables of methods as one.

pub use mmlens_core as core;
pub use mmlens_data as data;
pub use mmlens_engine as engine;
pub use mmlens_evaluation as evaluation;
pub use mmlens_files as files;
pub use mmlens_finding as finding;
pub use mmlens_inference as inference;
pub use mmlens_kernels as kernels;
pub use mmlens_model as model;
pub use mmlens_report as report;
pub use mmlens_store as store;
pub use mmlens_zoo as zoo;

// What signatures need, and what settings of a method of one's own derive: with `#[serde(crate = "mmlens::serde")]`.
pub use mmlens_core::{burn, ndarray, serde, serde_json};

mmlens_core::tables! {
    mmlens_model,
    mmlens_data,
    mmlens_inference,
}

/// What most programs need.
pub mod prelude {
    pub use mmlens_core::burn::tensor::{Device, Tensor};
    pub use mmlens_core::*;
    pub use mmlens_engine::{Aim, Edit, Metric, Progress, Settled, Sweep};
    pub use mmlens_finding::{
        Axis, Caution, CautionKind, Finding, Labelled, Labels, Modality, Provenance, Role, TokenLabel, Unit,
    };

    pub use crate::{FITS, METHODS};
}

/// The sample of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{FITS, METHODS};

    /// Every crate with a table is in the joined one, and names tell all of its rows apart.
    #[test]
    fn the_tables_of_all_crates_are_one() {
        let tables = [mmlens_model::METHODS, mmlens_data::METHODS, mmlens_inference::METHODS];
        assert_eq!(METHODS.len(), tables.iter().map(|table| table.len()).sum::<usize>());
        let fits = [mmlens_model::FITS, mmlens_data::FITS, mmlens_inference::FITS];
        assert_eq!(FITS.len(), fits.iter().map(|table| table.len()).sum::<usize>());
        let cards = METHODS.iter().map(|method| method.card).chain(FITS.iter().map(|fit| fit.card));
        let mut seen = BTreeSet::new();
        for card in cards {
            let names: BTreeSet<&str> = [card.id, card.short].into();
            assert!(names.into_iter().all(|name| seen.insert(name)), "{card:?}");
        }
    }
}
