//! CKA: against NumPy, against identities, against misuse.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};

use mmlens_core::finding::{Finding, Labels, Tolerance};
use mmlens_core::{
    Alteration, Altered, Analysis, AnalysisError, Case, Given, ManyCases, Memory, Moved, On, Plan, Sample,
    Seed, Subject, Watch, from_fn, rerun,
};
use mmlens_engine::{Positions, normal};
use mmlens_model::cka::{Estimator, RowsOf, Settings};
use mmlens_model::{Cka, METHODS};
use mmlens_testkit::{Oracle, Rewired, Toy, analysis_breaches};
use proptest::prelude::*;
use serde_json::json;

use crate::identities::few;
use crate::support::{llava, many, numbers, painted, shown};

const PICTURES: [&str; 4] = ["square", "wide", "tall", "tiny"];
const PROMPTS: [&str; 5] =
    ["<image>Red?", "<image>Big?", "<image>Is it big", "<image>left of a", "<image>it"];

/// The questions of the oracle: every prompt about every picture.
fn questions(count: usize) -> ManyCases {
    let case = |i: usize| Ok(Case::new(shown(&[PICTURES[i % 4]], PROMPTS[i / 4])));
    ManyCases::over(from_fn("questions", count, case)).unwrap()
}

/// Prompts of letters, all of them of one length.
fn letters(count: usize) -> ManyCases {
    let text = |i: usize| ["abc", "bca", "dea", "fbc", "gga", "abh", "hhd", "ccc", "dbf"][i % 9].to_owned();
    ManyCases::over(from_fn("letters", count, move |i| Ok(Case::new(Sample::text(text(i)))))).unwrap()
}

fn cka(settings: Settings) -> Cka {
    Cka::new(settings).unwrap()
}

fn by(estimator: Estimator) -> Cka {
    cka(Settings { estimator, seed: Seed(11), ..Settings::default() })
}

fn chosen(sites: &[&str]) -> Option<Vec<mmlens_core::Selector>> {
    Some(sites.iter().map(|site| site.parse().unwrap()).collect())
}

