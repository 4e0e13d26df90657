//! One page that holds everything: pictures, tokens, findings and where they came from.

use std::fmt::Write;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mmlens_files::write;
use mmlens_finding::{Axis, Finding, Labelled, TokenLabel};
use sha2::{Digest, Sha256};

use crate::answer::shown;
use crate::curve::curve;
use crate::data::{Data, OverPicture};
use crate::heat::Heat;
use crate::html::{json, number, text, visible, words};
use crate::maps::{Map, maps};
use crate::plain::{caption, plain, provenance, scalars};
use crate::view::{View, views};
use crate::{Picture, ReportError};

const STYLE: &str = concat!(include_str!("assets/page.css"), include_str!("assets/parts.css"));

/// One function of its own, so that nothing leaks into the page's global names.
const SCRIPT: &str = concat!(
    "(() => {\n\"use strict\";\n",
    include_str!("assets/base.js"),
    include_str!("assets/tip.js"),
    include_str!("assets/overlay.js"),
    include_str!("assets/tokens.js"),
    include_str!("assets/lens.js"),
    include_str!("assets/map.js"),
    include_str!("assets/page.js"),
    "})();\n",
);

/// Maps that are put together from several tables have no more values than these: a page must open on a phone.
const MOST_CELLS: usize = 1 << 18;

/// What a page shows. Everything but the findings may be left out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    /// Heading of the page.
    pub title: String,
    /// The pictures of the input, in its order.
    pub pictures: Vec<Picture>,
    /// The prompt as the model saw it.
    pub prompt: Vec<TokenLabel>,
    /// What was asked, as the user wrote it.
    pub question: String,
    /// What the model answered.
    pub answer: String,
    /// The tokens of the answer, each with its probability.
    pub answer_tokens: Vec<(String, f32)>,
    /// What the analyses found. Tables are drawn by the roles of their axes.
    pub findings: Vec<Finding>,
    /// How the methods are to be read.
    pub guides: Vec<Guide>,
}

/// How the findings of a method are to be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Guide {
    /// The method, as findings name it.
    pub method: String,
    /// The question it answers.
    pub question: String,
    /// When it misleads.
    pub misleads: Vec<String>,
}

impl Page {
    /// The whole page as one HTML document, which fetches nothing from anywhere.
    ///
    /// # Errors
    /// [`ReportError::Data`], [`ReportError::Table`].
    pub fn html(&self) -> Result<String, ReportError> {
        let mut data = Data::new();
        let findings: Result<String, ReportError> =
            self.findings.iter().map(|finding| self.finding(finding, &mut data)).collect();
        let findings = findings?;
        if !data.has_tokens() && !self.prompt.is_empty() {
            data.tokens(None, &Axis::tokens(self.prompt.clone()), 0, None);
        }
        let title = if self.title.is_empty() { "Report" } else { &self.title };
        let mut page = String::new();
        let _ = write!(
            page,
            r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{}">
<title>{}</title>
<style>
{STYLE}</style>
</head>
<body>
<main>
"#,
            policy(),
            text(title)
        );
        page.push_str(&self.head(title));
        page.push_str(&self.picture_section(&data));
        page.push_str(token_section(&data));
        page.push_str(&findings);
        page.push_str(&self.foot());
        let _ = write!(
            page,
            "</main>\n<div id=\"tip\" role=\"status\" hidden></div>\n\
             <script type=\"application/json\" id=\"data\">{}</script>\n<script>{SCRIPT}</script>\n</body>\n</html>\n",
            json(&data)?
        );
        Ok(page)
    }

