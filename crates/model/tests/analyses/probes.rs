//! Linear probes: against scikit-learn, against identities, against misuse.

use std::ops::ControlFlow;

use mmlens_core::finding::Tolerance;
use mmlens_core::{
    Analysis, Annotated, AnyAnalysis, Case, Cases, Examples, Fit, Fitted, Given, Memory, Method, Moved, On,
    Outcome, Plan, Sample, Seed, Subject, Unwatched, Watch, from_fn, rerun,
};
use mmlens_engine::Positions;
use mmlens_model::linear_probe::{Learned, Probe, Settings};
use mmlens_model::{FITS, LinearProbe};
use mmlens_testkit::{Array, Oracle, Toy, analysis_breaches};

use crate::support::{numbers, painted};

const SITE: &str = "text.blocks.1.resid_post";

/// Prompts of two beginnings, `a` and `c`, and of several middles.
fn words(count: usize) -> impl Cases {
    let text =
        |i: usize| format!("{}{}{}", ["a", "c"][i % 2], ["d", "e", "f", "g", "h"][i % 5], "b".repeat(i % 3));
    let data = from_fn("words", count, move |i| Ok(Case::new(Sample::text(text(i)))));
    let labels = (0..count).map(|i| i % 2).collect();
    let groups = (0..count as u64).map(|i| i / 4).collect();
    Annotated::new(data, ["a", "c"], labels).unwrap().grouped(groups).unwrap()
}

fn settings() -> Settings {
    Settings { site: SITE.parse().unwrap(), ..Settings::default() }
}

fn learned(toy: &Toy, settings: Settings) -> Outcome<Probe> {
    LinearProbe::new(settings).unwrap().learn(&On::new(toy), &words(60), Seed(3)).unwrap()
}

fn ids(array: &Array) -> Vec<usize> {
    array.ids().into_iter().map(|id| id as usize).collect()
}

fn wide(array: &Array) -> Vec<u64> {
    array.ids().into_iter().map(u64::from).collect()
}

fn of_oracle(oracle: &Oracle, classes: usize) -> Examples {
    let array = |name: &str| oracle.array(&format!("{classes}.{name}")).unwrap();
    let names = ["red", "green", "blue"][..classes].iter().map(|name| (*name).to_owned()).collect();
    let rows = Examples::new("drawn", array("rows").f32(), names, ids(array("labels"))).unwrap();
    rows.grouped(wide(array("groups"))).unwrap().of_kinds(wide(array("kinds"))).unwrap()
}

/// The same split, the same control task, the same minimum as scikit-learn finds.
#[test]
fn it_agrees_with_scikit_learn() {
    let oracle = Oracle::open("methods/linear-probe").unwrap();
    let number = |name: &str| oracle.about()[name].as_f64().unwrap();
    let bound = Tolerance::relative(1e-4);
    for classes in [2, 3] {
        let rows = of_oracle(&oracle, classes);
        for (name, standardised) in [("plain", false), ("standardised", true)] {
            let array = |what: &str| &oracle.array(&format!("{classes}.{name}.{what}")).unwrap().values;
            let given = Settings {
                c: number("c"),
                held_out: number("held_out"),
                standardised,
                ..Settings::default()
            };
            let fit = LinearProbe::new(given).unwrap();
            let found = fit.fit(&rows, Seed(number("seed") as u64), &Unwatched).unwrap();
            assert!(found.ended.converged(), "{}", found.ended);
            let Learned { weights, intercepts, .. } = Analysis::settings(&found.fitted);
            let gap = bound.check("weights", &weights.concat(), array("weights")).unwrap();
            println!("{classes} classes, {name}: weights {:.1e}", gap.relative);
            bound.check("intercepts", intercepts, array("intercepts")).unwrap();
            let out = oracle.array(&format!("{classes}.held_out")).unwrap();
            let held = rows.rows().zip(&out.values).filter(|(_, out)| **out > 0.0);
            let mut probabilities = Vec::new();
            for (row, _) in held {
                probabilities
                    .extend(found.fitted.log_probabilities(row).unwrap().iter().map(|log| log.exp()));
            }
            let gap = Tolerance::absolute(1e-4)
                .check("probabilities", &probabilities, array("probabilities"))
                .unwrap();
            println!("{classes} classes, {name}: probabilities {:.1e}", gap.absolute);
            let wide = |table: &str| {
                numbers(&found.finding, table).iter().map(|v| f64::from(*v)).collect::<Vec<_>>()
            };
            Tolerance::absolute(1e-6).check("scores", &wide("scores"), array("scores")).unwrap();
            Tolerance::absolute(1e-5).check("log loss", &wide("log loss"), array("log_loss")).unwrap();
        }
    }
}

