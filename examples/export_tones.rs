//! Writes recordings of the tones world to a folder: WAV files, and a line of JSON for each scene.
//!
//! ```text
//! cargo run --release -p mmlens-data --example export_tones -- FOLDER [SPLIT] [COUNT] [SEED] [biased]
//! ```

use std::path::Path;
use std::process::ExitCode;

use mmlens_data::tones::{Split, World, export};

const USAGE: &str = "usage: export_tones FOLDER [train|validation|test] [COUNT] [SEED] [biased]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(done) => {
            #[allow(clippy::print_stdout, reason = "a program prints")]
            {
                println!("{done}");
            }
            ExitCode::SUCCESS
        }
        Err(message) => {
            #[allow(clippy::print_stderr, reason = "a program prints")]
            {
                eprintln!("{message}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<String, Box<dyn std::error::Error>> {
    let (biased, arguments) = match arguments.split_last() {
        Some((last, rest)) if last == "biased" => (true, rest),
        _ => (false, arguments),
    };
    let (folder, options) = arguments.split_first().ok_or(USAGE)?;
    if options.len() > 3 {
        return Err(USAGE.into());
    }
    let split: Split = options.first().map_or("test", String::as_str).parse()?;
    let count = options.get(1).map_or(Ok(100), |text| text.parse::<u64>())?;
    let seed = options.get(2).map_or(Ok(0), |text| text.parse::<u64>())?;
    export(&World::new(seed).with_bias(biased), split, count, Path::new(folder))?;
    Ok(format!("{count} {split} scenes of seed {seed} in {folder}"))
}
