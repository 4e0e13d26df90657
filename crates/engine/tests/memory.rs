//! What a sweep takes at most, counted allocation by allocation, against its budget.
//!
//! The allocator counts for the whole process: a binary of its own, and one test.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::num::NonZeroUsize;
use std::path::Path;

use burn::tensor::Device;
use mmlens_core::finding::{Axis, Role};
use mmlens_core::{Ask, Inputs, Objective, Part, Picture, Plan, Point, Sample, Site, Subject, Unwatched};
use mmlens_engine::{Demand, Edit, Memory, Metric, Progress, Sweep};
use mmlens_testkit::{checkpoint, picture};
use mmlens_zoo::checkpoint::{HostTensor, SaveSettings, save_safetensors};
use peak_alloc::PeakAlloc;
use serde_json::{Value, json};

#[global_allocator]
static COUNTED: PeakAlloc = PeakAlloc;

/// A LLaMA of some 9 million weights, with the tokenizer of a fixture.
fn middling(folder: &Path) {
    const WIDTH: usize = 320;
    const NEURONS: usize = 896;
    let from = checkpoint("llama-b");
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(from.join(name), folder.join(name)).unwrap();
    }
    let mut config: Value =
        serde_json::from_slice(&std::fs::read(from.join("config.json")).unwrap()).unwrap();
    let vocab = config["vocab_size"].as_u64().unwrap() as usize;
    for (field, value) in [
        ("hidden_size", json!(WIDTH)),
        ("intermediate_size", json!(NEURONS)),
        ("num_hidden_layers", json!(6)),
        ("num_attention_heads", json!(5)),
        ("num_key_value_heads", json!(5)),
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
        ("model.embed_tokens.weight".to_owned(), vec![vocab, WIDTH]),
        ("model.norm.weight".to_owned(), vec![WIDTH]),
    ];
    for layer in 0..6 {
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
    let tensors = shapes.into_iter().map(|(name, shape)| {
        let values =
            (0..shape.iter().product()).map(|i: usize| (i * 37 % 101) as f32 / 1500.0 - 0.03).collect();
        let tensor = HostTensor::new(&name, shape, values).unwrap();
        (name, tensor)
    });
    let file = folder.join("model.safetensors");
    save_safetensors(file, tensors.collect::<Vec<_>>(), &SaveSettings::new()).unwrap();
}

/// What a sweep of some variants takes at most, beside what is there before.
fn peak(subject: &dyn Subject, inputs: &Inputs, sweep: &Sweep, memory: &Memory) -> f64 {
    COUNTED.reset_peak_usage();
    let before = COUNTED.current_usage();
    let mut progress = Progress::new(&Unwatched, "sweep", sweep.len());
    sweep.run(subject, inputs, memory, &mut progress).unwrap();
    (COUNTED.peak_usage() - before) as f64
}

#[test]
fn a_sweep_keeps_within_its_budget_and_makes_use_of_it() {
    let folder = tempfile::tempdir().unwrap();
    middling(folder.path());
    let open = |path: &Path| mmlens_zoo::open(path, &Device::flex()).unwrap();
    let (middling, small) = (open(folder.path()), open(&checkpoint("llava-a")));
    let text = |letters: usize| "abcdefgh".repeat(letters).chars().take(letters).collect::<String>();
    let long = middling.encode(&Sample::prompt(Vec::new(), text(96))).unwrap();
    let shown = vec![Picture::open(picture("square")).unwrap()];
    let seen = small.encode(&Sample::prompt(shown, format!("<image>{}", text(40)))).unwrap();
    let at = |part, point| Site::block(part, 0, point);
    let logit = || Metric::from(Objective::logit(3));
    let all = || Metric::Divergence { at: Ask::Last };
    let plain = Demand::default();
    let cases: [(&str, &dyn Subject, &Inputs, Edit, Metric, Demand); 6] = [
        (
            "stream",
            middling.as_ref(),
            &long,
            Edit::zero(at(Part::Text, Point::ResidPre)).positions([3]),
            logit(),
            plain,
        ),
        ("head", middling.as_ref(), &long, Edit::zero(at(Part::Text, Point::Z)).heads([1]), all(), plain),
        (
            "scores",
            middling.as_ref(),
            &long,
            Edit::cut(at(Part::Text, Point::Scores), vec![9], vec![1, 2]),
            logit(),
            Demand { scores: true, ..plain },
        ),
        (
            "what each head writes",
            middling.as_ref(),
            &long,
            Edit::zero(at(Part::Text, Point::Result)).heads([2]),
            logit(),
            Demand { heads: 1, ..plain },
        ),
        ("small", small.as_ref(), &seen, Edit::zero(at(Part::Text, Point::Z)).heads([1]), all(), plain),
        (
            "small tower",
            small.as_ref(),
            &seen,
            Edit::zero(at(Part::Vision, Point::Z)).heads([1]),
            logit(),
            Demand { pictures: true, ..plain },
        ),
    ];
    for (name, subject, inputs, edit, metric, demand) in cases {
        subject.run(inputs, Plan::new()).unwrap(); // Whatever is made once, such as threads.
        let rows_in = |bytes: f64| {
            Memory::bytes(bytes as u64).at_most(NonZeroUsize::MAX).rows(subject, inputs, demand).get()
        };
        // What one variant is said to need: a budget over the variants that it holds.
        let ample = 2_f64.powi(40);
        let each = ample / rows_in(ample) as f64;
        let budget = 16.0 * each;
        let bounded = Memory::bytes(budget as u64).at_most(NonZeroUsize::new(1000).unwrap());
        let sweep = Sweep::over(vec![Axis::count(Role::Sample, 40)], |_| vec![edit.clone()]).measure(metric);
        let share = peak(subject, inputs, &sweep, &bounded) / budget;
        // More would break the promise. Much less would waste what was given: the estimate counts everything that attention
        // or an MLP computes as if it were there at once, of which the kernels hold a half to two thirds; scores and copies
        // for every head are counted for all that could be done with them.
        let least = if demand == plain { 0.4 } else { 0.25 };
        assert!((least..=1.0).contains(&share), "{name}: {share} of a budget of {budget} bytes");
    }
}
