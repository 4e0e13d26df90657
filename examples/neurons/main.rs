//! Neurons: what they mark, what makes them fire, what they tell apart, and whether the model needs them.
//!
//! ```text
//! cargo run --release --example neurons [-- --scenes N] [--out page.html] [--pictures FOLDER]
//! ```

#![allow(clippy::print_stdout, reason = "a program prints")]

mod look;

use anyhow::{Context, Result};
use clap::Parser;
use mmlens::core::burn::tensor::Device;
use mmlens::finding::{Finding, fixed};
use mmlens::report::Page;
use mmlens::zoo::shipped;

#[derive(Parser)]
struct Args {
    /// Scenes of the test split.
    #[arg(long, default_value_t = 24)]
    scenes: usize,
    /// A page with all findings.
    #[arg(long)]
    out: Option<std::path::PathBuf>,
    /// Where the picture of crops goes; none is drawn without it.
    #[arg(long)]
    pictures: Option<std::path::PathBuf>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let subject = shipped::shapes(&Device::default())?;
    let findings = look::look(&subject, args.scenes)?;
    let [marks, fires, tells, needs] = findings.as_slice() else { anyhow::bail!("four findings") };
    println!("Detectors in the tower ({} by chance):", scalar(marks, "shuffled mean")?);
    let detectors = marks.table("detectors")?;
    for at in 0..detectors.len() {
        let count = detectors.get(&[at]).context("a value")?;
        if count > 0.0 {
            println!("  {:24} {count}", detectors.axes()[0].label(at).unwrap_or_default());
        }
    }
    let crops = fires.table("crops")?;
    let names: Vec<String> = (0..crops.axes()[0].len()).filter_map(|at| crops.axes()[0].label(at)).collect();
    println!("Neurons that stand out most: {}", names.join(", "));
    println!(
        "Neurons that tell red: {} ({} by chance)",
        scalar(tells, "found")?,
        scalar(tells, "shuffled mean")?
    );
    println!("  {}", tells.table("neurons")?.as_texts().unwrap_or_default().join(" "));
    let change = needs.table("mean change")?.as_numbers().unwrap_or_default();
    let change: Vec<String> = change.iter().map(|change| fixed(*change, 3)).collect();
    println!(
        "Without them answers change by {}, without random groups by {}, p {}",
        change.first().context("a change")?,
        change.get(1).context("a change")?,
        scalar(needs, "p")?
    );
    for finding in &findings {
        finding.cautions().iter().for_each(|caution| println!("  {}: {caution}", finding.provenance.method));
    }
    if let Some(folder) = args.pictures {
        std::fs::create_dir_all(&folder)?;
        mmlens::files::write(folder.join("neuron-crops.png"), look::crops(fires)?)?;
    }
    if let Some(path) = args.out {
        Page { title: "Neurons".into(), findings, ..Page::default() }.save(&path)?;
    }
    Ok(())
}

fn scalar(finding: &Finding, table: &str) -> Result<f32> {
    finding.table(table)?.as_scalar().context("one number")
}
