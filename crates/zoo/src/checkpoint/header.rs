//! The header of a safetensors file: which tensor lies where.
//!
//! Eight bytes of length (little endian), that many bytes of JSON, then the data. Everything is checked before a byte
//! of data is touched, and every complaint names the tensor it is about.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::path::Path;

use safetensors::Dtype;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::error::{CheckpointError, HeaderProblem};

/// The longest header the format allows.
const LONGEST: u64 = 100_000_000;

/// One tensor of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    /// Where its bytes lie in the file.
    pub(super) range: Range<u64>,
}

/// What a header says.
#[derive(Debug, Default)]
pub(super) struct Header {
    pub(super) entries: Vec<Entry>,
    pub(super) metadata: BTreeMap<String, String>,
}

/// How many bytes of JSON follow the first eight, given those eight and the size of the file.
pub(super) fn json_length(first: [u8; 8], file_bytes: u64) -> Result<usize, HeaderProblem> {
    let length = u64::from_le_bytes(first);
    if length > LONGEST {
        return Err(HeaderProblem::TooLarge { found: length, limit: LONGEST });
    }
    if length + 8 > file_bytes {
        return Err(HeaderProblem::TooShort { found: file_bytes, needed: length + 8 });
    }
    usize::try_from(length).map_err(|_| HeaderProblem::TooLarge { found: length, limit: LONGEST })
}

/// Reads the JSON of a header and checks it against the size of the file.
pub(super) fn parse(file: &Path, json: &[u8], file_bytes: u64) -> Result<Header, CheckpointError> {
    let complain = |problem| CheckpointError::Header { file: file.to_owned(), problem };
    let raw: RawHeader = mmlens_files::parse_json(json).map_err(|e| complain(HeaderProblem::Json(e)))?;
    if let Some(name) = raw.twice {
        return Err(complain(HeaderProblem::Twice(name)));
    }
    let start = json.len() as u64 + 8;
    let data_bytes = file_bytes - start;
    let mut entries = Vec::with_capacity(raw.entries.len());
    for (name, entry) in raw.entries {
        entries.push(entry.check(file, name, start, data_bytes)?);
    }
    covered(&entries, start, file_bytes).map_err(complain)?;
    Ok(Header { entries, metadata: raw.metadata })
}

/// Every byte of the data belongs to exactly one tensor.
fn covered(entries: &[Entry], start: u64, end: u64) -> Result<(), HeaderProblem> {
    let mut order: Vec<&Entry> = entries.iter().filter(|e| !e.range.is_empty()).collect();
    order.sort_by_key(|e| e.range.start);
    let mut reached = start;
    let mut last = "";
    for entry in order {
        let (from, to) = (entry.range.start, entry.range.end);
        if from > reached {
            return Err(HeaderProblem::Coverage { from: reached - start, to: from - start, owner: None });
        }
        if from < reached {
            let owner = Some(Box::new((last.to_owned(), entry.name.clone())));
            return Err(HeaderProblem::Coverage { from: from - start, to: reached.min(to) - start, owner });
        }
        reached = to;
        last = &entry.name;
    }
    if reached < end {
        return Err(HeaderProblem::Coverage { from: reached - start, to: end - start, owner: None });
    }
    Ok(())
}

/// The header as it stands in the file.
#[derive(Default)]
struct RawHeader {
    entries: Vec<(String, RawEntry)>,
    metadata: BTreeMap<String, String>,
    twice: Option<String>,
}

#[derive(Deserialize)]
struct RawEntry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

impl RawEntry {
    fn check(
        self,
        file: &Path,
        tensor: String,
        start: u64,
        data_bytes: u64,
    ) -> Result<Entry, CheckpointError> {
        let complain = |field, found: String, expected: String| CheckpointError::Entry {
            file: file.to_owned(),
            tensor: tensor.clone(),
            field,
            found,
            expected,
        };
        let Ok(dtype) = Dtype::deserialize(Value::String(self.dtype.clone())) else {
            let expected = "a type of the safetensors format".to_owned();
            return Err(complain("dtype", format!("`{}`", self.dtype), expected));
        };
        let too_many = || {
            let found = format!("{:?}", self.shape);
            complain("shape", found, format!("a tensor that fits into {data_bytes} bytes"))
        };
        let bits = dtype.bitsize() as u64;
        let count = self.shape.iter().try_fold(1u64, |n, &side| n.checked_mul(side)).ok_or_else(too_many)?;
        let bytes = count.checked_mul(bits).ok_or_else(too_many)?.div_ceil(8);
        let [from, to] = self.data_offsets;
        if from > to || to > data_bytes {
            let expected = format!("within the {data_bytes} bytes of data in the file");
            return Err(complain("data_offsets", format!("[{from}, {to}]"), expected));
        }
        if to - from != bytes {
            let expected = format!("{bytes} bytes for {dtype} {:?}", self.shape);
            return Err(complain("data_offsets", format!("{} bytes", to - from), expected));
        }
        let mut shape = Vec::with_capacity(self.shape.len());
        for &side in &self.shape {
            shape.push(usize::try_from(side).map_err(|_| too_many())?);
        }
        Ok(Entry { name: tensor, dtype, shape, range: start + from..start + to })
    }
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = RawHeader;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
        let mut header = RawHeader::default();
        let mut seen = BTreeSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if !seen.insert(name.clone()) {
                header.twice.get_or_insert(name.clone());
            }
            if name == "__metadata__" {
                header.metadata = map.next_value()?;
            } else {
                let entry = map.next_value()?;
                header.entries.push((name, entry));
            }
        }
        Ok(header)
    }
}
