//! Families of models: what was checked of each against transformers, and what is known not to work.
//!
//! What was checked is counted by `cargo run --release --example check_models`, which holds every fixture against its traces
//! and writes `checked.json`; `docs/models.md` is made from that file.

use serde::{Deserialize, Serialize};

use crate::ZooError;
use crate::checkpoint::parse_json;

/// A family of models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// What it is called.
    pub name: &'static str,
    /// The `model_type`s of its configs.
    pub model_types: &'static [&'static str],
    /// What is known not to work, each refused by name.
    pub limits: &'static [&'static str],
}

const SHARED: &str = "quantised weights";

/// Every family.
pub const FAMILIES: &[Family] = &[
    Family {
        name: "LLaVA 1.5",
        model_types: &["llava"],
        limits: &[
            SHARED,
            "towers other than CLIP's and SigLIP's at the size their positions were learned for",
        ],
    },
    Family {
        name: "LLaVA-NeXT",
        model_types: &["llava_next"],
        limits: &[SHARED, "feature strategies that leave a tile more than its patches"],
    },
    Family {
        name: "Idefics3, SmolVLM",
        model_types: &["idefics3", "smolvlm"],
        limits: &[SHARED, "clips", "pictures of more than 256 tiles"],
    },
    Family {
        name: "Qwen2-VL, Qwen2.5-VL, Qwen3-VL",
        model_types: &["qwen2_vl", "qwen2_5_vl", "qwen3_vl"],
        limits: &[SHARED, "mixtures of experts"],
    },
    Family {
        name: "CLIP, SigLIP",
        model_types: &["clip", "siglip"],
        limits: &[
            SHARED,
            "SigLIP 2 at flexible resolution",
            "towers without their head",
            "interpolated positions",
        ],
    },
    Family {
        name: "ViT",
        model_types: &["vit"],
        limits: &[SHARED, "the bare body without a classifier", "masked pictures", "interpolated positions"],
    },
    Family {
        name: "BERT",
        model_types: &["bert"],
        limits: &[SHARED, "BERT as a decoder", "relative positions", "heads for other tasks"],
    },
    Family {
        name: "BLIP",
        model_types: &["blip"],
        limits: &[SHARED, "the bare `BlipModel`", "pictures of another size"],
    },
    Family {
        name: "Whisper",
        model_types: &["whisper"],
        limits: &[
            SHARED,
            "sounds longer than what they are padded to",
            "times that the model is made to write",
            "languages that are guessed",
            "classifiers of sound",
        ],
    },
    Family {
        name: "Qwen2-Audio",
        model_types: &["qwen2_audio"],
        limits: &[SHARED, "sounds longer than what they are padded to", "sounds of less than three frames"],
    },
    Family {
        name: "LLaMA, SmolLM",
        model_types: &["llama"],
        limits: &[SHARED, "rotary settings by kind of layer"],
    },
    Family { name: "Mistral", model_types: &["mistral"], limits: &[SHARED] },
    Family {
        name: "Qwen2, Qwen2.5, Qwen3",
        model_types: &["qwen2", "qwen3"],
        limits: &[SHARED, "mixtures of experts"],
    },
    Family { name: "Gemma 2", model_types: &["gemma2"], limits: &[SHARED, "bidirectional attention"] },
    Family { name: "GPT-2", model_types: &["gpt2"], limits: &[SHARED, "cross-attention"] },
];

/// The family of a `model_type`.
#[must_use]
pub fn family(model_type: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|family| family.model_types.contains(&model_type))
}

/// What was checked of a family, against transformers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checked {
    /// What the family is called.
    pub family: String,
    /// The `model_type`s of its configs.
    pub model_types: Vec<String>,
    /// The checkpoints, all tiny and random.
    pub fixtures: Vec<String>,
    /// Passes that were compared, over all checkpoints.
    pub traces: usize,
    /// Different sites that were compared, blocks not told apart.
    pub sites: usize,
    /// The largest error of an activation, over the largest value of its site.
    pub activations: Largest,
    /// The same of gradients.
    pub gradients: Largest,
    /// Greedy tokens that were compared, all equal.
    pub tokens: usize,
    /// What is known not to work.
    pub limits: Vec<String>,
}

/// The largest of many errors.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Largest {
    /// How large, to two digits.
    pub error: f64,
    /// Where: the checkpoint and the site.
    pub at: String,
}

/// What was checked of every family.
///
/// # Errors
/// None in a build whose tests pass.
pub fn checked() -> Result<Vec<Checked>, ZooError> {
    Ok(parse_json("checked.json", include_bytes!("checked.json"))?)
}

/// What was checked of the family of a `model_type`, if anything was.
///
/// # Errors
/// None in a build whose tests pass.
pub fn checked_of(model_type: &str) -> Result<Option<Checked>, ZooError> {
    Ok(checked()?.into_iter().find(|checked| checked.model_types.iter().any(|own| own == model_type)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_checked_was_within_its_bounds() {
        let all = checked().unwrap();
        assert!(all.len() >= 11);
        for one in all {
            let family = FAMILIES.iter().find(|family| family.name == one.family).unwrap();
            assert_eq!(one.model_types, family.model_types);
            assert_eq!(one.limits, family.limits);
            assert!(!one.fixtures.is_empty() && one.traces >= one.fixtures.len() && one.sites > 0);
            assert!(one.activations.error <= 1e-4 && one.gradients.error <= 1e-3, "{one:?}");
        }
    }
}
