//! How well the places of explanations lie on what the questions are about.

use std::path::Path;

use super::keyed::Keyed;
use super::marks::Scene;
use crate::benchmark::ReadError;
use crate::grounded::union_iou;
use crate::rationale::{Explanation, Place};

/// What a question is about, and how well detected boxes can show it.
#[derive(Debug, Clone, PartialEq)]
pub struct Truth {
    /// Width and height of the picture in pixels.
    pub size: [f64; 2],
    /// The objects: x0, y0, x1, y1 in pixels.
    pub boxes: Vec<[f32; 4]>,
    /// The intersection over union that detected boxes allow at most; zero where the question is about no object that one shows.
    pub bound: f64,
}

impl Truth {
    /// The same with the last object alone, as the script of the data set's authors marks it.
    #[must_use]
    pub fn last(mut self) -> Self {
        self.boxes = self.boxes.pop().into_iter().collect();
        self
    }
}

/// What questions are about: `grounding_annotation.json`, `grounding_upper_bound.json` and GQA's scene graphs.
///
/// | file | layout |
/// |---|---|
/// | annotation | an object of question id to `imgid`, `width`, `height`, `roi` (ids of objects of the scene graph) |
/// | upper bound | an object of question id to a number from 0 to 1 |
#[derive(Debug)]
pub struct Regions {
    annotation: Keyed,
    bounds: Keyed,
    scenes: Keyed,
}

impl Regions {
    /// Goes through the files once.
    ///
    /// # Errors
    /// [`ReadError`] for a file that cannot be read or is no object of JSON.
    ///
    /// # Memory
    /// One record; 25 bytes for each question, 36 for each picture.
    pub fn open(annotation: &Path, bounds: &Path, scene_graphs: &Path) -> Result<Self, ReadError> {
        Ok(Self {
            annotation: Keyed::open(annotation, "questions")?,
            bounds: Keyed::open(bounds, "questions")?,
            scenes: Keyed::open_scattered(scene_graphs, "scene graphs")?,
        })
    }

    /// What a question is about. `None` where nothing is known of it.
    ///
    /// # Errors
    /// [`ReadError`] with file, line and field.
    pub fn of(&self, question: &str) -> Result<Option<Truth>, ReadError> {
        let Some(record) = self.bounds.find(question)? else { return Ok(None) };
        let bound: f64 = mmlens_files::parse_json(&record.bytes).map_err(|error| {
            ReadError::field(self.bounds.file(), record.line, question, error.problem, "a number from 0 to 1")
        })?;
        if !(0.0..=1.0).contains(&bound) {
            let found = bound.to_string();
            return Err(ReadError::field(
                self.bounds.file(),
                record.line,
                question,
                found,
                "a number from 0 to 1",
            ));
        }
        let mut fields = self.annotation.fields(question)?;
        let picture = fields.id("imgid")?;
        let ids = fields.texts("roi")?;
        let scene = Scene::open(&self.scenes, None, &picture)?;
        let size = [fields.number("width")?, fields.number("height")?];
        if size != scene.size() {
            let found = format!("{size:?}");
            return Err(fields.wrong("width", found, format!("{:?} as in the scene graph", scene.size())));
        }
        let wrong = |found: String, expected: String| fields.wrong("roi", found, expected);
        let boxes = ids.iter().map(|id| Ok(scene.object(id, &wrong)?.1)).collect::<Result<_, ReadError>>()?;
        Ok(Some(Truth { size, boxes, bound }))
    }
}

/// The mean over questions of the intersection over union of what an explanation names and what the question is about, divided by its bound, and how many questions count: those whose bound is
/// not zero. `None` if none does. Each question comes with all its explanations; boxes of objects count together, cut down to whole pixels of the picture; cells of the picture (`@6`) do not count.
pub fn grounding_score<'e>(
    questions: impl IntoIterator<Item = (&'e [Explanation], &'e Truth)>,
) -> Option<(f64, usize)> {
    let (mut sum, mut count) = (0.0, 0_usize);
    for (said, truth) in questions.into_iter().filter(|(_, truth)| truth.bound > 0.0) {
        let whole = |bbox: &[f32; 4]| on_pixels(*bbox, truth.size);
        let named = said.iter().flat_map(|own| own.spans.iter().filter(|span| !is_cell(&own.text, span)));
        let said: Vec<[f32; 4]> = named.flat_map(|span| &span.boxes).map(whole).collect();
        let boxes: Vec<[f32; 4]> = truth.boxes.iter().map(whole).collect();
        sum += union_iou(&said, &boxes) / truth.bound;
        count += 1;
    }
    (count > 0).then(|| (sum / count as f64, count))
}

/// Whether a span is a cell of the picture and no object.
fn is_cell(text: &str, span: &Place) -> bool {
    text.get(span.words[0]..).is_some_and(|words| words.starts_with('@'))
}

/// A box cut down to whole pixels, and to those of the picture.
fn on_pixels(bbox: [f32; 4], [wide, high]: [f64; 2]) -> [f32; 4] {
    let [x0, y0, x1, y1] = bbox;
    let on = |at: f32, most: f64| at.trunc().clamp(0.0, most as f32);
    [on(x0, wide), on(y0, high), on(x1, wide), on(y1, high)]
}
