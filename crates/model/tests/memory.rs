//! What each method takes at most, counted allocation by allocation, against its budget.
//!
//! The allocator counts for the whole process: a binary of its own, and one test.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "shares of a budget are worth seeing")]

use std::num::NonZeroUsize;

use burn::tensor::Device;
use image::{DynamicImage, Rgb, RgbImage};
use mmlens_core::{
    Analysis, AnalysisError, AnyAnalysis, Baseline, Case, Given, ManyCases, Memory, Objective, On, Part,
    Picture, Plan, Sample, Selector, Subject, Target, from_fn,
};
use mmlens_engine::{Between, End, Positions};
use mmlens_model::activation_patching::{self, ActivationPatching};
use mmlens_model::attention_by_depth::AttentionByDepth;
use mmlens_model::attention_knockout::{self, AttentionKnockout, Edges};
use mmlens_model::attention_maps::AttentionMaps;
use mmlens_model::attention_rollout::{self, AttentionRollout};
use mmlens_model::attribution_patching::{self, AttributionPatching};
use mmlens_model::cka::{self, Cka};
use mmlens_model::direct_logit_attribution::{self, DirectLogitAttribution};
use mmlens_model::edge_attribution::{self, EdgeAttribution};
use mmlens_model::head_measures::HeadMeasures;
use mmlens_model::integrated_gradients::{self, IntegratedGradients};
use mmlens_model::kernel_shap::{self, KernelShap};
use mmlens_model::layer_skipping::{self, LayerSkipping};
use mmlens_model::logit_lens::{self, LogitLens};
use mmlens_model::occlusion::{self, Cover, Hide, Occlusion};
use mmlens_model::path_patching::{self, PathPatching};
use mmlens_model::smooth_grad::{self, SmoothGrad};
use mmlens_testkit::checkpoint;
use mmlens_zoo::checkpoint::SaveSettings;
use peak_alloc::PeakAlloc;
use serde_json::json;

#[path = "../../zoo/tests/support/llama.rs"]
mod llama;

use llama::Llama;

#[global_allocator]
static COUNTED: PeakAlloc = PeakAlloc;

/// What comes of something, and what it takes at most beside what is there before.
fn counted<T>(work: impl FnOnce() -> T) -> (T, u64) {
    COUNTED.reset_peak_usage();
    let before = COUNTED.current_usage();
    let done = work();
    (done, (COUNTED.peak_usage() - before) as u64)
}

/// A method, and what it is run on.
type Work = (Box<dyn AnyAnalysis>, Given);

fn work(method: impl Analysis, given: Given) -> Work {
    (Box::new(method), given)
}

fn words(letters: usize) -> String {
    "abcdefgh".chars().cycle().take(letters).collect()
}

fn about(sample: Sample) -> Case {
    Case { sample, target: Target::Objective(Objective::logit(3)) }
}

fn given(case: Case) -> Given {
    Given { case, corrupted: None, many: None }
}

/// A picture of noise.
fn painted(seed: u32, [width, height]: [u32; 2]) -> Picture {
    let colour = |x: u32, y: u32, c: u32| ((x * 37 + y * 91 + c * 53 + seed * 29) * 17 % 256) as u8;
    let image = RgbImage::from_fn(width, height, |x, y| Rgb([0, 1, 2].map(|c| colour(x, y, c))));
    Picture::new("painted", DynamicImage::from(image))
}

