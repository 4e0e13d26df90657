//! Influence of training cases: against torch, captum and traker, against identities, against misuse.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "the pages of the methods quote the gaps printed here")]

#[path = "../common/mod.rs"]
mod common;
mod contracts;
mod head;
mod influence;
mod oracles;
mod properties;
mod support;
