//! Parquet files of one's own, with a map of what their columns are.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use mmlens_core::caught;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::{ReaderIter, TreeBuilder};
use parquet::record::{Field, Row};
use parquet::schema::types::SchemaDescPtr;
use serde_json::{Map as Object, Number, Value};

use super::fields::Fields;
use super::frame::MOST_RECORDS;
use super::own::{Map, check};
use super::source::Items;
use crate::benchmark::item::MOST_SHOWN;
use crate::benchmark::{Item, ReadError, Shown};

/// Rows that are decoded at once: pictures are large.
const AT_ONCE: usize = 16;

/// Columns of texts, numbers and bytes; a picture is bytes, or a group of `bytes` and `path` as the hub's data sets have it. Lists are
/// refused: the library that reads does not promise to read them rightly (apache/arrow-rs, issue 2394).
pub(super) struct Parquet {
    file: PathBuf,
    reader: SerializedFileReader<std::fs::File>,
    schema: SchemaDescPtr,
    /// The first row of each group.
    starts: Vec<usize>,
    len: usize,
    map: Map,
    images: PathBuf,
    /// What is read one after the other.
    stands: Mutex<Option<Standing>>,
}

/// The rows of a group, and which comes next.
struct Standing {
    group: usize,
    rows: ReaderIter,
    next: usize,
}

impl Parquet {
    pub(super) fn open(file: &Path, map: Map, images: PathBuf) -> Result<Self, ReadError> {
        let (input, _) = mmlens_files::open(file).map_err(ReadError::io(file))?;
        let reader = called(file, 0, || SerializedFileReader::new(input))?;
        let about = reader.metadata();
        let schema = about.file_metadata().schema_descr_ptr();
        let names: Vec<String> =
            schema.root_schema().get_fields().iter().map(|field| field.name().to_owned()).collect();
        check(file, &map, &names)?;
        for column in schema.columns() {
            if column.max_rep_level() > 0 {
                let name = column.path().string();
                return Err(ReadError::field(
                    file,
                    0,
                    name,
                    "a list or a map",
                    "one value: a text, a number or bytes",
                ));
            }
        }
        let (mut starts, mut len) = (Vec::new(), 0_usize);
        for group in about.row_groups() {
            starts.push(len);
            let rows = usize::try_from(group.num_rows()).ok().and_then(|rows| len.checked_add(rows));
            len = rows.filter(|rows| *rows <= MOST_RECORDS).ok_or_else(|| {
                let found = format!("a group of {} rows", group.num_rows());
                ReadError::field(file, len, "", found, format!("at most {MOST_RECORDS} rows in all"))
            })?;
        }
        let stands = Mutex::new(None);
        Ok(Self { file: file.to_owned(), reader, schema, starts, len, map, images, stands })
    }

    /// The group that a row is in, from its beginning.
    fn group(&self, group: usize, index: usize) -> Result<Standing, ReadError> {
        let rows = called(&self.file, index + 1, || {
            let reader = self.reader.get_row_group(group)?;
            TreeBuilder::new().with_batch_size(AT_ONCE).as_iter(self.schema.clone(), reader.as_ref())
        })?;
        Ok(Standing { group, rows, next: self.starts.get(group).copied().unwrap_or_default() })
    }

    fn row(&self, index: usize) -> Result<Row, ReadError> {
        let past = || ReadError::Past { file: self.file.clone(), index, len: self.len };
        if index >= self.len {
            return Err(past());
        }
        // Of groups without rows the last begins there too, and is the one that holds it.
        let group = self.starts.partition_point(|start| *start <= index).saturating_sub(1);
        let mut held = self.stands.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stands = match held.take().filter(|stands| stands.group == group && stands.next <= index) {
            Some(stands) => stands,
            None => self.group(group, index)?,
        };
        loop {
            let row =
                called(&self.file, stands.next + 1, || stands.rows.next().transpose())?.ok_or_else(past)?;
            stands.next += 1;
            if stands.next > index {
                *held = Some(stands);
                return Ok(row);
            }
        }
    }
}

/// What the library gives; where it panics on a damaged file, an error.
fn called<T, E: fmt::Display>(
    file: &Path,
    row: usize,
    call: impl FnOnce() -> Result<T, E>,
) -> Result<T, ReadError> {
    let wrong = |said: String| {
        ReadError::field(file, row, "", said, "a Parquet file, whole, uncompressed or with Snappy")
    };
    match caught(call) {
        Ok(Ok(made)) => Ok(made),
        Ok(Err(error)) => Err(wrong(error.to_string())),
        Err(panicked) => Err(wrong(panicked.to_string())),
    }
}

fn number(number: f64) -> Value {
    // JSON has no NaN and no infinity.
    Number::from_f64(number).map_or_else(|| Value::String(number.to_string()), Value::Number)
}

fn value(field: &Field) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Bool(bool) => (*bool).into(),
        Field::Byte(n) => (*n).into(),
        Field::Short(n) => (*n).into(),
        Field::Int(n) => (*n).into(),
        Field::Long(n) => (*n).into(),
        Field::UByte(n) => (*n).into(),
        Field::UShort(n) => (*n).into(),
        Field::UInt(n) => (*n).into(),
        Field::ULong(n) => (*n).into(),
        Field::Float(n) => number(f64::from(*n)),
        Field::Double(n) => number(*n),
        Field::Str(text) => text.clone().into(),
        // Old writers do not say that a column of bytes is text.
        Field::Bytes(bytes) => String::from_utf8(bytes.data().to_vec()).map_or(Value::Null, Value::String),
        other => other.to_string().into(),
    }
}

/// The picture of a field, if it is bytes.
fn shown(field: &Field, name: &str) -> Option<Shown> {
    match field {
        Field::Bytes(bytes) => Some(Shown::Bytes { name: name.to_owned(), bytes: bytes.data().to_vec() }),
        Field::Group(row) => {
            let mut parts = row.get_column_iter();
            let bytes = parts.find_map(|(name, field)| (name == "bytes").then_some(field))?;
            let mut parts = row.get_column_iter();
            let path = parts.find_map(|(name, field)| match field {
                Field::Str(path) if name == "path" => Some(path.as_str()),
                _ => None,
            });
            shown(bytes, path.unwrap_or(name))
        }
        _ => None,
    }
}

impl Items for Parquet {
    fn len(&self) -> usize {
        self.len
    }

    fn item(&self, index: usize) -> Result<Item, ReadError> {
        let row = self.row(index)?;
        let column = self.map.column("image");
        let (mut object, mut pictures) = (Object::new(), Vec::new());
        for (name, field) in row.get_column_iter() {
            let picture = (name == column).then(|| shown(field, &format!("row {index}"))).flatten();
            match picture {
                Some(Shown::Bytes { bytes, .. }) if bytes.len() as u64 > MOST_SHOWN => {
                    let found = format!("{} bytes", bytes.len());
                    let expected = format!("a picture of at most {MOST_SHOWN}");
                    return Err(ReadError::field(&self.file, index + 1, name, found, expected));
                }
                Some(picture) => pictures.push(picture),
                None => {
                    object.insert(name.clone(), value(field));
                }
            }
        }
        let fields = Fields::of_values(&self.file, index + 1, object);
        self.map.item(fields, &self.images, (index, pictures))
    }
}
