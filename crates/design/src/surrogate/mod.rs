//! Simple models in the place of a model: how few features its answer can be read from, and which rules it could be thought to follow.

pub mod cart;
pub mod decision_tree;
pub mod sparse_head;