    /// Writes the page as one HTML file, whole or not at all: see [`Target`](mmlens_files::Target).
    ///
    /// # Errors
    /// As [`Page::html`], and [`ReportError::Write`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), ReportError> {
        Ok(write(path, self.html()?)?)
    }

    fn head(&self, title: &str) -> String {
        let mut html = format!("<header>\n<h1>{}</h1>\n", text(title));
        if self.question.is_empty() && self.answer.is_empty() && self.answer_tokens.is_empty() {
            return html + "</header>\n";
        }
        html.push_str("<dl class=\"exchange\">\n");
        if !self.question.is_empty() {
            let _ = writeln!(html, "<dt>Question</dt><dd class=\"question\">{}</dd>", text(&self.question));
        }
        if !self.answer.is_empty() {
            let _ = writeln!(html, "<dt>Answer</dt><dd class=\"answer\">{}</dd>", text(&self.answer));
        }
        if !self.answer_tokens.is_empty() {
            let tokens: String = self.answer_tokens.iter().map(|(word, p)| answer_token(word, *p)).collect();
            let _ = writeln!(
                html,
                "<dt>Its tokens</dt><dd><ol class=\"answer-tokens\" aria-label=\"Tokens of the answer and their probabilities\">{tokens}</ol></dd>"
            );
        }
        html + "</dl>\n</header>\n"
    }

    fn picture_section(&self, data: &Data) -> String {
        if self.pictures.is_empty() {
            return String::new();
        }
        let figures: String =
            self.pictures.iter().enumerate().map(|(i, picture)| figure(i, picture)).collect();
        let count = if self.pictures.len() > 1 { " many" } else { "" };
        let controls = if data.has_overlays() { "<div id=\"overlay\"></div>" } else { "" };
        let name = if data.has_overlays() { "Where in the picture" } else { "Picture" };
        format!(
            "<section aria-labelledby=\"pictures\">\n<h2 id=\"pictures\">{name}</h2>\n\
             <div class=\"beside\"><div class=\"pictures{count}\">{figures}</div>{controls}</div>\n</section>\n"
        )
    }

    /// The section of one finding, with what is not laid over the pictures or the tokens.
    fn finding(&self, finding: &Finding, data: &mut Data) -> Result<String, ReportError> {
        let on_page = |heat: &Heat| {
            self.pictures.iter().enumerate().any(|(i, picture)| heat.on(picture.place(i)).is_some())
        };
        let tables = finding.tables().iter().filter_map(|table| shown(table).transpose());
        let tables: Vec<Labelled> =
            tables.map(|t| Ok(t?.into_owned())).collect::<Result<_, ReportError>>()?;
        let tables = tables.as_slice();
        let mut page = Section::default();
        let mut numbers = vec![None; tables.len()];
        let method = words(&finding.provenance.method);
        let mut laid = Vec::new();
        for (i, view) in views(tables, &on_page) {
            let Some(table) = tables.get(i) else { continue };
            let mut id = |data: &mut Data| match numbers.get_mut(i) {
                Some(slot) => *slot.get_or_insert_with(|| data.table(&method, table)),
                None => data.table(&method, table),
            };
            match view {
                View::Overlay(heat) => laid.push((i, table, heat)),
                View::Tokens(along) => {
                    let id = id(data);
                    if let Some(axis) = table.axes().get(along) {
                        data.tokens(Some((id, table)), axis, along, self.answer_from(axis));
                    }
                }
                View::Scalar => page.scalars.push(table),
                View::Curve { along, lines } => {
                    page.curves.push_str(&figured(table, &curve(table, along, lines)));
                }
                View::Lens { rows, columns, rank, numbers } => {
                    let words = id(data);
                    let numbers = numbers.and_then(|n| tables.get(n)).map(|t| data.table(&method, t));
                    let lens = data.lens(words, numbers, (rows, columns), rank);
                    page.wide.push_str(&figured(table, &format!("<div data-lens=\"{lens}\"></div>")));
                }
                View::Map { rows, columns } => {
                    let table_id = id(data);
                    let map = data.map(table_id, (rows, columns));
                    page.wide.push_str(&figured(table, &format!("<div data-map=\"{map}\"></div>")));
                }
                View::Plain { numbers } => {
                    let beside = numbers.and_then(|n| tables.get(n));
                    page.wide.push_str(&figured(table, &plain(table, beside)));
                }
                View::TooLarge => {
                    let note = format!("{} values: open the file of the finding.", table.len());
                    page.wide.push_str(&figured(table, &format!("<p class=\"note\">{note}</p>")));
                }
            }
        }
        for map in maps(laid) {
            self.overlay(&map, &method, &mut numbers, data)?;
        }
        let guide = self.guides.iter().find(|guide| guide.method == finding.provenance.method);
        Ok(page.html(&method, finding.provenance.objective.as_deref(), guide))
    }

    /// Lays a map over every picture of the page that it has something on. `numbers` has the number of each table that was added.
    fn overlay(
        &self,
        map: &Map<'_>,
        method: &str,
        numbers: &mut [Option<usize>],
        data: &mut Data,
    ) -> Result<(), ReportError> {
        let mut over = Vec::new();
        for (at, picture) in self.pictures.iter().enumerate() {
            let Some(drawn) = map.on(picture.place(at), picture.dimensions(), MOST_CELLS)? else { continue };
            let table = match drawn.own.and_then(|own| numbers.get_mut(own)) {
                Some(slot) => *slot.get_or_insert_with(|| data.table(method, &drawn.table)),
                None => data.table(method, &drawn.table),
            };
            let numbers = drawn.numbers();
            over.push(OverPicture { picture: at, table, axes: drawn.axes, cells: drawn.cells, numbers });
        }
        data.overlay((method, map.name.clone()), map.unit, over);
        Ok(())
    }

    /// Where the answer begins on an axis that goes on beyond the prompt.
    fn answer_from(&self, axis: &Axis) -> Option<usize> {
        let known = !self.prompt.is_empty() && axis.len() > self.prompt.len();
        let same = |i: usize| axis.label(i).as_ref() == self.prompt.get(i).map(|token| &token.text);
        (known && (0..self.prompt.len()).all(same)).then_some(self.prompt.len())
    }

    fn foot(&self) -> String {
        let findings: String =
            self.findings.iter().map(|finding| provenance(&finding.provenance, finding.tables())).collect();
        if findings.is_empty() {
            return String::new();
        }
        format!(
            "<footer aria-labelledby=\"provenance\">\n<h2 id=\"provenance\">Provenance</h2>\n{findings}\n</footer>\n"
        )
    }
}

