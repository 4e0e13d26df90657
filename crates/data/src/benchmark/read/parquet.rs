//! Parquet files of one's own, with a map of what their columns are.

use std::fmt;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use mmlens_core::caught;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::{ReaderIter, TreeBuilder};
use parquet::record::{Field, Row};
use parquet::schema::types::{SchemaDescPtr, SchemaDescriptor, Type, TypePtr};
use serde_json::{Map as Object, Number, Value};

use super::fields::Fields;
use super::frame::MOST_RECORDS;
use super::own::{Map, check};
use super::pages;
use super::source::Items;
use crate::benchmark::error::{At, cut};
use crate::benchmark::item::MOST_SHOWN;
use crate::benchmark::{Item, ReadError, Shown};

/// Rows that are decoded at once: pictures are large.
const AT_ONCE: usize = 1;
/// A column without a role is left out if a group of it has more bytes, unpacked.
const MOST_EXTRA: i64 = 1 << 24;

/// Columns of texts, numbers and bytes; a picture is bytes, or a group of `bytes` and `path` as the hub's data sets have it. Lists are
/// refused: the library that reads does not promise to read them rightly (apache/arrow-rs, issue 2394).
pub(super) struct Parquet {
    file: PathBuf,
    reader: SerializedFileReader<std::fs::File>,
    /// The columns that are read.
    schema: SchemaDescPtr,
    /// Their places among all columns of values.
    leaves: Vec<usize>,
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
        let reader = called(file, At::File, || SerializedFileReader::new(input))?;
        let about = reader.metadata();
        let schema = about.file_metadata().schema_descr_ptr();
        let names: Vec<String> =
            schema.root_schema().get_fields().iter().map(|field| field.name().to_owned()).collect();
        let paths: Vec<String> = schema.columns().iter().map(|column| column.path().string()).collect();
        if let Some(name) = twice(&names).or_else(|| twice(&paths)) {
            return Err(ReadError::field(file, At::File, name, "two columns of that name", "one"));
        }
        check(file, At::File, &map, &names)?;
        for column in schema.columns() {
            if column.max_rep_level() > 0 {
                let name = column.path().string();
                return Err(ReadError::field(
                    file,
                    At::File,
                    name,
                    "a list or a map",
                    "one value: a text, a number or bytes",
                ));
            }
        }
        let large = |leaf: usize| {
            about.row_groups().iter().any(|group| {
                group.columns().get(leaf).is_some_and(|column| column.uncompressed_size() > MOST_EXTRA)
            })
        };
        let root = |leaf: usize| schema.get_column_root(leaf).name();
        let dropped = |name: &str| {
            !map.has(name) && (0..schema.num_columns()).any(|leaf| root(leaf) == name && large(leaf))
        };
        let leaves = (0..schema.num_columns()).filter(|leaf| !dropped(root(*leaf))).collect();
        let fields = schema.root_schema().get_fields().iter().filter(|field| !dropped(field.name()));
        let fields = fields.cloned().collect();
        let schema = called(file, At::File, || {
            let kept = Type::group_type_builder(schema.name()).with_fields(fields).build()?;
            Ok::<_, ParquetError>(Arc::new(SchemaDescriptor::new(Arc::new(kept))))
        })?;
        let (mut starts, mut len) = (Vec::new(), 0_usize);
        for group in about.row_groups() {
            starts.push(len);
            let rows = usize::try_from(group.num_rows()).ok().and_then(|rows| len.checked_add(rows));
            len = rows.filter(|rows| *rows <= MOST_RECORDS).ok_or_else(|| {
                let found = format!("a group of {} rows", group.num_rows());
                ReadError::field(file, At::File, "", found, format!("at most {MOST_RECORDS} rows in all"))
            })?;
        }
        let stands = Mutex::new(None);
        Ok(Self { file: file.to_owned(), reader, schema, leaves, starts, len, map, images, stands })
    }

    /// The group that a row is in, from its beginning.
    fn group(&self, group: usize, index: usize) -> Result<Standing, ReadError> {
        let (input, _) = mmlens_files::open(&self.file).map_err(ReadError::io(&self.file))?;
        let mut input = BufReader::new(input);
        let rows = called(&self.file, At::Row(index + 1), || {
            let about = self.reader.metadata().row_group(group);
            for leaf in &self.leaves {
                let column = about.column(*leaf);
                let starts = [Some(column.data_page_offset()), column.dictionary_page_offset()];
                // The library panics where these are asked for as a range.
                if starts.into_iter().flatten().chain([column.compressed_size()]).any(|place| place < 0) {
                    let found = "a column that begins before the file, or is shorter than nothing";
                    return Err(ParquetError::General(found.to_owned()));
                }
                let (start, len) = column.byte_range();
                pages::check(&mut input, start, len)?;
            }
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
            let read = called(&self.file, At::Row(stands.next + 1), || stands.rows.next().transpose());
            let row =
                read.map_err(|error| self.named(group, stands.next).unwrap_or(error))?.ok_or_else(past)?;
            stands.next += 1;
            if stands.next > index {
                *held = Some(stands);
                return Ok(row);
            }
        }
    }
}

