//! One page that holds everything: pictures, tokens, findings and where they came from.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mmlens_files::write;
use mmlens_finding::{Axis, Finding, Labelled, TokenLabel};
use sha2::{Digest, Sha256};

use crate::answer::shown;
use crate::by_token::spoken_of;
use crate::data::Data;
use crate::html::{json, number, text, visible, words};
use crate::plain::provenance;
use crate::recording::MOST_SOUND;
use crate::section::{Tables, section, warned};
use crate::{Picture, ReportError};

const STYLE: &str = concat!(include_str!("assets/page.css"), include_str!("assets/parts.css"));

/// One function of its own, so that nothing leaks into the page's global names.
const SCRIPT: &str = concat!(
    "(() => {\n\"use strict\";\n",
    include_str!("assets/base.js"),
    include_str!("assets/tip.js"),
    include_str!("assets/answer.js"),
    include_str!("assets/sliders.js"),
    include_str!("assets/bars.js"),
    include_str!("assets/curve.js"),
    include_str!("assets/sound.js"),
    include_str!("assets/overlay.js"),
    include_str!("assets/tokens.js"),
    include_str!("assets/lens.js"),
    include_str!("assets/map.js"),
    include_str!("assets/page.js"),
    "})();\n",
);

/// How many bytes the pictures of a page have together.
const MOST_PICTURES: usize = 1_000_000;

/// Width to height of a spectrogram, whatever it has of frames and filters.
const SPECTROGRAM: &str = "5/2";

