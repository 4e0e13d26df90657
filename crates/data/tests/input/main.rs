//! Methods about data: against transformers, against identities, against misuse.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "the pages of the methods quote the gaps printed here")]

mod contracts;
mod gqa_rex;
mod modality;
mod pairs;
mod support;
mod texts;
