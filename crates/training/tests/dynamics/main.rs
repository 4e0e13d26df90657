//! What a training did: against NumPy, against what was planted, against misuse.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "the pages of the methods quote the gaps printed here")]

mod checkpoints;
#[path = "../common/mod.rs"]
mod common;
mod contracts;
mod record;
mod right_reasons;