/// An answer of more letters is set small.
const LONG: usize = 240;

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
    /// What speaks against taking the page at its word, besides the cautions of its findings.
    pub cautions: Vec<String>,
    /// Plain names of places in the model, by the names that findings give them.
    pub names: BTreeMap<String, String>,
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
        let answer = match self.answer_tokens.as_slice() {
            [] => spoken_of(&self.findings),
            tokens => tokens.iter().map(|(word, _)| word.clone()).collect(),
        };
        let tables = self.findings.iter().map(|finding| shown(finding, &answer)).collect::<Result<_, _>>()?;
        let tables = Tables::new(tables);
        let mut data = Data::new(if tables.by_token() { answer } else { Vec::new() }, self.names.clone());
        let sections = (0..self.findings.len()).map(|at| section(self, at, &tables, &mut data));
        let findings = sections.collect::<Result<String, ReportError>>()?;
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
        page.push_str(&self.head(title, &data));
        page.push_str(&self.picture_section(&data)?);
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

    fn head(&self, title: &str, data: &Data) -> String {
        let mut html = format!("<header>\n<h1>{}</h1>\n", text(title));
        let tokens = self.answer_list(data);
        if !(self.question.is_empty() && self.answer.is_empty() && tokens.is_empty()) {
            html.push_str("<dl class=\"exchange\">\n");
            if !self.question.is_empty() {
                let _ =
                    writeln!(html, "<dt>Question</dt><dd class=\"question\">{}</dd>", text(&self.question));
            }
            if !self.answer.is_empty() {
                let (long, tab) =
                    if self.answer.chars().count() > LONG { (" long", " tabindex=\"0\"") } else { ("", "") };
                let answer = text(&self.answer);
                let _ = writeln!(html, "<dt>Answer</dt><dd class=\"answer{long}\"{tab}>{answer}</dd>");
            }
            if !tokens.is_empty() {
                let _ = writeln!(html, "<dt>Its tokens</dt><dd>{tokens}</dd>");
            }
            html.push_str("</dl>\n");
        }
        html.push_str(&self.cautioned());
        html.push_str("</header>\n");
        if data.by_token() {
            html.push_str("<div id=\"answer\"></div>\n");
        }
        html
    }

    /// The tokens of the answer with their probabilities: buttons, where findings tell them apart.
    fn answer_list(&self, data: &Data) -> String {
        if data.by_token() {
            let known = |at: usize| self.answer_tokens.get(at).map(|(_, probability)| *probability);
            let one = |(at, word): (usize, &String)| answer_button(at, word, known(at));
            let buttons: String = data.answer().iter().enumerate().map(one).collect();
            return format!(
                "<div class=\"answer-tokens\" role=\"group\" aria-label=\"Tokens of the answer and their probabilities\">\
                 <button type=\"button\" class=\"all\" aria-pressed=\"true\" data-answer=\"all\">all</button>{buttons}</div>\
                 <p class=\"note\">Press a token, and what follows is about that token alone.</p>"
            );
        }
        if self.answer_tokens.is_empty() {
            return String::new();
        }
        let one = |(word, p): &(String, f32)| format!("<li>{}</li>", answer_token(word, Some(*p)));
        let list: String = self.answer_tokens.iter().map(one).collect();
        format!(
            "<ol class=\"answer-tokens\" aria-label=\"Tokens of the answer and their probabilities\">{list}</ol>"
        )
    }

    /// What speaks against the page, and how much of it stands at which finding.
    fn cautioned(&self) -> String {
        let mut html = warned(&self.cautions);
        let own = |(at, finding): (usize, &Finding)| {
            let count = finding.cautions().len();
            let name = text(&words(&finding.provenance.method));
            (count > 0).then(|| format!("<li><a href=\"#finding-{at}\">{name}</a> <span>{count}</span></li>"))
        };
        let list: String = self.findings.iter().enumerate().filter_map(own).collect();
        let count: usize = self.findings.iter().map(|finding| finding.cautions().len()).sum();
        if count > 0 {
            let cautions = if count == 1 { "1 caution".to_owned() } else { format!("{count} cautions") };
            let _ = writeln!(
                html,
                "<nav class=\"cautions\" aria-label=\"Cautions\"><span>{cautions}:</span><ul>{list}</ul></nav>"
            );
        }
        html
    }

    /// A name in words: the parts of it that are places in the model by their plain names.
    pub(crate) fn name_in_words(&self, name: &str) -> String {
        let plain =
            |part: &str| self.names.get(part).cloned().unwrap_or_else(|| part.replace(['_', '-'], " "));
        name.split('/').map(plain).collect::<Vec<_>>().join(": ")
    }

    /// The name of a table in words, and the name it has in its file where that is another.
    pub(crate) fn name_of<'a>(&self, table: &'a Labelled) -> (String, Option<&'a str>) {
        let named = table.name().split('/').any(|part| self.names.contains_key(part));
        (self.name_in_words(table.name()), named.then(|| table.name()))
    }

    fn picture_section(&self, data: &Data) -> Result<String, ReportError> {
        if self.pictures.is_empty() {
            return Ok(String::new());
        }
        let heard = self.pictures.iter().filter(|picture| picture.recording().is_some()).count();
        let each = (MOST_PICTURES / self.pictures.len(), MOST_SOUND / heard.max(1));
        let figures = self.pictures.iter().enumerate().map(|(i, picture)| figure(i, picture, each));
        let figures = figures.collect::<Result<String, ReportError>>()?;
        let count = if self.pictures.len() > 1 { " many" } else { "" };
        let controls = if data.has_overlays() { "<div id=\"overlay\"></div>" } else { "" };
        let (here, alone) = match (heard == 0, heard == self.pictures.len()) {
            (true, _) => ("the picture", "Picture"),
            (_, true) => ("the recording", "Recording"),
            _ => ("pictures and recordings", "Pictures and recordings"),
        };
        let name = if data.has_overlays() { format!("Where in {here}") } else { alone.to_owned() };
        Ok(format!(
            "<section aria-labelledby=\"pictures\">\n<h2 id=\"pictures\">{name}</h2>\n\
             <div class=\"beside\"><div class=\"pictures{count}\">{figures}</div>{controls}</div>\n</section>\n"
        ))
    }

    /// Where the answer begins on an axis that goes on beyond the prompt.
    pub(crate) fn answer_from(&self, axis: &Axis) -> Option<usize> {
        let known = !self.prompt.is_empty() && axis.len() > self.prompt.len();
        let same = |i: usize| axis.label(i) == self.prompt.get(i).map(TokenLabel::label);
        (known && (0..self.prompt.len()).all(same)).then_some(self.prompt.len())
    }

    fn foot(&self) -> String {
        let findings: String = self
            .findings
            .iter()
            .map(|finding| provenance(&finding.provenance, finding.tables(), &self.names))
            .collect();
        if findings.is_empty() {
            return String::new();
        }
        format!(
            "<footer aria-labelledby=\"provenance\">\n<h2 id=\"provenance\">Provenance</h2>\n{findings}\n</footer>\n"
        )
    }
}

