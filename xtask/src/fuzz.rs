//! `cargo xtask fuzz`: the targets of `crates/fuzz`, under its own driver or under libFuzzer.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::check::{DEVICES, command, metadata};

/// What has LLVM count the edges that are taken, as libFuzzer wants it. A stable compiler will do.
const INSTRUMENTED: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Runs what the words ask for; whether nothing went wrong.
pub(crate) fn run(root: &Path, words: &[&str]) -> Result<bool, String> {
    match words {
        ["--coverage", target] => coverage(root, target, "600"),
        ["--coverage", target, seconds] => coverage(root, target, seconds),
        _ => {
            let (devices, words): (Vec<&str>, Vec<&str>) =
                words.iter().partition(|word| **word == "--devices");
            let mut run = match devices.is_empty() {
                true => {
                    let run = ["run", "--quiet", "--release", "--locked", "--bin", "fuzz", "--"];
                    let mut cargo = command();
                    cargo.args(run);
                    cargo
                }
                false => Command::new(tested(root)?),
            };
            run.current_dir(root).arg("run").args(words);
            status(&mut run)
        }
    }
}

/// The driver in the build that `check --devices` leaves. It is asked for beside the tests, so that dependencies have the features that they have there.
fn tested(root: &Path) -> Result<PathBuf, String> {
    let build = ["build", "--quiet", "--locked", "--features", DEVICES, "--bin", "fuzz", "--tests"];
    if !status(command().current_dir(root).args(build))? {
        return Err("the driver could not be built".to_owned());
    }
    let metadata = metadata(root)?;
    let target = metadata.get("target_directory").and_then(Value::as_str).unwrap_or("target");
    Ok(root.join(target).join("debug/fuzz"))
}

fn coverage(root: &Path, target: &str, seconds: &str) -> Result<bool, String> {
    let folder = root.join("target/fuzz").join(target);
    let corpus = folder.join("corpus");
    let seeds = ["run", "--quiet", "--release", "--locked", "--bin", "fuzz", "--", "seeds", target];
    if !status(command().current_dir(root).args(seeds).arg(&corpus))? {
        return Ok(false);
    }
    let [patience, memory, input] = limits(root, target)?;
    let build =
        ["--release", "--locked", "--target-dir", "target/libfuzzer", "--features", "mmlens-fuzz/libfuzzer"];
    let run = command()
        .current_dir(root)
        .arg("run")
        .args(build)
        .args(["--bin", "libfuzzer", "--"])
        .arg(&corpus)
        .arg(format!("-artifact_prefix={}/", folder.display()))
        .args([
            &format!("-max_total_time={seconds}"),
            &format!("-timeout={patience}"),
            &format!("-rss_limit_mb={}", memory >> 20),
            // A byte that chooses stands before the input.
            &format!("-max_len={}", input + 1),
        ])
        .env("RUSTFLAGS", INSTRUMENTED)
        .env("MMLENS_FUZZ_TARGET", target)
        .env("RAYON_NUM_THREADS", "1")
        .status();
    run.map(|status| status.success()).map_err(|error| format!("cargo: {error}"))
}

/// What a case of a target may take: seconds, bytes of memory, bytes of input.
fn limits(root: &Path, target: &str) -> Result<[u64; 3], String> {
    let ask = ["run", "--quiet", "--release", "--locked", "--bin", "fuzz", "--", "limits", target];
    let output = command().current_dir(root).args(ask).output().map_err(|error| format!("cargo: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let numbers: Vec<u64> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    numbers
        .try_into()
        .map_err(|_| format!("the limits of `{target}` are `{}`, expected three numbers", said.trim()))
}

fn status(command: &mut Command) -> Result<bool, String> {
    command.status().map(|status| status.success()).map_err(|error| format!("cargo: {error}"))
}
