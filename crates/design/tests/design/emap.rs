//! EMAP: against least squares, against identities, against the shapes world.

use burn::tensor::Device;
use mmlens_core::finding::{CautionKind, Finding, Tolerance, top};
use mmlens_core::{
    Alteration, Altered, Analysis, Annotated, Case, Change, ManyCases, Region, Sample, Seed, Subject, from_fn,
};
use mmlens_data::shapes::{Kind, ShapesCases, Split, World};
use mmlens_design::{Emap, emap};
use mmlens_testkit::{Oracle, Toy};
use proptest::prelude::*;

use crate::support::{few, kinds, numbers, opened, painted, shown};

/// Log-probabilities of answers as large as 40.
const SCORE: Tolerance = Tolerance::absolute(5e-5);

fn run(settings: emap::Settings, on: &dyn Subject, data: &ManyCases) -> Finding {
    Emap::new(settings).unwrap().run(on, data).unwrap()
}

fn toys(seed: u64, n: usize) -> ManyCases {
    let words = ["#abc", "#dbe", "#fca", "#bbd", "#cde"];
    let case = move |i: usize| {
        Ok(Case::new(Sample::prompt(vec![painted(i as u32 + 10 * seed as u32)], words[i % 5])))
    };
    let labels = (0..n).map(|i| i * i % 3).collect();
    ManyCases::over(Annotated::new(from_fn("toys", n, case), ["a", "b", "c"], labels).unwrap()).unwrap()
}

#[test]
fn the_additive_function_is_that_of_least_squares() {
    for name in ["llava-a", "smolvlm-a"] {
        let oracle = Oracle::open(&format!("methods/emap-{name}")).unwrap();
        let strings = |name: &str| -> Vec<String> {
            let all = oracle.about()[name].as_array().unwrap();
            all.iter().map(|text| text.as_str().unwrap().to_owned()).collect()
        };
        let (prompts, pictures) = (strings("prompts"), strings("pictures"));
        let n = oracle.array("score").unwrap().dims[0];
        let case = move |i: usize| Ok(Case::new(shown(&pictures[i % 4], &prompts[i % 5])));
        let labels: Vec<usize> = (0..n).map(|i| i * i % 3).collect();
        let data = Annotated::new(from_fn("asked", n, case), strings("classes"), labels.clone()).unwrap();
        let method = Emap::new(emap::Settings::default()).unwrap();
        let found = method.run(opened(name), &ManyCases::over(data).unwrap()).unwrap();
        let of = |name: &str| oracle.array(name).unwrap().values.clone();
        for table in ["score", "additive", "left out"] {
            let gap = SCORE.check(table, numbers(&found, table), &of(table)).unwrap();
            println!("{name}, {table}: {:.1e}", gap.absolute);
        }
        Tolerance::absolute(1e-5).check("variance", numbers(&found, "variance"), &of("variance")).unwrap();
        let said = |table: &str| -> Vec<usize> {
            of(table).chunks(3).map(|row| top(row).unwrap().unwrap()).collect()
        };
        let (model, additive) = (said("score"), said("additive"));
        let right = |said: &[usize]| {
            said.iter().zip(&labels).filter(|(own, label)| own == label).count() as f64 / n as f64
        };
        let (a, b) = (right(&model), right(&additive));
        let accuracy = numbers(&found, "accuracy");
        assert!((f64::from(accuracy[0]) - a).abs() < 1e-6 && (f64::from(accuracy[1]) - b).abs() < 1e-6);
        assert!((f64::from(numbers(&found, "gain")[0]) - (a - b)).abs() < 1e-6);
        let same = model.iter().zip(&additive).filter(|(a, b)| a == b).count() as f64 / n as f64;
        let agreement = found.table("agreement").unwrap().as_scalar().unwrap();
        assert!((f64::from(agreement) - same).abs() < 1e-6);
    }
}

proptest! {
    #![proptest_config(few())]

    /// Shares add up, and what a straight toy says is additive: of each answer, whatever the pictures and the words.
    #[test]
    fn shares_add_up_and_straight_models_are_additive(seed in 0..99_u64, n in 2..6_usize) {
        for (toy, straight) in [(Toy::curved(seed), false), (Toy::straight(seed), true)] {
            let found = run(emap::Settings::default(), &toy, &toys(seed, n));
            let variance = numbers(&found, "variance");
            prop_assert!((variance.iter().sum::<f32>() - 1.0).abs() < 1e-5 && variance.iter().all(|own| *own >= 0.0));
            let parts = numbers(&found, "additive").iter().zip(numbers(&found, "interaction"));
            for ((additive, rest), own) in parts.zip(numbers(&found, "score")) {
                prop_assert!((additive + rest - own).abs() < 1e-5);
            }
            // Scores are less their mean over answers.
            prop_assert!(numbers(&found, "score").chunks(3).all(|row| row.iter().sum::<f32>().abs() < 1e-4));
            if straight {
                prop_assert!(variance[2] < 1e-9, "{:?}", variance);
                prop_assert_eq!(found.table("agreement").unwrap().as_scalar(), Some(1.0));
                prop_assert_eq!(numbers(&found, "gain")[0], 0.0);
                // What is additive is known from others.
                if n > 2 {
                    let pairs = numbers(&found, "left out").iter().zip(numbers(&found, "score"));
                    prop_assert!(pairs.clone().count() == 3 * n);
                    prop_assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-4));
                } else {
                    prop_assert!(found.find("left out").is_none());
                }
            } else {
                prop_assert!(variance[2] > 1e-7, "{:?}", variance);
            }
        }
    }

    /// Of many cases some are taken, each once, the same for a seed.
    #[test]
    fn some_of_many_are_taken(seed in 0..99_u64, cases in 2..9_usize, len in 2..20_usize) {
        let method = Emap::new(emap::Settings { cases, seed: Seed(seed) }).unwrap();
        let taken = method.taken(len);
        prop_assert_eq!(taken.len(), cases.min(len));
        prop_assert!(taken.windows(2).all(|two| two[0] < two[1]) && taken.iter().all(|at| *at < len));
    }
}

