//! What the script of the page is given: tables and axes, each once, as JSON.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mmlens_finding::{Axis, Labelled, Labels, Modality, Unit, Values};
use serde::Serialize;

use crate::by_token::ByToken;
use crate::colour::{Ground, table};
use crate::composite::adds;
use crate::heat::{Cells, stride};
use crate::maps::Piece;
use crate::runs::{Run, runs};
use crate::scale::Scale;

/// What the script of the page is given.
#[derive(Debug, Serialize)]
pub(crate) struct Data {
    colours: BTreeMap<&'static str, Colours>,
    axes: Vec<AxisData>,
    tables: Vec<TableData>,
    cells: Vec<Cells>,
    overlays: Vec<Overlay>,
    tokens: Vec<Tokens>,
    lenses: Vec<Lens>,
    maps: Vec<Map>,
    /// The tokens of the answer.
    answer: Vec<String>,
    /// What places in a model are called in plain words.
    names: BTreeMap<String, String>,
    #[serde(skip)]
    seen: Vec<Axis>,
}

#[derive(Debug, Serialize)]
struct Colours {
    signed: String,
    plain: String,
}

#[derive(Debug, Serialize)]
struct AxisData {
    role: &'static str,
    len: usize,
    /// Absent where positions are only counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<Vec<String>>,
    /// One letter for each token.
    #[serde(skip_serializing_if = "String::is_empty")]
    kinds: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ids: Vec<Option<u32>>,
    /// Of positions that carry a part of a recording, when it is; nothing, if none does.
    times: Vec<Option<String>>,
    runs: Vec<Run>,
}

#[derive(Debug, Serialize)]
struct TableData {
    method: String,
    name: String,
    unit: &'static str,
    shape: Vec<usize>,
    axes: Vec<usize>,
    scale: Option<Scale>,
    /// Little-endian f32 in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    numbers: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    words: Option<Words>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by_token: Option<ByTokenData>,
}

/// The same table for some tokens of the answer, one behind the other.
#[derive(Debug, Serialize)]
struct ByTokenData {
    /// Which token of the answer the first is.
    from: usize,
    len: usize,
    scale: Scale,
    /// Little-endian f32 in base64.
    numbers: String,
}

/// Texts, each once, and which of them stands where: little-endian u32 in base64.
#[derive(Debug, Serialize)]
struct Words {
    list: Vec<String>,
    at: String,
}

/// A heat map that can be laid over pictures.
#[derive(Debug, Serialize)]
struct Overlay {
    method: String,
    name: String,
    unit: &'static str,
    /// Of the values on pictures alone.
    scale: Scale,
    /// The same for single tokens of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    by_token: Option<Scale>,
    /// Whether numbers that lie on one place add up.
    adds: bool,
    layers: Vec<OverlayLayer>,
}

/// What a heat map has on one picture: one piece as it is, or several on the equal cells of a grid.
#[derive(Debug, Serialize)]
struct OverlayLayer {
    picture: usize,
    pieces: Vec<OverlayPiece>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grid: Option<usize>,
}

#[derive(Debug, Serialize)]
struct OverlayPiece {
    cells: usize,
    table: usize,
    /// The axes of the table that lie on pictures.
    axes: Vec<usize>,
    /// Whether its tiles show the whole picture.
    overview: bool,
}

/// What is to be laid over a picture.
pub(crate) struct OverPicture {
    /// Number of the picture.
    pub(crate) picture: usize,
    /// What lies on it, with the number of its table as its index.
    pub(crate) pieces: Vec<Piece>,
    /// The cells on which the pieces are put together.
    pub(crate) grid: Option<Cells>,
    /// One list of numbers for each position of the other axes.
    pub(crate) numbers: Vec<Vec<f32>>,
    /// The same by answer token.
    pub(crate) by_token: Vec<Vec<f32>>,
}

/// Tokens to be coloured; without a table, only shown.
#[derive(Debug, Serialize)]
struct Tokens {
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<usize>,
    axis: usize,
    along: usize,
    /// Of the words alone: pictures have scales of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    scale: Option<Scale>,
    /// The same for single tokens of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    by_token: Option<Scale>,
    /// Where the answer begins, if the axis goes on beyond the prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<usize>,
}

#[derive(Debug, Serialize)]
struct Lens {
    words: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    numbers: Option<usize>,
    rows: usize,
    columns: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    rank: Option<usize>,
}

#[derive(Debug, Serialize)]
struct Map {
    table: usize,
    rows: usize,
    columns: usize,
}

impl Data {
    /// The colour maps, the tokens of the answer, plain names, and nothing else yet.
    pub(crate) fn new(answer: Vec<String>, names: BTreeMap<String, String>) -> Self {
        let colours = [("light", Ground::Light), ("dark", Ground::Dark), ("picture", Ground::Picture)];
        let coded = |ground, signed| STANDARD.encode(table(ground, signed));
        Self {
            colours: colours
                .map(|(name, g)| (name, Colours { signed: coded(g, true), plain: coded(g, false) }))
                .into(),
            axes: Vec::new(),
            tables: Vec::new(),
            cells: Vec::new(),
            overlays: Vec::new(),
            tokens: Vec::new(),
            lenses: Vec::new(),
            maps: Vec::new(),
            answer,
            names,
            seen: Vec::new(),
        }
    }

