//! What the program writes: never over what it reads, whole whatever happens to it, and told apart when it is not.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use mmlens::files::{State, look};
use mmlens::finding::Finding;
#[cfg(unix)]
use mmlens_testkit::ReadOnly;
use mmlens_testkit::kill_again_and_again;
use serde_json::json;

use crate::support::{Said, args, command, copy, mmlens, model, picture};

fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            found.insert(PathBuf::from(path.file_name().unwrap()), fs::read(&path).unwrap());
        }
    }
    found
}

fn trace(model: &Path, out: &Path, more: &[&str]) -> Said {
    let fixed = ["trace", model.to_str().unwrap(), "--prompt", "Hi", "--out", out.to_str().unwrap()];
    mmlens(fixed.iter().chain(more))
}

#[test]
fn weights_and_pictures_are_not_written_over() {
    let folder = copy("llava-a");
    let before = contents(folder.path());
    let weights = folder.path().join("model.safetensors");
    let mut ways = vec![weights.clone(), folder.path().join("config.json")];
    #[cfg(unix)]
    {
        let elsewhere = tempfile::tempdir_in(folder.path()).unwrap().keep();
        std::os::unix::fs::symlink(&weights, elsewhere.join("link")).unwrap();
        fs::hard_link(&weights, elsewhere.join("other name")).unwrap();
        ways.extend([elsewhere.join("link"), elsewhere.join("other name")]);
    }
    for way in &ways {
        let said = trace(folder.path(), way, &[]).refused();
        assert!(said.starts_with(&format!("cannot write {}: it is ", way.display())), "{said}");
        assert!(said.ends_with(", which is read here"), "{said}");
    }
    let image = folder.path().join("picture.png");
    fs::copy(picture("square"), &image).unwrap();
    let said = trace(folder.path(), &image, &["--image", image.to_str().unwrap()]).refused();
    assert!(said.ends_with("picture.png, which is read here"), "{said}");
    fs::remove_file(&image).unwrap();
    assert_eq!(contents(folder.path()), before);
    // Any other place is free, also a folder in the model's.
    fs::create_dir(folder.path().join("mine")).unwrap();
    trace(folder.path(), &folder.path().join("mine/trace.out"), &[]).well();
}

/// One rule for all that writes: nothing into the folder of a model, be it a name that is free.
#[test]
fn no_command_writes_into_the_folder_of_a_model() {
    let folder = copy("llava-a");
    let before = contents(folder.path());
    let cases = tempfile::tempdir().unwrap();
    let lines = cases.path().join("c.jsonl");
    fs::write(&lines, json!({ "image": picture("square"), "ask": "Red?" }).to_string()).unwrap();
    let (own, cases) = (folder.path().to_str().unwrap(), lines.to_str().unwrap());
    let texts = ["--texts", cases];
    let ways: [(&str, &[&str]); 7] = [
        ("explain", &["--image", &picture("square"), "--ask", "Red?"]),
        ("explain", &["--cases", cases, "--method", "rollout"]),
        ("explain", &["--cases", cases, "--method", "cka"]),
        ("evaluate", &["--cases", cases, "--method", "rollout"]),
        ("record", &texts),
        ("fit", &["probe", "--cases", cases]),
        ("bench", &["--reader", "jsonl", "--data", cases, "--map", "id=ask,image=image,question=ask"]),
    ];
    let into = format!("cannot write into {own}: it is {own}, which is read here");
    for (command, more) in ways {
        let model: &[&str] = if command == "fit" { &["--model", own] } else { &[own] };
        let fixed: Vec<&str> = [&[command], more, &["--out", own]].concat();
        let said =
            mmlens(args(&fixed[..1]).into_iter().chain(args(&[&fixed[1..], model].concat()))).refused();
        assert_eq!(said, into, "{command} {more:?}");
    }
    let place = folder.path().join("trace.out");
    let said = trace(folder.path(), &place, &[]).refused();
    assert_eq!(said, format!("cannot write {}: it would lie in {own}, which is read here", place.display()));
    assert_eq!(contents(folder.path()), before);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), before.len(), "no folder was made");
}

