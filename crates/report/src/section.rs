//! The section of one finding: what speaks against it, and all of it that lies on no picture and on no tokens.

use std::collections::BTreeMap;
use std::fmt::Write;

use mmlens_finding::Labelled;

use crate::by_token::{ByToken, Shown};
use crate::crops::crops;
use crate::curve::curve;
use crate::data::{Data, OverPicture};
use crate::heat::Heat;
use crate::html::{grouped, text, words};
use crate::maps::{Map, Piece, maps};
use crate::plain::{caption, plain, scalar, scalars};
use crate::view::{View, views};
use crate::{Guide, Page, ReportError};

/// A map that is put together is cut into no more cells than these, over all positions of its other axes.
const MOST_CELLS: usize = 1 << 22;

/// How many numbers a page holds: 8 MB of the page, which is to open on a phone.
const MOST_NUMBERS: usize = 1_500_000;

/// The tables of every finding of a page, and which of them it has room for.
pub(crate) struct Tables<'a> {
    findings: Vec<Vec<Room<'a>>>,
}

/// A table that is shown, and what of it there is room for.
struct Room<'a> {
    shown: Shown<'a>,
    fits: bool,
    /// Whether what it says by answer token fits, too.
    by_token: bool,
}

impl<'a> Tables<'a> {
    /// Room is given to the tables in their order, then to what says them by answer token, the first table of every finding first.
    pub(crate) fn new(findings: Vec<Vec<Shown<'a>>>) -> Self {
        let mut left = MOST_NUMBERS;
        let mut takes = |len: usize| {
            let fits = len <= left;
            left -= if fits { len } else { 0 };
            fits
        };
        let mut room = |shown: Shown<'a>| Room { fits: takes(shown.table.len()), shown, by_token: false };
        let mut findings: Vec<Vec<Room<'a>>> =
            findings.into_iter().map(|own| own.into_iter().map(&mut room).collect()).collect();
        let most = findings.iter().map(Vec::len).sum();
        for at in 0..most {
            for own in findings.iter_mut().filter_map(|own| own.get_mut(at)) {
                let len = own.shown.by_token.as_ref().map(|by_token| by_token.table.len());
                own.by_token = own.fits && len.is_some_and(&mut takes);
            }
        }
        Self { findings }
    }

    /// Whether some finding is shown by answer token.
    pub(crate) fn by_token(&self) -> bool {
        self.findings.iter().flatten().any(|own| own.by_token)
    }
}

impl Room<'_> {
    fn table(&self) -> &Labelled {
        &self.shown.table
    }

    fn by_token(&self) -> Option<&ByToken<'_>> {
        self.shown.by_token.as_ref().filter(|_| self.by_token)
    }

    /// What of it was left to the file.
    fn left_out(&self) -> Option<String> {
        let left = self.shown.by_token.as_ref().filter(|_| !self.by_token)?;
        Some(format!(
            "By answer token it has {} numbers, more than a page holds: <code>mmlens show</code> opens them in the file of the finding.",
            grouped(left.table.len())
        ))
    }
}

/// The parts of a finding's section, in the order in which they are read.
#[derive(Default)]
struct Section {
    scalars: String,
    curves: String,
    wide: String,
}

/// What draws the tables of one finding.
struct Drawing<'a> {
    page: &'a Page,
    method: String,
    tables: &'a [Room<'a>],
    /// The number of each table in the data, once it is there.
    numbers: BTreeMap<usize, usize>,
}

