//! The waist: plans, runs and traces on a toy subject.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod altered;
mod broken;
mod heard;
mod loud;
mod passes;
mod toy;
