//! Maps from passes over parts that are there or not: the same numbers as scikit-learn, SciPy and orders written out, and what must hold for every
//! subject.

use mmlens_core::finding::{CautionKind, Finding, Role, Tolerance};
use mmlens_core::{Analysis, Baseline, Case, Objective, Reading, Region, Sample, Seed, Words};
use mmlens_model::lime::{self, Lime};
use mmlens_model::mm_shap::{self, MmShap};
use mmlens_model::occlusion::{self, Cover, Each, Hide, Occlusion};
use mmlens_model::permutation_shap::{self, PermutationShap};
use mmlens_model::rise::{self, Rise};
use mmlens_testkit::{Oracle, Toy};
use proptest::prelude::*;

use crate::identities::{asked, few};
use crate::support::{about, captioned, llava, numbers, opened, question, scalar, shown, total};

/// Differences of nearly equal logits.
const SHARE: Tolerance = Tolerance::relative(1e-3);
const ROUNDING: Tolerance = Tolerance::either(2e-5, 1e-4);

fn agree(what: &str, found: &[f32], wanted: &[f64]) {
    let gap = SHARE.check(what, found, wanted).unwrap();
    println!("{what}: {:.2e}", gap.relative);
}

fn grid(rows: usize, cols: usize) -> Option<Cover> {
    Some(Cover::Grid { rows, cols })
}

/// The question about `wide` whose parts are four cells and three words, and its answer.
fn sized() -> Case {
    let oracle = Oracle::open("methods/kernel-shap").unwrap();
    let token = oracle.array("target").unwrap().ids()[0];
    about(shown(&["wide"], oracle.about()["prompt"].as_str().unwrap()), Objective::logit(token))
}

fn classified() -> Case {
    let token = Oracle::open("methods/saliency").unwrap().array("vit-a/target").unwrap().ids()[0];
    about(Sample::new(shown(&["square"], "").pictures, Words::Nothing), Objective::logit(token))
}

/// The picture `wide` with the caption of the oracle, whose parts are four cells and its tokens.
fn fitting() -> Case {
    let oracle = Oracle::open("methods/surrogates").unwrap();
    about(captioned("wide", &[oracle.about()["caption"].as_str().unwrap()]), Objective::Similarity)
}

#[test]
fn lines_are_those_of_scikit_learn() {
    let oracle = Oracle::open("methods/surrogates").unwrap();
    let of = |name: &str| &oracle.array(name).unwrap().values;
    let settings = |cells| lime::Settings {
        picture: grid(cells, cells),
        pixels: Baseline::Zero,
        each: Each::Token,
        samples: 60,
        seed: Seed(5),
        ..Default::default()
    };
    for (name, cells, case) in [("llava-a", 2, sized()), ("vit-a", 3, classified()), ("clip-a", 2, fitting())]
    {
        let found = Lime::new(settings(cells)).unwrap().run(opened(name), &case).unwrap();
        let mut all = numbers(&found, "picture").to_vec();
        all.extend(found.find("tokens").and_then(|table| table.as_numbers()).unwrap_or_default());
        agree(&format!("LIME, {name}"), &all, of(&format!("{name}/lime/coefficients")));
        for (table, what) in [("intercept", "intercept"), ("explained", "explained")] {
            agree(table, numbers(&found, table), of(&format!("{name}/lime/{what}")));
        }
        let whole = all.iter().map(|c| f64::from(*c)).sum::<f64>() + of(&format!("{name}/lime/intercept"))[0];
        agree("prediction", numbers(&found, "prediction"), &[whole]);
    }
}

#[test]
fn veils_are_those_of_scipy() {
    let oracle = Oracle::open("methods/surrogates").unwrap();
    let of = |name: &str| &oracle.array(name).unwrap().values;
    let settings = rise::Settings {
        cells: [3, 3],
        samples: 24,
        map: [6, 6],
        pixels: Baseline::Zero,
        seed: Seed(5),
        rows: 5,
        ..Default::default()
    };
    for (name, case) in [("llava-a", question()), ("vit-a", classified())] {
        let found = Rise::new(settings.clone()).unwrap().run(opened(name), &case).unwrap();
        agree(&format!("RISE, {name}"), numbers(&found, "picture"), of(&format!("{name}/rise/map")));
        agree("errors", numbers(&found, "picture error"), of(&format!("{name}/rise/error")));
        agree("behind", numbers(&found, "objective behind veils"), of(&format!("{name}/rise/behind")));
        assert_eq!(found.table("picture").unwrap().roles(), [Role::Row, Role::Column]);
    }
}

fn ordered(orders: usize, exact: bool) -> PermutationShap {
    let settings = permutation_shap::Settings {
        picture: grid(2, 2),
        pixels: Baseline::Zero,
        each: Each::Token,
        orders,
        exact,
        seed: Seed(5),
        ..Default::default()
    };
    PermutationShap::new(settings).unwrap()
}

