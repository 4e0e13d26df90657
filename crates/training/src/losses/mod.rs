//! Losses that a model is trained with so that it can be explained.

pub mod right_reasons;
