//! Opens up multimodal language models: which pixels, tokens, layers and heads led to this answer.
//!
//! This crate has no code of its own; it gathers the crates of the workspace under one name, their tables of methods as one, and lists
//! what there is beside methods ([`TOOLS`]).

mod tools;

pub use tools::TOOLS;

pub use mmlens_core as core;
pub use mmlens_data as data;
pub use mmlens_design as design;
pub use mmlens_engine as engine;
pub use mmlens_evaluation as evaluation;
pub use mmlens_files as files;
pub use mmlens_finding as finding;
pub use mmlens_inference as inference;
pub use mmlens_kernels as kernels;
pub use mmlens_model as model;
pub use mmlens_report as report;
pub use mmlens_sound as sound;
pub use mmlens_store as store;
pub use mmlens_training as training;
pub use mmlens_whatif as whatif;
pub use mmlens_zoo as zoo;

// What signatures need, and what settings of a method of one's own derive: with `#[serde(crate = "mmlens::serde")]`.
pub use mmlens_core::{burn, ndarray, serde, serde_json};

mmlens_core::tables! {
    mmlens_model,
    mmlens_data,
    mmlens_design,
    mmlens_training,
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

    use serde_json::{Value, json};

    use super::{FITS, METHODS, TOOLS};

    /// Every card says all that a list of methods needs.
    #[test]
    fn cards_are_complete() {
        for card in METHODS.iter().map(|method| method.card).chain(FITS.iter().map(|fit| fit.card)) {
            for text in [card.short, card.name, card.question, card.citation, card.cost] {
                assert!(!text.is_empty(), "{card:?}");
            }
            assert!(
                card.citation.contains("https://") && card.question.ends_with('?') && card.misleads.len() > 1,
                "{card:?}"
            );
        }
    }

    /// What is written of defaults makes the same method, and a name that is no setting is refused.
    #[test]
    fn settings_read_back() {
        let refused = |id: &str, said: String| {
            let wanted = format!("settings of {id}: field `nonsense`: unknown field `nonsense`, expected");
            assert!(said.starts_with(&wanted), "{said}");
        };
        for method in METHODS {
            let defaults = method.defaults().unwrap();
            assert_eq!(method.make(defaults.clone()).unwrap().settings().unwrap(), defaults, "{method:?}");
            refused(method.card.id, method.make(json!({ "nonsense": 1 })).err().unwrap().to_string());
        }
        for fit in FITS {
            let defaults = fit.defaults().unwrap();
            assert_eq!(fit.settled(defaults.clone()).unwrap(), defaults, "{fit:?}");
            refused(fit.card.id, fit.settled(json!({ "nonsense": 1 })).unwrap_err().to_string());
        }
    }

    /// What is counted has a bound: a slip in a number does not fill the memory.
    #[test]
    fn no_setting_counts_without_a_bound() {
        // These count nothing that is held: places and layers that something begins at, and bounds that the input has, too.
        const FREE: [&str; 9] = [
            "swap.layer",
            "latent.skip",
            "ablation.from",
            "ablation-often.from",
            "rollout.whole",
            "dla.neurons",
            "pai.from",
            "early-answering.max_new",
            "early-answering.chain",
        ];
        let mut free = Vec::new();
        let mut look = |name: String, defaults: Value, make: &dyn Fn(Value) -> bool| {
            for (setting, value) in defaults.as_object().unwrap() {
                let counts = |name: &str, value: &Value| value.as_u64().is_some() && name != "seed";
                let made = |count: u64| make(json!({ setting.as_str(): count }));
                if counts(setting, value) && (made(1_000_000_000) || made(u64::MAX)) {
                    free.push(format!("{name}.{setting}"));
                }
                // Settings that stand together.
                for (own, value) in value.as_object().into_iter().flatten() {
                    let made = |count: u64| make(json!({ setting.as_str(): { own.as_str(): count } }));
                    if counts(own, value) && (made(1_000_000_000) || made(u64::MAX)) {
                        free.push(format!("{name}.{setting}.{own}"));
                    }
                }
            }
        };
        for method in METHODS {
            let make = |settings| method.make(settings).is_ok();
            look(method.card.short.to_owned(), method.defaults().unwrap(), &make);
        }
        for fit in FITS {
            let make = |settings| fit.settled(settings).is_ok();
            look(fit.card.short.to_owned(), fit.defaults().unwrap(), &make);
        }
        assert_eq!(free, FREE);
    }

    /// Every crate with a table is in the joined one, and names tell all of its rows apart.
    #[test]
    fn the_tables_of_all_crates_are_one() {
        let tables = [
            mmlens_model::METHODS,
            mmlens_data::METHODS,
            mmlens_design::METHODS,
            mmlens_training::METHODS,
            mmlens_inference::METHODS,
        ];
        assert_eq!(METHODS.len(), tables.iter().map(|table| table.len()).sum::<usize>());
        let fits = [
            mmlens_model::FITS,
            mmlens_data::FITS,
            mmlens_design::FITS,
            mmlens_training::FITS,
            mmlens_inference::FITS,
        ];
        assert_eq!(FITS.len(), fits.iter().map(|table| table.len()).sum::<usize>());
        let cards = METHODS.iter().map(|method| method.card).chain(FITS.iter().map(|fit| fit.card));
        let mut seen = BTreeSet::new();
        for card in cards {
            let names: BTreeSet<&str> = [card.id, card.short].into();
            assert!(names.into_iter().all(|name| seen.insert(name)), "{card:?}");
        }
        for tool in TOOLS {
            assert!(seen.insert(tool.id) && tool.question.ends_with('?'), "{tool:?}");
        }
        assert!(TOOLS.is_sorted_by_key(|tool| tool.leaf));
    }
}