/// A rotation of the rows turns the weights with it: the penalty knows no direction.
#[test]
fn an_orthogonal_map_changes_no_probability() {
    let oracle = Oracle::open("methods/linear-probe").unwrap();
    let rows = of_oracle(&oracle, 3);
    let (sin, cos) = 0.7_f32.sin_cos();
    let turned = |row: &[f32]| {
        let mut row = row.to_vec();
        (row[0], row[3]) = (cos * row[0] - sin * row[3], sin * row[0] + cos * row[3]);
        row
    };
    let other: Vec<f32> = rows.rows().flat_map(turned).collect();
    let other = Examples::new("turned", other, rows.classes().to_vec(), rows.labels().to_vec()).unwrap();
    let other = other.grouped(rows.groups().to_vec()).unwrap();
    let fit = LinearProbe::new(Settings::default()).unwrap();
    let probe = |rows: &Examples| fit.fit(rows, Seed(1), &Unwatched).unwrap().fitted;
    let (straight, round) = (probe(&rows), probe(&other));
    let weights = |probe: &Probe| Analysis::settings(probe).weights.concat();
    assert!(weights(&straight).iter().zip(weights(&round)).any(|(a, b)| (a - b).abs() > 1e-2));
    for row in rows.rows() {
        let (a, b) =
            (straight.log_probabilities(row).unwrap(), round.log_probabilities(&turned(row)).unwrap());
        // Rows are rounded to single precision once they are turned, 6e-8 of 60 at most.
        Tolerance::absolute(1e-4).check("a turned row", &b, &a).unwrap();
    }
}

/// Where the answer depends on the kind of a row alone, a probe that reads the kind is right on both tasks, and selects nothing.
#[test]
fn what_is_memorised_is_not_selective() {
    let kinds: Vec<u64> = (0..80).map(|i| i % 8).collect();
    let values: Vec<f32> =
        kinds.iter().flat_map(|kind| (0..8).map(|j| f32::from(u8::from(*kind == j)))).collect();
    let labels = kinds.iter().map(|kind| usize::from(*kind >= 4)).collect();
    let rows = Examples::new("kinds", values, vec!["low".into(), "high".into()], labels).unwrap();
    let rows = rows.of_kinds(kinds).unwrap();
    let fit = LinearProbe::new(Settings { c: 100.0, ..Settings::default() }).unwrap();
    let finding = fit.fit(&rows, Seed(5), &Unwatched).unwrap().finding;
    assert_eq!(numbers(&finding, "scores")[..3], [1.0, 1.0, 0.0]);
    let [learned, held, seen] = numbers(&finding, "rows")[..3] else { panic!() };
    assert_eq!((learned, held, seen), (64.0, 16.0, 16.0));
}

#[test]
fn rows_of_cases_are_what_passes_hold() {
    let toy = Toy::curved(1);
    let data = words(7);
    // Of the output too, of which a pass gives the last position alone unless it is asked.
    let sites = [SITE, "text.logits"].map(|site| site.parse::<mmlens_core::Site>().unwrap());
    let all = [Positions::All, Positions::Last, Positions::At(vec![1])];
    for (site, positions) in sites.iter().flat_map(|site| all.iter().map(|positions| (*site, positions))) {
        let on = On::new(&toy);
        let rows = mmlens_engine::examples((&on, "test"), &data, site, positions).unwrap();
        let (mut at, width) = (0, rows.width());
        for index in 0..data.len() {
            let inputs = toy.encode(&data.case(index).unwrap().sample).unwrap();
            let trace = toy.run(&inputs.clone().all_logits(), Plan::new().read(site).unwrap()).unwrap();
            let values = trace.get(site).unwrap().to_values().unwrap();
            for place in positions.of(inputs.map()).unwrap() {
                assert_eq!(rows.rows().nth(at).unwrap(), &values[place * width..(place + 1) * width]);
                assert_eq!((rows.labels()[at], rows.groups()[at]), (index % 2, index as u64 / 4));
                let same = rows.kinds().iter().position(|kind| *kind == rows.kinds()[at]).unwrap();
                assert_eq!(
                    rows.kinds()[same],
                    Examples::kind(inputs.map().tokens[place].id, index as u64 / 4)
                );
                at += 1;
            }
        }
        assert_eq!(at, rows.len());
    }
}

