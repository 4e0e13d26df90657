//! The maps of a finding: for each quantity, what of it lies on which picture.

use std::borrow::Cow;

use mmlens_finding::{Axis, Labelled, Unit};

use crate::ReportError;
use crate::composite::{adds, composite};
use crate::heat::{Cells, Heat, Layer, beginnings, union};

/// One quantity, and the tables that hold it: one, or one for each picture or tile.
pub(crate) struct Map<'a> {
    /// What is measured: the name of its tables without the number of their entry.
    pub(crate) name: String,
    pub(crate) unit: Unit,
    parts: Vec<Part<'a>>,
}

/// One of its tables.
struct Part<'a> {
    /// Its number among those given.
    index: usize,
    table: &'a Labelled,
    heat: Heat,
    /// The axes that lie on no picture.
    others: Vec<usize>,
}

/// What a table has on one picture.
pub(crate) struct Laid<'a> {
    pub(crate) table: &'a Labelled,
    /// The axes that lie on pictures.
    pub(crate) axes: &'a [usize],
    /// The axes that lie on none.
    pub(crate) others: &'a [usize],
    pub(crate) cells: &'a Cells,
}

/// What is drawn on one picture.
pub(crate) struct Drawn<'a> {
    /// The number of the table, if it is one of those given; none for one that was put together.
    pub(crate) own: Option<usize>,
    pub(crate) table: Cow<'a, Labelled>,
    /// The axes of the table that lie on pictures.
    pub(crate) axes: Vec<usize>,
    pub(crate) cells: Cells,
    /// What was put together; empty for a table of those given.
    pub(crate) pieces: Vec<Piece>,
    /// Of amounts, what lies on no part of the picture: on what a processor put around it.
    pub(crate) outside: f64,
}

/// What one table has of a map that is put together: in tiles that show the whole picture, or in those that show a part of it.
pub(crate) struct Piece {
    /// The number of the table.
    pub(crate) index: usize,
    /// The axes of the table that lie on pictures.
    pub(crate) axes: Vec<usize>,
    pub(crate) cells: Cells,
    /// Whether its tiles show the whole picture.
    pub(crate) overview: bool,
}

/// A tile that covers this much of what all tiles cover shows the whole picture.
const WHOLE: f32 = 0.95;

/// The maps of some tables, in the order of the first of each. Tables are of one map if they are called alike but for the number
/// of their entry, and have the same unit and the same axes besides those on pictures. Where each lies its labels say.
pub(crate) fn maps<'a>(tables: impl IntoIterator<Item = (usize, &'a Labelled, Heat)>) -> Vec<Map<'a>> {
    let mut maps: Vec<Map<'a>> = Vec::new();
    for (index, table, heat) in tables {
        let (name, unit, others) = (table.quantity(), table.unit(), heat.others(table));
        let part = Part { index, table, heat, others };
        match maps.iter_mut().find(|map| map.name == name && map.unit == unit && map.takes(&part)) {
            Some(map) => map.parts.push(part),
            None => maps.push(Map { name, unit, parts: vec![part] }),
        }
    }
    maps
}

