//! `mmlens bench`: scores of a data set, whatever happens to the run.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use mmlens::data::shapes::{Shape, Split, World};
use mmlens_testkit::kill_again_and_again;

use crate::support::{command, mmlens};

fn polls(folder: &Path, scenes: u64) -> PathBuf {
    let (world, mut lines) = (World::new(7), String::new());
    for id in 0..scenes {
        let scene = world.scene(Split::Test, id);
        scene.render().save(folder.join(format!("{id}.png"))).unwrap();
        for shape in &Shape::ALL[..3] {
            let label = if scene.objects.iter().any(|object| object.shape == *shape) { "yes" } else { "no" };
            let (text, id3) = (format!("is there a {} ?", shape.word()), 3 * id + *shape as u64);
            let line = serde_json::json!({"qid": id3, "picture": format!("{id}.png"), "question": text, "truth": label});
            lines.push_str(&format!("{line}\n"));
        }
    }
    let path = folder.join("polls.jsonl");
    fs::write(&path, lines).unwrap();
    path
}

const MAP: &str = "id=qid,image=picture,answer=truth";

fn bench(data: &Path, out: &Path) -> Command {
    let mut bench = command();
    bench.args(["bench", "--reader", "jsonl", "--map", MAP, "--scorer", "pope", "--max-new", "4", "--data"]);
    bench.arg(data).arg("--out").arg(out);
    bench
}

#[test]
fn scores_stand_beside_trivial_ones() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (polls(folder.path(), 12), folder.path().join("out"));
    let (data, shown) = (data.to_str().unwrap(), out.to_str().unwrap());
    let fixed = [
        "bench",
        "--reader",
        "jsonl",
        "--map",
        MAP,
        "--scorer",
        "pope",
        "--max-new",
        "4",
        "--data",
        data,
        "--out",
        shown,
    ];
    let said = mmlens(fixed);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.out.starts_with(&format!("36 of 36 items answered, {shown}\n")), "{}", said.out);
    for row in ["accuracy", "F1", "always yes", "majority answer", "blank picture"] {
        assert!(said.out.contains(row), "{}", said.out);
    }
    // Twelve pictures are few.
    assert!(said.err.contains("note: caution: 12 pictures or groups of items are few"), "{}", said.err);
    let json = mmlens(fixed.iter().chain(&["--json"])).json();
    assert_eq!(
        json,
        serde_json::from_slice::<serde_json::Value>(&fs::read(out.join("scores.json")).unwrap()).unwrap()
    );
    assert!(json["rows"][0]["parts"][0]["figures"][0]["value"].as_f64().unwrap() > 0.9);
    mmlens(["show", out.join("scores.safetensors").to_str().unwrap()]).well();
}

#[test]
fn what_is_wrong_is_told_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let data = polls(folder.path(), 2);
    let text = fs::read_to_string(&data).unwrap();
    let out = folder.path().join("out");
    let run = |more: &[&str]| {
        let fixed =
            ["bench", "--reader", "jsonl", "--data", data.to_str().unwrap(), "--out", out.to_str().unwrap()];
        mmlens(fixed.iter().chain(more))
    };
    fs::write(&data, text.replacen("\"picture\":\"0.png\"", "\"picture\":7", 1)).unwrap();
    let said = run(&["--map", MAP]).refused();
    assert!(
        said.contains("polls.jsonl, line 1: field `picture`: 7; expected a text or a list of texts"),
        "{said}"
    );
    let said = run(&["--scorer", "chair"]).refused();
    assert!(said.contains("scorer `chair` needs a list of synonyms"), "{said}");
    let said = run(&["--map", "colour=x"]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("is no map of columns"), "{}", said.err);
    fs::remove_file(folder.path().join("1.png")).unwrap();
    fs::write(&data, text).unwrap();
    let said = run(&["--map", MAP]).refused();
    assert!(said.contains("item `3`: ") && said.contains("1.png"), "{said}");
}

fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(contents(&path));
        } else {
            all.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    all
}

fn under(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    contents(folder)
        .into_iter()
        .map(|(path, bytes)| (path.strip_prefix(folder).unwrap().to_owned(), bytes))
        .collect()
}

#[test]
fn a_run_that_is_killed_again_and_again_ends_with_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let data = polls(folder.path(), 8);
    let more = ["--method", "occlusion", "--read", "text.final_norm"];
    let whole = folder.path().join("whole");
    let begun = Instant::now();
    assert!(bench(&data, &whole).args(more).stdout(Stdio::null()).status().unwrap().success());
    let longest = begun.elapsed();
    let expected = under(&whole);
    // A head, 24 answers; 24 findings; results.
    assert!(expected.len() > 30, "{:?}", expected.keys());
    let out = |job: usize| folder.path().join(format!("job {job}"));
    let start = |job: usize| {
        let mut run = bench(&data, &out(job));
        run.args(more);
        run
    };
    let killed = |job: usize| {
        for (name, bytes) in under(&out(job)) {
            let name = name.to_string_lossy().into_owned();
            // What is written as a whole is whole; lines may be fewer, and what lies aside counts for nothing.
            if name.ends_with(".json")
                || name.ends_with("occlusion.safetensors")
                || name.starts_with("scores")
            {
                assert!(expected.get(Path::new(&name)) == Some(&bytes), "{name}");
            }
        }
    };
    let ended = |job: usize| {
        let found = under(&out(job));
        assert!(found == expected, "job {job}: {:?}", found.keys());
    };
    kill_again_and_again(longest, start, killed, ended);
}
