//! Sparse heads: against scikit-learn, against identities, against misuse.

use mmlens_core::finding::{CautionKind, Tolerance};
use mmlens_core::{
    Analysis, Annotated, Case, Cases, Examples, Fit, Fitted, Given, On, Outcome, Sample, Seed, Unwatched,
    from_fn,
};
use mmlens_design::SparseHead;
use mmlens_design::sparse_head::{Head, Learned, Settings};
use mmlens_engine::{normal, rows_of};
use mmlens_testkit::{Oracle, Toy, analysis_breaches};

use crate::support::{kinds, numbers, painted, site};

fn of_oracle(oracle: &Oracle, classes: usize) -> Examples {
    let array = |name: &str| oracle.array(&format!("{classes}.{name}")).unwrap();
    let names = ["red", "green", "blue"][..classes].iter().map(|name| (*name).to_owned()).collect();
    let labels = array("labels").ids().into_iter().map(|id| id as usize).collect();
    let rows = Examples::new("drawn", array("rows").f32(), names, labels).unwrap();
    rows.grouped(array("groups").ids().into_iter().map(u64::from).collect()).unwrap()
}

/// The same penalties, the same weights and so the same path as scikit-learn's saga.
#[test]
fn the_path_is_that_of_scikit_learn() {
    let oracle = Oracle::open("methods/sparse-head").unwrap();
    let number = |name: &str| oracle.about()[name].as_f64().unwrap();
    for classes in [2, 3] {
        let array = |what: &str| &oracle.array(&format!("{classes}.{what}")).unwrap().values;
        let rows = of_oracle(&oracle, classes);
        let base = Settings {
            alpha: number("alpha"),
            lambdas: number("lambdas") as usize,
            least: number("least"),
            held_out: number("held_out"),
            chosen_by: number("chosen_by"),
            tolerance: 1e-8,
            ..Settings::default()
        };
        let vectors = if classes == 2 { 1 } else { classes };
        let width = rows.width() * vectors;
        let fit = |nonzeros: Option<usize>| {
            let head = SparseHead::new(Settings { nonzeros, ..base.clone() }).unwrap();
            head.fit(&rows, Seed(number("seed") as u64), &Unwatched).unwrap()
        };
        let mut steps = Vec::new();
        for nonzeros in [Some(2), Some(4), Some(100), None] {
            let Outcome { finding, ended, .. } = fit(nonzeros);
            assert!(ended.converged(), "{ended}");
            let step = numbers(&finding, "rows")[3] as usize;
            let wanted = &array("weights")[step * width..(step + 1) * width];
            let gap =
                Tolerance::absolute(1e-5).check("weights", numbers(&finding, "weights"), wanted).unwrap();
            println!("{classes} classes, step {step}: weights {:.1e}", gap.absolute);
            Tolerance::relative(1e-6).check("lambda", numbers(&finding, "lambda"), array("lambda")).unwrap();
            Tolerance::absolute(1e-6)
                .check("nonzeros", numbers(&finding, "nonzeros"), array("nonzeros"))
                .unwrap();
            Tolerance::absolute(1e-6).check("path", numbers(&finding, "path"), array("accuracies")).unwrap();
            let [own, last, _, majority] = numbers(&finding, "scores")[..] else { panic!() };
            let held = &numbers(&finding, "path")[2 * array("lambda").len()..];
            assert_eq!((own, last), (held[step], *held.last().unwrap()));
            Tolerance::absolute(1e-6).check("majority", &[majority], array("majority")).unwrap();
            let used = numbers(&finding, "used");
            assert_eq!(used[..vectors].iter().sum::<f32>(), numbers(&finding, "nonzeros")[step]);
            if let Some(most) = nonzeros {
                assert!(used[..vectors].iter().sum::<f32>() <= (most * vectors) as f32);
            }
            if nonzeros.is_none() {
                let stable = numbers(&finding, "stability");
                Tolerance::absolute(1e-6).check("stability", stable, array("stability")).unwrap();
            }
            steps.push(step);
        }
        assert!(steps[0] < steps[1] && steps[1] < steps[2], "{steps:?}");
        // The sparsest of those within two hundredths of the best.
        let by = &array("accuracies")[array("lambda").len()..2 * array("lambda").len()];
        let best = by.iter().copied().fold(0.0, f64::max); // no NaN: shares of rows
        assert_eq!(Some(steps[3]), by.iter().position(|own| *own >= best - 0.02));
    }
}

