//! Fields that are null, of `config.json` and of what a processor reads: refused by name where transformers refuses them, and
//! else what they mean to it.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use mmlens_core::{Picture, Plan, Sample, Words};
use mmlens_zoo::OpenOptions;
use serde_json::Value;
use tempfile::TempDir;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../oracles/fixtures")
}

fn sample(model: &str) -> Sample {
    let picture = || Picture::open(fixtures().join("pictures/square.png")).unwrap();
    match model {
        "gpt2-a" | "llama-a" | "mistral-a" | "qwen2-a" | "qwen3-a" | "gemma2-a" | "llava-b" => {
            Sample::prompt(Vec::new(), "Go on")
        }
        "bert-a" => Sample::prompt(Vec::new(), "a [MASK] b"),
        "vit-a" | "blip-a" => Sample::new(vec![picture()], Words::Nothing),
        "clip-a" | "siglip-a" => Sample::new(vec![picture()], Words::Texts(vec!["a".to_owned()])),
        _ => Sample::ask(picture(), "What is it?"),
    }
}

/// A checkpoint with another text in the place of a file.
fn with_file(model: &str, name: &str, value: &Value) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in fs::read_dir(fixtures().join(model).join("model")).unwrap() {
        let file = file.unwrap().path();
        fs::copy(&file, folder.path().join(file.file_name().unwrap())).unwrap();
    }
    fs::write(folder.path().join(name), value.to_string()).unwrap();
    folder
}

/// The logits of a checkpoint with another config, or why there are none.
fn said(model: &str, config: &Value) -> Result<Vec<f32>, String> {
    let folder = with_file(model, "config.json", config);
    let subject = OpenOptions::new(&Device::flex()).self_check(false).open(folder.path());
    let subject = subject.map_err(|e| e.to_string())?;
    let inputs = subject.encode(&sample(model)).map_err(|e| e.to_string())?.all_logits();
    let trace = subject.run(&inputs, Plan::new()).map_err(|e| e.to_string())?;
    let output = trace.output();
    let given = output.logits.clone().or_else(|| output.pairs.clone().map(|pairs| pairs.logits));
    Ok(given.unwrap().to_values().unwrap())
}

/// The pixels that a checkpoint makes of a picture, and its tokens, or why there are none.
fn seen(model: &str, file: &str, value: &Value) -> Result<(Vec<f32>, Vec<Vec<u32>>), String> {
    let folder = with_file(model, file, value);
    let subject = OpenOptions::new(&Device::flex()).self_check(false).open(folder.path());
    let subject = subject.map_err(|e| e.to_string())?;
    let words = match model {
        "blip-itm" => Words::Texts(vec!["a".to_owned()]),
        "blip-qa" => Words::Question("what is it?".to_owned()),
        other => sample(&format!("{}-a", other.split('-').next().unwrap())).words,
    };
    let picture = Picture::open(fixtures().join("pictures/wide.png")).unwrap();
    let inputs = subject.encode(&Sample::new(vec![picture], words)).map_err(|e| e.to_string())?;
    Ok((inputs.seen.values.as_ref().unwrap().to_values().unwrap(), inputs.ids.clone()))
}

fn changed(config: &Value, field: &str, value: Option<Value>) -> Value {
    let mut config = config.clone();
    let (at, name) =
        field.rsplit_once('.').map_or((Vec::new(), field), |(at, name)| (at.split('.').collect(), name));
    let part = at.into_iter().fold(&mut config, |part, name| &mut part[name]);
    let part = part.as_object_mut().unwrap();
    match value {
        Some(value) => part.insert(name.to_owned(), value),
        None => part.remove(name),
    };
    config
}

#[test]
fn a_null_is_refused_or_means_what_it_means_to_transformers() {
    let text = fs::read_to_string(fixtures().join("nulls/cases.json")).unwrap();
    let cases: Vec<(String, Option<String>, String, Value)> = serde_json::from_str(&text).unwrap();
    let mut wrong = Vec::new();
    for (model, rope, field, verdict) in &cases {
        let file = rope.as_ref().map_or_else(
            || fixtures().join(model).join("model/config.json"),
            |name| fixtures().join("rope").join(name),
        );
        let config: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        let name = field.rsplit('.').next().unwrap();
        let found = said(model, &changed(&config, field, Some(Value::Null)));
        let problem = match (verdict.as_str(), &found) {
            (Some("refused"), Err(error)) if error.contains(name) => None,
            (Some("refused"), other) => {
                Some(format!("{:?}, expected a refusal", other.as_ref().map(|_| "logits")))
            }
            (_, found) => {
                let means = (verdict != "absent").then(|| verdict.clone());
                let expected = said(model, &changed(&config, field, means));
                let same = match (found, &expected) {
                    (Ok(found), Ok(expected)) => found == expected,
                    (Err(_), Err(_)) => true,
                    _ => false,
                };
                (!same).then(|| format!("{:?}, not {:?}", found.as_ref().err(), expected.as_ref().err()))
            }
        };
        wrong.extend(problem.map(|problem| format!("{model} {rope:?} {field}: {problem}")));
    }
    assert!(cases.len() > 300, "{}", cases.len());
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn a_null_of_a_processor_is_refused_or_means_what_it_means_to_transformers() {
    let text = fs::read_to_string(fixtures().join("nulls/processors.json")).unwrap();
    let cases: Vec<(String, String, String, Value)> = serde_json::from_str(&text).unwrap();
    let mut wrong = Vec::new();
    for (model, file, field, verdict) in &cases {
        let path = fixtures().join(model).join("model").join(file);
        let config: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        let name = field.rsplit('.').next().unwrap();
        let found = seen(model, file, &changed(&config, field, Some(Value::Null)));
        let problem = match (verdict.as_str(), &found) {
            (Some("refused"), Err(error)) if error.contains(name) => None,
            (Some("refused"), other) => Some(format!("{:?}", other.as_ref().map(|_| "pixels"))),
            (_, found) => {
                let means = (verdict != "absent").then(|| verdict.clone());
                // Towers take pictures of one size, where processors make any.
                let expected = seen(model, file, &changed(&config, field, means));
                let same = match (found, &expected) {
                    (Err(_), Err(_)) => true,
                    (found, expected) => found == expected,
                };
                (!same).then(|| format!("{:?}, not {:?}", found.as_ref().err(), expected.as_ref().err()))
            }
        };
        wrong.extend(problem.map(|problem| format!("{model} {file} {field}, {verdict}: {problem}")));
    }
    assert!(cases.len() > 100, "{}", cases.len());
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
