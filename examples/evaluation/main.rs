//! What explanations of the shipped models are worth, on pictures and recordings of which it is known what each answer rests on.
//!
//! ```text
//! cargo run --release --example evaluation                                     a glance at every model
//! cargo run --release --example evaluation -- --whole --cases 20 --out league  the tables of docs/evaluation.md
//! cargo run --release --example evaluation -- --pictures docs/pictures         its picture alone
//! ```
//!
//! With `--out` what is done is kept: the same command goes on from there.

#![allow(clippy::print_stdout, reason = "a program prints")]

mod league;

use std::ops::ControlFlow;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use mmlens::core::Watch;
use mmlens::evaluation;
use mmlens::zoo::shipped;

use league::Extent;

#[derive(Parser)]
struct Args {
    /// One of the shipped models; all of them, if none is named.
    #[arg(long)]
    model: Option<String>,
    /// Questions or captions that are explained.
    #[arg(long, default_value_t = 2)]
    cases: usize,
    /// All methods and all metrics, sanity checks and sensitivity among them.
    #[arg(long)]
    whole: bool,
    /// A folder for journals and findings.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Draws maps of one case into this folder, and scores nothing.
    #[arg(long)]
    pictures: Option<PathBuf>,
}

struct Bar(indicatif::ProgressBar);

impl Watch for Bar {
    fn step(&self, _: &'static str, done: usize, total: usize) -> ControlFlow<()> {
        self.0.set_length(total as u64);
        self.0.set_position(done as u64);
        ControlFlow::Continue(())
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    if let Some(folder) = &args.pictures {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        return Ok(mmlens::files::write(folder.join("evaluation-maps.png"), league::maps()?)?);
    }
    let extent = if args.whole { Extent::Whole } else { Extent::Glance };
    if let Some(out) = &args.out {
        std::fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    }
    for model in shipped::names().filter(|name| args.model.as_ref().is_none_or(|asked| asked == name)) {
        let journal = args.out.as_ref().map(|out| out.join(format!("{model}.jsonl")));
        let bar = Bar(indicatif::ProgressBar::no_length());
        let finding = league::scores(model, (args.cases, extent), journal.as_deref(), &bar)?;
        bar.0.finish_and_clear();
        if let Some(out) = &args.out {
            finding.save(out.join(format!("{model}.safetensors")))?;
        }
        println!("{model}, {} cases\n\n{}", args.cases, evaluation::league(&finding).context("no scores")?);
        for caution in finding.cautions() {
            println!("- {}", caution.text);
        }
        println!();
    }
    Ok(())
}
