//! How what a tower is given lies in rows and columns, whether that are pictures, tiles, patches or spectrograms, and how some of it is
//! exchanged.

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::{Bool, Tensor, TensorData};
use mmlens_core::{AnyTensor, Inputs, Part};

use super::UnitError;
use crate::sweep::Given;
use crate::{reshaped, unfolded};

/// A part of an entry of a tower's batch (a picture, tile, clip or recording).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Piece {
    /// Whose batch.
    pub(super) tower: Part,
    /// Which entry.
    pub(super) entry: usize,
    pub(super) area: Area,
}

/// Which pixels of an entry; of a recording, which filters and frames.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Area {
    /// A rectangle, in every frame.
    Box { rows: Range<usize>, cols: Range<usize> },
    /// Pixels of one label, `[height, width]`, in every frame.
    Label { labels: Arc<Vec<u32>>, label: u32 },
    /// A rectangle in some steps of time.
    Steps { steps: Range<usize>, rows: Range<usize>, cols: Range<usize> },
}

/// What a tower is given of a sample, and how it lies.
#[derive(Debug, Clone)]
pub(super) struct Canvas {
    pub(super) tower: Part,
    pub(super) values: AnyTensor,
    /// How many values a pixel has.
    deep: usize,
    sheets: Vec<Sheet>,
    /// Of a tower that is given patches: the side of one.
    patches: Option<usize>,
}

/// One entry.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sheet {
    pub(super) steps: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    /// Row and column, in patches, of each patch of a step, in the order of the tower; empty for pictures.
    places: Vec<(usize, usize)>,
}

impl Canvas {
    /// What a tower is given by inputs of one row; `None` where that is nothing.
    ///
    /// # Errors
    /// [`UnitError::Pixels`] for pixels whose place cannot be told.
    pub(super) fn of(inputs: &Inputs, tower: Part) -> Result<Option<Self>, UnitError> {
        let own = inputs.entries(tower);
        let Some((own, values)) = own.and_then(|own| Some((own, own.values.clone()?))) else {
            return Ok(None);
        };
        let found = values.dims();
        let (deep, sheets, patches) = match *found {
            [entries, deep, height, width] => {
                (deep, vec![Sheet { steps: 1, height, width, places: Vec::new() }; entries], None)
            }
            [entries, height, width] => {
                (1, vec![Sheet { steps: 1, height, width, places: Vec::new() }; entries], None)
            }
            [patches, numbers] if !own.grids.is_empty() => {
                let none = || UnitError::Pixels { found: found.clone() };
                let (sheets, side) = sheets(inputs, patches).ok_or_else(none)?;
                match numbers.checked_rem(side * side) {
                    Some(0) => (numbers / (side * side), sheets, Some(side)),
                    _ => return Err(none()),
                }
            }
            _ => return Err(UnitError::Pixels { found }),
        };
        Ok(Some(Self { tower, values, deep, sheets, patches }))
    }

    /// What every tower is given that is given something.
    ///
    /// # Errors
    /// As [`Canvas::of`].
    pub(super) fn all(inputs: &Inputs) -> Result<Vec<Self>, UnitError> {
        Part::TOWERS.into_iter().filter_map(|tower| Self::of(inputs, tower).transpose()).collect()
    }

    pub(super) fn sheets(&self) -> &[Sheet] {
        &self.sheets
    }

    /// Where the values of a piece stand among all, of what is given one value a pixel, entry by entry.
    pub(super) fn cells(&self, piece: &Piece) -> Vec<usize> {
        let Some(sheet) = self.sheets.get(piece.entry) else { return Vec::new() };
        let size = |sheet: &Sheet| sheet.height * sheet.width;
        let before: usize = self.sheets.iter().take(piece.entry).map(size).sum();
        let mut mask = vec![false; size(sheet)];
        sheet.mark(&piece.area, &mut mask);
        mask.iter().enumerate().filter(|(_, own)| **own).map(|(at, _)| before + at).collect()
    }

