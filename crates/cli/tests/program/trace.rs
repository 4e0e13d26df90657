//! `mmlens trace` against what transformers computed with the same checkpoints, key by key, and what else it promises.

use std::fs;
use std::path::{Path, PathBuf};

use mmlens::finding::Tolerance;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use crate::support::{DUAL, MODELS, fixtures, mmlens, model, picture};

const ACTIVATIONS: f64 = 1e-4;
const GRADIENTS: f64 = 1e-3;
const PIXELS: f64 = 1e-6;

/// The program takes one prompt at a time.
const UNREACHABLE: [&str; 2] = ["trace-batch.safetensors", "has several prompts"];

struct Reference {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Reference {
    fn about(&self) -> Value {
        let (_, header) = SafeTensors::read_metadata(&self.bytes).unwrap();
        serde_json::from_str(&header.metadata().as_ref().unwrap()["about"]).unwrap()
    }

    fn rows(&self) -> Vec<Value> {
        self.about()["rows"].as_array().unwrap().clone()
    }

    /// The command line that gives the same pass.
    fn command(&self, out: &Path) -> Vec<String> {
        let (about, rows) = (self.about(), self.rows());
        let row = &rows[0];
        let folder = self.path.parent().unwrap().join("model");
        let mut args = vec!["trace".to_owned(), folder.display().to_string()];
        let mut add = |option: &str, value: &str| args.extend([option.to_owned(), value.to_owned()]);
        for image in row["images"].as_array().unwrap() {
            add("--image", &picture(image.as_str().unwrap()));
        }
        match (row.get("ask"), row.get("texts")) {
            (Some(question), _) => add("--ask", question.as_str().unwrap()),
            (_, Some(texts)) => {
                texts.as_array().unwrap().iter().for_each(|text| add("--text", text.as_str().unwrap()));
            }
            _ => add("--prompt", row["prompt"].as_str().unwrap()),
        }
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        for key in file.names() {
            match key.strip_prefix("grad.") {
                Some(site) => add("--grad", site),
                None if key.contains('.') => add("--read", key),
                None => {}
            }
        }
        if let Some(count) = about.get("generate") {
            add("--generate", &count.to_string());
        }
        add("--out", out.to_str().unwrap());
        args
    }
}

fn references() -> Vec<Reference> {
    let mut paths: Vec<PathBuf> = MODELS
        .iter()
        .chain(&DUAL)
        .flat_map(|name| fs::read_dir(fixtures().join(name)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "safetensors"))
        .collect();
    paths.sort();
    paths.into_iter().map(|path| Reference { bytes: fs::read(&path).unwrap(), path }).collect()
}

fn numbers(file: &SafeTensors<'_>, key: &str) -> Vec<f64> {
    let tensor = file.tensor(key).unwrap();
    match tensor.dtype() {
        Dtype::F32 => {
            tensor.data().as_chunks::<4>().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect()
        }
        Dtype::I64 => {
            tensor.data().as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b) as f64).collect()
        }
        other => panic!("{key}: {other:?}"),
    }
}

/// What a key may differ by: pixels against all of them, scores against those of their head, all else row by row; and which of
/// the three kinds it is.
fn within(key: &str, shape: &[usize]) -> (usize, Tolerance) {
    let (row, head) = (shape.last().copied().unwrap(), shape.iter().rev().take(2).product());
    match key {
        _ if key.starts_with("grad.") => (1, Tolerance::relative(GRADIENTS).by_row(row)),
        "pixel_values" | "vision.pixels" => (2, Tolerance::relative(PIXELS)),
        _ if key.ends_with(".scores") => (0, Tolerance::relative(2.0 * ACTIVATIONS).by_row(head).masked()),
        _ => (0, Tolerance::relative(ACTIVATIONS).by_row(row)),
    }
}

