//! Trains the model that ships inside: a LLaVA of about a million weights on the shapes world.
//!
//! ```text
//! cargo run --release --example train_shapes -- --out FOLDER [--steps N] [--state FILE]
//! ```
//!
//! Many questions about each picture are asked in one step: the picture and the words before the question are
//! computed once, and every question continues from their cache. Two helpers guide the training and are thrown away:
//! one names shape, colour and size of the object under each patch, from the tower's features; the other places the
//! object a noun means, from the second block of the decoder (without it, relations stay at chance).
//! The learning rate is constant and falls to nothing over the last part, so that training can be prolonged.
//! It resumes from its state file after being killed.

#![allow(clippy::print_stdout, reason = "a program prints")]

mod batch;
mod folder;
mod network;
mod state;
mod words;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use burn::tensor::Device;
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use mmlens::data::shapes::{Split, World};

#[derive(Parser)]
struct Args {
    /// Where the checkpoint folder is written.
    #[arg(long, default_value = "runs/shapes-llava")]
    out: PathBuf,
    /// The state training resumes from.
    #[arg(long, default_value = "runs/train_shapes.safetensors")]
    state: PathBuf,
    /// Steps in all.
    #[arg(long, default_value_t = 5000)]
    steps: usize,
    /// Share of the steps over which the rate falls.
    #[arg(long, default_value_t = 0.3)]
    fall: f64,
    /// The highest learning rate.
    #[arg(long, default_value_t = 1.5e-3)]
    rate: f64,
    /// Pictures a step.
    #[arg(long, default_value_t = 32)]
    pictures: usize,
    /// Questions a picture, besides its description.
    #[arg(long, default_value_t = 8)]
    turns: usize,
    /// Parts a step is computed in, side by side.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Steps between two saves.
    #[arg(long, default_value_t = 250)]
    save: usize,
    /// Decides weights, scenes and questions.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Trains without the planted co-occurrences.
    #[arg(long)]
    unbiased: bool,
}

fn rate(args: &Args, step: usize) -> f64 {
    let warm = ((step + 1) as f64 / 200.0).min(1.0);
    let left = args.steps.saturating_sub(step) as f64 / (args.fall * args.steps as f64).max(1.0);
    args.rate * warm * left.min(1.0)
}

fn main() -> Result<()> {
    let args = Args::parse();
    let device = Device::flex();
    let words = words::Words::new();
    let config = folder::parsed(&words)?;
    let world = World::new(args.seed).with_bias(!args.unbiased);
    let mut trainer = state::Trainer::new(network::init(&config, args.seed, &device)?);
    if let Some(parent) = args.state.parent() {
        std::fs::create_dir_all(parent)?;
    }
    if args.state.exists() {
        trainer.load(&args.state, &device)?;
        println!("resuming at step {}", trainer.step);
    }
    let weights: usize = trainer.params.values().map(|(shape, _)| shape.iter().product::<usize>()).sum();
    println!("{weights} weights (helpers included), {} words", words.len());
    folder::write_texts(&args.out, &words)?;
    let log = args.out.join("training.jsonl");
    let mut log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(&log)
        .with_context(|| log.display().to_string())?;

    let bar = ProgressBar::new(args.steps as u64).with_position(trainer.step as u64);
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} {per_sec} {eta} left  {msg}")?);
    let mut started = Instant::now();
    while trainer.step < args.steps {
        let step = trainer.step;
        let share = args.pictures.div_ceil(args.threads);
        let parts: Vec<Result<_>> = std::thread::scope(|scope| {
            let (params, config, world, words, device) = (&trainer.params, &config, &world, &words, &device);
            let turns = args.turns;
            let handles: Vec<_> = (0..args.threads)
                .map(|t| {
                    scope.spawn(move || {
                        let start = ((step * args.threads + t) * share) as u64;
                        let batch = batch::draw(world, Split::Train, start, share, turns, step as u64, words);
                        network::learn(config, params, &batch, device)
                    })
                })
                .collect();
            handles
                .into_iter()
                .map(|h| h.join().unwrap_or_else(|_| Err(anyhow!("a part of step {step} failed"))))
                .collect()
        });
        let mut losses = network::Losses::default();
        let mut grads = Vec::new();
        for part in parts {
            let (loss, grad) = part?;
            let n = args.threads as f32;
            losses.answers += loss.answers / n;
            losses.stories += loss.stories / n;
            losses.patches += loss.patches / n;
            losses.places += loss.places / n;
            grads.push(grad);
        }
        let norm = trainer.update(rate(&args, step), grads)?;
        bar.inc(1);
        if step.is_multiple_of(25) {
            let network::Losses { answers, stories, patches, places } = losses;
            bar.set_message(format!(
                "answers {answers:.3} stories {stories:.3} patches {patches:.3} places {places:.3}"
            ));
        }
        if trainer.step.is_multiple_of(args.save) || trainer.step == args.steps {
            trainer.save(&args.state)?;
            folder::write_weights(&args.out, &trainer.params)?;
            let mut counts: BTreeMap<_, (usize, usize)> = BTreeMap::new();
            for part in 0..4 {
                let batch = batch::draw(&world, Split::Validation, part * 64, 64, 8, 0, &words);
                for (kind, (right, all)) in network::score(&config, &trainer.params, &batch, &device)? {
                    let count = counts.entry(kind).or_default();
                    *count = (count.0 + right, count.1 + all);
                }
            }
            let rates: serde_json::Map<String, serde_json::Value> =
                counts.iter().map(|(k, (right, all))| (k.name().to_owned(), ratio(*right, *all))).collect();
            let line = serde_json::json!({
                "step": trainer.step, "seconds": started.elapsed().as_secs(), "rate": rate(&args, step), "gradient": norm,
                "answers": losses.answers, "stories": losses.stories, "patches": losses.patches, "places": losses.places,
                "right": rates,
            });
            started = Instant::now();
            writeln!(log, "{line}")?;
            bar.println(line.to_string());
        }
    }
    bar.finish();
    Ok(())
}

fn ratio(right: usize, all: usize) -> serde_json::Value {
    serde_json::json!((right as f64 / all.max(1) as f64 * 1000.0).round() / 1000.0)
}
