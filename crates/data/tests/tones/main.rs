//! The tones world against a second reading of it, by its text and by its spectrograms.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod edits;
mod evidence;
mod files;
mod listener;
mod questions;
mod scenes;
mod support;
