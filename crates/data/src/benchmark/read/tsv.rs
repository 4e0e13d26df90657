//! The tables of VLMEvalKit: one question a row, its picture in a cell as base64, or named by a path.

use std::path::{Path, PathBuf};

use super::fields::Fields;
use super::frame::{Cut, Frames, Record};
use super::join::Join;
use super::records::Records;
use super::source::{Items, picture};
use crate::benchmark::error::cut;
use crate::benchmark::{Item, ReadError, Shown};

/// A cell of no more characters is the index of the row that has the picture.
const LONGEST_INDEX: usize = 64;
/// The same question, its choices turned, has an index so much larger (circular evaluation).
const TURNED: u64 = 1_000_000;

/// Columns `index`, `question`, and as far as there are any `image` or `image_path`, `hint`, `A` to `Z`, `answer`, `category`; `image` is a picture as
/// base64, the index of a row that has it, or a list of pictures as Python writes one.
pub(super) struct Tsv {
    records: Records,
    names: Vec<String>,
    /// Which row has the picture of an index; empty where every row has its own.
    shown: Join,
    images: PathBuf,
}

/// The cells of a row, as RFC 4180 has them: a quote that begins a cell opens it, and two quotes within are one. What stands between the
/// quote that closes and the end of the cell belongs to it.
pub(super) fn cells(file: &Path, delimiter: u8, record: &Record) -> Result<Vec<String>, ReadError> {
    let (mut cells, mut cell) = (Vec::new(), Vec::new());
    let (mut quoted, mut begins) = (false, true);
    let ended = |cell: Vec<u8>| {
        String::from_utf8(cell).map_err(|error| {
            ReadError::field(file, record.line, "", error.to_string(), "cells of text in UTF-8")
        })
    };
    let mut bytes = record.bytes.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        let first = std::mem::take(&mut begins);
        match byte {
            b'"' if first => quoted = true,
            b'"' if quoted && bytes.next_if_eq(&b'"').is_some() => cell.push(b'"'),
            b'"' if quoted => quoted = false,
            _ if byte == delimiter && !quoted => {
                cells.push(ended(std::mem::take(&mut cell))?);
                begins = true;
            }
            _ => cell.push(byte),
        }
    }
    cells.push(ended(cell)?);
    Ok(cells)
}

/// The names of the columns: the first row.
pub(super) fn columns(file: &Path, delimiter: u8) -> Result<Vec<String>, ReadError> {
    let mut record = Record::default();
    if !Frames::open(file, Cut::Rows { delimiter })?.next(&mut record)? {
        return Err(ReadError::field(file, 1, "", "nothing", "a row with the names of the columns"));
    }
    let names = cells(file, delimiter, &record)?;
    match names.iter().enumerate().find(|(i, name)| names.get(..*i).is_some_and(|all| all.contains(name))) {
        None => Ok(names),
        Some((_, name)) => Err(ReadError::field(file, 1, name, "two columns of that name", "one")),
    }
}

const TAB: u8 = b'\t';

impl Tsv {
    pub(super) fn open(file: &Path, images: PathBuf) -> Result<Self, ReadError> {
        let names = columns(file, TAB)?;
        for name in ["index", "question"] {
            if !names.iter().any(|column| column == name) {
                return Err(ReadError::field(file, 1, name, "no such column", "one"));
            }
        }
        let mut tsv = Self {
            records: Records::open(file, Cut::Rows { delimiter: TAB }, 1, |_, _| Ok(()))?,
            names,
            shown: Join::default(),
            images,
        };
        let mut refers = false;
        if tsv.names.iter().any(|name| name == "image") {
            let mut rows = Vec::new();
            Records::open(file, Cut::Rows { delimiter: TAB }, 1, |at, record| {
                let mut fields = tsv.fields(record)?;
                let short = fields.maybe_text("image")?.is_some_and(|image| image.len() <= LONGEST_INDEX);
                refers |= short;
                if !short {
                    let index = tsv.index(&mut fields)?;
                    rows.extend(u32::try_from(at).map(|at| (index, at)));
                }
                Ok(())
            })?;
            if refers {
                tsv.shown = Join::of(rows);
            }
        }
        Ok(tsv)
    }