/// A file where the folder is to be is told at once, with what is there and what should be: before a model is opened.
#[test]
fn a_folder_that_is_a_file_is_told_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    let lines = folder.path().join("c.jsonl");
    fs::write(&lines, json!({ "image": picture("square"), "ask": "Red?" }).to_string()).unwrap();
    let file = lines.to_str().unwrap();
    let one = ["--image", &picture("square"), "--ask", "Red?"].map(str::to_owned);
    let many = ["--cases", file].map(str::to_owned);
    for more in [one.as_slice(), &many] {
        for out in [lines.clone(), lines.join("new")] {
            let fixed = ["explain", &model("llava-a"), "--method", "rollout", "--out", out.to_str().unwrap()];
            let said = mmlens(args(&fixed).into_iter().chain(more.iter().cloned())).refused();
            let expected = "is a file, expected a folder or nothing";
            assert_eq!(said, format!("cannot write into {}: {file} {expected}", out.display()));
        }
    }
    let evaluate = ["evaluate", &model("llava-a"), "--cases", file, "--out", file];
    assert!(mmlens(args(&evaluate)).refused().ends_with("is a file, expected a folder or nothing"));
}

#[test]
fn a_run_does_not_write_into_what_it_reads() {
    let folder = copy("llava-a");
    let before = contents(folder.path());
    let image = folder.path().join("ig.png");
    let explain = |out: &Path, image: &str| {
        let fixed = ["explain", folder.path().to_str().unwrap(), "--ask", "Red?", "--method", "ig"];
        mmlens(fixed.iter().chain(&["--image", image, "--out", out.to_str().unwrap()]))
    };
    let said = explain(folder.path(), &picture("square")).refused();
    assert!(said.starts_with(&format!("cannot write into {}: it is ", folder.path().display())), "{said}");
    let out = tempfile::tempdir().unwrap();
    let own = out.path().join("ig.png");
    fs::copy(picture("square"), &own).unwrap();
    let said = explain(out.path(), own.to_str().unwrap()).refused();
    assert!(said.ends_with("ig.png, which is read here"), "{said}");
    assert_eq!(fs::read(&own).unwrap(), fs::read(picture("square")).unwrap());
    assert_eq!(contents(out.path()).len(), 1, "nothing is left");
    assert!(!image.exists());
    assert_eq!(contents(folder.path()), before);
}

#[cfg(unix)]
#[test]
fn devices_and_pipes_are_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    std::os::unix::fs::symlink("/dev/null", folder.path().join("link")).unwrap();
    for (place, kind) in
        [(PathBuf::from("/dev/null"), "a device"), (pipe, "a pipe"), (folder.path().join("link"), "a device")]
    {
        // Of a model that is not there: the place is refused before anything is opened.
        let said = trace(Path::new(&model("llava-a")), &place, &[]).refused();
        assert_eq!(
            said,
            format!("cannot write {}: it is {kind}, expected a regular file or nothing", place.display())
        );
    }
    use std::os::unix::fs::FileTypeExt;
    assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
}

fn explain(out: &Path) -> Command {
    let mut command = command();
    command.args(args(&["explain", &model("llava-a"), "--image", &picture("square"), "--ask", "Is it red?"]));
    command.args(["--out".as_ref(), out.as_os_str()]);
    command
}

/// Every file of the program in a folder is whole by itself, but for one that says by its name that it was being filled.
fn all_whole(folder: &Path) {
    for (name, bytes) in contents(folder) {
        match name.extension().and_then(|end| end.to_str()) {
            Some("png") => drop(image::load_from_memory(&bytes).unwrap_or_else(|e| panic!("{name:?}: {e}"))),
            Some("safetensors") => {
                drop(Finding::from_bytes(&bytes).unwrap_or_else(|e| panic!("{name:?}: {e}")));
            }
            Some("html") => assert!(bytes.ends_with(b"</html>\n"), "{name:?} is cut"),
            Some("json") => drop(serde_json::from_slice::<serde_json::Value>(&bytes).unwrap()),
            // A kill between filling and renaming; the next run takes the name, and none is left at the end.
            Some("mmlens-partial") => {}
            other => assert_eq!((other, bytes.as_slice()), (Some("txt"), b"mine".as_slice())),
        }
    }
}

