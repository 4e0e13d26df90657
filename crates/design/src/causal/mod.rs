//! Causes told apart: what the picture does, what the words do, what both do together, and which units carry it.

mod answers;
pub mod causal_mediation;
pub mod cf_vqa;
mod design;
pub mod emap;
pub mod modality_effects;
pub mod modality_effects_over_cases;

pub use design::{Exchange, Measured};
