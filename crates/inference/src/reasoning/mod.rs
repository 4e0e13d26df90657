//! Chains of thought: whether an answer needs what is said before it.

pub mod early_answering;
