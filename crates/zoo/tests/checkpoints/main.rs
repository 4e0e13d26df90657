//! Checkpoints, from their files to what their models say: readers, processors, words, families, generation.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod blip;
mod certify;
mod chat;
mod checkpoint;
mod classifier;
mod dual_encoders;
mod ears;
mod encoders;
mod generation;
mod identities;
mod nulls;
mod processor;
mod qwen_eyes;
mod qwen_identities;
mod reply;
mod rope;
