//! Writing checkpoints that this crate and Python's libraries read alike.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use burn::tensor::Tensor;
use mmlens_files::{Target, write, write_tensors};
use safetensors::{Dtype, View};
use serde_json::json;

use super::error::CheckpointError;
use super::{shards, widen};

/// A tensor in the memory of the host.
#[derive(Debug, Clone, PartialEq)]
pub struct HostTensor {
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl HostTensor {
    /// Values row by row; `name` is what the error calls the tensor.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Count`] if `values` are not as many as `shape` says.
    pub fn new(name: &str, shape: Vec<usize>, values: Vec<f32>) -> Result<Self, CheckpointError> {
        if shape.iter().try_fold(1usize, |n, &side| n.checked_mul(side)) == Some(values.len()) {
            return Ok(Self { shape, values });
        }
        Err(CheckpointError::Count { tensor: name.to_owned(), shape, found: values.len() })
    }

    /// Brings a tensor of a device to the host; `name` is what the error calls it.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Transfer`] if the device fails.
    pub fn read<const D: usize>(name: &str, tensor: Tensor<D>) -> Result<Self, CheckpointError> {
        let shape = tensor.dims().to_vec();
        let values = tensor
            .try_into_vec_as::<f32>()
            .map_err(|e| CheckpointError::Transfer { tensor: name.to_owned(), problem: e.to_string() })?;
        Ok(Self { shape, values })
    }

    /// The shape.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The values, row by row.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.values
    }
}

/// The element type that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum StoredFloat {
    /// 32 bits: as it is.
    #[default]
    F32,
    /// 16 bits, each value rounded to the nearest.
    Bf16,
}

/// How to write.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct SaveSettings {
    /// The element type.
    pub dtype: StoredFloat,
    /// Free text for the header, besides the `format` that Python's libraries ask for.
    pub metadata: BTreeMap<String, String>,
    /// The most bytes of data in one file; without it there is one file ([`save_checkpoint`] only).
    pub shard_bytes: Option<u64>,
}

impl SaveSettings {
    /// One file of `f32`.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the element type.
    #[must_use]
    pub fn dtype(mut self, dtype: StoredFloat) -> Self {
        self.dtype = dtype;
        self
    }

    /// Adds free text to the header.
    #[must_use]
    pub fn metadata(mut self, key: &str, text: &str) -> Self {
        self.metadata.insert(key.to_owned(), text.to_owned());
        self
    }

    /// Sets the most bytes of data in one file. A tensor larger than that gets a file of its own.
    #[must_use]
    pub fn shard_bytes(mut self, bytes: u64) -> Self {
        self.shard_bytes = Some(bytes);
        self
    }
}

/// Writes one safetensors file, whole or not at all: see [`Target`].
///
/// # Errors
///
/// [`CheckpointError::WrittenTwice`] or [`CheckpointError::Write`].
pub fn save_safetensors(
    file: impl AsRef<Path>,
    tensors: impl IntoIterator<Item = (String, HostTensor)>,
    settings: &SaveSettings,
) -> Result<(), CheckpointError> {
    let file = file.as_ref();
    save(file, &unique(file, tensors)?.iter().collect::<Vec<_>>(), settings)
}

/// Writes `model.safetensors` into `dir`; or shards and `model.safetensors.index.json` if [`SaveSettings::shard_bytes`]
/// asks for it and the weights are larger.
///
/// Weights that were there before are what a reader finds until the new ones are whole, and are then removed: shards get names
/// that the index there does not use (`model-v2-00001-of-00003.safetensors`), and the index is written last.
///
/// # Errors
///
/// As [`save_safetensors`]; what says of an index that is there why it cannot be read.
pub fn save_checkpoint(
    dir: impl AsRef<Path>,
    tensors: impl IntoIterator<Item = (String, HostTensor)>,
    settings: &SaveSettings,
) -> Result<(), CheckpointError> {
    let dir = dir.as_ref();
    let (single, index) = (dir.join(shards::SINGLE), dir.join(shards::INDEX));
    let tensors = unique(&single, tensors)?;
    let parts = split(&tensors, settings);
    let before = shards::named(dir)?;
    if parts.len() <= 1 {
        save(&single, &tensors.iter().collect::<Vec<_>>(), settings)?;
        return remove(std::iter::once(index).chain(before.iter().map(|shard| dir.join(shard))));
    }
    let total: u64 = tensors.values().map(|tensor| bytes_of(tensor, settings.dtype)).sum();
    let names = free_names(parts.len(), &before);
    let mut weight_map = serde_json::Map::new();
    for (name, part) in names.iter().zip(&parts) {
        save(&dir.join(name), part, settings)?;
        weight_map.extend(part.iter().map(|(tensor, _)| ((*tensor).clone(), json!(name))));
    }
    let text = json!({ "metadata": { "total_size": total }, "weight_map": weight_map });
    write(&index, format!("{text:#}\n"))?;
    // One file would be taken before an index.
    remove(std::iter::once(single).chain(before.iter().map(|shard| dir.join(shard))))
}

