//! `cargo xtask check`: what every change must pass, cheapest first.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program prints")]

mod arrows;
mod check;
mod fuzz;
mod methods;
mod models;
mod mutate;
mod nan;
mod prose;
mod words;
mod writes;

use std::path::PathBuf;
use std::process::ExitCode;

const HELP: &str = "\
cargo xtask check [STEP...]     run the steps named, or all of them, cheapest first; stop at the first that fails
        --keep-going            run the rest all the same
        --devices               run the tests in a build with every device (a Vulkan driver must be there)
cargo xtask fuzz [TARGET...] [--cases N] [--seed S] [--devices]
                                mutate the seeds of every reader's target and run them within limits;
                                with --devices in the build that `check --devices` leaves
cargo xtask fuzz --coverage TARGET [SECONDS]
                                the same target under libFuzzer, in an instrumented build of its own
cargo xtask models              write docs/models.md from what was checked
cargo xtask mutate [NAME...]    plant the mistakes of xtask/mutations, or those whose name contains a word, one at a time
        --all                   try what its own tests do not notice on every test
        --json                  tell what was found as JSON
        --list                  tell what the mistakes are, and build nothing
cargo xtask steps               what the steps are";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["check", rest @ ..] => {
            let (keep_going, devices) = (rest.contains(&"--keep-going"), rest.contains(&"--devices"));
            let asked: Vec<&str> =
                rest.iter().copied().filter(|word| !["--keep-going", "--devices"].contains(word)).collect();
            match check::choose(&asked) {
                Ok(steps) if check::run(&check::Tree { root: root(), devices }, &steps, keep_going) => {
                    ExitCode::SUCCESS
                }
                Ok(_) => ExitCode::FAILURE,
                Err(fault) => {
                    eprintln!("{fault}");
                    ExitCode::from(2)
                }
            }
        }
        ["fuzz", rest @ ..] => match fuzz::run(&root(), rest) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(fault) => {
                eprintln!("{fault}");
                ExitCode::from(2)
            }
        },
        ["models"] => match models::write(&root()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(fault) => {
                eprintln!("{fault}");
                ExitCode::FAILURE
            }
        },
        ["mutate", rest @ ..] => {
            match mutate::Options::read(rest).and_then(|asked| mutate::run(&root(), &asked)) {
                Ok(true) => ExitCode::SUCCESS,
                Ok(false) => ExitCode::FAILURE,
                Err(fault) => {
                    eprintln!("{fault}");
                    ExitCode::from(2)
                }
            }
        }
        ["steps"] => {
            for step in check::STEPS {
                println!("{:9} {}", step.name, step.about);
            }
            ExitCode::SUCCESS
        }
        [] | ["help" | "--help" | "-h"] => {
            println!("{HELP}");
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("{HELP}");
            ExitCode::from(2)
        }
    }
}

/// The root of the workspace. Cargo says where this package lies when it runs it.
fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    here.and_then(|folder| folder.parent().map(PathBuf::from)).unwrap_or_else(|| PathBuf::from("."))
}
