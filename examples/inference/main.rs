//! Decoders and confidences of `shapes-llava` on questions whose answers are known.
//!
//! ```text
//! cargo run --release --example inference [-- --cases 60]
//! ```

#![allow(clippy::print_stdout, reason = "a program prints")]

mod tour;

use anyhow::Result;
use clap::Parser;
use mmlens::core::burn::tensor::Device;
use mmlens::data::shapes::Kind;
use mmlens::zoo::shipped;

use tour::Tour;

#[derive(Parser)]
struct Args {
    /// Questions of each kind.
    #[arg(long, default_value_t = 60)]
    cases: usize,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let subject = shipped::shapes(&Device::default())?;
    for kind in [Kind::Colour, Kind::Count, Kind::Existence] {
        let tour = Tour::new(kind, args.cases);
        println!("\n{kind}, {} questions: share of right answers", tour.cases());
        for (name, right) in tour.decoders(&subject)? {
            println!("  {name:42} {right:.3}");
        }
        let (found, meanings) = (tour.calibration(&subject)?, tour.meanings(&subject)?);
        for table in ["accuracy", "mean confidence", "calibration error", "brier score", "auroc"] {
            if let Some(values) = found.find(table).and_then(|table| table.as_numbers()) {
                println!("  {table:18} {values:.3?}");
            }
        }
        println!("  AUROC of minus the semantic entropy {meanings:.3?}");
        found.cautions().iter().for_each(|caution| println!("  {caution}"));
    }
    Ok(())
}
