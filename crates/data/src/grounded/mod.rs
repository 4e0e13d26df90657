//! Grounded text: words, and boxes on the picture, as models write them.
//!
//! | format | how it is written | numbers |
//! |---|---|---|
//! | [`Format::QwenVl`] | `<ref>the dog</ref><box>(x1,y1),(x2,y2)</box>` | thousandths of the picture |
//! | [`Format::Qwen2Vl`] | `<\|object_ref_start\|>the dog<\|object_ref_end\|><\|box_start\|>(x1,y1),(x2,y2)<\|box_end\|>` | thousandths |
//! | [`Format::Qwen25Vl`] | JSON, in a fence or not: `[{"bbox_2d": [x1, y1, x2, y2], "label": "the dog"}]` | pixels of the picture as the model was given it ([`Shown::given`]) |
//! | [`Format::Qwen3Vl`] | the same | thousandths |
//! | [`Format::Kosmos2`] | `<phrase>the dog</phrase><object><patch_index_0044><patch_index_0863></object>` | cells of a grid of 32 x 32 |
//! | [`Format::Fractions`] | `the dog [x1,y1,x2,y2]`, several as `[...;...]` (Shikra, LLaVA) | fractions of the picture, from 0 to 1 |
//! | [`Format::Florence2`] | `the dog<loc_1><loc_2><loc_3><loc_4>` | middles of bins, 1000 along either side |
//! | [`Format::PaliGemma`] | `<loc0001><loc0002><loc0003><loc0004> the dog ; ...`, down before across | 1024ths |
//!
//! Text without markup is words alone. Markup that is not whole, a number off its scale and a box whose second corner comes before its first are
//! errors that say where: a box that comes back is the one that was written.
//!
//! # When it misleads
//! - Fractions are of the picture. A model that was shown the picture in the middle of a square (LLaVA 1.5 pads so) may mean fractions of the square: nothing in the text tells.
//! - Corners of Kosmos-2 are middles of cells unless both lie in one row or column of cells, as its authors decode them; boxes are no finer than that.
//! - Florence-2's own code cuts coordinates down to whole pixels; here they are not cut.
//!
//! ```
//! use mmlens_data::grounded::{Format, Shown};
//! let read = Format::QwenVl.read("I see <ref>a dog</ref><box>(100,200),(300,450)</box>.", &Shown::of([640, 480]))?;
//! let span = &read.spans[0];
//! assert_eq!((read.text.as_str(), &read.text[span.words.clone()]), ("I see a dog.", "a dog"));
//! assert_eq!(span.boxes, [[64.0, 96.0, 192.0, 216.0]]);
//! # Ok::<(), mmlens_data::grounded::GroundedError>(())
//! ```

mod brackets;
mod json;
mod locations;
mod score;
mod tags;

use std::ops::Range;

pub use score::{Grounding, grounding, iou, union_iou};

/// How words and boxes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Format {
    /// Qwen-VL.
    QwenVl,
    /// Qwen2-VL.
    Qwen2Vl,
    /// Qwen2.5-VL.
    Qwen25Vl,
    /// Qwen3-VL.
    Qwen3Vl,
    /// Kosmos-2.
    Kosmos2,
    /// Shikra, LLaVA.
    Fractions,
    /// Florence-2.
    Florence2,
    /// PaliGemma.
    PaliGemma,
}

/// The picture that boxes lie on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// Width and height of the original picture, in pixels. Boxes are in these.
    pub size: [u32; 2],
    /// Width and height of the picture as the model was given it, where these are others.
    pub given: [u32; 2],
}

impl Shown {
    /// A picture that the model was given in its own size.
    pub const fn of(size: [u32; 2]) -> Self {
        Self { size, given: size }
    }

    /// The same, given to the model in another size.
    #[must_use]
    pub const fn given(self, given: [u32; 2]) -> Self {
        Self { given, ..self }
    }
}

/// A text, and which of its words mean which boxes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Grounded {
    /// The words alone.
    pub text: String,
    /// What is grounded, in the order of the text.
    pub spans: Vec<Span>,
}

/// Words and what they mean on the picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// Their bytes in the text; empty, at the place of the boxes, where the format names none.
    pub words: Range<usize>,
    /// Boxes on the original picture, in pixels: x0, y0, x1, y1.
    pub boxes: Vec<[f32; 4]>,
}

/// Grounded text that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("byte {at}: `{found}`, expected {expected}")]
pub struct GroundedError {
    /// Where, in bytes of the text.
    pub at: usize,
    /// What stands there.
    pub found: String,
    /// What should.
    pub expected: &'static str,
}