fn shares(found: &Finding, what: &str) -> Vec<f32> {
    let of = |table: &str| numbers(found, &format!("{table}{what}")).to_vec();
    [of("picture"), of("tokens")].concat()
}

#[test]
fn orders_are_walked_as_by_hand() {
    let (oracle, kernel) =
        (Oracle::open("methods/surrogates").unwrap(), Oracle::open("methods/kernel-shap").unwrap());
    let of = |name: &str| &oracle.array(name).unwrap().values;
    let exact = PermutationShap::run(&ordered(1, true), llava("llava-a"), &sized()).unwrap();
    let wanted = ["cells", "words"].map(|name| kernel.array(name).unwrap().values.clone()).concat();
    agree("all orders", &shares(&exact, ""), &wanted);
    assert!(exact.provenance.seed.is_none());
    let found = ordered(3, false).run(llava("llava-a"), &sized()).unwrap();
    agree("three orders", &shares(&found, ""), of("llava-a/orders/shares"));
    agree("their errors", &shares(&found, " error"), of("llava-a/orders/errors"));
    assert_eq!(found.provenance.seed, Some(5));
    // Of three tokens there are two times two cells.
    let settings = mm_shap::Settings { orders: 3, seed: Seed(5), ..Default::default() };
    let modal = MmShap::new(settings).unwrap().run(llava("llava-a"), &sized()).unwrap();
    agree("MM-SHAP", &shares(&modal, ""), of("llava-a/orders/shares"));
    agree("left", numbers(&modal, "left of shares"), of("llava-a/orders/left"));
    let size = |values: &[f64]| values.iter().map(|v| v.abs()).sum::<f64>();
    let (cells, words) = of("llava-a/orders/shares").split_at(4);
    let all = size(cells) + size(words);
    agree("V-SHAP and T-SHAP", numbers(&modal, "by modality"), &[size(cells) / all, size(words) / all]);
}

/// Of a dual encoder, which MM-SHAP was made for, and of a picture without words; all orders as shap has them.
#[test]
fn orders_of_other_kinds_are_walked_as_by_hand_and_by_shap() {
    let oracle = Oracle::open("methods/surrogates").unwrap();
    let of = |name: &str| &oracle.array(name).unwrap().values;
    let clip = opened("clip-a");
    let exact = ordered(1, true).run(clip, &fitting()).unwrap();
    agree("clip-a, all orders", &shares(&exact, ""), of("clip-a/orders/exact"));
    let found = ordered(3, false).run(clip, &fitting()).unwrap();
    agree("clip-a, three orders", &shares(&found, ""), of("clip-a/orders/shares"));
    agree("clip-a, their errors", &shares(&found, " error"), of("clip-a/orders/errors"));
    let settings = mm_shap::Settings { orders: 3, seed: Seed(5), ..Default::default() };
    let modal = MmShap::new(settings).unwrap().run(clip, &fitting()).unwrap();
    agree("clip-a, MM-SHAP", &shares(&modal, ""), of("clip-a/orders/shares"));
    agree("clip-a, left", numbers(&modal, "left of shares"), of("clip-a/orders/left"));
    let size = |values: &[f64]| values.iter().map(|v| v.abs()).sum::<f64>();
    let (cells, words) = of("clip-a/orders/shares").split_at(4);
    let all = size(cells) + size(words);
    agree(
        "clip-a, V-SHAP and T-SHAP",
        numbers(&modal, "by modality"),
        &[size(cells) / all, size(words) / all],
    );
    let seen = ordered(3, false).run(opened("vit-a"), &classified()).unwrap();
    agree("vit-a, three orders", numbers(&seen, "picture"), of("vit-a/orders/shares"));
    agree("vit-a, their errors", numbers(&seen, "picture error"), of("vit-a/orders/errors"));
}

fn line(cells: Option<Cover>, samples: usize, alpha: f64, rows: usize) -> Lime {
    let settings = lime::Settings {
        picture: cells,
        pixels: Baseline::Zero,
        each: Each::Token,
        among: mmlens_engine::Positions::Words,
        samples,
        alpha,
        rows,
        ..Default::default()
    };
    Lime::new(settings).unwrap()
}

/// The drops of the same parts.
fn dropped(toy: &Toy, case: &Case) -> Vec<f32> {
    let settings = occlusion::Settings {
        picture: grid(2, 2),
        pixels: Baseline::Zero,
        words: Some(Hide::Replace(Baseline::Zero)),
        ..Default::default()
    };
    shares(&Occlusion::new(settings).unwrap().run(toy, case).unwrap(), "")
}