    /// Adds a table under a name for readers, with what says it by answer token; its number.
    pub(crate) fn table(
        &mut self,
        (method, name): (&str, String),
        table: &Labelled,
        by_token: Option<&ByToken<'_>>,
    ) -> usize {
        let (mut numbers, mut words, mut scale) = (None, None, None);
        match table.values() {
            Values::Numbers(values) => {
                scale = Some(Scale::of(table.unit(), values));
                numbers = Some(coded(values.iter().map(|v| v.to_le_bytes())));
            }
            Values::Texts(texts) => words = Some(Words::of(texts)),
        }
        let axes = table.axes().iter().map(|axis| self.axis(axis)).collect();
        self.tables.push(TableData {
            method: method.to_owned(),
            name,
            unit: unit_name(table.unit()),
            shape: table.shape(),
            axes,
            scale,
            numbers,
            words,
            by_token: by_token.map(ByTokenData::of),
        });
        self.tables.len() - 1
    }

    /// Adds an axis, unless it is there; its number.
    pub(crate) fn axis(&mut self, axis: &Axis) -> usize {
        if let Some(known) = self.seen.iter().position(|seen| seen == axis) {
            return known;
        }
        self.seen.push(axis.clone());
        self.axes.push(AxisData::of(axis));
        self.axes.len() - 1
    }

    /// Adds a heat map, on one picture or on several, all on one scale.
    pub(crate) fn overlay(&mut self, (method, name): (&str, String), unit: Unit, over: Vec<OverPicture>) {
        let scale = Scale::of_maps(unit, &side_by_side(over.iter().map(|over| over.numbers.as_slice())));
        let by_token = side_by_side(over.iter().map(|over| over.by_token.as_slice()));
        let by_token = (!by_token.is_empty()).then(|| Scale::of_maps(unit, &by_token));
        let mut layers = Vec::new();
        for OverPicture { picture, pieces, grid, .. } in over {
            let grid = grid.map(|grid| self.cells(grid));
            let piece = |Piece { index, axes, cells, overview }: Piece| OverlayPiece {
                cells: self.cells(cells),
                table: index,
                axes,
                overview,
            };
            layers.push(OverlayLayer { picture, pieces: pieces.into_iter().map(piece).collect(), grid });
        }
        if !layers.is_empty() {
            let (method, unit, adds) = (method.to_owned(), unit_name(unit), adds(unit));
            self.overlays.push(Overlay { method, name, unit, scale, by_token, adds, layers });
        }
    }

    fn cells(&mut self, cells: Cells) -> usize {
        self.cells.iter().position(|known| *known == cells).unwrap_or_else(|| {
            self.cells.push(cells);
            self.cells.len() - 1
        })
    }

