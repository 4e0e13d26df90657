//! The record of a training: against NumPy and scikit-learn, against models that do not change, against misuse.

use burn::tensor::Device;
use mmlens_core::finding::{CautionKind, Finding, Tolerance};
use mmlens_core::{
    Alteration, Altered, Case, Cases, Change, Memory, On, Region, Sample, Seed, Site, Subject, Unwatched,
    Words, from_fn,
};
use mmlens_testkit::{Oracle, Toy, checkpoint};
use mmlens_training::recorder::{Recorder, Settings, Task};
use proptest::prelude::*;

use crate::common::{numbers, opened, shown};

fn site(name: &str) -> Site {
    name.parse().unwrap()
}

fn task(name: &str, labels: &[usize]) -> Task {
    Task { name: name.to_owned(), labels: labels.to_vec() }
}

fn recorded(
    data: &dyn Cases,
    settings: Settings,
    tasks: Vec<Task>,
    models: &[(u64, &dyn Subject)],
) -> Finding {
    let mut recorder = Recorder::new(settings, data, tasks).unwrap();
    for (step, model) in models {
        recorder.record(*step, &On::new(*model)).unwrap();
    }
    recorder.finish(&Unwatched).unwrap()
}

#[test]
fn tables_are_those_of_numpy_and_scikit_learn() {
    let oracle = Oracle::open("methods/training-record").unwrap();
    let about = oracle.about();
    let cases: Vec<Case> = about["cases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|case| {
            let text = |at: usize| case[at].as_str().unwrap().to_owned();
            Case::new(shown(&text(0), Words::Texts(vec![text(1)])))
        })
        .collect();
    let data = from_fn("cases", cases.len(), move |at| Ok(cases[at].clone()));
    let labels = |at: usize| -> Vec<usize> {
        about["tasks"][at].as_array().unwrap().iter().map(|x| x.as_u64().unwrap() as usize).collect()
    };
    let tasks = vec![task("parity", &labels(0)), task("picture", &labels(1))];
    let settings = Settings {
        sites: Some(vec!["vision.blocks.*.resid_post".parse().unwrap()]),
        c: about["c"].as_f64().unwrap(),
        steps: 100_000,
        tolerance: 1e-9,
        held_out: about["held_out"].as_f64().unwrap(),
        seed: Seed(about["seed"].as_u64().unwrap()),
        ..Settings::default()
    };
    let scale = Change::Scale(about["scale"].as_f64().unwrap() as f32);
    let open = mmlens_zoo::open(checkpoint("clip-a"), &Device::default()).unwrap();
    let before = Altered::new(
        open,
        vec![Alteration::new(site("vision.blocks.0.resid_post"), Region::all(), scale).unwrap()],
    )
    .unwrap();
    let finding = recorded(&data, settings, tasks, &[(0, &before), (10, opened("clip-a"))]);
    for (table, tolerance) in [
        // A share of six cases is exact, or one of them is told otherwise.
        ("probe", Tolerance::absolute(1e-6)),
        ("alignment", Tolerance::absolute(1e-5)),
        ("gap", Tolerance::absolute(1e-5)),
        ("retrieval", Tolerance::absolute(1e-6)),
        // Quotients of differences between rows that are alike lose digits of single precision.
        ("cka", Tolerance::absolute(1e-4)),
        ("length", Tolerance::either(1e-5, 1e-6)),
        ("dimensions", Tolerance::either(1e-4, 1e-6)),
    ] {
        let wanted: Vec<f64> = oracle.array(table).unwrap().values.clone();
        let gap = tolerance.check(table, numbers(&finding, table), &wanted).unwrap();
        println!("{table}: {:.1e}", gap.absolute);
    }
    assert_eq!(finding.table("probe").unwrap().shape(), [2, 3, 2, 3]);
    let kinds: Vec<CautionKind> = finding.cautions().iter().map(|caution| caution.kind).collect();
    assert!(kinds.contains(&CautionKind::FewRows), "{kinds:?}");
}

