//! Concepts that people have names for: whether a model uses them, and models that answer by way of them.

pub mod bottleneck;
pub mod tcav;