#[test]
fn a_run_that_is_killed_again_and_again_ends_with_the_same_bytes() {
    let (whole, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    assert!(explain(whole.path()).output().unwrap().status.success());
    let begun = std::time::Instant::now();
    assert!(explain(whole.path()).output().unwrap().status.success());
    let longest = begun.elapsed().max(Duration::from_millis(50));
    let expected = contents(whole.path());
    let folder = |job: usize| killed.path().join((job / 2).to_string());
    let start = |job| {
        let folder = folder(job);
        // The first run into a folder finds it empty, the second finds what the first wrote.
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("own.txt"), "mine").unwrap();
        explain(&folder)
    };
    let look_at = |job| {
        all_whole(&folder(job));
        let state = look(folder(job)).unwrap();
        let files = contents(&folder(job));
        let as_expected = expected.iter().all(|(name, bytes)| files.get(name) == Some(bytes));
        assert_eq!(state.state == State::Whole, as_expected, "{state:?}");
    };
    let ended = |job: usize| {
        all_whole(&folder(job));
        let mut files = contents(&folder(job));
        assert_eq!(files.remove(Path::new("own.txt")), Some(b"mine".to_vec()));
        assert!(files == expected, "job {job}: {:?}", files.keys());
        assert!(!folder(job).join("mmlens-unfinished").exists());
        assert_eq!(look(folder(job)).unwrap().state, State::Whole);
    };
    kill_again_and_again(longest, start, look_at, ended);
}

/// Two pictures, each explained into a folder of its own.
fn explain_both(pictures: &Path, out: &Path) -> Command {
    let mut command = command();
    command.args(args(&[
        "explain",
        &model("llava-a"),
        "--ask",
        "Is it red?",
        "--method",
        "rollout,occlusion",
    ]));
    command.args(["--cases".as_ref(), pictures.as_os_str(), "--out".as_ref(), out.as_os_str()]);
    command
}

/// What a run over cases found, by case and file: all but what says where it lies and how long it took.
fn found(out: &Path, cases: &[&str]) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for case in cases {
        for (name, bytes) in contents(&out.join(case)) {
            let told = ["explained.json", "manifest.json"].iter().any(|own| name == Path::new(own));
            if !told {
                all.insert(Path::new(case).join(name), bytes);
            }
        }
    }
    all
}

#[test]
fn a_run_over_cases_that_is_killed_again_and_again_ends_with_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (pictures, cases) = (folder.path().join("pictures"), ["square.png", "tall.png", "wide.png"]);
    fs::create_dir(&pictures).unwrap();
    for case in cases {
        fs::copy(picture(case.trim_end_matches(".png")), pictures.join(case)).unwrap();
    }
    let whole = folder.path().join("whole");
    let begun = std::time::Instant::now();
    assert!(explain_both(&pictures, &whole).output().unwrap().status.success());
    // Half of what all of it takes: most jobs are killed more than once.
    let longest = (begun.elapsed() / 2).max(Duration::from_millis(50));
    let expected = found(&whole, &cases);
    assert_eq!(expected.len(), 15, "{:?}", expected.keys());
    let out = |job: usize| folder.path().join(job.to_string());
    let look_at = |job| {
        for case in cases.iter().map(|case| out(job).join(case)).filter(|case| case.is_dir()) {
            all_whole(&case);
            let state = look(&case).unwrap();
            let name = case.file_name().unwrap();
            let mut own = expected.iter().filter(|(file, _)| file.starts_with(name));
            let there =
                own.all(|(file, bytes)| fs::read(out(job).join(file)).is_ok_and(|found| found == *bytes));
            assert!(state.state != State::Whole || there, "{}: {state:?}", case.display());
        }
    };
    let ended = |job: usize| {
        assert!(found(&out(job), &cases) == expected, "job {job}");
        for case in cases {
            let state = look(out(job).join(case)).unwrap();
            assert_eq!((state.state, state.unfinished), (State::Whole, false), "job {job}, {case}");
        }
    };
    kill_again_and_again(longest, |job| explain_both(&pictures, &out(job)), look_at, ended);
}

#[cfg(unix)]
#[test]
fn a_folder_that_may_only_be_read_is_said() {
    let folder = ReadOnly::new();
    for out in [folder.path().to_owned(), folder.path().join("new")] {
        let output = folder.kept_from(explain(&out)).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        let last = said.lines().last().unwrap_or_default();
        assert!(last.contains(&out.display().to_string()) && last.contains("Permission denied"), "{said}");
    }
    assert_eq!(folder.names(), Vec::<PathBuf>::new());
}