fn words(count: usize) -> impl Cases + Send + use<> {
    let text = |i: usize| format!("{}{}", ["a", "c", "d"][i % 3], "b".repeat(i % 5));
    from_fn("words", count, move |i| Ok(Case::new(Sample::text(text(i)))))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]
    /// A model that does not change is at every step wholly like itself at the end, at every site, and says at every step the same.
    #[test]
    fn a_model_that_does_not_change_is_like_its_end(model in 1_u64..50, count in 12_usize..20, seed in 0_u64..9) {
        let toy = Toy::curved(model);
        let labels: Vec<usize> = (0..count).map(|i| i % 3).collect();
        let settings = Settings { seed: Seed(seed), ..Settings::default() };
        let finding = recorded(&words(count), settings, vec![task("first", &labels)], &[(0, &toy), (5, &toy)]);
        for own in numbers(&finding, "cka").chunks(2) {
            prop_assert!((own[0] - 1.0).abs() < 1e-5, "{own:?}");
        }
        for table in ["cka", "probe", "length", "dimensions"] {
            let values = numbers(&finding, table);
            let (first, second) = values.split_at(values.len() / 2);
            prop_assert_eq!(first, second, "{}", table);
        }
        prop_assert!(finding.cautions().iter().any(|caution| caution.kind == CautionKind::NothingMoved));
    }
}

/// What is planted in the words is told by a probe, and what has nothing to do with them is not.
#[test]
fn a_probe_tells_what_is_there_and_no_more() {
    let (count, toy) = (60, Toy::curved(1));
    let there: Vec<usize> = (0..count).map(|i| i % 3).collect();
    let settings = Settings { c: 1000.0, steps: 5000, ..Settings::default() };
    let finding = recorded(&words(count), settings.clone(), vec![task("first", &there)], &[(0, &toy)]);
    let probe = numbers(&finding, "probe");
    assert!(probe.chunks(3).any(|own| own[0] > 0.95 && own[1] < 0.7 && own[2] < 0.6), "{probe:?}");
    assert!(!finding.cautions().iter().any(|caution| caution.kind == CautionKind::NoBetter));
    let absent: Vec<usize> = (0..count).map(|i| usize::from(Seed(3).at(i as u64).unit() < 0.2)).collect();
    let finding = recorded(&words(count), Settings::default(), vec![task("drawn", &absent)], &[(0, &toy)]);
    let kinds: Vec<CautionKind> = finding.cautions().iter().map(|caution| caution.kind).collect();
    assert!(kinds.contains(&CautionKind::NoBetter), "{kinds:?} {:?}", numbers(&finding, "probe"));
    let short = Settings { c: 1000.0, steps: 1, ..Settings::default() };
    let finding = recorded(&words(count), short, vec![task("first", &there)], &[(0, &toy)]);
    assert!(finding.cautions().iter().any(|caution| caution.kind == CautionKind::NotConverged));
}

#[test]
fn what_cannot_be_recorded_is_refused() {
    let data = words(12);
    let made = |settings, tasks| Recorder::new(settings, &data, tasks).map(|_| ()).unwrap_err().to_string();
    let labels: Vec<usize> = (0..12).map(|i| i % 2).collect();
    assert!(made(Settings::default(), vec![task("a", &labels[..3])]).contains("`a` has 3 for 12"));
    assert!(
        made(Settings::default(), vec![task("a", &labels), task("a", &labels)])
            .contains("`a` is there twice")
    );
    assert!(made(Settings::default(), vec![task("a", &[1; 12])]).contains("two classes"));
    for wrong in [
        Settings { c: f64::NAN, ..Settings::default() },
        Settings { steps: 0, ..Settings::default() },
        Settings { tolerance: 0.0, ..Settings::default() },
        Settings { held_out: 1.0, ..Settings::default() },
        Settings { sites: Some(Vec::new()), ..Settings::default() },
    ] {
        assert!(Recorder::new(wrong, &data, Vec::new()).is_err());
    }
    let few = words(3);
    assert!(Recorder::new(Settings::default(), &few, Vec::new()).is_err());
    let mut recorder = Recorder::new(Settings::default(), &data, Vec::new()).unwrap();
    assert!(recorder.finish(&Unwatched).unwrap_err().to_string().contains("a step or more"));
    let (toy, other) = (Toy::curved(1), opened("llama-a"));
    recorder.record(3, &On::new(&toy)).unwrap();
    let said = recorder.record(3, &On::new(&toy)).unwrap_err().to_string();
    assert!(said.contains("3 comes behind 3"), "{said}");
    assert!(recorder.record(4, &On::new(other)).is_err());
    let cramped = On::new(&toy).within(Memory::bytes(16));
    assert!(recorder.record(5, &cramped).is_err());
    assert_eq!(recorder.steps(), [3]);
    recorder.finish(&Unwatched).unwrap();
}
