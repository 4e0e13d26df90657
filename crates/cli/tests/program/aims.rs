//! What of an answer is explained, and many cases: as options say.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use mmlens::finding::Finding;
use serde_json::{Value, json};

use crate::support::{args, command, mmlens, model, picture};

const SCENE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/pictures/scene.png");

/// What the shipped model says of the picture in the docs, explained by hiding parts of the picture.
fn described(out: &Path, more: &[&str]) -> crate::support::Said {
    let fixed = ["explain", "--image", SCENE, "--ask", "describe the picture .", "--method", "occlusion"];
    let words = ["--set", "occlusion.words=null", "--out", out.to_str().unwrap()];
    mmlens(args(&fixed).into_iter().chain(args(&words)).chain(args(more)))
}

fn objective(out: &Path) -> f64 {
    let finding = Finding::load(out.join("occlusion.safetensors")).unwrap();
    f64::from(finding.table("objective").unwrap().as_scalar().unwrap())
}

fn logs(said: &Value, tokens: std::ops::Range<usize>) -> f64 {
    let all = said["tokens"].as_array().unwrap();
    all[tokens].iter().map(|token| token["probability"].as_f64().unwrap().ln()).sum()
}

#[test]
fn all_of_an_answer_is_explained_or_a_part_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path();
    let whole = described(out, &["--json"]).json();
    let count = whole["tokens"].as_array().unwrap().len() - usize::from(whole["ended"].as_bool().unwrap());
    assert_eq!(whole["explained"]["tokens"], json!([0, count]));
    assert!((objective(out) - logs(&whole, 0..count)).abs() < 1e-4, "{whole}");
    let finding = Finding::load(out.join("occlusion.safetensors")).unwrap();
    let twin = finding.table("picture by answer token").unwrap();
    assert_eq!(twin.axes()[0].len(), count);
    let words: Vec<String> = (0..count).map(|at| twin.axes()[0].label(at).unwrap()).collect();
    let told: Vec<&str> = whole["tokens"].as_array().unwrap()[..count]
        .iter()
        .map(|token| token["text"].as_str().unwrap())
        .collect();
    assert_eq!(words, told);

    let answer = whole["answer"].as_str().unwrap();
    let words: Vec<&str> = answer.split(' ').collect();
    let phrase = words[1..4].join(" ");
    let span = described(out, &["--span", &phrase, "--json"]).json();
    assert_eq!((&span["explained"]["tokens"], &span["explained"]["text"]), (&json!([1, 4]), &json!(phrase)));
    assert!((objective(out) - logs(&span, 1..4)).abs() < 1e-4, "{span}");

    // One token of it: what comes behind it has no part in it.
    let last = words[words.len() - 1];
    let one = described(out, &["--target", last, "--json"]).json();
    assert_eq!(one["explained"]["tokens"], json!([count - 1, count]));
    assert!((objective(out) - logs(&one, count - 1..count)).abs() < 1e-4, "{one}");
    let by_logit = described(out, &["--target", last, "--objective", "logit", "--json"]).json();
    assert!(by_logit["explained"]["what"].as_str().unwrap().starts_with("the logit of"), "{by_logit}");
    assert!((objective(out) - logs(&one, count - 1..count)).abs() > 1.0);

    let twice = described(out, &["--span", "a"]);
    assert!(
        twice.err.contains("note: `a` stands 3 times in the answer; the first is explained"),
        "{twice:?}"
    );
    let unsaid = described(out, &["--span", "zebra"]).refused();
    assert!(unsaid.starts_with("--span zebra: `zebra` is not in the answer `a small"), "{unsaid}");
    let short = described(out, &["--max-new", "3", "--json"]).json();
    assert_eq!(short["explained"]["tokens"], json!([0, 3]));
}

