//! Safetensors files written tensor by tensor.

use std::collections::BTreeMap;
use std::io::{self, Write};

use safetensors::View;
use safetensors::tensor::TensorInfo;
use serde_json::{Map, Value};

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
