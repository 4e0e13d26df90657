//! Post-hoc concept bottlenecks: against scikit-learn, against identities, on rows whose concepts are planted, against misuse.

use std::collections::{BTreeMap, BTreeSet};

use mmlens_core::finding::{CautionKind, Tolerance};
use mmlens_core::{
    Analysis, Annotated, Case, Examples, Fit, Fitted, Given, On, Outcome, Sample, Seed, Unwatched, from_fn,
};
use mmlens_design::PostHocBottleneck;
use mmlens_design::bottleneck::{Bottleneck, Described, Learned, Settings};
use mmlens_engine::normal;
use mmlens_testkit::{Oracle, Toy, analysis_breaches};

use crate::support::{kinds, numbers, painted, site};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn described(
    rows: Vec<f32>,
    labels: Vec<usize>,
    classes: usize,
    has: &dyn Fn(usize, usize) -> bool,
) -> Described {
    let names = ["red", "green", "blue"][..classes].iter().map(|name| (*name).to_owned()).collect();
    let count = labels.len();
    let rows = Examples::new("drawn", rows, names, labels).unwrap();
    let rows = rows.grouped((0..count as u64).map(|row| row / 2).collect()).unwrap();
    let own =
        |row: usize| (0..4).filter(|j| has(row, *j)).map(|j| NAMES[j].to_owned()).collect::<BTreeSet<_>>();
    Described::new(rows, (0..count).map(own).collect()).unwrap()
}

/// The same classifiers, the same head, the same corrections, and the same rest.
#[test]
fn a_bottleneck_is_that_of_scikit_learn() {
    let oracle = Oracle::open("methods/post-hoc-bottleneck").unwrap();
    let number = |name: &str| oracle.about()[name].as_f64().unwrap();
    for classes in [2, 3] {
        let array = |what: &str| oracle.array(&format!("{classes}.{what}")).unwrap();
        let ids = |what: &str| array(what).ids().into_iter().map(|id| id as usize).collect::<Vec<_>>();
        let has = ids("has");
        let from = described(array("rows").f32(), ids("labels"), classes, &|row, j| has[row * 4 + j] > 0);
        let settings = Settings {
            alpha: number("alpha"),
            lambdas: number("lambdas") as usize,
            held_out: number("held_out"),
            chosen_by: number("chosen_by"),
            within: number("within"),
            c: number("c"),
            rest: number("rest"),
            tolerance: 1e-9,
            hybrid: true,
            ..Settings::default()
        };
        let method = PostHocBottleneck::new(settings).unwrap();
        let Outcome { fitted, finding, ended }: Outcome<Bottleneck> =
            method.fit(&from, Seed(number("seed") as u64), &Unwatched).unwrap();
        assert!(ended.converged(), "{ended}");
        let own = Analysis::settings(&fitted);
        let check = |name: &str, bound: f64, own: &[f64], wanted: &str| {
            let gap = Tolerance::absolute(bound).check(name, own, &array(wanted).values).unwrap();
            println!("{classes} classes, {name}: {:.1e}", gap.absolute);
        };
        // Searches end where a slope is 1e-9: of curvatures of some hundredths, at 1e-6 or nearer.
        check("directions", 1e-6, &own.directions.concat(), "directions");
        for (name, values) in [("offsets", &own.offsets), ("lacking", &own.lacking), ("having", &own.having)]
        {
            check(name, 1e-6, values, name);
        }
        check("rest", 1e-5, &own.rest.concat(), "rest");
        check("rest_intercepts", 1e-5, &own.rest_intercepts, "rest_intercepts");
        let f64s = |table: &str| numbers(&finding, table).iter().map(|x| f64::from(*x)).collect::<Vec<_>>();
        check("weights", 1e-5, &f64s("weights"), "weights");
        check("concepts", 1e-6, &f64s("concepts"), "concepts");
        let scores = f64s("scores");
        let [accuracy, hybrid, all, truth, _, majority] = scores[..] else { panic!("{scores:?}") };
        check("scores", 1e-6, &[accuracy, hybrid, all, truth, majority], "scores");
        check("stability", 1e-6, &f64s("stability"), "stability");
        assert_eq!(numbers(&finding, "rows")[3] as usize, ids("step")[0]);
        let order: Vec<usize> = finding
            .table("order")
            .unwrap()
            .as_texts()
            .unwrap()
            .iter()
            .map(|name| NAMES.iter().position(|own| own == name).unwrap())
            .collect();
        assert_eq!(order, ids("order"));
        let interventions = f64s("interventions");
        check("interventions", 1e-6, &interventions[..interventions.len() / 2], "truth");
    }
}

