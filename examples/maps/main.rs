//! Where eight methods find one answer in the picture, beside a map that is the same everywhere.
//!
//! ```text
//! cargo run --release --example maps [-- --out FOLDER]
//! ```

#![allow(clippy::print_stdout, reason = "a program prints")]

mod tour;

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use mmlens::core::burn::tensor::Device;
use mmlens::zoo::shipped;

#[derive(Parser)]
struct Args {
    /// Where the picture goes; none is drawn without it.
    #[arg(long)]
    out: Option<PathBuf>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let (subject, asked) = (shipped::shapes(&Device::default())?, tour::first()?);
    println!("{} ({})\n", asked.question, asked.answer);
    println!("share of the map on the object\n  {:10} {:.3}", "evenly", asked.even());
    let mut all = Vec::new();
    for (method, settings) in tour::methods() {
        let map = asked.map(&subject, method, settings)?;
        println!("  {:10} {:.3}", map.method, map.inside);
        map.cautions.iter().for_each(|caution| println!("             {caution}"));
        all.push(map);
    }
    if let Some(out) = args.out {
        std::fs::create_dir_all(&out)?;
        mmlens::files::write(out.join("maps.png"), asked.drawn(&all)?)?;
    }
    Ok(())
}
