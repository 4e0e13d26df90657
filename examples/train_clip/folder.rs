//! The checkpoint folder, laid out as Hugging Face lays out a CLIP.

use std::path::Path;

use anyhow::Result;
use mmlens::prelude::AnyTensor;
use mmlens::zoo::ClipConfig;
use mmlens::zoo::checkpoint::{HostTensor, SaveSettings, StoredFloat, save_checkpoint};
use serde_json::{Value, json};

use super::training::{Params, Words, is_helper, preprocessor, tokenizer, write_json};

const PAD: u32 = 0;
pub(crate) const BEGIN: u32 = 1;
pub(crate) const UNKNOWN: u32 = 2;
/// Not 2: configs that say 2 mean the largest id of a text.
pub(crate) const END: u32 = 3;

/// Special tokens, by id.
pub(crate) const SPECIAL: [&str; 4] = ["<pad>", "<s>", "<unk>", "</s>"];

/// Tokens of the longest text, with room beyond four objects in full detail (21).
const POSITIONS: usize = 32;

/// `config.json`.
fn config(words: &Words) -> Value {
    json!({
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "dtype": "float32",
        "logit_scale_init_value": 2.6592,
        "projection_dim": 96,
        "text_config": {
            "model_type": "clip_text_model",
            "bos_token_id": BEGIN,
            "eos_token_id": END,
            "pad_token_id": PAD,
            "hidden_act": "relu",
            "hidden_size": 96,
            "intermediate_size": 256,
            "layer_norm_eps": 1e-5,
            "max_position_embeddings": POSITIONS,
            "num_attention_heads": 4,
            "num_hidden_layers": 3,
            "projection_dim": 96,
            "vocab_size": words.len()
        },
        "vision_config": {
            "model_type": "clip_vision_model",
            "hidden_act": "relu",
            "hidden_size": 96,
            "image_size": 64,
            "intermediate_size": 256,
            "layer_norm_eps": 1e-5,
            "num_attention_heads": 4,
            "num_channels": 3,
            "num_hidden_layers": 4,
            "patch_size": 8,
            "projection_dim": 96
        }
    })
}

/// The config as the zoo reads it.
pub(crate) fn parsed(words: &Words) -> Result<ClipConfig> {
    Ok(ClipConfig::read(&config(words))?)
}

/// Everything but the weights.
pub(crate) fn write_texts(folder: &Path, words: &Words) -> Result<()> {
    let [pad, begin, unknown, end] = SPECIAL;
    let files = [
        ("config.json", config(words)),
        ("tokenizer.json", tokenizer(words, begin, Some(end))),
        (
            "tokenizer_config.json",
            json!({ "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": begin, "eos_token": end, "pad_token": pad,
                    "unk_token": unknown, "model_max_length": POSITIONS, "clean_up_tokenization_spaces": false }),
        ),
        ("preprocessor_config.json", preprocessor()),
        ("processor_config.json", json!({ "processor_class": "CLIPProcessor" })),
    ];
    files.into_iter().try_for_each(|(name, value)| write_json(folder, name, &value))
}

/// A checkpoint of its own, in bfloat16.
pub(crate) fn keep(folder: &Path, step: usize, params: &Params, words: &Words) -> Result<()> {
    let folder = folder.join("kept").join(format!("{step:06}"));
    write_texts(&folder, words)?;
    write(&folder, params, &SaveSettings::new().dtype(StoredFloat::Bf16))
}

/// `model.safetensors`, the helper left out.
pub(crate) fn write_weights(folder: &Path, params: &Params) -> Result<()> {
    write(folder, params, &SaveSettings::new())
}

fn write(folder: &Path, params: &Params, how: &SaveSettings) -> Result<()> {
    let mut tensors = Vec::new();
    for (name, (shape, weight)) in params.iter().filter(|(name, _)| !is_helper(name)) {
        let values = AnyTensor::new(weight.clone()).to_values()?;
        // The one weight without axes.
        let shape = if name == "logit_scale" { Vec::new() } else { shape.clone() };
        tensors.push((name.clone(), HostTensor::new(name, shape, values)?));
    }
    Ok(save_checkpoint(folder, tensors, how)?)
}
