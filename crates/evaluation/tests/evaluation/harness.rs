//! The harness: sums by hand, a budget, a journal that is gone on with, and kills.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use mmlens_core::finding::{CautionKind, Finding, Labelled, Role};
use mmlens_core::{
    Analysis, AnalysisError, Baseline, Case, Cases, Mask, Objective, On, PersonMap, Sample, Subject,
    SubjectError, Target, Unwatched, Watch,
};
use mmlens_evaluation::{
    Contestant, Evaluation, EvaluationError, EvaluationSettings, METRICS, Models, Redrawn, Redraws, league,
};
use mmlens_model::{AttentionRollout, KernelShap, Occlusion, kernel_shap, occlusion};
use mmlens_testkit::{Toy, cell, kill_again_and_again};
use serde_json::json;

use super::painted;

/// Painted pictures, of each of which one quarter is said to matter, and what two persons hold.
struct Painted(usize);

impl Cases for Painted {
    fn name(&self) -> &str {
        "painted"
    }

    fn len(&self) -> usize {
        self.0
    }

    fn case(&self, index: usize) -> Result<Case, SubjectError> {
        let sample = Sample::prompt(vec![painted(index as u32, [8, 8])], "#ab");
        Ok(Case { sample, target: Target::Objective(Objective::logit(4)) })
    }

    fn masks(&self, index: usize) -> Result<Vec<Mask>, SubjectError> {
        let inside = |pixel: usize| (pixel / 8 < 4) == index.is_multiple_of(2) && pixel % 8 < 4;
        let inside = (0..64).map(inside).collect();
        Ok(vec![Mask { name: "quarter".to_owned(), picture: 0, size: [8, 8], inside }])
    }

    fn persons(&self, index: usize) -> Result<Vec<PersonMap>, SubjectError> {
        let of = |seed: usize| PersonMap {
            name: format!("person {seed}"),
            picture: 0,
            size: [8, 8],
            values: (0..64).map(|pixel| ((pixel * (7 + seed) + index) % 31) as f32).collect(),
        };
        Ok(vec![of(1), of(2)])
    }
}

fn occlude(rows: usize) -> Contestant {
    let settings = occlusion::Settings {
        picture: Some(occlusion::Cover::Grid { rows, cols: rows }),
        words: None,
        pixels: Baseline::Zero,
        ..occlusion::Settings::default()
    };
    Contestant::new(format!("occlusion {rows}"), Box::new(Occlusion::new(settings).unwrap()))
}

fn evaluation(metrics: &[(&str, serde_json::Value)], settings: EvaluationSettings) -> Evaluation {
    let made = metrics.iter().map(|(id, settings)| {
        let row = METRICS.iter().find(|row| row.card.id == *id).unwrap();
        row.make(settings.clone()).unwrap()
    });
    Evaluation::new(settings, made.collect()).unwrap()
}

fn some_metrics() -> Evaluation {
    let over = json!({"grid": {"rows": 4, "cols": 4}});
    let zero = json!({"baseline": "zero"});
    evaluation(
        &[
            ("mass-accuracy", json!({})),
            ("deletion", json!({"over": over, "instead": zero, "steps": 4, "normalise": false})),
            ("sensitivity", json!({"draws": 2})),
            ("cascading-randomisation", json!({"over": over})),
            ("agreement", json!({"rows": 4, "cols": 4})),
            ("sparseness", json!({"over": over})),
        ],
        EvaluationSettings { resamples: 50, grid: [4, 4], ..EvaluationSettings::default() },
    )
}

fn run(
    evaluation: &Evaluation,
    data: &dyn Cases,
    contestants: &[Contestant],
    journal: Option<&Path>,
    watch: &dyn Watch,
) -> Result<Finding, EvaluationError> {
    let (toy, other) = (Toy::curved(1), Toy::curved(2));
    let cascade = [Redrawn { name: "all", subject: &other }];
    let models = Models { random: &other, redraws: Redraws { cascade: &cascade, each: &[] } };
    let on = On::new(&toy as &dyn Subject).watched(watch);
    evaluation.run(&on, data, contestants, models, journal)
}

/// All bits of all tables.
fn bits(finding: &Finding) -> Vec<(String, Vec<u32>, Vec<String>)> {
    let of = |table: &Labelled| {
        let numbers = table.as_numbers().unwrap_or_default().iter().map(|v| v.to_bits()).collect();
        (table.name().to_owned(), numbers, table.as_texts().unwrap_or_default().to_vec())
    };
    finding.tables().iter().map(of).collect()
}

