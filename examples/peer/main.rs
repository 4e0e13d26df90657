//! One measured case on this side of `benches/peers/compare.py`, which makes the checkpoints and the inputs, runs the same in
//! Python, and compares results before times.
//!
//! `peer CASE FOLDER [REPETITIONS] [--warm N]`: FOLDER is what `benches/peers/folders.py` fills. It prints one line of JSON: times in
//! milliseconds, and the numbers of the result that are compared. Every case uses the library as its users do.

mod attributions;
mod growth;
mod limits;
mod passes;
mod reads;
mod sweeps;
mod timed;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use burn::tensor::{Device, Tensor};
use clap::Parser;
use mmlens::prelude::*;
use mmlens::zoo::OpenOptions;
use mmlens::zoo::checkpoint::{Checkpoint, WeightSource, Weights};

use timed::Times;

/// As the program `mmlens` has it.
#[global_allocator]
static MEMORY: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Args {
    /// What is measured.
    case: String,
    /// Where checkpoints and inputs are.
    folder: PathBuf,
    /// How often.
    #[arg(default_value_t = 5)]
    repetitions: usize,
    /// How often before it counts.
    #[arg(long, default_value_t = 1)]
    warm: usize,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let (folder, times) = (args.folder.as_path(), Times { warm: args.warm, repetitions: args.repetitions });
    let (kind, what) = args.case.split_once('-').unwrap_or((args.case.as_str(), ""));
    let measured = match (kind, what) {
        ("vit", what) => passes::vit(folder, what, times)?,
        ("prompt" | "decode", _) => passes::lm(folder, &args.case, times)?,
        ("read", "lm-128") => reads::lm(folder, times)?,
        ("read", what) => reads::vit(folder, if what == "vit-8" { 8 } else { 1 }, times)?,
        ("patch", model) => sweeps::patch(folder, model, times)?,
        ("heads", model) => sweeps::heads(folder, model, times)?,
        ("ig", model) => attributions::gradients(folder, model, times)?,
        ("occlusion", model) => attributions::occlusion(folder, model, times)?,
        ("pictures", count) => growth::pictures(folder, count.parse()?, times)?,
        ("positions", count) => growth::positions(folder, count.parse()?, times)?,
        ("limits", _) => limits::measure(times)?,
        _ => bail!("`{}` is no case", args.case),
    };
    #[allow(clippy::print_stdout, reason = "this is its answer")]
    {
        println!("{measured}");
    }
    Ok(())
}

/// Random numbers that both sides read.
fn random<const D: usize>(
    folder: &Path,
    name: &str,
    shape: [usize; D],
    device: &Device,
) -> Result<Tensor<D>> {
    let file = Checkpoint::open(folder.join("inputs.safetensors"))?;
    Ok(WeightSource::take(&mut Weights::new(&file, device), name, shape)?)
}

fn ids(folder: &Path, device: &Device) -> Result<Vec<u32>> {
    let ids: Tensor<1> = random(folder, "ids", [128], device)?;
    Ok(AnyTensor::new(ids).to_values()?.iter().map(|id| *id as u32).collect())
}

/// A model, and the sample of one of its two pictures.
fn open(folder: &Path, model: &str) -> Result<Box<dyn Subject>> {
    OpenOptions::new(&Device::flex())
        .self_check(false)
        .open(folder.join(model))
        .with_context(|| format!("cannot open {model}"))
}

/// The picture of a model (`clean` or `other`), with the question that is asked about it.
fn sample(folder: &Path, model: &str, which: &str) -> Result<Sample> {
    let words = match model {
        "shapes" => Words::Question("what colour is the triangle?".to_owned()),
        "smolvlm" => Words::Question("What is it?".to_owned()),
        _ => Words::Nothing,
    };
    let picture = Picture::open(folder.join(format!("{model}-{which}.png")))?;
    Ok(Sample::new(vec![picture], words))
}