proptest! {
    #![proptest_config(few())]

    /// Of an affine subject a line explains all, and says what is lost without each part; so do orders.
    #[test]
    fn a_straight_subject_is_its_line(seed in 0..99_u64, token in 0..26_u32) {
        let (toy, case) = (Toy::straight(seed), asked(seed as u32, "ab", token));
        let wanted = dropped(&toy, &case);
        let found = line(grid(2, 2), 60, 0.0, 7).run(&toy, &case).unwrap();
        ROUNDING.check("coefficients", &shares(&found, ""), &wanted).unwrap();
        prop_assert!(scalar(&found, "explained") > 0.999);
        prop_assert!((scalar(&found, "prediction") - scalar(&found, "objective")).abs() < 1e-3);
        let settings = permutation_shap::Settings {
            picture: grid(2, 2), pixels: Baseline::Zero, each: Each::Token, among: mmlens_engine::Positions::Words, orders: 1, ..Default::default()
        };
        let found = PermutationShap::new(settings).unwrap().run(&toy, &case).unwrap();
        ROUNDING.check("one order", &shares(&found, ""), &wanted).unwrap();
    }

    /// Rows are packed as memory allows; shares add up whatever is drawn.
    #[test]
    fn packs_and_draws_decide_nothing(seed in 0..99_u64, orders in 1..5_usize, token in 0..26_u32) {
        let (toy, case) = (Toy::curved(seed), asked(seed as u32, "abd", token));
        let [one, other] = [3, 16].map(|rows| line(grid(2, 2), 40, 1.0, rows).run(&toy, &case).unwrap());
        ROUNDING.check("rows", &shares(&one, ""), &shares(&other, "")).unwrap();
        let explained = scalar(&one, "explained");
        let poor = one.cautions().iter().any(|own| own.kind == CautionKind::PoorFit && own.number == explained);
        prop_assert_eq!(poor, explained < 0.5);
        let settings = permutation_shap::Settings { picture: grid(2, 2), orders, seed: Seed(seed), ..Default::default() };
        let found = PermutationShap::new(settings).unwrap().run(&toy, &case).unwrap();
        let change = f64::from(scalar(&found, "objective")) - f64::from(scalar(&found, "objective of nothing"));
        prop_assert!((total(&shares(&found, "")) - change).abs() < 1e-4, "{change}");
        let veils = |rows| rise::Settings { cells: [2, 2], samples: 12, map: [3, 3], rows, ..Default::default() };
        let [one, other] = [5, 16].map(|rows| Rise::new(veils(rows)).unwrap().run(&toy, &case).unwrap());
        ROUNDING.check("veils", numbers(&one, "picture"), numbers(&other, "picture")).unwrap();
    }

    /// What does not look has no share of the picture, what does not read none of words.
    #[test]
    fn what_is_not_used_has_no_share(seed in 0..99_u64) {
        let (toy, case) = (Toy::curved(seed), asked(seed as u32, "abdc", 3));
        let of = |site: &str, position: usize| {
            let region = Region::all().positions([position]);
            let reading = Objective::Site(Reading::at(site.parse().unwrap()).within(region));
            MmShap::new(Default::default()).unwrap().run(&toy, &about(case.sample.clone(), reading)).unwrap()
        };
        // Where the stream begins a word is itself alone; behind the connector there are patches.
        let (inputs, _) = case.open(&toy).unwrap();
        let word = inputs.positions() - 3;
        let reads = of("text.blocks.0.resid_pre", word);
        prop_assert_eq!(numbers(&reads, "by modality"), [0.0, 1.0]);
        let looks = of("connector.out", 1);
        prop_assert_eq!(numbers(&looks, "by modality"), [1.0, 0.0]);
        let found = Rise::new(rise::Settings { samples: 6, ..Default::default() }).unwrap();
        let region = Region::all().positions([word]);
        let blind = Objective::Site(Reading::at("text.embed".parse().unwrap()).within(region));
        let found = found.run(&toy, &about(case.sample.clone(), blind)).unwrap();
        prop_assert!(numbers(&found, "picture").iter().all(|value| *value == 0.0));
        prop_assert_eq!(found.cautions()[0].kind, CautionKind::NothingMoved);
    }
}

/// A picture of all words alone, of all pictures alone, and of both.
#[test]
fn lines_of_one_modality_and_of_both() {
    let (toy, case) = (Toy::curved(4), asked(4, "abd", 3));
    let both = line(grid(2, 2), 40, 1.0, 8).run(&toy, &case).unwrap();
    assert!(both.find("picture").is_some() && both.find("tokens").is_some());
    let words = line(None, 40, 1.0, 8).run(&toy, &case).unwrap();
    assert!(words.find("picture").is_none() && words.find("tokens").is_some());
    let settings = lime::Settings { picture: grid(2, 2), words: None, samples: 40, ..Default::default() };
    let pictures = Lime::new(settings).unwrap().run(&toy, &case).unwrap();
    assert!(pictures.find("picture").is_some() && pictures.find("tokens").is_none());
}

