//! What can be wrong with a checkpoint.

use std::fmt;
use std::io;
use std::path::PathBuf;

use mmlens_files::WriteError;

use super::json::ConfigError;

/// Why a checkpoint was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The operating system refused.
    #[error("{}: could not {doing}: {source}", file.display())]
    Io {
        /// The file or folder.
        file: PathBuf,
        /// What was attempted.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The folder holds no safetensors weights.
    #[error(
        "{}: {}no `model.safetensors` and no `model.safetensors.index.json`; found {}",
        dir.display(),
        if found.iter().any(|file| file.starts_with("pytorch_model")) {
            "`python oracles/to_safetensors.py FOLDER` of mmlens converts `pytorch_model.bin`: "
        } else {
            ""
        },
        short_list(found, 8)
    )]
    NoWeights {
        /// The folder.
        dir: PathBuf,
        /// The files in it.
        found: Vec<String>,
    },
    /// The index of the shards is not valid JSON of the known shape.
    #[error(transparent)]
    Index(#[from] ConfigError),
    /// The index names a shard by something else than a plain file name.
    #[error("{}: `{shard}` is not the name of a file beside the index", index.display())]
    ShardName {
        /// The index.
        index: PathBuf,
        /// The name it gives.
        shard: String,
    },
    /// A shard named in the index is not there.
    #[error(
        "{}: the shard `{shard}` is missing; {tensors} tensors should be in it, among them `{example}`",
        index.display()
    )]
    MissingShard {
        /// The index.
        index: PathBuf,
        /// The shard.
        shard: String,
        /// How many tensors the index puts there.
        tensors: usize,
        /// One of them.
        example: String,
    },
    /// A tensor named in the index is not in its shard.
    #[error("{}: `{tensor}` should be in `{shard}` but is not", index.display())]
    NotInShard {
        /// The index.
        index: PathBuf,
        /// The tensor.
        tensor: String,
        /// The shard.
        shard: String,
    },
    /// Two shards hold a tensor of one name.
    #[error("`{tensor}` is both in {} and in {}", first.display(), second.display())]
    TwoShards {
        /// The tensor.
        tensor: String,
        /// One file.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// The file is not a whole safetensors file.
    #[error("{}: not a whole safetensors file: {problem}", file.display())]
    Header {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        problem: HeaderProblem,
    },
    /// The header describes one tensor in a way that cannot be.
    #[error("{}: `{tensor}`: {field} is {found}, expected {expected}", file.display())]
    Entry {
        /// The file.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// The field of its entry.
        field: &'static str,
        /// What stands there.
        found: String,
        /// What should.
        expected: String,
    },
    /// There is no tensor of that name.
    #[error("{}: no tensor `{tensor}`{}", checkpoint.display(), nearest_hint(nearest.as_deref()))]
    NoTensor {
        /// The file or folder.
        checkpoint: PathBuf,
        /// The name asked for.
        tensor: String,
        /// The name there that is most like it.
        nearest: Option<String>,
    },
    /// A tensor has another shape than the model needs.
    #[error("{}: `{tensor}` has shape {found:?}, expected {expected:?}", checkpoint.display())]
    Shape {
        /// The file or folder.
        checkpoint: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape the model needs.
        expected: Vec<usize>,
    },
    /// A tensor holds elements that cannot be read as asked.
    #[error("{}: `{tensor}` has elements of type {found}, expected {expected}", checkpoint.display())]
    Dtype {
        /// The file or folder.
        checkpoint: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its element type.
        found: String,
        /// The types that can be read here.
        expected: &'static str,
    },
    /// Two tensors of the file are the same one for the model.
    #[error("{}: `{first}` and `{second}` are both `{name}` for the model", checkpoint.display())]
    Collision {
        /// The file or folder.
        checkpoint: PathBuf,
        /// The name the model uses.
        name: String,
        /// One name in the file.
        first: String,
        /// The other.
        second: String,
    },
    /// The weights do not fit the model: everything that is wrong, at once.
    #[error(transparent)]
    Misfit(Box<Misfit>),
    /// The weights of a part were to be drawn anew, and it has none.
    #[error("{}: no tensor belongs to the part `{part}`, whose weights were to be drawn anew", checkpoint.display())]
    NothingToDraw {
        /// The file or folder.
        checkpoint: PathBuf,
        /// The part.
        part: &'static str,
    },
    /// A tensor could not be brought to the host, or given to the device.
    #[error("`{tensor}`: {problem}")]
    Transfer {
        /// The tensor.
        tensor: String,
        /// What went wrong.
        problem: String,
    },
    /// The number of values is not what the shape says.
    #[error("`{tensor}`: {found} values for the shape {shape:?}")]
    Count {
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
        /// How many values there are.
        found: usize,
    },
    /// Two tensors to be written have one name.
    #[error("{}: `{tensor}` would be written twice", file.display())]
    WrittenTwice {
        /// The file.
        file: PathBuf,
        /// The tensor.
        tensor: String,
    },
    /// The file could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// What makes a file something else than a whole safetensors file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderProblem {
    /// The file ends before the header does.
    #[error("it has {found} bytes, the header alone needs {needed}")]
    TooShort {
        /// Bytes in the file.
        found: u64,
        /// Bytes up to the end of the header.
        needed: u64,
    },
    /// The header claims a size that no header has.
    #[error("its header would have {found} bytes, more than the {limit} allowed")]
    TooLarge {
        /// Bytes claimed.
        found: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// The header is not the JSON it should be.
    #[error("its header is not valid: {0}")]
    Json(mmlens_files::JsonError),
    /// One name stands twice in the header.
    #[error("`{0}` stands twice in its header")]
    Twice(String),
    /// Two tensors share bytes, or bytes belong to no tensor.
    #[error("bytes {from} to {to} of its data belong to {}", owner.as_deref().map_or_else(
        || "no tensor".to_owned(),
        |(first, second)| format!("`{first}` and to `{second}`"),
    ))]
    Coverage {
        /// First byte.
        from: u64,
        /// The byte after the last.
        to: u64,
        /// The two tensors, where there are two.
        owner: Option<Box<(String, String)>>,
    },
}

