use mmlens_core::finding::{CautionKind, Finding, Tolerance};
use mmlens_core::{Analysis, Annotated, Case, Cases, ManyCases, Memory, On, Sample, Seed, from_fn};
use mmlens_engine::{MannWhitney, Positions, Ranked, benjamini_hochberg};
use mmlens_model::selectivity::{Pool, Selectivity, Settings};
use mmlens_testkit::{Oracle, Toy};
use proptest::prelude::*;
use serde_json::json;

use super::{ROUNDING, agree, each, letters, positions};
use crate::identities::few;
use crate::support::{numbers, scalar};

fn run(toy: &Toy, many: &ManyCases, settings: Settings) -> Finding {
    Selectivity::new(settings).unwrap().run(toy, many).unwrap()
}

#[test]
fn tests_of_drawn_rows_are_scipys() {
    let oracle = Oracle::open("methods/neurons").unwrap();
    for name in ["few", "tied", "many", "many-tied"] {
        let array = |what: &str| oracle.array(&format!("drawn.{name}.{what}")).unwrap().clone();
        let (values, first) = (array("values"), array("first").values[0] as usize);
        let (count, values) = (values.dims[1], values.f32());
        let test = MannWhitney::new(first, count - first);
        let own: Vec<bool> = (0..count).map(|at| at < first).collect();
        let found = values.chunks(count).map(|row| {
            let ranked = Ranked::of(row);
            let u = test.u(&ranked, &own);
            (u, test.p(u, ranked.ties))
        });
        let (u, p): (Vec<f64>, Vec<f64>) = found.unzip();
        assert_eq!(u, array("u").values, "{name}");
        // Tails of the normal distribution by another library.
        let exact = Tolerance::either(1e-12, 1e-12).by_row(1);
        exact.check(&format!("{name} p"), &p, &array("p").values).unwrap();
        exact.check(&format!("{name} q"), &benjamini_hochberg(&p), &array("q").values).unwrap();
    }
}

#[test]
fn neurons_are_told_apart_as_by_scipy() {
    let oracle = Oracle::open("methods/neurons").unwrap();
    each(|name, subject, many, part| {
        for pool in ["mean", "max"] {
            let settings = json!({ "part": part, "positions": positions(part), "pool": pool });
            let settings: Settings = serde_json::from_value(settings).unwrap();
            let found = Selectivity::new(settings).unwrap().run(subject, many).unwrap();
            for (table, within) in [
                ("auroc", ROUNDING),
                ("p", ROUNDING),
                ("q", ROUNDING),
                // Quotients of differences of activations.
                ("d prime", Tolerance::either(1e-4, 1e-4)),
                ("index", Tolerance::either(1e-4, 1e-4)),
            ] {
                agree(&found, table, &oracle, &format!("{name}/{pool}/{table}"), within);
            }
        }
    });
}

/// The same cases with the classes the other way round, and a class by name.
fn other(count: usize) -> Settings {
    let _ = count;
    Settings { class: Some("other".to_owned()), ..Settings::default() }
}

proptest! {
    #![proptest_config(few())]

    #[test]
    fn the_other_class_is_the_mirror(seed in 0..99_u64, count in 6..30_usize) {
        let (toy, many) = (Toy::curved(seed), ManyCases::over(letters(count)).unwrap());
        let (one, two) = (run(&toy, &many, Settings::default()), run(&toy, &many, other(count)));
        let mirrored: Vec<f32> = numbers(&two, "auroc").iter().map(|auroc| 1.0 - auroc).collect();
        ROUNDING.check("auroc", numbers(&one, "auroc"), &mirrored).unwrap();
        // Sums of probabilities from the other end.
        ROUNDING.check("p", numbers(&one, "p"), numbers(&two, "p")).unwrap();
        let negative: Vec<f32> = numbers(&two, "d prime").iter().map(|d| -d).collect();
        prop_assert_eq!(numbers(&one, "d prime"), negative);
        prop_assert_eq!(numbers(&one, "mean of the class"), numbers(&two, "mean of others"));
        let ordered = numbers(&one, "q").iter().zip(numbers(&one, "p")).all(|(q, p)| q >= p && *q <= 1.0);
        prop_assert!(ordered);
    }

    /// Of one position the mean is the largest; and memory for one layer at a time gives what memory for all does.
    #[test]
    fn pools_and_memory(seed in 0..99_u64) {
        let (toy, many) = (Toy::curved(seed), ManyCases::over(letters(16)).unwrap());
        let settings = |pool| Settings { pool, positions: Positions::Last, ..Settings::default() };
        let (mean, max) = (run(&toy, &many, settings(Pool::Mean)), run(&toy, &many, settings(Pool::Max)));
        prop_assert_eq!(numbers(&mean, "auroc"), numbers(&max, "auroc"));
        let method = Selectivity::new(settings(Pool::Mean)).unwrap();
        let little = On::new(&toy).within(Memory::bytes(1_150_000));
        let again = method.run_on(&little, &many).unwrap();
        prop_assert_eq!(again.tables(), mean.tables());
    }
}

