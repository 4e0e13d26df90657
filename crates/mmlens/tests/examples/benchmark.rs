//! Models over data sets: what a run of each kind of model comes to, what lies beside the scores, and what is refused.

#[path = "../../../../examples/benchmark/polls.rs"]
mod polls;

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use mmlens::core::burn::tensor::Device;
use mmlens::core::{Memory, Watch};
use mmlens::data::benchmark::{Bench, By, ItemCases, Reader, Row, Scored, ScorerName, Settings, Source};
use mmlens::data::shapes::{Detail, Split, World};
use mmlens::prelude::*;
use mmlens::store::Store;
use mmlens::zoo::shipped;

fn bench<'a>(source: &'a Source, settings: &'a Settings) -> Bench<'a> {
    Bench {
        name: "own",
        source,
        settings,
        synonyms: None,
        limit: None,
        methods: &[],
        memory: Memory::default(),
        read: None,
    }
}

fn figure(row: &Row, name: &str) -> f64 {
    row.parts[0].figures.iter().find(|figure| figure.name == name).unwrap().value.unwrap()
}

fn row<'a>(scored: &'a Scored, by: &str) -> &'a Row {
    scored.rows.iter().find(|row| row.by == by).unwrap()
}

fn kinds(scored: &Scored) -> Vec<CautionKind> {
    scored.cautions.iter().map(|caution| caution.kind).collect()
}

/// The built-in LLaVA knows what is there in 99.4 % of test questions (docs/shapes.md); without the picture nobody does.
#[test]
fn a_model_that_sees_is_told_from_one_that_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let subject = shipped::shapes(&Device::default()).unwrap();
    let data = polls::poll(folder.path(), 40).unwrap();
    let scored = polls::answer(&subject, &data, &folder.path().join("run"), &[]).unwrap();
    // As many questions of each kind, 40 pictures.
    let whole = &scored.rows[0].parts[0];
    assert_eq!((whole.groups, scored.answered, scored.items), (40, whole.items, whole.items));
    assert_eq!(figure(row(&scored, "always yes"), "accuracy"), 0.5);
    assert_eq!(figure(row(&scored, "always no"), "yes ratio"), 0.0);
    assert!(figure(&scored.rows[0], "accuracy") > 0.97, "{:?}", scored.rows[0]);
    // One answer for a scene without objects, so that half of the questions have it right, or nearly.
    let blank = figure(row(&scored, "blank picture"), "accuracy");
    assert!((0.4..0.6).contains(&blank), "{blank}");
    let names: Vec<&str> = scored.rows.iter().map(|row| row.by.as_str()).collect();
    assert_eq!(names, ["model", "always yes", "always no", "majority answer", "blank picture"]);
    assert!(kinds(&scored).is_empty(), "{:?}", scored.cautions);

    // Of its own accord a tower that was switched off sees nothing, which is said.
    let edit = Alteration::parse("connector.out=zero").unwrap();
    let blind = Altered::new(shipped::shapes(&Device::default()).unwrap(), [edit]).unwrap();
    let blind = polls::answer(&blind, &data, &folder.path().join("blind"), &[]).unwrap();
    assert!(figure(&blind.rows[0], "accuracy") < 0.65);
    assert!(kinds(&blind).contains(&CautionKind::NoBetter), "{:?}", blind.cautions);

    // By logits the same answers, since they are single words.
    let source = Source::new(Reader::Pope, &data);
    let settings = Settings { scorer: ScorerName::Pope, by: By::Logit, max_new: 4, ..Settings::default() };
    let by_logit = bench(&source, &settings).run(&subject, &folder.path().join("logit"), &Unwatched).unwrap();
    assert_eq!(by_logit.rows[0].parts, scored.rows[0].parts);

    // What was written is what was said.
    let read = |name: &str| fs::read_to_string(folder.path().join("run").join(name)).unwrap();
    let own: Scored = serde_json::from_str(&read("scores.json")).unwrap();
    assert_eq!(own, scored);
    let finding = Finding::load(folder.path().join("run/scores.safetensors")).unwrap();
    assert_eq!(
        finding.table("score").unwrap().get(&[0, 0]),
        Some(figure(&scored.rows[0], "accuracy") as f32)
    );
    let results: serde_json::Value = serde_json::from_str(&read("lmms_results.json")).unwrap();
    assert_eq!(results["results"]["polls"]["pope_accuracy,none"], figure(&scored.rows[0], "accuracy"));
    assert_eq!(results["n-samples"]["polls"]["effective"], scored.answered);
    for name in [
        "pope_f1_score,none",
        "pope_precision,none",
        "pope_recall_stderr,none",
        "pope_yes_ratio,none",
        "alias",
    ] {
        assert!(!results["results"]["polls"][name].is_null(), "{name}");
    }
    let samples = read("lmms_samples_polls.jsonl");
    assert_eq!(samples.lines().count(), scored.answered);
    let first: serde_json::Value = serde_json::from_str(samples.lines().next().unwrap()).unwrap();
    assert_eq!((&first["doc_id"], &first["pope"]["ground_truth"]), (&0.into(), &"yes".into()));
    assert_eq!(
        first["input"],
        "is there a circle ?".replace("circle", first["input"].as_str().unwrap().split(' ').nth(3).unwrap())
    );
}

