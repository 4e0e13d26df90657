//! The same numbers as captum and torch, on one checkpoint and one question.
//!
//! Bounds are relative to the largest absolute value. Attributions and drops are differences of nearly equal
//! logits and sums of gradients: 1e-3. Shares and single logits keep more digits: 1e-5 and 1e-4. Ids are equal.

use mmlens_core::finding::{Labels, Tolerance};
use mmlens_core::{Analysis, Baseline, Case, Memory, Objective, On, Pair, Seed, Subject, Target};
use mmlens_engine::{End, Rule};
use mmlens_model::activation_patching::{self, ActivationPatching};
use mmlens_model::integrated_gradients::{self, IntegratedGradients};
use mmlens_model::kernel_shap::{self, KernelShap};
use mmlens_model::occlusion::{self, Cover, Each, Hide, Occlusion};
use mmlens_model::smooth_grad::{self, SmoothGrad};
use mmlens_model::{AttentionRollout, LogitLens, attention_rollout, logit_lens};
use mmlens_testkit::{Array, Oracle};

use crate::support::{llava, numbers, question, scalar, shown, site};

const ATTRIBUTION: Tolerance = Tolerance::relative(1e-3);
const LOGIT: Tolerance = Tolerance::relative(1e-4);
const SHARE: Tolerance = Tolerance::relative(1e-5);

/// Compares and prints the gap, for the pages of the methods.
fn agree(tolerance: Tolerance, what: &str, found: &[f32], wanted: &[f64]) {
    let gap = tolerance.check(what, found, wanted).unwrap();
    println!("{what}: {:.2e}", gap.relative);
}

fn scaled(array: &Array, by: f64) -> Vec<f64> {
    array.values.iter().map(|v| v * by).collect()
}

#[test]
fn the_question_is_the_same() {
    let (subject, oracle) = (llava("llava-a"), Oracle::open("methods/question").unwrap());
    let (inputs, objective) = question().open(subject).unwrap();
    assert_eq!(inputs.ids[0], oracle.array("input_ids").unwrap().ids());
    assert_eq!(objective.token().unwrap(), oracle.array("target").unwrap().ids()[0]);
    let pixels = inputs.seen.values.as_ref().unwrap().to_values().unwrap();
    agree(Tolerance::relative(1e-6), "pixels", &pixels, &oracle.array("pixel_values").unwrap().values);
    assert_eq!(oracle.about()["prompt"], "<image>Red?");
}

#[test]
fn integrated_gradients_of_pixels() {
    let oracle = Oracle::open("methods/integrated-gradients").unwrap();
    let steps = oracle.about()["steps"].as_u64().unwrap() as usize;
    let n = steps as f64;
    let rules = [
        (Rule::GaussLegendre, "gausslegendre", 1.0),
        (Rule::Midpoint, "riemann_middle", 1.0),
        // captum's weights sum to (n - 1) / n.
        (Rule::Trapezoid, "riemann_trapezoid", n / (n - 1.0)),
    ];
    for (rule, name, scale) in rules {
        for (node, (at, weight)) in rule.nodes(steps).iter().zip(
            oracle
                .array(&format!("{name}.alphas"))
                .unwrap()
                .values
                .iter()
                .zip(&oracle.array(&format!("{name}.weights")).unwrap().values),
        ) {
            assert!(
                (node.at - at).abs() < 1e-7 && (node.weight - weight * scale).abs() < 1e-7,
                "{rule}: {node:?} {at} {weight}"
            );
        }
        let along = Some(vec![End::new(site("vision.pixels"), Baseline::Zero)]);
        let settings =
            integrated_gradients::Settings { along, rule, steps: Some(steps), ..Default::default() };
        let found = IntegratedGradients::new(settings).unwrap().run(llava("llava-a"), &question()).unwrap();
        let wanted = scaled(oracle.array(&format!("{name}.vision.pixels")).unwrap(), scale);
        agree(
            ATTRIBUTION,
            &format!("integrated gradients, {rule}"),
            numbers(&found, "vision.pixels"),
            &wanted,
        );
        let pair = [scalar(&found, "objective"), scalar(&found, "objective at baseline")];
        let ends = ["objective", "objective_at_baseline"].map(|end| oracle.array(end).unwrap().values[0]);
        agree(LOGIT, "both ends", &pair, &ends);
    }
}

