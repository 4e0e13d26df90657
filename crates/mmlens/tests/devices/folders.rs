//! The checkpoints that every device is held against.

use std::path::PathBuf;

use mmlens_testkit::fixtures;

/// Pictures, and pictures with captions.
pub(crate) const TOWERS: [&str; 3] = ["clip-a", "siglip-a", "vit-a"];

/// Words: learned positions and layer norms; rotary, grouped heads; caps, windows and norms on both sides.
pub(crate) const DECODERS: [&str; 4] = ["gpt2-a", "llama-b", "gemma2-a", "bert-a"];

/// Pictures in words: whole, in tiles, of any size and as clips, and seen through cross-attention.
pub(crate) const BOTH: [&str; 4] = ["llava-a", "smolvlm-a", "qwen2.5-vl-a", "blip-a"];

/// The traces that transformers left of a folder.
pub(crate) fn traces(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(fixtures().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut traces: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|e| e == "safetensors")).collect();
    traces.sort();
    assert!(!traces.is_empty(), "{folder}: no traces");
    traces
}
