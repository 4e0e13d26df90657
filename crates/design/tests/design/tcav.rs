//! Concepts tested by their directions: against captum and scipy, against identities, on scenes whose concepts are known.

use mmlens_core::finding::{CautionKind, Finding, Tolerance};
use mmlens_core::{
    Alteration, Altered, Analysis, Annotated, Case, Change, ManyCases, Objective, Picture, Region, Sample,
    Seed, Subject, Target, from_fn,
};
use mmlens_design::tcav::{RowsOf, Settings, Tcav};
use mmlens_engine::Positions;
use mmlens_testkit::{Oracle, Toy, picture};
use proptest::prelude::*;

use crate::support::{few, kinds, numbers, opened, site};

/// The cases of `design.py`: words and pictures take turns, and so do labels.
fn of_oracle(oracle: &Oracle, name: &'static str) -> ManyCases {
    let about = oracle.about();
    let list = |name: &str| -> Vec<String> {
        about[name].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let (words, pictures) = (list("words"), list("pictures"));
    let token = about[format!("{name}.target")].as_u64().unwrap() as u32;
    let case = move |i: usize| {
        let words = &words[i % 12];
        let sample = match name {
            "llava-a" => {
                let shown = Picture::open(picture(&pictures[(i / 12 + i) % 4])).unwrap();
                Sample::prompt(vec![shown], format!("<image>{words}"))
            }
            _ => Sample::text(words.repeat(1 + i / 12)),
        };
        Ok(Case { sample, target: Target::Token(token) })
    };
    let labels = (0..36).map(|i| [0, 1, 1, 2, 0, 1][i % 6]).collect();
    let data = Annotated::new(from_fn("cases", 36, case), ["concept", "random", "explained"], labels);
    ManyCases::over(data.unwrap()).unwrap()
}

#[test]
fn directions_scores_and_tests_are_those_of_captum_and_scipy() {
    let oracle = Oracle::open("methods/concept-activation-vectors").unwrap();
    let about = oracle.about();
    let number = |name: &str| about[name].as_f64().unwrap();
    for name in ["llava-a", "gpt2-a"] {
        let settings = Settings {
            // Behind it a norm and the read-out are left.
            site: site(&format!("text.blocks.{}.resid_post", number("layer"))),
            runs: number("runs") as usize,
            held_out: number("held_out"),
            c: number("c"),
            seed: Seed(number("seed") as u64),
            ..Settings::default()
        };
        let found = Tcav::new(settings).unwrap().run(opened(name), &of_oracle(&oracle, name)).unwrap();
        let array = |what: &str| &oracle.array(&format!("{name}.{what}")).unwrap().values;
        for (table, wanted, bound) in [
            ("scores", "scores", Tolerance::absolute(1e-6)),
            ("accuracies", "accuracies", Tolerance::absolute(1e-6)),
            // Of scores that are the same: rounding of the series.
            ("p", "p", Tolerance::absolute(1e-6)),
            // Slopes of two implementations in f32, along directions that an optimum fixes to some 1e-8.
            ("sensitivity", "sensitivity", Tolerance::relative(1e-5)),
        ] {
            let gap = bound.check(table, numbers(&found, table), array(wanted)).unwrap();
            println!("{name} {table}: {:.1e}, {:.1e} of the largest", gap.absolute, gap.relative);
        }
        let magnitudes = array("magnitudes");
        let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
        let runs = magnitudes.len() / 2;
        let wanted = [mean(&magnitudes[..runs]), mean(&magnitudes[runs..])];
        let gap =
            Tolerance::absolute(1e-5).check("magnitude", numbers(&found, "magnitude"), &wanted).unwrap();
        println!("{name} magnitude: {:.1e}", gap.absolute);
        assert_eq!(numbers(&found, "examples"), [6.0, 3.0]);
    }
}

/// Prompts of two beginnings, of random ones, and some that are explained.
fn explained(count: usize, target: Target) -> ManyCases {
    let text = |i: usize| {
        let begins = ["a", "c", ["e", "f", "g", "h"][i / 5 % 4], ["i", "k", "l", "m"][i / 5 % 4], "a"][i % 5];
        format!("{begins}{}{}", ["d", "e", "f", "g", "h"][i / 5 % 5], "b".repeat(i % 3))
    };
    let case = move |i: usize| Ok(Case { sample: Sample::text(text(i)), target: target.clone() });
    let labels = (0..count).map(|i| [0, 1, 2, 2, 3][i % 5]).collect();
    let data = Annotated::new(from_fn("words", count, case), ["a", "c", "random", "explained"], labels);
    ManyCases::over(data.unwrap()).unwrap()
}

/// As [`explained`], by one logit.
fn words(count: usize, token: u32) -> ManyCases {
    explained(count, Target::Token(token))
}

fn settings() -> Settings {
    Settings { site: site("text.blocks.1.resid_post"), runs: 6, ..Settings::default() }
}

fn tested(settings: Settings, subject: &dyn Subject, data: &ManyCases) -> Finding {
    Tcav::new(settings).unwrap().run(subject, data).unwrap()
}

proptest! {
    #![proptest_config(few())]

    /// Each score is a share of the cases, and the mean of runs; two concepts told from each other have opposite directions; of ten times what is explained scores are the same, and slopes ten times as large.
    #[test]
    fn scores_are_shares_of_slopes(seed in 0..500_u64, token in 0..27_u32) {
        let toy = Toy::curved(seed);
        let data = words(50, token);
        let one = tested(settings(), &toy, &data);
        let (scores, slopes) = (numbers(&one, "scores"), numbers(&one, "sensitivity"));
        prop_assert_eq!(scores.len(), 18);
        for (concept, own) in scores.chunks(6).enumerate() {
            let mean = own.iter().sum::<f32>() / 6.0;
            prop_assert!((mean - numbers(&one, "score")[concept]).abs() < 1e-6);
            prop_assert!(own.iter().all(|score| (0..=10).any(|above| (score - above as f32 / 10.0).abs() < 1e-6)));
        }
        let objective = Objective::Sum(vec![(10.0, Objective::logit(token))]);
        let more = tested(settings(), &toy, &explained(50, Target::Objective(objective)));
        prop_assert_eq!(numbers(&more, "scores"), scores);
        let tenfold: Vec<f32> = slopes.iter().map(|slope| 10.0 * slope).collect();
        prop_assert!(Tolerance::relative(1e-5).check("slopes", numbers(&more, "sensitivity"), &tenfold).is_ok());
        prop_assert!(slopes.iter().any(|slope| *slope != 0.0));

        let pair = Settings { relative: true, concepts: vec!["a".into(), "c".into()], ..settings() };
        let relative = tested(pair, &toy, &data);
        let slopes = numbers(&relative, "sensitivity");
        let opposite: Vec<f32> = slopes[10..20].iter().map(|slope| -slope).collect();
        // Both searches end where the slope of what is made least is 1e-8.
        let gap = Tolerance::relative(1e-5).check("slopes", &slopes[..10], &opposite);
        prop_assert!(gap.is_ok(), "{gap:?}");
        let scores = numbers(&relative, "scores");
        prop_assert!((0..6).all(|run| (scores[run] + scores[6 + run] - 1.0).abs() < 1e-6), "{scores:?}");
    }
}

/// Of all positions the mean, each, and all of them: one of them where there is one position, and others where there are more.
#[test]
fn examples_are_means_rows_or_all_of_them() {
    let toy = Toy::curved(3);
    let case = |i: usize| {
        let text = format!("{}{}b", ["a", "c", "e", "g"][i % 4], ["d", "f", "h"][i / 4 % 3]);
        Ok(Case { sample: Sample::text(text), target: Target::Objective(Objective::logit(3)) })
    };
    let labels = (0..40).map(|i| [0, 1, 1, 2][i % 4]).collect();
    let data = Annotated::new(from_fn("words", 40, case), ["a", "random", "explained"], labels).unwrap();
    let data = ManyCases::over(data).unwrap();
    let of = |rows, positions| tested(Settings { rows, positions, ..settings() }, &toy, &data);
    let last = [RowsOf::Mean, RowsOf::Each, RowsOf::Flat].map(|rows| of(rows, Positions::Last));
    for other in &last[1..] {
        assert_eq!(numbers(&last[0], "scores"), numbers(other, "scores"));
        assert_eq!(numbers(&last[0], "sensitivity"), numbers(other, "sensitivity"));
    }
    let all = [RowsOf::Mean, RowsOf::Each, RowsOf::Flat].map(|rows| of(rows, Positions::All));
    assert_ne!(numbers(&all[0], "sensitivity"), numbers(&all[1], "sensitivity"));
    assert_ne!(numbers(&all[0], "sensitivity"), numbers(&all[2], "sensitivity"));
    // The first letter is what the concept is: whoever sees it is right.
    assert!(numbers(&all[2], "accuracy")[0] > 0.8, "{:?}", numbers(&all[2], "accuracy"));
}

#[test]
fn cautions_come_where_they_should() {
    let toy = Toy::curved(1);
    let data = words(60, 3);
    let found = tested(settings(), &toy, &data);
    assert!(kinds(&found).contains(&CautionKind::FewRows));
    // Concepts that are random examples under another name.
    let none = |i: usize| {
        Ok(Case::new(Sample::text(
            ["ad", "ce", "ef", "gh", "bd", "fa", "db"][i * 3 % 7].to_owned() + ["", "b"][i % 2],
        )))
    };
    let labels = (0..80).map(|i| [0, 1, 1, 2][i / 2 % 4]).collect();
    let data = Annotated::new(from_fn("none", 80, none), ["nothing", "random", "explained"], labels).unwrap();
    let found = tested(settings(), &toy, &ManyCases::over(data).unwrap());
    assert!(kinds(&found).contains(&CautionKind::Chance), "{:?}", found.cautions());
    assert!(kinds(&found).contains(&CautionKind::NoBetter), "{:?}", found.cautions());
    let cut = tested(Settings { steps: 1, ..settings() }, &toy, &words(60, 3));
    assert!(kinds(&cut).contains(&CautionKind::NotConverged));
    // What the answer does not read has no slope; of what nothing leads from, there is none.
    let after = |change: Change| {
        let nothing = Alteration::new("text.blocks.1.resid_post", Region::all(), change).unwrap();
        let still = Altered::new(Toy::curved(1), [nothing]).unwrap();
        let before = Settings { site: site("text.blocks.0.resid_post"), ..settings() };
        Tcav::new(before).unwrap().run(&still, &words(60, 3))
    };
    assert_eq!(kinds(&after(Change::Scale(0.0)).unwrap()), [CautionKind::NothingMoved]);
    let cut = after(Change::Zero).unwrap_err().to_string();
    assert!(cut.contains("text.blocks.0.resid_post"), "{cut}");
}

#[test]
fn what_cannot_be_tested_is_refused_by_name() {
    let made = |settings: Settings| Tcav::new(settings).unwrap_err().to_string();
    let base = Settings::default;
    assert_eq!(
        made(Settings { runs: 1, ..base() }),
        "concept-activation-vectors: runs = 1, but a test needs 2 or more"
    );
    assert!(
        made(Settings { concepts: vec!["random".into()], ..base() })
            .ends_with("random examples are no concept")
    );
    assert!(
        made(Settings { concepts: vec!["a".into(), "a".into()], ..base() })
            .ends_with("a concept is named once")
    );
    assert!(
        made(Settings { random: "explained".into(), ..base() })
            .ends_with("explained cases have another label")
    );
    assert!(made(Settings { held_out: 0.0, ..base() }).ends_with("between 0 and 1"));
    let toy = Toy::curved(1);
    let said = |settings: Settings, data: &ManyCases| {
        Tcav::new(settings).unwrap().run(&toy, data).unwrap_err().to_string()
    };
    let data = words(50, 3);
    assert_eq!(
        said(Settings { concepts: vec!["b".into()], ..settings() }, &data),
        "concept-activation-vectors needs cases of every label that is named, but none of `words` is labelled `b`: labels there are `a`, `c`, `random`, `explained`"
    );
    let few = |labels: [usize; 4], names: [&str; 3]| {
        let case = |i: usize| Ok(Case::new(Sample::text(["ad", "ce", "ef", "gh"][i])));
        let data = Annotated::new(from_fn("few", 4, case), names, labels.to_vec()).unwrap();
        ManyCases::over(data).unwrap()
    };
    assert_eq!(
        said(settings(), &few([0, 1, 1, 2], ["a", "random", "explained"])),
        "concept-activation-vectors needs at least four groups of random examples, but `random` has 2"
    );
    let flat = Settings { rows: RowsOf::Flat, positions: Positions::All, ..settings() };
    assert!(
        said(flat, &data).starts_with("concept-activation-vectors needs as many positions in every case")
    );
    assert!(
        said(Settings { relative: true, concepts: vec!["a".into()], ..settings() }, &data)
            .contains("two concepts")
    );
    assert_eq!(data.data().len(), 50);
}
