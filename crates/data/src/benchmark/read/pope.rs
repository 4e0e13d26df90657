//! POPE: one question about the presence of an object on each line.

use std::path::{Path, PathBuf};

use super::fields::Fields;
use super::frame::Cut;
use super::records::Records;
use super::source::{Items, picture};
use crate::benchmark::{Item, ReadError};

/// `{"question_id": 1, "image": "COCO_val2014_000000310196.jpg", "text": "Is there a snowboard in the image?", "label": "yes"}`
pub(super) struct Pope {
    records: Records,
    images: PathBuf,
}

impl Pope {
    pub(super) fn open(file: &Path, images: PathBuf) -> Result<Self, ReadError> {
        Ok(Self { records: Records::open(file, Cut::Lines, 0, |_, _| Ok(()))?, images })
    }
}

impl Items for Pope {
    fn len(&self) -> usize {
        self.records.len()
    }

    fn item(&self, index: usize) -> Result<Item, ReadError> {
        let mut fields = Fields::of_json(self.records.file(), &self.records.get(index)?)?;
        let image = fields.text("image")?;
        let label = fields.yes_no("label")?;
        Ok(Item {
            id: fields.id("question_id")?,
            pictures: vec![picture(&self.images, &image)],
            question: Some(fields.text("text")?),
            answers: vec![label.clone()],
            label: Some(label),
            group: image,
            extra: fields.rest(),
            ..Item::default()
        })
    }
}