fn words(count: usize) -> impl Cases {
    let text =
        |i: usize| format!("{}{}{}", ["a", "c"][i % 2], ["d", "e", "f", "g", "h"][i % 5], "b".repeat(i % 3));
    let data = from_fn("words", count, move |i| Ok(Case::new(Sample::text(text(i)))));
    Annotated::new(data, ["a", "c"], (0..count).map(|i| i % 2).collect()).unwrap()
}

fn learned(toy: &Toy) -> Outcome<Head> {
    let settings = Settings { site: site("text.blocks.1.resid_post"), lambdas: 10, ..Settings::default() };
    SparseHead::new(settings).unwrap().learn(&On::new(toy), &words(60), Seed(3)).unwrap()
}

/// Contributions and what is left at all means are the logits; features without a weight contribute nothing.
#[test]
fn contributions_are_the_logits() {
    let toy = Toy::curved(1);
    let Outcome { fitted, finding, .. } = learned(&toy);
    assert_eq!(learned(&toy).finding, finding);
    let case = Case::new(Sample::prompt(vec![painted(1)], "#cdb"));
    let given = Given::new(case.clone()).unwrap();
    let probe = mmlens_core::Subject::encode(&toy, &given.case.sample).unwrap();
    assert_eq!(analysis_breaches(&fitted, &toy, &given, &probe), Vec::<String>::new());
    let found = fitted.run(&toy, &case).unwrap();
    let sum: f32 = numbers(&found, "contributions").iter().sum::<f32>() + numbers(&found, "base")[0];
    let probability = 1.0 / (1.0 + (-sum).exp());
    assert!((probability - numbers(&found, "probabilities")[1]).abs() < 1e-5, "{probability}");
    let Learned { site, positions, weights, .. } = Analysis::settings(&fitted);
    let held = rows_of((&On::new(&toy), "test"), &probe, *site, positions).unwrap();
    let used = weights[0].iter().filter(|weight| **weight != 0.0).count();
    assert_eq!(numbers(&found, "contributions").len(), used);
    assert!(used > 0 && used < held.width, "{used}");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("head.safetensors");
    fitted.save(&path).unwrap();
    let read = Head::load(&path).unwrap();
    assert_eq!(Analysis::settings(&read), Analysis::settings(&fitted));
    assert_eq!(read.run(&toy, &case).unwrap(), found);
}

/// Rows of which two coordinates of `width` say the class, and the rest nothing.
fn planted(width: usize, count: usize, strength: f64, seed: u64) -> Examples {
    let row = |i: usize| {
        let sign = if i.is_multiple_of(2) { strength } else { -strength };
        let value =
            move |j: usize| normal(Seed(seed).at((i * width + j) as u64)) + if j < 2 { sign } else { 0.0 };
        (0..width).map(move |j| value(j) as f32).collect::<Vec<_>>()
    };
    let labels = (0..count).map(|i| i % 2).collect();
    Examples::new("planted", (0..count).flat_map(row).collect(), vec!["a".into(), "b".into()], labels)
        .unwrap()
}

