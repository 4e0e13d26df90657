//! Concepts, surrogates and causal effects: against other libraries, against identities, against misuse.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "the pages of the methods quote the gaps printed here")]

mod bottleneck;
mod causal;
mod causal_truths;
mod contracts;
mod emap;
mod prototypes;
mod sparse;
mod support;
mod tcav;
mod trees;
