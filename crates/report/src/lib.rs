//! Pictures and one self-contained HTML page from mmlens findings.
//!
//! A [`Page`] takes the pictures, the prompt, the answer and any findings, and becomes one HTML file that needs no
//! network. What is drawn is decided by the roles of a table's axes, never by the method it came from:
//!
//! | axes | drawn as |
//! |---|---|
//! | row and column with spans, patches, tokens or keys with patches | heat map over the original picture |
//! | token | the tokens, coloured |
//! | texts by layer and token, with or without rank | a table of words, each with its ranking |
//! | two axes or more with a layer, head, token, query, key ... | a map |
//! | layer, step or frame | a curve |
//! | the last ones row, column and three channels, rows and columns by number | small pictures |
//! | none | name and value |
//! | anything else | a plain table |
//!
//! Axes beyond those that are drawn become sliders, which open where the drawn values have the largest standard deviation; heads of a
//! map over a picture also stand side by side. A table `X by answer token`, with an axis of answer tokens in front of those of `X`, is
//! what the page shows in the place of `X` once a token of the answer is pressed. Cautions stand above what they speak against. A
//! page holds a million and a half numbers and says what it leaves to the files of its findings.
//! [`overlay_png`] draws one heat map over its picture as a file.
//!
//! Whatever lies on one picture is drawn as one map, on the page and in files: the tiles a picture is cut into and the whole beside
//! them, in one table or in several. [`on_picture`] says how what overlaps is added up.
//!
//! ```
//! use mmlens_finding::{Axis, Finding, Labelled, Provenance, Role, Unit};
//! use mmlens_report::{OverlaySettings, Page, Picture, overlay_png};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let picture = Picture::from_rgb("scene.png", &image::RgbImage::new(8, 4))?;
//! let rows = Axis::spans(Role::Row, 0, vec![[0.0, 4.0]]);
//! let columns = Axis::spans(Role::Column, 0, vec![[0.0, 4.0], [4.0, 8.0]]);
//! let map = Labelled::numbers("attribution", Unit::Logit, vec![rows, columns], vec![0.7, -0.1])?;
//! let png = overlay_png(&picture, &map, OverlaySettings::default())?;
//!
//! let finding = Finding::new(Provenance::new("occlusion", "shapes-vlm"), vec![map])?;
//! let page = Page { title: "Why red?".into(), pictures: vec![picture], findings: vec![finding], ..Page::default() };
//! assert!(page.html()?.contains("Why red?"));
//! # assert!(png.len() > 8);
//! # Ok(())
//! # }
//! ```

mod answer;
mod by_token;
mod colour;
mod composite;
mod crops;
mod curve;
mod data;
mod error;
mod heat;
mod html;
mod maps;
mod overlay;
mod page;
mod picture;
mod plain;
mod recording;
mod runs;
mod scale;
mod section;
mod view;

pub use answer::{Drawn, drawn};
pub use error::ReportError;
pub use overlay::{OnPicture, OverlaySettings, on_picture, overlay, overlay_png};
pub use page::{Guide, Page};
pub use picture::Picture;
pub use recording::Recording;
