//! Tokens taken away: against hooks in transformers, against identities, and objects of the shapes world.

use burn::tensor::Device;
use mmlens_core::finding::{CautionKind, Finding, Tolerance};
use mmlens_core::{Analysis, Case, ManyCases, Objective, Part, Sample, Seed, Subject, Words, from_fn};
use mmlens_data::shapes::{Kind, ShapesCases, Split, World};
use mmlens_model::sinks::Bound;
use mmlens_model::token_ablation::{Place, Replace, Settings, TokenAblation, TokenSet, Tokens};
use mmlens_model::{TokenAblationOverCases, token_ablation_over_cases};
use mmlens_testkit::{Oracle, Toy, checkpoint};
use proptest::prelude::*;

use crate::identities::{asked, few};
use crate::support::{about, llava, numbers, question, scalar, shown};

/// Logits in f32, of passes that begin at different blocks.
const LOGIT: Tolerance = Tolerance::either(2e-5, 1e-5);

fn set(name: &str, tokens: Tokens) -> TokenSet {
    TokenSet { name: name.to_owned(), tokens }
}

fn run(subject: &dyn Subject, case: &Case, settings: Settings) -> Finding {
    TokenAblation::new(settings).unwrap().run(subject, case).unwrap()
}

const HOW: [(Replace, &str); 3] = [(Replace::Zero, "zero"), (Replace::Mean, "mean"), (Replace::Cut, "cut")];

#[test]
fn changes_are_those_of_hooks_in_transformers() {
    let oracle = Oracle::open("methods/tokens").unwrap();
    let clip = mmlens_zoo::open(checkpoint("clip-a"), &Device::default()).unwrap();
    let caption = Sample::new(shown(&["square"], "").pictures, Words::Texts(vec!["a red square".to_owned()]));
    let caption = about(caption, Objective::Similarity);
    let (llava, question) = (llava("llava-a"), question());
    for (name, subject, case, part) in [
        ("llava", llava as &dyn Subject, &question, None),
        ("clip", clip.as_ref(), &caption, Some(Part::Vision)),
    ] {
        let of_set = |(at, own): (usize, &serde_json::Value)| {
            set(&at.to_string(), Tokens::At(serde_json::from_value(own.clone()).unwrap()))
        };
        let sets: Vec<TokenSet> =
            oracle.about()["sets"][name].as_array().unwrap().iter().enumerate().map(of_set).collect();
        for (replace, how) in HOW {
            for from in [0, 1] {
                let base =
                    Settings { part, sets: sets.clone(), replace, from, controls: 2, ..Settings::default() };
                let found = TokenAblation::new(base).unwrap().run(subject, case).unwrap();
                let wanted = oracle.array(&format!("ablation/{name}/{how}/{from}")).unwrap();
                let apart = LOGIT.check(how, numbers(&found, "change"), &wanted.values).unwrap();
                println!("{name} {how} {from}: {apart:?}");
            }
        }
    }
}

/// What is told of random sets is what those sets do, and `p` is by rank, worked out here once more.
#[test]
fn random_sets_do_what_sets_do() {
    let subject = llava("llava-a");
    let sets = vec![set("patches", Tokens::At(vec![2, 3, 9])), set("both", Tokens::At(vec![4, 27]))];
    let settings = Settings { sets, controls: 5, seed: Seed(3), ..Settings::default() };
    let found = run(subject, &question(), settings.clone());
    let drawn = found.table("drawn").unwrap().as_texts().unwrap();
    let drawn: Vec<Vec<usize>> =
        drawn.iter().map(|own| own.split(", ").map(|at| at.parse().unwrap()).collect()).collect();
    assert_eq!(drawn.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 3, 3, 3, 2, 2, 2, 2, 2]);
    let again =
        drawn.iter().enumerate().map(|(at, own)| set(&at.to_string(), Tokens::At(own.clone()))).collect();
    let again = run(subject, &question(), Settings { sets: again, ..settings.clone() });
    LOGIT.check("controls", numbers(&found, "controls"), numbers(&again, "change")).unwrap();
    for (at, controls) in numbers(&found, "controls").chunks(5).enumerate() {
        let change = numbers(&found, "change")[at];
        let reach = controls.iter().filter(|own| own.abs() >= change.abs()).count();
        assert_eq!(numbers(&found, "p")[at], (1 + reach) as f32 / 6.0);
        let mean = controls.iter().sum::<f32>() / 5.0;
        assert!((numbers(&found, "control mean")[at] - mean).abs() < 1e-5);
        let squares: f32 = controls.iter().map(|own| (own - mean).powi(2)).sum();
        assert!((numbers(&found, "control deviation")[at] - (squares / 4.0).sqrt()).abs() < 1e-5);
    }
    // Another seed draws others; the same one the same.
    let other = run(subject, &question(), Settings { seed: Seed(4), ..settings.clone() });
    assert_ne!(other.table("drawn").unwrap(), found.table("drawn").unwrap());
    assert_eq!(run(subject, &question(), settings), found);
}

