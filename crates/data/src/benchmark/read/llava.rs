//! LLaVA: conversations about pictures, as a list of JSON, and questions, one on a line.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::fields::Fields;
use super::frame::Cut;
use super::records::Records;
use super::source::{Items, picture};
use crate::benchmark::{Item, ReadError, Shown};

/// What stands for the picture in what a person says.
const PLACE: &str = "<image>";

/// Refuses words that ask for another number of pictures than there are. Words that name none are about all of them.
fn placed(fields: &Fields<'_>, places: usize, pictures: usize) -> Result<(), ReadError> {
    if places == pictures || (places == 0 && pictures > 0) {
        return Ok(());
    }
    Err(fields.wrong("image", format!("{pictures} of them"), format!("{places}, as many as `{PLACE}`")))
}

/// `[{"id": "1", "image": "1.jpg", "conversations": [{"from": "human", "value": "<image>\nWhat is this?"}, {"from": "gpt", "value":
/// "A cat."}, ...]}, ...]`: the first question and its answer; later turns stay in `extra`.
pub(super) struct Conversations {
    records: Records,
    images: PathBuf,
}

impl Conversations {
    pub(super) fn open(file: &Path, images: PathBuf) -> Result<Self, ReadError> {
        Ok(Self { records: Records::open(file, Cut::Elements { under: None }, 0, |_, _| Ok(()))?, images })
    }
}

impl Items for Conversations {
    fn len(&self) -> usize {
        self.records.len()
    }

    fn item(&self, index: usize) -> Result<Item, ReadError> {
        let mut fields = Fields::of_json(self.records.file(), &self.records.get(index)?)?;
        let mut turns = fields.objects("conversations")?.into_iter();
        let (mut question, mut answer, mut later) = (None, None, Vec::new());
        let mut places = 0;
        for (turn, expected) in turns.by_ref().take(2).zip(["human", "gpt"]) {
            let mut turn = turn;
            let from = turn.text("from")?;
            if from != expected {
                return Err(turn.wrong("from", format!("`{from}`"), format!("`{expected}`")));
            }
            let value = turn.text("value")?;
            if expected == "human" {
                places += value.matches(PLACE).count();
                question = Some(value.replace(PLACE, "").trim().to_owned());
            } else {
                answer = Some(value);
            }
        }
        for turn in turns {
            let turn = turn.rest();
            let text = |name| turn.get(name).and_then(Value::as_str).unwrap_or_default();
            if text("from") == "human" {
                places += text("value").matches(PLACE).count();
            }
            later.push(Value::Object(turn.into_iter().collect()));
        }
        if question.is_none() {
            return Err(fields.wrong("conversations", "a list of 0", "at least one turn"));
        }
        let pictures: Vec<Shown> =
            fields.texts("image")?.iter().map(|image| picture(&self.images, image)).collect();
        placed(&fields, places, pictures.len())?;
        let id = fields.maybe_id("id")?.unwrap_or_else(|| index.to_string());
        let mut extra = fields.rest();
        if !later.is_empty() {
            extra.insert("later turns".to_owned(), later.into());
        }
        let answers = answer.into_iter().collect();
        Ok(Item { id, pictures, question, answers, extra, ..Item::default() }.of_picture(&self.images))
    }
}

/// `{"question_id": 1, "image": "1.jpg", "text": "What is this?", "category": "detail"}`
pub(super) struct Questions {
    records: Records,
    images: PathBuf,
}

impl Questions {
    pub(super) fn open(file: &Path, images: PathBuf) -> Result<Self, ReadError> {
        Ok(Self { records: Records::open(file, Cut::Lines, 0, |_, _| Ok(()))?, images })
    }
}

impl Items for Questions {
    fn len(&self) -> usize {
        self.records.len()
    }

    fn item(&self, index: usize) -> Result<Item, ReadError> {
        let mut fields = Fields::of_json(self.records.file(), &self.records.get(index)?)?;
        let pictures: Vec<Shown> =
            fields.texts("image")?.iter().map(|image| picture(&self.images, image)).collect();
        let text = fields.text("text")?;
        placed(&fields, text.matches(PLACE).count(), pictures.len())?;
        let item = Item {
            id: fields.id("question_id")?,
            pictures,
            question: Some(text.replace(PLACE, "").trim().to_owned()),
            task: fields.maybe_text("category")?,
            ..Item::default()
        };
        Ok(Item { extra: fields.rest(), ..item }.of_picture(&self.images))
    }
}
