//! Features: what the directions of activations stand for.

pub mod concepts;
pub mod embedding_parts;
pub mod inlp;
pub mod linear_probe;
pub mod modality_gap;
pub mod project_away;
pub mod sparse_autoencoder;
pub mod splice;
mod taken_off;
pub mod text_span;
mod tower_sum;
