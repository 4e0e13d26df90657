use mmlens_core::finding::{CautionKind, Tolerance};
use mmlens_core::{Analysis, Annotated, Case, Cases, ManyCases, Sample, from_fn};
use mmlens_engine::Positions;
use mmlens_model::lape::{Groups, Lape, Settings};
use mmlens_testkit::{Oracle, Toy};
use proptest::prelude::*;
use serde_json::json;

use super::{ROUNDING, agree, each, letters, positions};
use crate::identities::few;
use crate::support::{llava, numbers, painted, scalar};

fn run(toy: &Toy, many: &ManyCases, settings: Settings) -> mmlens_core::finding::Finding {
    Lape::new(settings).unwrap().run(toy, many).unwrap()
}

#[test]
fn neurons_are_those_of_the_authors_script() {
    let oracle = Oracle::open("methods/neurons").unwrap();
    each(|name, subject, many, part| {
        let about = |field: &str| oracle.about()[field].clone();
        let settings = json!({
            "part": part, "positions": positions(part), "share": about("share"),
            "filter": about("filter")[name], "member": about("member")[name],
        });
        let settings: Settings = serde_json::from_value(settings).unwrap();
        let found = Lape::new(settings).unwrap().run(subject, many).unwrap();
        agree(&found, "rates", &oracle, &format!("{name}/lape/rates"), ROUNDING);
        agree(&found, "entropy", &oracle, &format!("{name}/lape/entropy"), ROUNDING);
        agree(&found, "members", &oracle, &format!("{name}/lape/members"), Tolerance::EXACT);
        let specific = oracle.array(&format!("{name}/lape/specific")).unwrap();
        let width = found.table("entropy").unwrap().shape()[1];
        let wanted: Vec<String> = specific
            .values
            .iter()
            .map(|unit| format!("{}.{}:", *unit as usize / width, *unit as usize % width))
            .collect();
        let listed = found.table("neurons").unwrap().as_texts().unwrap();
        assert_eq!(listed.len(), wanted.len());
        assert!(
            listed.iter().zip(&wanted).all(|(found, wanted)| found.starts_with(wanted.as_str())),
            "{listed:?} {wanted:?}"
        );
        assert_eq!(scalar(&found, "found"), wanted.len() as f32);
        ROUNDING
            .check(
                "threshold",
                &[scalar(&found, "threshold")],
                &oracle.array(&format!("{name}/lape/threshold")).unwrap().values,
            )
            .unwrap();
        let members: f32 = numbers(&found, "members").iter().sum();
        assert_eq!(numbers(&found, "specific").iter().sum::<f32>(), members);
    });
}

/// Cases and their classes, the latter called something else and in another order.
fn renamed(count: usize) -> ManyCases {
    let data = letters(count);
    let labels = (0..count).map(|case| 1 - data.label(case).unwrap().unwrap()).collect();
    let bare = from_fn("letters", count, move |case| data.case(case));
    ManyCases::over(Annotated::new(bare, ["second", "first"], labels).unwrap()).unwrap()
}

proptest! {
    #![proptest_config(few())]

    #[test]
    fn names_and_order_of_groups_decide_nothing(seed in 0..99_u64, count in 8..20_usize) {
        let toy = Toy::curved(seed);
        let settings = || Settings { share: 0.3, filter: 0.6, member: 0.6, ..Settings::default() };
        let one = run(&toy, &ManyCases::over(letters(count)).unwrap(), settings());
        let other = run(&toy, &renamed(count), settings());
        // Two terms are added in another order.
        ROUNDING.check("entropy", numbers(&one, "entropy"), numbers(&other, "entropy")).unwrap();
        prop_assert_eq!(scalar(&one, "found"), scalar(&other, "found"));
        let mirrored: Vec<f32> = numbers(&other, "members").chunks(2).flat_map(|own| [own[1], own[0]]).collect();
        prop_assert_eq!(numbers(&one, "members"), mirrored);
        let most = 2.0_f32.ln() + 1e-6;
        prop_assert!(numbers(&one, "entropy").iter().all(|value| (0.0..=most).contains(value)));
        prop_assert!(numbers(&one, "rates").iter().all(|rate| (0.0..=1.0).contains(rate)));
    }

    /// A data set twice has twice the rows, and the same rates.
    #[test]
    fn rates_do_not_count_how_often_a_case_is_there(seed in 0..99_u64) {
        let toy = Toy::curved(seed);
        let data = letters(8);
        let labels = (0..16).map(|case| data.label(case % 8).unwrap().unwrap()).collect();
        let twice = from_fn("twice", 16, move |case| data.case(case % 8));
        let twice = ManyCases::over(Annotated::new(twice, ["one", "other"], labels).unwrap()).unwrap();
        let one = run(&toy, &ManyCases::over(letters(8)).unwrap(), Settings::default());
        let two = run(&toy, &twice, Settings::default());
        prop_assert_eq!(numbers(&one, "rates"), numbers(&two, "rates"));
        let doubled: Vec<f32> = numbers(&one, "rows").iter().map(|rows| 2.0 * rows).collect();
        prop_assert_eq!(doubled, numbers(&two, "rows"));
    }
}