#[test]
fn one_thing_is_explained_rather_than_another() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path();
    let explain = |more: &[&str]| {
        let ask =
            ["explain", "--image", SCENE, "--ask", "what colour is the triangle?", "--method", "occlusion"];
        let words = ["--set", "occlusion.words=null", "--out", out.to_str().unwrap()];
        mmlens(args(&ask).into_iter().chain(args(&words)).chain(args(more)))
    };
    let said = explain(&["--versus", "blue", "--json"]).json();
    assert_eq!(said["explained"]["text"], "yellow");
    let rather = objective(out);
    assert!(rather > 1.0, "{rather}");
    // The other way round it is what it is with its sign turned: here the answer is given.
    explain(&["--answer", "blue", "--versus", "yellow"]);
    assert!((objective(out) + rather).abs() < 1e-4, "{rather} {}", objective(out));
    let same = explain(&["--versus", "yellow"]).refused();
    assert!(same.contains("the two begin with the same tokens"), "{same}");
    // An answer that the model would not give says so.
    let unlikely = explain(&["--answer", "describe"]);
    assert!(unlikely.err.contains("other tokens likelier than `describe`"), "{unlikely:?}");
    // A phrase parts where its first other token stands.
    let described =
        described(out, &["--span", "small purple cross", "--versus", "small purple ring", "--json"]).json();
    assert_eq!(described["explained"]["tokens"], json!([3, 4]));
    assert!(
        described["explained"]["what"].as_str().unwrap().contains("`cross` less that of `ring`, token 4"),
        "{described}"
    );
}

#[test]
fn captions_and_classes_are_contrasted() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let clip = |more: &[&str]| {
        let fixed =
            ["explain", "--model", "shapes-clip", "--image", SCENE, "--method", "occlusion", "--out", out];
        mmlens(args(&fixed).into_iter().chain(args(more)))
    };
    let both = clip(&["--text", "a yellow triangle", "--text", "a red ring", "--json"]).json();
    assert_eq!(both["cautions"], json!([]));
    let logit = objective(folder.path());
    let rather = clip(&["--text", "a yellow triangle", "--versus", "a red ring", "--json"]).json();
    assert_eq!(rather["cautions"], json!([]));
    let less = objective(folder.path());
    // The other one fits worse than nothing.
    assert!(less > logit && logit > 1.0, "{less} {logit}");
    let alone = clip(&["--text", "a yellow triangle"]);
    assert!(alone.out.contains("explained  the cosine with `a yellow triangle`"), "{alone:?}");
    assert!(alone.err.contains("nothing was contrasted"), "{alone:?}");
    let vit = |more: &[&str]| {
        let vit = model("vit-a");
        let fixed = ["explain", &vit, "--image", &picture("wide"), "--method", "occlusion", "--out", out];
        mmlens(args(&fixed).into_iter().chain(args(more)))
    };
    vit(&["--target", "0", "--versus", "6"]);
    let one = objective(folder.path());
    vit(&["--target", "6", "--versus", "0"]);
    assert!((one + objective(folder.path())).abs() < 1e-5, "{one}");
}

