//! What methods that learn from rows settle alike.

pub(super) use mmlens_core::Split;