#[test]
fn a_probe_is_a_method_of_cases() {
    let toy = Toy::curved(1);
    for positions in [Positions::Last, Positions::All] {
        let Outcome { fitted, ended, finding } = learned(&toy, Settings { positions, ..settings() });
        assert!(ended.converged(), "{ended}");
        assert_eq!(finding.provenance.settings["ended"], serde_json::to_value(ended).unwrap());
        assert_eq!((finding.provenance.seed, finding.provenance.sites.len()), (Some(3), 1));
        let given = Given::new(Case::new(Sample::prompt(vec![painted(1)], "#cdb"))).unwrap();
        let probe = toy.encode(&given.case.sample).unwrap();
        let breaches = analysis_breaches(&fitted, &toy, &given, &probe);
        assert!(breaches.is_empty(), "{}", breaches.join("\n"));
        let found = fitted.run(&toy, &given.case).unwrap();
        let table = found.table("probabilities").unwrap();
        for row in table.as_numbers().unwrap().chunks(2) {
            assert!((row[0] + row[1] - 1.0).abs() < 1e-6, "{row:?}");
        }
        // A finding holds what was learned, and is made again from that.
        let read = mmlens_core::finding::Finding::from_bytes(&found.to_bytes().unwrap()).unwrap();
        let given = Given::new(Case::new(Sample::text("cdb"))).unwrap();
        let on = On::new(&toy).within(Memory::default());
        let found = AnyAnalysis::run_given(&fitted, &on, &given).unwrap();
        assert_eq!(rerun(&[Method::of::<Probe>()], &found, &on, Moved::default()).unwrap().differences, []);
        assert_eq!(read.provenance.settings, found.provenance.settings);
    }
}

#[test]
fn what_is_saved_and_loaded_has_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("probe.safetensors");
    let toy = Toy::curved(1);
    let probe = learned(&toy, settings()).fitted;
    probe.save(&path).unwrap();
    let read = Probe::load(&path).unwrap();
    assert_eq!(Analysis::settings(&read), Analysis::settings(&probe));
    let case = Case::new(Sample::text("cdb"));
    assert_eq!(read.run(&toy, &case).unwrap(), probe.run(&toy, &case).unwrap());
    let again = folder.path().join("again.safetensors");
    read.save(&again).unwrap();
    assert_eq!(std::fs::read(&again).unwrap(), std::fs::read(&path).unwrap());

    let bytes = std::fs::read(&path).unwrap();
    let refused = |from: &str, to: &str| {
        let text = bytes.windows(from.len()).position(|window| window == from.as_bytes()).expect("the text");
        let mut changed = bytes.clone();
        changed[text..text + from.len()].copy_from_slice(to.as_bytes());
        std::fs::write(&again, changed).unwrap();
        Probe::load(&again).unwrap_err().to_string()
    };
    let file = again.display();
    let said = refused("linear-probe", "linear-crobe");
    assert_eq!(
        said,
        format!("{file} holds what `linear-crobe` has learned, expected what `linear-probe` has learned")
    );
    let said = refused("\"intercepts\"", "\"interceqts\"");
    assert!(said.ends_with("there is no tensor `intercepts`"), "{said}");
    let said = refused(",\\\"c\\\"]", "      ]");
    assert!(said.contains("classes = 1, but there must be two"), "{said}");
    assert!(Probe::new(Learned::default()).unwrap_err().to_string().contains("a probe has to be learned"));
    let long = Learned { intercepts: vec![0.0; 2], ..Analysis::settings(&probe).clone() };
    assert!(Probe::new(long).unwrap_err().to_string().contains("one for each vector"));
}

#[test]
fn the_same_seed_gives_the_same_bits_and_a_watcher_ends_it() {
    struct Until(usize);
    impl Watch for Until {
        fn step(&self, _: &'static str, done: usize, _: usize) -> ControlFlow<()> {
            if done < self.0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        }
    }
    let rows = of_oracle(&Oracle::open("methods/linear-probe").unwrap(), 3);
    let fit = LinearProbe::new(Settings { steps: 200, ..Settings::default() }).unwrap();
    let once = |seed| fit.fit(&rows, Seed(seed), &Unwatched).unwrap();
    assert_eq!(once(1).finding, once(1).finding);
    assert_eq!(Analysis::settings(&once(1).fitted), Analysis::settings(&once(1).fitted));
    assert_ne!(Analysis::settings(&once(1).fitted), Analysis::settings(&once(2).fitted));
    let said = fit.fit(&rows, Seed(1), &Until(4)).unwrap_err().to_string();
    assert_eq!(said, "linear-probe was cancelled after 4 of 400");
    let short = LinearProbe::new(Settings { steps: 3, ..Settings::default() }).unwrap();
    let stopped = short.fit(&rows, Seed(1), &Unwatched).unwrap();
    assert!(!stopped.ended.converged() && stopped.ended.at().0 == 3, "{}", stopped.ended);
}

