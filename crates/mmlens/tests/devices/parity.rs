//! Equality with transformers at every site its traces hold, gradients and greedy tokens with them.

use burn::tensor::Device;
use mmlens::zoo::certify::certify;
use mmlens_testkit::{checkpoint, fixtures};

/// Pictures, and pictures with captions.
pub(crate) const TOWERS: [&str; 3] = ["clip-a", "siglip-a", "vit-a"];

/// Words: learned positions and layer norms; rotary, grouped heads; caps, windows and norms on both sides.
pub(crate) const DECODERS: [&str; 4] = ["gpt2-a", "llama-b", "gemma2-a", "bert-a"];

/// Pictures in words: whole, in tiles, of any size and as clips, and seen through cross-attention.
pub(crate) const BOTH: [&str; 4] = ["llava-a", "smolvlm-a", "qwen2.5-vl-a", "blip-a"];

/// Every trace of some folders, within the bounds that hold on the CPU.
pub(crate) fn holds(device: &Device, folders: &[&str]) {
    for folder in folders {
        let subject =
            mmlens::zoo::open(checkpoint(folder), device).unwrap_or_else(|e| panic!("{folder}: {e}"));
        let entries = std::fs::read_dir(fixtures().join(folder)).unwrap().map(|entry| entry.unwrap().path());
        let mut traces: Vec<_> =
            entries.filter(|path| path.extension().is_some_and(|e| e == "safetensors")).collect();
        traces.sort();
        assert!(!traces.is_empty(), "{folder}: no traces");
        for trace in traces {
            let found = certify(subject.as_ref(), &trace, &fixtures().join("pictures")).unwrap();
            let differ: Vec<_> = found.compared.iter().filter(|c| !c.passed).collect();
            assert!(found.passed(), "{}: {differ:#?}", trace.display());
            assert!(found.compared.len() > 3, "{}: little compared", trace.display());
        }
    }
}
