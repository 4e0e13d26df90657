//! What goes in: how much each modality matters, and what a word makes of a picture.

pub mod minimal_pairs;
pub mod modality_ablation;