/// The parts of a finding's section, in the order in which they are read.
#[derive(Default)]
struct Section<'a> {
    scalars: Vec<&'a Labelled>,
    curves: String,
    wide: String,
}

impl Section<'_> {
    fn html(&self, method: &str, objective: Option<&str>, guide: Option<&Guide>) -> String {
        if self.scalars.is_empty() && self.curves.is_empty() && self.wide.is_empty() && guide.is_none() {
            return String::new();
        }
        let mut html = format!("<section class=\"finding\">\n<h2>{}</h2>\n", text(method));
        if let Some(guide) = guide.filter(|guide| !guide.question.is_empty()) {
            let _ = writeln!(html, "<p class=\"asks\">{}</p>", text(&guide.question));
        }
        if let Some(objective) = objective {
            let _ = writeln!(html, "<p class=\"objective\">{}</p>", text(objective));
        }
        if !self.scalars.is_empty() {
            html.push_str(&scalars(&self.scalars));
        }
        html.push_str(&self.wide);
        if !self.curves.is_empty() {
            let _ = writeln!(html, "<div class=\"curves\">{}</div>", self.curves);
        }
        if let Some(guide) = guide.filter(|guide| !guide.misleads.is_empty()) {
            html.push_str(&caution(&guide.misleads));
        }
        html + "</section>\n"
    }
}

/// When a method misleads.
fn caution(misleads: &[String]) -> String {
    let list: String = misleads.iter().map(|when| format!("<li>{}</li>", text(when))).collect();
    format!("<details class=\"caution\"><summary>When it misleads</summary><ul>{list}</ul></details>\n")
}

/// A drawing under the name of its table.
fn figured(table: &Labelled, inner: &str) -> String {
    let (name, caption) = (text(&words(table.name())), text(&caption(table)));
    format!(
        "<figure class=\"table\"><figcaption><h3>{name}</h3> <span>{caption}</span></figcaption>{inner}</figure>\n"
    )
}

fn figure(index: usize, picture: &Picture) -> String {
    let (width, height) = picture.dimensions();
    let name = text(picture.name());
    let small = if width < 160 { " small" } else { "" };
    format!(
        "<figure class=\"picture\" data-picture=\"{index}\">\
         <div class=\"stage{small}\" style=\"--width:{width}px;--shape:{width}/{height}\">\
         <img src=\"{}\" width=\"{width}\" height=\"{height}\" alt=\"{name}\">\
         <canvas data-width=\"{width}\" data-height=\"{height}\" hidden></canvas><div class=\"mark\" hidden></div></div>\
         <figcaption>{name} <span>{width} × {height}</span></figcaption></figure>",
        picture.data_uri()
    )
}

const fn token_section(data: &Data) -> &'static str {
    if data.has_tokens() {
        "<section aria-labelledby=\"words\">\n<h2 id=\"words\">Which tokens</h2>\n<div id=\"tokens\"></div>\n</section>\n"
    } else {
        ""
    }
}

fn answer_token(word: &str, probability: f32) -> String {
    let share = if probability.is_finite() { probability.clamp(0.0, 1.0) * 100.0 } else { 0.0 };
    format!(
        "<li><span class=\"word\">{}</span><svg viewBox=\"0 0 100 4\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
         <rect width=\"{share:.1}\" height=\"4\"/></svg><small>{}</small></li>",
        text(&visible(word)),
        if probability >= 0.01 { format!("{probability:.2}") } else { number(probability) }
    )
}

/// No network, and no script but the one of this file.
fn policy() -> String {
    let hash = STANDARD.encode(Sha256::digest(SCRIPT));
    format!(
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'"
    )
}

#[cfg(test)]
mod tests {
    use image::RgbImage;
    use mmlens_finding::{Axis, Finding, Labelled, Modality, PatchLabel, Provenance, Role, TokenLabel, Unit};

    use super::{Guide, Page};
    use crate::Picture;

    const HOSTILE: &str = "</script><script>alert(1)</script>";

