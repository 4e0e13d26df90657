//! The folder of a run: whole, cut or somebody else's, whatever happened to the processes that wrote into it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

// Not through `mmlens-testkit`, which needs Burn.
#[allow(unreachable_pub, dead_code, reason = "a module of another crate")]
#[path = "../../testkit/src/kill.rs"]
mod kill;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use kill::kill_again_and_again;
use mmlens_files::{PARTIAL, RunError, RunFolder, State, look, sha256, write};
use proptest::prelude::*;
use serde_json::{Value, json};

fn settings(seed: u64) -> BTreeMap<String, Value> {
    [("seed".to_owned(), json!(seed)), ("rate".to_owned(), json!(0.1))].into()
}

fn begin(folder: &Path, seed: u64) -> RunFolder {
    RunFolder::begin(folder, settings(seed), []).unwrap()
}

/// A file of a run: its bytes follow from its seed and its number.
fn bytes(seed: u64, i: usize) -> Vec<u8> {
    sha256(format!("{seed} {i}")).into_bytes().repeat(1 + 37 * i)
}

fn name(i: usize) -> String {
    format!("{i}.bin")
}

/// A whole run of five files.
fn run(folder: &Path, seed: u64) {
    let mut run = begin(folder, seed);
    for i in 0..5 {
        run.write(&name(i), &bytes(seed, i)).unwrap();
    }
    run.finish().unwrap();
}

/// Whether the five files are those of a seed.
fn holds(folder: &Path, seed: u64) -> bool {
    (0..5).all(|i| fs::read(folder.join(name(i))).is_ok_and(|found| found == bytes(seed, i)))
}

fn names(folder: &Path) -> Vec<String> {
    look(folder).unwrap().files.into_keys().collect()
}

#[test]
fn a_whole_run_says_what_belongs_to_it() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("own.txt"), "mine").unwrap();
    assert_eq!(look(folder.path()).unwrap().state, State::Foreign);
    run(folder.path(), 1);
    let state = look(folder.path()).unwrap();
    assert_eq!((state.state, state.unfinished), (State::Whole, false));
    let manifest = state.manifest.unwrap();
    assert_eq!(manifest.settings, settings(1));
    assert_eq!(manifest.files.len(), 5);
    for (i, entry) in manifest.files.iter().enumerate() {
        assert_eq!((&entry.name, entry.bytes), (&name(i), bytes(1, i).len() as u64));
        assert_eq!(entry.sha256, sha256(bytes(1, i)));
        assert_eq!(state.files[&entry.name], State::Whole);
    }
    assert_eq!(state.files["own.txt"], State::Foreign);
    assert_eq!(state.files["manifest.json"], State::Whole);
    assert_eq!(state.files.len(), 7);
    // Changed or gone, it is not what the run wrote.
    fs::write(folder.path().join(name(2)), "other").unwrap();
    fs::remove_file(folder.path().join(name(3))).unwrap();
    let state = look(folder.path()).unwrap();
    assert_eq!(state.state, State::Cut);
    let of = |i: usize| state.files[&name(i)];
    assert_eq!([of(1), of(2), of(3)], [State::Whole, State::Cut, State::Cut]);
}

#[test]
fn a_run_that_ends_early_leaves_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), 1);
    let mut second = begin(folder.path(), 2);
    second.write(&name(0), &bytes(2, 0)).unwrap();
    drop(second);
    assert!(holds(folder.path(), 1));
    let state = look(folder.path()).unwrap();
    assert_eq!((state.state, state.unfinished), (State::Whole, true));
    assert_eq!(state.files["mmlens-unfinished"], State::Cut);
    // The same settings go on, others begin anew.
    let again = begin(folder.path(), 2);
    assert!(again.kept(&name(0)).is_some() && again.kept(&name(1)).is_none());
    drop(again);
    let other = begin(folder.path(), 3);
    assert!(other.kept(&name(0)).is_none());
    drop(other);
    // Nothing was written by that one: nothing is left of either.
    assert!(!look(folder.path()).unwrap().unfinished);
    run(folder.path(), 2);
    assert!(holds(folder.path(), 2));
    assert_eq!(names(folder.path()), ["0.bin", "1.bin", "2.bin", "3.bin", "4.bin", "manifest.json"]);
}

