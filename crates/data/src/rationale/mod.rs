//! Rationales: an answer, and why, in words, boxes and maps; one form for what people wrote and for what models say.
//!
//! ```
//! use mmlens_data::rationale::Rationale;
//! let said = Rationale::parse("1", "the answer is surfing because he stands on a board")?;
//! assert_eq!((said.answer.as_str(), said.explanations[0].text.as_str()), ("surfing", "he stands on a board"));
//! let again: Rationale = serde_json::from_str(&serde_json::to_string(&said)?)?;
//! assert_eq!(again, said);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`read`] has readers of VQA-X and ACT-X as NLX-GPT joins them, of e-SNLI-VE and of VCR; [`gqa_rex`] reads GQA-REX, whose words stand for objects of the picture, and scores where they point; [`scores`] compares explanations
//! with what people wrote.

pub mod gqa_rex;
pub mod read;
pub mod scores;

use serde::{Deserialize, Serialize};

use crate::grounded::Grounded;

/// An answer and its explanations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Rationale {
    /// What it is called in its data set.
    pub id: String,
    /// What was asked, or claimed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    /// The picture, as its data set names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub picture: Option<String>,
    /// The answer.
    pub answer: String,
    /// Why: of a data set all that people wrote, of a model what it said.
    pub explanations: Vec<Explanation>,
}

/// Why, in words, and what of the words is seen where.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explanation {
    /// The words.
    pub text: String,
    /// Words that mean places on the picture.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spans: Vec<Place>,
    /// Maps over the picture.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub maps: Vec<Map>,
}

/// Words and their boxes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// From and to in the bytes of the text.
    pub words: [usize; 2],
    /// x0, y0, x1, y1, in pixels of the picture.
    pub boxes: Vec<[f32; 4]>,
}

/// A map over the whole picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Map {
    /// What it shows.
    pub name: String,
    /// Rows and columns.
    pub size: [usize; 2],
    /// Row by row from the top.
    pub values: Vec<f32>,
}

/// A rationale that does not hold together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the rationale `{id}`: {reason}")]
pub struct RationaleError {
    /// Which one.
    pub id: String,
    /// What is wrong with it.
    pub reason: String,
}

/// As it is read, before it is checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    id: String,
    #[serde(default)]
    question: Option<String>,
    #[serde(default)]
    picture: Option<String>,
    answer: String,
    #[serde(default)]
    explanations: Vec<Explanation>,
}

impl TryFrom<Unchecked> for Rationale {
    type Error = RationaleError;

    fn try_from(read: Unchecked) -> Result<Self, RationaleError> {
        let Unchecked { id, question, picture, answer, explanations } = read;
        let rationale = Self { id, question, picture, answer, explanations };
        rationale.check()?;
        Ok(rationale)
    }
}

/// How NLX-GPT writes both in one sentence.
const OPENING: &str = "the answer is ";
const BECAUSE: &str = " because ";

impl Rationale {
    /// That spans lie within their texts, boxes and maps are finite, corners stand in order, and maps have as many values as their size says.
    ///
    /// # Errors
    /// [`RationaleError`] with the first that does not.
    pub fn check(&self) -> Result<(), RationaleError> {
        let wrong = |reason: String| Err(RationaleError { id: self.id.clone(), reason });
        for Explanation { text, spans, maps } in &self.explanations {
            for Place { words: [from, to], boxes } in spans {
                if text.get(*from..*to).is_none() {
                    return wrong(format!(
                        "bytes {from} to {to} are no words of its explanation, which has {}",
                        text.len()
                    ));
                }
                let whole = |[x0, y0, x1, y1]: &[f32; 4]| {
                    [x0, y0, x1, y1].iter().all(|at| at.is_finite()) && x0 <= x1 && y0 <= y1
                };
                if let Some(bbox) = boxes.iter().find(|bbox| !whole(bbox)) {
                    return wrong(format!(
                        "{bbox:?} is no box: two corners, the one at the top left before the other"
                    ));
                }
            }
            for Map { name, size: [rows, columns], values } in maps {
                if rows.checked_mul(*columns) != Some(values.len()) {
                    return wrong(format!(
                        "the map `{name}` has {} values, of {rows} x {columns}",
                        values.len()
                    ));
                }
                if values.iter().any(|value| !value.is_finite()) {
                    return wrong(format!("the map `{name}` holds a value that is no number"));
                }
            }
        }
        Ok(())
    }

    /// An answer and an explanation in one sentence, as NLX-GPT writes them: `[the answer is ]ANSWER because EXPLANATION`. What comes before the first "because" is the answer.
    ///
    /// # Errors
    /// [`RationaleError`] for a text without "because" between words.
    pub fn parse(id: impl Into<String>, text: &str) -> Result<Self, RationaleError> {
        let (id, inner) = (id.into(), text.trim());
        let inner = inner.strip_prefix(OPENING).unwrap_or(inner);
        match inner.split_once(BECAUSE) {
            Some((answer, why)) => {
                let explanation = Explanation { text: why.trim().to_owned(), ..Explanation::default() };
                let answer = answer.trim().to_owned();
                Ok(Self { id, question: None, picture: None, answer, explanations: vec![explanation] })
            }
            None => Err(RationaleError { id, reason: format!("`{inner}` has no word “because”") }),
        }
    }
}

impl From<Grounded> for Explanation {
    fn from(read: Grounded) -> Self {
        let place = |span: crate::grounded::Span| Place {
            words: [span.words.start, span.words.end],
            boxes: span.boxes,
        };
        Self { text: read.text, spans: read.spans.into_iter().map(place).collect(), maps: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::{Explanation, Rationale};
    use crate::grounded::{Format, Shown};

    #[test]
    fn what_does_not_hold_together_is_refused() {
        let said = |explanation: &str| {
            let text = format!("{{\"id\": \"7\", \"answer\": \"a\", \"explanations\": [{explanation}]}}");
            serde_json::from_str::<Rationale>(&text).unwrap_err().to_string()
        };
        for (explanation, wanted) in [
            (
                r#"{"text": "äb", "spans": [{"words": [1, 2], "boxes": []}]}"#,
                "bytes 1 to 2 are no words of its explanation, which has 3",
            ),
            (
                r#"{"text": "b", "spans": [{"words": [0, 1], "boxes": [[3, 0, 2, 1]]}]}"#,
                "[3.0, 0.0, 2.0, 1.0] is no box",
            ),
            (
                r#"{"text": "b", "maps": [{"name": "m", "size": [2, 2], "values": [1, 2, 3]}]}"#,
                "the map `m` has 3 values, of 2 x 2",
            ),
            (r#"{"text": "b", "map": []}"#, "unknown field `map`"),
        ] {
            let said = said(explanation);
            assert!(said.contains(wanted), "{said}");
        }
        let without = Rationale::parse("3", "the answer is red").unwrap_err().to_string();
        assert_eq!(without, "the rationale `3`: `red` has no word “because”");
    }

    #[test]
    fn grounded_text_is_an_explanation() {
        let read = Format::QwenVl
            .read("he stands on <ref>a board</ref><box>(0,500),(1000,1000)</box>", &Shown::of([100, 40]));
        let explanation = Explanation::from(read.unwrap());
        let rationale = Rationale {
            explanations: vec![explanation],
            ..Rationale::parse("1", "surfing because x").unwrap()
        };
        rationale.check().unwrap();
        let place = &rationale.explanations[0].spans[0];
        assert_eq!((place.words, place.boxes.as_slice()), ([13, 20], &[[0.0, 20.0, 100.0, 40.0]][..]));
    }
}