/// Of forty features two say the class: these come first, and no random ones do as well; where none does, that is cautioned of.
#[test]
fn planted_features_are_found() {
    let mut cautioned = 0;
    for seed in 0..4 {
        let fit = |strength, nonzeros| {
            let settings = Settings { nonzeros, ..Settings::default() };
            let rows = planted(40, 400, strength, seed);
            SparseHead::new(settings).unwrap().fit(&rows, Seed(seed), &Unwatched).unwrap()
        };
        let found = fit(1.0, Some(2));
        let weights = &Analysis::settings(&found.fitted).weights[0];
        let used: Vec<usize> = (0..40).filter(|at| weights[*at] != 0.0).collect();
        assert_eq!(used, [0, 1], "seed {seed}");
        let [own, _, random, majority] = numbers(&found.finding, "scores")[..] else { panic!() };
        assert!(own > 0.85 && random < 0.75 && majority < 0.65, "{own} {random} {majority}");
        assert!(kinds(&found.finding).iter().all(|kind| *kind == CautionKind::Unsteady));
        // Others use the two that say it, too, and what else they use goes by the draw.
        let [same, by_chance, features] = numbers(&found.finding, "stability")[..] else { panic!() };
        assert!(
            same > 0.9 && (by_chance - 0.5).abs() < 0.1 && features > 0.2,
            "{same} {by_chance} {features}"
        );
        println!("same answer {same:.3}, by chance {by_chance:.3}, same features {features:.3}");
        let nothing = fit(0.0, None).finding;
        let [own, _, random, majority] = numbers(&nothing, "scores")[..] else { panic!() };
        let worse = own <= majority || own <= random && numbers(&nothing, "used")[1] > 0.0;
        assert_eq!(kinds(&nothing).contains(&CautionKind::NoBetter), worse, "{own} {random} {majority}");
        cautioned += usize::from(worse);
    }
    // Of eighty rows held out some are right by luck.
    assert!(cautioned >= 2, "{cautioned}");
    let few = SparseHead::new(Settings::default()).unwrap();
    let few = few.fit(&planted(4, 30, 1.0, 1), Seed(1), &Unwatched).unwrap();
    assert!(kinds(&few.finding).contains(&CautionKind::FewRows));
    let cut = SparseHead::new(Settings { steps: 1, tolerance: 1e-12, ..Settings::default() }).unwrap();
    let cut = cut.fit(&planted(8, 200, 1.0, 1), Seed(1), &Unwatched).unwrap();
    assert!(kinds(&cut.finding).contains(&CautionKind::NotConverged));
}

#[test]
fn what_cannot_be_learned_is_refused_by_name() {
    let made = |settings: Settings| SparseHead::new(settings).unwrap_err().to_string();
    let base = Settings::default;
    assert_eq!(
        made(Settings { lambdas: 0, ..base() }),
        "sparse-head: lambdas = 0, but it must be at least 1"
    );
    assert_eq!(
        made(Settings { alpha: 0.0, ..base() }),
        "sparse-head: alpha = 0, but it must be above 0, and at most 1"
    );
    assert!(made(Settings { least: 1.0, ..base() }).ends_with("between 0 and 1"));
    let fit = |rows: &Examples| {
        SparseHead::new(base()).unwrap().fit(rows, Seed(1), &Unwatched).unwrap_err().to_string()
    };
    let of = |labels: Vec<usize>, groups: Vec<u64>, value: &dyn Fn(usize) -> f32| {
        let values = (0..labels.len()).map(value).collect();
        let names = vec!["a".to_owned(), "b".to_owned()];
        Examples::new("rows", values, names, labels).unwrap().grouped(groups).unwrap()
    };
    let two = of(vec![0, 1, 0, 1], vec![0, 0, 1, 1], &|i| i as f32);
    assert_eq!(fit(&two), "sparse-head needs at least three groups, but there are two");
    let same = of((0..20).map(|i| i % 2).collect(), (0..20).collect(), &|_| 1.0);
    assert_eq!(fit(&same), "sparse-head needs features that vary with the class, but none does");
    let one = of(vec![0; 9], (0..9).collect(), &|i| i as f32);
    assert!(fit(&one).contains("none of `b` was left"));
    assert!(Head::new(Learned::default()).unwrap_err().to_string().contains("a head has to be learned"));
}