#[test]
fn a_first_run_that_ends_early_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = begin(folder.path(), 1);
    first.write("a", b"1").unwrap();
    drop(first);
    let state = look(folder.path()).unwrap();
    assert_eq!((state.state, state.manifest, state.unfinished), (State::Cut, None, true));
}

#[test]
fn files_of_others_are_neither_removed_nor_written_through() {
    let folder = tempfile::tempdir().unwrap();
    let aside = folder.path().join("mmlens-unfinished");
    fs::create_dir(&aside).unwrap();
    fs::write(aside.join("own.txt"), "mine").unwrap();
    fs::write(folder.path().join("own.txt"), "mine").unwrap();
    run(folder.path(), 1);
    assert_eq!(fs::read(aside.join("own.txt")).unwrap(), b"mine");
    assert_eq!(fs::read(folder.path().join("own.txt")).unwrap(), b"mine");
    assert_eq!(fs::read_dir(&aside).unwrap().count(), 1);
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("own.txt", folder.path().join("link")).unwrap();
        let said = begin(folder.path(), 2).write("link", b"1").unwrap_err().to_string();
        assert!(said.ends_with("it is a link, expected a regular file or nothing"), "{said}");
        // A link in place of the folder aside leads out of here.
        let other = tempfile::tempdir().unwrap();
        let linked = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(other.path(), linked.path().join("mmlens-unfinished")).unwrap();
        let said = RunFolder::begin(linked.path(), settings(1), []).unwrap_err().to_string();
        assert!(said.contains("mmlens-unfinished: a link; expected no link"), "{said}");
        assert_eq!(fs::read_dir(other.path()).unwrap().count(), 0);
    }
}

