//! Steering: a direction is learned from examples, and added while an answer is written.

pub mod caa;
mod steered;
