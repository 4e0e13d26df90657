//! A benchmark of one's own: does the built-in LLaVA see what is there, and nothing else?
//!
//! ```text
//! cargo run --release --example benchmark [-- --scenes N] [--out FOLDER]
//! ```

#![allow(clippy::print_stdout, reason = "a program prints")]

mod polls;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use mmlens::core::burn::tensor::Device;
use mmlens::zoo::shipped;

#[derive(Parser)]
struct Args {
    /// Scenes of the test split.
    #[arg(long, default_value_t = 40)]
    scenes: u64,
    /// Where pictures, questions and scores go.
    #[arg(long, default_value = "polls")]
    out: PathBuf,
}

fn main() -> Result<()> {
    let args = Args::parse();
    std::fs::create_dir_all(&args.out).with_context(|| args.out.display().to_string())?;
    let data = polls::poll(&args.out, args.scenes)?;
    let scored = polls::answer(&shipped::shapes(&Device::default())?, &data, &args.out.join("run"), &[])?;
    println!("{} questions", scored.answered);
    for row in &scored.rows {
        let whole = row.parts.first().context("a row without scores")?;
        let figures: Vec<String> = whole
            .figures
            .iter()
            .map(|figure| match (figure.value, figure.interval) {
                (Some(value), Some([low, high])) => {
                    format!("{} {value:.3} [{low:.3}, {high:.3}]", figure.name)
                }
                _ => format!("{} -", figure.name),
            })
            .collect();
        println!("{:16} {}", row.by, figures.join("  "));
    }
    scored.cautions.iter().for_each(|caution| println!("  {}", caution.text));
    Ok(())
}
