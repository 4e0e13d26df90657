//! A LLaMA of any size, for tests of memory: weights by rule, the tokenizer of a fixture.

use std::path::Path;

use mmlens_zoo::checkpoint::{HostTensor, SaveSettings, save_safetensors};
use serde_json::{Value, json};

/// How large; heads are 64 wide.
pub(crate) struct Llama {
    pub(crate) width: usize,
    pub(crate) neurons: usize,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
}

impl Llama {
    /// Writes the folder of one. Says how many bytes its weights have in f32.
    pub(crate) fn write(&self, folder: &Path, settings: &SaveSettings) -> f64 {
        let &Self { width, neurons, layers, heads } = self;
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../oracles/fixtures/llama-b/model");
        for name in ["tokenizer.json", "tokenizer_config.json"] {
            std::fs::copy(from.join(name), folder.join(name)).unwrap();
        }
        let mut config: Value =
            serde_json::from_slice(&std::fs::read(from.join("config.json")).unwrap()).unwrap();
        let vocab = config["vocab_size"].as_u64().unwrap() as usize;
        for (field, value) in [
            ("hidden_size", json!(width)),
            ("intermediate_size", json!(neurons)),
            ("num_hidden_layers", json!(layers)),
            ("num_attention_heads", json!(heads)),
            ("num_key_value_heads", json!(heads)),
            ("head_dim", json!(64)),
            ("attention_bias", json!(false)),
            ("mlp_bias", json!(false)),
            ("tie_word_embeddings", json!(true)),
            ("max_position_embeddings", json!(512)),
        ] {
            config[field] = value;
        }
        std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
        let mut shapes = vec![
            ("model.embed_tokens.weight".to_owned(), vec![vocab, width]),
            ("model.norm.weight".to_owned(), vec![width]),
        ];
        for layer in 0..layers {
            let mut add = |name: &str, shape: &[usize]| {
                shapes.push((format!("model.layers.{layer}.{name}.weight"), shape.to_vec()));
            };
            for norm in ["input_layernorm", "post_attention_layernorm"] {
                add(norm, &[width]);
            }
            for product in ["q_proj", "k_proj", "v_proj", "o_proj"] {
                add(&format!("self_attn.{product}"), &[width, width]);
            }
            add("mlp.gate_proj", &[neurons, width]);
            add("mlp.up_proj", &[neurons, width]);
            add("mlp.down_proj", &[width, neurons]);
        }
        let mut bytes = 0.0;
        let tensors = shapes.into_iter().map(|(name, shape)| {
            let count: usize = shape.iter().product();
            bytes += 4.0 * count as f64;
            let values = (0..count).map(|i| (i * 37 % 101) as f32 / 1500.0 - 0.03).collect();
            let tensor = HostTensor::new(&name, shape, values).unwrap();
            (name, tensor)
        });
        let file = folder.join("model.safetensors");
        save_safetensors(file, tensors.collect::<Vec<_>>(), settings).unwrap();
        bytes
    }
}
