//! What decoders and steering make of models that hallucinate, on polls and descriptions with exact truth.
//!
//! ```text
//! cargo run --release --example hallucination -- --model runs/careless-1 --model runs/careless-2 --model runs/careless-3 [--scenes 60]
//! ```
//!
//! Models are made by `train_careless`. Without any the shipped model is asked, which sees what is there.

#![allow(clippy::print_stdout, reason = "a program prints")]

mod polled;

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use mmlens::core::burn::tensor::Device;
use mmlens::prelude::*;
use mmlens::zoo::shipped;

use polled::{Polls, Told, fitted, sweep, ways};

const SWEEP: &str = "| strength | direction | share of yes, adversarial | accuracy, adversarial | accuracy, random | other questions right |\n|---|---|---|---|---|---|";

#[derive(Parser)]
struct Args {
    /// Checkpoint folders of models of one kind, trained from different seeds.
    #[arg(long)]
    model: Vec<PathBuf>,
    /// Scenes of the test split with at least three things.
    #[arg(long, default_value_t = 60)]
    scenes: usize,
    /// Leaves the decoders out, and tells the sweep over strengths alone.
    #[arg(long)]
    sweep: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let device = Device::default();
    let mut models: Vec<Box<dyn Subject>> = Vec::new();
    for folder in &args.model {
        models.push(Box::new(mmlens::zoo::open(folder, &device)?));
    }
    if models.is_empty() {
        models.push(Box::new(shipped::shapes(&device)?));
    }
    let asked = Polls::new(args.scenes);
    if !args.sweep {
        println!("{}", Told::HEAD);
        for row in ways() {
            let mut told = Told::new(row.name);
            for (seed, model) in models.iter().enumerate() {
                told.add(&asked, model.as_ref(), &row, seed)?;
            }
            println!("{}", told.line()?);
        }
    }
    println!("\n{SWEEP}");
    let directions: Vec<_> = models.iter().map(|model| fitted(model.as_ref())).collect::<Result<_>>()?;
    for line in sweep(&asked, &models, &directions)? {
        println!("{line}");
    }
    Ok(())
}