impl Drawing<'_> {
    /// The number of a table in the data, which is written there once.
    fn number(&mut self, at: usize, data: &mut Data) -> Option<usize> {
        if let Some(known) = self.numbers.get(&at) {
            return Some(*known);
        }
        let room = self.tables.get(at)?;
        let name = self.page.name_of(room.table()).0;
        let number = data.table((&self.method, name), room.table(), room.by_token());
        self.numbers.insert(at, number);
        Some(number)
    }

    /// Lays a map over every picture of the page that it has something on.
    fn overlay(&mut self, map: &Map<'_>, data: &mut Data) -> Result<(), ReportError> {
        let tables = self.tables;
        let by_token =
            map.by_token(|at| tables.get(at).and_then(Room::by_token).map(|by_token| &*by_token.table));
        let mut over = Vec::new();
        for (picture, shown) in self.page.pictures.iter().enumerate() {
            let (place, size) = (shown.place(picture), shown.dimensions());
            let Some(drawn) = map.on(place, size, MOST_CELLS)? else { continue };
            let each = by_token.as_ref().map(|map| map.on(place, size, MOST_CELLS)).transpose()?.flatten();
            let (numbers, by_token) = (drawn.numbers(), each.map_or_else(Vec::new, |each| each.numbers()));
            let (mut pieces, grid) = match drawn.own {
                Some(index) => {
                    let (axes, cells) = (drawn.axes, drawn.cells);
                    (vec![Piece { index, axes, cells, overview: false }], None)
                }
                None => (drawn.pieces, Some(drawn.cells)),
            };
            for piece in &mut pieces {
                if let Some(number) = self.number(piece.index, data) {
                    piece.index = number;
                }
            }
            over.push(OverPicture { picture, pieces, grid, numbers, by_token });
        }
        data.overlay((&self.method, self.page.name_in_words(&map.name)), map.unit, over);
        Ok(())
    }

    /// A drawing under the name of its table.
    fn figured(&self, room: &Room<'_>, inner: &str) -> String {
        let (name, site) = self.page.name_of(room.table());
        let site = site.map_or_else(String::new, |site| format!(" <code>{}</code>", text(site)));
        let caption = text(&caption(room.table()));
        let note = room.left_out().map_or_else(String::new, |note| format!("<p class=\"note\">{note}</p>"));
        format!(
            "<figure class=\"table\"><figcaption><h3>{}</h3>{site} <span>{caption}</span></figcaption>{inner}{note}</figure>\n",
            text(&words(&name))
        )
    }
}

/// The section of a finding of the page, by its number, with what is not laid over the pictures or the tokens.
///
/// # Errors
/// [`ReportError::Table`].
pub(crate) fn section(
    page: &Page,
    at: usize,
    tables: &Tables<'_>,
    data: &mut Data,
) -> Result<String, ReportError> {
    let (Some(finding), Some(rooms)) = (page.findings.get(at), tables.findings.get(at)) else {
        return Ok(String::new());
    };
    let method = words(&finding.provenance.method);
    let mut drawing = Drawing { page, method, tables: rooms, numbers: BTreeMap::new() };
    let mut parts = Section::default();
    let on_page = |heat: &Heat| {
        page.pictures.iter().enumerate().any(|(i, picture)| heat.on(picture.place(i)).is_some())
    };
    let list: Vec<&Labelled> = rooms.iter().map(Room::table).collect();
    let fits = |at: usize| rooms.get(at).is_some_and(|room| room.fits);
    let mut laid = Vec::new();
    for (i, view) in views(&list, &on_page, &fits) {
        let Some(room) = rooms.get(i) else { continue };
        let table = room.table();
        let by_token = room.by_token();
        match view {
            View::Overlay(heat) => laid.push((i, table, heat)),
            View::Tokens(along) => {
                let Some(id) = drawing.number(i, data) else { continue };
                if let Some(axis) = table.axes().get(along) {
                    data.tokens(Some((id, table, by_token)), axis, along, page.answer_from(axis));
                }
            }
            View::Scalar => {
                let live = by_token.and_then(|_| drawing.number(i, data));
                parts.scalars.push_str(&scalar(&words(&page.name_of(table).0), table, live));
            }
            // Where each token of the answer has a curve or bars of its own, the script draws them.
            View::Curve { lines: None, .. } if by_token.is_some() => {
                let Some(id) = drawing.number(i, data) else { continue };
                parts.curves.push_str(&drawing.figured(room, &format!("<div data-curve=\"{id}\"></div>")));
            }
            View::Curve { .. } | View::Plain { .. } if by_token.is_some() => {
                let Some(id) = drawing.number(i, data) else { continue };
                parts.wide.push_str(&drawing.figured(room, &format!("<div data-bars=\"{id}\"></div>")));
            }
            View::Curve { along, lines } => {
                parts.curves.push_str(&drawing.figured(room, &curve(table, along, lines)));
            }
            View::Lens { rows, columns, rank, numbers } => {
                let Some(words) = drawing.number(i, data) else { continue };
                let numbers = numbers.and_then(|numbers| drawing.number(numbers, data));
                let lens = data.lens(words, numbers, (rows, columns), rank);
                parts.wide.push_str(&drawing.figured(room, &format!("<div data-lens=\"{lens}\"></div>")));
            }
            View::Crops => parts.wide.push_str(&drawing.figured(room, &crops(table)?)),
            View::Map { rows, columns } => {
                let Some(id) = drawing.number(i, data) else { continue };
                let map = data.map(id, (rows, columns));
                parts.wide.push_str(&drawing.figured(room, &format!("<div data-map=\"{map}\"></div>")));
            }
            View::Plain { numbers } => {
                let beside = numbers.and_then(|n| rooms.get(n)).map(Room::table);
                parts.wide.push_str(&drawing.figured(room, &plain(table, beside)));
            }
            View::TooLarge => {
                let note = format!(
                    "{} values, more than a page holds: <code>mmlens show</code> opens them in the file of the finding.",
                    grouped(table.len())
                );
                parts.wide.push_str(&drawing.figured(room, &format!("<p class=\"note\">{note}</p>")));
            }
        }
    }
    let mut left = String::new();
    for map in maps(laid) {
        drawing.overlay(&map, data)?;
    }
    for room in rooms.iter().filter(|room| room.fits) {
        if let Some(note) = room.left_out().filter(|_| !parts.wide.contains("By answer token")) {
            let _ =
                write!(left, "<p class=\"note\">{}: {note}</p>", text(&words(&page.name_of(room.table()).0)));
        }
    }
    let guide = page.guides.iter().find(|guide| guide.method == finding.provenance.method);
    let follows = tables.by_token().then(|| follows(rooms, finding.provenance.objective.as_deref()));
    let cautions: Vec<String> = finding.cautions().into_iter().map(|caution| caution.text).collect();
    Ok(parts.html(&Head {
        at,
        method: &drawing.method,
        objective: finding.provenance.objective.as_deref(),
        cautions: &cautions,
        sentences: &finding.sentences(),
        guide,
        follows: follows.unwrap_or_default() + &left,
    }))
}

