//! Trains a model that listens: a Qwen2-Audio of some seven hundred thousand weights on the tones world.
//!
//! ```text
//! cargo run --release --example train_tones -- --out FOLDER [--steps N] [--state FILE]
//! ```
//!
//! Many questions about each recording are asked in one step: the recording and the words before the question are computed once, and
//! every question continues from their cache. Two helpers guide the training and are thrown away: one names what sounds in every 40 ms
//! at each pitch, from the tower's features; the other says when the sound that a noun means begins and ends, from the second
//! block of the decoder. It resumes from its state file after being killed.

#![allow(clippy::print_stdout, reason = "a program prints")]

mod batch;
mod folder;
mod network;
#[expect(dead_code, unused_imports, reason = "what pictures need is of no use here")]
#[path = "../training/mod.rs"]
mod training;
mod vocabulary;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use burn::tensor::Device;
use clap::Parser;
use mmlens::data::tones::{Split, World, listening, vocabulary};
use training::{Log, Run, Settings, Trainer, Words};
use vocabulary::{SPECIAL, UNKNOWN};

#[derive(Parser)]
pub(crate) struct Args {
    /// Where the checkpoint folder is written.
    #[arg(long, default_value = "runs/tones-qwen2-audio")]
    out: PathBuf,
    /// The state training resumes from.
    #[arg(long, default_value = "runs/train_tones.safetensors")]
    state: PathBuf,
    #[command(flatten)]
    settings: Settings,
    /// Questions a recording, besides its description.
    #[arg(long, default_value_t = 8)]
    turns: usize,
}

fn main() -> Result<()> {
    train(&Args::parse())
}

pub(crate) fn train(args: &Args) -> Result<()> {
    let device = Device::flex();
    let words = Words::new(&SPECIAL, UNKNOWN, vocabulary());
    let config = folder::parsed(&words)?;
    let settings = &args.settings;
    let world = World::new(settings.seed).with_bias(settings.biased());
    let listening = listening()?;
    let lasting = format!("{}, turns {}", settings.lasting(), args.turns);
    let log = Log::open(&args.out)?;
    let mut trainer = Trainer::new(network::init(&config, settings.seed, &device)?);
    trainer.resume(&args.state, &lasting, &device)?;
    let weights: usize = trainer.params.values().map(|(shape, _)| shape.iter().product::<usize>()).sum();
    println!("{weights} weights (helpers included), {} words", words.len());
    folder::write_texts(&args.out, &words)?;
    let run = Run { settings, log, state: &args.state, lasting: &lasting };
    run.go(
        trainer,
        ["answers", "stories", "sounds", "times"],
        |params, step, (start, count)| {
            let range = start..start + count as u64;
            let batch =
                batch::draw((&world, Split::Train, range), args.turns, step as u64, &words, &listening)?;
            network::learn(&config, params, &batch, &device)
        },
        |_| Ok(()),
        |params| {
            folder::write_weights(&args.out, params)?;
            let mut counts: BTreeMap<_, (usize, usize)> = BTreeMap::new();
            for (first, count) in settings.parts() {
                let range = first..first + count as u64;
                let batch = batch::draw((&world, Split::Validation, range), 8, 0, &words, &listening)?;
                for (kind, (right, all)) in network::score(&config, params, &batch, &device)? {
                    let count = counts.entry(kind).or_default();
                    *count = (count.0 + right, count.1 + all);
                }
            }
            let rates: serde_json::Map<String, serde_json::Value> =
                counts.iter().map(|(k, (right, all))| (k.name().to_owned(), ratio(*right, *all))).collect();
            Ok([("right".to_owned(), rates.into())].into_iter().collect())
        },
    )
}

fn ratio(right: usize, all: usize) -> serde_json::Value {
    serde_json::json!((right as f64 / all.max(1) as f64 * 1000.0).round() / 1000.0)
}
