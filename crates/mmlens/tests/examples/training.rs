//! A training that is killed again and again ends with the weights of one that was not.

#[expect(dead_code, reason = "a program, of which the test calls one function")]
#[path = "../../../../examples/train_careless/main.rs"]
mod train_careless;
#[expect(dead_code, reason = "a program, of which the test calls one function")]
#[path = "../../../../examples/train_clip/main.rs"]
mod train_clip;
#[expect(dead_code, reason = "a program, of which the test calls one function")]
#[path = "../../../../examples/train_reasons/main.rs"]
mod train_reasons;
#[expect(dead_code, reason = "a program, of which the test calls one function")]
#[path = "../../../../examples/train_shapes/main.rs"]
mod train_shapes;
#[expect(dead_code, reason = "a program, of which the test calls one function")]
#[path = "../../../../examples/train_tones/main.rs"]
mod train_tones;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use clap::Parser;
use mmlens_testkit::kill_again_and_again;

/// Six steps of few pictures, saved after every second.
const SMALL: &str = "--steps 6 --save 2 --pictures 4 --threads 2 --scored 8";

fn args(folder: &Path) -> Vec<String> {
    let place = |name: &str| folder.join(name).display().to_string();
    let places = ["--out".to_owned(), place("model"), "--state".to_owned(), place("state.safetensors")];
    let small = SMALL.split(' ').map(str::to_owned);
    std::iter::once("train".to_owned()).chain(small).chain(places).collect()
}

/// The model that ships, which some go out from.
fn shipped() -> [String; 2] {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/zoo/shipped/shapes-llava");
    ["--from".to_owned(), root.display().to_string()]
}

fn train(which: &str, folder: &Path) {
    match which {
        "careless" => {
            let all = args(folder).into_iter().chain(shipped());
            train_careless::train(&train_careless::Args::parse_from(all)).unwrap();
        }
        "shapes" => train_shapes::train(&train_shapes::Args::parse_from(args(folder))).unwrap(),
        "clip" => train_clip::train(&train_clip::Args::parse_from(args(folder))).unwrap(),
        "tones" => train_tones::train(&train_tones::Args::parse_from(args(folder))).unwrap(),
        other => panic!("{other}"),
    }
}

/// Trains when another test tells it to: that test kills it.
#[test]
fn child() {
    let Ok(job) = std::env::var("MMLENS_TRAINING_CHILD") else { return };
    let (which, folder) = job.split_once(' ').unwrap();
    train(which, Path::new(folder));
}

fn killed(which: &str, longest: Duration) {
    let written =
        ["state.safetensors", "model/model.safetensors", "model/config.json", "model/tokenizer.json"];
    let more = (which == "careless").then_some("model/difference.safetensors");
    let (whole, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    train(which, whole.path());
    let folder = |job: usize| killed.path().join(job.to_string());
    let start = |job| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "training::child"]);
        command.env("MMLENS_TRAINING_CHILD", format!("{which} {}", folder(job).display()));
        command
    };
    let look = |_| {};
    kill_again_and_again(longest, start, look, |job| {
        for name in written.into_iter().chain(more) {
            let read = |folder: &Path| fs::read(folder.join(name)).unwrap();
            assert!(read(whole.path()) == read(&folder(job)), "{which}, job {job}: {name}");
        }
        let log = fs::read_to_string(folder(job).join("model/training.jsonl")).unwrap();
        let steps =
            log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["step"].clone());
        assert_eq!(steps.collect::<Vec<_>>(), [2, 4, 6], "{which}, job {job}");
        mmlens::zoo::open(folder(job).join("model"), &Default::default()).unwrap();
    });
}

#[test]
fn a_llava_in_training_is_killed() {
    killed("shapes", Duration::from_millis(1500));
}

#[test]
fn a_clip_in_training_is_killed() {
    killed("clip", Duration::from_millis(1500));
}

/// What is learned from annotators who name what is not there, and the difference to what ships.
#[test]
fn a_careless_llava_in_training_is_killed() {
    killed("careless", Duration::from_millis(1500));
}

#[test]
fn a_qwen2_audio_in_training_is_killed() {
    killed("tones", Duration::from_millis(1500));
}

/// Checkpoints are kept in half the bytes, and what they say stands in one finding, step by step.
#[test]
fn a_clip_in_training_is_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let more = ["--keep", "0,3,6", "--record", "16"].map(str::to_owned);
    train_clip::train(&train_clip::Args::parse_from(args(folder.path()).into_iter().chain(more))).unwrap();
    let model = folder.path().join("model");
    let bytes = |name: &str| fs::metadata(model.join(name)).unwrap().len();
    assert!(2 * bytes("kept/000006/model.safetensors") < bytes("model.safetensors") + 20_000);
    let found = mmlens::finding::Finding::load(model.join("record.safetensors")).unwrap();
    let likeness = found.table("cka").unwrap();
    let steps: Vec<_> = (0..3).map(|at| likeness.axes()[0].label(at).unwrap()).collect();
    assert_eq!(steps, ["0", "3", "6"]);
    let numbers = likeness.as_numbers().unwrap();
    assert_eq!(numbers.len(), 3 * 5 * 2);
    let (before, end) = numbers.split_at(20);
    assert!(end.iter().step_by(2).all(|own| (own - 1.0).abs() < 1e-5), "{end:?}");
    assert!(before.iter().step_by(2).all(|own| *own < 0.999_999), "{before:?}");
    assert_eq!(found.table("probe").unwrap().shape(), [3, 5, 3, 3]);
}

/// What is asked for reasons learns from the same scenes, is held down where the answer is not, and is whole.
#[test]
fn a_llava_is_trained_for_right_reasons() {
    let folder = tempfile::tempdir().unwrap();
    let trained = |name: &str, lambda: &str| -> (f64, Vec<u8>) {
        let folder = folder.path().join(name);
        let more = ["--lambda", lambda].map(str::to_owned);
        let all = args(&folder).into_iter().chain(more).chain(shipped());
        train_reasons::train(&train_reasons::Args::parse_from(all)).unwrap();
        let log = fs::read_to_string(folder.join("model/training.jsonl")).unwrap();
        let last: serde_json::Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
        assert!(last["a false tag"]["of"].as_u64().unwrap() > 0, "{last}");
        mmlens::zoo::open(folder.join("model"), &Default::default()).unwrap();
        (last["penalty"].as_f64().unwrap(), fs::read(folder.join("model/model.safetensors")).unwrap())
    };
    let (none, plain) = trained("plain", "0");
    let (some, asked) = trained("asked", "1");
    assert!(none == 0.0 && some > 0.0 && some.is_finite(), "{none} {some}");
    assert_ne!(plain, asked);
}

#[test]
fn a_training_with_other_settings_is_not_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    train("shapes", folder.path());
    let other = args(folder.path()).into_iter().chain(["--seed".to_owned(), "8".to_owned()]);
    let said = train_shapes::train(&train_shapes::Args::parse_from(other)).unwrap_err().to_string();
    assert!(said.contains("seed 7, unbiased false, turns 8, expected ") && said.contains("seed 8"), "{said}");
}
