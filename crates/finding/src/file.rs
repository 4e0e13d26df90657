//! Findings as files: one safetensors file, numbers as tensors under the names of their tables, everything else as
//! JSON under one key of the metadata. The same finding always gives the same bytes.

use std::fmt::Display;
use std::path::Path;

use mmlens_files::{JsonError, count_values, parse_json, write, write_tensors};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};

use crate::{Axis, FileError, Finding, FindingError, Labelled, Provenance, Unit, Values};

/// The key of the metadata under which a finding describes itself.
pub const FORMAT: &str = "mmlens-finding";

/// Major and minor version of the format. Another major version is refused; a newer minor one only adds.
pub const FORMAT_VERSION: (u32, u32) = (1, 2);

/// The most bytes of a finding's file.
pub const MOST_BYTES: u64 = 1 << 32;
/// The most values of its description: labels, names and settings.
const MOST_VALUES: usize = 1 << 23;

/// What the JSON in the metadata says.
#[derive(Serialize, Deserialize)]
struct Description {
    version: (u32, u32),
    provenance: Provenance,
    tables: Vec<Table>,
}

#[derive(Serialize, Deserialize)]
struct Table {
    name: String,
    unit: Unit,
    axes: Vec<Axis>,
    /// The texts of a table of texts; the numbers of any other lie in the tensor of its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    texts: Option<Vec<String>>,
    /// Whether it stands aside.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    aside: bool,
}

impl Finding {
    /// The finding as the bytes of its file.
    ///
    /// # Errors
    /// [`FileError::Description`] or [`FileError::Container`] if the labels are too large for a file.
    pub fn to_bytes(&self) -> Result<Vec<u8>, FileError> {
        let tables = self.tables().iter().map(|table| Table {
            name: table.name().to_owned(),
            unit: table.unit(),
            axes: table.axes().to_vec(),
            texts: table.as_texts().map(<[String]>::to_vec),
            aside: table.is_aside(),
        });
        let description = Description {
            version: FORMAT_VERSION,
            provenance: self.provenance.clone(),
            tables: tables.collect(),
        };
        let json = serde_json::to_string(&description)
            .map_err(|error| FileError::Description { reason: error.to_string() })?;
        let numbers: Vec<(&Labelled, Vec<u8>)> = self
            .tables()
            .iter()
            .filter_map(|table| table.as_numbers().map(|n| (table, little_endian(n))))
            .collect();
        let tensors = numbers
            .iter()
            .map(|(table, bytes)| Ok((table.name(), TensorView::new(Dtype::F32, table.shape(), bytes)?)))
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
            .map_err(|error| container(&error))?;
        let mut bytes = Vec::new();
        write_tensors(&mut bytes, tensors, &[(FORMAT.to_owned(), json)].into())
            .map_err(|error| container(&error))?;
        Ok(bytes)
    }

    /// A finding from the bytes of its file.
    ///
    /// # Errors
    /// [`FileError::Container`] for bytes that are cut short or damaged, [`FileError::NotAFinding`],
    /// [`FileError::Version`], [`FileError::Description`], [`FileError::Tensor`], [`FileError::Finding`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FileError> {
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| container(&error))?;
        let file = SafeTensors::deserialize(bytes).map_err(|error| container(&error))?;
        let json = header
            .metadata()
            .as_ref()
            .and_then(|metadata| metadata.get(FORMAT))
            .ok_or(FileError::NotAFinding { key: FORMAT })?;
        let description = describe(json)?;
        let tables = description.tables.into_iter().map(|table| read_table(&file, table));
        Ok(Self::new(description.provenance, tables.collect::<Result<_, _>>()?)?)
    }

    /// Writes the finding as one safetensors file, whole or not at all: see [`Target`](mmlens_files::Target).
    ///
    /// # Errors
    /// [`FileError::Write`], or what [`Finding::to_bytes`] says.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), FileError> {
        Ok(write(path, self.to_bytes()?)?)
    }

    /// Reads a finding from its file, a regular one of at most [`MOST_BYTES`].
    ///
    /// # Memory
    /// Twice the file.
    ///
    /// # Errors
    /// [`FileError::Io`] or [`FileError::File`], both with the path.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, FileError> {
        let path = path.as_ref();
        let bytes = mmlens_files::read(path, MOST_BYTES)
            .map_err(|source| FileError::Io { path: path.to_owned(), source })?;
        Self::from_bytes(&bytes)
            .map_err(|error| FileError::File { path: path.to_owned(), source: Box::new(error) })
    }
}

fn container(error: &dyn Display) -> FileError {
    FileError::Container { reason: error.to_string() }
}

/// The version first, since another one may mean anything.
fn describe(json: &str) -> Result<Description, FileError> {
    #[derive(Deserialize)]
    struct Versioned {
        #[serde(default)]
        version: Option<(u64, u64)>,
    }
    let unclear = |error: JsonError| FileError::Description { reason: error.to_string() };
    let found = count_values(json.as_bytes());
    if found > MOST_VALUES {
        let reason = format!("it has {found} values, expected at most {MOST_VALUES}");
        return Err(FileError::Description { reason });
    }
    let Versioned { version } = parse_json(json.as_bytes()).map_err(unclear)?;
    if version.is_none_or(|(major, _)| major != u64::from(FORMAT_VERSION.0)) {
        let found = version.map_or_else(|| "null".to_owned(), |(major, minor)| format!("{major}.{minor}"));
        return Err(FileError::Version { found, expected: format!("{}.x", FORMAT_VERSION.0) });
    }
    parse_json(json.as_bytes()).map_err(unclear)
}

fn read_table(file: &SafeTensors<'_>, table: Table) -> Result<Labelled, FileError> {
    let values = match table.texts {
        Some(texts) => Values::Texts(texts),
        None => Values::Numbers(read_numbers(file, &table.name, &table.axes)?),
    };
    let read = Labelled::new(table.name, table.unit, table.axes, values).map_err(FindingError::from)?;
    Ok(if table.aside { read.aside() } else { read })
}

fn read_numbers(file: &SafeTensors<'_>, name: &str, axes: &[Axis]) -> Result<Vec<f32>, FileError> {
    let shape: Vec<usize> = axes.iter().map(Axis::len).collect();
    let wrong = |found: String| FileError::Tensor {
        table: name.to_owned(),
        found,
        expected: format!("F32 {shape:?}"),
    };
    let tensor = file.tensor(name).map_err(|_| wrong("no tensor of this name".to_owned()))?;
    if tensor.dtype() != Dtype::F32 || tensor.shape() != shape {
        return Err(wrong(format!("{:?} {:?}", tensor.dtype(), tensor.shape())));
    }
    let (numbers, _) = tensor.data().as_chunks::<4>();
    Ok(numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

fn little_endian(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|n| n.to_le_bytes()).collect()
}
