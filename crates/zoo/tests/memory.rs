//! Memory while a checkpoint is opened, measured in a process of its own.
#![cfg(test)]
#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::Command;

use burn::tensor::Device;
use mmlens_zoo::checkpoint::{HostTensor, SaveSettings, StoredFloat, save_safetensors};
use serde_json::{Value, json};

const FOLDER: &str = "MMLENS_TEST_FOLDER";
const RISE: &str = "it rose by ";
const LAYERS: usize = 12;
const WIDTH: usize = 512;
const NEURONS: usize = 2048;

/// A LLaMA of 50 million weights in bf16, with the tokenizer of a fixture. Says how many bytes its weights have in f32.
fn checkpoint(folder: &Path) -> f64 {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../oracles/fixtures/llama-b/model");
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(from.join(name), folder.join(name)).unwrap();
    }
    let mut config: Value =
        serde_json::from_slice(&std::fs::read(from.join("config.json")).unwrap()).unwrap();
    let vocab = config["vocab_size"].as_u64().unwrap() as usize;
    for (field, value) in [
        ("hidden_size", json!(WIDTH)),
        ("intermediate_size", json!(NEURONS)),
        ("num_hidden_layers", json!(LAYERS)),
        ("num_attention_heads", json!(8)),
        ("num_key_value_heads", json!(8)),
        ("head_dim", json!(64)),
        ("attention_bias", json!(false)),
        ("mlp_bias", json!(false)),
        ("tie_word_embeddings", json!(true)),
    ] {
        config[field] = value;
    }
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let mut shapes = vec![
        ("model.embed_tokens.weight".to_owned(), vec![vocab, WIDTH]),
        ("model.norm.weight".to_owned(), vec![WIDTH]),
    ];
    for layer in 0..LAYERS {
        let mut add = |name: &str, shape: &[usize]| {
            shapes.push((format!("model.layers.{layer}.{name}.weight"), shape.to_vec()));
        };
        for norm in ["input_layernorm", "post_attention_layernorm"] {
            add(norm, &[WIDTH]);
        }
        for product in ["q_proj", "k_proj", "v_proj", "o_proj"] {
            add(&format!("self_attn.{product}"), &[WIDTH, WIDTH]);
        }
        add("mlp.gate_proj", &[NEURONS, WIDTH]);
        add("mlp.up_proj", &[NEURONS, WIDTH]);
        add("mlp.down_proj", &[WIDTH, NEURONS]);
    }
    let mut bytes = 0.0;
    let tensors = shapes.into_iter().map(|(name, shape)| {
        let count: usize = shape.iter().product();
        bytes += 4.0 * count as f64;
        let values = (0..count).map(|i| (i * 37 % 101) as f32 / 2000.0 - 0.025).collect();
        let tensor = HostTensor::new(&name, shape, values).unwrap();
        (name, tensor)
    });
    let settings = SaveSettings::new().dtype(StoredFloat::Bf16);
    save_safetensors(folder.join("model.safetensors"), tensors.collect::<Vec<_>>(), &settings).unwrap();
    bytes
}

/// The most memory this process had at one time, mapped files included.
fn peak() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0
}

/// What is run in a process of its own, by the test below; nothing by itself.
#[test]
fn opens_and_says_its_peak() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let before = peak();
    let subject = mmlens_zoo::open(folder, &Device::flex()).unwrap();
    println!("{RISE}{} bytes for {}", peak() - before, subject.name());
}

/// Widened to f32, with the self-check: the weights in f32 and 15 % at most.
#[test]
fn bf16_weights_are_never_held_twice() {
    let folder = tempfile::tempdir().unwrap();
    let weights = checkpoint(folder.path());
    let said = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "opens_and_says_its_peak", "--nocapture", "--test-threads", "1"])
        .env(FOLDER, folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    let words = said.split_once(RISE).and_then(|(_, rest)| rest.split(' ').next()?.parse::<f64>().ok());
    let rise = words.unwrap_or_else(|| panic!("{said}"));
    assert!(rise > 0.9 * weights, "the weights are not in memory: {rise} of {weights} bytes");
    assert!(rise < 1.15 * weights, "{rise} bytes at most, for {weights} of weights");
}