#[test]
fn modalities_are_those_of_the_positions() {
    let subject = llava("llava-a");
    let many = super::cases(true);
    let settings = Settings { groups: Groups::Modalities, ..Settings::default() };
    let found = Lape::new(settings).unwrap().run(subject, &many).unwrap();
    let rows = found.table("rows").unwrap();
    let names: Vec<String> = (0..rows.len()).map(|at| rows.axes()[0].label(at).unwrap()).collect();
    assert_eq!(names, ["text", "image", "special"]);
    // 25 patches and one marker in each of 18 cases.
    assert_eq!(&numbers(&found, "rows")[1..], [450.0, 18.0]);
    // The rate of a kind is that over its positions alone.
    let of = |positions| {
        let settings = mmlens_model::exemplars::Settings {
            positions,
            point: mmlens_core::Point::MlpGate,
            ..Default::default()
        };
        let found = mmlens_model::exemplars::Exemplars::new(settings).unwrap().run(subject, &many).unwrap();
        numbers(&found, "rate").to_vec()
    };
    let pictures: Vec<f32> = numbers(&found, "rates").chunks(3).map(|own| own[1]).collect();
    ROUNDING.check("pictures", &pictures, &of(Positions::Pictures)).unwrap();
    let first: Vec<f32> = numbers(&found, "rates").chunks(3).map(|own| own[2]).collect();
    ROUNDING.check("marker", &first, &of(Positions::At(vec![0]))).unwrap();
}

/// Cases of one token in front, which blocks see: neurons of block 0 are above zero for one class, or not at all.
fn told_apart(count: usize, mixed: bool) -> ManyCases {
    let data = from_fn("words", count, |i| Ok(Case::new(Sample::text(["aa", "cc"][i % 2].repeat(8)))));
    let labels = (0..count).map(|i| if mixed { (i / 2) % 2 } else { i % 2 }).collect();
    ManyCases::over(Annotated::new(data, ["a", "c"], labels).unwrap()).unwrap()
}

#[test]
fn cautions_come_where_they_are_due() {
    let toy = Toy::curved(3);
    let kinds = |many: &ManyCases| {
        // Rates are 0 or 1, and most neurons have one that is 0.
        let settings = Settings { filter: 0.2, member: 0.2, share: 0.2, ..Settings::default() };
        let found = run(&toy, many, settings);
        let chance = (scalar(&found, "shuffled mean"), scalar(&found, "found"));
        (found.cautions().iter().map(|caution| caution.kind).collect::<Vec<_>>(), chance)
    };
    let (sound, (mean, found)) = kinds(&told_apart(24, false));
    assert!(sound.is_empty() && mean < 0.5 * found, "{sound:?} {mean} {found}");
    // Classes that have nothing to do with the words.
    let (chance, (mean, found)) = kinds(&told_apart(24, true));
    assert_eq!(chance, [CautionKind::Chance], "{mean} {found}");
    assert_eq!(kinds(&told_apart(2, false)).0.last(), Some(&CautionKind::FewRows));
}

#[test]
fn what_cannot_be_is_refused() {
    let toy = Toy::curved(1);
    let said = |many: &ManyCases, settings: serde_json::Value| {
        let settings: Settings = serde_json::from_value(settings).unwrap();
        Lape::new(settings).and_then(|method| method.run(&toy, many)).unwrap_err().to_string()
    };
    let bare = ManyCases::over(from_fn("bare", 4, |_| Ok(Case::new(Sample::text("abc"))))).unwrap();
    assert_eq!(said(&bare, json!({})), "lape needs a data set with labels, but `bare` has none");
    let modalities = json!({ "groups": "modalities" });
    assert_eq!(said(&bare, modalities), "lape needs rows of at least two groups, but there are 1: text");
    let data = from_fn("one", 2, |_| Ok(Case::new(Sample::prompt(vec![painted(1)], "#a"))));
    let one = ManyCases::over(Annotated::new(data, ["a", "c"], vec![0, 0]).unwrap()).unwrap();
    assert_eq!(said(&one, json!({})), "lape needs cases of every class, but there is none of `c`");
    let many = ManyCases::over(letters(8)).unwrap();
    assert_eq!(said(&many, json!({ "share": 0.0 })), "lape: share = 0, but it must lie between 0 and 1");
    assert!(said(&many, json!({ "layers": { "at": [5] } })).contains("layers = 5, of 2"));
}