/// All the ways in which a checkpoint does not fit a model.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// The file or folder.
    pub checkpoint: PathBuf,
    /// What the model asked for and the checkpoint lacks: name and expected shape.
    pub missing: Vec<(String, Vec<usize>)>,
    /// What the checkpoint holds and the model did not ask for: name and shape.
    pub surplus: Vec<(String, Vec<usize>)>,
    /// What has another shape: name, found, expected.
    pub misshapen: Vec<(String, Vec<usize>, Vec<usize>)>,
    /// The sizes that the config leaves out, where its file is at hand: their defaults may be why.
    pub left_out: Vec<String>,
}

impl Misfit {
    /// Whether everything fits after all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.surplus.is_empty() && self.misshapen.is_empty()
    }
}

impl std::error::Error for Misfit {}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 6;
        let named = |(name, shape): &(String, Vec<usize>)| format!("`{name}` {shape:?}");
        write!(f, "{}: the weights do not fit the model", self.checkpoint.display())?;
        if !self.missing.is_empty() {
            let all: Vec<_> = self.missing.iter().map(named).collect();
            write!(f, "; {} missing: {}", all.len(), short_list(&all, SHOWN))?;
        }
        if !self.misshapen.is_empty() {
            let shape = |(name, found, expected): &(String, Vec<usize>, Vec<usize>)| {
                format!("`{name}` has {found:?}, expected {expected:?}")
            };
            let all: Vec<_> = self.misshapen.iter().map(shape).collect();
            write!(f, "; {} of another shape: {}", all.len(), short_list(&all, SHOWN))?;
        }
        if !self.surplus.is_empty() {
            let all: Vec<_> = self.surplus.iter().map(named).collect();
            write!(f, "; {} not used: {}", all.len(), short_list(&all, SHOWN))?;
        }
        if !self.left_out.is_empty() {
            let all: Vec<_> = self.left_out.iter().map(|field| format!("`{field}`")).collect();
            let fields = short_list(&all, SHOWN);
            write!(f, "; config.json leaves out {fields}, so that their defaults were taken")?;
        }
        Ok(())
    }
}

/// The first few items, and how many more there are.
pub(crate) fn short_list(items: &[String], shown: usize) -> String {
    if items.is_empty() {
        return "nothing".to_owned();
    }
    let head = items.iter().take(shown).cloned().collect::<Vec<_>>().join(", ");
    match items.len().saturating_sub(shown) {
        0 => head,
        more => format!("{head}, and {more} more"),
    }
}

fn nearest_hint(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!("; the nearest name is `{name}`"))
}
