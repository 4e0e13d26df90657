//! VQA v2: a file of questions, and one of annotations with ten answers for each.

use std::path::{Path, PathBuf};

use super::fields::Fields;
use super::frame::{Cut, Frames, Record};
use super::join::Join;
use super::records::Records;
use super::source::{Items, picture};
use crate::benchmark::{Item, ReadError};

/// `{"data_subtype": "val2014", "questions": [{"image_id": 1, "question": "...", "question_id": 10}, ...]}` and
/// `{"annotations": [{"question_id": 10, "image_id": 1, "question_type": "...", "answer_type": "...", "multiple_choice_answer": "...",
/// "answers": [{"answer": "...", "answer_confidence": "yes", "answer_id": 1}, ...]}, ...]}`
pub(super) struct Vqa {
    questions: Records,
    annotations: Option<Annotations>,
    images: PathBuf,
    /// `val2014`.
    split: String,
}

struct Annotations {
    records: Records,
    /// `None` where they stand in the order of the questions.
    by_question: Option<Join>,
}

fn id_of(file: &Path, record: &Record, name: &str) -> Result<u64, ReadError> {
    Fields::of_json(file, record)?.whole(name)
}

impl Vqa {
    pub(super) fn open(file: &Path, annotations: Option<&Path>, images: PathBuf) -> Result<Self, ReadError> {
        let split = Frames::field(file, "data_subtype")?;
        let split: String = match split {
            None => {
                return Err(ReadError::field(file, 1, "data_subtype", "nothing", "a text such as `val2014`"));
            }
            Some(record) => mmlens_files::parse_json(&record.bytes).map_err(|error| {
                ReadError::field(file, record.line, "data_subtype", error.problem, "a text such as `val2014`")
            })?,
        };
        // Two sets of questions about the pictures of one split.
        let split = if split == "test-dev2015" { "test2015".to_owned() } else { split };
        let questions = Records::open(file, Cut::Elements { under: Some("questions") }, 0, |_, _| Ok(()))?;
        let annotations = annotations.map(|file| Annotations::open(file, &questions)).transpose()?;
        Ok(Self { questions, annotations, images, split })
    }
}

impl Annotations {
    fn open(file: &Path, questions: &Records) -> Result<Self, ReadError> {
        let cut = Cut::Elements { under: Some("annotations") };
        let mut aligned = true;
        let records = Records::open(file, cut, 0, |index, record| {
            if aligned {
                aligned = index < questions.len()
                    && id_of(questions.file(), &questions.get(index)?, "question_id")?
                        == id_of(file, record, "question_id")?;
            }
            Ok(())
        })?;
        if aligned && records.len() == questions.len() {
            return Ok(Self { records, by_question: None });
        }
        let mut pairs = Vec::with_capacity(records.len());
        let records = Records::open(file, cut, 0, |index, record| {
            // No more than MOST_RECORDS.
            pairs.extend(
                u32::try_from(index).map(|index| id_of(file, record, "question_id").map(|id| (id, index))),
            );
            Ok(())
        })?;
        let pairs = pairs.into_iter().collect::<Result<_, _>>()?;
        Ok(Self { records, by_question: Some(Join::of(pairs)) })
    }

    fn of_question(&self, index: usize, id: u64) -> Result<Record, ReadError> {
        let Some(by_question) = &self.by_question else { return self.records.get(index) };
        match by_question.get(id) {
            [one] => self.records.get(*one as usize),
            found => {
                let found = format!("{} annotations of question {id}", found.len());
                Err(ReadError::field(self.records.file(), 1, "question_id", found, "one"))
            }
        }
    }
}

impl Items for Vqa {
    fn len(&self) -> usize {
        self.questions.len()
    }

    fn item(&self, index: usize) -> Result<Item, ReadError> {
        let record = self.questions.get(index)?;
        let mut fields = Fields::of_json(self.questions.file(), &record)?;
        let (id, image) = (fields.whole("question_id")?, fields.whole("image_id")?);
        let file = format!("COCO_{}_{image:012}.jpg", self.split);
        let mut item = Item {
            id: id.to_string(),
            pictures: vec![picture(&self.images, &file)],
            question: Some(fields.text("question")?),
            group: image.to_string(),
            ..Item::default()
        };
        if let Some(annotations) = &self.annotations {
            let record = annotations.of_question(index, id)?;
            let mut known = Fields::of_json(annotations.records.file(), &record)?;
            if known.has("image_id") {
                let other = known.whole("image_id")?;
                if other != image {
                    let expected = format!("{image}, the picture of question {id}");
                    return Err(known.wrong("image_id", other.to_string(), expected));
                }
            }
            for mut answer in known.objects("answers")? {
                item.answers.push(answer.text("answer")?);
            }
            item.label = known.maybe_text("multiple_choice_answer")?;
            item.task = known.maybe_text("answer_type")?;
            item.extra = known.rest();
        }
        item.extra.extend(fields.rest());
        Ok(item)
    }
}
