//! Concepts, sparse heads, bottlenecks and rules for the models that ship inside, each beside what chance gives.
//!
//! ```text
//! cargo run --release --example design [-- --scenes 16]
//! ```

#![allow(clippy::print_stdout, reason = "a program prints")]

mod look;

use anyhow::Result;
use clap::Parser;
use mmlens::core::burn::tensor::Device;
use mmlens::finding::{Finding, Labelled, fixed};
use mmlens::prelude::*;
use mmlens::zoo::shipped;

#[derive(Parser)]
struct Args {
    /// Scenes of each concept; heads and trees have ten times as many.
    #[arg(long, default_value_t = 16)]
    scenes: usize,
}

fn main() -> Result<()> {
    let Args { scenes } = Args::parse();
    let (subject, clip) = (shipped::shapes(&Device::default())?, shipped::shapes_clip(&Device::default())?);
    let blocks = kind::blocks(&subject, Part::Text);

    println!("Does the answer \"red\" depend on a concept? {scenes} scenes of each\n");
    println!(
        "| behind block | concept | score | p | p by rank | accuracy | agreement |\n|---|---|---|---|---|---|---|"
    );
    for block in [0, blocks - 1] {
        let found = look::tested(&subject, block, scenes)?;
        let columns = ["score", "p", "p by rank", "accuracy", "agreement"];
        let tables: Vec<&Labelled> =
            columns.iter().map(|name| found.table(name)).collect::<Result<_, _>>()?;
        for (at, name) in names(&found, "score")?.iter().enumerate() {
            let each = tables.iter().map(|own| own.get(&[at]).map_or("".to_owned(), |own| fixed(own, 3)));
            println!("| {block} | {name} | {} |", each.collect::<Vec<_>>().join(" | "));
        }
        said(&found);
    }

    println!("\nFrom how few features is the colour read that is asked about? {} questions\n", 10 * scenes);
    heads();
    for block in [0, blocks - 1] {
        head(&format!("shapes-llava, behind block {block}"), &look::colours(&subject, block, 10 * scenes)?)?;
    }
    println!("\nAnd whether there is a circle? {} scenes\n", 10 * scenes);
    heads();
    head("shapes-clip, the shared space", &look::circles(&clip, 10 * scenes)?)?;

    println!("\nIs it told from concepts whether there is a red object? {} scenes\n", 10 * scenes);
    for block in [0, blocks - 1] {
        let found = look::corrected(&subject, block, 10 * scenes)?;
        println!("behind block {block}");
        for table in ["scores", "stability"] {
            let numbers = found.table(table)?;
            let each = names(&found, table)?.into_iter().enumerate();
            let each =
                each.map(|(at, name)| format!("{name} {}", fixed(numbers.get(&[at]).unwrap_or_default(), 3)));
            println!("  {table}: {}", each.collect::<Vec<_>>().join(", "));
        }
        for table in ["used", "concepts", "interventions"] {
            println!("  {table}: {:.3?}", found.table(table)?.as_numbers().unwrap_or_default());
        }
        println!("  order: {:?}", found.find("order").and_then(Labelled::as_texts).unwrap_or_default());
        said(&found);
    }

    println!("\nWhich rules give its answers? {} scenes", 10 * scenes);
    for question in look::QUESTIONS {
        let found = look::rules(&subject, question, 10 * scenes)?;
        println!("\n{question}");
        let fidelity = found.table("fidelity")?;
        for (at, name) in names(&found, "fidelity")?.iter().enumerate() {
            println!("  {name:14} {}", fixed(fidelity.get(&[at]).unwrap_or_default(), 3));
        }
        println!("  {:14} {}", "grown again", stable(&found)?.join(", "));
        for line in found.table("tree")?.as_texts().unwrap_or_default() {
            println!("    {line}");
        }
        said(&found);
    }
    Ok(())
}

fn names(finding: &Finding, table: &str) -> Result<Vec<String>> {
    let axis = finding.table(table)?.axes().first();
    Ok(axis.map(|axis| (0..axis.len()).filter_map(|at| axis.label(at)).collect()).unwrap_or_default())
}

fn heads() {
    println!(
        "| of | accuracy | least penalty | random features | majority | features | same answer, learned again | by chance | same features |\n|---|---|---|---|---|---|---|---|---|"
    );
}

fn head(of: &str, found: &Finding) -> Result<()> {
    let scores = found.table("scores")?.as_numbers().unwrap_or_default();
    let each: Vec<String> = scores.iter().map(|own| fixed(*own, 3)).collect();
    let used = found.table("used")?.as_numbers().and_then(|used| used.last().copied()).unwrap_or_default();
    println!("| {of} | {} | {used} | {} |", each.join(" | "), stable(found)?.join(" | "));
    said(found);
    Ok(())
}

/// What stays of it where it is learned from other draws.
fn stable(found: &Finding) -> Result<Vec<String>> {
    let numbers = found.table("stability")?.as_numbers().unwrap_or_default();
    Ok(numbers.iter().map(|own| fixed(*own, 3)).collect())
}

/// What speaks against a finding.
fn said(found: &Finding) {
    found.cautions().iter().for_each(|caution| println!("! {caution}"));
}
