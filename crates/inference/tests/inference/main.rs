//! Decoders and measures of uncertainty: against transformers, against identities, against misuse.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "the pages of the methods quote the gaps printed here")]

mod chains;
mod context;
mod contracts;
mod decoders;
mod oracles;
mod steered;
mod support;
mod uncertain;
