//! Measures the shipped model that listens on recordings it never heard: how often it answers exactly right.
//!
//! ```text
//! cargo run --release --example measure_tones [-- --model FOLDER] [--scenes N] [--seed N]
//! ```
//!
//! Prints the table quoted in `docs/tones.md`.

#![allow(clippy::print_stdout, reason = "a program prints")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use mmlens::data::tones::{Kind, Question, Scene, Score, Split, World};
use mmlens::prelude::*;
use mmlens::zoo::qwen2_audio::open_qwen2_audio;
use mmlens::zoo::shipped;

/// Questions answered in one batch.
const BATCH: usize = 64;

#[derive(Parser)]
struct Args {
    /// The folder of a Qwen2-Audio; the shipped one, if none is given.
    #[arg(long)]
    model: Option<PathBuf>,
    /// Scenes of the test split, each with questions of all kinds it allows.
    #[arg(long, default_value_t = 500)]
    scenes: u64,
    /// The world the scenes come from.
    #[arg(long, default_value_t = 7)]
    seed: u64,
}

/// A question of a scene, ready to be asked.
struct Posed {
    scene: Scene,
    question: Question,
    inputs: Inputs,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let device = Device::flex();
    let subject = match &args.model {
        Some(folder) => open_qwen2_audio(folder, &device)?,
        None => shipped::tones(&device)?,
    };
    let world = World::new(args.seed);
    let mut asked = Vec::new();
    for sample in world.samples(Split::Test, 0..args.scenes) {
        let sound = sample.scene.sound(format!("test-{}", sample.scene.id))?;
        for question in sample.questions {
            let inputs = subject.encode(&Sample::hear(sound.clone(), question.text.as_str()))?;
            asked.push(Posed { scene: sample.scene.clone(), question, inputs });
        }
    }
    // Like lengths together, so that little is padded.
    asked.sort_by_key(|own| (own.inputs.positions(), own.question.kind, own.scene.id));
    let bar = indicatif::ProgressBar::new(asked.len() as u64);
    let mut scores: BTreeMap<Kind, Score> = BTreeMap::new();
    let mut usual: BTreeMap<Kind, BTreeMap<String, usize>> = BTreeMap::new();
    for chunk in asked.chunks(BATCH) {
        let inputs: Vec<Inputs> = chunk.iter().map(|own| own.inputs.clone()).collect();
        let answers = subject.generate(&Inputs::batch(&inputs, subject.pad())?, &Generation::default())?;
        for (own, answer) in chunk.iter().zip(answers) {
            let Question { kind, answer: truth, .. } = &own.question;
            let right = answer.text.split_whitespace().eq(truth.split_whitespace());
            scores.entry(*kind).or_default().count(right);
            *usual.entry(*kind).or_default().entry(truth.clone()).or_default() += 1;
        }
        bar.inc(chunk.len() as u64);
    }
    bar.finish_and_clear();
    println!("Exact match on {} scenes of the test split, greedy decoding\n", args.scenes);
    println!("| kind | questions | right | the most frequent answer |\n|---|---|---|---|");
    for (kind, score) in &scores {
        let most = usual.get(kind).and_then(|all| all.values().max()).copied().unwrap_or_default();
        let share = 100.0 * most as f64 / score.n.max(1) as f64;
        let right = 100.0 * score.rate().unwrap_or(f64::NAN);
        println!("| {} | {} | {right:.1} % | {share:.1} % |", kind.name(), score.n);
    }
    Ok(())
}
