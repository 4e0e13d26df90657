//! Whole passes with random weights at real shapes: CLIP ViT-B/32 and SmolLM-135M's decoder.

#![allow(clippy::expect_used, reason = "a benchmark fails by panicking")]

use std::time::Duration;

use burn::tensor::{Device, Distribution, Tensor};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use mmlens::prelude::*;
use mmlens::zoo::ZooError;
use mmlens::zoo::checkpoint::WeightSource;
use mmlens::zoo::decoder::{Decoder, DecoderConfig, Sequence};
use mmlens::zoo::parts::KvCache;
use mmlens::zoo::vision::{TowerConfig, VisionTower};
use serde_json::json;

/// Small random numbers for whatever is asked.
struct Random(Device);

impl WeightSource for Random {
    fn take<const D: usize>(&mut self, _: &str, shape: [usize; D]) -> Result<Tensor<D>, ZooError> {
        Ok(Tensor::random(shape, Distribution::Normal(0.0, 0.02), &self.0))
    }

    fn has(&self, _: &str) -> bool {
        false
    }
}

fn tower(device: &Device) -> VisionTower {
    let config = json!({
        "model_type": "clip_vision_model", "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
        "num_attention_heads": 12, "patch_size": 32, "image_size": 224, "hidden_act": "quick_gelu",
    });
    let config = TowerConfig::read(&config, "", "clip_vision_model").expect("a config");
    VisionTower::take(config, &mut Random(device.clone()), "vision_model").expect("weights")
}

fn decoder(device: &Device) -> Decoder {
    let config = json!({
        "model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
        "num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49152, "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5, "tie_word_embeddings": true, "hidden_act": "silu",
    });
    let config = DecoderConfig::read(&config, "", "llama").expect("a config");
    Decoder::take(config, &mut Random(device.clone()), "model", "lm_head").expect("weights")
}

fn states(tower: &VisionTower, pixels: Tensor<4>) -> Tensor<3> {
    let states = tower.forward(pixels, &[12], &mut Run::idle()).expect("no plan");
    states.and_then(|mut states| states.pop()).expect("no early end")
}

fn step(decoder: &Decoder, ids: &[u32], cache: Option<&mut KvCache>, device: &Device) -> Tensor<3> {
    let x = decoder.embed(&[ids.to_vec()], device).expect("known tokens");
    let sequence = Sequence { pads: &[0], ..Sequence::default() };
    decoder.forward(x, sequence, cache, &mut Run::idle()).expect("no plan").expect("no early end")
}

fn models(c: &mut Criterion) {
    let device = Device::flex();
    let mut group = c.benchmark_group("models");
    group.sample_size(10).measurement_time(Duration::from_secs(3));
    let tower = tower(&device);
    for rows in [1, 8] {
        let pixels = Tensor::<4>::random([rows, 3, 224, 224], Distribution::Normal(0.0, 1.0), &device);
        group.bench_function(format!("ViT-B/32, batch {rows}"), |b| {
            b.iter(|| states(&tower, pixels.clone()).into_data());
        });
        group.bench_function(format!("ViT-B/32, batch {rows}, gradient at the pixels"), |b| {
            b.iter(|| {
                let pixels = pixels.clone().autodiff().require_grad();
                let grads = states(&tower, pixels.clone()).narrow(1, 0, 1).sum().backward();
                pixels.grad(&grads).expect("tracked").into_data()
            });
        });
    }
    let decoder = decoder(&device);
    let ids: Vec<u32> = (0..128).map(|i| i * 97 + 5).collect();
    group.bench_function("SmolLM-135M, prompt of 128", |b| {
        b.iter(|| step(&decoder, &ids, None, &device).into_data());
    });
    let prefilled = || {
        let mut cache = KvCache::default();
        step(&decoder, &ids[..16], Some(&mut cache), &device);
        cache
    };
    let eight = |mut cache: KvCache| {
        for id in 0..8 {
            step(&decoder, &[id], Some(&mut cache), &device).into_data();
        }
    };
    group.bench_function("SmolLM-135M, 8 tokens after 16", |b| {
        b.iter_batched(prefilled, eight, BatchSize::PerIteration);
    });
    group.finish();
}

criterion_group!(benches, models);
criterion_main!(benches);