#[test]
fn what_cannot_be_learned_from_is_refused() {
    let toy = Toy::curved(1);
    let (on, data) = (On::new(&toy), words(12));
    let said = |settings: Settings| LinearProbe::new(settings).unwrap_err().to_string();
    assert_eq!(
        said(Settings { c: 0.0, ..settings() }),
        "linear-probe: c = 0, but it must be a finite number above zero"
    );
    assert!(
        said(Settings { tolerance: f64::NAN, ..settings() }).starts_with("linear-probe: tolerance = NaN")
    );
    assert!(said(Settings { held_out: 1.0, ..settings() }).ends_with("it must lie between 0 and 1"));
    assert!(said(Settings { steps: 0, ..settings() }).ends_with("it must be at least 1"));

    let learn = |settings: Settings, data: &dyn Cases| {
        LinearProbe::new(settings).unwrap().learn(&on, data, Seed(1)).unwrap_err().to_string()
    };
    let bare = from_fn("bare", 4, |_| Ok(Case::new(Sample::text("ab"))));
    assert_eq!(
        learn(settings(), &bare),
        "linear-probe needs a label for every case, but case 0 of `bare` has none"
    );
    let past = Settings { positions: Positions::At(vec![40]), ..settings() };
    assert!(
        learn(past, &data).starts_with("linear-probe needs positions that the sample has, but position 40")
    );
    let tower = Settings { site: "vision.pixels".parse().unwrap(), ..settings() };
    assert!(learn(tower, &data).contains("all rows of a site that has no positions of a prompt"));
    let pattern = Settings { site: "text.blocks.0.attn.pattern".parse().unwrap(), ..settings() };
    assert!(learn(pattern, &data).contains("rows whose length is fixed"));
    let nowhere = Settings { site: "text.blocks.9.resid_post".parse().unwrap(), ..settings() };
    assert!(learn(nowhere, &data).contains("text.blocks.9.resid_post"));
    let one =
        Annotated::new(from_fn("one", 4, |_| Ok(Case::new(Sample::text("ab")))), ["a"], vec![0; 4]).unwrap();
    assert_eq!(learn(settings(), &one), "linear-probe needs at least two classes, but there are 1");
    let three = Annotated::new(
        from_fn("three", 4, |_| Ok(Case::new(Sample::text("ab")))),
        ["a", "b", "c"],
        vec![0, 1, 0, 1],
    );
    let wanted = "linear-probe needs rows of every class to learn from, but none of `c` was left";
    assert_eq!(learn(settings(), &three.unwrap()), wanted);
    let group =
        Annotated::new(from_fn("group", 2, |_| Ok(Case::new(Sample::text("ab")))), ["a", "b"], vec![0, 1]);
    let group = group.unwrap().grouped(vec![1, 1]).unwrap();
    assert_eq!(learn(settings(), &group), "linear-probe needs at least two groups, but there is one");

    let rows =
        mmlens_engine::examples((&on, "test"), &data, SITE.parse().unwrap(), &Positions::Last).unwrap();
    let other = LinearProbe::new(Settings::default()).unwrap();
    let said = other.fit(&rows, Seed(1), &Unwatched).unwrap_err().to_string();
    let wanted = "linear-probe needs rows of its own site, but these are of text.blocks.1.resid_post, and that is \
                  text.blocks.0.resid_post";
    assert_eq!(said, wanted);
}

#[test]
fn cards_of_fits_are_complete() {
    assert!(!FITS.is_empty());
    for card in FITS.iter().map(|fit| fit.card) {
        assert!(card.citation.contains("https://") && card.question.ends_with('?'), "{card:?}");
        assert!(card.misleads.len() > 1 && !card.cost.is_empty(), "{card:?}");
        let of_methods = mmlens_model::METHODS
            .iter()
            .any(|method| method.is_called(card.id) || method.is_called(card.short));
        assert!(!of_methods, "{card:?}");
    }
}