fn estimators(batch: usize) -> [(&'static str, Estimator); 3] {
    [
        ("full", Estimator::Full),
        ("debiased", Estimator::Debiased),
        ("minibatch", Estimator::Minibatch { batch }),
    ]
}

fn wide(finding: &Finding, table: &str) -> Vec<f64> {
    numbers(finding, table).iter().map(|value| f64::from(*value)).collect()
}

#[test]
fn it_agrees_with_numpy() {
    let oracle = Oracle::open("methods/cka").unwrap();
    assert_eq!(oracle.about()["seed"], 11);
    let estimators = estimators(oracle.about()["batch"].as_u64().unwrap() as usize);
    for name in ["tall", "wide", "short"] {
        let [left, right] = ["left", "right"].map(|side| oracle.array(&format!("{name}.{side}")).unwrap());
        for (form, estimator) in estimators {
            let rows = |array: &'_ mmlens_testkit::Array| array.dims[1];
            let found =
                by(estimator).of_rows((&left.values, rows(left)), (&right.values, rows(right))).unwrap();
            let wanted = &oracle.array(&format!("{name}.{form}")).unwrap().values;
            // The same sums in double precision.
            let gap = Tolerance::absolute(1e-9)
                .check(&format!("{name} {form}"), &[found.cka, found.shuffled], wanted)
                .unwrap();
            println!("{name} {form}: {:.1e}", gap.absolute);
        }
    }
    let sites = chosen(&["text.blocks.*.resid_post", "vision.blocks.*.resid_post"]);
    for (name, data) in [("one", questions(18)), ("two", questions(18).beside(llava("llava-b")))] {
        for (form, estimator) in estimators {
            let settings =
                Settings { sites: sites.clone(), estimator, seed: Seed(11), ..Settings::default() };
            let found = Cka::new(settings).unwrap().run(llava("llava-a"), &data).unwrap();
            for (table, form) in [("cka", form.to_owned()), ("shuffled", format!("{form}.shuffled"))] {
                let found = found.table(table).unwrap();
                let wanted = oracle.array(&format!("{name}.{form}")).unwrap();
                assert_eq!(found.shape(), wanted.dims);
                // There the decoder comes first, here what a pass reaches first.
                let (text, other) = (3, if name == "one" { 3 } else { 2 });
                let [rows, columns] = [0, 1].map(|axis| wanted.dims[axis]);
                let moved = |at: usize, text: usize, all: usize| (at + text) % all;
                let wanted: Vec<f64> = (0..rows * columns)
                    .map(|i| (moved(i / columns, text, rows), moved(i % columns, other, columns)))
                    .map(|(row, column)| wanted.values[row * columns + column])
                    .collect();
                // Passes in single precision are 1e-6 apart, and distances between cases are smaller than what they hold.
                let gap = Tolerance::absolute(1e-4)
                    .check(&format!("{name} {form}"), found.as_numbers().unwrap(), &wanted)
                    .unwrap();
                println!("{name} {form}: {:.1e}", gap.absolute);
            }
        }
    }
}

/// Rows of the normal distribution.
fn drawn(rows: usize, width: usize, seed: u64) -> Vec<f64> {
    (0..rows * width).map(|i| normal(Seed(seed).at(i as u64))).collect()
}

/// Rows that have something to do with others.
fn near(rows: &[f64], seed: u64) -> Vec<f64> {
    rows.iter().zip(drawn(rows.len(), 1, seed)).map(|(x, noise)| x * x + 0.7 * x + 0.5 * noise).collect()
}

/// Rows, reflected at the plane to which a direction stands upright.
fn reflected(rows: &[f64], width: usize, seed: u64) -> Vec<f64> {
    let direction = drawn(1, width, seed);
    let length: f64 = direction.iter().map(|x| x * x).sum();
    let turn = |row: &[f64]| {
        let along: f64 = row.iter().zip(&direction).map(|(x, d)| x * d).sum();
        row.iter().zip(&direction).map(|(x, d)| x - 2.0 * along / length * d).collect::<Vec<_>>()
    };
    rows.chunks(width).flat_map(turn).collect()
}

fn any_estimator() -> impl Strategy<Value = Estimator> {
    prop_oneof![
        Just(Estimator::Full),
        Just(Estimator::Debiased),
        (4..9_usize).prop_map(|batch| Estimator::Minibatch { batch })
    ]
}

/// Sums in double precision in another order.
const EXACT: Tolerance = Tolerance::absolute(1e-9);

proptest! {
    #![proptest_config(few())]

    #[test]
    fn rows_are_wholly_like_themselves_and_alike_both_ways(
        seed in 0..999_u64, n in 8..30_usize, a in 1..40_usize, estimator in any_estimator(),
    ) {
        let x = drawn(n, a, seed);
        let y = near(&x, seed + 1);
        let of = |x: &[f64], y: &[f64]| by(estimator).of_rows((x, a), (y, a)).unwrap().cka;
        EXACT.check("itself", &[of(&x, &x)], &[1.0]).unwrap();
        prop_assume!(of(&x, &y) < 0.999);
        EXACT.check("the other way round", &[of(&y, &x)], &[of(&x, &y)]).unwrap();
        prop_assert!(of(&x, &y).abs() <= 1.0 + 1e-9);
    }

    #[test]
    fn turning_scaling_and_shifting_change_nothing(
        seed in 0..999_u64, n in 8..30_usize, a in 2..40_usize, scale in 0.01..50.0_f64,
        shift in -30.0..30.0_f64, estimator in any_estimator(),
    ) {
        let (x, method) = (drawn(n, a, seed), by(estimator));
        let y = near(&x, seed + 1);
        let wanted = method.of_rows((&x, a), (&y, a)).unwrap();
        let moved: Vec<f64> = reflected(&reflected(&y, a, seed + 2), a, seed + 3)
            .iter().enumerate().map(|(i, x)| scale * x + shift * (i % a) as f64).collect();
        prop_assume!(moved.iter().zip(&y).any(|(a, b)| (a - b).abs() > 0.1));
        let found = method.of_rows((&x, a), (&moved, a)).unwrap();
        EXACT.check("moved", &[found.cka, found.shuffled], &[wanted.cka, wanted.shuffled]).unwrap();
        // What is no isometry does change it: one dimension ten times as large.
        let pulled: Vec<f64> = y.iter().enumerate().map(|(i, x)| if i % a == 0 { 10.0 * x } else { *x }).collect();
        let pulled = method.of_rows((&x, a), (&pulled, a)).unwrap();
        prop_assert!((pulled.cka - wanted.cka).abs() > 1e-6, "{pulled:?}");
    }

    #[test]
    fn one_batch_is_all_rows_and_their_order_does_not_matter(
        seed in 0..999_u64, n in 5..30_usize, a in 1..20_usize, b in 1..20_usize,
    ) {
        let (x, y) = (drawn(n, a, seed), drawn(n, b, seed + 1));
        let of = |estimator, x: &[f64], y: &[f64]| by(estimator).of_rows((x, a), (y, b)).unwrap();
        let batch = Estimator::Minibatch { batch: n.div_ceil(2) + 1 };
        prop_assert_eq!(of(batch, &x, &y), of(Estimator::Debiased, &x, &y));
        let turned = |rows: &[f64], width: usize| rows.rchunks(width).flatten().copied().collect::<Vec<_>>();
        for estimator in [Estimator::Full, Estimator::Debiased] {
            let found = of(estimator, &turned(&x, a), &turned(&y, b));
            EXACT.check("backwards", &[found.cka], &[of(estimator, &x, &y).cka]).unwrap();
            let torn = of(estimator, &turned(&x, a), &y);
            prop_assert!((torn.cka - found.cka).abs() > 1e-9, "{torn:?}");
        }
    }
}

/// Rows that have nothing to do with each other, of as many dimensions as there are rows: the mean over 40 draws.
#[test]
fn of_independent_rows_the_debiased_estimate_is_about_zero_and_the_full_one_is_not() {
    let (n, width, draws) = (20, 20, 40_u64);
    let mean = |estimator: Estimator| {
        let each = (0..draws).map(|seed| {
            let (x, y) = (drawn(n, width, 2 * seed), drawn(n, width, 2 * seed + 1));
            by(estimator).of_rows((&x, width), (&y, width)).unwrap().cka
        });
        each.sum::<f64>() / draws as f64
    };
    // One estimate deviates by about 1 / n, so that the mean of 40 does by 0.008: four times that.
    for estimator in [Estimator::Debiased, Estimator::Minibatch { batch: 6 }] {
        let found = mean(estimator);
        assert!(found.abs() < 0.06, "{estimator:?}: {found}");
    }
    assert!(mean(Estimator::Debiased).abs() < 0.032);
    // n rows of d dimensions each: HSIC(K, L) is about d d' n, HSIC(K, K) about d d (n + n n / d), of which the quotient is 1 / 2.
    let full = mean(Estimator::Full);
    assert!((full - 0.5).abs() < 0.05, "{full}");
}

#[test]
fn two_subjects_stand_side_by_side_in_one_finding() {
    let (one, other) = (Toy::curved(1), Toy::curved(2));
    let edit = || Alteration::parse("text.blocks.0.mlp_out=scale:0.5").unwrap();
    let altered = Altered::new(Toy::curved(2), [edit()]).unwrap();
    let alone = by(Estimator::Debiased).run(&one, &letters(9)).unwrap();
    let beside = by(Estimator::Debiased).run(&one, &letters(9).beside(other)).unwrap();
    let edited = by(Estimator::Debiased).run(&one, &letters(9).beside(altered)).unwrap();
    assert_ne!(beside.tables(), edited.tables());
    assert_ne!(beside.tables(), alone.tables());
    let input = edited.provenance.input.clone().unwrap();
    let (data, second) = (input.data.unwrap(), input.beside.unwrap());
    assert_eq!((data.name.as_str(), data.cases, second.data), ("letters", 9, None));
    assert_eq!(data.sha256, letters(9).data().hash().unwrap());
    assert_eq!(second.subject, Toy::curved(2).name());
    assert_eq!(second.weights_hash, Toy::curved(2).weights_hash());
    assert_eq!(second.alterations, ["text.blocks.0.mlp_out=scale:0.5"]);
    assert_eq!(edited.provenance.weights_hash, one.weights_hash());
    assert_ne!(second.weights_hash, edited.provenance.weights_hash);
    assert_eq!(alone.provenance.input.clone().unwrap().beside, None);
    assert_eq!(edited.provenance.settings["sites"], edited.provenance.settings["against"]);
    let names = ["text.blocks.0.resid_post", "text.blocks.1.resid_post"].map(str::to_owned);
    let table = edited.table("cka").unwrap();
    assert!(table.axes().iter().all(|axis| axis.labels == Labels::Names(names.to_vec())));
    // A model beside itself is a model alone.
    let itself = by(Estimator::Debiased).run(&one, &letters(9).beside(Toy::curved(1))).unwrap();
    assert_eq!(itself.tables(), alone.tables());
    let diagonal = [0, 3].map(|at| numbers(&alone, "cka")[at]);
    Tolerance::absolute(1e-6).check("itself", &diagonal, &[1.0, 1.0]).unwrap();
    // It cannot be made again from its file, which says why.
    let read = Finding::from_bytes(&edited.to_bytes().unwrap()).unwrap();
    let said = rerun(METHODS, &read, &On::new(&one), Moved::default()).unwrap_err().to_string();
    assert_eq!(
        said,
        "`cka` was run on 9 cases of `letters`, a data set that a program made: only there can it be made again"
    );
}

/// A model that takes captions beside one that takes prompts.
#[test]
fn a_second_subject_may_take_the_cases_in_other_words() {
    let toy = Toy::curved(1);
    let upper = from_fn("backwards", 9, |i| {
        let text: String =
            ["abc", "bca", "dea", "fbc", "gga", "abh", "hhd", "ccc", "dbf"][i].chars().rev().collect();
        Ok(Case::new(Sample::text(text)))
    });
    let data = letters(9).beside_over(Toy::curved(1), upper).unwrap();
    let found = by(Estimator::Full).run(&toy, &data).unwrap();
    assert!(numbers(&found, "cka")[0] < 0.999);
    let beside = found.provenance.input.clone().unwrap().beside.unwrap();
    assert_eq!(beside.data.unwrap().name, "backwards");
    let short = from_fn("short", 4, |_| Ok(Case::new(Sample::text("ab"))));
    let said = letters(9).beside_over(Toy::curved(1), short).unwrap_err().to_string();
    assert_eq!(said, "labels of `short`: 4 cases, to stand beside the 9 of `letters`");
}

#[test]
fn a_case_takes_one_pass_of_each_subject_however_many_sites_are_read() {
    let (one, other) = (Toy::curved(1), Toy::curved(2));
    static SECOND: AtomicUsize = AtomicUsize::new(0);
    let first = AtomicUsize::new(0);
    let here = Rewired::new(&one, |inputs, run| {
        first.fetch_add(1, Ordering::Relaxed);
        one.forward(inputs, run)
    });
    let other: &'static Toy = Box::leak(Box::new(other));
    let there = Rewired::new(other, |inputs, run| {
        SECOND.fetch_add(1, Ordering::Relaxed);
        other.forward(inputs, run)
    });
    let sites = chosen(&["text.blocks.*.{resid_pre,attn_out,mlp_out,resid_post}"]);
    let method = cka(Settings { sites, ..Settings::default() });
    let found = method.run(&here, &letters(7).beside(there)).unwrap();
    assert_eq!((first.load(Ordering::Relaxed), SECOND.load(Ordering::Relaxed)), (7, 7));
    assert_eq!(found.table("cka").unwrap().shape(), [8, 8]);
}

/// The rows of a case are what a pass holds there: its last position, or the mean of some.
#[test]
fn rows_are_what_passes_hold() {
    let (toy, data) = (Toy::curved(1), letters(9));
    let held = |positions: &Positions, each: bool| -> Vec<Vec<f64>> {
        let mut rows = Vec::new();
        for index in 0..9 {
            let inputs = toy.encode(&data.data().case(index).unwrap().sample).unwrap();
            let site = "text.blocks.1.resid_post";
            let trace = toy.run(&inputs, Plan::new().read(site).unwrap()).unwrap();
            let values = trace.get(site.parse().unwrap()).unwrap().to_values().unwrap();
            let chosen: Vec<Vec<f64>> = positions
                .of(inputs.map())
                .unwrap()
                .into_iter()
                .map(|at| values[at * 6..(at + 1) * 6].iter().map(|x| f64::from(*x)).collect())
                .collect();
            if each {
                rows.extend(chosen);
            } else {
                let n = chosen.len() as f64;
                rows.push((0..6).map(|j| chosen.iter().map(|row| row[j]).sum::<f64>() / n).collect());
            }
        }
        rows
    };
    let noise = drawn(27, 3, 5);
    let sites = chosen(&["text.blocks.1.resid_post"]);
    let against = chosen(&["text.blocks.0.resid_post"]);
    let mut seen = Vec::new();
    for (positions, rows, count) in [
        (Positions::Last, RowsOf::Cases, 9),
        (Positions::All, RowsOf::Cases, 9),
        (Positions::At(vec![0, 2]), RowsOf::Positions, 18),
        (Positions::All, RowsOf::Positions, 27),
    ] {
        let settings = Settings {
            sites: sites.clone(),
            against: against.clone(),
            rows,
            positions: positions.clone(),
            ..Settings::default()
        };
        let found = cka(settings).run(&toy, &data).unwrap();
        assert_eq!(numbers(&found, "rows"), [9.0, count as f32, 1.0]);
        let own = held(&positions, rows == RowsOf::Positions).concat();
        assert_eq!(own.len(), count * 6);
        // The share of the dimension with most variance, from rows that were gathered here.
        let variance = |j: usize| {
            let column: Vec<f64> = own.iter().skip(j).step_by(6).copied().collect();
            let mean = column.iter().sum::<f64>() / count as f64;
            column.iter().map(|x| (x - mean).powi(2)).sum::<f64>()
        };
        let all: Vec<f64> = (0..6).map(variance).collect();
        let largest = mmlens_core::finding::largest(&all).unwrap() / all.iter().sum::<f64>();
        let wanted = [largest, 1.0];
        Tolerance::absolute(1e-6).check("variance", numbers(&found, "variance"), &wanted).unwrap();
        seen.push(by(Estimator::Debiased).of_rows((&own, 6), (&noise[..count * 3], 3)).unwrap().cka);
        let value = numbers(&found, "cka")[0];
        assert!(value > 0.1 && value < 0.9999, "{value}");
    }
    seen.sort_by(f64::total_cmp);
    assert!(seen.windows(2).all(|pair| pair[1] - pair[0] > 1e-6), "{seen:?}");
}

/// Patches of a tower, with its class token or without, are laid upon the positions of the decoder that show them.
#[test]
fn patches_are_laid_upon_the_positions_that_show_them() {
    let subject = llava("llava-a");
    let settings = |sites: &[&str], against: &[&str], positions| Settings {
        sites: chosen(sites),
        against: chosen(against),
        rows: RowsOf::Positions,
        positions,
        estimator: Estimator::Full,
        ..Settings::default()
    };
    let towers = ["vision.blocks.1.resid_post", "connector.out"];
    let found = cka(settings(&towers, &["text.input", "text.blocks.0.resid_post"], Positions::Pictures))
        .run(subject, &questions(4))
        .unwrap();
    // 30 x 30 pixels in patches of 6, of four pictures.
    assert_eq!(numbers(&found, "rows"), [4.0, 100.0, 1.0]);
    // What leaves the connector is what stands at these positions of the input.
    let [seen, joined, ..] = numbers(&found, "cka") else { panic!() };
    assert!(*seen < 0.9999, "{seen} {joined}");
    Tolerance::absolute(1e-6).check("connector", &[numbers(&found, "cka")[2]], &[1.0]).unwrap();
    // With the class token a tower has one row more than the connector.
    let said = cka(settings(&towers, &towers, Positions::All)).run(subject, &questions(4)).unwrap_err();
    let wanted = "cka needs rows that correspond one to one, but case 0 has 26 at `vision.blocks.1.resid_post` and 25 at \
                  `connector.out`";
    assert_eq!(said.to_string(), wanted);
    // Two towers of other grids, and two decoders whose tokenizers cut texts elsewhere.
    let beside = || questions(4).beside(llava("llava-b"));
    let said = cka(settings(&towers[..1], &towers[..1], Positions::All)).run(subject, &beside()).unwrap_err();
    let wanted = "cka needs rows that correspond one to one, but case 0 has 26 at `vision.blocks.1.resid_post` of the first (`model`) and 17 at \
                  `vision.blocks.1.resid_post` of the second (`model`)";
    assert_eq!(said.to_string(), wanted);
    let words = ["text.blocks.0.resid_post"];
    let said = cka(settings(&words, &words, Positions::Words)).run(subject, &beside()).unwrap_err();
    let said = said.to_string();
    assert!(said.starts_with("cka needs rows that correspond one to one, but "), "{said}");
    // The same model has the same tokens.
    let same = cka(settings(&words, &words, Positions::Words));
    let found = same.run(subject, &questions(4).beside(llava("llava-a"))).unwrap();
    Tolerance::absolute(1e-6).check("words", numbers(&found, "cka"), &[1.0]).unwrap();
}

#[test]
fn cautions_come_with_their_numbers() {
    let toy = Toy::curved(1);
    let found = by(Estimator::Full).run(&toy, &letters(4)).unwrap();
    let cautions = found.cautions();
    let mean = wide(&found, "shuffled").iter().sum::<f64>() / 4.0;
    assert_eq!(
        cautions[0].text,
        format!(
            "4 rows of up to 6 dimensions: the full estimate is biased towards 1, and shuffled rows give {mean:.2}"
        )
    );
    assert_eq!(numbers(&found, "dimensions"), [6.0, 6.0]);
    let enough = by(Estimator::Full).run(&toy, &letters(9)).unwrap();
    assert!(enough.cautions().iter().all(|caution| !caution.text.contains("rows of")));
    // A dimension that is pulled out has nearly all the variance.
    let pulled = Rewired::new(&toy, |inputs, run| toy.forward(inputs, run));
    let edit = Alteration::parse("text.blocks.1.resid_post[d_model=2]=scale:100");
    let edit = edit.unwrap_or_else(|error| panic!("{error}"));
    let altered = Altered::new(pulled, [edit]).unwrap();
    let found = by(Estimator::Debiased).run(&altered, &letters(9)).unwrap();
    let cautions = found.cautions();
    let said = &cautions.last().unwrap().text;
    assert!(
        said.starts_with("`text.blocks.1.resid_post`: ")
            && said.ends_with("of the variance lies in dimension 2 of 6"),
        "{said}"
    );
    assert!(numbers(&found, "variance")[2] > 0.9);
}

#[test]
fn what_cannot_be_compared_is_refused_by_name() {
    let toy = Toy::curved(1);
    let run = |settings: Settings, data: &ManyCases| cka(settings).run(&toy, data).unwrap_err().to_string();
    let of = |text: &'static str, count| {
        ManyCases::over(from_fn("same", count, move |_| Ok(Case::new(Sample::text(text))))).unwrap()
    };
    assert_eq!(
        run(Settings::default(), &of("abc", 6)),
        "cka needs rows that differ, but all 6 of `text.blocks.0.resid_post` are alike"
    );
    let beside = of("abc", 6).beside(Toy::curved(2));
    let said = run(Settings::default(), &beside);
    assert_eq!(
        said,
        format!(
            "cka needs rows that differ, but all 6 of `text.blocks.0.resid_post` of the first (`{}`) are alike",
            toy.name()
        )
    );
    assert_eq!(run(Settings::default(), &letters(3)), "cka needs at least 4 rows, but there are 3");
    let full = Settings { estimator: Estimator::Full, ..Settings::default() };
    assert_eq!(run(full.clone(), &letters(1)), "cka needs at least 2 rows, but there are 1");
    assert_eq!(run(full.clone(), &letters(0)), "cka needs at least 2 rows, but there are 0");
    let nowhere = Settings { sites: chosen(&["text.blocks.7.resid_post"]), ..Settings::default() };
    assert!(run(nowhere, &letters(4)).contains("has no site `text.blocks.7.resid_post`"));
    let pattern = Settings { sites: chosen(&["text.blocks.0.attn.pattern"]), ..Settings::default() };
    assert!(run(pattern, &letters(4)).contains("rows whose length is fixed"));
    let past = Settings { positions: Positions::At(vec![9]), ..Settings::default() };
    assert!(run(past, &letters(4)).contains("position 9 was asked for of 3"));
    let unseen = Settings {
        sites: chosen(&["connector.out"]),
        rows: RowsOf::Positions,
        positions: Positions::Last,
        ..Settings::default()
    };
    let said = run(unseen, &letters(4));
    assert!(said.contains("all rows of a site that has no positions of a prompt"), "{said}");

    let made = |settings: Settings| Cka::new(settings).unwrap_err().to_string();
    assert_eq!(
        made(Settings { sites: Some(Vec::new()), ..Settings::default() }),
        "cka: sites = none, but there must be one"
    );
    assert_eq!(
        made(Settings { estimator: Estimator::Minibatch { batch: 3 }, ..Settings::default() }),
        "cka: batch = 3, but it must be at least 4: HSIC_1 takes so many rows"
    );
    let row = METHODS.iter().find(|method| method.is_called("cka")).unwrap();
    let said = row.make(json!({ "sites": ["text.blocks.0.resid_pots"] })).err().unwrap().to_string();
    assert!(
        said.contains("did you mean `text.blocks.0.resid_post`") || said.contains("resid_post"),
        "{said}"
    );
    let given = Given::new(Case::new(Sample::text("abc"))).unwrap();
    let said = row.make(json!({})).unwrap().run_given(&On::new(&toy), &given).unwrap_err().to_string();
    assert_eq!(said, "cka needs a data set, but none was given: a program hands one over (`Given::over`)");

    let rows = |left: (&[f64], usize), right: (&[f64], usize)| {
        by(Estimator::Debiased).of_rows(left, right).unwrap_err().to_string()
    };
    let some = drawn(6, 2, 1);
    assert_eq!(rows((&some, 2), (&some, 3)), "cka needs as many rows on either side, but there are 6 and 4");
    assert_eq!(rows((&some, 5), (&some, 2)), "cka needs values that fill rows, but 12 and 12");
    assert_eq!(
        rows((&[2.0; 12], 2), (&some, 2)),
        "cka needs rows that differ, but all 6 of the first rows are alike"
    );
    let mut odd = some.clone();
    odd[3] = f64::NAN;
    assert_eq!(rows((&some, 2), (&odd, 2)), "cka needs finite numbers, but value 15 of both is none");
    // Corners of a simplex: every two are equally far apart.
    let corners: Vec<f64> = (0..36).map(|i| f64::from(u8::from(i % 7 == 0))).collect();
    assert_eq!(
        rows((&corners, 6), (&some, 2)),
        "cka needs rows of which some are more alike than others, but nothing is left of the first rows without the diagonal of \
         its kernel"
    );
}

