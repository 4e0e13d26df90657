//! Single neurons: what makes them fire, what they stand for, what they write, and what goes wrong without them.

pub mod clip_dissect;
pub mod exemplars;
pub mod group_ablation;
mod groups;
pub mod lape;
pub mod multimodal_neurons;
pub mod network_dissection;
pub mod selectivity;
pub mod value_vectors;
mod written;
