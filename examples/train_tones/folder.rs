//! The checkpoint folder, laid out as Hugging Face lays out a Qwen2-Audio.

use std::path::Path;

use anyhow::Result;
use mmlens::files::write;
use mmlens::prelude::AnyTensor;
use mmlens::zoo::checkpoint::{HostTensor, SaveSettings, save_checkpoint};
use mmlens::zoo::qwen2_audio::Qwen2AudioConfig;
use serde_json::{Value, json};

use super::training::{Params, Words, is_helper, tokenizer, write_json};
use super::vocabulary::{ASSISTANT, AUDIO, AUDIO_BEGIN, AUDIO_END, BEGIN, END, PAD, SPECIAL, UNKNOWN, USER};

const TEMPLATE: &str = "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}<user>\
{% if message['content'] is string %}{{ message['content'] }}{% else %}\
{% for part in message['content'] if part['type'] == 'audio' %}<|audio_bos|><|AUDIO|><|audio_eos|>{% endfor %}\
{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}{% endif %}\
{% else %}<assistant>{% if message['content'] is string %}{{ message['content'] }}{% else %}\
{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}{% endif %}{{ eos_token }}{% endif %}\
{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}";

/// `config.json`.
pub(crate) fn config(words: &Words) -> Value {
    json!({
        "architectures": ["Qwen2AudioForConditionalGeneration"],
        "model_type": "qwen2_audio",
        "dtype": "float32",
        "audio_token_index": AUDIO,
        "audio_config": {
            "model_type": "qwen2_audio_encoder",
            "activation_function": "relu",
            "d_model": 96,
            "encoder_attention_heads": 4,
            "encoder_ffn_dim": 256,
            "encoder_layers": 3,
            "max_source_positions": 150,
            "num_mel_bins": 80,
            "scale_embedding": false
        },
        "text_config": {
            "architectures": ["Qwen2ForCausalLM"],
            "model_type": "qwen2",
            "bos_token_id": BEGIN,
            "eos_token_id": END,
            "pad_token_id": PAD,
            "hidden_act": "relu",
            "hidden_size": 128,
            "intermediate_size": 192,
            "max_position_embeddings": 256,
            "num_attention_heads": 4,
            "num_hidden_layers": 3,
            "num_key_value_heads": 2,
            "rms_norm_eps": 1e-5,
            "rope_parameters": { "rope_theta": 1000.0, "rope_type": "default" },
            "tie_word_embeddings": false,
            "use_sliding_window": false,
            "vocab_size": words.len()
        },
        "tie_word_embeddings": false
    })
}

/// The config as the zoo reads it.
pub(crate) fn parsed(words: &Words) -> Result<Qwen2AudioConfig> {
    Ok(Qwen2AudioConfig::read(&config(words))?)
}

/// Everything but the weights.
pub(crate) fn write_texts(folder: &Path, words: &Words) -> Result<()> {
    let special = |id: u32| SPECIAL[id as usize];
    let more = [AUDIO, AUDIO_BEGIN, AUDIO_END, USER, ASSISTANT].map(special);
    let files = [
        ("config.json", config(words)),
        ("tokenizer.json", tokenizer(words, special(BEGIN), None)),
        (
            "tokenizer_config.json",
            json!({
                "tokenizer_class": "PreTrainedTokenizerFast",
                "bos_token": special(BEGIN), "eos_token": special(END),
                "pad_token": special(PAD), "unk_token": special(UNKNOWN),
                "audio_token": special(AUDIO), "audio_bos_token": special(AUDIO_BEGIN),
                "audio_eos_token": special(AUDIO_END),
                "additional_special_tokens": more,
                "model_max_length": 256, "padding_side": "left", "clean_up_tokenization_spaces": false
            }),
        ),
        (
            "preprocessor_config.json",
            json!({
                "chunk_length": 3, "dither": 0.0, "feature_extractor_type": "WhisperFeatureExtractor",
                "feature_size": 80, "hop_length": 160, "n_fft": 400, "n_samples": 48000, "nb_max_frames": 300,
                "padding_side": "right", "padding_value": 0.0, "processor_class": "Qwen2AudioProcessor",
                "return_attention_mask": true, "sampling_rate": 16000
            }),
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
    Ok(save_checkpoint(folder, tensors, &SaveSettings::new())?)
}
