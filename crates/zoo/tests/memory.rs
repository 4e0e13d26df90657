//! Memory while a checkpoint is opened, measured in a process of its own.
#![cfg(test)]
#![cfg(target_os = "linux")]

use std::process::Command;

use burn::tensor::Device;
use mmlens_zoo::checkpoint::{SaveSettings, StoredFloat};

#[path = "support/llama.rs"]
mod llama;

use llama::Llama;

const FOLDER: &str = "MMLENS_TEST_FOLDER";
const RISE: &str = "it rose by ";

/// The most memory this process had at one time, mapped files included.
fn peak() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0
}

/// What is run in a process of its own, by the test below; nothing by itself.
#[test]
fn opens_and_says_its_peak() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let before = peak();
    let subject = mmlens_zoo::open(folder, &Device::flex()).unwrap();
    println!("{RISE}{} bytes for {}", peak() - before, subject.name());
}

/// Widened to f32, with the self-check: the weights in f32 and 25 % at most, which is the self-check's pass and the pages of the program that it is
/// the first to touch (more of them in a build that is optimised less). Held twice they would be half as much again.
#[test]
fn bf16_weights_are_never_held_twice() {
    let folder = tempfile::tempdir().unwrap();
    // 50 million weights.
    let size = Llama { width: 512, neurons: 2048, layers: 12, heads: 8 };
    let weights = size.write(folder.path(), &SaveSettings::new().dtype(StoredFloat::Bf16));
    let said = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "opens_and_says_its_peak", "--nocapture", "--test-threads", "1"])
        .env(FOLDER, folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    let words = said.split_once(RISE).and_then(|(_, rest)| rest.split(' ').next()?.parse::<f64>().ok());
    let rise = words.unwrap_or_else(|| panic!("{said}"));
    assert!(rise > 0.9 * weights, "the weights are not in memory: {rise} of {weights} bytes");
    assert!(rise < 1.25 * weights, "{rise} bytes at most, for {weights} of weights");
}