#[test]
fn every_key_is_that_of_transformers() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.safetensors");
    let (mut compared, mut faults) = (0, Vec::new());
    println!(
        "{:11} {:28} {:>4} {:>11} {:>10} {:>8}",
        "checkpoint", "trace", "keys", "activations", "gradients", "pixels"
    );
    for reference in references() {
        let name = reference.path.file_name().unwrap().to_str().unwrap().to_owned();
        let of = reference.path.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
        if reference.rows().len() > 1 {
            assert_eq!(name, UNREACHABLE[0], "{}", UNREACHABLE[1]);
            continue;
        }
        mmlens(reference.command(&out)).well();
        let bytes = fs::read(&out).unwrap();
        let (ours, theirs) =
            (SafeTensors::deserialize(&bytes).unwrap(), SafeTensors::deserialize(&reference.bytes).unwrap());
        let mut worst = [0.0_f64; 3];
        // Of a mask the program writes no more than its effect.
        for key in theirs.names().into_iter().filter(|key| *key != "attention_mask") {
            let (mine, wanted) = (
                ours.tensor(key).unwrap_or_else(|_| panic!("{of} {name}: no {key}")),
                theirs.tensor(key).unwrap(),
            );
            assert_eq!((mine.shape(), mine.dtype()), (wanted.shape(), wanted.dtype()), "{of} {name}: {key}");
            let (a, b) = (numbers(&ours, key), numbers(&theirs, key));
            if wanted.dtype() == Dtype::I64 {
                assert_eq!(a, b, "{of} {name}: {key}");
                continue;
            }
            let (kind, tolerance) = within(key, wanted.shape());
            match tolerance.check(&format!("{of} {name}: {key}"), &a, &b) {
                Ok(gap) if gap.relative > worst[kind] => worst[kind] = gap.relative,
                Ok(_) => {}
                Err(error) => faults.push(error.to_string()),
            }
        }
        compared += theirs.len();
        println!(
            "{of:11} {name:28} {:4} {:11.1e} {:10.1e} {:8.1e}",
            theirs.len(),
            worst[0],
            worst[1],
            worst[2]
        );
    }
    assert_eq!(faults, Vec::<String>::new());
    assert!(compared > 450, "{compared} keys compared");
}

#[test]
fn only_what_is_asked_for_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.safetensors");
    let (model, out_text) = (model("llava-b"), out.to_str().unwrap());
    let said = mmlens(["trace", &model, "--prompt", "Hi", "--out", out_text, "--json"]).json();
    assert_eq!(said["out"], out_text);
    let keys = |value: &Value| value["tensors"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&said), ["input_ids", "logits", "target"]);
    assert_eq!(said["tensors"]["target"], serde_json::json!({ "shape": [1], "dtype": "I64" }));
    // logits once, whether as output or as site; selectors may overlap
    let reads = ["--read", "text.logits", "--read", "text.*", "--read", "text.blocks.0..1.attn.{q,k}"];
    let said =
        mmlens(["trace", &model, "--prompt", "Hi", "--out", out_text, "--json"].iter().chain(&reads)).json();
    assert_eq!(
        keys(&said),
        [
            "input_ids",
            "logits",
            "target",
            "text.blocks.0.attn.k",
            "text.blocks.0.attn.q",
            "text.embed",
            "text.final_norm",
            "text.input"
        ]
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing but the file is left");
}

#[test]
fn every_site_can_be_read_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.safetensors");
    for name in MODELS {
        let sites = mmlens(["sites", &model(name), "--json"]).json();
        let mut args = crate::support::args(&[
            "trace",
            &model(name),
            "--prompt",
            "<image>Hi",
            "--image",
            &picture("wide"),
        ]);
        for selector in ["*.*", "*.blocks.*.*", "*.blocks.*.*.*"] {
            args.extend(crate::support::args(&["--read", selector]));
        }
        args.extend(crate::support::args(&["--out", out.to_str().unwrap()]));
        mmlens(args).well();
        let bytes = fs::read(&out).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        for site in sites.as_array().unwrap() {
            let name = site["site"].as_str().unwrap();
            let tensor = file.tensor(if name == "text.logits" { "logits" } else { name }).unwrap();
            let axes = site["axes"].as_array().unwrap();
            assert_eq!(tensor.shape().len(), axes.len(), "{name}");
            for (axis, length) in axes.iter().zip(tensor.shape()) {
                assert!(axis["length"].is_null() || axis["length"] == *length, "{name}: {axis} is {length}");
            }
        }
        // the sites, input_ids, pixel_values and target; logits are both a site and a key
        assert_eq!(file.len(), sites.as_array().unwrap().len() + 3);
    }
}

