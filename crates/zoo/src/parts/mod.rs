//! The parts architectures are made of. Each exists once; a model family is a choice of them.

mod activation;
mod attention;
mod block;
mod linear;
mod mlp;
mod norm;
mod rotary;

pub use activation::Act;
pub use attention::{Attention, AttentionShape, KvCache, Masking};
pub use block::{Block, block_sites};
pub use linear::{Embedding, Linear};
pub use mlp::Mlp;
pub use norm::Norm;
pub use rotary::{RopeConfig, RopeError, RopeKind, Rotation};
