//! The checkpoint folder, laid out as Hugging Face lays out a LLaVA.

use std::path::Path;

use anyhow::Result;
use mmlens::files::write;
use mmlens::prelude::AnyTensor;
use mmlens::zoo::LlavaConfig;
use mmlens::zoo::checkpoint::{HostTensor, SaveSettings, save_checkpoint};
use serde_json::{Value, json};

use super::training::{Params, Words, is_helper, preprocessor, tokenizer, write_json};
use super::vocabulary::{ASSISTANT, BEGIN, END, IMAGE, PAD, SPECIAL, UNKNOWN};

const TEMPLATE: &str = "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}<user>\
{% if message['content'] is string %}{{ message['content'] }}{% else %}\
{% for part in message['content'] if part['type'] == 'image' %}<image>{% endfor %}\
{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}{% endif %}\
{% else %}<assistant>{% if message['content'] is string %}{{ message['content'] }}{% else %}\
{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}{% endif %}{{ eos_token }}{% endif %}\
{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}";

/// `config.json`.
pub(crate) fn config(words: &Words) -> Value {
    json!({
        "architectures": ["LlavaForConditionalGeneration"],
        "model_type": "llava",
        "dtype": "float32",
        "image_seq_length": 64,
        "image_token_index": IMAGE,
        "multimodal_projector_bias": true,
        "pad_token_id": PAD,
        "projector_hidden_act": "relu",
        "text_config": {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "attention_bias": false,
            "bos_token_id": BEGIN,
            "eos_token_id": END,
            "pad_token_id": PAD,
            "head_dim": 32,
            "hidden_act": "relu",
            "hidden_size": 128,
            "intermediate_size": 256,
            "max_position_embeddings": 256,
            "mlp_bias": false,
            "num_attention_heads": 4,
            "num_hidden_layers": 4,
            "num_key_value_heads": 2,
            "rms_norm_eps": 1e-5,
            "rope_parameters": { "rope_theta": 1000.0, "rope_type": "default" },
            "tie_word_embeddings": false,
            "vocab_size": words.len()
        },
        "tie_word_embeddings": false,
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
        },
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "default"
    })
}

/// The config as the zoo reads it.
pub(crate) fn parsed(words: &Words) -> Result<LlavaConfig> {
    Ok(serde_json::from_value(config(words))?)
}

/// Everything but the weights.
pub(crate) fn write_texts(folder: &Path, words: &Words) -> Result<()> {
    let files = [
        ("config.json", config(words)),
        ("tokenizer.json", tokenizer(words, SPECIAL[BEGIN as usize], None)),
        (
            "tokenizer_config.json",
            json!({
                "tokenizer_class": "PreTrainedTokenizerFast",
                "bos_token": SPECIAL[BEGIN as usize], "eos_token": SPECIAL[END as usize],
                "pad_token": SPECIAL[PAD as usize], "unk_token": SPECIAL[UNKNOWN as usize],
                "image_token": SPECIAL[IMAGE as usize],
                "additional_special_tokens":
                    [SPECIAL[IMAGE as usize], SPECIAL[IMAGE as usize + 1], SPECIAL[ASSISTANT as usize]],
                "model_max_length": 256, "padding_side": "left", "clean_up_tokenization_spaces": false
            }),
        ),
        ("preprocessor_config.json", preprocessor()),
        (
            "processor_config.json",
            json!({ "image_token": SPECIAL[IMAGE as usize], "num_additional_image_tokens": 1, "patch_size": 8,
                    "processor_class": "LlavaProcessor", "vision_feature_select_strategy": "default" }),
        ),
        (
            "generation_config.json",
            json!({ "bos_token_id": BEGIN, "eos_token_id": END, "pad_token_id": PAD }),
        ),
    ];
    for (name, value) in files {
        write_json(folder, name, &value)?;
    }
    Ok(write(folder.join("chat_template.jinja"), TEMPLATE)?)
}

/// `model.safetensors`, helpers left out.
pub(crate) fn write_weights(folder: &Path, params: &Params) -> Result<()> {
    let mut tensors = Vec::new();
    for (name, (shape, weight)) in params.iter().filter(|(name, _)| !is_helper(name)) {
        let values = AnyTensor::new(weight.clone()).to_values()?;
        tensors.push((name.clone(), HostTensor::new(name, shape.clone(), values)?));
    }
    // Read by LLaVA nowhere, but part of the tower's published layout.
    let wide = params
        .get("model.vision_tower.embeddings.class_embedding")
        .map_or(0, |(shape, _)| shape.iter().product());
    for (end, value) in [("weight", 1.0_f32), ("bias", 0.0)] {
        let name = format!("model.vision_tower.post_layernorm.{end}");
        let tensor = HostTensor::new(&name, vec![wide], vec![value; wide])?;
        tensors.push((name, tensor));
    }
    Ok(save_checkpoint(folder, tensors, &SaveSettings::new())?)
}