/// So much of what was found is told.
const LONGEST: usize = 40;

impl GroundedError {
    fn new(text: &str, at: usize, expected: &'static str) -> Self {
        let found = text.get(at..).unwrap_or_default().chars().take(LONGEST).collect();
        Self { at, found, expected }
    }
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::QwenVl,
        Self::Qwen2Vl,
        Self::Qwen25Vl,
        Self::Qwen3Vl,
        Self::Kosmos2,
        Self::Fractions,
        Self::Florence2,
        Self::PaliGemma,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::QwenVl => "qwen-vl",
            Self::Qwen2Vl => "qwen2-vl",
            Self::Qwen25Vl => "qwen2.5-vl",
            Self::Qwen3Vl => "qwen3-vl",
            Self::Kosmos2 => "kosmos-2",
            Self::Fractions => "fractions",
            Self::Florence2 => "florence-2",
            Self::PaliGemma => "paligemma",
        }
    }

    /// The format of a name.
    #[must_use]
    pub fn called(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// Reads a text about a picture.
    ///
    /// # Errors
    /// [`GroundedError`] for markup that is not whole, numbers off the scale and corners in the wrong order.
    pub fn read(self, text: &str, shown: &Shown) -> Result<Grounded, GroundedError> {
        match self {
            Self::QwenVl => tags::qwen(text, ["<ref>", "</ref>", "<box>", "</box>"], shown),
            Self::Qwen2Vl => {
                let tags = ["<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", "<|box_end|>"];
                tags::qwen(text, tags, shown)
            }
            Self::Qwen25Vl => json::read(text, shown, shown.given.map(f64::from)),
            Self::Qwen3Vl => json::read(text, shown, [1000.0; 2]),
            Self::Kosmos2 => tags::kosmos(text, shown),
            Self::Fractions => brackets::read(text, shown),
            Self::Florence2 => locations::florence(text, shown),
            Self::PaliGemma => locations::paligemma(text, shown),
        }
    }
}

/// A box of coordinates along scales of so much, as it lies on the original picture.
///
/// # Errors
/// In words: a coordinate off its scale, or corners in the wrong order.
fn placed(
    [x0, y0, x1, y1]: [f64; 4],
    [wide, high]: [f64; 2],
    shown: &Shown,
) -> Result<[f32; 4], &'static str> {
    let on = |at: f64, scale: f64| at.is_finite() && (0.0..=scale).contains(&at);
    if ![(x0, wide), (x1, wide), (y0, high), (y1, high)].iter().all(|(at, scale)| on(*at, *scale)) {
        return Err("coordinates on the scale of the format");
    }
    if x1 < x0 || y1 < y0 {
        return Err("the corner at the top left before that at the bottom right");
    }
    let [width, height] = shown.size.map(f64::from);
    Ok([x0 / wide * width, y0 / high * height, x1 / wide * width, y1 / high * height].map(|at| at as f32))
}

/// A text that grows, with its spans.
impl Grounded {
    fn say(&mut self, words: &str) -> Range<usize> {
        let from = self.text.len();
        self.text.push_str(words);
        from..self.text.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Format, Grounded, Shown};

    const SIZE: [u32; 2] = [640, 480];

    fn read(format: Format, text: &str) -> Result<Grounded, super::GroundedError> {
        format.read(text, &Shown::of(SIZE).given([320, 240]))
    }

    fn spans(format: Format, text: &str) -> (String, Vec<(String, Vec<[f32; 4]>)>) {
        let read = read(format, text).unwrap();
        let spans =
            read.spans.iter().map(|span| (read.text[span.words.clone()].to_owned(), span.boxes.clone()));
        (read.text.clone(), spans.collect())
    }

    /// Of 640 x 480: a tenth of the width is 64, of the height 48.
    const BOX: [f32; 4] = [64.0, 96.0, 192.0, 216.0];

    fn said(format: Format, text: &str) -> String {
        read(format, text).unwrap_err().to_string()
    }

