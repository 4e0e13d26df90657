//! Equality with transformers at every site its traces hold, on tiny checkpoints with awkward shapes.
//!
//! `identities` and `options` hold for every folder: what must be the same between runs, and configs that say something else.
//!
//! One test per checkpoint folder; every trace file in it is a case. Bounds: largest absolute error over largest
//! absolute value at most 1e-4 (activations) and 1e-3 (gradients), one to two orders above the error of f32 itself
//! as measured by `oracles/make_traces.py`; ids and greedy tokens exact.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod every;
mod identities;
mod options;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use mmlens_core::{
    AxisName, Clip, Generation, Inputs, Objective, Picture, Plan, Sample, Sampling, Site, SiteSpec, Subject,
    Words,
};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../oracles/fixtures")
}

struct Reference {
    about: Value,
    floats: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    ids: BTreeMap<String, (Vec<usize>, Vec<i64>)>,
}

fn reference(path: &Path) -> Reference {
    let bytes = std::fs::read(path).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let about = header.metadata().as_ref().unwrap().get("about").unwrap();
    let (mut floats, mut ids) = (BTreeMap::new(), BTreeMap::new());
    for (name, view) in SafeTensors::deserialize(&bytes).unwrap().tensors() {
        let shape = view.shape().to_vec();
        match view.dtype() {
            Dtype::F32 => {
                let values =
                    view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
                floats.insert(name, (shape, values));
            }
            Dtype::I64 => {
                let values =
                    view.data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect();
                ids.insert(name, (shape, values));
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    Reference { about: serde_json::from_str(about).unwrap(), floats, ids }
}

fn picture(name: &Value) -> Picture {
    Picture::open(fixtures().join(format!("pictures/{}.png", name.as_str().unwrap()))).unwrap()
}

fn sample(row: &Value) -> Sample {
    let list = |name: &str| row.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |name: &str| row.get(name).and_then(Value::as_str).map(str::to_owned);
    let words = match (text("ask"), text("prompt"), row.get("texts")) {
        (Some(ask), ..) => Words::Ask(ask),
        (_, Some(prompt), _) => Words::Prompt(prompt),
        (_, _, Some(texts)) => Words::Texts(serde_json::from_value(texts.clone()).unwrap()),
        _ => Words::Nothing,
    };
    let mut sample = Sample::new(list("images").iter().map(picture).collect(), words);
    sample.clips = list("videos")
        .iter()
        .enumerate()
        .map(|(i, frames)| Clip {
            name: format!("clip {i}"),
            frames: frames.as_array().unwrap().iter().map(|f| picture(f).image).collect(),
            fps: row.get("fps").and_then(Value::as_f64),
        })
        .collect();
    sample
}

/// Entries that stand for something: not at padded positions, not masked scores.
fn counts(
    spec: Option<&SiteSpec>,
    shape: &[usize],
    index: usize,
    (pads, tails): (&[usize], &[usize]),
    reference: f32,
) -> bool {
    let Some(spec) = spec else { return true };
    let (mut rest, mut place) = (index, vec![0; shape.len()]);
    for (axis, len) in shape.iter().enumerate().rev() {
        place[axis] = rest % len;
        rest /= len;
    }
    let row = spec.axis(AxisName::Batch).map_or(0, |axis| place[axis]);
    let padded = |axis| {
        spec.axis(axis).is_some_and(|a| {
            spec.axis(AxisName::Batch).is_some()
                && (place[a] < pads[row] || place[a] + tails[row] >= shape[a] && tails[row] > 0)
        })
    };
    reference > -1e30 && ![AxisName::Pos, AxisName::Query, AxisName::Key].into_iter().any(padded)
}

fn check(
    name: &str,
    ours: &[f32],
    theirs: &(Vec<usize>, Vec<f32>),
    spec: Option<&SiteSpec>,
    padding: (&[usize], &[usize]),
    bound: f32,
) {
    assert_eq!(ours.len(), theirs.1.len(), "{name}: shape {:?}", theirs.0);
    let (mut error, mut largest) = (0.0_f32, 0.0_f32);
    for (i, (a, b)) in ours.iter().zip(&theirs.1).enumerate() {
        if counts(spec, &theirs.0, i, padding, *b) {
            assert!(a.is_finite(), "{name}: {a} at {i}");
            error = error.max((a - b).abs());
            largest = largest.max(b.abs());
        }
    }
    assert!(error <= bound * largest, "{name}: off by {error:e} of {largest:e}");
}

fn case(subject: &dyn Subject, path: &Path) {
    let name = path.file_stem().unwrap().to_string_lossy().into_owned();
    let reference = reference(path);
    let samples: Vec<Sample> = reference.about["rows"].as_array().unwrap().iter().map(sample).collect();
    let singles: Vec<Inputs> = samples.iter().map(|s| subject.encode(s).unwrap()).collect();
    let inputs = Inputs::batch(&singles, subject.pad()).unwrap().ask_all();

    let (shape, ids) = &reference.ids["input_ids"];
    assert_eq!(shape, &[inputs.rows(), inputs.positions()], "{name}: input_ids");
    for (row, ours) in inputs.ids.iter().enumerate() {
        let theirs = &ids[row * shape[1]..(row + 1) * shape[1]];
        let real = |p: usize| p >= inputs.pads[row] && p + inputs.tails[row] < shape[1];
        assert!(
            ours.iter().zip(theirs).enumerate().all(|(p, (a, b))| !real(p) || i64::from(*a) == *b),
            "{name}: input_ids"
        );
    }
    if let Some(theirs) = reference.floats.get("pixel_values") {
        check(
            "pixel_values",
            &inputs.pixels.as_ref().unwrap().to_values().unwrap(),
            theirs,
            None,
            (&[], &[]),
            1e-6,
        );
    }

    let specs: BTreeMap<String, &SiteSpec> =
        subject.sites().iter().map(|s| (s.site.to_string(), s)).collect();
    let targets = &reference.ids["target"].1;
    let alike = targets.iter().all(|t| *t == targets[0]);
    // What is differentiated: the logit of a token, or of the first picture and a text.
    let mut plan = Plan::new().objective(match reference.floats.contains_key("logits_per_image") {
        true => Objective::Pair { image: 0, text: targets[0] as usize },
        false => Objective::logit(targets[0] as u32),
    });
    for key in reference.floats.keys() {
        match key.strip_prefix("grad.") {
            Some(site) if alike => plan = plan.grad(site).unwrap(),
            None if specs.contains_key(key.as_str()) => plan = plan.read(key.as_str()).unwrap(),
            _ => {}
        }
    }
    let trace = subject.run(&inputs, plan).unwrap();
    let mut compared = 0;
    for (key, theirs) in &reference.floats {
        let site = key.strip_prefix("grad.").unwrap_or(key);
        let place = || site.parse::<Site>().unwrap();
        let (ours, bound) = match key.as_str() {
            "pixel_values" => continue,
            "second_per_grid_ts" => {
                let ours: Vec<f32> = inputs.grids.iter().filter_map(|g| Some(g.seconds? as f32)).collect();
                assert_eq!(ours, theirs.1, "{name}: {key}");
                continue;
            }
            "logits" => (trace.output().logits.clone().unwrap(), 1e-4),
            "image_embeds" => (trace.output().pairs.clone().unwrap().images, 1e-4),
            "text_embeds" => (trace.output().pairs.clone().unwrap().texts, 1e-4),
            "logits_per_image" => (trace.output().pairs.clone().unwrap().logits, 1e-4),
            key if key.starts_with("grad.") && !alike => continue,
            key if key.starts_with("grad.") => (trace.grad(place()).unwrap().clone(), 1e-3),
            _ => (trace.get(place()).unwrap().clone(), 1e-4),
        };
        assert_eq!(ours.dims(), theirs.0, "{name}: {key}");
        let mut ours = ours.to_values().unwrap();
        // Where a tower attends within windows, transformers has no pattern outside of them, and so no gradient.
        if let Some((_, pattern)) = reference.floats.get(site).filter(|_| key.starts_with("grad.vision"))
            && site.ends_with("attn.pattern")
        {
            ours.iter_mut().zip(pattern).filter(|(_, seen)| **seen == 0.0).for_each(|(ours, _)| *ours = 0.0);
        }
        check(
            &format!("{name}: {key}"),
            &ours,
            theirs,
            specs.get(site).copied(),
            (&inputs.pads, &inputs.tails),
            bound,
        );
        compared += 1;
    }
    assert!(compared >= 3, "{name}: only {compared} values compared");

    let Some((shape, theirs)) = reference.ids.get("generated") else { return };
    let how = Generation {
        max_new: reference.about["generate"].as_u64().unwrap() as usize,
        sampling: Sampling::Greedy,
        stop_at_end: true,
    };
    let generated = subject.generate(&inputs, &how).unwrap();
    for (row, ours) in generated.iter().enumerate() {
        let theirs = &theirs[row * shape[1]..(row + 1) * shape[1]];
        let ours: Vec<i64> = ours.tokens.iter().map(|t| i64::from(*t)).collect();
        assert_eq!(ours, theirs[..ours.len()], "{name}: generated");
        assert!(
            theirs[ours.len()..].iter().all(|t| *t == i64::from(subject.pad()) || ours.len() == shape[1]),
            "{name}"
        );
    }
}

fn folder(name: &str) {
    let dir = fixtures().join(name);
    let subject = mmlens_zoo::open(dir.join("model"), &Device::flex()).unwrap();
    let mut cases: Vec<PathBuf> = std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path()).collect();
    cases.retain(|p| p.extension().is_some_and(|e| e == "safetensors"));
    cases.sort();
    assert!(!cases.is_empty(), "{}: no traces", dir.display());
    cases.iter().for_each(|path| case(subject.as_ref(), path));
}

/// One test for each checkpoint.
macro_rules! checkpoints {
    ($($test:ident $folder:literal)*) => { $(
        #[test]
        fn $test() {
            folder($folder);
        }
    )* };
}

checkpoints! {
    llava_a_grouped_heads_and_biases "llava-a"
    llava_b_shards_in_bf16_with_tied_embeddings "llava-b"
    llava_multi_reads_two_feature_layers "llava-multi"
    llava_old_layout_in_f16 "llava-old"
    llava_next_a_pictures_in_tiles "llava-next-a"
    llava_next_old_layout_in_bf16 "llava-next-old"
    smolvlm_a_tiles_with_fractional_positions "smolvlm-a"
    smolvlm_old_sparse_config_in_f16 "smolvlm-old"
    idefics3_a_shuffles_by_three_in_bf16_shards "idefics3-a"
    clip_a_ends_at_its_first_end_token "clip-a"
    clip_b_ends_at_its_largest_token_in_bf16_shards "clip-b"
    clip_old_layout_in_f16 "clip-old"
    siglip_a_pools_by_attention "siglip-a"
    siglip_2_has_another_tokenizer_in_bf16_shards "siglip-2"
    siglip_old_layout_in_f16 "siglip-old"
    qwen2_vl_uneven_sections_and_one_key_head "qwen2-vl-a"
    qwen2_vl_old_layout_in_bf16_shards "qwen2-vl-old"
    qwen2_5_vl_windows_in_two_blocks_of_three "qwen2.5-vl-a"
    qwen2_5_vl_old_layout_in_bf16_shards "qwen2.5-vl-old"
    qwen3_vl_two_injections_in_three_blocks "qwen3-vl-a"
    qwen3_vl_mergers_in_another_order_in_bf16_shards "qwen3-vl-b"
    gpt2_a_scores_divided_by_block "gpt2-a"
    gpt2_old_hub_names_and_a_sparse_config "gpt2-old"
    llama_a_tied_bare_names_in_bf16 "llama-a"
    llama_b_scaled_rotary_in_bf16_shards "llama-b"
    mistral_a_window_in_f16 "mistral-a"
    mistral_b_without_a_window "mistral-b"
    qwen2_a_windows_by_block "qwen2-a"
    qwen3_a_norms_of_heads_in_f16 "qwen3-a"
    gemma2_a_capped_with_windows "gemma2-a"
    gemma2_b_uncapped_in_f16 "gemma2-b"
}