/// Labels that have nothing to do with the cases: with one in a hundred false, nothing is found for nearly all of them.
#[test]
fn shuffled_labels_find_little() {
    let toy = Toy::curved(7);
    let found = (0..40).filter(|seed| {
        let data = letters(40);
        let order = mmlens_engine::shuffled(40, Seed(*seed));
        let labels = order.iter().map(|at| usize::from(*at < 20)).collect();
        let data = from_fn("letters", 40, move |case| data.case(case));
        let many = ManyCases::over(Annotated::new(data, ["a", "b"], labels).unwrap()).unwrap();
        let settings = Settings { alpha: 0.01, shuffles: 0, ..Settings::default() };
        scalar(&run(&toy, &many, settings), "found") > 0.0
    });
    // 40 times 0.01 is 0.4; four or more have a chance of one in a thousand.
    let count = found.count();
    assert!(count <= 3, "{count}");
}

/// Words that begin with another letter in each class.
fn words(count: usize, groups: Option<u64>) -> ManyCases {
    let data = from_fn("words", count, |i| {
        Ok(Case::new(Sample::text(format!(
            "{}{}",
            ["ab", "cb"][i % 2],
            ["d", "e", "f", "g", "h"][i / 2 % 5]
        ))))
    });
    let data = Annotated::new(data, ["a", "c"], (0..count).map(|i| i % 2).collect()).unwrap();
    match groups {
        Some(each) => ManyCases::over(data.grouped((0..count as u64).map(|i| i / each).collect()).unwrap()),
        None => ManyCases::over(data),
    }
    .unwrap()
}

#[test]
fn neurons_that_see_the_class_are_listed_and_cautions_come_where_they_are_due() {
    let toy = Toy::curved(5);
    let first = || Settings { positions: Positions::At(vec![0]), ..Settings::default() };
    let found = run(&toy, &words(40, None), first());
    // At the first position there is the letter alone: every neuron of both blocks tells it.
    assert_eq!(scalar(&found, "found"), 16.0);
    // All of them tell the same two letters apart, and one shuffle in twenty does.
    assert!(scalar(&found, "shuffled mean") < 5.0, "{}", scalar(&found, "shuffled mean"));
    assert!(numbers(&found, "auroc of neurons").iter().all(|auroc| *auroc == 0.0 || *auroc == 1.0));
    assert_eq!(found.table("neurons").unwrap().as_texts().unwrap()[0], "0.0");
    assert!(numbers(&found, "shuffled extreme").iter().all(|auroc| (0.5..1.0).contains(auroc)));
    let kinds =
        |found: &Finding| found.cautions().iter().map(|own| (own.kind, own.number)).collect::<Vec<_>>();
    assert_eq!(kinds(&found), []);
    assert_eq!(kinds(&run(&toy, &words(40, Some(2)), first())), [(CautionKind::FewRows, 20.0)]);
    assert_eq!(kinds(&run(&toy, &words(12, None), first())), [(CautionKind::FewRows, 6.0)]);
    // What passes for a finding at a level of nearly one does so with shuffled labels, too.
    let chance = Annotated::new(
        from_fn("same", 40, |i| Ok(Case::new(Sample::text(["ab", "cb", "db"][i % 3])))),
        ["a", "c"],
        (0..40).map(|i| i / 20).collect(),
    );
    let loose = run(&toy, &ManyCases::over(chance.unwrap()).unwrap(), Settings { alpha: 0.999, ..first() });
    assert!(kinds(&loose).iter().any(|(kind, _)| *kind == CautionKind::Chance), "{:?}", kinds(&loose));
}

#[test]
fn what_cannot_be_is_refused() {
    let said = |settings: serde_json::Value| {
        let settings: Settings = serde_json::from_value(settings).unwrap();
        Selectivity::new(settings)
            .and_then(|method| method.run(&Toy::curved(1), &words(8, None)))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(said(json!({ "alpha": 1.0 })), "selectivity: alpha = 1, but it must lie between 0 and 1");
    assert_eq!(
        said(json!({ "class": "z" })),
        "selectivity: class = `z`, of a, c, but a class of the data set"
    );
    let data = from_fn("one", 2, |_| Ok(Case::new(Sample::text("ab"))));
    let one = ManyCases::over(Annotated::new(data, ["a"], vec![0, 0]).unwrap()).unwrap();
    let one =
        Selectivity::new(Settings::default()).unwrap().run(&Toy::curved(1), &one).unwrap_err().to_string();
    assert_eq!(one, "selectivity needs at least two classes, but there is one, `a`");
}
