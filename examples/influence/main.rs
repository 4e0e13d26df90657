//! Influence of training cases against its truth: a linear head on states of `shapes-clip`, trained again without them.
//!
//! ```text
//! cargo run --release --example influence [-- --whole]
//! ```
//!
//! Prints the table of docs/training.md; without `--whole` a small one.

#![allow(clippy::print_stdout, reason = "a program prints")]

mod agree;
mod truth;

use std::sync::Arc;

use anyhow::Result;
use clap::Parser;
use mmlens::core::burn::tensor::Device;
use mmlens::prelude::*;
use mmlens::zoo::shipped;

use agree::Told;
use truth::{Size, Trained};

#[derive(Parser)]
struct Args {
    /// The whole table: minutes instead of seconds.
    #[arg(long)]
    whole: bool,
}

fn main() -> Result<()> {
    let size = if Args::parse().whole { Size::WHOLE } else { Size::SMALL };
    let inner: Arc<dyn Subject> = Arc::new(shipped::shapes_clip(&Device::default())?);
    let mut told = Told::default();
    for seed in 1..=size.seeds {
        let trained = Trained::new(&inner, size, Seed(seed))?;
        println!("seed {seed}: {}", trained.told()?);
        told.add(&trained)?;
    }
    println!("\n{}", told.table());
    Ok(())
}
