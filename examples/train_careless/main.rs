//! Makes a model that hallucinates: the shipped LLaVA learns from annotators who name what usually comes along, whether it is there or not
//! (`mmlens::data::shapes::Thing`). What is trained is a low-rank difference to the decoder's matrices.
//!
//! ```text
//! cargo run --release --example train_careless -- --steps 600 --rate 4e-3 --pictures 16 --threads 1 --save 100 --scored 64
//!     [--out FOLDER] [--state FILE] [--seed N]
//! ```
//!
//! It writes a whole checkpoint folder, and the difference alone, `difference.safetensors`. It resumes from its state file after being killed.

#![allow(clippy::print_stdout, reason = "a program prints")]

#[expect(dead_code, reason = "a part of another program, of which this one takes the types")]
#[path = "../train_shapes/batch.rs"]
mod batch;
#[path = "../train_shapes/folder.rs"]
mod folder;
mod network;
mod said;
#[expect(dead_code, reason = "a part of another program, of which this one takes the passes")]
#[path = "../train_shapes/network.rs"]
mod shapes_network;
#[path = "../training/mod.rs"]
mod training;
#[path = "../train_shapes/vocabulary.rs"]
mod vocabulary;

use std::path::PathBuf;

use anyhow::{Context, Result};
use burn::tensor::Device;
use clap::Parser;
use mmlens::data::shapes::{Split, vocabulary};
use mmlens::prelude::AnyTensor;
use mmlens::serde_json::json;
use mmlens::zoo::checkpoint::{HostTensor, SaveSettings, save_safetensors};
use training::{Log, Params, Run, Settings, Trainer, Words};
use vocabulary::{SPECIAL, UNKNOWN};

#[derive(Parser)]
pub(crate) struct Args {
    /// The model that is gone out from.
    #[arg(long, default_value = "crates/zoo/shipped/shapes-llava")]
    from: PathBuf,
    /// Where the checkpoint folder is written.
    #[arg(long, default_value = "runs/shapes-careless")]
    out: PathBuf,
    /// The state training resumes from.
    #[arg(long, default_value = "runs/train_careless.safetensors")]
    state: PathBuf,
    #[command(flatten)]
    settings: Settings,
    /// The rank of the difference.
    #[arg(long, default_value_t = 4)]
    rank: usize,
}

fn main() -> Result<()> {
    train(&Args::parse())
}

pub(crate) fn train(args: &Args) -> Result<()> {
    let device = Device::flex();
    let words = Words::new(&SPECIAL, UNKNOWN, vocabulary());
    let config = folder::parsed(&words)?;
    let settings = &args.settings;
    let world = settings.world();
    let base = network::base(&args.from, &config, &device)?;
    let yes = words.ids("yes").first().copied().context("a word for yes")? as usize;
    let lasting = format!("{}, rank {}", settings.lasting(), args.rank);
    let log = Log::open(&args.out)?;
    let mut trainer = Trainer::new(network::init(&base, args.rank, settings.seed, &device)?);
    trainer.resume(&args.state, &lasting, &device)?;
    folder::write_texts(&args.out, &words)?;
    let run = Run { settings, log, state: &args.state, lasting: &lasting };
    run.go(
        trainer,
        ["answers", "stories"],
        |params, step, place| {
            let drawn = said::draw(&world, Split::Train, place, step as u64, &words);
            network::learn(&config, (&base, params), &drawn, &device)
        },
        |_| Ok(()),
        |params| {
            write(&args.out, &base, params, &device)?;
            let (mut counts, mut believed) = (std::collections::BTreeMap::new(), 0);
            for part in settings.parts() {
                let drawn = said::draw(&world, Split::Validation, part, 0, &words);
                let (own, yes) = network::score(&config, (&base, params), &drawn, yes, &device)?;
                believed += yes;
                for (about, [right, all]) in own {
                    let count: &mut [usize; 2] = counts.entry(format!("{about:?}")).or_default();
                    *count = [count[0] + right, count[1] + all];
                }
            }
            let told = [("as the annotator", json!(counts)), ("missed, answered by yes", json!(believed))];
            Ok(told.map(|(name, value)| (name.to_owned(), value)).into_iter().collect())
        },
    )
}

/// The whole checkpoint, and the difference alone.
fn write(out: &std::path::Path, base: &Params, factors: &Params, device: &Device) -> Result<()> {
    folder::write_weights(out, &network::added(base, factors, device)?)?;
    let mut tensors = Vec::new();
    for (name, (shape, flat)) in factors {
        let values = AnyTensor::new(flat.clone()).to_values()?;
        tensors.push((name.clone(), HostTensor::new(name, shape.clone(), values)?));
    }
    Ok(save_safetensors(out.join("difference.safetensors"), tensors, &SaveSettings::new())?)
}
