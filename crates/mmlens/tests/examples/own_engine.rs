//! An engine on `ndarray` is a subject like any other: contracts, sweeps and perturbation hold on it unchanged.

#[path = "../../../../examples/own_engine/engine.rs"]
mod engine;

use std::num::NonZeroUsize;

use mmlens::engine::{Edit, Metric, Progress, Sweep};
use mmlens::finding::Axis;
use mmlens::model::{activation_patching, occlusion};
use mmlens::prelude::*;
use mmlens_testkit::subject_breaches;

fn letters() -> engine::Letters {
    engine::Letters::new(Seed(3))
}

fn sample(text: &str) -> Sample {
    Sample::prompt(Vec::new(), text)
}

#[test]
fn it_keeps_the_contract_of_subjects() {
    let subject = letters();
    let inputs = subject.encode(&sample("a small engine")).unwrap();
    assert_eq!(subject_breaches(&subject, &inputs), Vec::<String>::new());
    let others = ["of letters", "x"].map(|text| subject.encode(&sample(text)).unwrap());
    let batch = Inputs::batch(&others, subject.pad()).unwrap();
    let rows = subject.run(&batch, Plan::new().to_output()).unwrap().output().at(Position::Last).unwrap();
    let rows = AnyTensor::new(rows).to_values().unwrap();
    for (own, alone) in rows.chunks(27).zip(&others) {
        let alone = subject.run(alone, Plan::new().to_output()).unwrap().output().at(Position::Last).unwrap();
        let alone = AnyTensor::new(alone).to_values().unwrap();
        assert!(own.iter().zip(&alone).all(|(a, b)| (a - b).abs() < 1e-5));
    }
}

#[test]
fn packed_sweeps_equal_single_passes() {
    let subject = letters();
    let inputs = subject.encode(&sample("which heads matter")).unwrap();
    let zero = |at: &[usize]| {
        vec![Edit::zero(Site::block(Part::Text, at[0], Point::Z)).heads([at[1]]).positions([at[2]])]
    };
    let lens = [2, 3, inputs.positions()];
    let axes = vec![
        Axis::count(Role::Layer, lens[0]),
        Axis::count(Role::Head, lens[1]),
        Axis::count(Role::Token, lens[2]),
    ];
    let swept = |rows| {
        let sweep = Sweep::over(axes.clone(), zero)
            .measure(Metric::Divergence { at: Position::Last })
            .measure(Objective::logit(4));
        let memory = Memory::default().at_most(NonZeroUsize::new(rows).unwrap());
        let mut progress = Progress::new(&Unwatched, "heads", sweep.len());
        sweep.run(&subject, &inputs, &memory, &mut progress).unwrap().measured
    };
    for (packed, single) in swept(50).iter().zip(swept(1)) {
        assert!(packed.values.iter().zip(&single.values).all(|(a, b)| (a - b).abs() < 1e-5));
    }
    let logits = &swept(50)[1];
    for (variant, value) in logits.values.iter().enumerate().step_by(17) {
        let at = [variant / (3 * lens[2]), variant / lens[2] % 3, variant % lens[2]];
        let region = Region::all().heads([at[1]]).positions([at[2]]);
        let plan =
            Plan::new().change(Site::block(Part::Text, at[0], Point::Z), region, Change::Zero).unwrap();
        let alone = subject.run(&inputs, plan.objective(Objective::logit(4))).unwrap();
        assert!((alone.scores().unwrap()[0] - value).abs() < 1e-5);
    }
}

#[test]
fn perturbation_runs_and_gradients_are_refused() {
    let subject = letters();
    let case = Case { sample: sample("the cat sat"), target: Target::Token(4) };
    let logit = |sample: &Sample, plan: Plan| {
        let inputs = subject.encode(sample).unwrap();
        subject.run(&inputs, plan.objective(Objective::logit(4))).unwrap().scores().unwrap()[0]
    };
    let settings = occlusion::Settings { picture: None, ..occlusion::Settings::default() };
    let finding = occlusion::Occlusion::new(settings).unwrap().run(&subject, &case).unwrap();
    let drops = finding.table("tokens").unwrap().as_numbers().unwrap().to_vec();
    assert_eq!(drops.len(), "the cat sat".len());
    for (position, drop) in drops.iter().enumerate() {
        let hidden = Region::all().positions([position]);
        let plan = Plan::new().change("text.input", hidden, Change::Zero).unwrap();
        let by_hand = logit(&case.sample, Plan::new()) - logit(&case.sample, plan);
        assert!((drop - by_hand).abs() < 1e-5, "{position}: {drop} {by_hand}");
    }

    let pair = Pair { clean: case.clone(), corrupted: sample("the dog ran") };
    let patching = activation_patching::ActivationPatching::new(activation_patching::Settings {
        places: activation_patching::Places::Together,
        ..activation_patching::Settings::default()
    });
    let finding = patching.unwrap().run(&subject, &pair).unwrap();
    let recovered = finding.table("resid_pre").unwrap().as_numbers().unwrap().to_vec();
    // All positions at once: the clean run itself.
    assert!(
        recovered.len() == 2 && recovered.iter().all(|share| (share - 1.0).abs() < 1e-4),
        "{recovered:?}"
    );

    let inputs = subject.encode(&case.sample).unwrap();
    let plan = Plan::new().grad("text.blocks.0.resid_pre").unwrap().objective(Objective::logit(4));
    let said = subject.run(&inputs, plan).unwrap_err().to_string();
    assert!(said.contains("text.blocks.0.resid_pre"), "{said}");
}