#[test]
fn means_are_those_of_the_cases_and_baselines_are_always_rows() {
    let contestants = [occlude(4), occlude(2)];
    let finding = run(&some_metrics(), &Painted(5), &contestants, None, &Unwatched).unwrap();
    let score = finding.table("score").unwrap();
    assert_eq!(score.roles(), [Role::Method, Role::Metric]);
    let rows: Vec<String> = (0..score.shape()[0]).map(|i| score.axes()[0].label(i).unwrap()).collect();
    assert_eq!(
        rows,
        [
            "occlusion 4",
            "occlusion 2",
            "occlusion 4, random weights",
            "occlusion 2, random weights",
            "random map",
            "centred blob",
            "edge filter",
            "a person"
        ]
    );
    let columns: Vec<String> = (0..score.shape()[1]).map(|i| score.axes()[1].label(i).unwrap()).collect();
    assert_eq!(
        columns,
        [
            "mass-accuracy",
            "deletion",
            "sensitivity max",
            "sensitivity mean",
            "cascade: all",
            "agreement",
            "sparseness"
        ]
    );
    // Every score of the table of cases, summed by hand.
    let cases = finding.table("cases").unwrap();
    let n = finding.table("n").unwrap();
    for row in 0..rows.len() {
        for column in 0..columns.len() {
            let own: Vec<f64> =
                (0..5).map(|case| f64::from(cases.get(&[case, row, column]).unwrap())).collect();
            let there: Vec<f64> = own.iter().copied().filter(|score| score.is_finite()).collect();
            assert_eq!(n.get(&[row, column]), Some(there.len() as f32));
            let mean = there.iter().sum::<f64>() / there.len() as f64;
            let found = f64::from(score.get(&[row, column]).unwrap());
            assert!(there.is_empty() && found.is_nan() || (found - mean).abs() < 1e-6, "{row} {column}");
            let [low, high] = ["low", "high"]
                .map(|name| f64::from(finding.table(name).unwrap().get(&[row, column]).unwrap()));
            assert!(
                there.is_empty() || (low <= found + 1e-6 && found <= high + 1e-6),
                "{low} {found} {high}"
            );
        }
    }
    // The mass of a random map is in the mean the share of the picture, 1/4; that of edges and blob is known of no model.
    assert!((cell(score, "random map", "mass-accuracy") - 0.25).abs() < 0.1);
    // A blob is the same in all quarters, does not move, and cares for no model.
    assert!((cell(score, "centred blob", "mass-accuracy") - 0.25).abs() < 1e-6);
    assert_eq!(cell(score, "centred blob", "sensitivity max"), 0.0);
    assert_eq!(cell(score, "edge filter", "cascade: all"), 1.0);
    assert_eq!(cell(score, "occlusion 4, random weights", "cascade: all"), 1.0);
    assert!(cell(score, "occlusion 4", "cascade: all") < 0.9);
    // Persons have one score.
    assert_eq!(cell(n, "a person", "agreement"), 5.0);
    assert_eq!(cell(n, "a person", "deletion"), 0.0);
    assert!(cell(score, "a person", "deletion").is_nan());
    // Ahead: lower is better of deletion, so that the difference is turned.
    let ahead = finding.table("ahead").unwrap();
    assert_eq!(ahead.roles(), [Role::Method, Role::Method, Role::Metric]);
    let judged: Vec<String> = (0..ahead.shape()[2]).map(|i| ahead.axes()[2].label(i).unwrap()).collect();
    assert!(!judged.contains(&"sparseness".to_owned()) && judged.len() == 6);
    let expected = cell(score, "random map", "deletion") - cell(score, "occlusion 4", "deletion");
    let found = ahead.get(&[0, 2, 1]).unwrap();
    assert!((found - expected).abs() < 1e-5, "{found} {expected}");
    // Passes as the method says them: 4 x 4 cells and one, of five cases.
    let passes = finding.table("passes").unwrap();
    let occlude = occlude(4)
        .method
        .cost(&On::new(&Toy::curved(1)), &mmlens_core::Given::new(Painted(1).case(0).unwrap()).unwrap());
    assert_eq!(cell(passes, "occlusion 4", "maps"), 5.0 * occlude.unwrap().forward as f32);
    // Four steps and the whole.
    assert_eq!(cell(passes, "edge filter", "deletion"), 25.0);
    assert_eq!(cell(passes, "random map", "deletion"), 75.0);
    let told = league(&finding).unwrap();
    assert!(told.starts_with("| | mass-accuracy ↑ | deletion ↓ |"), "{told}");
    assert!(told.contains("n=5") && told.contains("| none n=0 |"), "{told}");
    assert_eq!(finding.provenance.method, "evaluation");
    assert_eq!(finding.provenance.input.as_ref().unwrap().data.as_ref().unwrap().cases, 5);
}

