//! Checkpoints: weights in safetensors files, as Hugging Face lays them out.
//!
//! [`Checkpoint`] opens a folder (one file, or shards with their index), one file, or bytes inside the program, and
//! checks every header before anything is read. [`Weights`] hands its tensors to a model under canonical names
//! ([`Layout`]) and reports everything that does not fit, at once. [`save_safetensors`] and [`save_checkpoint`] write.
//!
//! ```no_run
//! # use burn::tensor::{Device, Tensor};
//! use mmlens_zoo::checkpoint::{Checkpoint, Layout, WeightSource, Weights};
//! # fn main() -> Result<(), mmlens_zoo::ZooError> {
//! let checkpoint = Checkpoint::open("models/llava")?;
//! let head: Tensor<2> = Weights::new(&checkpoint, &Device::default())
//!     .layout(Layout::LLAVA)
//!     .ignore(&["model.vision_tower.post_layernorm.*"])
//!     .build(|weights| weights.take("lm_head.weight", [32_000, 4096]))?;
//! # Ok(())
//! # }
//! ```

mod error;
mod generation;
mod hash;
mod header;
mod json;
mod layout;
mod save;
mod shards;
mod storage;
mod weights;
mod widen;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub use safetensors::Dtype;

pub use error::{CheckpointError, HeaderProblem, Misfit};
pub use generation::{GenerationConfig, SequenceBias, one_or_many};
pub(crate) use json::parse_json_within;
pub use json::{
    ConfigError, MOST_CONFIG_BYTES, MOST_CONFIG_VALUES, parse_json, read_json, read_json_if_there, read_part,
};
pub use layout::{KNOWN_BUFFERS, Layout};
pub use save::{HostTensor, SaveSettings, StoredFloat, save_checkpoint, save_safetensors};
pub use storage::Access;
pub use weights::{WeightSource, Weights};

use storage::Storage;

use crate::redraw::Redraw;

/// Bytes that are widened at a time: whole elements of any type.
const PIECE: usize = 1 << 21;

/// The weights of a model, opened and checked but not read.
///
/// # Memory
///
/// The headers: a few hundred bytes for each tensor. Data is read when it is asked for, tensor by tensor.
#[derive(Debug)]
pub struct Checkpoint {
    origin: PathBuf,
    files: Vec<Storage>,
    tensors: BTreeMap<String, Stored>,
    metadata: BTreeMap<String, String>,
    hash: OnceLock<String>,
    redraw: Option<Redraw>,
}

/// What a checkpoint says of one tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TensorInfo<'a> {
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its shape.
    pub shape: &'a [usize],
    /// The file it is in.
    pub file: &'a Path,
}

/// Where a tensor is.
#[derive(Debug)]
struct Stored {
    file: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    range: Range<u64>,
}