    #[test]
    fn every_format_puts_its_words_and_boxes_in_place() {
        let dog = |words: &str| vec![(words.to_owned(), vec![BOX])];
        for (format, text, words, found) in [
            (
                Format::QwenVl,
                "I see <ref>a dog</ref><box>(100,200),(300,450)</box>.",
                "I see a dog.",
                dog("a dog"),
            ),
            (
                Format::Qwen2Vl,
                "<|object_ref_start|>a dog<|object_ref_end|><|box_start|>(100,200),(300,450)<|box_end|>",
                "a dog",
                dog("a dog"),
            ),
            // Pixels of 320 x 240.
            (
                Format::Qwen25Vl,
                "```json\n[\n{\"bbox_2d\": [32, 48, 96, 108], \"label\": \"a dog\"}\n]\n```",
                "a dog",
                dog("a dog"),
            ),
            (
                Format::Qwen3Vl,
                "[{\"label\": \"a dog\", \"bbox_2d\": [100, 200, 300, 450]}]",
                "a dog",
                dog("a dog"),
            ),
            (Format::Fractions, "a dog [0.1,0.2,0.3,0.45].", "a dog .", dog("")),
            (
                Format::PaliGemma,
                "<loc0128><loc0256><loc0512><loc0768> a dog",
                "a dog",
                vec![("a dog".to_owned(), vec![[160.0, 60.0, 480.0, 240.0]])],
            ),
            // Middles of bins: (99 + 0.5) / 1000 and so on.
            (
                Format::Florence2,
                "a dog<loc_99><loc_199><loc_299><loc_449>",
                "a dog",
                vec![("a dog".to_owned(), vec![[63.68, 95.76, 191.68, 215.76]])],
            ),
            // Cells are 20 x 15 pixels: 44 is row 1, column 12; 863 row 26, column 31.
            (
                Format::Kosmos2,
                "<grounding> An image of<phrase> a dog</phrase><object><patch_index_0044><patch_index_0863></object>",
                " An image of a dog",
                vec![(" a dog".to_owned(), vec![[250.0, 22.5, 630.0, 397.5]])],
            ),
        ] {
            assert_eq!(spans(format, text), (words.to_owned(), found), "{}", format.name());
        }
    }

    #[test]
    fn several_boxes_belong_to_the_same_words() {
        let two = "<ref>dogs</ref><box>(0,0),(10,10)</box><box>(500,500),(1000,1000)</box>";
        let (_, found) = spans(Format::QwenVl, two);
        assert_eq!(found, [("dogs".to_owned(), vec![[0.0, 0.0, 6.4, 4.8], [320.0, 240.0, 640.0, 480.0]])]);
        let (text, found) = spans(Format::QwenVl, "here <box>(0,0),(10,10)</box> it is");
        assert_eq!((text.as_str(), found.len(), found[0].0.as_str()), ("here  it is", 1, ""));
        let (text, found) = spans(Format::Fractions, "dogs[0.0,0,0.5,1;0.5,0,1.0,1.000]");
        assert_eq!((text.as_str(), found[0].1.len()), ("dogs", 2));
        let both = "<object><patch_index_0000><patch_index_0000></delimiter_of_multi_objects/><patch_index_0032><patch_index_0035></object>";
        // One cell, and four cells of one row: edges of cells, not middles.
        assert_eq!(spans(Format::Kosmos2, both).1[0].1, [[0.0, 0.0, 20.0, 15.0], [0.0, 15.0, 80.0, 30.0]]);
        let (text, found) = spans(
            Format::Florence2,
            "a cat<loc_0><loc_0><loc_9><loc_9><loc_0><loc_0><loc_99><loc_99> and a dog<loc_0><loc_0><loc_999><loc_999>",
        );
        assert_eq!(text, "a cat and a dog");
        assert_eq!(
            found.iter().map(|(words, boxes)| (words.trim(), boxes.len())).collect::<Vec<_>>(),
            [("a cat", 2), ("and a dog", 1)]
        );
        let (text, found) = spans(
            Format::PaliGemma,
            "<loc0000><loc0000><loc1023><loc1023> cat ; <loc0000><loc0000><loc0001><loc0001> dog",
        );
        assert_eq!((text.as_str(), found[0].0.as_str(), found[1].0.as_str()), ("cat ; dog", "cat", "dog"));
    }

    #[test]
    fn text_without_markup_is_words() {
        for format in Format::ALL {
            for text in
                ["", "A dog (10,20).", "see [1] and [2, 3], or [a,b,c,d]", "naïve 犬 <b> 3 < 4", "[0.5,0.5]"]
            {
                if text.starts_with('[') && matches!(format, Format::Qwen25Vl | Format::Qwen3Vl) {
                    continue;
                }
                assert_eq!(spans(format, text), (text.to_owned(), vec![]), "{}", format.name());
            }
        }
    }

