//! GQA-REX: why a question of GQA has its answer, in words of which some stand for objects of the picture.
//!
//! Chen, Zhao: REX: Reasoning-aware and Grounded Explanation. CVPR 2022. <https://arxiv.org/abs/2203.06107>; <https://github.com/szzexpoi/rex>. 1,040,830 explanations, made by templates from GQA's programs and scene
//! graphs. They are handed out twice: raw, with the objects of scene graphs, and converted, with numbers of detected boxes; <https://github.com/LivXue/VCIN> hands out the converted ones.
//!
//! # Files
//! | file | layout |
//! |---|---|
//! | explanations, `processed_explanation_SPLIT.json` or `converted_explanation_SPLIT.json` | an object of question id to text; an empty text is no explanation |
//! | questions, GQA's `SPLIT_balanced_questions.json` | an object of question id to `imageId`, `question`, `answer` and more, which is not read |
//! | scene graphs, GQA's `SPLIT_sceneGraphs.json` | an object of picture id to `width`, `height` and `objects`, an object of object id to `name`, `x`, `y`, `w`, `h` and more, which is not read; pixels |
//! | boxes, a folder | `IMAGEID.npy`, NumPy's format, `<f4`, rows of x0, y0, x1, y1 in pixels: of LXMERT's bottom-up features 36 |
//!
//! # Marks
//! | in the text | stands for | becomes |
//! |---|---|---|
//! | `(obj:1058549)` | that object of the scene graph | its name, and its box |
//! | `(obj*:dog)` | what the picture does not have | `dog`, without a place |
//! | `#7` | the detected box 7, counted from 0 | `#7`, and that box |
//! | `@6` | cell 6 of 4 x 4, counted from 1 row by row | `@6`, and that quarter of a quarter of the picture |
//! | `(0.3,0.6)`, anything else in parentheses | where an object begins, as shares of width and height; part of a name | as it stands |
//!
//! The converted text of an object that no detected box overlaps has the number of the object, which stays a word. Converting took the detected box that overlaps most, whatever that comes to: a box need not be the object.
//!
//! # The grounding score
//! [`grounding_score`] is the mean over questions of the intersection over union, on whole pixels, of the boxes that an explanation names and those of the objects the question is about (`grounding_annotation.json`: `roi`), divided by
//! what the detected boxes allow at most (`grounding_upper_bound.json`); questions of which that is zero are left out. An explanation without boxes has 0. [`Regions`] reads both files.
//!
//! The script of the authors marks one object of `roi`, the last, where there are several. Here all are marked; [`Truth::last`] gives theirs.

mod keyed;
mod marks;
mod npy;
mod score;

use std::path::{Path, PathBuf};

use self::keyed::Keyed;
use self::marks::{Scene, explained};
use super::{Explanation, Rationale};
use crate::benchmark::ReadError;
use crate::benchmark::error::told;
use crate::benchmark::read::fields::Fields;
use crate::benchmark::read::frame::{Cut, Record};
use crate::benchmark::read::records::Records;

pub use score::{Regions, Truth, grounding_score};

/// Where the files lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// Explanations, raw or converted.
    pub explanations: PathBuf,
    /// GQA's questions.
    pub questions: PathBuf,
    /// GQA's scene graphs.
    pub scene_graphs: PathBuf,
    /// The folder of detected boxes, which `#7` needs.
    pub boxes: Option<PathBuf>,
}

/// Explanations, any of them by its number, each read when it is asked for.
#[derive(Debug)]
pub struct GqaRex {
    explanations: Records,
    questions: Keyed,
    scenes: Keyed,
    boxes: Option<PathBuf>,
}

impl GqaRex {
    /// Goes through the files once, to see where their records are.
    ///
    /// # Errors
    /// [`ReadError`] for a file that cannot be read or is no object of JSON. What is wrong with an explanation is told when it is read.
    ///
    /// # Memory
    /// One record; less than half a byte for each explanation, 13 bytes for each question, 36 for each picture.
    pub fn open(files: &Files) -> Result<Self, ReadError> {
        Ok(Self {
            explanations: Records::open(&files.explanations, OBJECT, 0, |_, _| Ok(()))?,
            questions: Keyed::open(&files.questions, "questions")?,
            scenes: Keyed::open_scattered(&files.scene_graphs, "scene graphs")?,
            boxes: files.boxes.clone(),
        })
    }

    /// Explanations there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.explanations.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.explanations.len() == 0
    }

    /// An explanation by its number, from zero, with its question and answer.
    ///
    /// # Errors
    /// [`ReadError`] with the file, the line and the field: a question or picture that is not there, an object that its scene graph does not have, a box that was not detected.
    pub fn rationale(&self, index: usize) -> Result<Rationale, ReadError> {
        let (file, record) = (self.explanations.file(), self.explanations.get(index)?);
        let id = keyed::name(file, &record)?;
        let text = text(file, &record, &id)?;
        let mut question = self.questions.fields(&id)?;
        let (asked, answer, picture) =
            (question.text("question")?, question.text("answer")?, question.text("imageId")?);
        let explanations = match text.trim() {
            "" => Vec::new(),
            text => {
                let scene = Scene::open(&self.scenes, self.boxes.as_deref(), &picture)?;
                let wrong = |found: String, expected: String| {
                    ReadError::field(file, record.line, id.as_str(), found, expected)
                };
                vec![explained(text, &scene, &wrong)?]
            }
        };
        Ok(Rationale {
            id,
            question: Some(asked),
            picture: Some(format!("{picture}.jpg")),
            answer,
            explanations,
        })
    }

    /// All of them, one after the other; one is held at a time.
    pub fn iter(&self) -> impl Iterator<Item = Result<Rationale, ReadError>> + '_ {
        (0..self.len()).map(|index| self.rationale(index))
    }

    /// What a model wrote of a question, with the same marks.
    ///
    /// # Errors
    /// As [`GqaRex::rationale`]; what is wrong with the text is told of the question.
    pub fn said(&self, question: &str, text: &str) -> Result<Explanation, ReadError> {
        let mut fields = self.questions.fields(question)?;
        let picture = fields.text("imageId")?;
        let scene = Scene::open(&self.scenes, self.boxes.as_deref(), &picture)?;
        explained(text, &scene, &|found, expected| fields.wrong("explanation", found, expected))
    }
}

/// The values of an object of JSON.
const OBJECT: Cut = Cut::Elements { under: None };

/// A record that is a text.
fn text(file: &Path, record: &Record, id: &str) -> Result<String, ReadError> {
    let value = mmlens_files::parse_json(&record.bytes)
        .map_err(|error| ReadError::field(file, record.line, id, error.problem, "a text"))?;
    match value {
        serde_json::Value::String(text) => Ok(text),
        other => Err(ReadError::field(file, record.line, id, told(&other), "a text")),
    }
}

/// x, y, w and h of an object of a scene graph as corners.
fn corners(object: &mut Fields<'_>) -> Result<[f32; 4], ReadError> {
    let [x, y] = [object.number("x")?, object.number("y")?];
    let mut side = |name| match object.number(name)? {
        side if side >= 0.0 => Ok(side),
        side => Err(object.wrong(name, side.to_string(), "zero or more")),
    };
    let (w, h) = (side("w")?, side("h")?);
    Ok([x, y, x + w, y + h].map(|at| at as f32))
}
