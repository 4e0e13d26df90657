//! What long texts and many pictures take, counted allocation by allocation: memory grows with positions, not with pairs of them.
//!
//! The allocator counts for the whole process: a binary of its own, and one test.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;

use burn::tensor::Device;
use mmlens_core::{AnyTensor, Grid, Inputs, Objective, Plan, Run, Sample, Subject};
use mmlens_zoo::checkpoint::{Checkpoint, Layout, SaveSettings, Weights, read_json};
use mmlens_zoo::qwen_vl::{QwenVlConfig, QwenVlModel};
use peak_alloc::PeakAlloc;
use serde_json::{Value, json};

#[path = "support/llama.rs"]
mod llama;

use llama::Llama;

#[global_allocator]
static COUNTED: PeakAlloc = PeakAlloc;

/// What some work takes at most, beside what is there before.
fn peak(work: impl FnOnce()) -> f64 {
    COUNTED.reset_peak_usage();
    let before = COUNTED.current_usage();
    work();
    (COUNTED.peak_usage() - before) as f64
}

/// Of a text of so many words: what encoding takes, a pass, and a pass with its way back.
fn text(subject: &dyn Subject, positions: usize) -> [f64; 3] {
    let words = " ab".repeat(positions);
    let mut inputs = None;
    let encoded = peak(|| {
        let sample = Sample::prompt(Vec::new(), words.as_str());
        inputs = Some(subject.encode(&sample).unwrap());
    });
    let inputs: Inputs = inputs.unwrap();
    assert!(inputs.positions() >= positions, "{}", inputs.positions());
    let each = |bytes: f64| bytes / inputs.positions() as f64;
    let pass = peak(|| drop(subject.run(&inputs, Plan::new()).unwrap()));
    let back = peak(|| {
        let plan = Plan::new().grad("text.embed").unwrap().objective(Objective::logit(3));
        drop(subject.run(&inputs, plan).unwrap());
    });
    [encoded, pass, back].map(each)
}

/// Of so many pictures of 24 x 24 patches: what a pass of the tower takes for each.
fn pictures(model: &QwenVlModel, count: usize) -> f64 {
    let (side, values) = (24, model.config().vision.values());
    let patches = count * side * side;
    let noise = (0..patches * values).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect();
    let pixels = AnyTensor::from_values(noise, &[patches, values], &Device::flex()).unwrap();
    let grids = vec![Grid { frames: 1, rows: side, cols: side, seconds: None }; count];
    let pixels = pixels.rank_of("pixels").unwrap();
    peak(|| drop(model.vision.forward(pixels, &grids, &mut Run::idle()).unwrap())) / count as f64
}

#[test]
fn memory_grows_with_the_positions() {
    let folder = tempfile::tempdir().unwrap();
    let size = Llama { width: 64, neurons: 128, layers: 1, heads: 1 };
    size.write(folder.path(), &SaveSettings::new());
    let file = folder.path().join("config.json");
    let mut config: Value = read_json(&file).unwrap();
    config["max_position_embeddings"] = json!(1 << 20);
    std::fs::write(&file, config.to_string()).unwrap();
    let subject = mmlens_zoo::open(folder.path(), &Device::flex()).unwrap();
    text(subject.as_ref(), 100); // Whatever is made once, such as threads.
    let (few, many) = (text(subject.as_ref(), 4000), text(subject.as_ref(), 32_000));
    println!("bytes for each position: {few:?}, {many:?}");
    // Eight times the positions take eight times the memory. One byte for a pair would be 4000 and 32,000 for each position more.
    for (few, many) in few.iter().zip(many) {
        assert!(many < 1.1 * few + 500.0, "{many} bytes for each of many positions, {few} for each of few");
    }
    // The stream, queries, keys and values, and the gated MLP: 4 * 64 + 3 * 128 numbers of 4 bytes are 2560; twice that for what
    // lies beside, and once more for the way back.
    assert!(many[1] < 6000.0 && many[2] < 12_000.0, "{many:?}");

    for name in ["qwen2-vl-a", "qwen2.5-vl-a", "qwen3-vl-a"] {
        let folder =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../oracles/fixtures").join(name).join("model");
        let config = QwenVlConfig::read(&read_json(folder.join("config.json")).unwrap()).unwrap();
        let checkpoint = Checkpoint::open(&folder).unwrap();
        let weights =
            Weights::new(&checkpoint, &Device::flex()).layout(Layout::QWEN_VL).ignore(&["lm_head.weight"]);
        let model = weights.build(|weights| QwenVlModel::take(config.clone(), weights)).unwrap();
        pictures(&model, 1);
        let (one, eight) = (pictures(&model, 1), pictures(&model, 8));
        println!("{name}: {one} bytes for a picture, {eight} for each of eight");
        // A byte for a pair of patches would be 2.6 MB more for each of eight.
        assert!(eight < 1.1 * one, "{name}: {one} bytes for a picture, {eight} for each of eight");
    }
}
