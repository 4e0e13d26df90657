//! `mmlens rerun`: findings made again.

use std::fs;
use std::path::{Path, PathBuf};

use mmlens::METHODS;
use mmlens::core::{Capability, Form, Method};
use mmlens::finding::{DataRecord, Finding};

use crate::support::{Said, args, mmlens, model, picture};

/// Every method that can do with a sample, of a model that answers in words.
fn of_samples() -> impl Iterator<Item = &'static Method> {
    let words = |method: &&Method| !method.card.needs.contains(&Capability::SharedSpace);
    METHODS.iter().filter(|method| method.form != Form::ManyCases).filter(words)
}

/// Every such method's finding about a picture, `square.png` in the folder.
fn explained(folder: &Path, more: &[&str]) -> PathBuf {
    let (shown, out) = (folder.join("square.png"), folder.join("out"));
    fs::copy(picture("square"), &shown).unwrap();
    let all: Vec<&str> = of_samples().map(|method| method.card.short).collect();
    let (all, out_name) = (all.join(","), out.to_str().unwrap());
    let others = format!("expected.pictures=[{:?}]", picture("tall"));
    let fixed = [
        "explain",
        &model("llava-a"),
        "--image",
        shown.to_str().unwrap(),
        "--ask",
        "Red?",
        "--out",
        out_name,
    ];
    mmlens(
        args(&fixed)
            .into_iter()
            .chain(args(&["--method", &all, "--set", "ig.steps=8", "--set", "away.phrase=Red"]))
            .chain(args(&["--set", &others, "--set", "expected.samples=3", "--set", "lime.samples=20"]))
            .chain(args(&["--set", "rise.samples=9"]))
            .chain(args(more)),
    )
    .cautioned();
    out
}

fn rerun(finding: &Path, more: &[&str]) -> Said {
    mmlens(args(&["rerun", finding.to_str().unwrap()]).into_iter().chain(args(more)))
}

#[test]
fn every_finding_is_made_again_bit_by_bit() {
    let folder = tempfile::tempdir().unwrap();
    let out = explained(folder.path(), &["--memory", "64MB", "--corrupted-image", &picture("tall")]);
    for method in of_samples() {
        let (finding, again) =
            (out.join(format!("{}.safetensors", method.card.short)), folder.path().join("again"));
        let said = rerun(&finding, &["--out", again.to_str().unwrap()]);
        assert_eq!(said.code, Some(0), "{said:?}");
        assert_eq!(said.out, format!("{}: the same, bit by bit\n", method.card.id));
        assert!(fs::read(&finding).unwrap() == fs::read(&again).unwrap(), "{method:?}");
    }
}

/// What was changed in the model is part of the finding, and is changed again.
#[test]
fn findings_of_an_altered_model_are_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let edit = "text.blocks.0.attn.z[head=1]=zero";
    let out = explained(folder.path(), &["--edit", edit]);
    for name in ["logit-lens", "ig"] {
        let finding = out.join(format!("{name}.safetensors"));
        assert_eq!(Finding::load(&finding).unwrap().provenance.alterations, [edit]);
        let said = rerun(&finding, &[]);
        assert_eq!(said.code, Some(0), "{said:?}");
    }
    let mut closure = Finding::load(out.join("logit-lens.safetensors")).unwrap();
    closure.provenance.alterations = vec!["my own closure".to_owned()];
    let saved = folder.path().join("closure.safetensors");
    closure.save(&saved).unwrap();
    let said = rerun(&saved, &[]).not_judged();
    assert!(said.contains("the model had `my own closure`"), "{said}");
}

#[test]
fn a_picture_that_moved_is_named_and_may_be_given() {
    let folder = tempfile::tempdir().unwrap();
    let out = explained(folder.path(), &[]);
    let (shown, elsewhere) = (folder.path().join("square.png"), folder.path().join("elsewhere.png"));
    fs::rename(&shown, &elsewhere).unwrap();
    // The clean picture, and the one that its mean colour stands for.
    for name in ["occlusion", "patching"] {
        let finding = out.join(format!("{name}.safetensors"));
        let lost = rerun(&finding, &[]).not_judged();
        assert!(lost.contains(&shown.display().to_string()), "{lost}");
        let found = rerun(&finding, &["--image", elsewhere.to_str().unwrap(), "--json"]).json();
        assert_eq!((&found["same"], found["said"].as_array().unwrap().len()), (&true.into(), 0), "{found}");
        // Where it came from is another place; what it shows is the same.
        let made = found["made"].to_string();
        assert!(made.contains("elsewhere.png") && !made.contains("settings"), "{found}");
    }
}

#[test]
fn what_cannot_be_the_same_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let out = explained(folder.path(), &[]);
    let finding = out.join("logit-lens.safetensors");
    fs::copy(picture("tall"), folder.path().join("square.png")).unwrap();
    let other = rerun(&finding, &["--json"]);
    assert_eq!(other.code, Some(1), "{other:?}");
    let other: serde_json::Value = serde_json::from_str(&other.out).unwrap();
    assert_eq!(other["same"], false);
    let said = other["said"].to_string();
    assert!(said.contains("`target`:") && other["made"].to_string().contains("sha256"), "{other}");
    // Another model under the same name.
    fs::copy(picture("square"), folder.path().join("square.png")).unwrap();
    let weights = rerun(&finding, &["--model", &model("llava-b")]);
    assert_eq!(weights.code, Some(1), "{weights:?}");
    assert!(weights.out.contains("weights_hash: ") && weights.out.ends_with("logit-lens: not the same\n"));
}

#[test]
fn what_is_no_finding_of_a_method_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = explained(folder.path(), &[]);
    let lens = Finding::load(out.join("logit-lens.safetensors")).unwrap();
    let difference = folder.path().join("difference.safetensors");
    lens.minus(&lens).unwrap().save(&difference).unwrap();
    let said = rerun(&difference, &[]).not_judged();
    assert!(said.ends_with("`difference` is no method that can be run"), "{said}");
    let mut old = lens.clone();
    old.provenance.input = None;
    old.save(&difference).unwrap();
    let said = rerun(&difference, &[]).not_judged();
    assert!(said.contains("the finding does not say what `logit-lens` was run on"), "{said}");
    let mut changed = lens.clone();
    changed.provenance.settings.insert("nonsense".to_owned(), 1.into());
    changed.save(&difference).unwrap();
    let said = rerun(&difference, &[]).not_judged();
    assert!(said.contains("settings of logit-lens: field `nonsense`: unknown field `nonsense`"), "{said}");
    let mut many = lens.clone();
    let data = DataRecord { name: "scenes".to_owned(), cases: 40, sha256: String::new() };
    many.provenance.input.as_mut().unwrap().data = Some(data);
    many.save(&difference).unwrap();
    let said = rerun(&difference, &[]).not_judged();
    assert!(
        said.contains("`logit-lens` was run on 40 cases of `scenes`, a data set that a program made"),
        "{said}"
    );
    // A file that is read here is not written over.
    let shown = folder.path().join("square.png");
    let said = rerun(&out.join("logit-lens.safetensors"), &["--out", shown.to_str().unwrap()]).not_judged();
    assert!(said.contains("which is read here"), "{said}");
    let many =
        rerun(&out.join("logit-lens.safetensors"), &["--image", "a.png", "--image", "b.png"]).not_judged();
    assert!(many.ends_with("2 pictures were named, and the finding is about 1"), "{many}");
}
