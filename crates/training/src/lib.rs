//! Training under mmlens: which training examples an answer rests on, what a training did to the states of a model, and losses that ask for right reasons.
//!
//! `docs/training.md` says which to use when.

mmlens_core::methods! {}

mmlens_core::fits! {}
