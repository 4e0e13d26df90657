//! The fields of a record, taken one by one: each is what it should be, or an error that names it.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mmlens_files::{count_values, parse_json};
use serde_json::{Map, Value};

use super::frame::Record;
use crate::benchmark::ReadError;
use crate::benchmark::error::{At, cut, told};
use crate::benchmark::item::MOST_SHOWN;

/// The most values of one record; each takes some 70 bytes.
const MOST_VALUES: usize = 1 << 20;

/// The fields of a record that were not taken yet.
pub(crate) struct Fields<'a> {
    file: &'a Path,
    at: At,
    /// What stands before the names of fields, as in `mturk.caption`.
    under: String,
    map: Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// The fields of an object of JSON.
    pub(crate) fn of_json(file: &'a Path, record: &Record) -> Result<Self, ReadError> {
        let wrong = |line: usize, field: &str, found: &str, expected: &str| {
            ReadError::field(file, record.line + line.saturating_sub(1), field, found, expected)
        };
        let count = count_values(&record.bytes);
        if count > MOST_VALUES {
            let (found, expected) = (format!("{count} values"), format!("at most {MOST_VALUES} in a record"));
            return Err(wrong(0, "", &found, &expected));
        }
        let value: Value = parse_json(&record.bytes)
            .map_err(|error| wrong(error.line, &error.field, &cut(&error.problem), "an object of JSON"))?;
        match value {
            Value::Object(map) => Ok(Self::of_values(file, record.line, map)),
            other => Err(wrong(0, "", &told(&other), "an object of JSON")),
        }
    }

    /// The cells of a row, by the names of their columns; empty cells are not there.
    pub(crate) fn of_cells(
        file: &'a Path,
        line: usize,
        names: &[String],
        cells: Vec<String>,
    ) -> Result<Self, ReadError> {
        if cells.len() != names.len() {
            let (found, expected) =
                (format!("{} cells", cells.len()), format!("{}, as many as columns", names.len()));
            return Err(ReadError::field(file, line, "", found, expected));
        }
        let some = names.iter().cloned().zip(cells).filter(|(_, cell)| !cell.is_empty());
        Ok(Self::of_values(file, line, some.map(|(name, cell)| (name, Value::String(cell))).collect()))
    }

    pub(crate) fn of_values(file: &'a Path, at: impl Into<At>, map: Map<String, Value>) -> Self {
        Self { file, at: at.into(), under: String::new(), map }
    }

    pub(crate) fn wrong(
        &self,
        name: &str,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> ReadError {
        ReadError::field(self.file, self.at, format!("{}{name}", self.under), found, expected)
    }

    fn missing(&self, name: &str, expected: &str) -> ReadError {
        self.wrong(name, "nothing", expected)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.map.get(name).is_some_and(|value| !value.is_null())
    }

    /// The names of all fields, in the order of their letters.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.map.keys().cloned().collect();
        names.sort();
        names
    }

    /// A field that may be missing or null.
    pub(crate) fn maybe(&mut self, name: &str) -> Option<Value> {
        self.map.remove(name).filter(|value| !value.is_null())
    }

    /// A text that may be missing.
    pub(crate) fn maybe_text(&mut self, name: &str) -> Result<Option<String>, ReadError> {
        match self.maybe(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(name, told(&other), "a text")),
        }
    }

    pub(crate) fn text(&mut self, name: &str) -> Result<String, ReadError> {
        self.maybe_text(name)?.ok_or_else(|| self.missing(name, "a text"))
    }

    /// A name: a text, or a whole number.
    pub(crate) fn maybe_id(&mut self, name: &str) -> Result<Option<String>, ReadError> {
        match self.maybe(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(Value::Number(number)) if number.is_i64() || number.is_u64() => Ok(Some(number.to_string())),
            Some(other) => Err(self.wrong(name, told(&other), "a text or a whole number")),
        }
    }

    pub(crate) fn id(&mut self, name: &str) -> Result<String, ReadError> {
        self.maybe_id(name)?.ok_or_else(|| self.missing(name, "a text or a whole number"))
    }

    pub(crate) fn whole(&mut self, name: &str) -> Result<u64, ReadError> {
        match self.maybe(name) {
            None => Err(self.missing(name, "a whole number")),
            Some(value) => {
                value.as_u64().ok_or_else(|| self.wrong(name, told(&value), "a whole number, not negative"))
            }
        }
    }

    /// One text, or a list of them; none where it is missing.
    pub(crate) fn texts(&mut self, name: &str) -> Result<Vec<String>, ReadError> {
        match self.maybe(name) {
            None => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(vec![text]),
            Some(Value::Array(list)) => {
                let text = |(i, value): (usize, Value)| match value {
                    Value::String(text) => Ok(text),
                    other => Err(self.wrong(&format!("{name}.{i}"), told(&other), "a text")),
                };
                list.into_iter().enumerate().map(text).collect()
            }
            Some(other) => Err(self.wrong(name, told(&other), "a text or a list of texts")),
        }
    }

    /// A list of objects; none where it is missing.
    pub(crate) fn objects(&mut self, name: &str) -> Result<Vec<Fields<'a>>, ReadError> {
        let Some(value) = self.maybe(name) else { return Err(self.missing(name, "a list")) };
        let Value::Array(list) = value else { return Err(self.wrong(name, told(&value), "a list")) };
        let fields = |(i, value): (usize, Value)| {
            let under = format!("{}{name}.{i}", self.under);
            match value {
                Value::Object(map) => {
                    Ok(Fields { file: self.file, at: self.at, under: format!("{under}."), map })
                }
                other => Err(ReadError::field(self.file, self.at, under, told(&other), "an object")),
            }
        };
        list.into_iter().enumerate().map(fields).collect()
    }

    /// An object.
    pub(crate) fn object(&mut self, name: &str) -> Result<Fields<'a>, ReadError> {
        match self.maybe(name) {
            None => Err(self.missing(name, "an object")),
            Some(Value::Object(map)) => {
                let under = format!("{}{name}.", self.under);
                Ok(Fields { file: self.file, at: self.at, under, map })
            }
            Some(other) => Err(self.wrong(name, told(&other), "an object")),
        }
    }

    pub(crate) fn number(&mut self, name: &str) -> Result<f64, ReadError> {
        match self.maybe(name) {
            None => Err(self.missing(name, "a number")),
            Some(value) => value.as_f64().ok_or_else(|| self.wrong(name, told(&value), "a number")),
        }
    }

    /// A list of so many numbers.
    pub(crate) fn numbers<const N: usize>(&mut self, name: &str) -> Result<[f64; N], ReadError> {
        let Some(value) = self.maybe(name) else { return Err(self.missing(name, &format!("{N} numbers"))) };
        let numbers: Option<Vec<f64>> =
            value.as_array().and_then(|list| list.iter().map(Value::as_f64).collect());
        let numbers = numbers.and_then(|numbers| <[f64; N]>::try_from(numbers).ok());
        numbers.ok_or_else(|| self.wrong(name, told(&value), format!("a list of {N} numbers")))
    }

    /// `yes` or `no`, in whatever case.
    pub(crate) fn yes_no(&mut self, name: &str) -> Result<String, ReadError> {
        let text = self.text(name)?;
        let plain = text.trim().to_lowercase();
        match plain.as_str() {
            "yes" | "no" => Ok(plain),
            _ => Err(self.wrong(name, format!("`{}`", cut(&text)), "`yes` or `no`")),
        }
    }

    /// The bytes of a picture that stands there as base64.
    pub(crate) fn bytes(&self, name: &str, text: &str) -> Result<Vec<u8>, ReadError> {
        if text.len() as u64 > MOST_SHOWN / 3 * 4 + 4 {
            let found = format!("{} characters", text.len());
            return Err(self.wrong(
                name,
                found,
                format!("a picture of at most {MOST_SHOWN} bytes, as base64"),
            ));
        }
        STANDARD
            .decode(text.trim())
            .map_err(|error| self.wrong(name, format!("`{}` ({error})", cut(text)), "a picture as base64"))
    }

    /// What was not taken.
    pub(crate) fn rest(self) -> BTreeMap<String, Value> {
        self.map.into_iter().collect()
    }
}