/// That what looks at less is ahead is told of a method it is ahead of, with how often; of few cases too; and of neither where it is not so.
#[test]
fn baselines_that_are_ahead_are_told() {
    // The evidence lies where the blob does, or far from it.
    struct Marked {
        middle: bool,
        side: usize,
    }
    impl Cases for Marked {
        fn name(&self) -> &str {
            "marked"
        }

        fn len(&self) -> usize {
            if self.middle { 5 } else { 24 }
        }

        fn case(&self, index: usize) -> Result<Case, SubjectError> {
            Painted(self.len()).case(index)
        }

        fn masks(&self, _: usize) -> Result<Vec<Mask>, SubjectError> {
            let middle = |pixel: usize| (2..6).contains(&(pixel / 8)) && (2..6).contains(&(pixel % 8));
            let inside = (0..self.side * self.side).map(|pixel| middle(pixel) == self.middle).collect();
            Ok(vec![Mask { name: "middle".to_owned(), picture: 0, size: [self.side; 2], inside }])
        }
    }
    let cautions = |data: &Marked, contestants: &[Contestant]| {
        let metrics = [("mass-accuracy", json!({})), ("sensitivity", json!({"draws": 1}))];
        let settings = EvaluationSettings { resamples: 200, ..EvaluationSettings::default() };
        run(&evaluation(&metrics, settings), data, contestants, None, &Unwatched).unwrap().cautions()
    };
    let some = cautions(&Marked { middle: true, side: 8 }, &[occlude(4)]);
    assert_eq!((some[0].kind, some[0].number), (CautionKind::FewRows, 5.0));
    assert_eq!((some[1].kind, some.len()), (CautionKind::Other, 2));
    assert!(
        some[1].text.starts_with("`occlusion 4` is beaten by what looks at less: by"),
        "{}",
        some[1].text
    );
    assert!(some[1].text.contains("`centred blob` in mass-accuracy by"), "{}", some[1].text);
    assert!(!some[1].text.contains("sensitivity"), "{}", some[1].text);
    // Outside the middle the blob has least.
    let none = cautions(&Marked { middle: false, side: 8 }, &[occlude(4)]);
    assert!(
        none.iter().all(|caution| caution.kind != CautionKind::FewRows && !caution.text.contains("blob")),
        "{none:?}"
    );
    // Of a mask that does not fit nothing is told in silence.
    let misfit = cautions(&Marked { middle: true, side: 4 }, &[occlude(4)]);
    assert_eq!((misfit[0].kind, misfit[0].number), (CautionKind::Other, 1.0));
    assert_eq!(
        misfit[0].text,
        "no case has a score of `mass-accuracy` for `occlusion 4`: a mask is 4 x 4 pixels, and the picture 8 x 8"
    );
}

#[test]
fn a_budget_is_kept_and_told() {
    let settings = |budget| EvaluationSettings { resamples: 10, budget, ..EvaluationSettings::default() };
    let over = json!({"grid": {"rows": 4, "cols": 4}});
    let of = |budget| {
        let metrics = [
            ("deletion", json!({"over": over, "steps": 4, "normalise": false})),
            ("sparseness", json!({"over": over})),
        ];
        run(&evaluation(&metrics, settings(budget)), &Painted(4), &[occlude(4)], None, &Unwatched).unwrap()
    };
    // Five rows, each with two metrics and its maps: shares of 1/15. Maps of occlusion take 18 passes, deletion 5.
    let finding = of(Some(15 * 40));
    let (n, cost) = (finding.table("n").unwrap(), finding.table("not run (cost)").unwrap());
    let maps = finding.table("passes").unwrap();
    let each = cell(maps, "occlusion 4", "maps") / cell(n, "occlusion 4", "sparseness");
    let expected = (40.0 / each).floor().min(4.0);
    assert!(expected < 4.0, "{each}");
    assert_eq!(cell(n, "occlusion 4", "sparseness"), expected);
    assert_eq!(cell(cost, "occlusion 4", "sparseness"), 4.0 - expected);
    assert_eq!(cell(n, "edge filter", "deletion"), 4.0);
    // Three draws of five passes: two cases of 15 within 40.
    assert_eq!(cell(n, "random map", "deletion"), 2.0);
    let spent: f32 = maps.as_numbers().unwrap().iter().sum();
    assert!(spent <= 600.0, "{spent}");
    let none = of(Some(0));
    assert!(league(&none).unwrap().contains("| not run (cost) n=0 |"));
    assert_eq!(cell(none.table("n").unwrap(), "edge filter", "sparseness"), 4.0);
    assert_eq!(cell(none.table("n").unwrap(), "edge filter", "deletion"), 0.0);
    let whole = of(None);
    assert_eq!(cell(whole.table("n").unwrap(), "occlusion 4", "deletion"), 4.0);
}