/// Rows of which four coordinates say four concepts, of which two say the class.
fn planted(
    count: usize,
    seed: u64,
    has: &dyn Fn(usize, usize) -> bool,
    class: &dyn Fn(usize) -> usize,
) -> Described {
    let row = |i: usize| {
        let value = |j: usize| {
            let sign = if j < 4 && has(i, j) { 1.5 } else { -1.5 };
            normal(Seed(seed).at((8 * i + j) as u64)) * 0.5 + if j < 4 { sign } else { 0.0 }
        };
        (0..8).map(|j| value(j) as f32).collect::<Vec<_>>()
    };
    described((0..count).flat_map(row).collect(), (0..count).map(class).collect(), 2, has)
}

fn bit(i: usize, j: usize) -> bool {
    ((i * 2_654_435_761) >> (8 + 3 * j)).is_multiple_of(2)
}

fn fit(settings: Settings, from: &Described) -> Outcome<Bottleneck> {
    PostHocBottleneck::new(settings).unwrap().fit(from, Seed(3), &Unwatched).unwrap()
}

#[test]
fn planted_concepts_are_used_and_corrections_correct() {
    // Both of two concepts: what is read is true, so that correcting the two leaves no mistake.
    let both = |i: usize| usize::from(bit(i, 0) && bit(i, 1));
    let found = fit(Settings { nonzeros: Some(2), ..Settings::default() }, &planted(400, 1, &bit, &both));
    let own = Analysis::settings(&found.fitted);
    let used: Vec<usize> = (0..4).filter(|at| own.weights[0][*at] != 0.0).collect();
    assert_eq!(used, [0, 1]);
    let scores = numbers(&found.finding, "scores");
    let [accuracy, _, _, truth, chance, majority] = scores[..] else { panic!("{scores:?}") };
    assert!(accuracy > 0.95 && truth == 1.0 && majority < 0.85, "{scores:?}");
    assert!(chance < accuracy, "{scores:?}");
    assert!(numbers(&found.finding, "concepts").iter().all(|own| *own > 0.95));
    let steps = numbers(&found.finding, "interventions");
    assert_eq!((steps.len(), steps[2]), (6, 1.0));
    assert!(steps[0] == accuracy && steps[3] == accuracy, "{steps:?}");
    // Others' truth is none.
    assert!(steps[5] < 0.8, "{steps:?}");
    assert_eq!(kinds(&found.finding), []);

    // A class that no concept says, but the sign of a coordinate that has no name: what is left is seen by the rest alone.
    let nameless = |i: usize| usize::from(normal(Seed(5).at((8 * i + 6) as u64)) > 0.0);
    let found = fit(Settings::default(), &planted(400, 5, &bit, &nameless));
    let scores = numbers(&found.finding, "scores");
    assert!(scores[1] > scores[0] + 0.2 && scores[2] > 0.9, "{scores:?}");
    assert!(kinds(&found.finding).contains(&CautionKind::NoBetter), "{scores:?}");

    // Concepts that rows have by chance, told from rows that say the class: margins tell it, the truth does not.
    let by_chance = |i: usize, j: usize| if j == 3 { both(i) == 1 } else { bit(i + 1000, j) };
    let rows = planted(400, 7, &by_chance, &both);
    let concepts = vec!["a".to_owned(), "b".to_owned(), "c".to_owned()];
    let leaked = fit(Settings { concepts: vec!["d".to_owned()], ..Settings::default() }, &rows);
    assert!(!kinds(&leaked.finding).contains(&CautionKind::Other), "the concept is the class");
    let clean = fit(Settings { concepts, ..Settings::default() }, &rows);
    assert!(
        kinds(&clean.finding).contains(&CautionKind::NoBetter),
        "{:?}",
        numbers(&clean.finding, "scores")
    );

    let few = fit(Settings { least: 2, ..Settings::default() }, &planted(30, 1, &bit, &both));
    assert!(kinds(&few.finding).contains(&CautionKind::FewRows));
    let cut =
        fit(Settings { steps: 1, tolerance: 1e-12, ..Settings::default() }, &planted(200, 1, &bit, &both));
    assert!(kinds(&cut.finding).contains(&CautionKind::NotConverged));
}