    fn fields(&self, record: &Record) -> Result<Fields<'_>, ReadError> {
        let file = self.records.file();
        Fields::of_cells(file, record.line, &self.names, cells(file, TAB, record)?)
    }

    fn index(&self, fields: &mut Fields<'_>) -> Result<u64, ReadError> {
        let text = fields.text("index")?;
        // pandas writes whole numbers with `.0` where a cell of the column is empty.
        let whole = text.strip_suffix(".0").unwrap_or(&text);
        whole.parse().map_err(|_| fields.wrong("index", format!("`{}`", cut(&text)), "a whole number"))
    }

    /// The pictures of a cell.
    fn pictures(&self, fields: &Fields<'_>, cell: &str, name: &str) -> Result<Vec<Shown>, ReadError> {
        let list = cell.strip_prefix('[').and_then(|cell| cell.strip_suffix(']'));
        let parts: Vec<&str> = match list {
            // Base64 has neither commas nor quotes.
            Some(list) => list.split(',').map(|part| part.trim().trim_matches(['\'', '"'])).collect(),
            None => vec![cell],
        };
        let many = parts.len() > 1;
        let shown = |(i, part): (usize, &str)| {
            let name = if many { format!("{name}.{i}") } else { name.to_owned() };
            Ok(Shown::Bytes { name, bytes: fields.bytes("image", part)? })
        };
        parts.into_iter().enumerate().map(shown).collect()
    }

    fn shown(&self, fields: &mut Fields<'_>, index: u64) -> Result<Vec<Shown>, ReadError> {
        let file = self.records.file();
        if let Some(image) = fields.maybe_text("image")? {
            if image.len() > LONGEST_INDEX {
                return self.pictures(fields, &image, &index.to_string());
            }
            let wrong = |fields: &Fields<'_>| {
                fields.wrong(
                    "image",
                    format!("`{}`", cut(&image)),
                    "a picture as base64, or the index of a row with one",
                )
            };
            let of = image.strip_suffix(".0").unwrap_or(&image).parse().map_err(|_| wrong(fields))?;
            let row = *self.shown.get(of).first().ok_or_else(|| wrong(fields))?;
            let record = self.records.get(row as usize)?;
            let mut other = Fields::of_cells(file, record.line, &self.names, cells(file, TAB, &record)?)?;
            let cell = other.text("image")?;
            return self.pictures(&other, &cell, &of.to_string());
        }
        let Some(path) = fields.maybe_text("image_path")? else { return Ok(Vec::new()) };
        let list = path.strip_prefix('[').and_then(|path| path.strip_suffix(']'));
        let parts: Vec<&str> = match list {
            Some(list) => list.split(',').map(|part| part.trim().trim_matches(['\'', '"'])).collect(),
            None => vec![path.as_str()],
        };
        Ok(parts.into_iter().map(|part| picture(&self.images, part)).collect())
    }
}

impl Items for Tsv {
    fn len(&self) -> usize {
        self.records.len()
    }

    fn item(&self, index: usize) -> Result<Item, ReadError> {
        let record = self.records.get(index)?;
        let mut fields = self.fields(&record)?;
        let id = self.index(&mut fields)?;
        let mut choices = Vec::new();
        for letter in 'A'..='Z' {
            if let Some(text) = fields.maybe_text(&letter.to_string())? {
                choices.push((letter.to_string(), text));
            }
        }
        let question = fields.text("question")?;
        let label = fields.maybe_text("answer")?;
        let hint = fields.maybe_text("hint")?;
        let item = Item {
            id: id.to_string(),
            pictures: self.shown(&mut fields, id)?,
            question: Some(hint.map_or_else(|| question.clone(), |hint| format!("{hint}\n{question}"))),
            answers: label.iter().cloned().collect(),
            label,
            choices,
            task: fields.maybe_text("category")?,
            group: (id % TURNED).to_string(),
            ..Item::default()
        };
        Ok(Item { extra: fields.rest(), ..item })
    }
}
