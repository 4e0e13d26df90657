//! `mmlens evaluate`: what explanations of a user's own cases are worth.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Said, mmlens};

/// Two scenes with a colour question each, the masks of what the answer rests on, and what a person looked at.
fn cases(folder: &Path) -> String {
    let mut lines = Vec::new();
    for seed in [3, 4] {
        let out = folder.join(format!("scene {seed}"));
        let seed = seed.to_string();
        let said = mmlens(["scene", "--seed", &seed, "--json", "--out", out.to_str().unwrap()]).json();
        let questions = said["scene"]["questions"].as_array().unwrap();
        let question = questions.iter().find(|question| question["kind"] == "colour").unwrap();
        let evidence = question["evidence"][0].as_u64().unwrap() + 1;
        lines.push(json!({
            "id": seed,
            "image": format!("scene {seed}/scene.png"),
            "ask": question["text"],
            "mask": format!("scene {seed}/masks.png"),
            "mask_levels": [evidence],
            "person": format!("scene {seed}/masks.png"),
        }));
    }
    let file = folder.join("cases.jsonl");
    let text: Vec<String> = lines.iter().map(Value::to_string).collect();
    fs::write(&file, text.join("\n")).unwrap();
    file.to_str().unwrap().to_owned()
}

fn evaluate(cases: &str, out: &Path, more: &[&str]) -> Said {
    let args = [
        "evaluate",
        "--cases",
        cases,
        "--out",
        out.to_str().unwrap(),
        "--method",
        "occlusion",
        "--set",
        "occlusion.words=null",
    ];
    mmlens(args.iter().chain(more))
}

fn cell<'a>(said: &'a Value, method: &str, metric: &str) -> &'a Value {
    let own = |row: &&Value| row["method"] == method && row["metric"] == metric;
    said["scores"]
        .as_array()
        .unwrap()
        .iter()
        .find(own)
        .unwrap_or_else(|| panic!("no {method}, {metric}: {said}"))
}

#[test]
fn methods_stand_beside_baselines_and_what_is_done_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let cases = cases(folder.path());
    let out = folder.path().join("out");
    let metrics =
        ["--metric", "mass-accuracy,deletion,agreement,cascading-randomisation", "--set", "deletion.steps=4"];
    let said = evaluate(&cases, &out, &[&metrics[..], &["--json"]].concat()).json();
    let mass = |method: &str| cell(&said, method, "mass-accuracy")["score"].as_f64().unwrap();
    for row in ["occlusion", "occlusion, random weights", "random map", "centred blob", "edge filter"] {
        assert_eq!(cell(&said, row, "mass-accuracy")["n"], 2.0, "{row}");
        assert!(cell(&said, row, "cascade: text + connector + vision")["n"].as_f64().is_some());
    }
    assert!(mass("occlusion") > 2.0 * mass("random map"), "{said}");
    assert_eq!(cell(&said, "a person", "agreement")["n"], 0.0);
    let without = cell(&said, "a person", "agreement")["without"].as_str().unwrap();
    assert_eq!(without, "the case has one person's map, and it takes two to agree (2 of 2 cases)");
    assert_eq!(cell(&said, "occlusion", "deletion")["better"], "lower");
    // The finding is one like others, and the same command finds all done.
    let finding = out.join("evaluation.safetensors");
    let before = fs::read(&finding).unwrap();
    let printed = evaluate(&cases, &out, &metrics).cautioned();
    assert!(printed.starts_with("| | deletion ↓ | cascade: text ↓ |"), "{printed}");
    assert_eq!(fs::read(&finding).unwrap(), before);
    let shown = mmlens(["show", finding.to_str().unwrap()]).well();
    assert!(shown.contains("score") && shown.contains("evaluation"), "{shown}");
    // Of other settings it is another evaluation, which needs a folder of its own.
    let refused = evaluate(&cases, &out, &["--metric", "sparseness"]).refused();
    assert!(refused.contains("an evaluation with other `metrics`; expected this one"), "{refused}");
}

#[test]
fn a_budget_is_told_and_what_cannot_be_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let cases = cases(folder.path());
    let out = folder.path().join("out");
    let printed = evaluate(&cases, &out, &["--metric", "deletion", "--budget", "100"]).cautioned();
    assert!(printed.contains("not run (cost) n=0"), "{printed}");
    let none = evaluate(&cases, &folder.path().join("none"), &["--metric", "deletion", "--seconds", "0"])
        .cautioned();
    assert!(none.contains("| occlusion | not run (cost) n=0 |"), "{none}");
    assert!(!none.contains("n=1") && !none.contains("n=2"), "{none}");
    let said = evaluate(&cases, &folder.path().join("none"), &["--seconds=-3"]).refused();
    assert_eq!(said, "evaluation: seconds = -3, but it must be zero or more");
    let said = evaluate(&cases, &out, &["--set", "nothing.steps=4"]).refused();
    assert!(said.starts_with("`--set nothing...`: this method does not run"), "{said}");
    let said = evaluate(&cases, &out, &["--metric", "deletion", "--set", "deletion.stpes=4"]).refused();
    assert!(
        said.starts_with("--metric deletion: settings of deletion: field `stpes`: unknown field `stpes`"),
        "{said}"
    );
    let said = evaluate(&cases, &out, &["--method", "cka"]).refused();
    assert_eq!(
        said,
        "`--method cka` looks at many cases together, and what is scored is what a method says of one"
    );
    let wrong = evaluate(&cases, &out, &["--metric", "delete"]);
    assert_eq!(wrong.code, Some(2));
}