/// With the picture's positions cut from the first block on, another picture gives the same.
#[test]
fn what_nobody_sees_does_not_matter() {
    let value = |name: &str, replace: Replace| {
        let case = about(shown(&[name], "<image>Red?"), Objective::logit(7));
        let settings = Settings {
            sets: vec![set("all", Tokens::Pictures)],
            replace,
            controls: 2,
            ..Settings::default()
        };
        let found = run(llava("llava-a"), &case, settings);
        (scalar(&found, "objective"), scalar(&found, "objective") + numbers(&found, "change")[0])
    };
    for replace in [Replace::Cut, Replace::Zero] {
        let (one, other) = (value("square", replace), value("tall", replace));
        assert!((one.0 - other.0).abs() > 1e-3, "{one:?} {other:?}");
        assert!((one.1 - other.1).abs() < 1e-5, "{replace:?}: {one:?} {other:?}");
    }
}

proptest! {
    #![proptest_config(few())]

    /// How many variants share a pass decides nothing, and boxes hold what they and the rest of the picture are.
    #[test]
    fn rows_decide_nothing(seed in 0..99_u64, word in "[a-f]{2,5}", rows in 1..7_usize, x in 0.0..7.0_f32, buffer in 0.0..3.0_f32) {
        let (toy, case) = (Toy::curved(seed), asked(1, &word, 3));
        let place = Place { image: 0, bbox: [x, 1.0, x + 1.0, 3.0], buffer };
        let sets = vec![set("in", Tokens::Box(place)), set("out", Tokens::Outside(place)), set("all", Tokens::Pictures)];
        let base = Settings { sets, controls: 3, ..Settings::default() };
        let (one, many) = (run(&toy, &case, Settings { rows: 1, ..base.clone() }), run(&toy, &case, Settings { rows, ..base }));
        LOGIT.check("rows", numbers(&one, "controls"), numbers(&many, "controls")).unwrap();
        LOGIT.check("rows", numbers(&one, "change"), numbers(&many, "change")).unwrap();
        let size = numbers(&one, "size");
        prop_assert_eq!(size[0] + size[1], size[2]);
    }
}

/// On questions about colours the object matters, more than any random set like it, however it is taken away; what lies around it
/// does not.
#[test]
fn the_object_matters_and_the_background_does_not() {
    let shapes = mmlens_zoo::shipped::shapes(&Device::default()).unwrap();
    let data = ManyCases::over(ShapesCases::new(World::new(5), Split::Test, Kind::Colour, 8)).unwrap();
    for (replace, from) in [(Replace::Mean, 0), (Replace::Cut, 0), (Replace::Zero, 0)] {
        let settings =
            token_ablation_over_cases::Settings { replace, from, controls: 19, ..Default::default() };
        let found = TokenAblationOverCases::new(settings).unwrap().run(&shapes, &data).unwrap();
        let [change, excess, p, significant] =
            ["change", "excess", "p", "significant"].map(|name| numbers(&found, name));
        println!("{replace:?}: change {change:?} excess {excess:?} p {p:?} significant {significant:?}");
        assert!(
            change[0] < 0.0 && excess[0] < 0.0 && p[0] == 0.05,
            "{replace:?} {change:?} {excess:?} {p:?}"
        );
        assert!(excess[1] > 0.0, "{replace:?} {excess:?}");
        assert!(found.cautions().is_empty(), "{:?}", found.cautions());
    }
}