    fn hostile() -> Page {
        let token = TokenLabel::new(HOSTILE, Modality::Text);
        let axes = vec![Axis::count(Role::Layer, 1), Axis::tokens(vec![token.clone()])];
        let named = Axis::names(Role::Concept, [HOSTILE]);
        let tables = vec![
            Labelled::texts("words", axes.clone(), vec![HOSTILE.to_owned()]).unwrap(),
            Labelled::numbers(HOSTILE, Unit::Logit, vec![axes[1].clone()], vec![1.0]).unwrap(),
            Labelled::numbers("concepts", Unit::Logit, vec![named], vec![1.0]).unwrap(),
        ];
        let mut provenance = Provenance::new(HOSTILE, HOSTILE).with_setting(HOSTILE, HOSTILE);
        provenance.objective = Some(HOSTILE.to_owned());
        Page {
            title: HOSTILE.to_owned(),
            pictures: vec![Picture::from_rgb(HOSTILE, &RgbImage::new(4, 4)).unwrap()],
            prompt: vec![token],
            question: HOSTILE.to_owned(),
            answer: HOSTILE.to_owned(),
            answer_tokens: vec![(HOSTILE.to_owned(), 0.5)],
            findings: vec![Finding::new(provenance, tables).unwrap()],
            guides: vec![Guide {
                method: HOSTILE.to_owned(),
                question: HOSTILE.to_owned(),
                misleads: vec![HOSTILE.to_owned()],
            }],
        }
    }

    #[test]
    fn nothing_from_outside_becomes_markup() {
        let html = hostile().html().unwrap();
        assert_eq!(html.matches("<script").count(), 2, "the data and the script of the page");
        assert_eq!(html.matches("</script").count(), 2);
        assert!(!html.contains("<script>alert"));
    }

    #[test]
    fn the_page_stands_alone() {
        let html = hostile().html().unwrap();
        for outside in ["http:", "https:", "src=\"/", "href=", "@import", "url("] {
            assert!(!html.contains(outside), "{outside}");
        }
        assert!(html.contains("Content-Security-Policy"));
    }

    #[test]
    fn a_guide_stands_in_the_section_of_its_method() {
        let finding = |method: &str| Finding::new(Provenance::new(method, "s"), Vec::new()).unwrap();
        let guide = Guide {
            method: "m".to_owned(),
            question: "Which <b>?".to_owned(),
            misleads: vec!["Often.".to_owned(), "A & B.".to_owned()],
        };
        let page =
            Page { findings: vec![finding("m"), finding("n")], guides: vec![guide], ..Page::default() };
        let html = page.html().unwrap();
        assert!(html.contains("<p class=\"asks\">Which &lt;b&gt;?</p>"));
        assert!(
            html.contains("<summary>When it misleads</summary><ul><li>Often.</li><li>A &amp; B.</li></ul>")
        );
        assert_eq!(
            html.matches("<section class=\"finding\">").count(),
            1,
            "a finding without anything to draw has none"
        );
    }

    #[test]
    fn an_empty_page_is_a_page() {
        let html = Page::default().html().unwrap();
        assert!(html.contains("<h1>Report</h1>") && html.ends_with("</html>\n"));
        assert!(!html.contains("<section") && !html.contains("<footer"));
    }

    #[test]
    fn the_same_page_gives_the_same_bytes() {
        assert_eq!(hostile().html().unwrap(), hostile().html().unwrap());
    }

    #[test]
    fn the_answer_is_found_on_a_longer_axis() {
        let word = |text: &str| TokenLabel::new(text, Modality::Text);
        let page = Page { prompt: vec![word("a"), word("b")], ..Page::default() };
        assert_eq!(page.answer_from(&Axis::tokens(vec![word("a"), word("b"), word("c")])), Some(2));
        assert_eq!(page.answer_from(&Axis::tokens(vec![word("a"), word("x"), word("c")])), None);
        assert_eq!(page.answer_from(&Axis::tokens(vec![word("a"), word("b")])), None);
    }

    #[test]
    fn a_table_is_embedded_once_however_often_it_is_drawn() {
        let patch = PatchLabel { image: 0, tile: 0, frame: 0, row: 0, col: 0, bbox: [0.0, 0.0, 4.0, 4.0] };
        let token = TokenLabel::new("<image>", Modality::Image).with_patch(patch);
        let table =
            Labelled::numbers("t", Unit::Logit, vec![Axis::tokens(vec![token])], vec![0.123]).unwrap();
        let page = Page {
            pictures: vec![Picture::from_rgb("p", &RgbImage::new(4, 4)).unwrap()],
            findings: vec![Finding::new(Provenance::new("m", "s"), vec![table]).unwrap()],
            ..Page::default()
        };
        let html = page.html().unwrap();
        assert_eq!(html.matches("\"numbers\":\"").count(), 1);
        assert!(html.contains("id=\"overlay\"") && html.contains("id=\"tokens\""));
    }
}
