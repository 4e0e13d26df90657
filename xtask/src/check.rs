//! The steps of `cargo xtask check`, and running them.
//!
//! Cargo is called from the root, without `-p` and in the profile of the tests throughout: one set of features, so that Burn is built
//! once for clippy and the docs, and once for the tests, with every device or with the CPU alone. Only this package, which knows no
//! Burn, is named by itself.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{arrows, methods, models, mutate, nan, prose, words, writes};

/// One thing to check.
pub(crate) struct Step {
    /// What it is called on the command line.
    pub(crate) name: &'static str,
    /// What it asserts.
    pub(crate) about: &'static str,
    run: fn(&Tree) -> Outcome,
}

/// What is checked.
pub(crate) struct Tree {
    /// The root of the workspace.
    pub(crate) root: PathBuf,
    /// Whether tests run in a build with every device, on each.
    pub(crate) devices: bool,
}

/// Features of a build with every device.
pub(crate) const DEVICES: &str = "mmlens-cli/ndarray,mmlens-cli/wgpu,mmlens-cli/remote-server";

enum Outcome {
    Passed(String),
    Skipped(String),
    Failed(String),
}

/// Every step, cheapest first.
pub(crate) const STEPS: &[Step] = &[
    Step { name: "fmt", about: "the code is formatted", run: fmt },
    Step { name: "arrows", about: "crates use only what lies below them", run: arrows },
    Step {
        name: "methods",
        about: "every method is a row of METHODS, with its page, and an oracle or a reason",
        run: methods,
    },
    Step {
        name: "mutations",
        about: "every planted mistake has its place, every method two of its own",
        run: mutations,
    },
    Step { name: "models", about: "docs/models.md tells of every fixture", run: models },
    Step { name: "nan", about: "no search for the largest passes NaN by", run: nan },
    Step { name: "prose", about: "links lead somewhere; the README says how tests are run", run: prose },
    Step { name: "words", about: "names are words that people search for", run: words },
    Step { name: "writes", about: "files are read and written through mmlens-files alone", run: writes },
    Step { name: "locks", about: "every lock file knows every crate", run: locks },
    Step { name: "deny", about: "licences, sources, advisories (where cargo-deny is installed)", run: deny },
    Step { name: "clippy", about: "clippy is silent on all targets", run: clippy },
    Step { name: "doc", about: "the docs build without a warning", run: doc },
    Step { name: "test", about: "all tests pass, doc tests and examples with them", run: test },
];

/// The steps named, in the order they run in; all of them if none is named.
pub(crate) fn choose(names: &[&str]) -> Result<Vec<&'static Step>, String> {
    if let Some(unknown) = names.iter().find(|name| STEPS.iter().all(|step| step.name != **name)) {
        let known: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
        return Err(format!("`{unknown}` is no step; steps are {}", known.join(", ")));
    }
    Ok(STEPS.iter().filter(|step| names.is_empty() || names.contains(&step.name)).collect())
}

/// Runs steps, says how each went and how long it took, and whether none failed.
pub(crate) fn run(tree: &Tree, steps: &[&Step], keep_going: bool) -> bool {
    let started = Instant::now();
    let mut table = Vec::new();
    let mut failed = false;
    for step in steps {
        if failed && !keep_going {
            table.push((step.name, "not run".to_owned(), String::new()));
            continue;
        }
        println!("\n== {}: {}", step.name, step.about);
        let begun = Instant::now();
        let (verdict, remark) = match (step.run)(tree) {
            Outcome::Passed(remark) => ("ok", remark),
            Outcome::Skipped(why) => ("skipped", why),
            Outcome::Failed(why) => {
                failed = true;
                ("FAILED", why)
            }
        };
        if !remark.is_empty() {
            println!("{remark}");
        }
        let verdict = if verdict == "skipped" { format!("skipped: {remark}") } else { verdict.to_owned() };
        table.push((step.name, verdict, duration(begun.elapsed())));
    }
    println!("\n== in all");
    for (name, verdict, time) in table {
        println!("{name:8} {time:>12}  {verdict}");
    }
    println!("{:9} {:>12}  {}", "total", duration(started.elapsed()), if failed { "FAILED" } else { "ok" });
    !failed
}