#[test]
fn memory_is_refused_before_it_is_taken() {
    let toy = Toy::curved(1);
    let least = |data: &ManyCases, settings: &Settings| {
        let mut budget = 100_000;
        loop {
            match cka(settings.clone()).run_on(&On::new(&toy).within(Memory::bytes(budget)), data) {
                Err(AnalysisError::Memory { need, .. }) => budget = need,
                found => {
                    found.unwrap();
                    return budget;
                }
            }
        }
    };
    let batches = Settings { estimator: Estimator::Minibatch { batch: 20 }, ..Settings::default() };
    let [few, more] = [60, 600].map(|count| least(&letters(count), &batches));
    assert_eq!(few, more, "that of batches does not grow with the data");
    let [few, more] = [60, 600].map(|count| least(&letters(count), &Settings::default()));
    // 540 rows of two sites of six numbers
    assert!(more >= few + 540 * 12 * 8, "{few} {more}");
}

#[test]
fn it_keeps_the_contract_of_methods_with_two_subjects() {
    struct Until(usize);
    impl Watch for Until {
        fn step(&self, _: &'static str, done: usize, _: usize) -> ControlFlow<()> {
            if done < self.0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        }
    }
    let toy = Toy::curved(1);
    let sample = Sample::prompt(vec![painted(1)], "#abc");
    let given = Given::new(Case::new(sample.clone())).unwrap();
    let given = given.over(many(&sample).beside(Toy::curved(2)));
    let probe = toy.encode(&sample).unwrap();
    let row = METHODS.iter().find(|method| method.is_called("cka")).unwrap();
    for settings in [
        json!({ "sites": ["text.blocks.*.resid_post", "text.embed"] }),
        json!({ "rows": "positions", "positions": "all", "estimator": { "minibatch": { "batch": 4 } } }),
    ] {
        let method = row.make(settings).unwrap();
        let breaches = analysis_breaches(method.as_ref(), &toy, &given, &probe);
        assert!(breaches.is_empty(), "{}", breaches.join("\n"));
        let on = On::new(&toy);
        // The last steps are those of products.
        let said = method.run_given(&on.watched(&Until(13)), &given).unwrap_err().to_string();
        assert!(said.starts_with("cka was cancelled after 13 of "), "{said}");
    }
}
