//! Writes scenes of a world to a folder: of the shapes world pictures and label images, of the tones world WAV files, and of
//! both a line of JSON for each scene.
//!
//! ```text
//! cargo run --release --example export_world -- WORLD FOLDER [SPLIT] [COUNT] [SEED] [biased]
//! ```

use std::path::Path;
use std::process::ExitCode;

use mmlens::data::shapes::Split;
use mmlens::data::{shapes, tones};

const USAGE: &str = "usage: export_world shapes|tones FOLDER [train|validation|test] [COUNT] [SEED] [biased]";

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
    let [world, folder, options @ ..] = arguments else { return Err(USAGE.into()) };
    if options.len() > 3 {
        return Err(USAGE.into());
    }
    let split: Split = options.first().map_or("test", String::as_str).parse()?;
    let count = options.get(1).map_or(Ok(100), |text| text.parse::<u64>())?;
    let seed = options.get(2).map_or(Ok(0), |text| text.parse::<u64>())?;
    let path = Path::new(folder);
    match world.as_str() {
        "shapes" => shapes::export(&shapes::World::new(seed).with_bias(biased), split, count, path)?,
        "tones" => tones::export(&tones::World::new(seed).with_bias(biased), split, count, path)?,
        _ => return Err(USAGE.into()),
    }
    Ok(format!("{count} {split} scenes of {world}, seed {seed}, in {folder}"))
}
