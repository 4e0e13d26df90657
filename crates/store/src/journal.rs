//! The list of complete shards: a line each, appended once the shard is safe on disk.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

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

/// The shards of a folder: none, if there is no list. A last line without its end was being written when the process
/// was killed, and does not count.
pub(crate) fn read(folder: &Path) -> Result<Vec<Shard>, StoreError> {
    let path = folder.join(FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(parse(&path, &text)?.0),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(StoreError::Io { path, source }),
    }
}

/// Shards, and how many bytes of the text are theirs.
fn parse(path: &Path, text: &str) -> Result<(Vec<Shard>, usize), StoreError> {
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    let mut shards: Vec<Shard> = Vec::new();
    for (at, line) in text[..whole].lines().enumerate() {
        let wrong = |found: &dyn std::fmt::Display, expected: &str| {
            StoreError::broken(path, format!("line {}: {found}", at + 1), expected)
        };
        let shard: Shard = serde_json::from_str(line).map_err(|e| wrong(&e, "a shard"))?;
        let before = shards.last().map_or(0, |last| last.to);
        if shard.file != Shard::name(at) || shard.from != before || shard.to <= shard.from {
            let found = format!("`{}` of samples {} to {}", shard.file, shard.from, shard.to);
            return Err(wrong(&found, &format!("`{}` from sample {before} on", Shard::name(at))));
        }
        shards.push(shard);
    }
    Ok((shards, whole))
}

/// Opens the list to go on with it. What a killed process left of a line is cut off.
pub(crate) fn resume(folder: &Path) -> Result<(Vec<Shard>, File), StoreError> {
    let path = folder.join(FILE);
    let io = || StoreError::io(&path);
    let mut file =
        File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(io())?;
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(io())?;
    let (shards, whole) = parse(&path, &text)?;
    file.set_len(whole as u64).map_err(io())?;
    file.seek(SeekFrom::End(0)).map_err(io())?;
    Ok((shards, file))
}

/// Enters a shard; it exists from then on.
pub(crate) fn append(folder: &Path, file: &mut File, shard: &Shard) -> Result<(), StoreError> {
    let path = folder.join(FILE);
    let mut line = serde_json::to_vec(shard).map_err(|e| StoreError::broken(&path, e, "a line"))?;
    line.push(b'\n');
    file.write_all(&line).and_then(|()| file.sync_data()).map_err(StoreError::io(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(i: usize, from: u64, to: u64) -> String {
        let shard = Shard { file: Shard::name(i), rows: 3, from, to, bytes: 9, sha256: "0".repeat(64) };
        serde_json::to_string(&shard).unwrap() + "\n"
    }

    #[test]
    fn half_a_line_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        assert!(read(folder.path()).unwrap().is_empty());
        let two = line(0, 0, 4) + &line(1, 4, 6);
        for cut in 0..two.len() {
            std::fs::write(&path, &two[..cut]).unwrap();
            let whole = two[..cut].matches('\n').count();
            assert_eq!(read(folder.path()).unwrap().len(), whole, "{cut}");
            let (shards, mut file) = resume(folder.path()).unwrap();
            assert_eq!(shards.len(), whole);
            let next = Shard { from: shards.last().map_or(0, |s| s.to), to: 9, ..shard(whole) };
            append(folder.path(), &mut file, &next).unwrap();
            assert_eq!(read(folder.path()).unwrap().len(), whole + 1, "{cut}");
        }
    }

    fn shard(i: usize) -> Shard {
        Shard { file: Shard::name(i), rows: 1, from: 0, to: 1, bytes: 1, sha256: String::new() }
    }

    #[test]
    fn a_list_with_a_gap_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), line(0, 0, 4) + &line(1, 5, 6)).unwrap();
        let said = read(folder.path()).unwrap_err().to_string();
        assert!(said.contains("line 2: `shard-000001.safetensors` of samples 5 to 6"), "{said}");
        assert!(said.contains("expected `shard-000001.safetensors` from sample 4 on"), "{said}");
    }
}