/// One concept is the size of what is seen, by a threshold: its margin says how large, and that says the class.
#[test]
fn margins_that_tell_more_than_the_concept_are_cautioned_of() {
    let size = |i: usize| normal(Seed(9).at(i as u64));
    let rows = (0..400).flat_map(|i| [size(i) as f32, normal(Seed(10).at(i as u64)) as f32]).collect();
    // Large from zero on; the class is whether it is larger than 0.7.
    let from = described(rows, (0..400).map(|i| usize::from(size(i) > 0.7)).collect(), 2, &|i, j| {
        if j == 0 { size(i) > 0.0 } else { j == 1 && i % 2 == 0 }
    });
    let found = fit(Settings::default(), &from);
    let scores = numbers(&found.finding, "scores");
    assert!(scores[0] > scores[3] + 0.2, "{scores:?}");
    assert!(kinds(&found.finding).contains(&CautionKind::Other), "{scores:?}");
    // No row says whether its number is even.
    let chance = |own: &mmlens_core::finding::Caution| {
        own.kind == CautionKind::Chance && own.text.starts_with("1 of 2 concepts") && own.text.contains("`b`")
    };
    assert!(found.finding.cautions().iter().any(chance), "{:?}", found.finding.cautions());
}

fn learned(toy: &Toy, hybrid: bool) -> Outcome<Bottleneck> {
    let text =
        |i: usize| format!("{}{}{}", ["a", "c"][i % 2], ["d", "e", "f"][i / 2 % 3], "b".repeat(i % 4 / 2));
    let data = from_fn("words", 96, move |i| Ok(Case::new(Sample::text(text(i)))));
    let labels = (0..96).map(|i| usize::from(i % 2 == 0 && i / 2 % 3 != 1)).collect();
    let data = Annotated::new(data, ["no", "yes"], labels).unwrap();
    let shows = |i: usize| {
        let all = [
            ("begins", i.is_multiple_of(2)),
            ("middle", i / 2 % 3 == 1),
            ("longer", i % 4 > 1),
            ("rare", i == 7),
        ];
        all.into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect()
    };
    let settings =
        Settings { site: site("text.blocks.1.resid_post"), lambdas: 10, hybrid, ..Settings::default() };
    let method = PostHocBottleneck::new(settings).unwrap();
    method.learn(&On::new(toy), &data.showing((0..96).map(shows)).unwrap(), Seed(3)).unwrap()
}

/// Contributions, base and rest are the logits; what is known is put in; what is saved gives the same bits.
#[test]
fn contributions_are_the_logits_and_what_is_known_is_put_in() {
    let toy = Toy::curved(1);
    for hybrid in [false, true] {
        let Outcome { fitted, finding, .. } = learned(&toy, hybrid);
        assert_eq!(learned(&toy, hybrid).finding, finding);
        // One concept that a single row has is left out, and said.
        assert_eq!((numbers(&finding, "rows")[4], numbers(&finding, "concepts").len()), (1.0, 3));
        assert!(kinds(&finding).contains(&CautionKind::FewRows));
        let case = Case::new(Sample::prompt(vec![painted(1)], "#cdb"));
        let given = Given::new(case.clone()).unwrap();
        let probe = mmlens_core::Subject::encode(&toy, &given.case.sample).unwrap();
        assert_eq!(analysis_breaches(&fitted, &toy, &given, &probe), Vec::<String>::new());
        let yes = |fitted: &Bottleneck| {
            let found = fitted.run(&toy, &case).unwrap();
            let rest = if hybrid { numbers(&found, "rest")[0] } else { 0.0 };
            let sum =
                numbers(&found, "contributions").iter().sum::<f32>() + numbers(&found, "base")[0] + rest;
            let probability = 1.0 / (1.0 + (-sum).exp());
            assert!((probability - numbers(&found, "probabilities")[1]).abs() < 1e-5, "{probability}");
            found
        };
        let before = yes(&fitted);
        let known = |begins: bool, middle: bool| {
            let known = [("begins", begins), ("middle", middle)].map(|(name, has)| (name.to_owned(), has));
            yes(&fitted.knowing(BTreeMap::from(known)).unwrap())
        };
        let told = known(true, false);
        assert_eq!(numbers(&told, "probabilities before"), numbers(&before, "probabilities"));
        assert_eq!(numbers(&told, "margins"), numbers(&before, "margins"));
        let gained = numbers(&told, "probabilities")[1] - numbers(&known(false, true), "probabilities")[1];
        assert!(gained > 0.2, "{gained}");
        assert_eq!(fitted.knowing(BTreeMap::new()).unwrap().run(&toy, &case).unwrap(), before);
        let said = fitted.knowing(BTreeMap::from([("red".to_owned(), true)])).unwrap_err().to_string();
        assert_eq!(
            said,
            "post-hoc-bottleneck: known = `red`, which is none of `begins`, `longer`, `middle`, but it must be a concept that was learned"
        );

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bottleneck.safetensors");
        let knowing = fitted.knowing(BTreeMap::from([("longer".to_owned(), true)])).unwrap();
        for own in [&fitted, &knowing] {
            own.save(&path).unwrap();
            let read = Bottleneck::load(&path).unwrap();
            assert_eq!(Analysis::settings(&read), Analysis::settings(own));
            assert_eq!(read.run(&toy, &case).unwrap(), own.run(&toy, &case).unwrap());
        }
    }
}

