//! Architectures designed to be understood, and what stands in for one that was not: directions of concepts, bottlenecks, sparse heads, trees, prototypes, and the effects of modalities told apart as causes.
//!
//! `docs/design.md` says which to use when.

mmlens_core::methods! {}

mmlens_core::fits! {}