/// Sparseness of occlusion and of the three baselines, five rows, under a clock by which the nth row that is run takes `lasts(n)` seconds.
fn timed(seconds: f64, lasts: fn(u64) -> u64) -> Evaluation {
    let settings =
        EvaluationSettings { resamples: 10, seconds: Some(seconds), ..EvaluationSettings::default() };
    let asked = Cell::new(0_u64);
    let clock = move || {
        let now = asked.replace(asked.get() + 1);
        // Before and behind each row.
        Duration::from_secs((0..now.div_ceil(2)).map(lasts).sum())
    };
    evaluation(&[("sparseness", json!({"over": {"grid": {"rows": 4, "cols": 4}}}))], settings).clocked(clock)
}

#[test]
fn seconds_are_shared_among_rows_and_told() {
    let of = |evaluation: Evaluation| run(&evaluation, &Painted(4), &[occlude(4)], None, &Unwatched).unwrap();
    let count =
        |finding: &Finding, table: &str, row: &str| cell(finding.table(table).unwrap(), row, "sparseness");
    // Ten seconds for five rows that take one each: two cases of each.
    let finding = of(timed(10.0, |_| 1));
    for row in ["occlusion 4", "occlusion 4, random weights", "random map", "centred blob", "edge filter"] {
        assert_eq!(count(&finding, "n", row), 2.0, "{row}");
        assert_eq!(count(&finding, "not run (cost)", row), 2.0, "{row}");
    }
    // A row that takes more than its share is done with the case that it is at, and takes nothing from the others.
    let finding = of(timed(15.0, |row| if row == 0 { 100 } else { 1 }));
    assert_eq!((count(&finding, "n", "occlusion 4"), count(&finding, "n", "edge filter")), (1.0, 3.0));
    let none = of(timed(0.0, |_| 1));
    assert_eq!(count(&none, "not run (cost)", "edge filter"), 4.0);
    assert!(league(&none).unwrap().contains("| not run (cost) n=0 |"));
    // Cases that no row has time for are not opened.
    struct Closed;
    impl Cases for Closed {
        fn name(&self) -> &str {
            "closed"
        }

        fn len(&self) -> usize {
            4
        }

        fn case(&self, index: usize) -> Result<Case, SubjectError> {
            assert!(index < 2, "case {index} was opened");
            Painted(4).case(index)
        }

        fn hash(&self) -> Result<String, SubjectError> {
            Ok(String::new())
        }
    }
    let finding = run(&timed(10.0, |_| 1), &Closed, &[occlude(4)], None, &Unwatched).unwrap();
    assert_eq!(count(&finding, "n", "edge filter"), 2.0);
}

#[test]
fn seconds_that_were_spent_before_a_stop_count_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    let of = |journal| run(&timed(10.0, |_| 1), &Painted(4), &[occlude(4)], journal, &Unwatched).unwrap();
    let whole = of(None);
    assert_eq!(bits(&whole), bits(&of(Some(&path))));
    let text = std::fs::read_to_string(&path).unwrap();
    for cut in [text.len() / 3, text.len() / 2, 2 * text.len() / 3] {
        std::fs::write(&path, &text[..cut]).unwrap();
        assert_eq!(bits(&whole), bits(&of(Some(&path))), "{cut}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "{cut}");
    }
}

