//! What the examples say, and what is built in them, holds; of those that take long, on less.
//!
//! One program, since each would hold Burn anew.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::duplicate_mod, reason = "programs, which share modules")]

mod benchmark;
mod causal;
mod data_room;
mod design;
mod evaluation;
mod features;
mod hallucination;
mod inference;
mod influence;
mod layers;
mod maps;
mod matrix;
mod neurons;
mod outside;
mod own_architecture;
mod own_engine;
mod own_kernel;
mod side_by_side;
mod tokens;
mod training;
mod whatif;
