//! Tables in long form as CSV, JSON and Parquet. What is written reads back to the same bits.

use std::io::{self, Write};
use std::sync::Arc;

use mmlens::finding::{Cell, Cells, Column, Finding, Labelled, Long};
use parquet::basic::{ConvertedType, Repetition, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, FloatType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::{Type, TypePtr};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

/// What a table is and where it is from, as JSON and Parquet keep it beside the values.
pub(crate) fn about(finding: &Finding, table: &Labelled) -> Vec<(&'static str, Value)> {
    vec![
        ("table", json!(table.name())),
        ("unit", json!(table.unit())),
        ("method", json!(finding.provenance.method)),
        ("provenance", json!(finding.provenance)),
    ]
}

/// Writes a table as CSV: a head, then a row for each value. Numbers have as many digits as it takes to read them back; cells
/// without a value are empty.
pub(crate) fn csv(long: &Long<'_>, to: impl Write) -> io::Result<()> {
    // What goes wrong where it is written to stays what it is: nobody may read any more.
    let plain = |error: csv::Error| match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    };
    let mut lines = csv::Writer::from_writer(to);
    lines.write_record(long.columns().iter().map(Column::name)).map_err(plain)?;
    for row in 0..long.rows() {
        for column in long.columns() {
            match column.cell(row) {
                Cell::Text(text) => lines.write_field(text),
                Cell::Whole(number) => lines.write_field(number.to_string()),
                Cell::Number(number) => lines.write_field(digits(number)),
                _ => lines.write_field(""),
            }
            .map_err(plain)?;
        }
        lines.write_record(None::<&[u8]>).map_err(plain)?;
    }
    lines.flush()
}

/// The shortest digits that read back to a number: `0.1`, `-0.0`, `1e-40`, `NaN`, `inf`.
fn digits(number: f32) -> String {
    format!("{number:?}")
}

/// A table as JSON: what it is, and a list of its rows.
pub(crate) struct Rows<'a> {
    pub(crate) about: Vec<(&'static str, Value)>,
    pub(crate) long: &'a Long<'a>,
}

impl Serialize for Rows<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut whole = to.serialize_map(Some(self.about.len() + 1))?;
        for (name, value) in &self.about {
            whole.serialize_entry(name, value)?;
        }
        whole.serialize_entry("rows", &List(self.long))?;
        whole.end()
    }
}

struct List<'a>(&'a Long<'a>);

impl Serialize for List<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut list = to.serialize_seq(Some(self.0.rows()))?;
        (0..self.0.rows()).try_for_each(|row| list.serialize_element(&Row(self.0, row)))?;
        list.end()
    }
}

struct Row<'a>(&'a Long<'a>, usize);

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut row = to.serialize_map(Some(self.0.columns().len()))?;
        for column in self.0.columns() {
            match column.cell(self.1) {
                Cell::Text(text) => row.serialize_entry(column.name(), text)?,
                Cell::Whole(number) => row.serialize_entry(column.name(), &number)?,
                Cell::Number(number) if number.is_finite() => row.serialize_entry(column.name(), &number)?,
                // JSON has no infinities and no NaN.
                Cell::Number(number) => row.serialize_entry(column.name(), &digits(number))?,
                _ => row.serialize_entry(column.name(), &())?,
            }
        }
        row.end()
    }
}

/// So many rows are written at once.
const GROUP: usize = 1 << 16;

/// A table as the bytes of a Parquet file, with what it is under `mmlens` of the metadata. Uncompressed; what repeats is kept once.
///
/// # Memory
/// The file.
pub(crate) fn parquet(about: Vec<(&'static str, Value)>, long: &Long<'_>) -> Result<Vec<u8>, ParquetError> {
    let columns =
        long.columns().iter().map(|column| field(column).map(Arc::new)).collect::<Result<_, _>>()?;
    let schema = TypePtr::new(Type::group_type_builder("table").with_fields(columns).build()?);
    let entry = |(name, value): (&str, Value)| {
        KeyValue::new(
            format!("mmlens.{name}"),
            value.as_str().map_or_else(|| value.to_string(), str::to_owned),
        )
    };
    let properties = WriterProperties::builder()
        .set_created_by(format!("mmlens {}", env!("CARGO_PKG_VERSION")))
        .set_key_value_metadata(Some(about.into_iter().map(entry).collect()))
        .build();
    let mut file = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties))?;
    for from in (0..long.rows()).step_by(GROUP) {
        let rows = from..long.rows().min(from + GROUP);
        let mut group = file.next_row_group()?;
        for column in long.columns() {
            let mut writer = group
                .next_column()?
                .ok_or_else(|| ParquetError::General(format!("no column for `{}`", column.name())))?;
            fill(&mut writer, column, rows.clone())?;
            writer.close()?;
        }
        group.close()?;
    }
    file.into_inner()
}

