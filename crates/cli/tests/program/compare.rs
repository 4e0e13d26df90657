//! `mmlens compare`: maps of two models and of several methods side by side.

use std::fs;
use std::path::Path;

use mmlens::finding::Finding;

use crate::support::{Said, findings, mmlens, model};

fn compare(findings: &[&Path], out: &Path, more: &[&str]) -> Said {
    let files = findings.iter().map(|file| file.to_str().unwrap());
    let out = ["--out", out.to_str().unwrap()];
    mmlens(["compare"].into_iter().chain(files).chain(out).chain(more.iter().copied()))
}

#[test]
fn two_models_and_two_methods_lie_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let first = findings(
        folder.path(),
        "first",
        "ig,occlusion,logit-lens",
        &["--set", "ig.steps=8", "--answer", "it is"],
    );
    let second = folder.path().join("second");
    let shown = folder.path().join("square.png");
    mmlens([
        "explain",
        &model("llava-b"),
        "--image",
        shown.to_str().unwrap(),
        "--ask",
        "Red?",
        "--answer",
        "big",
        "--method",
        "occlusion",
        "--out",
        second.to_str().unwrap(),
    ])
    .cautioned();
    let files = [first.join("ig.safetensors"), first.join("occlusion.safetensors")];
    let (other, lens) = (second.join("occlusion.safetensors"), first.join("logit-lens.safetensors"));
    let (page, saved) = (folder.path().join("both.html"), folder.path().join("both.safetensors"));
    let all = [files[0].as_path(), &files[1], &other, &lens];
    let said =
        compare(&all, &page, &["--json", "--rows", "8", "--cols", "8", "--save", saved.to_str().unwrap()]);
    let said: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    let names: Vec<&str> =
        said["maps"].as_array().unwrap().iter().map(|own| own["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 3);
    // Both folders are called `model`, so that files tell them apart.
    assert!(
        names[0] == "model: integrated-gradients" && names[1].starts_with("model: occlusion ("),
        "{names:?}"
    );
    assert_ne!(names[1], names[2]);
    assert!(said["cautions"].to_string().contains("the maps are of different answers"), "{said}");
    assert_eq!(said["unknown_answers"].as_array().unwrap().len(), 0);
    assert_eq!(said["without"][0], lens.to_str().unwrap());
    let pairs = said["pairs"].as_array().unwrap();
    assert_eq!(pairs.len(), 3);
    let found = Finding::load(&saved).unwrap();
    let table = found.table("rank correlation").unwrap();
    let own = pairs[1]["rank correlation"].as_f64().unwrap() as f32;
    assert_eq!(
        (&pairs[1]["second"], table.get(&[0, 2]), table.get(&[1, 1])),
        (&names[2].into(), Some(own), Some(1.0))
    );
    let html = fs::read_to_string(&page).unwrap();
    assert_eq!(html.matches("<figure class=\"picture\"").count(), 1);
    assert!(html.contains("Side by side") && names.iter().all(|name| html.contains(*name)));
    // A finding tells which answer it explains, that of the model itself too.
    let own = findings(folder.path(), "own", "occlusion", &[]).join("occlusion.safetensors");
    let told = compare(&[&files[0], &own], &page, &["--json"]).json();
    assert_eq!(told["unknown_answers"].as_array().unwrap().len(), 0, "{told}");
    let differ = |told: &serde_json::Value| told["cautions"].to_string().contains("of different answers");
    assert!(differ(&told), "{told}");
    // One that does not is named.
    let mut silent = Finding::load(&own).unwrap();
    silent.provenance.answer = None;
    fs::write(&own, silent.to_bytes().unwrap()).unwrap();
    let told = compare(&[&files[0], &own], &page, &["--json"]).json();
    assert_eq!((told["unknown_answers"].as_array().unwrap().len(), differ(&told)), (1, false), "{told}");
    // The same file under two names is another matter than one file twice.
    let twice = compare(&[&files[0], &files[0]], &page, &[]).refused();
    assert!(twice.contains("two maps are called `"), "{twice}");
    let one = compare(&[&files[0]], &page, &[]).refused();
    assert!(one.contains("1 maps to compare, where there must be two or more"), "{one}");
    let over = compare(&[&files[0], &files[1]], &files[1], &[]).refused();
    assert!(over.contains("occlusion.safetensors"), "{over}");
}

/// One command explains both alike, and lays their maps side by side as three commands would.
#[test]
fn two_models_on_one_input_are_one_command() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("both");
    let picture = crate::support::picture("square");
    let asked = ["--image", &picture, "--ask", "Red?", "--answer", "big", "--method", "occlusion,logit-lens"];
    let [one, other] = ["llava-a", "llava-b"].map(model);
    let explain = |out: &Path, more: &[&str]| {
        mmlens([&["explain", &one], &asked[..], &["--out", out.to_str().unwrap()], more].concat())
    };
    let told = explain(&out, &["--beside", &other, "--json"]).json();
    for (name, own) in [("first", &one), ("second", &other)] {
        let alone = folder.path().join(name);
        mmlens([&["explain", own], &asked[..], &["--out", alone.to_str().unwrap()]].concat()).cautioned();
        for file in ["occlusion.safetensors", "logit-lens.safetensors"] {
            let [a, b] = [&out.join(name), &alone].map(|folder| Finding::load(folder.join(file)).unwrap());
            assert_eq!(a.tables(), b.tables(), "{name} {file}");
        }
        assert_eq!(told[name]["answer"], "big");
    }
    let compared = &told["compared"];
    assert_eq!(
        (&compared["report"], compared["maps"].as_array().unwrap().len()),
        (&out.join("compare.html").to_str().into(), 2)
    );
    assert_eq!(compared["without"].as_array().unwrap().len(), 2);
    let found = Finding::load(out.join("compare.safetensors")).unwrap();
    let files = ["first", "second"].map(|name| folder.path().join(name).join("occlusion.safetensors"));
    let saved = folder.path().join("saved.safetensors");
    let more = ["--save", saved.to_str().unwrap(), "--json"];
    compare(&[&files[0], &files[1]], &folder.path().join("both.html"), &more).json();
    // Names hold the folders that findings lie in.
    let numbers = |finding: &Finding| -> Vec<Vec<u32>> {
        let of = |table: &mmlens::finding::Labelled| {
            table.as_numbers().map(|own| own.iter().map(|v| v.to_bits()).collect())
        };
        finding.tables().iter().filter_map(of).collect()
    };
    assert_eq!(numbers(&found), numbers(&Finding::load(&saved).unwrap()));
    assert!(fs::read_to_string(out.join("compare.html")).unwrap().contains("Side by side"));
    // The same command goes on with what is whole, and says the same in words.
    let said = explain(&out, &["--beside", &other]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.out.contains("rank correlation") && said.out.contains("compare.html"), "{}", said.out);
    // Without maps nothing is compared, and the page shows both.
    let lenses = folder.path().join("lenses");
    let asked = ["--image", &picture, "--ask", "Red?", "--answer", "big", "--method", "logit-lens"];
    let out_of = ["--out", lenses.to_str().unwrap(), "--beside", &other];
    let said = mmlens([&["explain", &one], &asked[..], &out_of].concat());
    assert!(said.code == Some(0) && said.err.contains("nothing is compared"), "{}{}", said.out, said.err);
    assert!(lenses.join("compare.html").exists() && !lenses.join("compare.safetensors").exists());
    assert!(explain(&out, &["--beside", &other, "--dry-run"]).refused().contains("`--dry-run`"));
    let said = explain(&out, &["--beside", "nobody/nothing"]).refused();
    assert!(said.contains("nobody/nothing"), "{said}");
    // What cannot be compared leaves no comparison of what was before.
    let said = explain(&out, &["--beside", &model("gpt2-a")]);
    assert_ne!(said.code, Some(0));
    let said = explain(&out, &["--beside", &other, "--beside-cases", "none.jsonl"]).refused();
    assert!(said.starts_with("`--beside-cases` is for `--cases`"), "{said}");
}