#[cfg(unix)]
#[test]
fn a_full_disk_leaves_the_run_before() {
    let folder = tempfile::tempdir().unwrap();
    assert!(explain(folder.path()).output().unwrap().status.success());
    let before = contents(folder.path());
    let run = explain(folder.path());
    let mut limited = Command::new("sh");
    // A page has more than 32 KiB, the finding and its picture have fewer than 16.
    limited.args(["-c", r#"trap '' XFSZ; ulimit -f 32; exec "$0" "$@""#]).arg(run.get_program());
    limited
        .args(run.get_args())
        .args(["--method", "occlusion"])
        .envs(run.get_envs().filter_map(|(k, v)| Some((k, v?))));
    let output = limited.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.starts_with("error: cannot write ")
            && said.contains("report.html")
            && said.contains("File too large"),
        "{said}"
    );
    assert_eq!(contents(folder.path()), before);
    let state = look(folder.path()).unwrap();
    assert_eq!((state.state, state.unfinished), (State::Whole, true));
    // With room, it goes on with what it had.
    let said = explain(folder.path()).args(["--method", "occlusion", "--json"]).output().unwrap();
    let said: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!(said["findings"][0]["kept"], true);
    assert_eq!(look(folder.path()).unwrap().state, State::Whole);
    let trace = folder.path().join("trace.safetensors");
    let mut limited = Command::new("sh");
    limited.args(["-c", r#"trap '' XFSZ; ulimit -f 32; exec "$0" "$@""#]).arg(env!("CARGO_BIN_EXE_mmlens"));
    limited.args([
        "trace",
        &model("llava-a"),
        "--prompt",
        "A long prompt of many words",
        "--read",
        "text.blocks.*.*",
    ]);
    let output = limited.arg("--out").arg(&trace).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.starts_with(&format!("error: cannot write {}: File too large", trace.display())), "{said}");
    assert!(!trace.exists() && !folder.path().join("trace.safetensors.mmlens-partial").exists());
}

#[test]
fn two_runs_do_not_share_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    // It is at work for many seconds; the second is told of it at once.
    let mut first = explain(folder.path());
    first.args(["--method", "ig", "--set", "ig.steps=4096"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut first = first.spawn().unwrap();
    let journal = folder.path().join("mmlens-unfinished/files.jsonl");
    let begun = std::time::Instant::now();
    while fs::read(&journal).unwrap_or_default().is_empty() {
        assert!(first.try_wait().unwrap().is_none(), "it ended before it was looked at");
        assert!(begun.elapsed() < Duration::from_secs(300), "it does not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = explain(folder.path()).output().unwrap();
    let still = first.try_wait().unwrap().is_none();
    first.kill().unwrap();
    first.wait().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(still, "the first ended too soon");
    assert!(
        said.ends_with(&format!("error: {} is being written into by another run\n", folder.path().display())),
        "{said}"
    );
    assert_eq!(output.status.code(), Some(1));
    // What the killed one held is free.
    assert!(explain(folder.path()).output().unwrap().status.success());
    assert_eq!(look(folder.path()).unwrap().state, State::Whole);
}

/// A run goes on with what another left only where configs, tokenizers and templates are what they were.
#[test]
fn a_run_knows_the_files_around_the_weights() {
    let folder = tempfile::tempdir().unwrap();
    let (copied, out) = (copy("llava-a"), folder.path().join("out"));
    let own = copied.path();
    let settings = || {
        let ask = ["--prompt", "Red?", "--method", "logit-lens"];
        let said =
            mmlens(["explain", own.to_str().unwrap(), "--out", out.to_str().unwrap()].iter().chain(&ask));
        said.well();
        let manifest: serde_json::Value =
            serde_json::from_slice(&fs::read(out.join("manifest.json")).unwrap()).unwrap();
        manifest["settings"].clone()
    };
    let before = settings();
    assert_eq!(before, settings());
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        assert_eq!(before["settings of the model"][name].as_str().unwrap().len(), 64, "{name}");
    }
    let config = fs::read_to_string(own.join("config.json")).unwrap();
    fs::write(own.join("config.json"), config.replacen('{', "{ ", 1)).unwrap();
    assert_ne!(before, settings());
}
