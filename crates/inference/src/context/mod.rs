//! What a model makes of examples in its prompt.

pub mod in_context;