/// A colour is in the picture, and which object is meant in the words: an additive function does not know it. A blind model is additive.
#[test]
fn a_colour_question_takes_more_than_a_sum() {
    let data = || ManyCases::over(ShapesCases::new(World::new(3), Split::Test, Kind::Colour, 12)).unwrap();
    let model = || mmlens_zoo::shipped::shapes(&Device::default()).unwrap();
    let found = run(emap::Settings::default(), &model(), &data());
    let (accuracy, gain, variance) =
        (numbers(&found, "accuracy"), numbers(&found, "gain"), numbers(&found, "variance"));
    println!("{accuracy:?} {gain:?} {variance:?} {:?}", found.cautions());
    assert!(accuracy[0] > 0.9 && accuracy[1] < accuracy[0], "{accuracy:?}");
    assert!(variance[2] > 0.1, "{variance:?}");
    // Of twelve cases the additive function knows much of each: without it, it is right less often, and the finding says so.
    assert!(accuracy[4] < accuracy[1] - 0.1 && accuracy[4] < accuracy[0], "{accuracy:?}");
    let gap = found.cautions().into_iter().find(|own| own.kind == CautionKind::Gap).unwrap();
    assert!((gap.number - (accuracy[1] - accuracy[4])).abs() < 1e-6);
    let cut = Alteration::new("connector.out", Region::all(), Change::Scale(0.0)).unwrap();
    let blind = run(emap::Settings::default(), &Altered::new(model(), [cut]).unwrap(), &data());
    let variance = numbers(&blind, "variance");
    assert!(variance[0] < 1e-12 && variance[2] < 1e-12, "{variance:?}");
    let accuracy = numbers(&blind, "accuracy");
    assert_eq!((accuracy[0], accuracy[0]), (accuracy[1], accuracy[3]));
    assert!(kinds(&blind).contains(&CautionKind::NoBetter));
}

#[test]
fn what_speaks_against_it_is_said() {
    let found = run(emap::Settings::default(), &Toy::straight(4), &toys(4, 5));
    let number = |kind| found.cautions().into_iter().find(|own| own.kind == kind).map(|own| own.number);
    assert_eq!((number(CautionKind::FewRows), number(CautionKind::NoBetter)), (Some(5.0), Some(0.0)));
    let said = Emap::new(emap::Settings { cases: 1, ..Default::default() }).unwrap_err().to_string();
    assert!(said.contains("at least two"), "{said}");
    let refused = |data: ManyCases| {
        Emap::new(emap::Settings::default()).unwrap().run(&Toy::curved(1), &data).unwrap_err().to_string()
    };
    assert!(refused(toys(1, 1)).ends_with("`toys` has 1 of 3 classes"));
    let words = |i: usize| Ok(Case::new(Sample::prompt(Vec::new(), ["ab", "ba"][i])));
    let data = Annotated::new(from_fn("words", 2, words), ["a", "b"], vec![0, 1]).unwrap();
    let said = refused(ManyCases::over(data).unwrap());
    assert!(said.contains("cases with pictures and words") && said.ends_with("case 0 lacks one"), "{said}");
    // A class that the subject has no words for.
    let case = |i: usize| Ok(Case::new(Sample::ask(painted(i as u32), "what colour is the star ?")));
    let data = Annotated::new(from_fn("said", 2, case), ["red", "mauve"], vec![0, 1]).unwrap();
    let model = mmlens_zoo::shipped::shapes(&Device::default()).unwrap();
    let said = Emap::new(emap::Settings::default()).unwrap().run(&model, &ManyCases::over(data).unwrap());
    let said = said.unwrap_err().to_string();
    assert!(said.starts_with("emap needs texts that the subject can say, but"), "{said}");
    // All pictures with all words are the same: nothing arrives.
    let same = |_: usize| Ok(Case::new(Sample::prompt(vec![painted(1)], "#ab")));
    let data = Annotated::new(from_fn("same", 3, same), ["a", "b"], vec![0, 1, 1]).unwrap();
    let found = run(emap::Settings::default(), &Toy::curved(1), &ManyCases::over(data).unwrap());
    let nothing = [CautionKind::NothingMoved, CautionKind::Rounding];
    assert!(kinds(&found).iter().any(|kind| nothing.contains(kind)), "{:?}", found.cautions());
    assert!(found.find("variance").is_none());
}
