//! Records of an object of JSON by their names.

use std::path::Path;

use super::OBJECT;
use crate::benchmark::ReadError;
use crate::benchmark::read::fields::Fields;
use crate::benchmark::read::frame::Record;
use crate::benchmark::read::join::Join;
use crate::benchmark::read::records::Records;

/// The values of an object of JSON, by the names of its fields. Of a name 12 bytes are held, and a place of its record.
#[derive(Debug)]
pub(super) struct Keyed {
    records: Records,
    by_name: Join,
    /// What they are, in words.
    what: &'static str,
}

impl Keyed {
    /// Of records that are asked for in about the order of the file.
    pub(super) fn open(file: &Path, what: &'static str) -> Result<Self, ReadError> {
        Self::with_places(file, what, 64)
    }

    /// Of records that are asked for in any order.
    pub(super) fn open_scattered(file: &Path, what: &'static str) -> Result<Self, ReadError> {
        Self::with_places(file, what, 1)
    }

    fn with_places(file: &Path, what: &'static str, apart: usize) -> Result<Self, ReadError> {
        let mut pairs = Vec::new();
        let records = Records::with_places(file, (OBJECT, apart), 0, |index, record| {
            // No more than MOST_RECORDS.
            if let Ok(index) = u32::try_from(index) {
                pairs.push((hash(&name(file, record)?), index));
            }
            Ok(())
        })?;
        Ok(Self { records, by_name: Join::of(pairs), what })
    }

    /// The record of a name, if there is one.
    pub(super) fn find(&self, id: &str) -> Result<Option<Record>, ReadError> {
        let mut found = None;
        for index in self.by_name.get(hash(id)) {
            let record = self.records.get(*index as usize)?;
            // Names that share a hash are told apart.
            if name(self.file(), &record)? != id {
                continue;
            }
            if found.replace(record).is_some() {
                return Err(self.wrong(id, "several of that name", "one"));
            }
        }
        Ok(found)
    }

    /// The fields of the record of a name.
    pub(super) fn fields(&self, id: &str) -> Result<Fields<'_>, ReadError> {
        let record =
            self.find(id)?.ok_or_else(|| self.wrong(id, "nothing", &format!("one of the {}", self.what)))?;
        Fields::of_json(self.file(), &record)
    }

    pub(super) fn file(&self) -> &Path {
        self.records.file()
    }

    /// What is wrong with a name: there is no line to tell.
    fn wrong(&self, id: &str, found: &str, expected: &str) -> ReadError {
        ReadError::field(self.file(), 1, id, found, expected)
    }
}

/// The name of the field that a record is the value of.
pub(super) fn name(file: &Path, record: &Record) -> Result<String, ReadError> {
    let found = |problem: String| ReadError::field(file, record.line, "", problem, "a field with a name");
    match record.key.is_empty() {
        true => Err(found("an element of a list".to_owned())),
        false => mmlens_files::parse_json(&record.key).map_err(|error| found(error.problem)),
    }
}

/// FNV-1a, 64 bits.
fn hash(name: &str) -> u64 {
    name.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