/// What the tokens of the answer change of a finding.
fn follows(rooms: &[Room<'_>], objective: Option<&str>) -> String {
    if rooms.iter().any(|room| room.by_token) {
        return "<p class=\"of\" data-of></p>\n".to_owned();
    }
    if rooms.iter().any(|room| room.shown.elsewhere) {
        return "<p class=\"of\">The tokens above do not change this: its own stand in several places of the answer, or in none. \
                The file of the finding has them.</p>\n"
            .to_owned();
    }
    if rooms.iter().any(|room| room.shown.by_token.is_some()) {
        return String::new();
    }
    let about = if objective.is_some() { "what is said here" } else { "the whole answer" };
    format!("<p class=\"of\">The tokens above do not change this: it is about {about}.</p>\n")
}

/// What stands above the drawings of a finding.
struct Head<'a> {
    at: usize,
    method: &'a str,
    objective: Option<&'a str>,
    cautions: &'a [String],
    sentences: &'a [String],
    guide: Option<&'a Guide>,
    follows: String,
}

impl Section {
    fn html(&self, head: &Head<'_>) -> String {
        let Head { at, method, objective, cautions, sentences, guide, follows } = head;
        let drawn = [&self.scalars, &self.curves, &self.wide].iter().any(|part| !part.is_empty());
        if !drawn && guide.is_none() && cautions.is_empty() {
            return String::new();
        }
        let mut html =
            format!("<section class=\"finding\" id=\"finding-{at}\">\n<h2>{}</h2>\n", text(method));
        if let Some(guide) = guide.filter(|guide| !guide.question.is_empty()) {
            let _ = writeln!(html, "<p class=\"asks\">{}</p>", text(&guide.question));
        }
        if let Some(objective) = objective {
            let _ = writeln!(html, "<p class=\"objective\">{}</p>", text(objective));
        }
        html.push_str(&warned(cautions));
        html.push_str(follows);
        if !self.scalars.is_empty() {
            html.push_str(&scalars(&self.scalars));
        }
        html.push_str(&self.wide);
        if !self.curves.is_empty() {
            let _ = writeln!(html, "<div class=\"curves\">{}</div>", self.curves);
        }
        let told = listed(sentences);
        let _ = writeln!(html, "<details class=\"sentences\"><summary>In words</summary>{told}</details>");
        if let Some(guide) = guide.filter(|guide| !guide.misleads.is_empty()) {
            let list = listed(&guide.misleads);
            let _ = writeln!(
                html,
                "<details class=\"caution\"><summary>When it misleads</summary>{list}</details>"
            );
        }
        html + "</section>\n"
    }
}