#[test]
fn a_target_of_ones_own_is_differentiated() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.safetensors");
    let args = ["--prompt", "Hi", "--grad", "text.logits", "--target", "7", "--out", out.to_str().unwrap()];
    mmlens(["trace", &model("llava-a")].into_iter().chain(args)).well();
    let bytes = fs::read(&out).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(numbers(&file, "target"), [7.0]);
    // d logit 7 at the last position / d logits is one there, zero elsewhere
    let grad = numbers(&file, "grad.logits");
    let logits = file.tensor("grad.logits").unwrap();
    let [_, positions, vocab] = logits.shape() else { panic!() };
    let here = (positions - 1) * vocab + 7;
    assert!(grad.iter().enumerate().all(|(i, g)| *g == if i == here { 1.0 } else { 0.0 }));
}

#[test]
fn the_file_says_how_it_came_to_be() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.safetensors");
    mmlens(["trace", &model("llava-a"), "--prompt", "Hi", "--out", out.to_str().unwrap()]).well();
    let reference = Reference { bytes: fs::read(&out).unwrap(), path: out };
    let about = reference.about();
    assert_eq!(
        (about["prompt"].as_str(), about["version"].as_str()),
        (Some("Hi"), Some(env!("CARGO_PKG_VERSION")))
    );
    assert_eq!(about["weights"].as_str().unwrap().len(), 64);
}

/// What another run had in the stream, set in the place of what this one has: the rest is that run's, to the last bit.
#[test]
fn an_edit_sets_what_another_trace_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (first, second, site) = (path("first"), path("second"), "text.blocks.2.resid_pre");
    let trace = |image: &str, out: &str, more: &[&str]| {
        let (model, image) = (model("llava-a"), picture(image));
        let fixed =
            ["trace", &model, "--image", &image, "--ask", "Red?", "--read", "text.blocks.*.resid_pre"];
        mmlens(fixed.into_iter().chain(["--out", out]).chain(more.iter().copied()))
    };
    trace("square", &first, &[]).well();
    let set = format!("{site}=set:{first}#{site}");
    trace("tall", &second, &["--edit", &set]).well();
    let [first_bytes, bytes] = [&first, &second].map(|file| fs::read(file).unwrap());
    let files = [&first_bytes, &bytes].map(|bytes| SafeTensors::deserialize(bytes).unwrap());
    let same = |key: &str| numbers(&files[0], key) == numbers(&files[1], key);
    assert!(same("logits") && same(site) && !same("text.blocks.1.resid_pre"));
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let about: Value = serde_json::from_str(&header.metadata().as_ref().unwrap()["about"]).unwrap();
    let told = about["alterations"][0].as_str().unwrap().to_owned();
    assert!(told.starts_with(&format!("{set} [1, ")) && told.contains("] sha256 "), "{told}");

    let said = trace("tall", &first, &["--edit", &set]).refused();
    assert!(said.contains(&first), "what is read is not written over: {said}");
    let said = trace("tall", &second, &["--edit", "text.blocks.9.attn.z[head=1]=zero"]).refused();
    assert!(
        said.ends_with("has no site `text.blocks.9.attn.z` (did you mean `text.blocks.2.attn.z`?)"),
        "{said}"
    );
    let typo = trace("tall", &second, &["--edit", "text.blocks.1.attn.z[haed=1]=zero"]);
    assert_eq!(typo.code, Some(2));
    assert!(
        typo.err.contains("at `haed` (character 22): no axis is called so (did you mean `head`?)"),
        "{}",
        typo.err
    );
    let unseen =
        ["trace", &model("llava-a"), "--prompt", "Hello", "--edit", "vision.pixels=zero", "--out", &second];
    assert_eq!(mmlens(unseen).refused(), "`--edit` changes `vision.pixels`, and no picture is shown");
}