/// Captions of scenes, each with one of another colour.
fn pairs(folder: &Path, count: u64) -> Source {
    let (world, mut lines) = (World::new(7), String::new());
    for id in 0..count {
        let scene = world.scene(Split::Test, id);
        let name = format!("{id}.png");
        scene.render().save(folder.join(&name)).unwrap();
        let caption = scene.caption(Detail::Full).to_string();
        let other = world.scene(Split::Test, id + 1000).caption(Detail::Full).to_string();
        let line = serde_json::json!({"image": name, "caption": caption, "foil": other});
        lines.push_str(&format!("{line}\n"));
    }
    fs::write(folder.join("pairs.jsonl"), lines).unwrap();
    Source::new(Reader::Jsonl, folder.join("pairs.jsonl"))
}

#[test]
fn captions_fit_better_than_those_of_other_scenes() {
    let folder = tempfile::tempdir().unwrap();
    let source = pairs(folder.path(), 40);
    let settings = Settings {
        scorer: ScorerName::Pairwise,
        ask: "what is in the picture ?".to_owned(),
        ..Settings::default()
    };
    let clip = shipped::shapes_clip(&Device::default()).unwrap();
    let scored = bench(&source, &settings).run(&clip, &folder.path().join("clip"), &Unwatched).unwrap();
    assert!(figure(&scored.rows[0], "accuracy") > 0.9, "{:?}", scored.rows);
    assert_eq!(scored.rows[0].parts[0].figures[1].value, None);
    let by: Vec<&str> = scored.rows.iter().map(|row| row.by.as_str()).collect();
    assert_eq!(by, ["model", "shorter text", "blank picture"]);
    // A model that writes is told both ways.
    let llava = shipped::shapes(&Device::default()).unwrap();
    let scored = bench(&source, &settings).run(&llava, &folder.path().join("llava"), &Unwatched).unwrap();
    assert!(figure(&scored.rows[0], "accuracy per token") >= 0.0);
    let line = fs::read_to_string(folder.path().join("llava/answers.jsonl")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line.lines().nth(1).unwrap()).unwrap();
    assert!(line["answer"]["fits"][0]["caption"].as_f64().unwrap() < 0.0);
    // A dual encoder writes nothing: which item it was is said.
    let asked = Settings { scorer: ScorerName::None, ..settings.clone() };
    let said =
        bench(&source, &asked).run(&clip, &folder.path().join("none"), &Unwatched).unwrap_err().to_string();
    assert!(said.starts_with("item `0`: "), "{said}");
}