/// `3.2 s`, `12 min 08 s`.
fn duration(time: Duration) -> String {
    let whole = time.as_secs();
    if whole < 60 {
        format!("{:.1} s", time.as_secs_f64())
    } else {
        format!("{} min {:02} s", whole / 60, whole % 60)
    }
}

fn fmt(tree: &Tree) -> Outcome {
    cargo(&tree.root, "fmt --all --check", &[])
}

fn arrows(tree: &Tree) -> Outcome {
    let said =
        metadata(&tree.root).and_then(|metadata| Ok((arrows::faults(&metadata)?, arrows::count(&metadata)?)));
    match said {
        Ok((faults, (packages, arrows))) => {
            verdict(&faults, format!("{arrows} arrows between {packages} packages"))
        }
        Err(fault) => Outcome::Failed(fault),
    }
}

fn methods(tree: &Tree) -> Outcome {
    match methods::faults(&tree.root) {
        Ok((faults, count)) => verdict(&faults, format!("{count} methods")),
        Err(fault) => Outcome::Failed(fault),
    }
}

fn mutations(tree: &Tree) -> Outcome {
    match mutate::faults(&tree.root) {
        Ok((faults, count)) => verdict(&faults, format!("{count} mistakes")),
        Err(fault) => Outcome::Failed(fault),
    }
}

fn models(tree: &Tree) -> Outcome {
    match models::faults(&tree.root) {
        Ok((faults, count)) => verdict(&faults, format!("{count} families")),
        Err(fault) => Outcome::Failed(fault),
    }
}

fn nan(tree: &Tree) -> Outcome {
    match nan::faults(&tree.root) {
        Ok((faults, count)) => verdict(&faults, format!("{count} files")),
        Err(fault) => Outcome::Failed(fault),
    }
}

fn prose(tree: &Tree) -> Outcome {
    match prose::faults(&tree.root) {
        Ok((faults, count)) => verdict(&faults, format!("{count} documents")),
        Err(fault) => Outcome::Failed(fault),
    }
}

fn words(tree: &Tree) -> Outcome {
    match words::faults(&tree.root) {
        Ok((faults, count)) => verdict(&faults, format!("{count} files of source")),
        Err(fault) => Outcome::Failed(fault),
    }
}

fn writes(tree: &Tree) -> Outcome {
    match writes::faults(&tree.root) {
        Ok((faults, count)) => verdict(&faults, format!("{count} files of source")),
        Err(fault) => Outcome::Failed(fault),
    }
}

/// A crate that is added changes the lock file of the program outside, too.
fn locks(tree: &Tree) -> Outcome {
    let locked = |manifest: &str| {
        let words = ["metadata", "--locked", "--format-version", "1", "--manifest-path", manifest];
        let output = command().args(words).current_dir(&tree.root).output();
        match output {
            Ok(output) if output.status.success() => None,
            Ok(output) => Some(format!("{manifest}: {}", String::from_utf8_lossy(&output.stderr).trim())),
            Err(fault) => Some(format!("cargo metadata: {fault}")),
        }
    };
    let faults: Vec<String> = LOCKED.iter().filter_map(|manifest| locked(manifest)).collect();
    verdict(&faults, format!("{} lock files", LOCKED.len()))
}

/// What has a lock file.
const LOCKED: [&str; 2] = ["Cargo.toml", "outside/Cargo.toml"];

fn deny(tree: &Tree) -> Outcome {
    let installed = command().args(["deny", "--version"]).output().is_ok_and(|o| o.status.success());
    if !installed {
        return Outcome::Skipped(
            "cargo-deny is not installed (`cargo install --locked cargo-deny`)".to_owned(),
        );
    }
    let own = cargo(&tree.root, "deny check --hide-inclusion-graph bans licenses sources", &[]);
    own.then(|| {
        // What is known to be unsafe is a list elsewhere, which a machine may not reach.
        let list = Command::new("git").args(["ls-remote", "--exit-code", ADVISORIES, "HEAD"]).output();
        match list.is_ok_and(|list| list.status.success()) {
            true => cargo(&tree.root, "deny check --hide-inclusion-graph advisories", &[]),
            false => Outcome::Passed(format!("without advisories: {ADVISORIES} is out of reach")),
        }
    })
}

const ADVISORIES: &str = "https://github.com/RustSec/advisory-db";

