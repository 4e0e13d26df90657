//! The analyses: against other libraries, against identities, against misuse.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod contracts;
mod identities;
mod oracles;
mod refusals;
mod support;
