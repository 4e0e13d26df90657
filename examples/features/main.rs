//! What the directions of a small CLIP's embeddings stand for: the gap between pictures and captions, parts of one embedding, heads in words, pictures as few objects, and patterns that come back.
//!
//! ```text
//! cargo run --release --example features [-- --scenes N] [--out FOLDER]
//! ```

#![allow(clippy::print_stdout, reason = "a program prints")]

mod look;

use anyhow::{Context, Result};
use clap::Parser;
use mmlens::core::Fit;
use mmlens::core::burn::tensor::Device;
use mmlens::finding::{Finding, fixed};
use mmlens::prelude::*;
use mmlens::zoo::shipped;

#[derive(Parser)]
struct Args {
    /// Scenes of the test split.
    #[arg(long, default_value_t = 100)]
    scenes: usize,
    /// Where pictures go; none are drawn without it.
    #[arg(long)]
    out: Option<std::path::PathBuf>,
}

fn main() -> Result<()> {
    let clip = shipped::shapes_clip(&Device::default())?;
    let args = Args::parse();
    let scenes = look::scenes(args.scenes);
    let data = look::captioned(&scenes)?;

    println!("How far pictures and captions lie apart\n");
    let gap = look::gap(&clip, &data)?;
    for table in ["gap", "cone", "separability", "shifted", "largest dimensions"] {
        show(&gap, table, 12)?;
    }

    let first = scenes.first().context("a scene")?;
    println!(
        "\nWhat heads add to the caption of scene 0, less what they add to one that is wrong in a word\n"
    );
    let parts = look::parts(&clip, first)?;
    for table in ["cosine", "layers", "outside the layers", "heads against the others", "random"] {
        show(&parts, table, 40)?;
    }

    println!("\nWhat the heads of the last layer write about\n");
    let span = look::span(&clip, &data, 3)?;
    for table in ["texts", "variance explained", "random texts", "principal components", "variance"] {
        show(&span, table, 12)?;
    }

    println!("\nOf which objects pictures are made\n");
    let objects = look::objects(&clip, &data)?;
    for (at, scene) in scenes.iter().enumerate().take(5) {
        let named = |rank| objects.table("concepts").ok().and_then(|table| table.get_text(&[at, rank]));
        let named: Vec<&str> = (0..3).filter_map(named).collect();
        println!("  {:60} {}", scene.description(), named.join(" + "));
    }
    let [own, other] = look::true_of(&objects, &scenes)?;
    println!("  the first is there in {own} of {} scenes; of the next scene's in {other}", scenes.len());
    show(&objects, "cosine", 9)?;

    println!("\nPatterns behind block 1 of the tower\n");
    let learned = look::concepts()?.learn(&On::new(&clip), data.data(), Seed(0))?;
    for table in ["error", "share", "exemplars"] {
        show(&learned.finding, table, 20)?;
    }
    println!("  {}", learned.ended);
    if let Some(out) = args.out {
        std::fs::create_dir_all(&out)?;
        let drawn = [
            ("feature-patches.png", look::patches(first, &parts)?),
            ("feature-concepts.png", look::amounts(&clip, first, &learned.fitted)?),
        ];
        for (name, bytes) in drawn {
            mmlens::files::write(out.join(name), bytes)?;
        }
    }
    Ok(())
}

/// The first values of a table, with their labels, and what speaks against the finding.
fn show(finding: &Finding, name: &str, most: usize) -> Result<()> {
    let table = finding.table(name)?;
    let lens = table.shape();
    println!("  {name} ({})", table.unit());
    for at in 0..lens.iter().product::<usize>().min(most) {
        let mut rest = at;
        let mut point = vec![0; lens.len()];
        for (slot, len) in point.iter_mut().zip(&lens).rev() {
            (*slot, rest) = (rest % len, rest / len);
        }
        let labels = table.axes().iter().zip(&point).filter_map(|(axis, at)| axis.label(*at));
        let labels = labels.collect::<Vec<_>>().join(", ");
        match (table.get(&point), table.get_text(&point)) {
            (Some(value), _) => println!("    {labels:40} {:>8}", fixed(value, 3)),
            (_, text) => println!("    {labels:40} {}", text.unwrap_or_default()),
        }
    }
    finding.cautions().iter().for_each(|caution| println!("  ! {caution}"));
    Ok(())
}