/// Of text: every method that does without pictures.
fn of_text(letters: usize) -> Vec<(&'static str, Work)> {
    let case = move || given(about(Sample::prompt(Vec::new(), words(letters))));
    let pair = move || case().against(Sample::prompt(Vec::new(), words(letters).replace('c', "h")));
    let path = Between::Path { steps: NonZeroUsize::new(8).unwrap() };
    vec![
        ("integrated gradients of words", {
            let along = vec![End::new("text.embed".parse().unwrap(), Baseline::Zero)];
            let settings =
                integrated_gradients::Settings { along: Some(along), steps: Some(8), ..Default::default() };
            work(IntegratedGradients::new(settings).unwrap(), case())
        }),
        ("integrated gradients in a block", {
            let along = vec![End::new("text.blocks.3.mlp.post".parse().unwrap(), Baseline::Zero)];
            let settings =
                integrated_gradients::Settings { along: Some(along), steps: Some(8), ..Default::default() };
            work(IntegratedGradients::new(settings).unwrap(), case())
        }),
        ("occlusion of words", {
            let settings = occlusion::Settings { picture: None, ..Default::default() };
            work(Occlusion::new(settings).unwrap(), case())
        }),
        ("unattended words", {
            let words = Some(Hide::Unattended);
            let settings = occlusion::Settings { picture: None, words, ..Default::default() };
            work(Occlusion::new(settings).unwrap(), case())
        }),
        ("rollout", work(AttentionRollout::default(), case())),
        ("rollout, carried", {
            let settings = attention_rollout::Settings { whole: 0, ..Default::default() };
            work(AttentionRollout::new(settings).unwrap(), case())
        }),
        ("attention maps", work(AttentionMaps::default(), case())),
        ("head measures", work(HeadMeasures::default(), case())),
        ("attention by depth", work(AttentionByDepth::default(), case())),
        ("skipping", work(LayerSkipping::new(layer_skipping::Settings::default()).unwrap(), case())),
        ("lens", work(LogitLens::new(logit_lens::Settings::default()).unwrap(), case())),
        ("patching", {
            let settings = activation_patching::Settings::default();
            work(ActivationPatching::new(settings).unwrap(), pair())
        }),
        ("knock-out", {
            let mut edges = Edges::usual(Part::Text, None);
            edges.retain(|edges| edges.name.starts_with("question"));
            let settings = attention_knockout::Settings { edges: Some(edges), ..Default::default() };
            work(AttentionKnockout::new(settings).unwrap(), case())
        }),
        ("attribution", {
            let settings = attribution_patching::Settings::default();
            work(AttributionPatching::new(settings).unwrap(), pair())
        }),
        ("attribution along a path", {
            let settings = attribution_patching::Settings { between: path, ..Default::default() };
            work(AttributionPatching::new(settings).unwrap(), pair())
        }),
        ("edges", {
            let settings = edge_attribution::Settings::default();
            work(EdgeAttribution::new(settings).unwrap(), pair())
        }),
        ("shares of words", {
            let settings = kernel_shap::Settings { picture: None, samples: 70, ..Default::default() };
            work(KernelShap::new(settings).unwrap(), case())
        }),
        (
            "direct logits",
            work(DirectLogitAttribution::new(direct_logit_attribution::Settings::default()).unwrap(), case()),
        ),
        ("shaken words", {
            let site = Some("text.embed".parse().unwrap());
            let with = json!({ "along": [{ "site": "text.embed", "baseline": "zero" }], "steps": 8 });
            let with = with.as_object().unwrap().clone();
            let settings = smooth_grad::Settings { site, with, samples: 2, ..Default::default() };
            work(SmoothGrad::new(settings).unwrap(), case())
        }),
        ("edges along a path", {
            let settings = edge_attribution::Settings { between: path, ..Default::default() };
            work(EdgeAttribution::new(settings).unwrap(), pair())
        }),
        ("similarity", {
            let settings = cka::Settings { sites: streams(), ..Default::default() };
            work(Cka::new(settings).unwrap(), texts(40, letters))
        }),
        ("similarity of positions", {
            let (rows, positions) = (cka::RowsOf::Positions, Positions::All);
            let settings = cka::Settings { sites: streams(), rows, positions, ..Default::default() };
            work(Cka::new(settings).unwrap(), texts(40, letters))
        }),
        ("similarity in batches", {
            let (rows, positions) = (cka::RowsOf::Positions, Positions::All);
            let estimator = cka::Estimator::Minibatch { batch: 100 };
            let settings =
                cka::Settings { sites: streams(), rows, positions, estimator, ..Default::default() };
            work(Cka::new(settings).unwrap(), texts(40, letters))
        }),
        ("paths", {
            let senders = Some(vec!["1.h2", "2.mlp"].into_iter().map(sender).collect());
            let settings = path_patching::Settings { senders, ..Default::default() };
            work(PathPatching::new(settings).unwrap(), pair())
        }),
    ]
}

fn streams() -> Option<Vec<Selector>> {
    Some(vec!["text.blocks.*.resid_post".parse().unwrap()])
}

/// Texts of some letters, each beginning elsewhere.
fn texts(count: usize, letters: usize) -> Given {
    let text = move |i: usize| "abcdefgh".chars().cycle().skip(i % 8).step_by(1 + i / 8 % 5).take(letters);
    let case = move |i: usize| Ok(Case::new(Sample::text(text(i).collect::<String>())));
    let many = ManyCases::over(from_fn("texts", count, case)).unwrap();
    given(about(Sample::text("abc"))).over(many)
}

fn sender(name: &str) -> mmlens_engine::Sender {
    use mmlens_engine::Sender::{Head, Mlp};
    match name {
        "1.h2" => Head { layer: 1, head: 2 },
        _ => Mlp { layer: 2 },
    }
}

/// Of a picture, for methods that go through the tower.
fn of_picture(sample: fn() -> Sample, cells: bool) -> Vec<(&'static str, Work)> {
    let case = move || given(about(sample()));
    let mut methods: Vec<(&'static str, Work)> = vec![
        ("integrated gradients of pixels", {
            let settings = integrated_gradients::Settings { steps: Some(8), ..Default::default() };
            work(IntegratedGradients::new(settings).unwrap(), case())
        }),
        ("rollout through the tower", work(AttentionRollout::default(), case())),
        ("rollout, carried through the tower", {
            let settings = attention_rollout::Settings { whole: 0, ..Default::default() };
            work(AttentionRollout::new(settings).unwrap(), case())
        }),
    ];
    if cells {
        methods.push(("occlusion of cells", {
            let picture = Some(Cover::Grid { rows: 4, cols: 4 });
            let settings = occlusion::Settings { picture, words: None, ..Default::default() };
            work(Occlusion::new(settings).unwrap(), case())
        }));
    }
    methods
}