fn clippy(tree: &Tree) -> Outcome {
    let all = cargo(&tree.root, "clippy --locked --all-targets -- -D warnings", &[]);
    all.then(|| cargo(&tree.root, "clippy --locked --package xtask --all-targets -- -D warnings", &[]))
}

fn doc(tree: &Tree) -> Outcome {
    cargo(&tree.root, "doc --locked --no-deps", &[("RUSTDOCFLAGS", "-D warnings")])
}

fn test(tree: &Tree) -> Outcome {
    let command = prose::TEST_COMMAND.trim_start_matches("cargo ");
    let all = match tree.devices {
        false => cargo(&tree.root, command, &[]),
        // Burn's own choice would be a GPU as soon as the build has one: tests that name no device mean the CPU.
        true => cargo(&tree.root, &format!("{command} --features {DEVICES}"), &[("BURN_DEVICE", "flex")]),
    };
    all.then(|| cargo(&tree.root, "test --release --package xtask", &[]))
}

impl Outcome {
    /// The next outcome, if this one let it come to that.
    fn then(self, next: impl FnOnce() -> Self) -> Self {
        if matches!(self, Self::Passed(_)) { next() } else { self }
    }
}

fn verdict(faults: &[String], passed: String) -> Outcome {
    if faults.is_empty() { Outcome::Passed(passed) } else { Outcome::Failed(faults.join("\n")) }
}

/// Cargo, as it is called from a shell: without what `cargo xtask` says of this package, which some build scripts look at, and with which
/// they, and Burn above them, would be built again.
pub(crate) fn command() -> Command {
    let mut command = Command::new(program());
    let own = |name: &std::ffi::OsStr| {
        let name = name.to_string_lossy();
        name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
    };
    for (name, _) in std::env::vars_os().filter(|(name, _)| own(name)) {
        command.env_remove(name);
    }
    command
}

/// Cargo, as it was called.
fn program() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Runs cargo in the root, showing the command and what it prints.
fn cargo(root: &Path, arguments: &str, variables: &[(&str, &str)]) -> Outcome {
    let shown: String = variables.iter().map(|(name, value)| format!("{name}='{value}' ")).collect();
    println!("$ {shown}cargo {arguments}");
    let mut command = self::command();
    command.args(arguments.split(' ')).envs(variables.iter().copied()).current_dir(root);
    match command.status() {
        Ok(status) if status.success() => Outcome::Passed(String::new()),
        Ok(status) => Outcome::Failed(format!("cargo {arguments}: {status}")),
        Err(fault) => Outcome::Failed(format!("cargo {arguments}: {fault}")),
    }
}

/// What cargo says of the workspace.
pub(crate) fn metadata(root: &Path) -> Result<Value, String> {
    let mut command = self::command();
    command.args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(root);
    let output = command.output().map_err(|e| format!("cargo metadata: {e}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|e| format!("cargo metadata: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_run_in_their_own_order() {
        let names =
            |asked: &[&str]| -> Vec<&str> { choose(asked).unwrap().iter().map(|step| step.name).collect() };
        assert_eq!(names(&["clippy", "fmt"]), ["fmt", "clippy"]);
        assert_eq!(names(&[]).len(), STEPS.len());
        let unknown = choose(&["lint"]).err().unwrap();
        assert_eq!(
            unknown,
            "`lint` is no step; steps are fmt, arrows, methods, mutations, models, nan, prose, words, writes, locks, deny, clippy, doc, test"
        );
    }

    #[test]
    fn a_failure_ends_it_unless_told_otherwise() {
        let passed = Step { name: "a", about: "", run: |_| Outcome::Passed(String::new()) };
        let failed = Step { name: "b", about: "", run: |_| Outcome::Failed("no".to_owned()) };
        let never = Step { name: "c", about: "", run: |_| unreachable!("a step after a failure") };
        let skipped = Step { name: "d", about: "", run: |_| Outcome::Skipped("why".to_owned()) };
        let here = &Tree { root: PathBuf::from("."), devices: false };
        assert!(run(here, &[&passed, &skipped], false));
        assert!(!run(here, &[&passed, &failed, &never], false));
        assert!(!run(here, &[&failed, &passed], true));
    }

    #[test]
    fn times_are_easy_to_read() {
        assert_eq!(duration(Duration::from_millis(1250)), "1.2 s");
        assert_eq!(duration(Duration::from_secs(728)), "12 min 08 s");
    }
}
