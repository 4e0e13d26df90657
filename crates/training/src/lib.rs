//! Training under mmlens: which training examples an answer rests on, what a training did to the states of a model, and losses that ask for right reasons.
//!
//! `docs/training.md` says which to use when. What compares a case with training cases is learned from them first ([`FITS`]), and is a method of single cases then.

pub mod dynamics;
pub mod influence;
pub mod losses;

pub use dynamics::recorder::{self, Recorder};
pub use influence::head::Headed;
pub use influence::{Ensemble, Influence, Learned, Learner, Taught};
pub use losses::right_reasons::{self, RightReasons};

mmlens_core::methods! {
    dynamics::checkpoint_difference::CheckpointDifference,
}

mmlens_core::fits! {
    influence::trac_in::TracIn,
    influence::trak::Trak,
    influence::gradient_similarity::GradientSimilarity,
    influence::feature_similarity::FeatureSimilarity,
    influence::bm25::Bm25,
}