impl Checkpoint {
    /// Opens a folder that holds `model.safetensors`, or shards and `model.safetensors.index.json`; or one
    /// safetensors file. Files are mapped into memory: see [`Access::Mapped`] for what that asks of you.
    ///
    /// # Errors
    ///
    /// [`CheckpointError`]: no weights there, a missing shard, or a file that is not whole.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        Self::open_with(path, Access::Mapped)
    }

    /// As [`Checkpoint::open`], with the say in how bytes come into memory.
    ///
    /// # Errors
    ///
    /// As [`Checkpoint::open`].
    pub fn open_with(path: impl AsRef<Path>, access: Access) -> Result<Self, CheckpointError> {
        let path = path.as_ref();
        if path.is_file() {
            return Self::assemble(path, vec![Storage::open(path, access)?]);
        }
        match shards::find(path)? {
            shards::Found::Single(file) => Self::assemble(path, vec![Storage::open(&file, access)?]),
            shards::Found::Index(index) => {
                let files =
                    index.files().map(|file| Storage::open(&file, access)).collect::<Result<_, _>>()?;
                let checkpoint = Self::assemble(path, files)?;
                index.check(|tensor| checkpoint.info(tensor).map(|info| info.file))?;
                Ok(checkpoint)
            }
        }
    }

    /// A safetensors file that is inside the program; `name` is what errors call it.
    ///
    /// # Errors
    ///
    /// [`CheckpointError`] if the bytes are not a whole safetensors file.
    pub fn from_bytes(name: &str, bytes: &'static [u8]) -> Result<Self, CheckpointError> {
        Self::assemble(Path::new(name), vec![Storage::embedded(name, bytes)])
    }

    /// The same, of which a model is given weights drawn anew. Its own values, its bytes and its hash stay those of the files.
    #[must_use]
    pub fn redrawn(self, redraw: Option<&Redraw>) -> Self {
        Self { redraw: redraw.cloned(), ..self }
    }

    fn assemble(origin: &Path, files: Vec<Storage>) -> Result<Self, CheckpointError> {
        let mut tensors: BTreeMap<String, Stored> = BTreeMap::new();
        let mut metadata = BTreeMap::new();
        for (file, storage) in files.iter().enumerate() {
            let header = storage.header()?;
            metadata.extend(header.metadata);
            for header::Entry { name, dtype, shape, range } in header.entries {
                if let Some(other) = tensors.get(&name) {
                    let (first, second) = (files[other.file].path.clone(), storage.path.clone());
                    return Err(CheckpointError::TwoShards { tensor: name, first, second });
                }
                tensors.insert(name, Stored { file, dtype, shape, range });
            }
        }
        Ok(Self { origin: origin.to_owned(), files, tensors, metadata, hash: OnceLock::new(), redraw: None })
    }

    /// The folder or file this came from.
    #[must_use]
    pub fn origin(&self) -> &Path {
        &self.origin
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// What is known of the tensor `name` without reading it.
    #[must_use]
    pub fn info(&self, name: &str) -> Option<TensorInfo<'_>> {
        let stored = self.tensors.get(name)?;
        Some(TensorInfo { dtype: stored.dtype, shape: &stored.shape, file: &self.files[stored.file].path })
    }

    /// The free text of the headers.
    #[must_use]
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The bytes of a tensor as they are in the file: little endian, row by row.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::NoTensor`], or [`CheckpointError::Io`] if the file cannot be read any more.
    pub fn bytes(&self, name: &str) -> Result<Cow<'_, [u8]>, CheckpointError> {
        let stored = self.stored(name)?;
        self.files[stored.file].read(stored.range.clone())
    }

    /// The values of a tensor of any floating type, as `f32`.
    ///
    /// # Errors
    ///
    /// As [`Checkpoint::bytes`], and [`CheckpointError::Dtype`] for elements that are no plain floats.
    ///
    /// # Memory
    ///
    /// The values, and at most 8 MiB beside them.
    pub fn floats(&self, name: &str) -> Result<Vec<f32>, CheckpointError> {
        let Stored { file, dtype, shape, range } = self.stored(name)?;
        let mut values = Vec::with_capacity(shape.iter().product());
        for start in range.clone().step_by(PIECE) {
            let piece = self.files[*file].read_away(start..range.end.min(start + PIECE as u64))?;
            let piece = widen::to_f32(&piece, *dtype);
            values.extend(piece.ok_or_else(|| self.wrong_dtype(name, *dtype, widen::FLOATS))?);
        }
        Ok(values)
    }

    /// The values of a tensor of integers.
    ///
    /// # Errors
    ///
    /// As [`Checkpoint::bytes`], and [`CheckpointError::Dtype`] for elements that are no integers, or beyond `i64`.
    pub fn integers(&self, name: &str) -> Result<Vec<i64>, CheckpointError> {
        let dtype = self.stored(name)?.dtype;
        widen::to_i64(&self.bytes(name)?, dtype)
            .ok_or_else(|| self.wrong_dtype(name, dtype, "integers within 64 bits and a sign"))
    }

    /// The SHA-256 of all names, types, shapes and bytes, in hexadecimal digits.
    ///
    /// It does not depend on how tensors are spread over files, nor on the metadata. Computed when first asked for
    /// (all weights are read then) and remembered.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Io`] if a file cannot be read any more.
    pub fn weights_hash(&self) -> Result<&str, CheckpointError> {
        if let Some(hash) = self.hash.get() {
            return Ok(hash);
        }
        let hash = hash::of(self)?;
        Ok(self.hash.get_or_init(|| hash))
    }

    /// That hash as a subject tells it, with what was drawn anew: where it cannot be computed, the reason.
    pub(crate) fn hash_or_reason(&self) -> String {
        let hash = self.weights_hash().map_or_else(|e| format!("unknown: {e}"), str::to_owned);
        self.redraw.as_ref().map_or_else(|| hash.clone(), |redraw| format!("{hash}, {redraw}"))
    }

    fn stored(&self, name: &str) -> Result<&Stored, CheckpointError> {
        self.tensors.get(name).ok_or_else(|| CheckpointError::NoTensor {
            checkpoint: self.origin.clone(),
            tensor: name.to_owned(),
            nearest: nearest(name, self.names()),
        })
    }

    fn wrong_dtype(&self, name: &str, found: Dtype, expected: &'static str) -> CheckpointError {
        let (checkpoint, tensor) = (self.origin.clone(), name.to_owned());
        CheckpointError::Dtype { checkpoint, tensor, found: found.to_string(), expected }
    }
}

/// The name that shares the longest beginning and end with `name`, if they share half of it.
fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    let shared = |other: &str| {
        let (a, b) = (name.as_bytes(), other.as_bytes());
        let head = a.iter().zip(b).take_while(|(a, b)| a == b).count();
        let tail = a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count();
        (head + tail).min(a.len()).min(b.len())
    };
    let (score, best) = names.map(|other| (shared(other), other)).max_by_key(|&(score, _)| score)?;
    (2 * score >= name.len()).then(|| best.to_owned())
}