impl<'a> Map<'a> {
    /// One map of some tables, whatever they are called; none of none.
    pub(crate) fn of(tables: impl IntoIterator<Item = (&'a Labelled, Heat)>) -> Option<Self> {
        let part = |(index, (table, heat)): (usize, (&'a Labelled, Heat))| {
            let others = heat.others(table);
            Part { index, table, heat, others }
        };
        let parts: Vec<Part<'a>> = tables.into_iter().enumerate().map(part).collect();
        let first = parts.first()?.table;
        Some(Self { name: first.quantity(), unit: first.unit(), parts })
    }

    /// The same map by answer token, of tables that have one axis more in front; none, if one of them has none.
    pub(crate) fn by_token(&self, of: impl Fn(usize) -> Option<&'a Labelled>) -> Option<Self> {
        let behind = |axes: &[usize]| axes.iter().map(|axis| axis + 1).collect::<Vec<_>>();
        let part = |part: &Part<'a>| {
            let heat = Heat { axes: behind(&part.heat.axes), layers: part.heat.layers.clone() };
            let others = [vec![0], behind(&part.others)].concat();
            Some(Part { index: part.index, table: of(part.index)?, heat, others })
        };
        let parts = self.parts.iter().map(part).collect::<Option<_>>()?;
        Some(Self { name: self.name.clone(), unit: self.unit, parts })
    }

    fn takes(&self, part: &Part<'_>) -> bool {
        self.parts.first().is_some_and(|first| first.free().eq(part.free()))
    }

    /// Numbers of all images it lies on.
    pub(crate) fn images(&self) -> Vec<usize> {
        let mut images: Vec<usize> = self.parts.iter().flat_map(|part| part.heat.images()).collect();
        images.sort_unstable();
        images.dedup();
        images
    }

    /// What is drawn of it on one picture of this size, given by image and frame; nothing, if nothing lies there. The places of
    /// one table that do not overlap are drawn as they are; what overlaps, and what several tables have on the picture,
    /// becomes one map of equal cells, of at most `most` values.
    ///
    /// # Errors
    /// [`ReportError::Table`].
    pub(crate) fn on(
        &self,
        place: (usize, usize),
        size: (u32, u32),
        most: usize,
    ) -> Result<Option<Drawn<'a>>, ReportError> {
        let here: Vec<_> = self.parts.iter().filter_map(|part| Some((part, part.heat.on(place)?))).collect();
        let outside = here.iter().map(|(part, layer)| part.outside(&layer.cells)).sum();
        Ok(match here.as_slice() {
            [] => None,
            [(part, layer)] if !layer.overlap => Some(Drawn {
                own: Some(part.index),
                table: Cow::Borrowed(part.table),
                axes: part.heat.axes.clone(),
                cells: layer.cells.clone(),
                pieces: Vec::new(),
                outside,
            }),
            several => {
                let laid: Vec<Laid<'_>> = several
                    .iter()
                    .map(|(part, layer)| Laid {
                        table: part.table,
                        axes: &part.heat.axes,
                        others: &part.others,
                        cells: &layer.cells,
                    })
                    .collect();
                let made = composite(&self.name, &laid, (place.0, size), most)?;
                let rank = made.table.rank();
                Some(Drawn {
                    own: None,
                    table: Cow::Owned(made.table),
                    axes: vec![rank.saturating_sub(2), rank.saturating_sub(1)],
                    cells: made.cells,
                    pieces: pieces(several),
                    outside,
                })
            }
        })
    }
}

/// What several tables have on one picture, apart by whether a tile shows all of it.
fn pieces(several: &[(&Part<'_>, &Layer)]) -> Vec<Piece> {
    let area = |[x0, y0, x1, y1]: [f32; 4]| (x1 - x0) * (y1 - y0);
    let extents = several.iter().flat_map(|(_, layer)| layer.tiles.iter().map(|(extent, _)| *extent));
    let all = extents.reduce(union).map_or(0.0, area);
    let mut pieces = Vec::new();
    for (part, layer) in several {
        let whole = |extent: [f32; 4]| area(extent) >= WHOLE * all;
        let own = layer.tiles.iter().flat_map(|(extent, count)| std::iter::repeat_n(whole(*extent), *count));
        let own: Vec<bool> = own.collect();
        for overview in [true, false] {
            let cells = match &layer.cells {
                Cells::Boxes(boxes) => {
                    let kept = boxes.iter().zip(&own).filter(|(_, own)| **own == overview);
                    Cells::Boxes(kept.map(|(place, _)| *place).collect())
                }
                grid if own.first() == Some(&overview) => grid.clone(),
                Cells::Grid { .. } => continue,
            };
            if !matches!(&cells, Cells::Boxes(boxes) if boxes.is_empty()) {
                pieces.push(Piece { index: part.index, axes: part.heat.axes.clone(), cells, overview });
            }
        }
    }
    pieces
}

impl Part<'_> {
    /// The axes that lie on no picture, with their labels.
    fn free(&self) -> impl Iterator<Item = &Axis> {
        self.others.iter().filter_map(|axis| self.table.axes().get(*axis))
    }

    /// What of its amounts lies on boxes without an area.
    fn outside(&self, cells: &Cells) -> f64 {
        let numbers = self.table.as_numbers().unwrap_or_default();
        let beginnings = beginnings(self.table, &self.others);
        let bare = |([x0, y0, x1, y1], at): ([f32; 4], usize)| (x1 <= x0 || y1 <= y0).then_some(at);
        let places = cells.each(self.table, &self.heat.axes).into_iter().filter_map(bare);
        let values = places.flat_map(|at| beginnings.iter().filter_map(move |from| numbers.get(from + at)));
        if adds(self.table.unit()) { values.map(|value| f64::from(*value)).sum() } else { 0.0 }
    }
}

impl Drawn<'_> {
    /// The numbers of every map, one for each position of the axes that lie on no picture.
    pub(crate) fn numbers(&self) -> Vec<Vec<f32>> {
        let numbers = self.table.as_numbers().unwrap_or_default();
        let others: Vec<usize> = (0..self.table.rank()).filter(|axis| !self.axes.contains(axis)).collect();
        let places = self.cells.each(&self.table, &self.axes);
        let of_map =
            |from: usize| places.iter().filter_map(|(_, at)| numbers.get(from + at).copied()).collect();
        beginnings(&self.table, &others).into_iter().map(of_map).collect()
    }
}
