//! One number for all the weights.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::{Checkpoint, CheckpointError};

/// Each text and each list is preceded by its length, so that no two checkpoints feed the same bytes.
pub(super) fn of(checkpoint: &Checkpoint) -> Result<String, CheckpointError> {
    let mut hasher = Sha256::new();
    for (name, stored) in &checkpoint.tensors {
        let bytes = checkpoint.bytes(name)?;
        let dtype = stored.dtype.to_string();
        for text in [name.as_bytes(), dtype.as_bytes()] {
            hasher.update((text.len() as u64).to_le_bytes());
            hasher.update(text);
        }
        hasher.update((stored.shape.len() as u64).to_le_bytes());
        for &side in &stored.shape {
            hasher.update((side as u64).to_le_bytes());
        }
        hasher.update(&bytes);
    }
    let mut digits = String::with_capacity(64);
    for byte in hasher.finalize() {
        // Writing to a string cannot fail.
        let _ = write!(digits, "{byte:02x}");
    }
    Ok(digits)
}
