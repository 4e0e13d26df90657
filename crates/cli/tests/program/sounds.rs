//! Recordings on the command line: `--audio`, `--from`, `--to`, and what is made of them.

use std::fs;
use std::path::{Path, PathBuf};

use mmlens::finding::{CautionKind, Finding, HeardUnit, Labels};
use mmlens::sound::{Sound, wav};
use serde_json::Value;

use crate::support::{Said, args, fixtures, mmlens, model};

fn recording(name: &str) -> String {
    fixtures().join("recordings").join(format!("{name}.wav")).display().to_string()
}

/// Findings of a recording that lies in the folder as `sound.wav`.
fn explained(folder: &Path, out: &str, methods: &str, more: &[&str]) -> (PathBuf, Said) {
    let (sound, out) = (folder.join("sound.wav"), folder.join(out));
    fs::copy(recording("full"), &sound).unwrap();
    let fixed = ["explain", &model("qwen2-audio-a"), "--ask", "What?", "--method", methods];
    let files = ["--audio", sound.to_str().unwrap(), "--out", out.to_str().unwrap()];
    let cells = "occlusion.picture={\"grid\":{\"rows\":2,\"cols\":3}}";
    let grid = if methods.contains("occlusion") { vec!["--set", cells] } else { Vec::new() };
    let said = mmlens(fixed.iter().chain(&files).chain(&grid).chain(more));
    (out, said)
}

/// Extents along an axis, in seconds or Hz.
fn heard(labels: &Labels, expected: HeardUnit) -> Vec<[f32; 2]> {
    let Labels::Spans { heard: Some(heard), .. } = labels else { panic!("{labels:?}") };
    assert_eq!(heard.unit, expected);
    heard.spans.clone()
}

#[test]
fn a_recording_is_explained_in_seconds_and_hertz() {
    let folder = tempfile::tempdir().unwrap();
    let (out, said) = explained(folder.path(), "out", "occlusion,ig", &["--set", "ig.steps=4"]);
    said.cautioned();
    let found = Finding::load(out.join("occlusion.safetensors")).unwrap();
    let table = found.table("recording").unwrap();
    let [rows, cols] = [0, 1].map(|axis| &table.axes()[axis].labels);
    let (rows, cols) = (heard(rows, HeardUnit::Hertz), heard(cols, HeardUnit::Seconds));
    let sound = Sound::open(recording("full")).unwrap();
    assert_eq!((rows.len(), cols.len()), (2, 3));
    // The highest band on top; time from the beginning to the end.
    assert!(rows[0][0] >= rows[1][1] - 1e-3 && rows[1][0] < 1.0, "{rows:?}");
    assert!(cols[0][0] == 0.0 && (f64::from(cols[2][1]) - sound.seconds()).abs() < 0.02, "{cols:?}");
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("<audio") && page.contains("Where in the recording"), "{}", page.len());
    // A finding knows the recording, and is made again from it bit by bit.
    let record = &found.provenance.input.as_ref().unwrap().sample.recordings[0];
    assert_eq!((record.sha256.clone(), record.rate), (sound.sha256(), sound.rate()));
    for name in ["occlusion", "ig"] {
        let finding = out.join(format!("{name}.safetensors"));
        let again = mmlens(args(&["rerun", finding.to_str().unwrap()]));
        assert!(again.code == Some(0) && again.out.ends_with("the same, bit by bit\n"), "{again:?}");
    }
    let shown = mmlens(args(&["show", out.join("ig.safetensors").to_str().unwrap()])).well();
    assert!(shown.contains("sound.wav"), "{shown}");
    // Another recording in its place is refused by whoever opens it again.
    fs::copy(recording("chirp"), folder.path().join("sound.wav")).unwrap();
    let (finding, page) = (out.join("ig.safetensors"), folder.path().join("page.html"));
    let said =
        mmlens(args(&["report", finding.to_str().unwrap(), "--out", page.to_str().unwrap()])).refused();
    assert!(said.contains("sound.wav") && said.contains("expected"), "{said}");
}