#[test]
fn integrated_gradients_of_pixels_and_words_together() {
    let oracle = Oracle::open("methods/integrated-gradients-joint").unwrap();
    let steps = oracle.about()["steps"].as_u64().unwrap() as usize;
    for (rule, name) in [(Rule::GaussLegendre, "gausslegendre"), (Rule::Midpoint, "riemann_middle")] {
        let along = ["vision.pixels", "text.embed"].map(|name| End::new(site(name), Baseline::Zero)).to_vec();
        let settings = integrated_gradients::Settings {
            along: Some(along),
            rule,
            steps: Some(steps),
            rows: 5,
            ..Default::default()
        };
        let found = IntegratedGradients::new(settings).unwrap().run(llava("llava-a"), &question()).unwrap();
        for place in ["vision.pixels", "text.embed"] {
            let wanted = &oracle.array(&format!("{name}.{place}")).unwrap().values;
            agree(ATTRIBUTION, &format!("jointly, {rule}, {place}"), numbers(&found, place), wanted);
        }
        let pair = [scalar(&found, "objective"), scalar(&found, "objective at baseline")];
        let ends = ["objective", "objective_at_baseline"].map(|end| oracle.array(end).unwrap().values[0]);
        agree(LOGIT, "both ends", &pair, &ends);
    }
}

#[test]
fn occlusion_of_cells() {
    let oracle = Oracle::open("methods/occlusion").unwrap();
    for rows in [1, 7, 64] {
        let picture = Some(Cover::Grid { rows: 5, cols: 5 });
        let settings =
            occlusion::Settings { picture, words: None, rows, pixels: Baseline::Zero, ..Default::default() };
        let found = Occlusion::new(settings).unwrap().run(llava("llava-a"), &question()).unwrap();
        agree(ATTRIBUTION, "cells", numbers(&found, "picture"), &oracle.array("cells").unwrap().values);
    }
}

#[test]
fn occlusion_of_overlapping_windows() {
    let oracle = Oracle::open("methods/occlusion").unwrap();
    let cover = Cover::Sliding { window: [12, 9], stride: [6, 5] };
    let settings = occlusion::Settings {
        picture: Some(cover),
        words: None,
        pixels: Baseline::Zero,
        ..Default::default()
    };
    let found = Occlusion::new(settings).unwrap().run(llava("llava-a"), &question()).unwrap();
    let windows = mmlens_engine::Windows::sliding([30, 30], [12, 9], [6, 5]);
    let [rows, cols] = windows.cells();
    let table = found.table("picture").unwrap();
    assert_eq!(table.shape(), [rows.len(), cols.len()]);
    // every pixel has the value of the cell it lies in
    let mut pixels = vec![f32::NAN; 30 * 30];
    for (r, down) in rows.iter().enumerate() {
        for (c, across) in cols.iter().enumerate() {
            for (y, x) in down.clone().flat_map(|y| across.clone().map(move |x| (y, x))) {
                pixels[y * 30 + x] = table.get(&[r, c]).unwrap();
            }
        }
    }
    agree(ATTRIBUTION, "overlapping windows", &pixels, &oracle.array("overlapping").unwrap().values);
    let table = found.table("windows").unwrap();
    let names = |axis: usize| -> Vec<String> {
        (0..table.shape()[axis]).map(|i| table.axes()[axis].label(i).unwrap()).collect()
    };
    // 12 pixels of 30, 6 apart, and 9, 5 apart: the last is cut by the edge
    assert_eq!(names(0), ["0–12", "6–18", "12–24", "18–30"]);
    assert_eq!(names(1), ["0–9", "5–14", "10–19", "15–24", "20–29", "25–30"]);
}

/// Every coalition of four cells and three words of another picture.
#[test]
fn kernel_shap_of_cells_and_words() {
    let oracle = Oracle::open("methods/kernel-shap").unwrap();
    let wanted = |name: &str| oracle.array(name).unwrap().values.clone();
    let objective = Objective::logit(oracle.array("target").unwrap().ids()[0]);
    let sample = shown(&["wide"], oracle.about()["prompt"].as_str().unwrap());
    let case = Case { sample, target: Target::Objective(objective) };
    let settings = kernel_shap::Settings {
        picture: Some(Cover::Grid { rows: 2, cols: 2 }),
        pixels: Baseline::Zero,
        words: Some(Hide::Replace(Baseline::Zero)),
        each: Each::Token,
        samples: 126,
        ..Default::default()
    };
    let found = KernelShap::new(settings).unwrap().run(llava("llava-a"), &case).unwrap();
    agree(ATTRIBUTION, "shares of cells", numbers(&found, "picture"), &wanted("cells"));
    agree(ATTRIBUTION, "shares of words", numbers(&found, "tokens"), &wanted("words"));
    agree(ATTRIBUTION, "by modality", numbers(&found, "by modality"), &wanted("by_modality"));
    let ends = [scalar(&found, "objective"), scalar(&found, "objective of nothing")];
    agree(LOGIT, "both ends", &ends, &[wanted("objective"), wanted("objective_of_nothing")].concat());
    assert!(numbers(&found, "picture error").iter().all(|error| *error == 0.0));
    assert!(found.provenance.seed.is_none());
    let inputs = llava("llava-a").encode(&case.sample).unwrap();
    let axis = &found.table("tokens").unwrap().axes()[0];
    for (place, position) in wanted("positions").into_iter().enumerate() {
        assert_eq!(axis.label(place).as_ref(), Some(&inputs.map().tokens[position as usize].text));
    }
}

