//! Prototypes: cases told by what they look like.

pub mod prototypes;
