//! How pixels given to a tower lie in rows and columns, whether it is given pictures, tiles or patches, and how some are exchanged.

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::{Bool, Tensor, TensorData};
use mmlens_core::{AnyTensor, Inputs};

use super::UnitError;
use crate::sweep::Shown;
use crate::{reshaped, unfolded};

/// A part of an entry of the pixel batch (a picture, tile or clip).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Piece {
    /// Which entry.
    pub(super) entry: usize,
    pub(super) area: Area,
}

/// Which pixels of an entry.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Area {
    /// A rectangle, in every frame.
    Box { rows: Range<usize>, cols: Range<usize> },
    /// Pixels of one label, `[height, width]`, in every frame.
    Label { labels: Arc<Vec<u32>>, label: u32 },
    /// A rectangle in some steps of time.
    Steps { steps: Range<usize>, rows: Range<usize>, cols: Range<usize> },
}

/// The pixels of a sample and how they lie.
#[derive(Debug, Clone)]
pub(super) struct Canvas {
    pub(super) pixels: AnyTensor,
    sheets: Vec<Sheet>,
    /// Of a tower that is given patches: how many values of a patch are of one pixel, and its side.
    patches: Option<(usize, usize)>,
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
    /// The pixels of inputs of one row; `None` where there are none.
    ///
    /// # Errors
    /// [`UnitError::Pixels`] for pixels whose place cannot be told.
    pub(super) fn of(inputs: &Inputs) -> Result<Option<Self>, UnitError> {
        let Some(pixels) = inputs.pixels.clone() else { return Ok(None) };
        let found = pixels.dims();
        match *found {
            [entries, _, height, width] => {
                let sheet = Sheet { steps: 1, height, width, places: Vec::new() };
                Ok(Some(Self { pixels, sheets: vec![sheet; entries], patches: None }))
            }
            [patches, values] if !inputs.grids.is_empty() => {
                let (sheets, side) = sheets(inputs, patches).ok_or(UnitError::Pixels { found })?;
                match values.checked_rem(side * side) {
                    Some(0) => {
                        Ok(Some(Self { pixels, sheets, patches: Some((values / (side * side), side)) }))
                    }
                    _ => Err(UnitError::Pixels { found: vec![patches, values] }),
                }
            }
            _ => Err(UnitError::Pixels { found }),
        }
    }

    pub(super) fn sheets(&self) -> &[Sheet] {
        &self.sheets
    }

    /// The pixels with those of some pieces taken from others: in the order given, each piece from the pixels beside it, which have the
    /// shape of these. Of pictures, those entries alone that change.
    ///
    /// # Errors
    /// [`UnitError::Subject`] for pixels of another shape.
    pub(super) fn exchanged(&self, pieces: &[(&Piece, &AnyTensor)]) -> Result<Shown, UnitError> {
        match self.patches {
            None => self.pictures(pieces),
            Some((deep, side)) => self.packed(pieces, deep, side),
        }
    }

    /// At every pixel a share of what is there, and of the fill, which has the shape of these pixels, the rest. The share is asked for by entry,
    /// row and column, and is the same in every frame.
    ///
    /// # Errors
    /// [`UnitError::Pixels`] for a pixel that has no share; [`UnitError::Subject`] for a fill of another shape.
    pub(super) fn blended(
        &self,
        share: &dyn Fn(usize, usize, usize) -> Option<f32>,
        fill: &AnyTensor,
    ) -> Result<Shown, UnitError> {
        let dims = self.pixels.dims();
        let none = || UnitError::Pixels { found: dims.clone() };
        let entries: Vec<usize> = (0..self.sheets.len()).collect();
        let device = |x: &Tensor<3>| x.device().without_autodiff();
        let (rows, deep, each) = match self.patches {
            None => (self.sheets.len(), *dims.get(1).ok_or_else(none)?, dims.iter().skip(2).product()),
            Some((deep, side)) => (*dims.first().ok_or_else(none)?, deep, side * side),
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
                Some((_, side)) => {
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
        let x: Tensor<3> = reshaped(self.pixels.clone(), [rows, deep, each])?;
        let fill: Tensor<3> = reshaped(fill.clone(), [rows, deep, each])?;
        let shares = Tensor::<3>::from_data(TensorData::new(shares, [rows, 1, each]), &device(&x));
        let mixed = fill.clone() + (x - fill) * shares;
        Ok(Shown { entries, pixels: Some(unfolded(mixed, &dims)?) })
    }

    fn pictures(&self, pieces: &[(&Piece, &AnyTensor)]) -> Result<Shown, UnitError> {
        let mut entries: Vec<usize> = pieces.iter().map(|(piece, _)| piece.entry).collect();
        entries.sort_unstable();
        entries.dedup();
        let mut changed: Vec<Tensor<4>> = Vec::new();
        for &entry in &entries {
            let mut x: Tensor<4> = self.pixels.rows(entry, 1)?.rank_of("a picture")?;
            let Some(sheet) = self.sheets.get(entry) else { continue };
            let own: Vec<_> = pieces.iter().filter(|(piece, _)| piece.entry == entry).copied().collect();
            for (fill, masks) in by_fill(&own) {
                let mut mask = vec![false; sheet.height * sheet.width];
                masks.into_iter().for_each(|piece| sheet.mark(&piece.area, &mut mask));
                let mask = TensorData::new(mask, [1, 1, sheet.height, sheet.width]);
                let mask = Tensor::<4, Bool>::from_data(mask, &x.device().without_autodiff());
                let fill: Tensor<4> = fill.rows(entry, 1)?.rank_of("a picture")?;
                let wide = x.dims();
                x = x.mask_where(mask.expand(wide), fill);
            }
            changed.push(x);
        }
        let pixels = if changed.is_empty() { None } else { Some(AnyTensor::new(Tensor::cat(changed, 0))) };
        Ok(Shown { entries, pixels })
    }

    fn packed(&self, pieces: &[(&Piece, &AnyTensor)], deep: usize, side: usize) -> Result<Shown, UnitError> {
        let dims = self.pixels.dims();
        let patches = dims.first().copied().unwrap_or(0);
        let each = side * side;
        let mut x: Tensor<3> = reshaped(self.pixels.clone(), [patches, deep, each])?;
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
        let entries = (0..self.sheets.len()).collect();
        Ok(Shown { entries, pixels: Some(unfolded(x, &dims)?) })
    }
}

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
    for (grid, view) in inputs.grids.iter().zip(&map.views) {
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
