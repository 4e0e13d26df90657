//! Which training cases an answer rests on.
//!
//! Training cases are passed through the model once, and of each is kept how it is represented: by its gradient of the weights, by a state, by its words. A case that is
//! explained is represented alike, and every training case has a score. What is kept survives a kill case by case, and goes on to the same bits.

pub mod bm25;
mod ensemble;
pub mod feature_similarity;
pub mod gradient_similarity;
mod gradients;
pub mod head;
mod journal;
mod learned;
mod measure;
mod ranked;
pub mod trac_in;
pub mod trak;

pub use ensemble::Ensemble;
pub use gradients::{Projected, Settings};
pub use learned::{Influence, Learned};
pub use measure::{Learner, Measure, Represent, Represented, Taught, Weighed};