/// The noise is drawn in Python as it is here.
#[test]
fn smooth_grad_of_pixels() {
    let oracle = Oracle::open("methods/smooth-grad").unwrap();
    let about = |name: &str| oracle.about()[name].clone();
    let objective = Objective::logit(oracle.array("target").unwrap().ids()[0]);
    let sample = shown(&["tall"], about("prompt").as_str().unwrap());
    let with = serde_json::json!({
        "along": [{ "site": "vision.pixels", "baseline": "zero" }],
        "steps": about("steps"),
        "rows": 3,
    });
    let settings = smooth_grad::Settings {
        with: with.as_object().unwrap().clone(),
        samples: about("samples").as_u64().unwrap() as usize,
        noise: about("noise").as_f64().unwrap(),
        seed: Seed(about("seed").as_u64().unwrap()),
        ..Default::default()
    };
    let case = Case { sample, target: Target::Objective(objective) };
    let found = SmoothGrad::new(settings).unwrap().run(llava("llava-a"), &case).unwrap();
    let wanted = |name: &str| oracle.array(name).unwrap().values.clone();
    agree(SHARE, "sigma", &[scalar(&found, "sigma")], &wanted("sigma"));
    agree(ATTRIBUTION, "mean", numbers(&found, "vision.pixels/picture"), &wanted("mean"));
    let deviation = numbers(&found, "vision.pixels/picture deviation");
    agree(ATTRIBUTION, "deviation", deviation, &wanted("deviation"));
}

#[test]
fn rollout_of_tower_and_language_model() {
    let (subject, oracle) = (llava("llava-a"), Oracle::open("methods/rollout").unwrap());
    let found = AttentionRollout::default().run(subject, &question()).unwrap();
    agree(SHARE, "text", numbers(&found, "text"), &oracle.array("text").unwrap().values);
    agree(
        SHARE,
        "vision, as far as it is read",
        numbers(&found, "vision"),
        &oracle.array("vision.read").unwrap().values,
    );
    // all blocks of the tower, also the one that nothing reads
    let sites: Vec<_> = (0..4).map(|i| site(&format!("vision.blocks.{i}.attn.pattern"))).collect();
    let inputs = subject.encode(&question().sample).unwrap();
    let mixing =
        mmlens_engine::Mixing { heads: mmlens_engine::Heads::Mean, residual: 0.5, without: Vec::new() };
    let settings = mmlens_engine::FlowSettings { mixing, whole: 100, memory: Memory::default(), method: "x" };
    let whole = mmlens_engine::Flow::through(subject, &inputs, sites, settings).unwrap();
    agree(SHARE, "vision", whole.matrix(0).unwrap(), &oracle.array("vision").unwrap().values);
    // the decoder's last row on image positions, times the tower's rows of these positions
    let (text, vision) =
        (&oracle.array("text").unwrap().values, &oracle.array("vision.read").unwrap().values);
    let last = &text[29 * 30..];
    let inputs = subject.encode(&question().sample).unwrap();
    let places = inputs.map().picture(0);
    let wanted: Vec<f64> = (0..26)
        .map(|key| places.iter().enumerate().map(|(i, p)| last[*p] * vision[(i + 1) * 26 + key]).sum())
        .collect();
    agree(SHARE, "through the tower", numbers(&found, "picture through the tower"), &wanted[1..]);
    assert!((f64::from(scalar(&found, "outside the patches")) - wanted[0]).abs() < 1e-6);
    // Of many positions the product is not made: what is read off it is carried through the layers, by states that are few.
    for memory in [Memory::default(), Memory::bytes(3_000_000)] {
        let settings = attention_rollout::Settings { whole: 0, ..Default::default() };
        let carried = AttentionRollout::new(settings)
            .unwrap()
            .run_on(&On::new(subject).within(memory), &question())
            .unwrap();
        assert!(carried.table("text").is_err() && carried.table("vision").is_err());
        agree(SHARE, "carried", numbers(&carried, "tokens"), last);
        agree(SHARE, "carried", numbers(&carried, "picture through the tower"), &wanted[1..]);
    }
}

