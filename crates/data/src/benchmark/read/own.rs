//! One's own lines of JSON and tables, with a map of what their columns are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::fields::Fields;
use super::frame::Cut;
use super::records::Records;
use super::source::{Items, picture};
use super::tsv::{cells, columns};
use crate::benchmark::error::{At, cut};
use crate::benchmark::{Item, ReadError, Shown};

/// What columns can be.
const ROLES: [&str; 11] =
    ["id", "image", "base64", "question", "caption", "foil", "answer", "choices", "label", "task", "group"];

/// Which column is what: `id=qid,image=picture,answer=truth`. A role that is not named is the column of that name, if there is one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Map(BTreeMap<String, String>);

/// A map that is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is no map of columns; expected ROLE=COLUMN, with commas between, of the roles {}", ROLES.join(", "))]
pub struct UnknownRole {
    /// The part that is wrong.
    pub found: String,
}

impl FromStr for Map {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        let mut map = BTreeMap::new();
        for part in text.split(',').filter(|part| !part.trim().is_empty()) {
            let wrong = || UnknownRole { found: part.to_owned() };
            let (role, column) = part.split_once('=').ok_or_else(wrong)?;
            let (role, column) = (role.trim(), column.trim());
            if !ROLES.contains(&role) || column.is_empty() {
                return Err(wrong());
            }
            if map.insert(role.to_owned(), column.to_owned()).is_some() {
                return Err(wrong());
            }
        }
        Ok(Self(map))
    }
}

impl Map {
    /// The columns that were named, by role.
    pub(crate) const fn columns(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// Whether a column has a role.
    pub(super) fn has(&self, column: &str) -> bool {
        ROLES.iter().any(|role| self.column(role) == column)
    }

    /// The column of a role.
    pub(super) fn column<'a>(&'a self, role: &'a str) -> &'a str {
        self.0.get(role).map_or(role, String::as_str)
    }

    /// Columns that somebody named, and which must be there.
    pub(super) fn named(&self) -> impl Iterator<Item = &str> {
        self.0.values().map(String::as_str)
    }

    /// The item that fields hold. `bytes` are pictures that stand among them already.
    pub(super) fn item(
        &self,
        mut fields: Fields<'_>,
        images: &Path,
        (index, bytes): (usize, Vec<Shown>),
    ) -> Result<Item, ReadError> {
        let column = |role| self.column(role);
        let named = |role: &str| self.0.contains_key(role);
        let id = fields.maybe_id(column("id"))?;
        if id.is_none() && named("id") {
            return Err(fields.wrong(column("id"), "nothing", "a text or a whole number"));
        }
        let mut pictures = bytes;
        pictures.extend(fields.texts(column("image"))?.iter().map(|image| picture(images, image)));
        for (i, text) in fields.texts(column("base64"))?.iter().enumerate() {
            let name = format!("{}.{i}", id.clone().unwrap_or_else(|| index.to_string()));
            pictures.push(Shown::Bytes { name, bytes: fields.bytes(column("base64"), text)? });
        }
        let choices = fields.texts(column("choices"))?;
        if choices.len() > 26 {
            return Err(fields.wrong(column("choices"), format!("{} of them", choices.len()), "at most 26"));
        }
        let answers = fields.texts(column("answer"))?;
        if answers.iter().any(|answer| answer.trim().is_empty()) {
            let expected = "a right answer, or none at all";
            return Err(fields.wrong(column("answer"), "an empty text", expected));
        }
        let label = fields.maybe_id(column("label"))?.or_else(|| match answers.as_slice() {
            [one] => Some(one.clone()),
            _ => None,
        });
        let item = Item {
            id: id.unwrap_or_else(|| index.to_string()),
            pictures,
            question: fields.maybe_text(column("question"))?,
            captions: fields.texts(column("caption"))?,
            foils: fields.texts(column("foil"))?,
            answers,
            choices: ('A'..='Z').map(String::from).zip(choices).collect(),
            label,
            task: fields.maybe_id(column("task"))?,
            group: fields.maybe_id(column("group"))?.unwrap_or_default(),
            ..Item::default()
        };
        if !item.foils.is_empty() && item.foils.len() != item.captions.len() {
            let found = format!("{} of them", item.foils.len());
            return Err(fields.wrong(
                column("foil"),
                found,
                format!("{}, as many as captions", item.captions.len()),
            ));
        }
        if let Some(same) = item.foils.iter().zip(&item.captions).find(|(foil, caption)| foil == caption) {
            let found = format!("`{}`, the caption itself", cut(same.0));
            return Err(fields.wrong(column("foil"), found, "another text"));
        }
        Ok(Item { extra: fields.rest(), ..item }.of_picture(images))
    }
}

/// Lines of JSON, or a table of which the first row names the columns.
pub(super) struct Own {
    records: Records,
    /// Of a table.
    table: Option<(u8, Vec<String>)>,
    map: Map,
    images: PathBuf,
}

impl Own {
    /// A table, if there is a delimiter.
    pub(super) fn open(
        file: &Path,
        delimiter: Option<u8>,
        map: Map,
        images: PathBuf,
    ) -> Result<Self, ReadError> {
        let table = delimiter.map(|delimiter| Ok((delimiter, columns(file, delimiter)?))).transpose()?;
        if let Some((_, names)) = &table {
            check(file, At::Line(1), &map, names)?;
        }
        let cut = delimiter.map_or(Cut::Lines, |delimiter| Cut::Rows { delimiter });
        let records = Records::open(file, cut, usize::from(table.is_some()), |_, _| Ok(()))?;
        Ok(Self { records, table, map, images })
    }
}

/// Refuses a map of columns that a table does not have.
pub(super) fn check(file: &Path, at: At, map: &Map, names: &[String]) -> Result<(), ReadError> {
    match map.named().find(|column| !names.iter().any(|name| name == column)) {
        None => Ok(()),
        Some(column) => {
            let columns = cut(&names.join(", "));
            Err(ReadError::field(file, at, column, "no such column", format!("one of {columns}")))
        }
    }
}

impl Items for Own {
    fn len(&self) -> usize {
        self.records.len()
    }

    fn item(&self, index: usize) -> Result<Item, ReadError> {
        let (file, record) = (self.records.file(), self.records.get(index)?);
        let fields = match &self.table {
            None => {
                let fields = Fields::of_json(file, &record)?;
                if let Some(column) = self.map.named().find(|column| !fields.has(column)) {
                    return Err(fields.wrong(column, "nothing", "a value: the map names it"));
                }
                fields
            }
            Some((delimiter, names)) => {
                Fields::of_cells(file, record.line, names, cells(file, *delimiter, &record)?)?
            }
        };
        self.map.item(fields, &self.images, (index, Vec::new()))
    }
}