/// Names of shards, none of which is used.
fn free_names(count: usize, used: &BTreeSet<String>) -> Vec<String> {
    let named = |version: usize| -> Vec<String> {
        let version = if version == 1 { String::new() } else { format!("v{version}-") };
        (1..=count).map(|i| format!("model-{version}{i:05}-of-{count:05}.safetensors")).collect()
    };
    (1..).map(named).find(|names| names.iter().all(|name| !used.contains(name))).unwrap_or_default()
}

/// Removes files that may be there.
fn remove(files: impl Iterator<Item = PathBuf>) -> Result<(), CheckpointError> {
    for file in files {
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(CheckpointError::Io {
                    file,
                    doing: "remove the weights of before",
                    source: error,
                });
            }
            _ => {}
        }
    }
    Ok(())
}

type Named<'a> = (&'a String, &'a HostTensor);

fn unique(
    file: &Path,
    tensors: impl IntoIterator<Item = (String, HostTensor)>,
) -> Result<BTreeMap<String, HostTensor>, CheckpointError> {
    let mut all = BTreeMap::new();
    let mut twice = BTreeSet::new();
    for (name, tensor) in tensors {
        if all.insert(name.clone(), tensor).is_some() {
            twice.insert(name);
        }
    }
    match twice.pop_first() {
        Some(tensor) => Err(CheckpointError::WrittenTwice { file: file.to_owned(), tensor }),
        None => Ok(all),
    }
}

/// Fills one file after the other, in the order of the names.
fn split<'a>(tensors: &'a BTreeMap<String, HostTensor>, settings: &SaveSettings) -> Vec<Vec<Named<'a>>> {
    let limit = settings.shard_bytes.unwrap_or(u64::MAX);
    let mut shards: Vec<Vec<Named<'a>>> = Vec::new();
    let mut room = 0;
    for named in tensors {
        let size = bytes_of(named.1, settings.dtype);
        match shards.last_mut() {
            Some(shard) if size <= room => shard.push(named),
            _ => {
                shards.push(vec![named]);
                room = limit;
            }
        }
        room = room.saturating_sub(size);
    }
    shards
}

fn bytes_of(tensor: &HostTensor, dtype: StoredFloat) -> u64 {
    let each = match dtype {
        StoredFloat::F32 => 4,
        StoredFloat::Bf16 => 2,
    };
    tensor.values.len() as u64 * each
}

fn save(file: &Path, tensors: &[Named<'_>], settings: &SaveSettings) -> Result<(), CheckpointError> {
    let views = tensors.iter().map(|&(name, tensor)| (name, Stored { tensor, dtype: settings.dtype }));
    let format = ("format".to_owned(), "pt".to_owned());
    let metadata = settings.metadata.clone().into_iter().chain([format]).collect();
    Ok(Target::new(file)?.write(|out| write_tensors(out, views, &metadata))?)
}

/// One tensor as the format wants to see it; its bytes exist only while they are written.
struct Stored<'a> {
    tensor: &'a HostTensor,
    dtype: StoredFloat,
}

impl View for Stored<'_> {
    fn dtype(&self) -> Dtype {
        match self.dtype {
            StoredFloat::F32 => Dtype::F32,
            StoredFloat::Bf16 => Dtype::BF16,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.tensor.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(match self.dtype {
            StoredFloat::F32 => self.tensor.values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            StoredFloat::Bf16 => widen::to_bf16_bytes(&self.tensor.values),
        })
    }

    fn data_len(&self) -> usize {
        self.tensor.values.len() * if self.dtype == StoredFloat::F32 { 4 } else { 2 }
    }
}
