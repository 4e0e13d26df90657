//! Trains the second model that ships inside: a CLIP of under a million weights on captions of the shapes world.
//!
//! ```text
//! cargo run --release --example train_clip -- --out FOLDER [--steps N] [--state FILE] [--tower LLAVA_FOLDER] [--keep STEPS [--record SCENES]]
//! ```
//!
//! Every picture is set against captions that are false for it: those of the other pictures of its part of the step,
//! and some that differ from its own in one property of one object. Whatever is true of a picture by chance is left
//! out. Two helpers are trained along and thrown away: one names shape, colour and size of the object under each patch,
//! one says from the shared space which kinds of object there are, of pictures and captions alike. The image tower can
//! begin as that of a LLaVA trained by `train_shapes`. It resumes from its state file after being killed.
//! With `--keep 0,50,100` and `--record 400` checkpoints are kept, and what was learned when is told of them at the end.

#![allow(clippy::print_stdout, reason = "a program prints")]

mod batch;
mod folder;
mod network;
mod record;
#[path = "../training/mod.rs"]
mod training;

use std::path::PathBuf;

use anyhow::Result;
use burn::tensor::Device;
use clap::Parser;
use mmlens::data::shapes::{Score, Split, vocabulary};
use training::{Log, Run, Settings, Trainer, Words};

#[derive(Parser)]
pub(crate) struct Args {
    /// Where the checkpoint folder is written.
    #[arg(long, default_value = "runs/shapes-clip")]
    out: PathBuf,
    /// The state training resumes from.
    #[arg(long, default_value = "runs/train_clip.safetensors")]
    state: PathBuf,
    /// A LLaVA checkpoint whose image tower this one begins with.
    #[arg(long)]
    tower: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
    /// False captions of each picture that are nearly true.
    #[arg(long, default_value_t = 7)]
    near: usize,
    /// Steps after which a checkpoint is kept in half the bytes, in `OUT/kept/STEP`; 0 is before training.
    #[arg(long, value_delimiter = ',')]
    keep: Vec<usize>,
    /// Scenes over which the kept checkpoints are recorded at the end: what was learned when.
    #[arg(long, default_value_t = 0)]
    record: usize,
}

fn main() -> Result<()> {
    train(&Args::parse())
}

pub(crate) fn train(args: &Args) -> Result<()> {
    let device = Device::flex();
    let words = Words::new(&folder::SPECIAL, folder::UNKNOWN, vocabulary());
    let config = folder::parsed(&words)?;
    let settings = &args.settings;
    let world = settings.world();
    let lasting = format!("{}, near {}", settings.lasting(), args.near);
    let log = Log::open(&args.out)?;
    let mut trainer = Trainer::new(network::init(&config, settings.seed, &device)?);
    let begun = !trainer.resume(&args.state, &lasting, &device)?;
    if let Some(folder) = args.tower.as_ref().filter(|_| begun) {
        let taken = network::take_tower(&mut trainer.params, folder, &device)?;
        println!("{taken} tensors of the image tower from {}", folder.display());
    }
    let weights: usize = trainer.params.values().map(|(shape, _)| shape.iter().product::<usize>()).sum();
    println!("{weights} weights (helpers included), {} words", words.len());
    folder::write_texts(&args.out, &words)?;
    let keep = |trainer: &Trainer| match args.keep.contains(&trainer.step) {
        true => folder::keep(&args.out, trainer.step, &trainer.params, &words),
        false => Ok(()),
    };
    keep(&trainer)?;
    let run = Run { settings, log, state: &args.state, lasting: &lasting };
    run.go(
        trainer,
        ["captions", "pictures", "patches", "names"],
        |params, step, (start, count)| {
            let batch = batch::draw(&world, Split::Train, start, count, args.near, step as u64, &words);
            network::learn(&config, params, &batch, &device)
        },
        |trainer| {
            network::bound_scale(&mut trainer.params);
            keep(trainer)
        },
        |params| {
            folder::write_weights(&args.out, params)?;
            let mut score = Score::default();
            for (first, count) in settings.parts() {
                let choices = batch::choices(&world, Split::Validation, first, count, &words);
                let counted = network::score(&config, params, &choices, &device)?;
                score.n += counted.n;
                score.right += counted.right;
            }
            Ok([("right_of_16".to_owned(), score.rate().into())].into_iter().collect())
        },
    )?;
    if args.record > 0 {
        println!("{}", record::told(&record::record(&args.out, &world, args.record, &device)?)?);
    }
    Ok(())
}
