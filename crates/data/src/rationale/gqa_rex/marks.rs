//! Marks in a text, and the places that they stand for.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::Path;

use super::keyed::Keyed;
use super::{corners, npy};
use crate::benchmark::ReadError;
use crate::rationale::{Explanation, Place};

/// Cells along either side of the picture.
const CELLS: usize = 4;

/// What a text about a picture may name.
pub(super) struct Scene<'a> {
    picture: &'a str,
    size: [f64; 2],
    /// Names and boxes by id.
    objects: BTreeMap<String, (String, [f32; 4])>,
    boxes: Option<&'a Path>,
    detected: OnceCell<Vec<[f32; 4]>>,
}

/// What makes an error of what was found and what was expected.
pub(super) type Wrong<'w> = dyn Fn(String, String) -> ReadError + 'w;

impl<'a> Scene<'a> {
    /// The scene graph of a picture; its detected boxes are read when one is named.
    pub(super) fn open(graphs: &Keyed, boxes: Option<&'a Path>, picture: &'a str) -> Result<Self, ReadError> {
        let mut graph = graphs.fields(picture)?;
        let size = [graph.number("width")?, graph.number("height")?];
        let mut all = graph.object("objects")?;
        let mut objects = BTreeMap::new();
        for id in all.names() {
            let mut object = all.object(&id)?;
            objects.insert(id, (object.text("name")?, corners(&mut object)?));
        }
        Ok(Self { picture, size, objects, boxes, detected: OnceCell::new() })
    }

    /// Width and height in pixels.
    pub(super) const fn size(&self) -> [f64; 2] {
        self.size
    }

    /// The name and box of an object.
    pub(super) fn object(&self, id: &str, wrong: &Wrong<'_>) -> Result<(&str, [f32; 4]), ReadError> {
        match self.objects.get(id) {
            Some((name, bbox)) => Ok((name, *bbox)),
            None => {
                let expected = format!("an object of the scene graph of picture {}", self.picture);
                Err(wrong(format!("object `{id}`"), expected))
            }
        }
    }

    fn box_of(&self, number: &str, wrong: &Wrong<'_>) -> Result<[f32; 4], ReadError> {
        let Some(folder) = self.boxes else {
            return Err(wrong(
                format!("`#{number}`"),
                "a folder of detected boxes, of which it is one".to_owned(),
            ));
        };
        let detected = match self.detected.get() {
            Some(detected) => detected,
            None => {
                let read = npy::boxes(&folder.join(format!("{}.npy", self.picture)))?;
                self.detected.get_or_init(|| read)
            }
        };
        let at: Option<usize> = number.parse().ok();
        at.and_then(|at| detected.get(at)).copied().ok_or_else(|| {
            let expected =
                format!("one of the {} detected boxes of picture {}", detected.len(), self.picture);
            wrong(format!("`#{number}`"), expected)
        })
    }

    fn cell(&self, number: &str, wrong: &Wrong<'_>) -> Result<[f32; 4], ReadError> {
        let cells = 1..=CELLS * CELLS;
        let number =
            number.parse().ok().filter(|number| cells.contains(number)).ok_or_else(|| {
                wrong(format!("`@{number}`"), format!("a cell from 1 to {}", CELLS * CELLS))
            })?;
        let [column, row] = [(number - 1) % CELLS, (number - 1) / CELLS].map(|at| at as f64);
        let [wide, high] = self.size.map(|side| side / CELLS as f64);
        Ok([column * wide, row * high, (column + 1.0) * wide, (row + 1.0) * high].map(|at| at as f32))
    }
}

/// What stands at a place of a text.
#[derive(Debug, PartialEq, Eq)]
enum Mark<'t> {
    /// `(obj:ID)`
    Object(&'t str),
    /// `(obj*:NAME)`
    Missing(&'t str),
    /// `#N`
    Detected(&'t str),
    /// `@N`
    Cell(&'t str),
    /// No mark.
    Words(&'t str),
}

/// What a text begins with that begins as a mark does, and what stands behind it.
fn first(text: &str, within_word: bool) -> (Mark<'_>, &str) {
    let (sign, rest) = text.split_at(1);
    if sign == "(" {
        let inner = rest.split_once(')');
        if let Some((id, behind)) =
            inner.and_then(|(inner, behind)| Some((inner.strip_prefix("obj:")?, behind)))
        {
            return (Mark::Object(id), behind);
        }
        if let Some((name, behind)) =
            inner.and_then(|(inner, behind)| Some((inner.strip_prefix("obj*:")?, behind)))
        {
            return (Mark::Missing(name), behind);
        }
        return (Mark::Words(sign), rest);
    }
    let (number, behind) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
    if within_word || number.is_empty() || behind.starts_with(char::is_alphanumeric) {
        return (Mark::Words(sign), rest);
    }
    (if sign == "#" { Mark::Detected(number) } else { Mark::Cell(number) }, behind)
}

/// A text without its marks, and where what they stand for lies.
pub(super) fn explained(text: &str, scene: &Scene<'_>, wrong: &Wrong<'_>) -> Result<Explanation, ReadError> {
    let (mut said, mut rest) = (Explanation::default(), text);
    while let Some(at) = rest.find(['(', '#', '@']) {
        let (before, from) = rest.split_at(at);
        said.text.push_str(before);
        let (mark, behind) = first(from, said.text.ends_with(char::is_alphanumeric));
        rest = behind;
        let start = said.text.len();
        let bbox = match mark {
            Mark::Words(words) | Mark::Missing(words) => {
                said.text.push_str(words);
                continue;
            }
            Mark::Object(id) => {
                let (name, bbox) = scene.object(id, wrong)?;
                said.text.push_str(name);
                bbox
            }
            Mark::Detected(number) => {
                said.text.push('#');
                said.text.push_str(number);
                scene.box_of(number, wrong)?
            }
            Mark::Cell(number) => {
                said.text.push('@');
                said.text.push_str(number);
                scene.cell(number, wrong)?
            }
        };
        said.spans.push(Place { words: [start, said.text.len()], boxes: vec![bbox] });
    }
    said.text.push_str(rest);
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::{Mark, first};

    #[test]
    fn marks_are_told_from_words() {
        assert_eq!(first("(obj:12) is", false), (Mark::Object("12"), " is"));
        assert_eq!(first("(obj*:fire truck).", false), (Mark::Missing("fire truck"), "."));
        assert_eq!(first("(0.3,0.6)", false), (Mark::Words("("), "0.3,0.6)"));
        assert_eq!(first("(obj:12", false), (Mark::Words("("), "obj:12"));
        assert_eq!(first("#7, @3", false), (Mark::Detected("7"), ", @3"));
        assert_eq!(first("@16", false), (Mark::Cell("16"), ""));
        for (text, within) in [("#7", true), ("#", false), ("#7th", false), ("# 7", false), ("@at", false)] {
            assert!(matches!(first(text, within), (Mark::Words(_), _)), "{text}");
        }
    }
}
