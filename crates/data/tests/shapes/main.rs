//! The shapes world against a second reading of it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod edits;
mod files;
mod questions;
mod scenes;
mod support;
