//! Two models side by side: which layers of a CLIP lay the same pictures out as which layers of a LLaVA?
//!
//! ```text
//! cargo run --release --example side_by_side [-- --scenes N] [--estimator full]
//! ```

#![allow(clippy::print_stdout, reason = "a program prints")]

mod compare;

use anyhow::{Context, Result};
use clap::Parser;
use mmlens::finding::Finding;
use mmlens::model::cka::{Estimator, RowsOf, Settings};
use mmlens::zoo::shipped;
use mmlens::{core::burn::tensor::Device, engine::Positions};

#[derive(Parser)]
struct Args {
    /// Scenes of the test split.
    #[arg(long, default_value_t = 200)]
    scenes: usize,
    /// The estimate: `full`, `debiased`, or a number of rows for batches of as many.
    #[arg(long, default_value = "debiased")]
    estimator: String,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let estimator = match args.estimator.as_str() {
        "full" => Estimator::Full,
        "debiased" => Estimator::Debiased,
        batch => Estimator::Minibatch { batch: batch.parse().context("--estimator")? },
    };
    let (clip, llava) = (shipped::shapes_clip(&Device::default())?, shipped::shapes(&Device::default())?);
    let scenes = compare::scenes(llava, args.scenes)?;
    let (tower, decoder) = ("vision.blocks.*.resid_post", "text.blocks.*.resid_post");
    let settings = Settings { estimator, ..Settings::default() };
    println!("A row for each scene: towers by the mean of their positions, words by their last position\n");
    show(&compare::compare(&clip, &scenes, &[tower, decoder], &[tower, decoder], settings.clone())?)?;
    println!("\nA row for each patch: towers, and where the decoder shows them\n");
    let patches = Settings { rows: RowsOf::Positions, positions: Positions::Pictures, ..settings };
    show(&compare::compare(&clip, &scenes, &[tower], &[tower, "connector.out", decoder], patches)?)
}

/// The table, that of shuffled rows behind it, and what it may owe to something else.
fn show(finding: &Finding) -> Result<()> {
    let table = finding.table("cka")?;
    let chance = finding.table("shuffled")?;
    let [rows, columns] = table.axes() else { anyhow::bail!("a table of two axes") };
    let name = |axis: &mmlens::finding::Axis, at| axis.label(at).unwrap_or_default();
    for row in 0..rows.len() {
        for column in 0..columns.len() {
            let (own, other) = (table.get(&[row, column]), chance.get(&[row, column]));
            let (own, other) = (own.context("a value")?, other.context("a value")?);
            println!("{:28} {:28} {own:6.3} ({other:.3})", name(rows, row), name(columns, column));
        }
    }
    finding.cautions().iter().for_each(|caution| println!("  {caution}"));
    Ok(())
}
