//! What each method takes at most, counted allocation by allocation, against its budget.
//!
//! The allocator counts for the whole process: a binary of its own, and one test.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "shares of a budget are worth seeing")]

use std::num::NonZeroUsize;

use burn::tensor::Device;
use image::{DynamicImage, Rgb, RgbImage};
use mmlens_core::finding::Finding;
use mmlens_core::{
    Analysis, AnalysisError, Baseline, Case, ManyCases, Memory, Objective, On, Pair, Picture, Plan, Sample,
    Selector, Subject, Target, from_fn,
};
use mmlens_engine::{Between, End, Positions};
use mmlens_model::activation_patching::{self, ActivationPatching};
use mmlens_model::attention_knockout::{self, AttentionKnockout};
use mmlens_model::attention_rollout::{self, AttentionRollout};
use mmlens_model::attribution_patching::{self, AttributionPatching};
use mmlens_model::cka::{self, Cka};
use mmlens_model::edge_attribution::{self, EdgeAttribution};
use mmlens_model::integrated_gradients::{self, IntegratedGradients};
use mmlens_model::logit_lens::{self, LogitLens};
use mmlens_model::occlusion::{self, Cover, Hide, Occlusion};
use mmlens_model::path_patching::{self, PathPatching};
use mmlens_testkit::checkpoint;
use mmlens_zoo::checkpoint::SaveSettings;
use peak_alloc::PeakAlloc;

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

type Method = Box<dyn Fn(&dyn Subject, Memory) -> Result<Finding, AnalysisError>>;

fn words(letters: usize) -> String {
    "abcdefgh".chars().cycle().take(letters).collect()
}

fn about(sample: Sample) -> Case {
    Case { sample, target: Target::Objective(Objective::logit(3)) }
}

/// A picture of noise.
fn painted(seed: u32, [width, height]: [u32; 2]) -> Picture {
    let colour = |x: u32, y: u32, c: u32| ((x * 37 + y * 91 + c * 53 + seed * 29) * 17 % 256) as u8;
    let image = RgbImage::from_fn(width, height, |x, y| Rgb([0, 1, 2].map(|c| colour(x, y, c))));
    Picture::new("painted", DynamicImage::from(image))
}

/// Of text: every method that does without pictures.
fn of_text(letters: usize) -> Vec<(&'static str, Method)> {
    let case = move || about(Sample::prompt(Vec::new(), words(letters)));
    let pair = move || {
        let other = words(letters).replace('c', "h");
        Pair { clean: case(), corrupted: Sample::prompt(Vec::new(), other) }
    };
    let path = Between::Path { steps: NonZeroUsize::new(8).unwrap() };
    vec![
        (
            "integrated gradients of words",
            Box::new(move |subject, memory| {
                let along = vec![End::new("text.embed".parse()?, Baseline::Zero)];
                let settings = integrated_gradients::Settings {
                    along: Some(along),
                    steps: Some(8),
                    ..Default::default()
                };
                IntegratedGradients::new(settings)?.run_on(&On::new(subject).within(memory), &case())
            }),
        ),
        (
            "integrated gradients in a block",
            Box::new(move |subject, memory| {
                let along = vec![End::new("text.blocks.3.mlp.post".parse()?, Baseline::Zero)];
                let settings = integrated_gradients::Settings {
                    along: Some(along),
                    steps: Some(8),
                    ..Default::default()
                };
                IntegratedGradients::new(settings)?.run_on(&On::new(subject).within(memory), &case())
            }),
        ),
        (
            "occlusion of words",
            Box::new(move |subject, memory| {
                let settings = occlusion::Settings { picture: None, ..Default::default() };
                Occlusion::new(settings)?.run_on(&On::new(subject).within(memory), &case())
            }),
        ),
        (
            "unattended words",
            Box::new(move |subject, memory| {
                let words = Some(Hide::Unattended);
                let settings = occlusion::Settings { picture: None, words, ..Default::default() };
                Occlusion::new(settings)?.run_on(&On::new(subject).within(memory), &case())
            }),
        ),
        (
            "rollout",
            Box::new(move |subject, memory| {
                AttentionRollout::default().run_on(&On::new(subject).within(memory), &case())
            }),
        ),
        (
            "rollout, carried",
            Box::new(move |subject, memory| {
                let settings = attention_rollout::Settings { whole: 0, ..Default::default() };
                AttentionRollout::new(settings)?.run_on(&On::new(subject).within(memory), &case())
            }),
        ),
        (
            "lens",
            Box::new(move |subject, memory| {
                LogitLens::new(logit_lens::Settings::default())?
                    .run_on(&On::new(subject).within(memory), &case())
            }),
        ),
        (
            "patching",
            Box::new(move |subject, memory| {
                let settings = activation_patching::Settings::default();
                ActivationPatching::new(settings)?.run_on(&On::new(subject).within(memory), &pair())
            }),
        ),
        (
            "knock-out",
            Box::new(move |subject, memory| {
                let mut settings = attention_knockout::Settings::default();
                settings.edges.retain(|edges| edges.name.starts_with("question"));
                AttentionKnockout::new(settings)?.run_on(&On::new(subject).within(memory), &case())
            }),
        ),
        (
            "attribution",
            Box::new(move |subject, memory| {
                let settings = attribution_patching::Settings::default();
                AttributionPatching::new(settings)?.run_on(&On::new(subject).within(memory), &pair())
            }),
        ),
        (
            "attribution along a path",
            Box::new(move |subject, memory| {
                let settings = attribution_patching::Settings { between: path, ..Default::default() };
                AttributionPatching::new(settings)?.run_on(&On::new(subject).within(memory), &pair())
            }),
        ),
        (
            "edges",
            Box::new(move |subject, memory| {
                let settings = edge_attribution::Settings::default();
                EdgeAttribution::new(settings)?.run_on(&On::new(subject).within(memory), &pair())
            }),
        ),
        (
            "edges along a path",
            Box::new(move |subject, memory| {
                let settings = edge_attribution::Settings { between: path, ..Default::default() };
                EdgeAttribution::new(settings)?.run_on(&On::new(subject).within(memory), &pair())
            }),
        ),
        (
            "similarity",
            Box::new(move |subject, memory| {
                let settings = cka::Settings { sites: streams(), ..Default::default() };
                Cka::new(settings)?.run_on(&On::new(subject).within(memory), &texts(40, letters))
            }),
        ),
        (
            "similarity of positions",
            Box::new(move |subject, memory| {
                let (rows, positions) = (cka::RowsOf::Positions, Positions::All);
                let settings = cka::Settings { sites: streams(), rows, positions, ..Default::default() };
                Cka::new(settings)?.run_on(&On::new(subject).within(memory), &texts(40, letters))
            }),
        ),
        (
            "similarity in batches",
            Box::new(move |subject, memory| {
                let (rows, positions) = (cka::RowsOf::Positions, Positions::All);
                let estimator = cka::Estimator::Minibatch { batch: 100 };
                let settings =
                    cka::Settings { sites: streams(), rows, positions, estimator, ..Default::default() };
                Cka::new(settings)?.run_on(&On::new(subject).within(memory), &texts(40, letters))
            }),
        ),
        (
            "paths",
            Box::new(move |subject, memory| {
                let senders = Some(vec!["1.h2", "2.mlp"].into_iter().map(sender).collect());
                let settings = path_patching::Settings { senders, ..Default::default() };
                PathPatching::new(settings)?.run_on(&On::new(subject).within(memory), &pair())
            }),
        ),
    ]
}