    /// Adds tokens to be coloured by a table, given with its number, or only shown.
    pub(crate) fn tokens(
        &mut self,
        table: Option<(usize, &Labelled, Option<&ByToken<'_>>)>,
        axis: &Axis,
        along: usize,
        answer: Option<usize>,
    ) {
        let axis = self.axis(axis);
        let runs = self.axes.get(axis).map_or(&[][..], |axis| axis.runs.as_slice());
        let scale = table.map(|(_, table, _)| of_words(table, along, runs));
        let by_token = table.and_then(|(.., by_token)| by_token);
        let by_token = by_token.map(|by_token| of_words(&by_token.table, along + 1, runs));
        self.tokens.push(Tokens { table: table.map(|(id, ..)| id), axis, along, scale, by_token, answer });
    }

    /// Whether there are tokens to be shown.
    pub(crate) const fn has_tokens(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// The tokens of the answer that can be chosen; none, where no finding tells them apart.
    pub(crate) fn answer(&self) -> &[String] {
        &self.answer
    }

    /// Whether findings are shown by answer token.
    pub(crate) const fn by_token(&self) -> bool {
        !self.answer.is_empty()
    }

    /// Whether there is anything to lay over a picture.
    pub(crate) const fn has_overlays(&self) -> bool {
        !self.overlays.is_empty()
    }

    /// Adds words by depth and position; its number.
    pub(crate) fn lens(
        &mut self,
        words: usize,
        numbers: Option<usize>,
        (rows, columns): (usize, usize),
        rank: Option<usize>,
    ) -> usize {
        self.lenses.push(Lens { words, numbers, rows, columns, rank });
        self.lenses.len() - 1
    }

    /// Adds a map of two axes; its number.
    pub(crate) fn map(&mut self, table: usize, (rows, columns): (usize, usize)) -> usize {
        self.maps.push(Map { table, rows, columns });
        self.maps.len() - 1
    }
}

impl ByTokenData {
    fn of(by_token: &ByToken<'_>) -> Self {
        let values = by_token.table.as_numbers().unwrap_or_default();
        Self {
            from: by_token.from,
            len: by_token.table.axes().first().map_or(0, Axis::len),
            scale: Scale::of(by_token.table.unit(), values),
            numbers: coded(values.iter().map(|v| v.to_le_bytes())),
        }
    }
}

/// The maps of several pictures as one list: what each has at the same position of the other axes belongs together.
fn side_by_side<'a>(pictures: impl Iterator<Item = &'a [Vec<f32>]>) -> Vec<Vec<f32>> {
    let mut maps: Vec<Vec<f32>> = Vec::new();
    for (at, numbers) in pictures.flat_map(|maps| maps.iter().enumerate()) {
        match maps.get_mut(at) {
            Some(map) => map.extend(numbers),
            None => maps.push(numbers.clone()),
        }
    }
    maps
}

impl AxisData {
    fn of(axis: &Axis) -> Self {
        let counted = matches!(axis.labels, Labels::Count(_));
        let labels = (!counted).then(|| (0..axis.len()).filter_map(|i| axis.label(i)).collect());
        let (role, len) = (axis.role.name(), axis.len());
        let Labels::Tokens(tokens) = &axis.labels else {
            return Self {
                role,
                len,
                labels,
                kinds: String::new(),
                ids: Vec::new(),
                times: Vec::new(),
                runs: Vec::new(),
            };
        };
        let heard: Vec<_> = tokens.iter().map(|token| token.heard.map(|heard| heard.describe())).collect();
        let ids: Vec<Option<u32>> = tokens.iter().map(|token| token.id).collect();
        Self {
            role,
            len,
            labels,
            kinds: tokens.iter().map(|token| letter(token.modality)).collect(),
            ids: if ids.iter().any(Option::is_some) { ids } else { Vec::new() },
            times: if heard.iter().any(Option::is_some) { heard } else { Vec::new() },
            runs: runs(tokens),
        }
    }
}

/// The scale of the values at words: of positions that no picture is drawn of. Of all, where there is none of these.
fn of_words(table: &Labelled, along: usize, runs: &[Run]) -> Scale {
    let (step, len) = (stride(table, along), table.axes().get(along).map_or(1, Axis::len).max(1));
    let word = |offset: usize| {
        let position = offset / step.max(1) % len;
        !runs.iter().any(|run| run.to > run.from + 1 && (run.from..run.to).contains(&position))
    };
    let numbers = table.as_numbers().unwrap_or_default();
    let words: Vec<f32> =
        numbers.iter().enumerate().filter(|(offset, _)| word(*offset)).map(|(_, value)| *value).collect();
    Scale::of(table.unit(), if words.is_empty() { numbers } else { &words })
}

const fn unit_name(unit: Unit) -> &'static str {
    match unit {
        Unit::None => "",
        unit => unit.name(),
    }
}

const fn letter(modality: Modality) -> char {
    match modality {
        Modality::Image => 'i',
        Modality::Audio => 'a',
        Modality::Video => 'v',
        Modality::Special => 's',
        _ => 't',
    }
}

impl Words {
    fn of(texts: &[String]) -> Self {
        let mut known: BTreeMap<&str, u32> = BTreeMap::new();
        let mut list = Vec::new();
        let mut at = Vec::with_capacity(texts.len());
        let mut next = 0u32;
        for text in texts {
            let number = *known.entry(text).or_insert_with(|| {
                list.push(text.clone());
                next += 1;
                next - 1
            });
            at.push(number.to_le_bytes());
        }
        Self { list, at: coded(at.into_iter()) }
    }
}

fn coded(words: impl Iterator<Item = [u8; 4]>) -> String {
    STANDARD.encode(words.flatten().collect::<Vec<u8>>())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use mmlens_finding::{Axis, Labelled, Role, Unit};

    use super::{Data, Words};

    #[test]
    fn a_word_is_written_once() {
        let words = Words::of(&["a", "b", "a"].map(str::to_owned));
        // 0, 1, 0 as little-endian u32: 00000000 01000000 00000000
        assert_eq!(
            (words.list, words.at.as_str()),
            (vec!["a".to_owned(), "b".to_owned()], "AAAAAAEAAAAAAAAA")
        );
    }

    #[test]
    fn an_axis_is_written_once() {
        let table =
            |name: &str| Labelled::numbers(name, Unit::Logit, vec![Axis::count(Role::Layer, 1)], vec![1.0]);
        let mut data = Data::new(Vec::new(), BTreeMap::new());
        let mut add = |name: &str| data.table(("m", name.to_owned()), &table(name).unwrap(), None);
        assert_eq!([add("a"), add("b")], [0, 1]);
        assert_eq!((data.axes.len(), data.tables[1].axes[0]), (1, 0));
        // 1.0 is 3f800000
        assert_eq!(data.tables[0].numbers.as_deref(), Some("AACAPw=="));
    }
}
