//! The program `mmlens`: the answer of a multimodal model, why it was given, and what its inside holds.
//!
//! It is a library so that what reads files here is fuzzed like every other reader; it promises nothing to anybody else.

mod audio;
mod boxes;
mod caution;
mod commands;
mod edits;
mod export;
#[doc(hidden)]
pub mod files;
mod input;
mod job;
mod learned;
mod methods;
mod model;
mod pairs;
mod place;
mod print;
mod progress;
mod refusal;
mod tables;
mod tensors;
mod threads;

use std::backtrace::Backtrace;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use commands::Cli;

/// What the last panic said, and where it was.
static FAULT: Mutex<Option<String>> = Mutex::new(None);

/// Runs the program with the arguments of the process.
#[must_use]
pub fn main() -> ExitCode {
    // A panic that a library catches and tells as an error is no fault of the program: what it said is held back until it is
    // known that nobody caught it.
    std::panic::set_hook(Box::new(|fault| {
        if std::env::var_os("RUST_BACKTRACE").is_some() {
            print::note(&format!("{fault}\n{}", Backtrace::capture()));
        }
        FAULT.lock().unwrap_or_else(PoisonError::into_inner).replace(fault.to_string());
    }));
    let run = || {
        let cli = Cli::read().map_err(|error| (error, ExitCode::FAILURE))?;
        cli.run().map_err(|error| (error, cli.failed()))
    };
    match std::panic::catch_unwind(run) {
        Ok(Ok(code)) => code,
        Ok(Err((error, _))) if error.is::<clap::Error>() => {
            print::error(error.to_string().trim_start_matches("error: ").trim_end());
            ExitCode::from(2)
        }
        Ok(Err(_)) if progress::stopped() => {
            print::note("stopped; what is whole is kept, and the same command goes on from there");
            ExitCode::from(progress::CUT_OFF)
        }
        Ok(Err((error, code))) => {
            print::error(&print::chain(&error));
            code
        }
        Err(_) => {
            let fault = FAULT.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
            print::error(&format!(
                "a fault of mmlens itself, which should not be: {fault}; please report it at {}",
                env!("CARGO_PKG_REPOSITORY")
            ));
            ExitCode::from(101)
        }
    }
}