fn figure(
    index: usize,
    picture: &Picture,
    (most, most_sound): (usize, usize),
) -> Result<String, ReportError> {
    let (width, height) = picture.dimensions();
    let (address, shown) = picture.data_uri(most)?;
    let name = text(picture.name());
    let small = if width < 160 { " small" } else { "" };
    let scaled = if shown == (width, height) {
        String::new()
    } else {
        format!(", shown at {} × {}", shown.0, shown.1)
    };
    if let Some(heard) = picture.recording() {
        return Ok(format!(
            "<figure class=\"picture heard\" data-picture=\"{index}\"{}>\
             <div class=\"plot\">{}<div class=\"stage small\" style=\"--width:{width}px;--shape:{SPECTROGRAM}\">\
             <img src=\"{address}\" width=\"{width}\" height=\"{height}\" alt=\"Spectrogram of {name}\">\
             <canvas data-width=\"{width}\" data-height=\"{height}\" hidden></canvas><div class=\"mark\" hidden></div>\
             <div class=\"cursor\" hidden></div></div>{}</div>{}\
             <figcaption>{name} <span>{} s, {height} filters of {width} frames</span></figcaption></figure>",
            heard.attributes(),
            heard.frequencies(height),
            heard.times(width),
            heard.player(most_sound),
            (heard.seconds * 1e3).round() / 1e3,
        ));
    }
    Ok(format!(
        "<figure class=\"picture\" data-picture=\"{index}\">\
         <div class=\"stage{small}\" style=\"--width:{width}px;--shape:{width}/{height}\">\
         <img src=\"{address}\" width=\"{width}\" height=\"{height}\" alt=\"{name}\">\
         <canvas data-width=\"{width}\" data-height=\"{height}\" hidden></canvas><div class=\"mark\" hidden></div></div>\
         <figcaption>{name} <span>{width} × {height}{scaled}</span></figcaption></figure>"
    ))
}

const fn token_section(data: &Data) -> &'static str {
    if data.has_tokens() {
        "<section aria-labelledby=\"words\">\n<h2 id=\"words\">Which tokens</h2>\n<div id=\"tokens\"></div>\n</section>\n"
    } else {
        ""
    }
}

/// A token of the answer over a bar as long as it is likely.
fn answer_token(word: &str, probability: Option<f32>) -> String {
    let word = text(&visible(word));
    let Some(probability) = probability else { return format!("<span class=\"word\">{word}</span>") };
    let share = if probability.is_finite() { probability.clamp(0.0, 1.0) * 100.0 } else { 0.0 };
    let number = if probability >= 0.01 { format!("{probability:.2}") } else { number(probability) };
    format!(
        "<span class=\"word\">{word}</span><svg viewBox=\"0 0 100 4\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
         <rect width=\"{share:.1}\" height=\"4\"/></svg><small>{number}</small>"
    )
}

fn answer_button(at: usize, word: &str, probability: Option<f32>) -> String {
    let inner = answer_token(word, probability);
    format!("<button type=\"button\" aria-pressed=\"false\" data-answer=\"{at}\">{inner}</button>")
}

/// No network, and no script but the one of this file.
fn policy() -> String {
    let hash = STANDARD.encode(Sha256::digest(SCRIPT));
    format!(
        "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; script-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'"
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
            cautions: vec![HOSTILE.to_owned()],
            names: [(HOSTILE.to_owned(), HOSTILE.to_owned())].into(),
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
        for outside in ["http:", "https:", "src=\"/", "href=\"h", "href=\"/", "@import", "url("] {
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
            html.matches("<section class=\"finding\"").count(),
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
    fn cautions_stand_at_their_finding_and_are_counted_above() {
        let finding = |cautions: &[&str]| {
            let ranks = Axis::count(Role::Rank, cautions.len());
            let texts = cautions.iter().map(|caution| (*caution).to_owned()).collect();
            let table = Labelled::texts("cautions", vec![ranks], texts).unwrap();
            Finding::new(Provenance::new("m", "s"), vec![table]).unwrap()
        };
        let findings = vec![finding(&[]), finding(&["The gap is 0.3 of <all>.", "Few rows."])];
        let html =
            Page { findings, cautions: vec!["No token for “mauve”.".to_owned()], ..Page::default() };
        let html = html.html().unwrap();
        let own = "<h3>Read with care</h3><ul><li>The gap is 0.3 of &lt;all&gt;.</li><li>Few rows.</li></ul>";
        let (head, body) = html.split_once("</header>").unwrap();
        assert!(head.contains("<li>No token for “mauve”.</li>"));
        assert!(
            head.contains("2 cautions:</span><ul><li><a href=\"#finding-1\">M</a> <span>2</span>"),
            "{head}"
        );
        assert!(body.contains("id=\"finding-1\"") && body.contains(own));
        assert!(!body.contains("<table"), "cautions are no table");
    }

    #[test]
    fn places_in_the_model_have_plain_names() {
        let tables = ["vision.pixels/0", "by_head"];
        let page = Page {
            names: [("vision.pixels".to_owned(), "image tower, pixels".to_owned())].into(),
            ..Page::default()
        };
        let names = tables.map(|name| Labelled::scalar(name, Unit::Logit, 0.0)).map(|table| {
            let (name, site) = page.name_of(&table);
            (name, site.map(str::to_owned))
        });
        let expected = [
            ("image tower, pixels: 0".to_owned(), Some("vision.pixels/0".to_owned())),
            ("by head".to_owned(), None),
        ];
        assert_eq!(names, expected);
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
