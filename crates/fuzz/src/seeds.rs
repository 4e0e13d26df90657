//! Inputs that once went wrong, kept.

use std::fs;
use std::path::Path;

use anyhow::Context;

/// Those of a target, `seeds/NAME/*`, in the order of their names.
pub(crate) fn kept(target: &str) -> anyhow::Result<Vec<Vec<u8>>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let list = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    let mut files = list.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    files.sort();
    files.iter().map(|file| fs::read(file).with_context(|| file.display().to_string())).collect()
}