#[test]
fn a_longer_run_goes_on_and_keeps_what_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let subject = shipped::shapes(&Device::default()).unwrap();
    let data = polls::poll(folder.path(), 4).unwrap();
    let source = Source::new(Reader::Pope, &data);
    let settings = Settings { scorer: ScorerName::Pope, max_new: 4, blank: false, ..Settings::default() };
    let methods: Vec<Box<dyn AnyAnalysis>> =
        vec![Method::called(METHODS, "occlusion").unwrap().make(serde_json::json!({})).unwrap()];
    let run = |out: &str, limit: Option<usize>, watch: &dyn Watch| {
        let read = Some("text.blocks.1.resid_post".parse().unwrap());
        let run = Bench { limit, methods: &methods, read, ..bench(&source, &settings) };
        run.run(&subject, &folder.path().join(out), watch)
    };
    struct Until(usize);
    impl Watch for Until {
        fn step(&self, method: &'static str, done: usize, _: usize) -> ControlFlow<()> {
            if method == "benchmark" && done >= self.0 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        }
    }
    let whole = run("whole", Some(5), &Unwatched).unwrap();
    assert_eq!(
        run("cut", Some(5), &Until(3)).unwrap_err().to_string(),
        "benchmark was cancelled after 3 of 5"
    );
    assert_eq!(fs::read_to_string(folder.path().join("cut/answers.jsonl")).unwrap().lines().count(), 4);
    assert_eq!(run("cut", Some(2), &Unwatched).unwrap().answered, 2);
    assert_eq!(run("cut", Some(5), &Unwatched).unwrap(), whole);
    for name in [
        "answers.jsonl",
        "scores.json",
        "scores.safetensors",
        "lmms_results.json",
        "lmms_samples_own.jsonl",
        "findings/000004.occlusion.safetensors",
    ] {
        let read = |run: &str| fs::read(folder.path().join(run).join(name)).unwrap();
        assert!(read("whole") == read("cut"), "{name}");
    }
    let store = Store::open(folder.path().join("whole/activations")).unwrap();
    let rows: Vec<u64> = (0..store.len()).collect();
    let samples: std::collections::BTreeSet<u64> =
        store.labels(&rows).unwrap().iter().map(|label| label.sample).collect();
    assert_eq!(samples, (0..5).collect());
    assert!(whole.cautions.iter().any(|caution| caution.kind == CautionKind::FewRows));

    // Another question to the same pictures is another run.
    let other = Settings { suffix: " ?".to_owned(), ..settings.clone() };
    let said = Bench { limit: Some(5), ..bench(&source, &other) }.run(
        &subject,
        &folder.path().join("cut"),
        &Unwatched,
    );
    let said = said.unwrap_err().to_string();
    assert!(
        said.contains("answers.jsonl, line 1: a run with `settings` = ")
            && said.ends_with("give another folder"),
        "{said}"
    );
    fs::write(&data, fs::read_to_string(&data).unwrap().replacen("\"yes\"", "\"no\"", 1)).unwrap();
    let said = run("cut", Some(5), &Unwatched).unwrap_err().to_string();
    assert!(said.contains("line 1: a run with `data` = "), "{said}");

    let said = |settings: &Settings| {
        bench(&source, settings)
            .run(&subject, &folder.path().join("new"), &Unwatched)
            .unwrap_err()
            .to_string()
    };
    let logit = Settings { scorer: ScorerName::Vqa, by: By::Logit, ..Settings::default() };
    assert_eq!(
        said(&logit),
        "`by` = logit, but only answers of yes and no are told apart by logits: scorers pope and mme"
    );
    assert_eq!(
        said(&Settings { scorer: ScorerName::Chair, ..Settings::default() }),
        "scorer `chair` needs a list of synonyms: a file with a class on each line"
    );
    assert_eq!(
        said(&Settings { max_new: 0, ..Settings::default() }),
        "`max_new` = 0, but an answer has at least one token"
    );
    fs::write(&data, "").unwrap();
    assert!(said(&settings).ends_with("polls.jsonl: there is no item to answer"));
}

