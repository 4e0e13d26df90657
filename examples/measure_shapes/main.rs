//! Measures the shipped models on pictures they never saw: how often the one answers exactly right, and how often the other finds the true caption.
//!
//! ```text
//! cargo run --release --example measure_shapes [-- --model FOLDER] [--clip FOLDER] [--scenes N] [--compared N]
//! ```
//!
//! Prints the tables quoted in `docs/shapes.md`.

#![allow(clippy::print_stdout, reason = "a program prints")]

mod answers;
mod captions;

use std::path::PathBuf;

use anyhow::Result;
use burn::tensor::Device;
use clap::Parser;
use mmlens::data::shapes::World;
use mmlens::zoo::clip::open_clip;
use mmlens::zoo::llava::open_llava;
use mmlens::zoo::shipped;

#[derive(Parser)]
struct Args {
    /// The folder of a LLaVA; the shipped one, if none is given.
    #[arg(long)]
    model: Option<PathBuf>,
    /// The folder of a dual encoder; the shipped one, if none is given.
    #[arg(long)]
    clip: Option<PathBuf>,
    /// Scenes of the test split, each with questions of all kinds it allows.
    #[arg(long, default_value_t = 1000)]
    scenes: u64,
    /// Scenes of the test split that are compared with captions.
    #[arg(long, default_value_t = 1000)]
    compared: u64,
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
    if args.compared > 0 {
        let encoder = match &args.clip {
            Some(folder) => open_clip(folder, &device)?,
            None => shipped::shapes_clip(&device)?,
        };
        captions::measure(&encoder, &world, args.compared)?;
    }
    Ok(())
}
