//! Numbers in double precision that were learned, in one safetensors file.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use safetensors::{Dtype, SafeTensors, View};

use crate::{TensorError, write_tensors};

/// The largest file that is read.
const MOST_FILE: u64 = 1 << 32;

/// A tensor in double precision, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Doubles {
    /// The length of each axis.
    pub shape: Vec<usize>,
    /// As many as the lengths multiply to.
    pub values: Vec<f64>,
}

impl View for &Doubles {
    fn dtype(&self) -> Dtype {
        Dtype::F64
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>().into()
    }

    fn data_len(&self) -> usize {
        8 * self.values.len()
    }
}

/// Tensors and texts as the bytes of one safetensors file. The same give the same bytes.
///
/// # Errors
/// Values that are not as many as the shape says.
pub fn doubles_to_bytes(
    tensors: &BTreeMap<String, Doubles>,
    texts: &BTreeMap<String, String>,
) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    write_tensors(&mut bytes, tensors, texts)?;
    Ok(bytes)
}

/// Tensors and texts of a file, by name.
pub type Learned = (BTreeMap<String, Doubles>, BTreeMap<String, String>);

/// All tensors and texts of a safetensors file whose every tensor is of type F64, bit for bit as they were written.
///
/// # Errors
/// [`TensorError`] with the file.
///
/// # Memory
/// The file, of at most 4 GiB, and its numbers.
pub fn read_doubles(path: impl AsRef<Path>) -> Result<Learned, TensorError> {
    let path = path.as_ref();
    let bytes =
        crate::read(path, MOST_FILE).map_err(|error| TensorError::File { file: path.to_owned(), error })?;
    let format = |error| TensorError::Format { file: path.to_owned(), error };
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(format)?;
    let texts = header.metadata().as_ref().map(|texts| texts.clone().into_iter().collect());
    let mut tensors = BTreeMap::new();
    for (name, tensor) in SafeTensors::deserialize(&bytes).map_err(format)?.tensors() {
        let found = tensor.dtype();
        if found != Dtype::F64 {
            return Err(TensorError::Type { file: path.to_owned(), name, found, expected: Dtype::F64 });
        }
        let (numbers, _) = tensor.data().as_chunks::<8>();
        let values = numbers.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
        tensors.insert(name, Doubles { shape: tensor.shape().to_vec(), values });
    }
    Ok((tensors, texts.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Doubles, doubles_to_bytes, read_doubles};

    #[test]
    fn every_bit_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("learned.safetensors");
        let values = vec![0.1, -0.0, f64::MIN_POSITIVE / 2.0, 1e300, f64::EPSILON, -3.5];
        let tensors: BTreeMap<_, _> = [("w".to_owned(), Doubles { shape: vec![2, 3], values })].into();
        let texts: BTreeMap<_, _> = [("about".to_owned(), "a text".to_owned())].into();
        std::fs::write(&path, doubles_to_bytes(&tensors, &texts).unwrap()).unwrap();
        let (read, said) = read_doubles(&path).unwrap();
        let bits =
            |all: &BTreeMap<String, Doubles>| all["w"].values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!((&read, &said, bits(&read)), (&tensors, &texts, bits(&tensors)));
        let short = [("w".to_owned(), Doubles { shape: vec![7], values: vec![1.0] })].into();
        assert!(doubles_to_bytes(&short, &texts).is_err());
        assert_eq!(read_doubles(&path).unwrap().0, tensors);
        std::fs::write(&path, b"no tensors").unwrap();
        assert!(read_doubles(&path).unwrap_err().to_string().contains("is no safetensors file"));
        assert!(read_doubles(folder.path().join("absent")).is_err());
    }
}