/// As a picture that moved: it is named where it lies now, the same part is taken of it, and another recording is told.
#[test]
fn a_recording_that_moved_is_named_and_may_be_given() {
    let folder = tempfile::tempdir().unwrap();
    let (out, said) = explained(folder.path(), "out", "occlusion", &["--to", "0.1"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let (lay, lies) = (folder.path().join("sound.wav"), folder.path().join("moved.wav"));
    fs::rename(&lay, &lies).unwrap();
    let (finding, page) = (out.join("occlusion.safetensors"), folder.path().join("page.html"));
    let rerun =
        |more: &[&str]| mmlens(args(&["rerun", finding.to_str().unwrap()]).into_iter().chain(args(more)));
    let report = |more: &[&str]| {
        let fixed = args(&["report", finding.to_str().unwrap(), "--out", page.to_str().unwrap()]);
        mmlens(fixed.into_iter().chain(args(more)))
    };
    let moved = ["--audio", lies.to_str().unwrap()];
    let lost = rerun(&[]).not_judged();
    assert!(lost.contains("sound.wav"), "{lost}");
    let found = rerun(&[&moved[..], &["--json"]].concat()).json();
    assert_eq!((&found["same"], found["said"].as_array().unwrap().len()), (&true.into(), 0), "{found}");
    assert!(report(&[]).refused().contains("sound.wav"));
    assert!(report(&moved).code == Some(0) && fs::read_to_string(&page).unwrap().contains("<audio"));
    // Another recording is another, and no recording is none.
    let other = recording("chirp");
    let said = report(&["--audio", &other]).refused();
    assert!(said.contains("no finding is about this recording; they are about sound.wav"), "{said}");
    assert_eq!(rerun(&["--audio", &other]).code, Some(1));
    let said = report(&["--audio", finding.to_str().unwrap()]).refused();
    assert!(said.contains("what is read are WAV"), "{said}");
    let said = rerun(&[&moved[..], &moved[..]].concat()).not_judged();
    assert!(said.ends_with("2 recordings were named, and the finding is about 1"), "{said}");
    let said = rerun(&["--image", lies.to_str().unwrap()]).not_judged();
    assert!(said.ends_with("1 picture was named, and the finding is about 0"), "{said}");
}

#[test]
fn a_part_of_a_recording_is_a_recording() {
    let folder = tempfile::tempdir().unwrap();
    let whole = Sound::open(recording("full")).unwrap();
    let to = format!("{}", whole.seconds() / 2.0);
    let (out, said) = explained(folder.path(), "part", "occlusion", &["--to", &to]);
    said.cautioned();
    let found = Finding::load(out.join("occlusion.safetensors")).unwrap();
    let record = &found.provenance.input.as_ref().unwrap().sample.recordings[0];
    let part = whole.between(0.0, whole.seconds() / 2.0).unwrap();
    assert_eq!((record.sha256.clone(), record.part), (part.sha256(), part.part()));
    let again = mmlens(args(&["rerun", out.join("occlusion.safetensors").to_str().unwrap()]));
    assert_eq!(again.code, Some(0), "{again:?}");
    let ask = |more: &[&str]| {
        let fixed = ["ask", &model("qwen2-audio-a"), "--ask", "What?", "--audio", &recording("full")];
        mmlens(fixed.iter().chain(more))
    };
    let said = ask(&["--from", "7"]).refused();
    assert!(said.contains("7") && said.contains("full.wav"), "{said}");
    let said = ask(&["--from", "-1"]).refused();
    assert!(said.contains("-1"), "{said}");
}

#[test]
fn what_is_not_heard_is_refused() {
    let ask = |name: &str, more: &[&str]| {
        mmlens(args(&["ask", &model(name), "--ask", "What?"]).into_iter().chain(args(more)))
    };
    let said = ask("llava-a", &["--audio", &recording("full")]).refused();
    assert!(said.contains("recording"), "{said}");
    let picture = fixtures().join("pictures/wide.png");
    let said = ask("qwen2-audio-a", &["--image", picture.to_str().unwrap()]).refused();
    assert!(said.contains("picture"), "{said}");
    let said = ask("qwen2-audio-a", &["--audio", picture.to_str().unwrap()]).refused();
    assert!(said.contains("wide.png"), "{said}");
    let said = ask("qwen2-audio-a", &["--audio", "nowhere.wav"]).refused();
    assert!(said.contains("nowhere.wav"), "{said}");
    assert_eq!(ask("qwen2-audio-a", &["--from", "1"]).code, Some(2));
}

#[test]
fn maps_of_a_recording_lie_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let (out, said) = explained(folder.path(), "out", "occlusion,ig", &["--set", "ig.steps=4"]);
    said.cautioned();
    let files = ["ig", "occlusion"].map(|name| out.join(format!("{name}.safetensors")));
    let (page, saved) = (folder.path().join("both.html"), folder.path().join("both.safetensors"));
    let said = mmlens([
        "compare",
        files[0].to_str().unwrap(),
        files[1].to_str().unwrap(),
        "--rows",
        "4",
        "--cols",
        "6",
        "--json",
        "--out",
        page.to_str().unwrap(),
        "--save",
        saved.to_str().unwrap(),
    ]);
    let said: Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{said:?}"));
    assert_eq!(said["maps"].as_array().unwrap().len(), 2);
    let found = Finding::load(&saved).unwrap();
    let table = found.table(said["maps"][0]["name"].as_str().unwrap()).unwrap();
    assert_eq!(heard(&table.axes()[1].labels, HeardUnit::Seconds).len(), 6);
    let mass: f32 = table.as_numbers().unwrap().iter().map(|cell| cell.abs()).sum();
    assert!((mass - 1.0).abs() < 1e-5, "{mass}");
    assert!(fs::read_to_string(&page).unwrap().contains("<audio"));
}

#[test]
fn cases_may_be_recordings() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    for name in ["blip", "chirp"] {
        fs::copy(recording(name), data.join(format!("{name}.wav"))).unwrap();
    }
    let lines = [
        r#"{"id": "one", "audio": "chirp.wav", "ask": "What?"}"#,
        r#"{"id": "part", "audio": "chirp.wav", "to": 0.1, "ask": "What?"}"#,
    ];
    fs::write(data.join("cases.jsonl"), lines.join("\n")).unwrap();
    let run = |cases: &Path, out: &str| {
        let out = folder.path().join(out);
        let fixed =
            ["explain", &model("qwen2-audio-a"), "--ask", "What?", "--method", "logit-lens", "--json"];
        let paths = ["--cases", cases.to_str().unwrap(), "--out", out.to_str().unwrap()];
        mmlens(fixed.iter().chain(&paths))
    };
    let said = run(&data, "folder");
    let named: Vec<Value> = said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((said.code, named.len()), (Some(0), 2), "{said:?}");
    assert_eq!((&named[0]["case"], &named[1]["case"]), (&"blip.wav".into(), &"chirp.wav".into()));
    let said = run(&data.join("cases.jsonl"), "file");
    assert_eq!((said.code, said.out.lines().count()), (Some(0), 2), "{said:?}");
    let seconds = |name: &str| {
        let found = folder.path().join("file").join(name).join("logit-lens.safetensors");
        Finding::load(found).unwrap().provenance.input.unwrap().sample.recordings[0].seconds
    };
    assert!((seconds("part") - 0.1).abs() < 1e-3 && seconds("one") > 0.15);
    fs::write(data.join("cases.jsonl"), r#"{"to": 0.1, "ask": "What?"}"#).unwrap();
    let said = run(&data.join("cases.jsonl"), "wrong").refused();
    assert!(said.contains("line 1") && said.contains("no `audio`"), "{said}");
}

#[test]
fn what_a_recording_is_compared_with_is_another_one() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.wav");
    let sound = Sound::open(recording("full")).unwrap();
    // As long, and not the same: reversed, a byte for a sample.
    let (from, bytes) = (44, fs::read(recording("full")).unwrap());
    let mut reversed = bytes[..from].to_vec();
    reversed.extend(bytes[from..].iter().rev());
    fs::write(&other, reversed).unwrap();
    assert_eq!(Sound::open(&other).unwrap().samples().len(), sound.samples().len());
    let other = other.to_str().unwrap();
    let (out, said) = explained(folder.path(), "out", "patching", &["--corrupted-audio", other]);
    said.cautioned();
    let found = Finding::load(out.join("patching.safetensors")).unwrap();
    let corrupted = found.provenance.input.unwrap().corrupted.unwrap();
    assert_eq!(corrupted.recordings[0].sha256, Sound::open(other).unwrap().sha256());
    let twice = ["--corrupted-audio", other, "--corrupted-audio", other];
    let (_, said) = explained(folder.path(), "twice", "patching", &twice);
    assert_eq!(said.refused(), "2 `--corrupted-audio` for 1 `--audio`; give one for each, in the same order");
}

