//! What the script of the page is given: tables and axes, each once, as JSON.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mmlens_finding::{Axis, Labelled, Labels, Modality, Unit, Values};
use serde::Serialize;

use crate::colour::{Ground, table};
use crate::heat::{Cells, stride};
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
    layers: Vec<OverlayLayer>,
}

/// What a heat map has on one picture.
#[derive(Debug, Serialize)]
struct OverlayLayer {
    picture: usize,
    cells: usize,
    table: usize,
    /// The axes of the table that lie on pictures.
    axes: Vec<usize>,
}

/// What is to be laid over a picture.
pub(crate) struct OverPicture {
    /// Number of the picture.
    pub(crate) picture: usize,
    /// Number of the table.
    pub(crate) table: usize,
    pub(crate) axes: Vec<usize>,
    pub(crate) cells: Cells,
    /// One list of numbers for each position of the other axes.
    pub(crate) numbers: Vec<Vec<f32>>,
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
    /// The colour maps, and nothing else yet.
    pub(crate) fn new() -> Self {
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
            seen: Vec::new(),
        }
    }

    /// Adds a table; its number.
    pub(crate) fn table(&mut self, method: &str, table: &Labelled) -> usize {
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
            name: table.name().to_owned(),
            unit: unit_name(table.unit()),
            shape: table.shape(),
            axes,
            scale,
            numbers,
            words,
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
        let mut maps: Vec<Vec<f32>> = Vec::new();
        for (at, numbers) in over.iter().flat_map(|layer| layer.numbers.iter().enumerate()) {
            match maps.get_mut(at) {
                Some(map) => map.extend(numbers),
                None => maps.push(numbers.clone()),
            }
        }
        let scale = Scale::of_maps(unit, &maps);
        let layers = over.into_iter().map(|OverPicture { picture, table, axes, cells, .. }| OverlayLayer {
            picture,
            cells: self.cells(cells),
            table,
            axes,
        });
        let layers: Vec<OverlayLayer> = layers.collect();
        if !layers.is_empty() {
            let (method, unit) = (method.to_owned(), unit_name(unit));
            self.overlays.push(Overlay { method, name, unit, scale, layers });
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
        table: Option<(usize, &Labelled)>,
        axis: &Axis,
        along: usize,
        answer: Option<usize>,
    ) {
        let axis = self.axis(axis);
        let scale = table.map(|(_, table)| {
            let runs = self.axes.get(axis).map_or(&[][..], |axis| axis.runs.as_slice());
            of_words(table, along, runs)
        });
        self.tokens.push(Tokens { table: table.map(|(id, _)| id), axis, along, scale, answer });
    }

    /// Whether there are tokens to be shown.
    pub(crate) const fn has_tokens(&self) -> bool {
        !self.tokens.is_empty()
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

impl AxisData {
    fn of(axis: &Axis) -> Self {
        let counted = matches!(axis.labels, Labels::Count(_));
        let labels = (!counted).then(|| (0..axis.len()).filter_map(|i| axis.label(i)).collect());
        let (role, len) = (axis.role.name(), axis.len());
        let Labels::Tokens(tokens) = &axis.labels else {
            return Self { role, len, labels, kinds: String::new(), ids: Vec::new(), runs: Vec::new() };
        };
        let ids: Vec<Option<u32>> = tokens.iter().map(|token| token.id).collect();
        Self {
            role,
            len,
            labels,
            kinds: tokens.iter().map(|token| letter(token.modality)).collect(),
            ids: if ids.iter().any(Option::is_some) { ids } else { Vec::new() },
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
        let table = |name| Labelled::numbers(name, Unit::Logit, vec![Axis::count(Role::Layer, 1)], vec![1.0]);
        let mut data = Data::new();
        assert_eq!(data.table("m", &table("a").unwrap()), 0);
        assert_eq!(data.table("m", &table("b").unwrap()), 1);
        assert_eq!((data.axes.len(), data.tables[1].axes[0]), (1, 0));
        // 1.0 is 3f800000
        assert_eq!(data.tables[0].numbers.as_deref(), Some("AACAPw=="));
    }
}