/// Sinks by NumPy, and what is left of the rollout without them, whether the product is made or shares are carried.
#[test]
fn rollout_without_sinks() {
    let (subject, oracle) = (llava("llava-a"), Oracle::open("methods/rollout-sinks").unwrap());
    let above = oracle.about()["above"].as_f64().unwrap() as f32;
    let sinks = attention_rollout::Sinks::LeaveOut;
    let run = |whole| {
        let settings = attention_rollout::Settings { sinks, above, whole, ..Default::default() };
        AttentionRollout::new(settings).unwrap().run(subject, &question()).unwrap()
    };
    let (found, carried) = (run(100), run(0));
    let shares = &oracle.array("sinks").unwrap().values;
    agree(Tolerance::EXACT, "sinks", numbers(&found, "sinks"), shares);
    let out = shares.iter().filter(|share| **share > 0.5).count();
    assert!(out > 0 && out < shares.len() / 2, "{out} of {} are sinks", shares.len());
    let text = &oracle.array("text").unwrap().values;
    agree(SHARE, "text", numbers(&found, "text"), text);
    for found in [&found, &carried] {
        agree(SHARE, "tokens", numbers(found, "tokens"), &text[29 * 30..]);
    }
    // Sinks of the language model say nothing of the tower.
    let kept = AttentionRollout::default().run(subject, &question()).unwrap();
    assert_eq!(numbers(&found, "vision"), numbers(&kept, "vision"));
}

#[test]
fn logit_lens_everywhere() {
    let (subject, oracle) = (llava("llava-a"), Oracle::open("methods/logit-lens").unwrap());
    let settings = logit_lens::Settings { rows: 7, ..Default::default() };
    let found = LogitLens::new(settings).unwrap().run(subject, &question()).unwrap();
    let ids = oracle.array("ids").unwrap();
    let words: Vec<String> = ids.ids().iter().map(|id| subject.token(*id)).collect();
    assert_eq!(found.table("words").unwrap().as_texts().unwrap(), words);
    assert_eq!(found.table("words").unwrap().shape(), ids.dims);
    agree(
        LOGIT,
        "log-probabilities",
        numbers(&found, "log probabilities"),
        &oracle.array("log_probabilities").unwrap().values,
    );
    agree(LOGIT, "entropy", numbers(&found, "entropy"), &oracle.array("entropy").unwrap().values);
    agree(LOGIT, "divergence", numbers(&found, "divergence"), &oracle.array("kl_to_last").unwrap().values);
    agree(
        Tolerance::EXACT,
        "rank of the target",
        numbers(&found, "target rank"),
        &oracle.array("target_rank").unwrap().values,
    );
}

fn patching(name: &str, corrupted: mmlens_core::Sample) {
    let (subject, oracle) = (llava("llava-a"), Oracle::open(&format!("methods/patching-{name}")).unwrap());
    assert_eq!(
        subject.encode(&corrupted).unwrap().ids[0],
        oracle.array("corrupted.input_ids").unwrap().ids()
    );
    let (target, other) = (oracle.array("target").unwrap().ids()[0], oracle.array("other").unwrap().ids()[0]);
    let objectives = [
        ("target_logit", Objective::logit(target)),
        ("logit_difference", Objective::logit_difference(target, other)),
    ];
    for (key, objective) in objectives {
        let clean = Case { target: Target::Objective(objective), ..question() };
        let pair = Pair { clean, corrupted: corrupted.clone() };
        let settings = activation_patching::Settings { rows: 13, ..Default::default() };
        let found = ActivationPatching::new(settings).unwrap().run(subject, &pair).unwrap();
        let wanted = |key: String| oracle.array(&key).unwrap().values.clone();
        let (clean, corrupted) = (wanted(format!("clean.{key}"))[0], wanted(format!("corrupted.{key}"))[0]);
        agree(LOGIT, "clean", &[scalar(&found, "clean")], &[clean]);
        agree(LOGIT, "corrupted", &[scalar(&found, "corrupted")], &[corrupted]);
        let patched = wanted(key.to_owned());
        agree(LOGIT, &format!("{name}, {key}"), numbers(&found, "resid_pre/patched"), &patched);
        let recovered: Vec<f64> = patched.iter().map(|p| (p - corrupted) / (clean - corrupted)).collect();
        agree(ATTRIBUTION, &format!("{name}, {key}, recovered"), numbers(&found, "resid_pre"), &recovered);
    }
}

#[test]
fn patching_from_another_picture() {
    patching("picture", shown(&["tall"], "<image>Red?"));
}

#[test]
fn patching_from_another_question() {
    patching("question", shown(&["square"], "<image>Big?"));
}

#[test]
fn heat_maps_lie_on_the_original_picture() {
    let found =
        IntegratedGradients::new(integrated_gradients::Settings { steps: Some(1), ..Default::default() })
            .unwrap()
            .run(llava("llava-a"), &question())
            .unwrap();
    let table = found.table("vision.pixels/picture").unwrap();
    let inputs = llava("llava-a").encode(&question().sample).unwrap();
    let view = &inputs.map().views[0];
    for (axis, spans) in table.axes().iter().zip([&view.rows, &view.cols]) {
        assert_eq!(axis.labels, Labels::Spans { image: 0, spans: spans.clone(), heard: None });
    }
}
