//! Features: what the directions of activations stand for.

pub mod linear_probe;
