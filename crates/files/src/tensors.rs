//! Safetensors files: written tensor by tensor, and read for one of them.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorInfo;
use safetensors::{Dtype, SafeTensorError, SafeTensors, View};
use serde_json::{Map, Value};

/// The largest file that is read for one of its tensors.
const MOST_FILE: u64 = 1 << 32;
/// So many of its names are told of a file that lacks one.
const TOLD: usize = 8;

/// The numbers of a tensor, row-major, and its shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Numbers {
    /// The length of each axis.
    pub shape: Vec<usize>,
    /// As many as the lengths multiply to.
    pub values: Vec<f32>,
}

/// A tensor that cannot be had of a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TensorError {
    /// A file that cannot be read.
    #[error("{}: {error}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A file that holds no tensors.
    #[error("{} is no safetensors file: {error}", file.display())]
    Format {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        error: SafeTensorError,
    },
    /// A name that the file does not have.
    #[error("{} holds no `{name}`, but {}", file.display(), told(held))]
    Missing {
        /// The file.
        file: PathBuf,
        /// What was asked for.
        name: String,
        /// What it holds, by name.
        held: Vec<String>,
    },
    /// Numbers of another type.
    #[error("`{name}` in {} is {found}, expected {expected}", file.display())]
    Type {
        /// The file.
        file: PathBuf,
        /// The tensor.
        name: String,
        /// Its type.
        found: Dtype,
        /// What is read.
        expected: Dtype,
    },
}

fn told(held: &[String]) -> String {
    let some: Vec<String> = held.iter().take(TOLD).map(|name| format!("`{name}`")).collect();
    match held.len() {
        0 => "nothing at all".to_owned(),
        all if all > TOLD => format!("{} and {} others", some.join(", "), all - TOLD),
        _ => some.join(", "),
    }
}

/// One tensor of a safetensors file, of type F32.
///
/// # Errors
/// [`TensorError`] with the file, and what it holds where the name is not among that.
///
/// # Memory
/// The whole file for as long as it is read, of at most 4 GiB.
pub fn read_tensor(path: impl AsRef<Path>, name: &str) -> Result<Numbers, TensorError> {
    let path = path.as_ref();
    let file = || path.to_owned();
    let bytes = crate::read(path, MOST_FILE).map_err(|error| TensorError::File { file: file(), error })?;
    let tensors =
        SafeTensors::deserialize(&bytes).map_err(|error| TensorError::Format { file: file(), error })?;
    let Ok(tensor) = tensors.tensor(name) else {
        let mut held: Vec<String> = tensors.names().into_iter().map(ToString::to_string).collect();
        held.sort_unstable();
        return Err(TensorError::Missing { file: file(), name: name.to_owned(), held });
    };
    if tensor.dtype() != Dtype::F32 {
        let (found, expected) = (tensor.dtype(), Dtype::F32);
        return Err(TensorError::Type { file: file(), name: name.to_owned(), found, expected });
    }
    let (numbers, _) = tensor.data().as_chunks::<4>();
    let values = numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    Ok(Numbers { shape: tensor.shape().to_vec(), values })
}

/// All tensors of a safetensors file by name, of floating types, as F32: what is wider is rounded.
///
/// # Errors
/// [`TensorError`] with the file; [`TensorError::Type`] for a tensor of another type.
///
/// # Memory
/// The file, of at most 4 GiB, and its numbers.
pub fn read_floats(path: impl AsRef<Path>) -> Result<BTreeMap<String, Numbers>, TensorError> {
    let path = path.as_ref();
    let bytes =
        crate::read(path, MOST_FILE).map_err(|error| TensorError::File { file: path.to_owned(), error })?;
    let tensors = SafeTensors::deserialize(&bytes)
        .map_err(|error| TensorError::Format { file: path.to_owned(), error })?;
    let mut all = BTreeMap::new();
    for (name, tensor) in tensors.tensors() {
        let found = tensor.dtype();
        let values = floats(tensor.data(), found).ok_or_else(|| TensorError::Type {
            file: path.to_owned(),
            name: name.clone(),
            found,
            expected: Dtype::F32,
        })?;
        all.insert(name, Numbers { shape: tensor.shape().to_vec(), values });
    }
    Ok(all)
}