#[test]
fn what_a_method_cannot_do_is_no_reason_to_stop() {
    let contestants = [
        Contestant::new("by name", Box::new(AttentionRollout::default())).with_table("nothing"),
        Contestant::new("rollout", Box::new(AttentionRollout::default())),
    ];
    let evaluation = evaluation(&[("sparseness", json!({}))], EvaluationSettings::default());
    let finding = run(&evaluation, &Painted(2), &contestants, None, &Unwatched).unwrap();
    assert_eq!(cell(finding.table("n").unwrap(), "by name", "sparseness"), 0.0);
    let without = finding.table("without").unwrap().as_texts().unwrap();
    assert!(
        without[0].starts_with("no table of `attention-rollout` called `nothing` lies on a picture"),
        "{}",
        without[0]
    );
    assert!(without[0].ends_with("(2 of 2 cases)"), "{}", without[0]);
    assert_eq!(cell(finding.table("n").unwrap(), "edge filter", "sparseness"), 2.0);
    // A case that cannot be opened is told of in every row.
    struct Broken;
    impl Cases for Broken {
        fn name(&self) -> &str {
            "broken"
        }

        fn len(&self) -> usize {
            2
        }

        fn case(&self, index: usize) -> Result<Case, SubjectError> {
            // Two pictures where the prompt has a place for one.
            let pictures = (0..=index as u32).map(|seed| painted(seed, [8, 8])).collect();
            Ok(Case::new(Sample::prompt(pictures, "#a")))
        }
    }
    let finding = run(&evaluation, &Broken, &[occlude(2)], None, &Unwatched).unwrap();
    assert!(finding.table("n").unwrap().as_numbers().unwrap().iter().all(|n| *n == 1.0));
    let without = finding.table("without").unwrap().as_texts().unwrap();
    assert!(
        without.iter().all(|why| why.contains("does not go with 2 pictures (1 of 2 cases)")),
        "{without:?}"
    );
}

#[test]
fn a_journal_is_gone_on_with_and_another_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    let whole = run(&some_metrics(), &Painted(3), &[occlude(4)], None, &Unwatched).unwrap();
    let first = run(&some_metrics(), &Painted(3), &[occlude(4)], Some(&path), &Unwatched).unwrap();
    assert_eq!(bits(&whole), bits(&first));
    let text = std::fs::read_to_string(&path).unwrap();
    // From wherever it was cut, also in the middle of a line.
    for cut in [0, 7, text.len() / 3, text.len() / 2, text.len() - 1, text.len()] {
        let cut = (0..=cut).rev().find(|at| text.is_char_boundary(*at)).unwrap();
        std::fs::write(&path, &text[..cut]).unwrap();
        let again = run(&some_metrics(), &Painted(3), &[occlude(4)], Some(&path), &Unwatched).unwrap();
        assert_eq!(bits(&whole), bits(&again), "{cut}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "{cut}");
    }
    let said = |data: &dyn Cases, contestants: &[Contestant]| {
        run(&some_metrics(), data, contestants, Some(&path), &Unwatched).unwrap_err().to_string()
    };
    let place = format!("{}, line 1: an evaluation with other", path.display());
    let other = "; expected this one: name another folder, or remove that file";
    assert_eq!(said(&Painted(4), &[occlude(4)]), format!("{place} `data`{other}"));
    assert_eq!(said(&Painted(3), &[occlude(2)]), format!("{place} `methods`{other}"));
    std::fs::write(&path, "{}\n").unwrap();
    assert!(said(&Painted(3), &[occlude(4)]).starts_with(&place));
    let broken: Vec<&str> = text.lines().collect();
    std::fs::write(&path, format!("{}\n{}\n", broken[0], broken[2])).unwrap();
    let error = said(&Painted(3), &[occlude(4)]);
    assert!(error.contains("line 2: row 1 of case 0; expected row 0 of case 0 with 6 metrics"), "{error}");
}

