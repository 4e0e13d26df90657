//! The program `mmlens`: the answer of a multimodal model, why it was given, and what its inside holds.

mod classes;
mod commands;
mod input;
mod methods;
mod model;
mod pairs;
mod print;
mod progress;
mod refusal;
mod tensors;

use std::process::ExitCode;

use clap::Parser;

use commands::Cli;

/// Activations come and go by the megabyte; the system's allocator gives every one back and takes fresh pages for the next.
#[global_allocator]
static MEMORY: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|fault| {
        print::error(&format!(
            "a fault of mmlens itself, which should not be: {fault}; please report it at {}",
            env!("CARGO_PKG_REPOSITORY")
        ));
    }));
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has seen enough.
        Err(error) if print::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            print::error(&print::chain(&error));
            ExitCode::FAILURE
        }
    }
}
