//! Numbers that other libraries computed: `oracles/fixtures/**/*.safetensors`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

/// The folder of all fixtures.
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../oracles/fixtures")
}

/// The checkpoint folder of one of the tiny models, such as `llava-a`.
pub fn checkpoint(name: &str) -> PathBuf {
    fixtures().join(name).join("model")
}

/// One of the small pictures, such as `square`.
pub fn picture(name: &str) -> PathBuf {
    fixtures().join("pictures").join(format!("{name}.png"))
}

/// Why a fixture could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OracleError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is no safetensors file, or holds what a fixture does not.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no array of that name.
    #[error("{path} has no `{name}`; it has {have:?}")]
    NoArray {
        /// The file.
        path: PathBuf,
        /// What was asked for.
        name: String,
        /// What there is.
        have: Vec<String>,
    },
}

/// One array of a fixture. Double precision holds every kind of number that fixtures have, to the last bit.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Length of each axis.
    pub dims: Vec<usize>,
    /// Row-major.
    pub values: Vec<f64>,
}

impl Array {
    /// In single precision.
    pub fn f32(&self) -> Vec<f32> {
        self.values.iter().map(|v| *v as f32).collect()
    }

    /// As whole numbers.
    pub fn ids(&self) -> Vec<u32> {
        self.values.iter().map(|v| *v as u32).collect()
    }
}

/// A fixture file.
#[derive(Debug, Clone)]
pub struct Oracle {
    path: PathBuf,
    arrays: BTreeMap<String, Array>,
    about: Value,
}

impl Oracle {
    /// Reads a fixture by its name without ending, such as `methods/rollout`.
    ///
    /// # Errors
    /// [`OracleError::Io`], [`OracleError::File`].
    pub fn open(name: &str) -> Result<Self, OracleError> {
        let path = fixtures().join(format!("{name}.safetensors"));
        let bytes = std::fs::read(&path).map_err(|source| OracleError::Io { path: path.clone(), source })?;
        let fail = |reason: String| OracleError::File { path: path.clone(), reason };
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| fail(e.to_string()))?;
        let about = header.metadata().as_ref().and_then(|m| m.get("about"));
        let about = about
            .map_or(Ok(Value::Null), |text| serde_json::from_str(text))
            .map_err(|e| fail(e.to_string()))?;
        let file = SafeTensors::deserialize(&bytes).map_err(|e| fail(e.to_string()))?;
        let mut arrays = BTreeMap::new();
        for (name, view) in file.tensors() {
            let values = numbers(view.dtype(), view.data())
                .ok_or_else(|| fail(format!("`{name}` is of type {:?}", view.dtype())))?;
            arrays.insert(name, Array { dims: view.shape().to_vec(), values });
        }
        Ok(Self { path, arrays, about })
    }

    /// An array by its name.
    ///
    /// # Errors
    /// [`OracleError::NoArray`], with the names there are.
    pub fn array(&self, name: &str) -> Result<&Array, OracleError> {
        self.arrays.get(name).ok_or_else(|| OracleError::NoArray {
            path: self.path.clone(),
            name: name.to_owned(),
            have: self.arrays.keys().cloned().collect(),
        })
    }

    /// All arrays by name.
    pub fn arrays(&self) -> impl Iterator<Item = (&str, &Array)> {
        self.arrays.iter().map(|(name, array)| (name.as_str(), array))
    }

    /// What the fixture says about itself.
    pub fn about(&self) -> &Value {
        &self.about
    }
}

fn numbers(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f64>> {
    fn read<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f64) -> Option<Vec<f64>> {
        bytes.chunks(N).map(|chunk| chunk.try_into().ok().map(&number)).collect()
    }
    match dtype {
        Dtype::U8 => Some(bytes.iter().map(|b| f64::from(*b)).collect()),
        Dtype::F32 => read(bytes, |b| f64::from(f32::from_le_bytes(b))),
        Dtype::F64 => read(bytes, f64::from_le_bytes),
        Dtype::I32 => read(bytes, |b| f64::from(i32::from_le_bytes(b))),
        Dtype::I64 => read(bytes, |b| i64::from_le_bytes(b) as f64),
        _ => None,
    }
}