#[test]
fn what_cannot_be_learned_is_refused_by_name() {
    let made = |settings: Settings| PostHocBottleneck::new(settings).unwrap_err().to_string();
    let base = Settings::default;
    assert_eq!(
        made(Settings { rest: 0.0, ..base() }),
        "post-hoc-bottleneck: rest = 0, but it must be a finite number above zero"
    );
    assert!(
        made(Settings { concepts: vec!["a".into(), "a".into()], ..base() })
            .ends_with("a concept is named once")
    );
    assert!(made(Settings { least: 0, ..base() }).ends_with("at least 1"));
    let class = |i: usize| usize::from(bit(i, 0));
    let said = |settings: Settings, from: &Described| {
        PostHocBottleneck::new(settings).unwrap().fit(from, Seed(1), &Unwatched).unwrap_err().to_string()
    };
    let from = planted(60, 1, &|i, j| bit(i, j) && (j > 0 || i == 0), &class);
    let named = Settings { concepts: vec!["a".into()], ..base() };
    assert!(
        said(named, &from)
            .starts_with("post-hoc-bottleneck needs 10 rows to learn from that have each concept"),
    );
    assert!(said(Settings { least: 100, ..base() }, &from).contains("there is none among"));
    let two = planted(4, 1, &bit, &|i| i % 2);
    assert_eq!(said(base(), &two), "post-hoc-bottleneck needs at least three groups, but there are two");
    let rows = Examples::new("bare", vec![1.0, 2.0], vec!["a".into(), "b".into()], vec![0, 1]).unwrap();
    assert_eq!(
        Described::new(rows, vec![BTreeSet::new(), BTreeSet::new()]).unwrap_err().to_string(),
        "post-hoc-bottleneck needs cases that name the concepts they show, but no case of `bare` names one"
    );
    assert!(Bottleneck::new(Learned::default()).unwrap_err().to_string().contains("has to be learned"));
}

/// Rows held out have all labels turned round, so that whoever learns from the others is wrong on every one of them. Random concepts are asked about the
/// same rows: had any draw others held out, some of them would be told rightly.
#[test]
fn random_concepts_are_asked_about_the_same_rows() {
    let (count, seed) = (120, Seed(4));
    let settings = Settings { draws: 3, ..Settings::default() };
    let groups: Vec<u64> = (0..count as u64).map(|row| row / 2).collect();
    let held = mmlens_core::held_out(&groups, settings.held_out, seed).unwrap();
    let right = |row: usize| row * 7 % 3 % 2;
    let side = |row: usize| if right(row) == 1 { 2.0 } else { -2.0 };
    let rows = (0..count).flat_map(|row| {
        let of = seed.at(row as u64);
        [side(row) + 0.1 * of.at(0).normal() as f32, side(row) + 0.1 * of.at(1).normal() as f32]
    });
    let labels = (0..count).map(|row| if held[row] { 1 - right(row) } else { right(row) }).collect();
    let from = described(rows.collect(), labels, 2, &|row, j| j == 0 && right(row) == 1);
    let finding = PostHocBottleneck::new(settings).unwrap().fit(&from, seed, &Unwatched).unwrap().finding;
    let scores = numbers(&finding, "scores");
    assert_eq!((scores[0], scores[4]), (0.0, 0.0), "{scores:?}");
}
