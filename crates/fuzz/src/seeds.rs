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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Outcome, Room, TARGETS};

    /// What once went wrong does not again, as it is and not only where a mutation comes by.
    #[test]
    fn what_is_kept_is_refused_by_name_or_taken() {
        let room = Room::new().unwrap();
        let mut looked_at = 0;
        for target in TARGETS {
            for bytes in kept(target.name).unwrap() {
                looked_at += 1;
                if let Outcome::Refused(said) = target.once(&room, &bytes).unwrap() {
                    let named = said.contains(&room.path().display().to_string());
                    assert!(named || !target.named, "{}: {said}", target.name);
                }
            }
        }
        assert!(looked_at > 15, "{looked_at}");
    }
}