    #[test]
    fn what_is_not_whole_is_told_with_its_place() {
        let scale = "expected coordinates on the scale of the format";
        for (format, text, wanted) in [
            (Format::QwenVl, "a <ref>dog", "byte 2: `<ref>dog`, expected a closing tag behind it"),
            (Format::QwenVl, "a dog</ref>", "byte 5: `</ref>`, expected an opening tag before it"),
            (
                Format::QwenVl,
                "<box>(1,2),(3,4</box>",
                "byte 5: `(1,2),(3,4</box>`, expected a box: (x1,y1),(x2,y2)",
            ),
            (Format::QwenVl, "<box>(1,2),(3,1004)</box>", scale),
            (
                Format::QwenVl,
                "<box>(9,2),(3,4)</box>",
                "expected the corner at the top left before that at the bottom right",
            ),
            (Format::QwenVl, "<ref>a <box>(1,2),(3,4)</box></ref>", "expected a closing tag behind it"),
            (Format::Qwen2Vl, "<|box_start|>(1,2)<|box_end|>", "expected a box: (x1,y1),(x2,y2)"),
            (Format::Qwen25Vl, "[{\"bbox_2d\": [1, 2, 330, 4], \"label\": \"x\"}]", scale),
            (
                Format::Qwen25Vl,
                "[{\"bbox_2d\": [1, 2, 3], \"label\": \"x\"}]",
                "expected objects with `bbox_2d`, four numbers, and `label`",
            ),
            (Format::Qwen25Vl, "[{\"bbox_2d\": [1, 2, 3, 4]", "expected JSON that is whole"),
            (
                Format::Qwen25Vl,
                "here it is: {\"bbox_2d\": [1, 2, 3, 4]}",
                "expected nothing but JSON, or words without `bbox_2d`",
            ),
            (
                Format::Kosmos2,
                "<phrase>a</phrase><object><patch_index_0001></object>",
                "expected pairs of patches",
            ),
            (
                Format::Kosmos2,
                "<object><patch_index_0001><patch_index_1024></object>",
                "expected patches from 0 to 1023",
            ),
            (
                Format::Kosmos2,
                "<object><patch_index_0040><patch_index_0001></object>",
                "expected the corner at the top left before that at the bottom right",
            ),
            (Format::Kosmos2, "a <patch_index_0040>", "expected patches within <object> and </object>"),
            (Format::Fractions, "a dog [0.1,0.2,0.3,1.5]", scale),
            (Format::Fractions, "a dog [100,200,300,400]", scale),
            (Format::Florence2, "a<loc_1><loc_2><loc_3>", "expected four locations for each box"),
            (Format::Florence2, "a<loc_1><loc_2><loc_3><loc_1000>", "expected locations of the format"),
            (Format::PaliGemma, "<loc0001><loc0002><loc0003> a", "expected four locations for each box"),
            (Format::PaliGemma, "<loc0001><loc0002><loc0003><loc1024> a", "expected locations of the format"),
            (
                Format::PaliGemma,
                "<loc0009><loc0002><loc0003><loc0007> a",
                "expected the corner at the top left before that at the bottom right",
            ),
        ] {
            let said = said(format, text);
            assert!(said.ends_with(wanted), "{}: {text}: {said}", format.name());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever is written, boxes that come back lie on the picture, and words within the text.
        #[test]
        fn no_box_leaves_the_picture(pieces in prop::collection::vec(prop::sample::select(vec![
            "<ref>", "</ref>", "<box>", "</box>", "(1,2),(3,4)", "(999,1000),(1000,1000)", "<|box_start|>", "<|box_end|>", "<phrase>", "</phrase>",
            "<object>", "</object>", "<patch_index_0001>", "<patch_index_0999>", "[0.1,0.2,0.3,0.4]", "[", "]", ";", ",", "0.5", "<loc_1>", "<loc_999>",
            "<loc0001>", "<loc1023>", " dog ", "é", "{\"bbox_2d\":", "[1,2,3,4]", "}", "\"label\": \"x\"", "```json", "<", "\n",
        ]), 0..9)) {
            let text = pieces.concat();
            for format in Format::ALL {
                let Ok(read) = read(format, &text) else { continue };
                for span in &read.spans {
                    prop_assert!(read.text.get(span.words.clone()).is_some());
                    for [x0, y0, x1, y1] in &span.boxes {
                        prop_assert!(0.0 <= *x0 && x0 <= x1 && *x1 <= 640.0 && 0.0 <= *y0 && y0 <= y1 && *y1 <= 480.0);
                    }
                }
            }
        }
    }
}
