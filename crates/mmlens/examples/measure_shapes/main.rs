//! Measures the shipped model on pictures it never saw: how often it answers exactly right, and how much of an
//! explanation lies on the object that is the evidence.
//!
//! ```text
//! cargo run --release --example measure_shapes [-- --model FOLDER] [--scenes N] [--explained N]
//! ```
//!
//! Prints the tables quoted in `docs/shapes.md`.

#![allow(clippy::print_stdout, reason = "a program prints")]

mod answers;
mod evidence;

use std::path::PathBuf;

use anyhow::Result;
use burn::tensor::Device;
use clap::Parser;
use mmlens::data::shapes::World;
use mmlens::zoo::llava::open_llava;
use mmlens::zoo::shipped;

#[derive(Parser)]
struct Args {
    /// A checkpoint folder; the shipped model, if none is given.
    #[arg(long)]
    model: Option<PathBuf>,
    /// Scenes of the test split, each with questions of all kinds it allows.
    #[arg(long, default_value_t = 1000)]
    scenes: u64,
    /// Questions about one object that are explained.
    #[arg(long, default_value_t = 200)]
    explained: usize,
    /// The world the scenes come from.
    #[arg(long, default_value_t = 7)]
    seed: u64,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let device = Device::flex();
    let subject = match &args.model {
        Some(folder) => open_llava(folder, &device)?,
        None => shipped::shapes(&device)?,
    };
    let world = World::new(args.seed);
    if args.scenes > 0 {
        answers::measure(&subject, &world, args.scenes)?;
    }
    if args.explained > 0 {
        evidence::measure(&subject, &world, args.explained)?;
    }
    Ok(())
}
