//! What a training did to a model: between two checkpoints, and over all that were kept.

pub mod checkpoint_difference;
pub mod recorder;
