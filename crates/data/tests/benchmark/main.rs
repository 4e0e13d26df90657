//! Benchmarks: what is read, how it is scored, and what a run leaves behind.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod readers;
mod refused;
mod scores;