#[test]
fn what_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = begin(folder.path(), 1);
    for bad in
        ["", ".", "..", "a/b", "/a", "./a", "a/", "manifest.json", "mmlens-unfinished", "a.mmlens-partial"]
    {
        let said = run.write(bad, b"x").unwrap_err().to_string();
        assert_eq!(said, format!("`{bad}` is no name for a file of a run"));
    }
    let busy = RunFolder::begin(folder.path(), settings(1), []).unwrap_err();
    assert!(matches!(busy, RunError::Busy { .. }));
    assert_eq!(busy.to_string(), format!("{} is being written into by another run", folder.path().display()));
    drop(run);

    let picture = folder.path().join("picture.png");
    write(&picture, "pixels").unwrap();
    let mut run = RunFolder::begin(folder.path(), settings(1), [picture.clone()]).unwrap();
    let said = run.write("picture.png", b"x").unwrap_err().to_string();
    assert_eq!(said, format!("cannot write {0}: it is {0}, which is read here", picture.display()));
    drop(run);
    let read = RunFolder::begin(folder.path(), settings(1), [folder.path().join(".")]).unwrap_err();
    assert!(read.to_string().ends_with("/., which is read here"), "{read}");

    let other = tempfile::tempdir().unwrap();
    write(other.path().join("manifest.json"), r#"{"format": 1, "rows": "positions"}"#).unwrap();
    let said = RunFolder::begin(other.path(), settings(1), []).unwrap_err().to_string();
    assert!(said.contains("manifest.json: ") && said.ends_with("expected the manifest of a run"), "{said}");
    assert!(matches!(look(other.path()), Err(RunError::Broken { .. })));
    let escape = json!({ "format": 1, "version": "0", "settings": {},
        "files": [{ "name": "../own", "bytes": 1, "sha256": "0" }] });
    write(other.path().join("manifest.json"), escape.to_string()).unwrap();
    assert!(look(other.path()).unwrap_err().to_string().contains("a file `../own`"));

    let journal = tempfile::tempdir().unwrap();
    fs::create_dir(journal.path().join("mmlens-unfinished")).unwrap();
    let head = json!({ "run": { "format": 1, "version": "0", "settings": {}, "files": [] } });
    let entry = json!({ "name": "../own", "bytes": 1, "sha256": "0" });
    let lines = format!("{head}\n{}\n", json!({ "whole": entry }));
    write(journal.path().join("mmlens-unfinished/files.jsonl"), lines).unwrap();
    let said = RunFolder::begin(journal.path(), settings(1), []).unwrap_err().to_string();
    assert!(said.contains("line 2: ") && said.ends_with("expected the journal of a run"), "{said}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is cut off a journal, and whatever is missing of its files: the run is gone on with, and is whole in the end.
    #[test]
    fn any_state_can_be_gone_on_with(cut in 0.0..1.0_f64, gone in 0..6_usize, moved in 0..6_usize, seed in 1..3_u64) {
        let folder = tempfile::tempdir().unwrap();
        run(folder.path(), 2);
        let mut first = begin(folder.path(), 1);
        for i in 0..5 {
            first.write(&name(i), &bytes(1, i)).unwrap();
        }
        drop(first);
        let aside = folder.path().join("mmlens-unfinished");
        let text = fs::read(aside.join("files.jsonl")).unwrap();
        fs::write(aside.join("files.jsonl"), &text[..(text.len() as f64 * cut) as usize]).unwrap();
        for i in 0..moved.min(5) {
            fs::rename(aside.join(name(i) + PARTIAL), folder.path().join(name(i))).unwrap();
        }
        if gone < 5 {
            let _ = fs::remove_file(aside.join(name(gone) + PARTIAL));
        }
        let before = look(folder.path()).unwrap();
        prop_assert_eq!(before.state, if moved == 0 { State::Whole } else { State::Cut });
        let mut again = begin(folder.path(), seed);
        for i in 0..5 {
            if let Some(kept) = again.kept(&name(i)) {
                prop_assert_eq!(fs::read(kept).unwrap(), bytes(seed, i));
            }
            again.write(&name(i), &bytes(seed, i)).unwrap();
        }
        again.finish().unwrap();
        prop_assert!(holds(folder.path(), seed));
        prop_assert_eq!(look(folder.path()).unwrap().state, State::Whole);
    }
}

/// A run is told from a file of its name, or of a folder above it, before anything is made.
#[test]
fn a_folder_that_is_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (file, model) = (folder.path().join("c.jsonl"), folder.path().join("model"));
    fs::write(&file, "{}").unwrap();
    fs::create_dir(&model).unwrap();
    for out in [file.clone(), file.join("one"), file.join("one/two")] {
        let expected = format!(
            "cannot write into {}: {} is a file, expected a folder or nothing",
            out.display(),
            file.display()
        );
        let free = RunFolder::free(&out, [&model]).unwrap_err();
        assert_eq!(free.to_string(), expected);
        assert_eq!(RunFolder::begin(&out, settings(1), []).unwrap_err().to_string(), expected);
    }
    let said = RunFolder::free(model.join("."), [&file, &model]).unwrap_err().to_string();
    assert_eq!(
        said,
        format!(
            "cannot write into {}: it is {}, which is read here",
            model.join(".").display(),
            model.display()
        )
    );
    for free in [folder.path().to_owned(), model.join("out"), folder.path().join("new/out")] {
        RunFolder::free(&free, [&file, &model]).unwrap();
        assert!(free == folder.path() || !free.exists());
    }
}