/// A map of few veils is mostly chance, and says how much; of many it is settled.
#[test]
fn veils_that_settle_nothing_are_spoken_of() {
    let run = |samples| {
        let settings = rise::Settings { cells: [2, 2], samples, map: [4, 4], ..Default::default() };
        Rise::new(settings).unwrap().run(&Toy::curved(5), &asked(5, "abc", 4)).unwrap()
    };
    let (few, many) = (run(3), run(3000));
    let noise = |found: &Finding| scalar(found, "noise");
    assert!(noise(&few) > 0.5 && noise(&many) < 0.5, "{} {}", noise(&few), noise(&many));
    let said = few.cautions();
    assert!(
        said.iter().any(|own| own.kind == CautionKind::Unsteady && (own.number - noise(&few)).abs() < 1e-5),
        "{said:?}"
    );
    assert!(many.cautions().iter().all(|own| own.kind != CautionKind::Unsteady), "{:?}", many.cautions());
    // The errors are those that other seeds have: of 20 maps of 200 veils, at every cell.
    let maps: Vec<Vec<f32>> = (0..20)
        .map(|seed| {
            let settings = rise::Settings {
                cells: [2, 2],
                samples: 200,
                map: [2, 2],
                seed: Seed(seed),
                ..Default::default()
            };
            let found = Rise::new(settings).unwrap().run(&Toy::curved(5), &asked(5, "abc", 4)).unwrap();
            [numbers(&found, "picture"), numbers(&found, "picture error")].concat()
        })
        .collect();
    for cell in 0..4 {
        let of = |at: usize| maps.iter().map(|map| f64::from(map[at])).collect::<Vec<_>>();
        let (values, errors) = (of(cell), of(4 + cell));
        let mean = values.iter().sum::<f64>() / 20.0;
        let spread = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 19.0).sqrt();
        let told = errors.iter().sum::<f64>() / 20.0;
        assert!((0.5..2.0).contains(&(spread / told)), "cell {cell}: {spread} {told}");
    }
}

/// Shares of both signs that leave little are spoken of with what is left.
#[test]
fn shares_that_cancel_are_spoken_of() {
    let mut spoken = 0;
    for seed in 0..40 {
        let toy = Toy::curved(seed);
        let found =
            MmShap::new(Default::default()).unwrap().run(&toy, &asked(seed as u32, "abdc", 4)).unwrap();
        let left = scalar(&found, "left of shares");
        let own = found.cautions().into_iter().find(|own| own.kind == CautionKind::Cancelled);
        assert_eq!(own.as_ref().map(|own| own.number), (left < 0.1).then_some(left));
        spoken += usize::from(own.is_some());
    }
    assert!(spoken > 0 && spoken < 40, "{spoken}");
}

#[test]
fn what_cannot_be_is_refused() {
    let said = |found: Result<Finding, mmlens_core::AnalysisError>| found.unwrap_err().to_string();
    let toy = Toy::curved(1);
    let words = about(Sample::prompt(vec![], "abc"), Objective::logit(3));
    assert!(said(Rise::new(Default::default()).unwrap().run(&toy, &words)).contains("picture"), "words");
    assert!(
        said(MmShap::new(Default::default()).unwrap().run(&toy, &words))
            .contains("a picture or recording beside the words")
    );
    let settings = permutation_shap::Settings { picture: grid(5, 5), exact: true, ..Default::default() };
    let many = said(PermutationShap::new(settings).unwrap().run(&toy, &asked(1, "abc", 3)));
    assert!(many.contains("at most 20 are enumerated"), "{many}");
    for settings in [
        lime::Settings { width: 0.0, ..Default::default() },
        lime::Settings { alpha: -1.0, ..Default::default() },
        lime::Settings { samples: 1, ..Default::default() },
        lime::Settings {
            picture: Some(Cover::Sliding { window: [2, 2], stride: [1, 1] }),
            ..Default::default()
        },
    ] {
        assert!(Lime::new(settings).is_err());
    }
    for settings in [
        rise::Settings { open: 1.0, ..Default::default() },
        rise::Settings { cells: [0, 3], ..Default::default() },
        rise::Settings { samples: 1, ..Default::default() },
    ] {
        assert!(Rise::new(settings).is_err());
    }
    // Without a penalty two draws do not tell seven parts apart.
    let few = said(line(grid(2, 2), 3, 0.0, 4).run(&toy, &asked(1, "abc", 3)));
    assert!(few.contains("draws that tell all parts apart"), "{few}");
}