    /// The values with those of some pieces taken from others: in the order given, each piece from the values beside it, which have the
    /// shape of these. Of pictures and recordings, those entries alone that change.
    ///
    /// # Errors
    /// [`UnitError::Subject`] for values of another shape.
    pub(super) fn exchanged(&self, pieces: &[(&Piece, &AnyTensor)]) -> Result<Given, UnitError> {
        let (entries, values) = match self.patches {
            None => self.one_by_one(pieces)?,
            Some(side) => self.packed(pieces, side)?,
        };
        Ok(Given { tower: self.tower, entries, values })
    }

    /// At every pixel a share of what is there, and of the fill, which has the shape of these values, the rest. The share is asked for by entry,
    /// row and column, and is the same in every frame.
    ///
    /// # Errors
    /// [`UnitError::Pixels`] for a pixel that has no share; [`UnitError::Subject`] for a fill of another shape.
    pub(super) fn blended(
        &self,
        share: &dyn Fn(usize, usize, usize) -> Option<f32>,
        fill: &AnyTensor,
    ) -> Result<Given, UnitError> {
        let dims = self.values.dims();
        let none = || UnitError::Pixels { found: dims.clone() };
        let entries: Vec<usize> = (0..self.sheets.len()).collect();
        let device = |x: &Tensor<3>| x.device().without_autodiff();
        let deep = self.deep;
        let (rows, each) = match (self.patches, self.sheets.first()) {
            (None, sheet) => (self.sheets.len(), sheet.map_or(0, |sheet| sheet.height * sheet.width)),
            (Some(side), _) => (*dims.first().ok_or_else(none)?, side * side),
        };
        let mut shares = Vec::with_capacity(rows * each);
        for (entry, sheet) in self.sheets.iter().enumerate() {
            let at = |row: usize, col: usize| share(entry, row, col).ok_or_else(none);
            match self.patches {
                None => {
                    for row in 0..sheet.height {
                        for col in 0..sheet.width {
                            shares.push(at(row, col)?);
                        }
                    }
                }
                Some(side) => {
                    for (down, across) in (0..sheet.steps).flat_map(|_| &sheet.places) {
                        for row in down * side..(down + 1) * side {
                            for col in across * side..(across + 1) * side {
                                shares.push(at(row, col)?);
                            }
                        }
                    }
                }
            }
        }
        let x: Tensor<3> = reshaped(self.values.clone(), [rows, deep, each])?;
        let fill: Tensor<3> = reshaped(fill.clone(), [rows, deep, each])?;
        let shares = Tensor::<3>::from_data(TensorData::new(shares, [rows, 1, each]), &device(&x));
        let mixed = fill.clone() + (x - fill) * shares;
        Ok(Given { tower: self.tower, entries, values: Some(unfolded(mixed, &dims)?) })
    }

    fn one_by_one(&self, pieces: &[(&Piece, &AnyTensor)]) -> Result<Changed, UnitError> {
        let mut entries: Vec<usize> = pieces.iter().map(|(piece, _)| piece.entry).collect();
        entries.sort_unstable();
        entries.dedup();
        let mut changed: Vec<Tensor<4>> = Vec::new();
        for &entry in &entries {
            let Some(sheet) = self.sheets.get(entry) else { continue };
            let size = [1, self.deep, sheet.height, sheet.width];
            let mut x: Tensor<4> = reshaped(self.values.rows(entry, 1)?, size)?;
            let own: Vec<_> = pieces.iter().filter(|(piece, _)| piece.entry == entry).copied().collect();
            for (fill, masks) in by_fill(&own) {
                let mut mask = vec![false; sheet.height * sheet.width];
                masks.into_iter().for_each(|piece| sheet.mark(&piece.area, &mut mask));
                let mask = TensorData::new(mask, [1, 1, sheet.height, sheet.width]);
                let mask = Tensor::<4, Bool>::from_data(mask, &x.device().without_autodiff());
                let fill: Tensor<4> = reshaped(fill.rows(entry, 1)?, size)?;
                x = x.mask_where(mask.expand(size), fill);
            }
            changed.push(x);
        }
        if changed.is_empty() {
            return Ok((entries, None));
        }
        let mut dims = self.values.dims();
        if let Some(first) = dims.first_mut() {
            *first = changed.len();
        }
        Ok((entries, Some(unfolded(Tensor::cat(changed, 0), &dims)?)))
    }

