//! An architecture assembled from parts of the zoo keeps the contract of subjects, and analyses run on it unchanged.

#[path = "../../../../examples/own_architecture/network.rs"]
mod network;
#[path = "../../../../examples/own_architecture/subject.rs"]
mod subject;

use std::num::NonZeroUsize;

use burn::tensor::Device;
use mmlens::engine::{Edit, End, Progress, Sweep};
use mmlens::model::{IntegratedGradients, LogitLens, integrated_gradients, logit_lens};
use mmlens::prelude::*;
use mmlens_testkit::{analysis_breaches, subject_breaches};

fn own() -> subject::Own {
    subject::Own::drawn(Seed(4), &Device::default()).unwrap()
}

fn sample(prompt: &str) -> Sample {
    let picture = |i: u32| {
        let pixel = move |x: u32, y: u32| image::Rgb([(x * 9 + i * 50) as u8, (y * 11) as u8, (x * y) as u8]);
        Picture::new("drawn", image::RgbImage::from_fn(20, 14, pixel))
    };
    Sample::prompt((0..prompt.matches('#').count() as u32).map(picture).collect(), prompt)
}

#[test]
fn it_keeps_the_contract_of_subjects() {
    let subject = own();
    let singles = ["what is # here", "a # and a #", "words"].map(|p| subject.encode(&sample(p)).unwrap());
    for inputs in &singles {
        assert_eq!(subject_breaches(&subject, inputs), Vec::<String>::new());
    }
    let batch = Inputs::batch(&singles, subject.pad()).unwrap();
    assert_eq!(subject_breaches(&subject, &batch), Vec::<String>::new());
}

#[test]
fn its_blocks_add_attention_and_mlp_of_one_norm() {
    let subject = own();
    let inputs = subject.encode(&sample("what is # here")).unwrap();
    // Attention set to nothing moves nothing that the MLP of its block computes.
    let mlp = Site::block(Part::Text, 1, Point::MlpOut);
    let read = |plan: Plan| subject.run(&inputs, plan.read(mlp).unwrap()).unwrap().get(mlp).unwrap().clone();
    let attn = Site::block(Part::Text, 1, Point::AttnOut);
    let without = read(Plan::new().change(attn, Region::all(), Change::Zero).unwrap());
    assert_eq!(read(Plan::new()).to_values().unwrap(), without.to_values().unwrap());
}

#[test]
fn packed_sweeps_equal_single_passes() {
    let subject = own();
    let inputs = subject.encode(&sample("what is # here")).unwrap();
    let parts: Vec<(Part, usize, usize)> = subject
        .anatomy()
        .iter()
        .flat_map(|a| {
            (0..a.blocks).flat_map(move |block| (0..a.heads).map(move |head| (a.part, block, head)))
        })
        .collect();
    assert_eq!(parts.len(), 2 * 2 + 3 * 3);
    let own = parts.clone();
    let sweep = Sweep::over(vec![Axis::count(Role::Head, parts.len())], move |at| {
        let (part, block, head) = own[at[0]];
        vec![Edit::zero(Site::block(part, block, Point::Z)).heads([head])]
    })
    .measure(Objective::logit_difference(3, 8));
    let mut progress = Progress::new(&Unwatched, "heads", sweep.len());
    let memory = Memory::default().at_most(NonZeroUsize::new(4).unwrap());
    let found = sweep.run(&subject, &inputs, &memory, &mut progress).unwrap().measured.swap_remove(0);
    for ((part, block, head), found) in parts.into_iter().zip(found.values) {
        let z = Site::block(part, block, Point::Z);
        let plan = Plan::new().change(z, Region::all().heads([head]), Change::Zero).unwrap();
        let alone = subject.run(&inputs, plan.objective(Objective::logit_difference(3, 8))).unwrap();
        let alone = alone.scores().unwrap()[0];
        assert!((alone - found).abs() < 1e-5, "{z} head {head}: {alone} {found}");
    }
}

#[test]
fn integrated_gradients_add_up_and_the_lens_ends_in_its_logits() {
    let subject = own();
    let case = Case { sample: sample("what is # here"), target: Target::Token(3) };
    let (inputs, objective) = case.open(&subject).unwrap();
    let along =
        ["text.embed", "vision.pixels"].map(|site| End::new(site.parse().unwrap(), Baseline::Zero)).to_vec();
    // Few of the nodes that it may add are needed, and what it says that it costs is not far above.
    let settings = integrated_gradients::Settings { along: Some(along), budget: 180, ..Default::default() };
    let method = IntegratedGradients::new(settings).unwrap();
    let finding = method.run(&subject, &case).unwrap();
    let gap = finding.table("relative completeness gap").unwrap().as_numbers().unwrap()[0];
    assert!(gap.abs() < 1e-2, "what the parts were given is not what the objective changed by: {gap}");
    assert_eq!(
        analysis_breaches(&method, &subject, &Given::new(case.clone()).unwrap(), &inputs),
        Vec::<String>::new()
    );

    let lens = LogitLens::new(logit_lens::Settings { top: 1, ..Default::default() }).unwrap();
    let words = lens.run(&subject, &case).unwrap();
    let last = words.table("words").unwrap().as_texts().unwrap().last().cloned().unwrap();
    let trace = subject.run(&inputs, Plan::new().objective(objective).to_output()).unwrap();
    let logits = AnyTensor::new(trace.output().at(Position::Last).unwrap()).to_values().unwrap();
    let top = mmlens::core::finding::top(&logits).unwrap().unwrap();
    assert_eq!(last, subject.token(top as u32));
}

#[test]
fn what_it_cannot_take_is_refused() {
    let subject = own();
    for prompt in ["", "Capitals", &"a".repeat(65)] {
        assert!(subject.encode(&sample(prompt)).is_err(), "{prompt}");
    }
    assert!(subject.encode(&Sample::prompt(Vec::new(), "#")).is_err());
    assert!(subject.encode(&Sample::new(Vec::new(), Words::Question("what".to_owned()))).is_err());
}
