//! Data for mmlens: the shapes world and the tones world, generators of scenes, questions and the evidence for each answer; data
//! sets that others made, read, answered and scored.
//!
//! ```
//! use mmlens_data::shapes::{Kind, Split, World};
//!
//! let world = World::new(7).with_bias(true);
//! let scene = world.scene(Split::Train, 0);
//! let mut rng = scene.rng(0);
//! for question in scene.sample(4, &mut rng, &[(Kind::Colour, 1.0), (Kind::Describe, 1.0)]) {
//!     assert!(!question.answer.is_empty());
//! }
//! assert_eq!(scene.render().dimensions(), (64, 64));
//! ```

mod balance;
pub mod benchmark;
mod bias;
mod drawn;
mod exported;
pub mod foil;
pub mod grounded;
pub mod input;
mod named;
pub mod rationale;
mod score;
mod sentence;
pub mod shapes;
pub mod tones;
pub mod worlds;

mmlens_core::methods! {
    input::modality_ablation::ModalityAblation,
    input::minimal_pairs::MinimalPairs,
}

mmlens_core::fits! {}