#[test]
fn cancelling_keeps_what_is_done() {
    struct Stops;
    impl Watch for Stops {
        fn step(&self, _: &'static str, done: usize, _: usize) -> ControlFlow<()> {
            if done >= 4 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    let error = run(&some_metrics(), &Painted(3), &[occlude(4)], Some(&path), &Stops).unwrap_err();
    assert!(matches!(error, EvaluationError::Analysis(AnalysisError::Cancelled { .. })), "{error}");
    // The head, and four rows.
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 5);
    let whole = run(&some_metrics(), &Painted(3), &[occlude(4)], None, &Unwatched).unwrap();
    let again = run(&some_metrics(), &Painted(3), &[occlude(4)], Some(&path), &Unwatched).unwrap();
    assert_eq!(bits(&whole), bits(&again));
}

#[test]
fn settings_are_checked() {
    let said = |settings: EvaluationSettings, ids: &[&str]| {
        let metrics = ids
            .iter()
            .map(|id| METRICS.iter().find(|row| row.card.id == *id).unwrap().make(json!({})).unwrap());
        Evaluation::new(settings, metrics.collect()).unwrap_err().to_string()
    };
    let usual = EvaluationSettings::default;
    let one = ["sparseness"];
    assert_eq!(said(usual(), &[]), "evaluation: metrics = none, but there must be one");
    assert_eq!(
        said(usual(), &["top-k", "top-k"]),
        "evaluation: metrics = `top-k` twice, but each is named once"
    );
    assert_eq!(
        said(EvaluationSettings { draws: 0, ..usual() }, &one),
        "evaluation: draws = 0, but it must be at least 1"
    );
    assert_eq!(
        said(EvaluationSettings { level: 1.0, ..usual() }, &one),
        "evaluation: level = 1, but it must lie between 0 and 1"
    );
    assert_eq!(
        said(EvaluationSettings { seconds: Some(-1.0), ..usual() }, &one),
        "evaluation: seconds = -1, but it must be zero or more"
    );
    let twice = run(
        &evaluation(&[("sparseness", json!({}))], usual()),
        &Painted(1),
        &[occlude(2), occlude(2)],
        None,
        &Unwatched,
    );
    assert_eq!(
        twice.unwrap_err().to_string(),
        "evaluation: methods = `occlusion 2` twice, but each row has a name of its own"
    );
}

/// Evaluates when another test tells it to: that test kills it.
#[test]
fn child() {
    let Ok(journal) = std::env::var("MMLENS_EVALUATION_CHILD") else { return };
    struct Slow;
    impl Watch for Slow {
        fn step(&self, _: &'static str, _: usize, _: usize) -> ControlFlow<()> {
            std::thread::sleep(Duration::from_micros(200));
            ControlFlow::Continue(())
        }
    }
    run(&some_metrics(), &Painted(4), &[occlude(4)], Some(Path::new(&journal)), &Slow).unwrap();
}

#[test]
fn an_evaluation_that_is_killed_again_and_again_ends_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole.jsonl");
    let killed = |job: usize| folder.path().join(format!("{job}.jsonl"));
    let uninterrupted = run(&some_metrics(), &Painted(4), &[occlude(4)], Some(&whole), &Unwatched).unwrap();
    let start = |job| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "harness::child"]).env("MMLENS_EVALUATION_CHILD", killed(job));
        command
    };
    let expected = std::fs::read(&whole).unwrap();
    let look = |job| {
        let found = std::fs::read(killed(job)).unwrap_or_default();
        assert!(expected.starts_with(&found), "job {job}: {}", String::from_utf8_lossy(&found));
    };
    kill_again_and_again(Duration::from_millis(200), start, look, |job| {
        assert_eq!(expected, std::fs::read(killed(job)).unwrap(), "job {job}");
        let read = run(&some_metrics(), &Painted(4), &[occlude(4)], Some(&killed(job)), &Unwatched).unwrap();
        assert_eq!(bits(&uninterrupted), bits(&read));
    });
}

/// With all coalitions nothing is left to draw, and what never draws has no score; with few of them Kernel SHAP is another map every time, and a random map any.
#[test]
fn few_coalitions_give_another_map_every_time() {
    let shap = |samples: usize| {
        let settings = kernel_shap::Settings {
            picture: Some(kernel_shap::Cover::Grid { rows: 2, cols: 4 }),
            words: None,
            pixels: Baseline::Zero,
            samples,
            ..Default::default()
        };
        Contestant::new(format!("{samples}"), Box::new(KernelShap::new(settings).unwrap()))
    };
    let evaluation = evaluation(&[("stability", json!({}))], EvaluationSettings::default());
    let contestants = [shap(512), shap(60), occlude(4)];
    let finding = run(&evaluation, &Painted(4), &contestants, None, &Unwatched).unwrap();
    let score = finding.table("score").unwrap();
    let of = |row: &str| cell(score, row, "stability");
    // Rounding of sums in another order moves no rank.
    let without = finding.table("without").unwrap().as_texts().unwrap();
    assert!((of("512") - 1.0).abs() < 1e-6, "{} {without:?}", of("512"));
    assert!(of("occlusion 4").is_nan() && of("centred blob").is_nan());
    assert!(of("60") < 1.0 - 1e-6, "{} {without:?}", of("60"));
    assert!(of("60") > of("random map") && of("random map").abs() < 0.4, "{}", of("random map"));
    let passes = finding.table("passes").unwrap();
    assert_eq!(cell(passes, "occlusion 4", "stability"), 0.0);
    assert!(cell(passes, "60", "stability") > 0.0);
}
