//! Opens a checkpoint and says how long that took and how much memory: for `benches/peers/loading.py`.
//!
//! ```text
//! cargo run --release --example load -- FOLDER [--no-self-check]
//! ```
//!
//! Prints seconds, zero (nothing is imported), the peak of all pages in memory in MiB, and that before opening.

#![allow(clippy::print_stdout, reason = "a program prints")]

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use mmlens::zoo::OpenOptions;

#[derive(Parser)]
struct Args {
    /// A Hugging Face folder.
    folder: PathBuf,
    /// Does not look the model over.
    #[arg(long)]
    no_self_check: bool,
}

/// The most memory this process had at one time, in MiB, as Linux counts it.
fn peak() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status").context("memory is measured on Linux alone")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kib / 1024.0)
}

fn main() -> Result<()> {
    let args = Args::parse();
    let (before, begin) = (peak()?, Instant::now());
    let subject = OpenOptions::new(&Default::default()).self_check(!args.no_self_check).open(&args.folder)?;
    let seconds = begin.elapsed().as_secs_f64();
    println!("{seconds} 0 {} {before}", peak()?);
    drop(subject);
    Ok(())
}
