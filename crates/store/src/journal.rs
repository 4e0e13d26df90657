//! The list of complete shards: a line each, appended once the shard is safe on disk.

use std::path::Path;

use mmlens_files::Journal;
use serde::{Deserialize, Serialize};

use crate::StoreError;

pub(crate) const FILE: &str = "shards.jsonl";

/// A complete shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// The file.
    pub file: String,
    /// Rows in it.
    pub rows: u64,
    /// The first of its samples.
    pub from: u64,
    /// The sample after the last.
    pub to: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Of the file, in hexadecimal.
    pub sha256: String,
}

impl Shard {
    /// What shard number `i` is called.
    pub(crate) fn name(i: usize) -> String {
        format!("shard-{i:06}.safetensors")
    }
}

/// The shards of a folder: none, if there is no list.
pub(crate) fn read(folder: &Path) -> Result<Vec<Shard>, StoreError> {
    let path = folder.join(FILE);
    parse(&path, &Journal::read(&path).map_err(StoreError::io(&path))?)
}

/// Opens the list to go on with it; another process cannot, as long as it is held.
pub(crate) fn resume(folder: &Path) -> Result<(Vec<Shard>, Journal), StoreError> {
    let path = folder.join(FILE);
    let (journal, lines) = Journal::open(&path).map_err(|source| match source.kind() {
        std::io::ErrorKind::WouldBlock => StoreError::Busy { path: folder.to_owned() },
        _ => StoreError::Io { path: path.clone(), source },
    })?;
    Ok((parse(&path, &lines)?, journal))
}

fn parse(path: &Path, lines: &[String]) -> Result<Vec<Shard>, StoreError> {
    let mut shards: Vec<Shard> = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let wrong = |found: &dyn std::fmt::Display, expected: &str| {
            StoreError::broken(path, format!("line {}: {found}", at + 1), expected)
        };
        let shard: Shard = mmlens_files::parse_json(line.as_bytes()).map_err(|e| wrong(&e, "a shard"))?;
        let before = shards.last().map_or(0, |last| last.to);
        if shard.file != Shard::name(at) || shard.from != before || shard.to <= shard.from {
            let found = format!("`{}` of samples {} to {}", shard.file, shard.from, shard.to);
            return Err(wrong(&found, &format!("`{}` from sample {before} on", Shard::name(at))));
        }
        shards.push(shard);
    }
    Ok(shards)
}

/// Enters a shard; it exists from then on.
pub(crate) fn append(folder: &Path, journal: &mut Journal, shard: &Shard) -> Result<(), StoreError> {
    let path = folder.join(FILE);
    let line = serde_json::to_string(shard).map_err(|e| StoreError::broken(&path, e, "a line"))?;
    journal.append(&line).map_err(StoreError::io(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_with_a_gap_is_refused() {
        let line = |i: usize, from: u64, to: u64| {
            let shard = Shard { file: Shard::name(i), rows: 3, from, to, bytes: 9, sha256: "0".repeat(64) };
            serde_json::to_string(&shard).unwrap() + "\n"
        };
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), line(0, 0, 4) + &line(1, 5, 6)).unwrap();
        let said = read(folder.path()).unwrap_err().to_string();
        assert!(said.contains("line 2: `shard-000001.safetensors` of samples 5 to 6"), "{said}");
        assert!(said.contains("expected `shard-000001.safetensors` from sample 4 on"), "{said}");
    }
}