/// Little-endian numbers as F32; `None` for types that are not floating.
fn floats(bytes: &[u8], dtype: Dtype) -> Option<Vec<f32>> {
    let halves = || bytes.as_chunks::<2>().0.iter();
    Some(match dtype {
        Dtype::F32 => bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Dtype::F64 => bytes.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect(),
        Dtype::F16 => halves().map(|b| half::f16::from_le_bytes(*b).to_f32()).collect(),
        Dtype::BF16 => halves().map(|b| half::bf16::from_le_bytes(*b).to_f32()).collect(),
        _ => return None,
    })
}

/// What the readers of the format take.
const MOST_HEADER: usize = 100_000_000;
/// What stands for the metadata among the names.
const METADATA: &str = "__metadata__";

/// Writes a safetensors file: tensors by their type, the widest first, and then by name, as the library of the format orders
/// them; metadata by key. The same tensors and metadata always give the same bytes. The bytes of a tensor are asked for
/// when it is its turn.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] for a name that comes twice, bytes that are not as many as type and shape say, or a header
/// beyond 100 MB; what `file` says.
pub fn write_tensors<S: AsRef<str>, V: View>(
    file: &mut (impl Write + ?Sized),
    tensors: impl IntoIterator<Item = (S, V)>,
    metadata: &BTreeMap<String, String>,
) -> io::Result<()> {
    let wrong = |reason: String| io::Error::new(io::ErrorKind::InvalidInput, reason);
    let mut tensors: Vec<(S, V)> = tensors.into_iter().collect();
    tensors.sort_by(|(left, a), (right, b)| {
        b.dtype().cmp(&a.dtype()).then_with(|| left.as_ref().cmp(right.as_ref()))
    });
    let mut header = Map::new();
    if !metadata.is_empty() {
        header.insert(METADATA.to_owned(), serde_json::to_value(metadata)?);
    }
    let mut end = 0_usize;
    for (name, tensor) in &tensors {
        let name = name.as_ref();
        let (dtype, shape, length) = (tensor.dtype(), tensor.shape().to_vec(), tensor.data_len());
        let elements = shape.iter().try_fold(1_usize, |n, side| n.checked_mul(*side));
        let expected = elements.and_then(|n| n.checked_mul(dtype.bitsize()));
        if expected != length.checked_mul(8) {
            return Err(wrong(format!("`{name}`: {length} bytes for {dtype} {shape:?}")));
        }
        let begin = end;
        end = begin.checked_add(length).ok_or_else(|| wrong("more bytes than can be counted".to_owned()))?;
        let info = TensorInfo { dtype, shape, data_offsets: (begin, end) };
        let kept = name == METADATA || header.contains_key(name);
        if kept {
            return Err(wrong(format!("no two tensors may be named `{name}`, and none `{METADATA}`")));
        }
        header.insert(name.to_owned(), serde_json::to_value(info)?);
    }
    let mut header = serde_json::to_vec(&Value::Object(header))?;
    header.resize(header.len().next_multiple_of(8), b' ');
    if header.len() > MOST_HEADER {
        return Err(wrong(format!("a header of {} bytes, of at most {MOST_HEADER}", header.len())));
    }
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(&header)?;
    for (name, tensor) in &tensors {
        let (bytes, expected) = (tensor.data(), tensor.data_len());
        if bytes.len() != expected {
            return Err(wrong(format!("`{}`: {} bytes came of {expected}", name.as_ref(), bytes.len())));
        }
        file.write_all(&bytes)?;
    }
    Ok(())
}