/// Too small a budget is refused before it is broken, with what is needed; that much is enough, and kept to, and so is three
/// times as much, of which use is made.
fn keeps_its_budget(name: &str, subject: &dyn Subject, (method, given): &Work) -> Vec<String> {
    let mut faults = Vec::new();
    let mut least = 10_000;
    let (found, taken) = loop {
        let (found, taken) =
            counted(|| method.run_given(&On::new(subject).within(Memory::bytes(least)), given));
        match found {
            Err(AnalysisError::Memory { need, budget, .. }) if need > least => {
                assert_eq!(budget, least, "{name}");
                if taken > least.max(1 << 20) {
                    faults.push(format!("{name}: {taken} bytes before a budget of {least} was refused"));
                }
                least = need;
            }
            other => break (other.unwrap_or_else(|e| panic!("{name}: {e}")), taken),
        }
    };
    let share = |taken: u64, budget: u64| taken as f64 / budget as f64;
    let (tight, at_least) = (share(taken, least), taken);
    let budget = 3 * least;
    let (ample, taken) =
        counted(|| method.run_given(&On::new(subject).within(Memory::bytes(budget)), given).unwrap());
    let wide = share(taken, budget);
    let (_, unbound) = counted(|| method.run_given(&On::new(subject), given).unwrap());
    println!("{name}: at least {least}, of which {tight:.2}; of three times that {wide:.2}");
    for share in [tight, wide] {
        if share > 1.0 {
            faults.push(format!("{name}: {share:.2} of its budget"));
        }
    }
    // What is told of a run is no less than it takes, whatever the budget.
    for (budget, taken) in [(least, at_least), (budget, taken), (Memory::default().budget(), unbound)] {
        let told = method.cost(&On::new(subject).within(Memory::bytes(budget)), given).unwrap().bytes;
        println!("    {taken} of {told} told, of a budget of {budget}");
        if told < taken || told > budget {
            faults.push(format!("{name}: takes {taken} of a budget of {budget}, and {told} were told"));
        }
    }
    // A mebibyte is for what every pass takes.
    if tight < 0.3 && least > 4 << 20 {
        faults.push(format!("{name}: asks for {least} and takes {tight:.2} of it"));
    }
    // Other rows share a pass, so sums are grouped in another way.
    for (a, b) in found.tables().iter().zip(ample.tables()) {
        let pairs = a.as_numbers().unwrap_or_default().iter().zip(b.as_numbers().unwrap_or_default());
        let largest =
            // no NaN: one is found in the comparison below
            |x: &[f32]| x.iter().fold(1e-3_f32, |most, v| if v.abs() > most { v.abs() } else { most });
        let size = largest(a.as_numbers().unwrap_or_default());
        if let Some((x, y)) = pairs
            .into_iter()
            .find(|(x, y)| (*x - *y).abs().partial_cmp(&(1e-3 * size)).is_none_or(std::cmp::Ordering::is_gt))
        {
            faults.push(format!("{name} {}: {x} and {y}", a.name()));
        }
    }
    faults
}

#[test]
fn every_method_keeps_its_budget_and_makes_use_of_it() {
    let folder = tempfile::tempdir().unwrap();
    // Some 9 million weights.
    let size = Llama { width: 320, neurons: 896, layers: 6, heads: 5 };
    size.write(folder.path(), &SaveSettings::new());
    let text = mmlens_zoo::open(folder.path(), &Device::flex()).unwrap();
    let open = |name: &str| mmlens_zoo::open(checkpoint(name), &Device::flex()).unwrap();
    let (packed, tiles) = (open("qwen2.5-vl-a"), open("llava-a"));
    let packed_sample = || {
        let words = "<|vision_start|><|image_pad|><|vision_end|>abc";
        Sample::prompt(vec![painted(1, [200, 120])], words)
    };
    let tiles_sample =
        || Sample::prompt((0..12).map(|i| painted(i, [40, 30])).collect(), "<image>".repeat(12));
    let mut faults = Vec::new();
    for (subject, methods) in [
        (text.as_ref(), of_text(64)),
        (packed.as_ref(), of_picture(packed_sample, false)),
        (tiles.as_ref(), of_picture(tiles_sample, true)),
    ] {
        // Whatever is made once, such as threads, and what each of them packs matrices into: as much as its cache holds, as soon as a
        // product is large enough.
        for words in ["abc".to_owned(), "abc ".repeat(16)] {
            let some = subject.encode(&Sample::prompt(Vec::new(), words)).unwrap();
            (0..3).for_each(|_| drop(subject.run(&some, Plan::new().to_output()).unwrap()));
        }
        for (name, method) in methods {
            faults.extend(keeps_its_budget(name, subject, &method));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