/// A run that was cut off behind its manifest left what it had aside; whoever finds it whole takes that away.
#[test]
fn what_a_whole_run_left_aside_goes() {
    let folder = tempfile::tempdir().unwrap();
    let aside = folder.path().join("mmlens-unfinished");
    let whole = || RunFolder::whole(folder.path(), &settings(1)).unwrap();
    run(folder.path(), 1);
    let left = |seed: u64| {
        // As the process leaves it that is killed: nothing is dropped.
        let mut again = begin(folder.path(), seed);
        again.write("x", b"half").unwrap();
        again
    };
    // One that still runs is left alone, and so is one of other settings.
    let running = left(1);
    assert!(whole().is_some() && aside.join("files.jsonl").is_file());
    drop(running);
    assert!(aside.join("files.jsonl").is_file());
    assert!(whole().is_some());
    assert!(!aside.exists());
    drop(left(2));
    assert!(whole().is_some() && aside.join("files.jsonl").is_file());
    drop(left(1));
    fs::write(aside.join("own.txt"), "mine").unwrap();
    assert!(whole().is_some());
    assert_eq!(names(&aside), ["own.txt"]);
    fs::remove_file(aside.join("own.txt")).unwrap();
    assert!(whole().is_some() && !aside.exists());
}

/// Runs into a folder when another test tells it to: that test kills it. Runs of two seeds take turns, so that a whole one
/// is always about to be replaced.
#[test]
fn child() {
    let Ok(folder) = std::env::var("MMLENS_RUN_CHILD") else { return };
    let folder = PathBuf::from(folder);
    let next = match holds(&folder, 1) && look(&folder).unwrap().state == State::Whole {
        true => 2,
        false => 1,
    };
    let mut run = begin(&folder, next);
    for i in 0..5 {
        run.write(&name(i), &bytes(next, i)).unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
    run.finish().unwrap();
}

#[test]
fn a_run_that_is_killed_leaves_the_one_before_or_can_be_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("own.txt"), "mine").unwrap();
    run(folder.path(), 2);
    let start = |_| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "child"]).env("MMLENS_RUN_CHILD", folder.path());
        command
    };
    let look_at = |_| {
        let state = look(folder.path()).unwrap();
        for i in 0..5 {
            let found = fs::read(folder.path().join(name(i))).unwrap();
            assert!(found == bytes(1, i) || found == bytes(2, i), "a file that is half of something");
        }
        let whole = holds(folder.path(), 1) || holds(folder.path(), 2);
        assert_eq!(
            state.state == State::Whole,
            whole && state.manifest.unwrap().settings == settings(1 + u64::from(holds(folder.path(), 2)))
        );
        assert!(state.state == State::Whole || state.unfinished);
        assert_eq!(fs::read(folder.path().join("own.txt")).unwrap(), b"mine");
    };
    kill_again_and_again(Duration::from_millis(60), start, look_at, |_| {
        assert_eq!(look(folder.path()).unwrap().state, State::Whole);
        assert!(holds(folder.path(), 1) || holds(folder.path(), 2));
    });
    assert_eq!(names(folder.path()).len(), 7, "{:?}", names(folder.path()));
}

/// A folder that is written again keeps nothing of the run before but what somebody changed since.
#[test]
fn what_another_run_left_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), 1);
    fs::write(folder.path().join(name(3)), "mine now").unwrap();
    fs::write(folder.path().join("notes.txt"), "mine").unwrap();
    let mut other = RunFolder::begin(folder.path(), settings(2), [folder.path().join(name(4))]).unwrap();
    other.write(&name(0), &bytes(2, 0)).unwrap();
    // Until the run is whole everything is there.
    assert!(holds(folder.path(), 1) || folder.path().join(name(1)).exists());
    other.finish().unwrap();
    let mut left: Vec<String> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    left.sort();
    // The last one is read by the new run.
    assert_eq!(left, ["0.bin", "3.bin", "4.bin", "manifest.json", "notes.txt"]);
}

/// A run is whole while its settings are the same and its files as they were written.
#[test]
fn a_whole_run_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let whole = |seed| RunFolder::whole(folder.path(), &settings(seed)).unwrap().is_some();
    assert!(!whole(1));
    run(folder.path(), 1);
    assert!(whole(1) && !whole(2));
    fs::write(folder.path().join(name(2)), "cut").unwrap();
    assert!(!whole(1));
}