/// What speaks against taking something at its word, if anything does.
pub(crate) fn warned(cautions: &[String]) -> String {
    if cautions.is_empty() {
        return String::new();
    }
    format!("<div class=\"warned\" role=\"note\"><h3>Read with care</h3>{}</div>\n", listed(cautions))
}

fn listed(texts: &[String]) -> String {
    let list: String = texts.iter().map(|each| format!("<li>{}</li>", text(each))).collect();
    format!("<ul>{list}</ul>")
}

#[cfg(test)]
mod tests {
    use mmlens_finding::{Axis, Finding, Labelled, Labels, Modality, Provenance, Role, TokenLabel, Unit};

    use super::MOST_NUMBERS;
    use crate::Page;

    fn answer(len: usize) -> Axis {
        let token = |i: usize| TokenLabel::new(format!("t{i}"), Modality::Text);
        Axis::new(Role::Answer, Labels::Tokens((0..len).map(token).collect()))
    }

    fn table(name: &str, axes: Vec<Axis>) -> Labelled {
        let len = axes.iter().map(Axis::len).product();
        Labelled::numbers(name, Unit::Logit, axes, vec![0.25; len]).unwrap()
    }

    fn html(tables: Vec<Labelled>) -> String {
        let findings = vec![Finding::new(Provenance::new("m", "s"), tables).unwrap()];
        Page { findings, ..Page::default() }.html().unwrap()
    }

    /// 300 answer tokens of 24 layers of 300 heads are 2.16 million numbers: more than a page holds.
    #[test]
    fn what_a_page_has_no_room_for_is_left_to_the_file_and_said() {
        let axes = || vec![Axis::count(Role::Layer, 24), Axis::count(Role::Head, 300)];
        let each = |len: usize| [vec![answer(len)], axes()].concat();
        let page = |len| html(vec![table("t", axes()), table("t by answer token", each(len)).aside()]);
        let large = page(300);
        assert!(
            large.contains("By answer token it has 2\u{202f}160\u{202f}000 numbers, more than a page holds")
        );
        assert!(!large.contains("data-answer="), "nothing follows the tokens: they are no buttons");
        assert!(large.len() < 1_000_000 && large.contains("data-map=\"0\""), "the table itself is there");
        let small = page(2);
        assert!(small.contains("data-answer=\"1\"") && !small.contains("more than a page holds"));
        let whole = html(vec![table("t", vec![Axis::count(Role::Vocab, MOST_NUMBERS + 1)])]);
        assert!(
            whole.contains("1\u{202f}500\u{202f}001 values, more than a page holds")
                && whole.len() < 1_000_000
        );
    }

    #[test]
    fn a_finding_that_follows_no_token_says_so() {
        let layers = || vec![Axis::count(Role::Layer, 3)];
        let finding = |tables| Finding::new(Provenance::new("m", "s"), tables).unwrap();
        let each = [vec![answer(2)], layers()].concat();
        let follows = finding(vec![table("t", layers()), table("t by answer token", each).aside()]);
        let findings = vec![follows, finding(vec![table("t", layers())])];
        let both = Page { findings: findings.clone(), ..Page::default() }.html().unwrap();
        assert_eq!(both.matches("<p class=\"of\" data-of></p>").count(), 1);
        assert_eq!(
            both.matches("The tokens above do not change this: it is about the whole answer.").count(),
            1
        );
        let answer_tokens = ["t0", "t1", ";", "t0", "t1"].map(|text| (text.to_owned(), 0.5)).to_vec();
        let twice = Page { answer_tokens, findings, ..Page::default() }.html().unwrap();
        assert!(!twice.contains("data-answer="), "which of the two is meant, nobody knows");
    }
}