/// The model that ships inside answers about a recording of its world, and what is said of it lies where the sound is.
#[test]
fn the_shipped_model_hears_what_is_asked_about() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let scene = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/sounds/scene.wav");
    let fixed = ["explain", "tones-qwen2-audio", "--ask", "what pitch is the hiss ?", "--method", "ig"];
    let files = ["--audio", scene.to_str().unwrap(), "--out", out.to_str().unwrap()];
    let said = mmlens(fixed.iter().chain(&files)).cautioned();
    assert!(said.contains("high"), "{said}");
    assert!(out.join("report.html").exists() && out.join("ig.png").exists(), "{said}");
}

/// Silence is told whatever looks at it, and noise that is louder than what it hides.
#[test]
fn what_is_silent_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, level: fn(usize) -> f64| {
        let samples: Vec<i16> = (0..8000).map(|at| (9000.0 * level(at)) as i16).collect();
        let file = folder.path().join(name);
        std::fs::write(&file, wav(&samples, 8000)).unwrap();
        file.to_str().unwrap().to_owned()
    };
    /// As loud in every filter.
    fn hiss(at: usize) -> f64 {
        let drawn =
            (at as u32).wrapping_mul(2_654_435_761) ^ (at as u32).wrapping_mul(40_503).rotate_left(13);
        f64::from(drawn.wrapping_mul(2_246_822_519) >> 16) / 32_768.0 - 1.0
    }
    let (silent, loud) = (write("silent.wav", |_| 0.0), write("loud.wav", hiss));
    let half = write("half.wav", |at| if at < 4000 { hiss(at) } else { 0.0 });
    let cautions = |file: &str, sounds: &str| {
        let out = folder.path().join("out");
        let set = format!("occlusion.sounds={sounds}");
        let model = model("qwen2-audio-a");
        let fixed = ["explain", &model, "--audio", file, "--ask", "What?", "--out", out.to_str().unwrap()];
        let more = [
            "--method",
            "occlusion",
            "--set",
            &set,
            "--set",
            r#"occlusion.picture={"grid":{"rows":1,"cols":4}}"#,
        ];
        assert_eq!(mmlens(fixed.iter().chain(&more)).code, Some(0));
        let own = [CautionKind::Unheard, CautionKind::Louder];
        let found = Finding::load(out.join("occlusion.safetensors")).unwrap().cautions();
        fs::remove_dir_all(&out).unwrap();
        found.into_iter().filter(|found| own.contains(&found.kind)).collect::<Vec<_>>()
    };
    assert_eq!(cautions(&loud, r#""silence""#), []);
    assert_eq!(cautions(&half, r#""silence""#), []);
    let told = cautions(&silent, r#""silence""#);
    assert_eq!((told.len(), told[0].kind, told[0].number), (1, CautionKind::Unheard, 0.0));
    assert!(told[0].text.starts_with("`silent.wav` is silent"), "{}", told[0].text);
    assert_eq!(cautions(&loud, r#"{"noise":3}"#), []);
    // Of four quarters two are silent, and noise is not.
    let told = cautions(&half, r#"{"noise":3}"#);
    assert_eq!((told.len(), told[0].kind, told[0].number), (1, CautionKind::Louder, 0.5), "{told:?}");
    let said = mmlens(args(&["ask", &model("qwen2-audio-a"), "--ask", "What?", "--audio", &silent]));
    assert!(said.err.contains("note: `silent.wav` is silent"), "{}", said.err);
}