impl Parquet {
    /// The error of a row of a group with the column that has it: the library names none, so that columns are read one by one.
    fn named(&self, group: usize, row: usize) -> Option<ReadError> {
        let within = row - self.starts.get(group)?;
        let fails = |field: &TypePtr| {
            let one = Type::group_type_builder(self.schema.name()).with_fields(vec![field.clone()]).build();
            let schema = Arc::new(SchemaDescriptor::new(Arc::new(one.ok()?)));
            let reader = self.reader.get_row_group(group).ok()?;
            let mut rows =
                TreeBuilder::new().with_batch_size(AT_ONCE).as_iter(schema, reader.as_ref()).ok()?;
            let said = caught(|| rows.nth(within).transpose()).ok()?.err()?.to_string();
            // A column that says of itself that it is text.
            let found =
                if said.contains("as String") { "bytes that are no text in UTF-8".to_owned() } else { said };
            let expected = "a text, a number or nothing";
            Some(ReadError::field(&self.file, At::Row(row + 1), field.name(), found, expected))
        };
        self.schema.root_schema().get_fields().iter().find_map(fails)
    }
}

/// What the library gives; where it panics on a damaged file, an error.
fn called<T, E: fmt::Display>(
    file: &Path,
    at: At,
    call: impl FnOnce() -> Result<T, E>,
) -> Result<T, ReadError> {
    let wrong = |said: String| {
        ReadError::field(file, at, "", said, "a Parquet file, whole, uncompressed or with Snappy")
    };
    match caught(call) {
        Ok(Ok(made)) => Ok(made),
        Ok(Err(error)) => Err(wrong(error.to_string())),
        Err(panicked) => Err(wrong(panicked.to_string())),
    }
}

/// The first name that stands there again.
fn twice(names: &[String]) -> Option<&String> {
    names
        .iter()
        .enumerate()
        .find(|(i, name)| names.iter().take(*i).any(|other| other == *name))
        .map(|(_, name)| name)
}

/// NaN is how pandas writes that a number is missing; what JSON cannot say otherwise is told.
fn number(number: f64) -> Result<Value, String> {
    match Number::from_f64(number) {
        Some(number) => Ok(Value::Number(number)),
        None if number.is_nan() => Ok(Value::Null),
        None => Err(number.to_string()),
    }
}

/// A text, a number or a truth; else what it is, in words.
fn value(field: &Field) -> Result<Value, String> {
    Ok(match field {
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
        Field::Float(n) => number(f64::from(*n))?,
        Field::Double(n) => number(*n)?,
        Field::Str(text) => text.clone().into(),
        // Old writers do not say that a column of bytes is text.
        Field::Bytes(bytes) => match std::str::from_utf8(bytes.data()) {
            Ok(text) => text.into(),
            Err(_) => return Err(format!("{} bytes that are no text in UTF-8", bytes.data().len())),
        },
        other => return Err(other.to_string()),
    })
}

/// A picture as a field has it.
enum Pictured {
    Bytes(Shown),
    /// The name of a file, a text, or nothing.
    Path(Value),
}

/// The picture of a field: bytes, a path, or a group of both, of which the bytes count where there are any.
fn pictured(field: &Field, name: &str) -> Result<Pictured, String> {
    match field {
        Field::Bytes(bytes) => {
            Ok(Pictured::Bytes(Shown::Bytes { name: name.to_owned(), bytes: bytes.data().to_vec() }))
        }
        Field::Group(row) => {
            let part =
                |wanted| row.get_column_iter().find_map(|(name, field)| (name == wanted).then_some(field));
            let path = part("path").map_or(Ok(Value::Null), value)?;
            match part("bytes") {
                None if part("path").is_none() => Err(cut(&field.to_string())),
                None | Some(Field::Null) => Ok(Pictured::Path(path)),
                Some(bytes) => pictured(bytes, path.as_str().unwrap_or(name)),
            }
        }
        other => value(other).map(Pictured::Path),
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
            let wrong = |found: String, expected: &str| {
                ReadError::field(&self.file, At::Row(index + 1), name, found, expected)
            };
            if name == column {
                match pictured(field, &format!("row {index}"))
                    .map_err(|found| wrong(found, "bytes, a path, or a group of `bytes` and `path`"))?
                {
                    Pictured::Bytes(Shown::Bytes { bytes, .. }) if bytes.len() as u64 > MOST_SHOWN => {
                        let expected = format!("a picture of at most {MOST_SHOWN}");
                        return Err(wrong(format!("{} bytes", bytes.len()), &expected));
                    }
                    Pictured::Bytes(picture) => pictures.push(picture),
                    Pictured::Path(path) => {
                        object.insert(name.clone(), path);
                    }
                }
                continue;
            }
            let value = match value(field) {
                Err(found) if self.map.has(name) => {
                    return Err(wrong(cut(&found), "a text, a number or nothing"));
                }
                Err(found) => cut(&found).into(),
                Ok(value) => value,
            };
            object.insert(name.clone(), value);
        }
        let fields = Fields::of_values(&self.file, At::Row(index + 1), object);
        self.map.item(fields, &self.images, (index, pictures))
    }
}