/// A column as the schema of a file has it.
fn field(column: &Column<'_>) -> Result<Type, ParquetError> {
    let (physical, converted) = match column.cells() {
        Cells::Texts(_) => (Physical::BYTE_ARRAY, ConvertedType::UTF8),
        Cells::Whole(_) => (Physical::INT64, ConvertedType::NONE),
        _ => (Physical::FLOAT, ConvertedType::NONE),
    };
    let repetition = if column.cells().has_gaps() { Repetition::OPTIONAL } else { Repetition::REQUIRED };
    Type::primitive_type_builder(column.name(), physical)
        .with_converted_type(converted)
        .with_repetition(repetition)
        .build()
}

/// Writes some rows of a column. Of a column with gaps a level says of each row whether there is something.
fn fill(
    writer: &mut SerializedColumnWriter<'_>,
    column: &Column<'_>,
    rows: std::ops::Range<usize>,
) -> Result<(), ParquetError> {
    let cells = || rows.clone().map(|row| column.cell(row));
    let levels: Option<Vec<i16>> =
        column.cells().has_gaps().then(|| cells().map(|cell| i16::from(cell != Cell::Empty)).collect());
    let levels = levels.as_deref();
    let odd = |_| ParquetError::General(format!("`{}` holds a number beyond 64 bits", column.name()));
    match column.cells() {
        Cells::Texts(_) => {
            let text = |cell| if let Cell::Text(text) = cell { Some(ByteArray::from(text)) } else { None };
            let texts: Vec<ByteArray> = cells().filter_map(text).collect();
            writer.typed::<ByteArrayType>().write_batch(&texts, levels, None)?;
        }
        Cells::Whole(_) => {
            let whole =
                |cell| if let Cell::Whole(number) = cell { Some(i64::try_from(number)) } else { None };
            let numbers = cells().filter_map(whole).collect::<Result<Vec<i64>, _>>().map_err(odd)?;
            writer.typed::<Int64Type>().write_batch(&numbers, levels, None)?;
        }
        _ => {
            let number = |cell| if let Cell::Number(number) = cell { Some(number) } else { None };
            let numbers: Vec<f32> = cells().filter_map(number).collect();
            writer.typed::<FloatType>().write_batch(&numbers, levels, None)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use mmlens::finding::{Axis, Modality, PatchLabel, Provenance, Role, TokenLabel, Unit};
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::RowAccessor;

    use super::*;

    /// Numbers that are easily lost: the smallest, the largest, both zeros, what is no number; and all sorts of bits.
    fn numbers() -> Vec<f32> {
        let odd = [f32::MIN_POSITIVE, 1e-45, f32::MAX, -f32::MAX, 0.0, -0.0, 0.1, 1.0 / 3.0, 16_777_217.0];
        let more = (0..500u32).map(|i| f32::from_bits(i.wrapping_mul(0x9E37_79B9)));
        odd.into_iter().chain(more).chain([f32::INFINITY, f32::NEG_INFINITY, f32::NAN]).collect()
    }

    fn finding() -> Finding {
        let patch =
            PatchLabel { image: 0, tile: 0, frame: 0, row: 2, col: 3, bbox: [24.0, 16.0, 32.0, 24.5] };
        let texts = ["a, \"b\"\nc", "", "é\u{1F426}"];
        let mut tokens: Vec<TokenLabel> =
            texts.iter().map(|text| TokenLabel::new(*text, Modality::Text).with_id(7)).collect();
        tokens.push(TokenLabel::new("<image>", Modality::Image).with_patch(patch));
        let (numbers, len) = (numbers(), numbers().len());
        let values: Vec<f32> = (0..4).flat_map(|_| numbers.clone()).collect();
        let axes = vec![Axis::tokens(tokens), Axis::count(Role::Vocab, len)];
        let table = Labelled::numbers("effect", Unit::Logit, axes, values).unwrap();
        Finding::new(Provenance::new("occlusion", "shapes"), vec![table]).unwrap()
    }

    /// The same bits; of what is no number it is enough that it is none.
    fn same(a: f32, b: f32) -> bool {
        a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
    }

    #[test]
    fn csv_reads_back_to_the_same_bits() {
        let (finding, mut bytes) = (finding(), Vec::new());
        let long = finding.tables()[0].long();
        csv(&long, &mut bytes).unwrap();
        let mut reader = csv::Reader::from_reader(bytes.as_slice());
        let head: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
        let names: Vec<&str> = long.columns().iter().map(Column::name).collect();
        assert_eq!(head, names);
        let mut rows = 0;
        for (row, record) in reader.records().enumerate() {
            let record = record.unwrap();
            for (column, text) in long.columns().iter().zip(&record) {
                let read = match column.cell(row) {
                    Cell::Text(expected) => text == expected,
                    Cell::Whole(expected) => text.parse() == Ok(expected),
                    // As programs read it that know no other numbers than those of 64 bits, too.
                    Cell::Number(expected) => {
                        same(text.parse().unwrap(), expected)
                            && same(text.parse::<f64>().unwrap() as f32, expected)
                    }
                    _ => text.is_empty(),
                };
                assert!(read, "row {row}, {}: `{text}`", column.name());
            }
            rows += 1;
        }
        assert_eq!(rows, 4 * numbers().len());
    }

    #[test]
    fn json_reads_back_to_the_same_bits() {
        let finding = finding();
        let (table, long) = (&finding.tables()[0], finding.tables()[0].long());
        let text = serde_json::to_string(&Rows { about: about(&finding, table), long: &long }).unwrap();
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&read["table"], &read["unit"], &read["method"]),
            (&json!("effect"), &json!("logit"), &json!("occlusion"))
        );
        assert_eq!(read["provenance"], json!(finding.provenance));
        let rows = read["rows"].as_array().unwrap();
        assert_eq!(rows.len(), table.len());
        for (at, row) in rows.iter().enumerate() {
            let expected = table.as_numbers().unwrap()[at];
            let value =
                row["value"].as_f64().unwrap_or_else(|| row["value"].as_str().unwrap().parse().unwrap());
            assert!(same(value as f32, expected), "{row}");
            assert_eq!(row["vocab_index"], json!(at % numbers().len()));
        }
        assert_eq!(rows[0]["token_row"], Value::Null);
        assert_eq!(rows[3 * numbers().len()]["token_y1"], json!(24.5));
    }

    #[test]
    fn parquet_reads_back_to_the_same_bits() {
        let finding = finding();
        let (table, long) = (&finding.tables()[0], finding.tables()[0].long());
        let bytes = parquet(about(&finding, table), &long).unwrap();
        assert!(bytes == parquet(about(&finding, table), &long).unwrap(), "the same table, other bytes");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let reader = SerializedFileReader::new(file.reopen().unwrap()).unwrap();
        let about = reader.metadata().file_metadata().key_value_metadata().unwrap();
        let find = |key: &str| about.iter().find(|entry| entry.key == key).unwrap().value.clone().unwrap();
        assert_eq!(
            (find("mmlens.table"), find("mmlens.unit"), find("mmlens.method")),
            ("effect".into(), "logit".into(), "occlusion".into())
        );
        assert_eq!(
            serde_json::from_str::<Value>(&find("mmlens.provenance")).unwrap(),
            json!(finding.provenance)
        );
        let mut rows = 0;
        for (row, record) in reader.get_row_iter(None).unwrap().enumerate() {
            let record = record.unwrap();
            for (at, column) in long.columns().iter().enumerate() {
                let read = match column.cell(row) {
                    Cell::Text(expected) => record.get_string(at).unwrap() == expected,
                    Cell::Whole(expected) => record.get_long(at).unwrap() as u64 == expected,
                    Cell::Number(expected) => record.get_float(at).unwrap().to_bits() == expected.to_bits(),
                    _ => record.get_long(at).is_err() && record.get_float(at).is_err(),
                };
                assert!(read, "row {row}, {}", column.name());
            }
            rows += 1;
        }
        assert_eq!(rows, table.len());
    }
}