    fn packed(&self, pieces: &[(&Piece, &AnyTensor)], side: usize) -> Result<Changed, UnitError> {
        let (dims, deep) = (self.values.dims(), self.deep);
        let patches = dims.first().copied().unwrap_or(0);
        let each = side * side;
        let mut x: Tensor<3> = reshaped(self.values.clone(), [patches, deep, each])?;
        for (fill, own) in by_fill(pieces) {
            let mut mask = Vec::with_capacity(patches * each);
            for (entry, sheet) in self.sheets.iter().enumerate() {
                let mut sides = vec![false; sheet.steps * sheet.height * sheet.width];
                own.iter().filter(|p| p.entry == entry).for_each(|p| sheet.mark(&p.area, &mut sides));
                for step in 0..sheet.steps {
                    for (row, col) in &sheet.places {
                        for y in row * side..(row + 1) * side {
                            let from = (step * sheet.height + y) * sheet.width + col * side;
                            mask.extend_from_slice(sides.get(from..from + side).unwrap_or_default());
                        }
                    }
                }
            }
            let mask = TensorData::new(mask, [patches, 1, each]);
            let mask = Tensor::<3, Bool>::from_data(mask, &x.device().without_autodiff());
            let fill: Tensor<3> = reshaped(fill.clone(), [patches, deep, each])?;
            let wide = x.dims();
            x = x.mask_where(mask.expand(wide), fill);
        }
        Ok(((0..self.sheets.len()).collect(), Some(unfolded(x, &dims)?)))
    }
}

/// Which entries are changed, and their values.
type Changed = (Vec<usize>, Option<AnyTensor>);

/// Pieces by the pixels they are taken from, in the order in which these first come.
fn by_fill<'a>(pieces: &[(&'a Piece, &'a AnyTensor)]) -> Vec<(&'a AnyTensor, Vec<&'a Piece>)> {
    let mut groups: Vec<(&AnyTensor, Vec<&Piece>)> = Vec::new();
    for (piece, fill) in pieces {
        match groups.iter_mut().find(|(known, _)| std::ptr::eq(*known, *fill)) {
            Some((_, own)) => own.push(piece),
            None => groups.push((fill, vec![piece])),
        }
    }
    groups
}

impl Sheet {
    /// Marks the pixels of an area, `[step, height, width]`.
    fn mark(&self, area: &Area, mask: &mut [bool]) {
        let (all, within) =
            (0..self.steps, |steps: &Range<usize>, rows: &Range<usize>, cols: &Range<usize>| {
                let mut lines = Vec::new();
                for step in steps.clone() {
                    for row in rows.clone() {
                        let from = (step * self.height + row) * self.width;
                        lines.push(from + cols.start..from + cols.end);
                    }
                }
                lines
            });
        let lines = match area {
            Area::Box { rows, cols } => within(&all, rows, cols),
            Area::Steps { steps, rows, cols } => within(steps, rows, cols),
            Area::Label { labels, label } => {
                let own = |(slot, found): (&mut bool, &u32)| *slot |= found == label;
                mask.chunks_mut((self.height * self.width).max(1)).for_each(|step| {
                    step.iter_mut().zip(labels.iter()).for_each(own);
                });
                Vec::new()
            }
        };
        for line in lines {
            if let Some(line) = mask.get_mut(line) {
                line.fill(true);
            }
        }
    }
}

/// The entries of a tower that is given patches, and the side of a patch.
fn sheets(inputs: &Inputs, patches: usize) -> Option<(Vec<Sheet>, usize)> {
    let map = inputs.map();
    let (mut sheets, mut from, mut sides) = (Vec::new(), 0, Vec::new());
    for (grid, view) in inputs.seen.grids.iter().zip(map.views_of(Part::Vision)) {
        let each = grid.rows * grid.cols;
        let places = map.patches.get(from..from + each)?.iter().map(|patch| (patch.row, patch.col));
        sides.push(view.rows.len().checked_div(grid.rows)?);
        let (height, width) = (view.rows.len(), view.cols.len());
        sheets.push(Sheet { steps: grid.frames, height, width, places: places.collect() });
        from += grid.frames * each;
    }
    let side = *sides.first()?;
    (from == patches && side > 0 && sides.iter().all(|own| *own == side)).then_some((sheets, side))
}
