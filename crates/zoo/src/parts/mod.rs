//! The parts architectures are made of. Each exists once; a model family is a choice of them.

mod activation;
mod attention;
mod block;
mod cache;
mod encode;
mod linear;
mod logits;
mod mlp;
pub(crate) mod named;
mod norm;
mod rotary;

pub use activation::Act;
pub use attention::{Attention, AttentionShape, Context};
pub use block::{Block, Norms};
pub use cache::KvCache;
pub(crate) use cache::{chosen, picked};
pub use encode::encode;
pub use linear::{Embedding, Linear};
pub use logits::{selected_logits, selected_states};
pub use mlp::Mlp;
pub use mmlens_kernels::{Masking, Padding, Reach};
pub use named::Named;
pub use norm::Norm;
pub use rotary::{RopeConfig, RopeError, RopeKind, Rotation};
