//! Trains the shipped LLaVA on answers that are right for a wrong reason, with and without a loss that asks for the right one, and tells what became of its
//! answers and of its explanations.
//!
//! An annotator who is asked for a colour reads it off a tag in a corner of the picture, which is right three times in four. Whoever learns from
//! these answers can learn to look at the tag. What is trained is a low-rank difference to the decoder's matrices.
//!
//! ```text
//! cargo run --release --example train_reasons -- --steps 300 --rate 4e-3 --pictures 16 --lambda 0 --out runs/tag [--state FILE] [--seed N]
//! cargo run --release --example train_reasons -- --steps 300 --rate 4e-3 --pictures 16 --lambda 10 --out runs/reasons --state FILE
//! cargo run --release --example train_reasons -- --worth runs/tag,runs/reasons --cases 40
//! ```
//!
//! It resumes from its state file after being killed.

#![allow(clippy::print_stdout, reason = "a program prints")]

#[expect(dead_code, reason = "a part of another program, of which this one takes the types")]
#[path = "../train_shapes/batch.rs"]
mod batch;
#[path = "../train_shapes/folder.rs"]
mod folder;
#[expect(dead_code, reason = "a part of another program, of which this one takes the weights")]
#[path = "../train_careless/network.rs"]
mod network;
#[expect(dead_code, reason = "a part of another program, of which this one takes the types")]
#[path = "../train_careless/said.rs"]
mod said;
#[expect(dead_code, reason = "a part of another program, of which this one takes the passes")]
#[path = "../train_shapes/network.rs"]
mod shapes_network;
mod step;
mod tags;
#[path = "../training/mod.rs"]
mod training;
#[path = "../train_shapes/vocabulary.rs"]
mod vocabulary;
mod worth;

use std::path::PathBuf;

use anyhow::Result;
use burn::tensor::Device;
use clap::Parser;
use mmlens::data::shapes::{Split, World, vocabulary};
use mmlens::serde_json::json;
use mmlens::training::RightReasons;
use tags::{Tag, Tagged, tagged};
use training::{Log, Run, Settings, Trainer, Words};
use vocabulary::{SPECIAL, UNKNOWN};

#[derive(Parser)]
pub(crate) struct Args {
    /// The model that is gone out from.
    #[arg(long, default_value = "crates/zoo/shipped/shapes-llava")]
    from: PathBuf,
    /// Where the checkpoint folder is written.
    #[arg(long, default_value = "runs/shapes-reasons")]
    out: PathBuf,
    /// The state training resumes from.
    #[arg(long, default_value = "runs/train_reasons.safetensors")]
    state: PathBuf,
    #[command(flatten)]
    settings: Settings,
    /// How much the gradient outside the evidence weighs; 0 asks for no reasons.
    #[arg(long, default_value_t = 0.0)]
    lambda: f32,
    /// Of which answers' log-probabilities the gradient is held down.
    #[arg(long, value_enum, default_value = "colours")]
    of: step::Of,
    /// The rank of the difference.
    #[arg(long, default_value_t = 4)]
    rank: usize,
    /// Trains nothing: tells of the shipped model and of these folders, separated by commas, what their answers and explanations are worth.
    #[arg(long, value_delimiter = ',')]
    worth: Vec<PathBuf>,
    /// Questions that are explained for that.
    #[arg(long, default_value_t = 20)]
    cases: usize,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if !args.worth.is_empty() {
        let folders = std::iter::once(&args.from).chain(&args.worth);
        for folder in folders {
            println!("{}\n\n{}", folder.display(), worth::worth(folder, &args.settings.world(), args.cases)?);
        }
        for folder in &args.worth {
            let told = worth::changed(&args.from, folder, &args.settings.world(), args.cases)?;
            println!("{} beside {}\n\n{told}", folder.display(), args.from.display());
        }
        return Ok(());
    }
    train(&args)
}

/// Scenes of a split that allow the question, from one on.
pub(crate) fn draw(world: &World, split: Split, (start, count): (u64, usize), tag: Tag) -> Vec<Tagged> {
    (start..start + count as u64).filter_map(|id| tagged(world, (split, id), tag)).collect()
}

pub(crate) fn train(args: &Args) -> Result<()> {
    let device = Device::flex();
    let words = Words::new(&SPECIAL, UNKNOWN, vocabulary());
    let config = folder::parsed(&words)?;
    let settings = &args.settings;
    let world = settings.world();
    let base = network::base(&args.from, &config, &device)?;
    let reasons = RightReasons { lambda: args.lambda, ..RightReasons::default() };
    let reasons = (args.lambda > 0.0).then_some((reasons, args.of));
    let lasting =
        format!("{}, rank {}, lambda {} of {:?}", settings.lasting(), args.rank, args.lambda, args.of);
    let log = Log::open(&args.out)?;
    let mut trainer = Trainer::new(network::init(&base, args.rank, settings.seed, &device)?);
    trainer.resume(&args.state, &lasting, &device)?;
    folder::write_texts(&args.out, &words)?;
    let run = Run { settings, log, state: &args.state, lasting: &lasting };
    run.go(
        trainer,
        ["answers", "penalty"],
        |params, _, place| {
            let drawn = draw(&world, Split::Train, place, Tag::Learned);
            step::learn(&config, (&base, params), (&drawn, &words), reasons, &device)
        },
        |_| Ok(()),
        |params| {
            folder::write_weights(&args.out, &network::added(&base, params, &device)?)?;
            let told = Tag::TOLD.into_iter().map(|(tag, name)| {
                let (mut right, mut all) = ([0; 2], 0);
                for part in settings.parts() {
                    let drawn = draw(&world, Split::Validation, part, tag);
                    let own = step::right(&config, (&base, params), (&drawn, &words), &device)?;
                    right = [right[0] + own[0], right[1] + own[1]];
                    all += drawn.len();
                }
                Ok((name.to_owned(), json!({ "true": right[0], "as the tag says": right[1], "of": all })))
            });
            told.collect()
        },
    )
}
