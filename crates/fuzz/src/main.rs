//! Runs fuzz targets on mutated seeds, each case within limits, in processes that may die.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program prints")]

mod run;
mod worker;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use mmlens_fuzz::{TARGETS, Target};

/// Fuzzes the readers of mmlens.
#[derive(Parser)]
struct Fuzz {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The targets, and how many seeds each has.
    List,
    /// Runs cases of the targets named, or of all; what goes wrong is saved and told, and the exit status is 1.
    Run(run::Settings),
    /// Reads one file as a target does, without catching anything.
    Once {
        /// The target.
        target: String,
        /// The input, as `run` saved it.
        file: PathBuf,
    },
    /// Writes the seeds of a target into a folder, one file each.
    Seeds {
        /// The target.
        target: String,
        /// The folder; it is made.
        folder: PathBuf,
    },
    /// What a case of a target may take: seconds, bytes of memory, bytes of input.
    Limits {
        /// The target.
        target: String,
    },
    /// Cases of one target in this process: what `run` starts.
    #[command(hide = true)]
    Worker(worker::Settings),
}

fn main() -> ExitCode {
    let outcome = match Fuzz::parse().command {
        Command::List => list(),
        Command::Run(settings) => settings.run(),
        Command::Once { target, file } => once(&target, &file),
        Command::Limits { target } => limits(&target),
        Command::Seeds { target, folder } => seeds(&target, &folder),
        Command::Worker(settings) => settings.run(),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn find(name: &str) -> anyhow::Result<&'static Target> {
    let known = || TARGETS.iter().map(|target| target.name).collect::<Vec<_>>().join(", ");
    Target::named(name).with_context(|| format!("`{name}` is no target; targets are {}", known()))
}

fn list() -> anyhow::Result<bool> {
    let room = mmlens_fuzz::Room::new()?;
    for target in TARGETS {
        println!("{:17} {:3} seeds  {}", target.name, target.seeds(&room)?.len(), target.about);
    }
    Ok(true)
}

fn once(name: &str, file: &Path) -> anyhow::Result<bool> {
    let bytes = std::fs::read(file).with_context(|| file.display().to_string())?;
    println!("{:?}", find(name)?.once(&mmlens_fuzz::Room::new()?, &bytes)?);
    Ok(true)
}

fn limits(name: &str) -> anyhow::Result<bool> {
    let limits = find(name)?.limits;
    println!("{} {} {}", limits.seconds, limits.memory, limits.input);
    Ok(true)
}

fn seeds(name: &str, folder: &Path) -> anyhow::Result<bool> {
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    for (i, seed) in find(name)?.seeds(&mmlens_fuzz::Room::new()?)?.iter().enumerate() {
        let file = folder.join(format!("seed-{i:03}"));
        std::fs::write(&file, seed).with_context(|| file.display().to_string())?;
    }
    Ok(true)
}
