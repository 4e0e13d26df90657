//! What a training did to a model.

pub mod checkpoint_difference;
