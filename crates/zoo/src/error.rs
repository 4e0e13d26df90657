//! What can go wrong in the zoo, as values: what, where, found, expected.

use crate::checkpoint::{CheckpointError, ConfigError};

/// Any error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ZooError {
    /// Weights could not be read, or do not fit the model.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A JSON file beside the weights could not be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
}
