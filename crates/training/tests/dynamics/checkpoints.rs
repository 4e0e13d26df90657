//! Checkpoint differences: against NumPy, and against vectors that were planted.

use burn::tensor::Device;
use mmlens_core::finding::{CautionKind, Finding, Tolerance};
use mmlens_core::{
    Alteration, Altered, Analysis, AnyTensor, Case, Cases, Change, ManyCases, Region, Reply, Sample, Seed,
    Site, Subject, Words, from_fn,
};
use mmlens_engine::Positions;
use mmlens_testkit::{Oracle, Toy, checkpoint};
use mmlens_training::CheckpointDifference;
use mmlens_training::checkpoint_difference::Settings;
use proptest::prelude::*;
use serde_json::Value;

use crate::common::{numbers, opened, shown};

fn texts(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn site(name: &str) -> Site {
    name.parse().unwrap()
}

/// A checkpoint with a standing change at a site.
fn after(name: &str, at: &str, change: Change) -> impl Subject + use<> {
    let subject = mmlens_zoo::open(checkpoint(name), &Device::default()).unwrap();
    Altered::new(subject, vec![Alteration::new(site(at), Region::all(), change).unwrap()]).unwrap()
}

fn found(
    before: &dyn Subject,
    after: impl Subject + 'static,
    data: impl Cases + Send + 'static,
    settings: Settings,
) -> Finding {
    let many = ManyCases::over(data).unwrap().beside(after);
    CheckpointDifference::new(settings).unwrap().run(before, &many).unwrap()
}

#[test]
fn differences_and_effects_are_those_of_numpy() {
    for name in ["llava-a", "vit-a"] {
        let oracle = Oracle::open(&format!("methods/checkpoint-difference-{name}")).unwrap();
        let about = oracle.about();
        let (pictures, prompts) = (texts(&about["pictures"]), texts(&about["prompts"]));
        let cases: Vec<Case> = match name {
            "llava-a" => prompts
                .iter()
                .flat_map(|prompt| pictures[..4].iter().map(move |picture| (picture, prompt)))
                .map(|(picture, prompt)| Case::new(shown(picture, Words::Prompt(prompt.clone()))))
                .collect(),
            _ => pictures.iter().map(|picture| Case::new(shown(picture, Words::Nothing))).collect(),
        };
        let data = from_fn("cases", cases.len(), move |i| Ok(cases[i].clone()));
        let part = if name == "llava-a" { "text" } else { "vision" };
        let scale = Change::Scale(about["scale"].as_f64().unwrap() as f32);
        let settings = Settings {
            strength: about["strength"].as_f64().unwrap() as f32,
            draws: about["draws"].as_u64().unwrap() as usize,
            seed: Seed(about["seed"].as_u64().unwrap()),
            ..Settings::default()
        };
        let other = after(name, &format!("{part}.blocks.0.resid_post"), scale);
        let many = ManyCases::over(data).unwrap().beside(other);
        let finding = CheckpointDifference::new(settings).unwrap().run(opened(name), &many).unwrap();
        for (table, tolerance) in [
            ("difference", Tolerance::either(1e-4, 1e-5)),
            // Divergences of nearly equal distributions lose digits that logits keep.
            ("effect", Tolerance::either(1e-3, 1e-5)),
        ] {
            let gap = tolerance.check(table, numbers(&finding, table), &oracle.array(table).unwrap().values);
            println!("{name} {table}: {:.1e}", gap.unwrap().relative);
        }
        let vectors =
            (0..3).flat_map(|block| numbers(&finding, &format!("{part}.blocks.{block}.resid_post")).to_vec());
        let vectors: Vec<f32> = vectors.collect();
        let gap = Tolerance::either(1e-4, 1e-5).check(
            "vectors",
            &vectors,
            &oracle.array("vectors").unwrap().values,
        );
        println!("{name} vectors: {:.1e}", gap.unwrap().relative);
    }
}

fn prompts(count: usize) -> impl Cases + Send + use<> {
    let text =
        |i: usize| ["It", "It is red", "red", "a red", "is it", "it is", "Is", "bad red"][i % 8].to_owned();
    from_fn("prompts", count, move |i| {
        // What a case holds as its answer is left out.
        let sample = Sample::text(text(i));
        Ok(Case::new(if i % 2 == 0 { sample.answered(Reply::Text("red".to_owned())) } else { sample }))
    })
}

/// A vector that is added everywhere is found, is shared in all cases, and brings the whole effect; a place before it does not differ.
#[test]
fn a_planted_vector_is_found_and_brings_its_effect() {
    let name = "llama-a";
    let width = opened(name).anatomy()[0].d_model;
    let planted: Vec<f32> = (0..width).map(|at| 0.5 * ((at * 7 % 5) as f32 - 2.0)).collect();
    let value = AnyTensor::from_values(planted.clone(), &[1, 1, width], &Device::default()).unwrap();
    let other = || after(name, "text.blocks.1.resid_post", Change::Add(value.clone()));
    let finding = found(
        opened(name),
        other(),
        prompts(8),
        Settings { positions: Positions::All, ..Settings::default() },
    );
    let (difference, brought) = (numbers(&finding, "difference"), numbers(&finding, "brought"));
    assert!(difference[..5].iter().all(|x| *x == 0.0) && brought[..2] == [0.0, 0.0], "{difference:?}");
    let same = Tolerance::either(1e-4, 1e-5);
    // The cosine with signs is that of sums of signs: one, or minus one, or, where those of a half cancel, zero.
    same.check("shared and halves", &difference[7..9], &[1.0, 1.0]).unwrap();
    let signs = difference[9].abs();
    assert!(signs == 0.0 || (signs - 1.0).abs() < 1e-3, "{signs}");
    let exact = planted.iter().map(|x| f64::from(*x)).collect::<Vec<_>>();
    same.check("vector", numbers(&finding, "text.blocks.1.resid_post"), &exact).unwrap();
    assert!(brought[2] > 0.9999 && brought[3] < 0.9, "{brought:?}");
    assert!(finding.cautions().iter().any(|caution| caution.kind == CautionKind::FewRows));
    assert!(!finding.cautions().iter().any(|caution| caution.kind == CautionKind::NoBetter));
    // At the last position alone the others are not changed, and of these the blocks behind still read.
    let last = found(opened(name), other(), prompts(8), Settings::default());
    assert!(numbers(&last, "brought")[2] <= brought[2] + 1e-6);
    // Twice the vector overshoots.
    let twice = Settings { positions: Positions::All, strength: 2.0, ..Settings::default() };
    assert!(numbers(&found(opened(name), other(), prompts(8), twice), "brought")[2] < 0.9);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    /// A model beside itself differs nowhere, and it is said.
    #[test]
    fn a_model_beside_itself_differs_nowhere(seed in 0..99_u64, draws in 0..99_u64) {
        let settings = Settings { seed: Seed(draws), ..Settings::default() };
        let finding = found(&Toy::curved(seed), Toy::curved(seed), prompts(24), settings);
        for table in ["difference", "effect", "brought"] {
            prop_assert!(numbers(&finding, table).iter().all(|x| *x == 0.0), "{}", table);
        }
        let kinds: Vec<CautionKind> = finding.cautions().iter().map(|caution| caution.kind).collect();
        prop_assert_eq!(kinds, [CautionKind::NothingMoved, CautionKind::NoBetter]);
    }

    /// What is multiplied by zero brings nothing, and changes nothing of how large the difference is; the same draws give the same bits.
    #[test]
    fn a_vector_of_no_strength_brings_nothing(
        seed in 0..99_u64,
        other in 100..199_u64,
        strength in 0.5..2.0_f32,
    ) {
        let run = |strength: f32| {
            let settings = Settings { strength, ..Settings::default() };
            found(&Toy::curved(seed), Toy::curved(other), prompts(8), settings)
        };
        let [none, some, again] = [0.0, strength, strength].map(run);
        let brought = numbers(&none, "brought");
        prop_assert!(brought.iter().all(|x| x.abs() < 1e-6), "{:?}", brought);
        prop_assert_eq!(numbers(&none, "difference"), numbers(&some, "difference"));
        prop_assert!(numbers(&some, "brought").iter().any(|x| x.abs() > 1e-4));
        prop_assert_eq!(&some, &again);
    }
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let said = |many: ManyCases, before: &dyn Subject, settings: Settings| {
        CheckpointDifference::new(settings).unwrap().run(before, &many).unwrap_err().to_string()
    };
    let alone = ManyCases::over(prompts(4)).unwrap();
    assert_eq!(
        said(alone, &Toy::curved(1), Settings::default()),
        "checkpoint-difference needs a model before a training, and one after it, but there is one model: the one after the training stands beside it"
    );
    let one = ManyCases::over(prompts(1)).unwrap().beside(Toy::curved(2));
    assert!(said(one, &Toy::curved(1), Settings::default()).contains("needs two cases or more"));
    let other = mmlens_zoo::open(checkpoint("llama-b"), &Device::default()).unwrap();
    let wide = ManyCases::over(prompts(4)).unwrap().beside(other);
    let text = said(wide, opened("llama-a"), Settings::default());
    assert!(text.contains("needs two models of the same sites") || text.contains("no site"), "{text}");
    for wrong in [
        Settings { draws: 0, ..Settings::default() },
        Settings { strength: f32::NAN, ..Settings::default() },
        Settings { held_out: 1.5, ..Settings::default() },
        Settings { sites: Some(Vec::new()), ..Settings::default() },
    ] {
        assert!(CheckpointDifference::new(wrong).is_err());
    }
}
