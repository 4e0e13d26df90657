//! Which files of a folder hold the weights.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::error::CheckpointError;
use super::json::{ConfigError, read_json_within};

pub(super) const SINGLE: &str = "model.safetensors";
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// The most bytes of an index. Those of models with a hundred thousand tensors have some ten million.
const MOST_INDEX_BYTES: u64 = 1 << 26;
/// The most values in it: two for each tensor.
const MOST_INDEX_VALUES: usize = 1 << 22;

/// What a folder holds.
#[derive(Debug)]
pub(super) enum Found {
    Single(PathBuf),
    Index(ShardIndex),
}

/// `model.safetensors.index.json`: which shard each tensor is in.
#[derive(Debug)]
pub(super) struct ShardIndex {
    file: PathBuf,
    dir: PathBuf,
    shards: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
struct RawIndex {
    weight_map: BTreeMap<String, String>,
}

impl RawIndex {
    fn read(file: &Path) -> Result<Self, ConfigError> {
        read_json_within(file, MOST_INDEX_BYTES, MOST_INDEX_VALUES)
    }
}

/// Looks for weights in `dir`: one file if it is there, else the index.
pub(super) fn find(dir: &Path) -> Result<Found, CheckpointError> {
    // Whatever stands there: what is no file is refused once it is opened.
    let single = dir.join(SINGLE);
    if single.exists() {
        return Ok(Found::Single(single));
    }
    let index = dir.join(INDEX);
    if index.exists() {
        return Ok(Found::Index(ShardIndex::read(index, dir)?));
    }
    let listing = std::fs::read_dir(dir).map_err(|source| CheckpointError::Io {
        file: dir.to_owned(),
        doing: "list the folder",
        source,
    })?;
    let mut found: Vec<String> =
        listing.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    found.sort();
    Err(CheckpointError::NoWeights { dir: dir.to_owned(), found })
}

/// The shards that an index in `dir` names; none, if there is no index.
pub(super) fn named(dir: &Path) -> Result<BTreeSet<String>, CheckpointError> {
    let file = dir.join(INDEX);
    let index = match RawIndex::read(&file) {
        Err(ConfigError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => None,
        read => Some(read?),
    };
    let shards: BTreeSet<String> =
        index.into_iter().flat_map(|index| index.weight_map.into_values()).collect();
    match shards.iter().find(|shard| !is_plain(shard)) {
        Some(shard) => Err(CheckpointError::ShardName { index: file, shard: shard.clone() }),
        None => Ok(shards),
    }
}

/// Whether a name leads to a file of the folder.
fn is_plain(shard: &str) -> bool {
    let mut parts = Path::new(shard).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
}

impl ShardIndex {
    fn read(file: PathBuf, dir: &Path) -> Result<Self, CheckpointError> {
        let RawIndex { weight_map } = RawIndex::read(&file)?;
        let mut shards: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (tensor, shard) in weight_map {
            shards.entry(shard).or_default().push(tensor);
        }
        for (shard, tensors) in &shards {
            if !is_plain(shard) {
                return Err(CheckpointError::ShardName { index: file, shard: shard.clone() });
            }
            if !dir.join(shard).exists() {
                let (shard, example) = (shard.clone(), tensors.first().cloned().unwrap_or_default());
                return Err(CheckpointError::MissingShard {
                    index: file,
                    shard,
                    tensors: tensors.len(),
                    example,
                });
            }
        }
        Ok(Self { file, dir: dir.to_owned(), shards })
    }

    /// The shards, each once.
    pub(super) fn files(&self) -> impl Iterator<Item = PathBuf> {
        self.shards.keys().map(|shard| self.dir.join(shard))
    }

    /// Whether each tensor is in the shard it should be in; `place` says in which file a tensor is.
    pub(super) fn check<'a>(&self, place: impl Fn(&str) -> Option<&'a Path>) -> Result<(), CheckpointError> {
        for (shard, tensors) in &self.shards {
            let file = self.dir.join(shard);
            for tensor in tensors {
                if place(tensor) != Some(&file) {
                    let (index, tensor, shard) = (self.file.clone(), tensor.clone(), shard.clone());
                    return Err(CheckpointError::NotInShard { index, tensor, shard });
                }
            }
        }
        Ok(())
    }
}
