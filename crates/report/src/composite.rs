//! One map from many that lie on the same picture: tiles, and the whole beside them.
//!
//! The picture is cut into equal cells. A contribution or share is an amount that lies evenly on its box, so that a cell gets of
//! it what the part of the box within it is of the box; what lies on the same place adds up, and the cells together hold what
//! the boxes hold. Numbers that do not add up (probabilities, cosines, ranks, activations) have their mean instead, over all
//! that lies on a cell.

use mmlens_finding::{Axis, Labelled, Role, Unit};

use crate::ReportError;
use crate::heat::{Cells, beginnings};
use crate::maps::Laid;

/// A map on equal cells.
pub(crate) struct Composite {
    /// The axes that lie on no picture, then row and column.
    pub(crate) table: Labelled,
    pub(crate) cells: Cells,
}

/// Cells and boxes along one side.
struct Side {
    length: f64,
    cells: usize,
}

impl Side {
    /// As many cells as the usual box has room in the side, but none smaller than a pixel.
    fn new(length: u32, mut boxes: Vec<f32>) -> Self {
        boxes.retain(|size| *size > 0.0);
        boxes.sort_by(f32::total_cmp);
        let usual = boxes.get(boxes.len() / 2).copied().map_or(1.0, f64::from);
        let length = f64::from(length.max(1));
        Self { length, cells: whole((length / usual.max(1.0)).round()).clamp(1, whole(length)) }
    }

    fn spans(&self) -> Vec<[f32; 2]> {
        let edge = |at: usize| (at as f64 * self.length / self.cells as f64) as f32;
        (0..self.cells).map(|at| [edge(at), edge(at + 1)]).collect()
    }

    /// The cells that a span lies on, each with how many pixels of it.
    fn under(&self, [from, to]: [f32; 2]) -> impl Iterator<Item = (usize, f64)> {
        let (from, to) = (f64::from(from).max(0.0), f64::from(to).min(self.length));
        let size = self.length / self.cells as f64;
        let first = whole((from / size).floor()).min(self.cells - 1);
        let shared = move |at: usize| (to.min((at + 1) as f64 * size) - from.max(at as f64 * size)).max(0.0);
        (first..self.cells)
            .take_while(move |at| *at == first || *at as f64 * size < to)
            .map(move |at| (at, shared(at)))
    }
}

/// One map of all that several tables have on one picture of this size. They are of one quantity and have the same axes besides
/// those on pictures. It has at most `most` values.
///
/// # Errors
/// [`ReportError::Table`].
pub(crate) fn composite(
    name: &str,
    laid: &[Laid<'_>],
    (image, (width, height)): (usize, (u32, u32)),
    most: usize,
) -> Result<Composite, ReportError> {
    let boxes: Vec<Vec<([f32; 4], usize)>> =
        laid.iter().map(|own| own.cells.each(own.table, own.axes)).collect();
    let sizes = |side: fn(&[f32; 4]) -> f32| boxes.iter().flatten().map(|(bbox, _)| side(bbox)).collect();
    let mut rows = Side::new(height, sizes(|[_, y0, _, y1]| y1 - y0));
    let mut columns = Side::new(width, sizes(|[x0, _, x1, _]| x1 - x0));
    let others: Vec<Axis> = laid.first().map_or_else(Vec::new, |own| {
        own.others.iter().filter_map(|axis| own.table.axes().get(*axis).cloned()).collect()
    });
    let maps: usize = others.iter().map(Axis::len).product();
    let wanted = (rows.cells * columns.cells * maps.max(1)) as f64;
    if wanted > most as f64 {
        let coarser = |cells: usize| whole((cells as f64 * (most as f64 / wanted).sqrt()).floor()).max(1);
        (rows.cells, columns.cells) = (coarser(rows.cells), coarser(columns.cells));
    }
    let each = rows.cells * columns.cells;
    let mut sums = vec![0.0_f64; each * maps];
    let mut shares = vec![0.0_f64; each];
    let unit = laid.first().map_or(Unit::None, |own| own.table.unit());
    let adds = adds(unit);
    for (own, boxes) in laid.iter().zip(&boxes) {
        let numbers = own.table.as_numbers().unwrap_or_default();
        let beginnings = beginnings(own.table, own.others);
        for &([x0, y0, x1, y1], at) in boxes {
            let area = (f64::from(x1) - f64::from(x0)) * (f64::from(y1) - f64::from(y0));
            if area <= 0.0 {
                continue;
            }
            for (row, down) in rows.under([y0, y1]) {
                for (column, across) in columns.under([x0, x1]) {
                    let (cell, pixels) = (row * columns.cells + column, down * across);
                    if pixels <= 0.0 {
                        continue;
                    }
                    let share = if adds { pixels / area } else { pixels };
                    if let Some(slot) = shares.get_mut(cell) {
                        *slot += share;
                    }
                    for (map, from) in beginnings.iter().enumerate() {
                        if let (Some(sum), Some(value)) =
                            (sums.get_mut(map * each + cell), numbers.get(from + at))
                        {
                            *sum += f64::from(*value) * share;
                        }
                    }
                }
            }
        }
    }
    if !adds {
        for (sum, share) in sums.iter_mut().zip(shares.iter().cycle()).filter(|(_, share)| **share > 0.0) {
            *sum /= share;
        }
    }
    let (down, across) = (rows.spans(), columns.spans());
    let own = [Axis::spans(Role::Row, image, down.clone()), Axis::spans(Role::Column, image, across.clone())];
    let axes = others.into_iter().chain(own).collect();
    let values = sums.into_iter().map(|sum| sum as f32).collect();
    let table = Labelled::numbers(name, unit, axes, values)?;
    Ok(Composite { table, cells: Cells::Grid { rows: down, columns: across } })
}

/// Whether numbers of a unit are amounts, of which two in one place are more than one.
pub(crate) const fn adds(unit: Unit) -> bool {
    matches!(unit, Unit::Logit | Unit::Nat | Unit::Ratio | Unit::Gradient | Unit::None)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and what is below zero is no place"
)]
fn whole(x: f64) -> usize {
    x as usize
}
