//! What the tokens of one picture hold, and which of them the answer needs.
//!
//! ```text
//! cargo run --release --example tokens [-- --out FOLDER]
//! ```

#![allow(clippy::print_stdout, reason = "a program prints")]

mod tour;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use mmlens::core::burn::tensor::Device;
use mmlens::finding::{Finding, fixed};
use mmlens::model::token_ablation::Replace;
use mmlens::zoo::shipped;

#[derive(Parser)]
struct Args {
    /// Where pictures go; none are drawn without it.
    #[arg(long)]
    out: Option<PathBuf>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let (subject, tour) = (shipped::shapes(&Device::default())?, tour::first()?);
    println!("{} ({})\n", tour.question, tour.answer);
    let sinks = tour.sinks(&subject)?;
    println!("Positions by kind and layer, and the share of attention that lies on them (evenly)");
    let [kinds, layers] = sinks.table("count")?.shape()[..] else { anyhow::bail!("a table of two axes") };
    for kind in 0..kinds {
        let name =
            sinks.table("count")?.axes().first().and_then(|axis| axis.label(kind)).context("a kind")?;
        let cells = (0..layers).map(|layer| {
            let at = |table: &str| sinks.table(table)?.get(&[kind, layer]).context("a value");
            let shares = [at("held")?, at("held evenly")?].map(|share| fixed(share, 2));
            Ok(format!("{} {} ({})", at("count")?, shares[0], shares[1]))
        });
        println!("  {name:20} {}", cells.collect::<Result<Vec<_>>>()?.join("   "));
    }
    cautions(&sinks);
    for replace in [Replace::Mean, Replace::Cut] {
        let found = tour.ablation(&subject, replace)?;
        println!("\nWithout ({replace:?}): change of the objective, random sets like it, p");
        let table = found.table("change")?;
        for set in 0..table.shape().first().copied().unwrap_or(0) {
            let name = table.axes().first().and_then(|axis| axis.label(set)).context("a set")?;
            let at = |table: &str| found.table(table)?.get(&[set]).context("a value");
            let number = |table: &str| Ok::<_, anyhow::Error>(fixed(at(table)?, 2));
            let (change, mean, deviation) =
                (number("change")?, number("control mean")?, number("control deviation")?);
            println!("  {name:14} {change:>7}   {mean:>6} ± {deviation:>4}   {}", number("p")?);
        }
        cautions(&found);
    }
    for (title, found) in
        [("Nearest words", tour.words(&subject)?), ("Words in context", tour.contexts(&subject, 40)?)]
    {
        println!(
            "\n{title}, by depth: share nearer than random vectors, and the nearest of the first patches"
        );
        let table = found.table("words")?;
        let texts = if title == "Nearest words" { table } else { found.table("contexts")? };
        for layer in 0..table.shape().first().copied().unwrap_or(0) {
            let share = found.table("beyond random")?.get(&[layer]).context("a share")?;
            let first: Vec<&str> = (0..4).filter_map(|patch| texts.get_text(&[layer, patch, 0])).collect();
            println!("  {layer}  {share:.2}  {}", first.join(" | "));
        }
        cautions(&found);
    }
    if let Some(out) = args.out {
        std::fs::create_dir_all(&out)?;
        let drawn = [
            ("token-maps.png", tour.attributions(&subject)?),
            ("token-attention.png", tour::layers(sinks.table("over even share")?)?),
        ];
        for (name, tables) in drawn {
            mmlens::files::write(out.join(name), tour.drawn(&tables)?)?;
        }
    }
    Ok(())
}

fn cautions(finding: &Finding) {
    finding.cautions().iter().for_each(|caution| println!("  {caution}"));
}
