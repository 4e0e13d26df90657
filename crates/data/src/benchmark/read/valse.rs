//! VALSE: captions and foils, an object of JSON with an entry for each pair.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::fields::Fields;
use super::frame::{Cut, Record};
use super::records::Records;
use super::source::{Items, picture};
use crate::benchmark::{Item, ReadError};

/// Of three people so many must have found that the caption fits and the foil does not.
const AGREED: u64 = 2;

/// `{"existence_1": {"image_file": "1.jpg", "caption": "...", "foil": "...", "linguistic_phenomena": "existence", "mturk": {"caption": 3,
/// "foil": 0, "other": 0}, ...}, ...}`
pub(super) struct Valse {
    records: Records,
    /// Those that people agreed on.
    valid: Vec<u32>,
    images: PathBuf,
}

impl Valse {
    pub(super) fn open(file: &Path, images: PathBuf) -> Result<Self, ReadError> {
        let mut valid = Vec::new();
        let records = Records::open(file, Cut::Elements { under: None }, 0, |index, record| {
            if agreed(&mut Fields::of_json(file, record)?)? {
                // No more than MOST_RECORDS.
                valid.extend(u32::try_from(index));
            }
            Ok(())
        })?;
        Ok(Self { records, valid, images })
    }
}

/// Whether people agreed; entries without their votes are taken as they are.
fn agreed(fields: &mut Fields<'_>) -> Result<bool, ReadError> {
    match fields.maybe("mturk") {
        None => Ok(true),
        Some(Value::Object(votes)) => match votes.get("caption").and_then(Value::as_u64) {
            Some(caption) => Ok(caption >= AGREED),
            None => Err(fields.wrong("mturk.caption", "no count", "how many people chose the caption")),
        },
        Some(_) => Err(fields.wrong("mturk", "no object", "an object with a count `caption`")),
    }
}

/// The caption, which some parts of VALSE have as a list of one.
fn one(fields: &mut Fields<'_>, name: &str) -> Result<String, ReadError> {
    let mut all = fields.texts(name)?;
    match (all.pop(), all.len()) {
        (Some(one), 0) => Ok(one),
        (_, more) => Err(fields.wrong(name, format!("{} texts", more + usize::from(more > 0)), "one text")),
    }
}

fn name(file: &Path, record: &Record) -> Result<String, ReadError> {
    let wrong = |error: mmlens_files::JsonError| {
        ReadError::field(file, record.line, "", error.problem, "the name of an entry")
    };
    mmlens_files::parse_json(&record.key).map_err(wrong)
}

impl Items for Valse {
    fn len(&self) -> usize {
        self.valid.len()
    }

    fn item(&self, index: usize) -> Result<Item, ReadError> {
        let file = self.records.file();
        let past = || ReadError::Past { file: file.to_owned(), index, len: self.valid.len() };
        let record = self.records.get(*self.valid.get(index).ok_or_else(past)? as usize)?;
        let mut fields = Fields::of_json(file, &record)?;
        let image = fields.text("image_file")?;
        let item = Item {
            // A list has no names.
            id: if record.key.is_empty() { index.to_string() } else { name(file, &record)? },
            pictures: vec![picture(&self.images, &image)],
            captions: vec![one(&mut fields, "caption")?],
            foils: vec![one(&mut fields, "foil")?],
            task: fields.maybe_text("linguistic_phenomena")?,
            group: image,
            ..Item::default()
        };
        if item.captions == item.foils {
            return Err(fields.wrong("foil", "the caption itself", "another text"));
        }
        Ok(Item { extra: fields.rest(), ..item })
    }
}