#[test]
fn many_cases_are_explained_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let pictures = folder.path().join("pictures");
    fs::create_dir(&pictures).unwrap();
    for name in ["square", "tall"] {
        fs::copy(picture(name), pictures.join(format!("{name}.png"))).unwrap();
    }
    fs::write(pictures.join("notes.txt"), "no picture").unwrap();
    let out = folder.path().join("out");
    let run = |more: &[&str]| {
        let fixed =
            ["explain", "--cases", pictures.to_str().unwrap(), "--ask", "what is it?", "--method", "rollout"];
        let words = ["--out", out.to_str().unwrap(), "--json"];
        mmlens(args(&fixed).into_iter().chain(args(&words)).chain(args(more)))
    };
    let lines =
        |said: &str| -> Vec<Value> { said.lines().map(|line| serde_json::from_str(line).unwrap()).collect() };
    let first = lines(&run(&[]).out);
    assert_eq!(
        first.iter().map(|line| line["case"].as_str().unwrap()).collect::<Vec<_>>(),
        ["square.png", "tall.png"]
    );
    assert!(first.iter().all(|line| line["kept"] == json!(false)), "{first:?}");
    assert!(out.join("tall.png/report.html").is_file() && out.join("tall.png/explained.json").is_file());
    // One of them is lost: it alone is made again.
    fs::remove_file(out.join("square.png/rollout.safetensors")).unwrap();
    let again = lines(&run(&[]).out);
    assert_eq!(again.iter().map(|line| &line["kept"]).collect::<Vec<_>>(), [&json!(false), &json!(true)]);
    assert_eq!(again[1]["answer"], first[1]["answer"]);

    let file = folder.path().join("cases.jsonl");
    let write = |lines: &[Value]| {
        fs::write(&file, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    };
    let of_file = || {
        let fixed = ["explain", "--cases", file.to_str().unwrap(), "--method", "rollout"];
        mmlens(args(&fixed).into_iter().chain(args(&["--out", out.to_str().unwrap()])))
    };
    write(&[
        json!({ "id": "one", "image": "pictures/square.png", "ask": "what is it?" }),
        json!({ "image": "pictures/gone.png", "ask": "what is it?" }),
        json!({ "id": "three", "image": ["pictures/tall.png"], "ask": "what is it?", "answer": "red" }),
    ]);
    let said = of_file();
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.contains("1/3  one: ") && said.out.contains("3/3  three: red ("), "{said:?}");
    assert!(said.err.contains("note: 000002: ") && said.err.contains("gone.png"), "{said:?}");
    assert!(said.err.ends_with("error: 1 of 3 cases failed\n"), "{said:?}");
    write(&[json!({ "id": "one", "ask": "what?" }), json!({ "ask": "what?", "imag": "a.png" })]);
    let typo = of_file().refused();
    assert!(typo.contains("cases.jsonl, line 2: unknown field `imag`"), "{typo}");
    write(&[json!({ "id": "../one", "ask": "what?" })]);
    assert!(of_file().refused().contains("`../one` is no name for a folder"));
    write(&[json!({ "id": "one", "ask": "what?" }), json!({ "id": "one", "ask": "how?" })]);
    assert!(of_file().refused().contains("`one` is the name of two cases"));
}

/// Asked to stop, the program says how to go on, and what is whole is kept.
#[test]
#[cfg(unix)]
fn a_run_that_is_stopped_says_how_to_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let fixed = ["explain", "--image", SCENE, "--ask", "what colour is the triangle?", "--out", out];
    let long = ["--method", "rollout,ig", "--set", "ig.steps=4096"];
    let mut child = command();
    child.args(args(&fixed)).args(args(&long)).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().unwrap();
    // It has begun when it has said what it explains.
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().starts_with("memory")));
    std::thread::sleep(Duration::from_millis(500));
    let kill = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("the same command goes on from there"), "{said}");
    assert!(!folder.path().join("report.html").exists());
}

/// Files of cases are looked at as all others are: a pipe or a device is not waited for, and nothing is read without end.
#[cfg(unix)]
#[test]
fn cases_from_pipes_and_devices_are_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let large = folder.path().join("large.jsonl");
    std::fs::File::create(&large).unwrap().set_len(1 << 33).unwrap();
    let out = folder.path().join("out").display().to_string();
    for (cases, expected) in [
        (pipe.display().to_string(), "it is a pipe, expected a regular file"),
        ("/dev/zero".to_owned(), "it is a device, expected a regular file"),
        (large.display().to_string(), "it has 8589934592 bytes, expected at most 268435456"),
    ] {
        for first in ["explain", "evaluate", "record"] {
            let said =
                mmlens([first, &model("llava-a"), "--cases", &cases, "--ask", "Is it red?", "--out", &out])
                    .refused();
            assert!(said.contains(&cases) && said.contains(expected), "{first}: {said}");
        }
    }
}
