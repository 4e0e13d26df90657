//! Boxes that an answer names on a picture.

use anyhow::{Context, Result};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use mmlens::core::{Generated, Inputs, Sample, Subject};
use mmlens::data::grounded::{Format, Grounded, Shown};
use mmlens::finding::fixed;
use serde::Serialize;

use crate::print;
use crate::refusal::Refusal;

/// The words of an answer without marks, and what they mean on the picture.
#[derive(Debug, Serialize)]
pub(crate) struct Boxes {
    text: String,
    spans: Vec<Named>,
}

/// Words, and their boxes in pixels of the picture: x0, y0, x1, y1.
#[derive(Debug, Serialize)]
struct Named {
    words: String,
    boxes: Vec<[f32; 4]>,
}

/// The formats, as they are offered.
pub(crate) fn formats() -> impl TypedValueParser<Value = Format> {
    PossibleValuesParser::new(Format::ALL.map(Format::name))
        .try_map(|name: String| Format::called(&name).ok_or_else(|| format!("no format is called {name}")))
}

/// Reads what an answer says of a picture.
pub(crate) fn read(
    format: Format,
    shown: &Shown,
    subject: &dyn Subject,
    answer: &Generated,
) -> Result<Boxes> {
    let grounded = format
        .read(&marked(subject, answer)?, shown)
        .with_context(|| format!("--boxes {}", format.name()))?;
    Ok(Boxes::from(&grounded))
}

/// The one picture that boxes can lie on, in its own size and in that which the model was given.
pub(crate) fn shown(sample: &Sample, inputs: &Inputs) -> Result<Shown, Refusal> {
    let [picture] = sample.pictures.as_slice() else {
        return Err(Refusal::WhichPicture { pictures: sample.pictures.len() });
    };
    let shown = Shown::of([picture.image.width(), picture.image.height()]);
    Ok(match inputs.map().views.as_slice() {
        [view] => {
            let len = |along: &[[f32; 2]]| u32::try_from(along.len()).unwrap_or(u32::MAX);
            shown.given([len(&view.cols), len(&view.rows)])
        }
        // Tiles: no one size was given.
        _ => shown,
    })
}

/// The text of an answer with the special tokens in it that mark words and boxes; without the one that ends it.
fn marked(subject: &dyn Subject, answer: &Generated) -> Result<String> {
    let ids = answer.tokens.get(..answer.tokens.len() - usize::from(answer.ended)).unwrap_or_default();
    let (mut text, mut plain) = (String::new(), Vec::new());
    for id in ids {
        let token = subject.token(*id);
        let mark = token.starts_with('<') && token.ends_with('>') && subject.decode(&[*id])?.is_empty();
        if mark {
            text += &subject.decode(&std::mem::take(&mut plain))?;
            text += &token;
        } else {
            plain.push(*id);
        }
    }
    Ok(text + &subject.decode(&plain)?)
}

impl From<&Grounded> for Boxes {
    fn from(grounded: &Grounded) -> Self {
        let words =
            |span: std::ops::Range<usize>| grounded.text.get(span).unwrap_or_default().trim().to_owned();
        let spans = grounded.spans.iter();
        let spans = spans.map(|span| Named { words: words(span.words.clone()), boxes: span.boxes.clone() });
        Self { text: grounded.text.trim().to_owned(), spans: spans.collect() }
    }
}

impl Boxes {
    /// The words, then a line for each box.
    pub(crate) fn print(&self) -> Result<()> {
        print::line(print::visible(&self.text))?;
        if self.spans.is_empty() {
            return print::line("(no boxes)");
        }
        print::columns(&self.lines())
    }

    fn lines(&self) -> Vec<[String; 2]> {
        let line = |span: &Named, [x0, y0, x1, y1]: &[f32; 4]| {
            let [x0, y0, x1, y1] = [x0, y0, x1, y1].map(|at| fixed(*at, 1));
            [print::visible(&span.words), format!("x {x0} to {x1}, y {y0} to {y1} px")]
        };
        self.spans.iter().flat_map(|span| span.boxes.iter().map(move |own| line(span, own))).collect()
    }
}

#[cfg(test)]
mod tests {
    use mmlens::core::Generated;
    use mmlens::core::burn::tensor::Device;
    use mmlens::prelude::*;
    use mmlens::zoo::shipped;

    use super::{Boxes, Format, Shown, marked};

    /// Tokens that a text of an answer leaves out are what marks boxes.
    #[test]
    fn marks_stay_in_the_text_and_the_end_does_not() {
        let subject = shipped::shapes(&Device::flex()).unwrap();
        let ids = |text: &str| subject.tokens(text).unwrap();
        let (mark, end) = (ids("<user>"), ids("</s>"));
        assert_eq!((mark.len(), subject.decode(&mark).unwrap().as_str()), (1, ""));
        let tokens = [ids("the star"), mark, ids("is red"), end].concat();
        let probabilities = vec![1.0; tokens.len()];
        let text = subject.decode(&tokens).unwrap();
        let answer =
            Generated { tokens, probabilities, text, ended: true, last_position: false, score: None };
        assert_eq!(marked(&subject, &answer).unwrap(), "the star<user>is red");
    }

    #[test]
    fn words_and_their_boxes_are_lines() {
        let text = "I see <ref>two dogs</ref><box>(100,200),(300,450)</box><box>(0,0),(10,10)</box>.";
        let read = Format::QwenVl.read(text, &Shown::of([640, 480])).unwrap();
        let boxes = Boxes::from(&read);
        assert_eq!(boxes.text, "I see two dogs.");
        let lines: Vec<String> = boxes.lines().iter().map(|line| line.join(": ")).collect();
        let wanted =
            ["two dogs: x 64.0 to 192.0, y 96.0 to 216.0 px", "two dogs: x 0.0 to 6.4, y 0.0 to 4.8 px"];
        assert_eq!(lines, wanted);
    }
}