#[test]
fn answers_that_are_cut_off_or_not_read_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let subject = shipped::shapes(&Device::default()).unwrap();
    let mme = folder.path().join("mme");
    fs::create_dir(&mme).unwrap();
    let (world, mut lines) = (World::new(7), String::new());
    for id in 0..3 {
        world.scene(Split::Test, id).render().save(mme.join(format!("{id}.png"))).unwrap();
        for label in ["Yes", "No"] {
            lines.push_str(&format!("{id}.png\twhat is in the picture ?\t{label}\n"));
        }
    }
    fs::write(mme.join("existence.txt"), lines).unwrap();
    let settings = Settings { scorer: ScorerName::Mme, max_new: 2, ..Settings::default() };
    let scored = bench(&Source::new(Reader::Mme, &mme), &settings)
        .run(&subject, &folder.path().join("out"), &Unwatched)
        .unwrap();
    assert_eq!((figure(&scored.rows[0], "neither"), figure(&scored.rows[0], "acc")), (1.0, 0.0));
    assert_eq!(
        kinds(&scored),
        [CautionKind::NoBetter, CautionKind::FewRows, CautionKind::Unread, CautionKind::CutOff]
    );
    // Always yes: every second question, no picture.
    assert_eq!(
        (figure(row(&scored, "always yes"), "acc"), figure(row(&scored, "always yes"), "score")),
        (0.5, 50.0)
    );
}

#[test]
fn a_data_set_is_cases() {
    let folder = tempfile::tempdir().unwrap();
    let data = polls::poll(folder.path(), 3).unwrap();
    let items = Source::new(Reader::Pope, &data).open().unwrap();
    let settings = Settings::default();
    let cases = ItemCases::new("polls", items.as_ref(), &settings, usize::MAX).labelled().unwrap();
    assert_eq!((cases.len(), cases.classes()), (items.len(), &["no".to_owned(), "yes".to_owned()][..]));
    assert_eq!(cases.label(0).unwrap(), Some(1));
    assert_eq!(cases.group(0).unwrap(), cases.group(1).unwrap());
    let last = cases.len() - 1;
    assert_ne!(cases.group(0).unwrap(), cases.group(last).unwrap());
    assert!(
        matches!(cases.case(0).unwrap().sample.words, Words::Question(text) if text.starts_with("is there a "))
    );
    assert_eq!(
        cases.case(last + 1).unwrap_err().to_string(),
        format!("`polls` has no case {}: it has {}", last + 1, last + 1)
    );
}

/// What cannot be scored is told before the first answer, wherever it stands.
#[test]
fn every_item_is_looked_at_before_the_first_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let subject = shipped::shapes(&Device::default()).unwrap();
    let run = |lines: &str, limit: Option<usize>| {
        let path = folder.path().join("own.jsonl");
        fs::write(&path, lines).unwrap();
        let source = Source::new(Reader::Jsonl, &path);
        let settings = Settings { scorer: ScorerName::Choice, max_new: 3, ..Settings::default() };
        let out = folder.path().join("out");
        let _ = fs::remove_dir_all(&out);
        let said = Bench { limit, ..bench(&source, &settings) }.run(&subject, &out, &Unwatched);
        (said, out.exists())
    };
    let line = |id: usize, more: &str| {
        format!("{{\"id\": {id}, \"question\": \"what colour is the circle ?\"{more}}}\n")
    };
    let right = ", \"answer\": \"red\"";
    for (lines, expected) in [
        (line(1, right) + &line(2, ""), "scorer `choice`, item `2`: no right answer; expected an answer"),
        (
            line(1, right) + &line(1, right),
            "item 1 is called `1`, as one before it is; expected an id of its own",
        ),
    ] {
        let (said, answered) = run(&lines, None);
        assert_eq!((said.unwrap_err().to_string(), answered), (expected.to_owned(), false));
        assert_eq!(run(&lines, Some(1)).0.unwrap().answered, 1);
    }
    // Shown nothing, and told so.
    let blind = line(1, right) + &line(2, &format!("{right}, \"img\": \"0.png\""));
    let scored = run(&blind, None).0.unwrap();
    let caution = &scored.cautions[0];
    assert_eq!((caution.kind, caution.number), (CautionKind::NoPicture, 2.0));
    assert!(caution.text.starts_with("2 of 2 items were shown no picture"), "{}", caution.text);
    let named = line(1, &format!("{right}, \"img\": \"0.PNG\""));
    let text = &run(&named, None).0.unwrap().cautions[0].text;
    assert!(text.ends_with("field `img` looks like the name of one, and nobody reads it"), "{text}");
    // A question without end is not asked.
    let long = line(1, right).replace("circle", &"circle ".repeat(1 << 13));
    let error = run(&long, None).0.unwrap_err().to_string();
    assert!(error.starts_with("item `1`: a question of ") && error.ends_with("at most 8192"), "{error}");
}