#[test]
fn one_case_is_what_it_is_by_itself() {
    let case = || about(shown(&["square"], "<image>Red?"), Objective::logit(7));
    let sets = vec![set("patches", Tokens::At(vec![2, 3, 9]))];
    let many = ManyCases::over(from_fn("one", 1, move |_| Ok(case()))).unwrap();
    let seed = Seed(9);
    let settings = token_ablation_over_cases::Settings {
        sets: Some(sets.clone()),
        controls: 4,
        seed,
        ..Default::default()
    };
    let found = TokenAblationOverCases::new(settings).unwrap().run(llava("llava-a"), &many).unwrap();
    let case = about(shown(&["square"], "<image>Red?"), Objective::logit(7));
    let one =
        run(llava("llava-a"), &case, Settings { sets, controls: 4, seed: seed.at(0), ..Settings::default() });
    for table in ["change", "control mean", "control deviation", "p", "size"] {
        LOGIT.check(table, numbers(&found, table), numbers(&one, table)).unwrap();
    }
    assert!(
        (numbers(&found, "excess")[0] - (numbers(&one, "change")[0] - numbers(&one, "control mean")[0]))
            .abs()
            < 1e-6
    );
}

#[test]
fn sets_that_are_nothing_or_everything_are_spoken_of() {
    let kinds =
        |found: &Finding| found.cautions().iter().map(|own| (own.kind, own.number)).collect::<Vec<_>>();
    let settings = |tokens, controls| Settings {
        sets: vec![set("some", Tokens::At(vec![2, 3])), set("it", tokens)],
        controls,
        ..Settings::default()
    };
    let of = |tokens, controls| run(llava("llava-a"), &question(), settings(tokens, controls));
    assert_eq!(kinds(&of(Tokens::At(vec![5]), 19)), []);
    assert_eq!(kinds(&of(Tokens::At(vec![5]), 4)), [(CautionKind::FewRows, 4.0)]);
    assert_eq!(kinds(&of(Tokens::Registers(Bound::Above(1e9)), 19)), [(CautionKind::Other, 0.0)]);
    let all = of(Tokens::Pictures, 19);
    let pictures = numbers(&all, "size")[1];
    assert_eq!(kinds(&all), [(CautionKind::Other, pictures)]);
    assert_eq!((numbers(&all, "p")[1], numbers(&all, "control deviation")[1]), (1.0, 0.0));
}

#[test]
fn what_cannot_be_taken_away_is_refused() {
    let toy = Toy::curved(1);
    let said = |settings: Settings| {
        TokenAblation::new(settings)
            .and_then(|own| own.run(&toy, &asked(1, "abc", 2)))
            .unwrap_err()
            .to_string()
    };
    let some = |tokens| Settings { sets: vec![set("it", tokens)], ..Settings::default() };
    assert_eq!(
        said(Settings { sets: Vec::new(), ..Settings::default() }),
        "token-ablation: sets = none, but something must be taken away"
    );
    let twice = Settings {
        sets: vec![set("it", Tokens::Pictures), set("it", Tokens::Markers)],
        ..Settings::default()
    };
    assert_eq!(said(twice), "token-ablation: sets = `it` twice, but names must tell them apart");
    assert!(
        said(Settings { controls: 1, ..some(Tokens::Pictures) }).contains("a deviation takes at least 2")
    );
    assert!(said(Settings { from: 9, ..some(Tokens::Pictures) }).contains("from = 9, of "));
    assert!(said(some(Tokens::At(vec![99]))).contains("position 99 was asked for of "));
    assert!(said(some(Tokens::At(Vec::new()))).contains("none of the sets has one"));
    assert!(said(some(Tokens::Masked(None))).contains("regions of the pictures"));
    let vision = Settings { part: Some(Part::Vision), ..some(Tokens::Pictures) };
    assert!(said(vision).contains("blocks in its part `vision`"));
}