fn streams() -> Option<Vec<Selector>> {
    Some(vec!["text.blocks.*.resid_post".parse().unwrap()])
}

/// Texts of some letters, each beginning elsewhere.
fn texts(count: usize, letters: usize) -> ManyCases {
    let text = move |i: usize| "abcdefgh".chars().cycle().skip(i % 8).step_by(1 + i / 8 % 5).take(letters);
    let case = move |i: usize| Ok(Case::new(Sample::text(text(i).collect::<String>())));
    ManyCases::over(from_fn("texts", count, case)).unwrap()
}

fn sender(name: &str) -> mmlens_engine::Sender {
    use mmlens_engine::Sender::{Head, Mlp};
    match name {
        "1.h2" => Head { layer: 1, head: 2 },
        _ => Mlp { layer: 2 },
    }
}

/// Of a picture, for methods that go through the tower.
fn of_picture(sample: fn() -> Sample, cells: bool) -> Vec<(&'static str, Method)> {
    let case = move || about(sample());
    let mut methods: Vec<(&'static str, Method)> = vec![
        (
            "integrated gradients of pixels",
            Box::new(move |subject, memory| {
                let settings = integrated_gradients::Settings { steps: Some(8), ..Default::default() };
                IntegratedGradients::new(settings)?.run_on(&On::new(subject).within(memory), &case())
            }),
        ),
        (
            "rollout through the tower",
            Box::new(move |subject, memory| {
                AttentionRollout::default().run_on(&On::new(subject).within(memory), &case())
            }),
        ),
        (
            "rollout, carried through the tower",
            Box::new(move |subject, memory| {
                let settings = attention_rollout::Settings { whole: 0, ..Default::default() };
                AttentionRollout::new(settings)?.run_on(&On::new(subject).within(memory), &case())
            }),
        ),
    ];
    if cells {
        methods.push((
            "occlusion of cells",
            Box::new(move |subject, memory| {
                let picture = Some(Cover::Grid { rows: 4, cols: 4 });
                let settings = occlusion::Settings { picture, words: None, ..Default::default() };
                Occlusion::new(settings)?.run_on(&On::new(subject).within(memory), &case())
            }),
        ));
    }
    methods
}

/// Too small a budget is refused before it is broken, with what is needed; that much is enough, and kept to, and so is three
/// times as much, of which use is made.
fn keeps_its_budget(name: &str, subject: &dyn Subject, method: &Method) -> Vec<String> {
    let mut faults = Vec::new();
    let mut least = 10_000;
    let (found, taken) = loop {
        let (found, taken) = counted(|| method(subject, Memory::bytes(least)));
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
    let tight = share(taken, least);
    let budget = 3 * least;
    let (ample, taken) = counted(|| method(subject, Memory::bytes(budget)).unwrap());
    let wide = share(taken, budget);
    println!("{name}: at least {least}, of which {tight:.2}; of three times that {wide:.2}");
    for share in [tight, wide] {
        if share > 1.0 {
            faults.push(format!("{name}: {share:.2} of its budget"));
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
        let some = subject.encode(&Sample::prompt(Vec::new(), "abc")).unwrap();
        subject.run(&some, Plan::new()).unwrap(); // Whatever is made once, such as threads.
        for (name, method) in methods {
            faults.extend(keeps_its_budget(name, subject, &method));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
