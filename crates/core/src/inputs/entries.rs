//! What a tower is given: pictures or recordings, each once, however many rows show or play it.

use std::ops::Range;

use burn::tensor::Tensor;

use crate::{AnyTensor, HookError, Part, Site, SubjectError};

/// Sizes of one entry of a tower's batch, counted in patches, where they differ.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grid {
    /// Steps in time; 1 for a picture.
    pub frames: usize,
    /// Rows of patches.
    pub rows: usize,
    /// Columns of patches.
    pub cols: usize,
    /// For a clip, the seconds from one step to the next.
    pub seconds: Option<f64>,
}

impl Grid {
    /// Its patches.
    pub fn patches(&self) -> usize {
        self.frames * self.rows * self.cols
    }
}

/// What a tower is given. Each entry is computed once, however many rows show it.
#[derive(Debug, Clone, Default)]
pub struct Entries {
    /// Of pictures and tiles `[image, channel, height, width]`, or the patches of all, `[pos, values of a patch]`; of recordings their
    /// log-mel spectrograms, `[clip, mel, frame]`, the lowest filter first. None where there is no entry.
    pub values: Option<AnyTensor>,
    /// One for each entry, where they may differ in size; else empty.
    pub grids: Vec<Grid>,
    /// For each entry the means of what it shows, in the numbers the tower is given: of a picture (or clip) its mean colour, red, green and
    /// blue, over all of the original, the same for all its tiles; of a recording the mean of every filter, the lowest first, over
    /// the frames of the sound. Empty where that is not known.
    pub means: Vec<Vec<f32>>,
    /// For each row, its entries (of `grids`, where there are any), in the order of their placeholders. Where it is left empty, no row has any.
    pub of_rows: Vec<Vec<usize>>,
}

impl Entries {
    /// How many there are.
    pub fn len(&self) -> usize {
        let first = self.values.as_ref().and_then(|values| values.dims().first().copied());
        if self.grids.is_empty() { first.unwrap_or(0) } else { self.grids.len() }
    }

    /// Whether the tower has nothing to compute.
    pub fn is_empty(&self) -> bool {
        self.values.is_none()
    }

    /// The entries of a row, in the order of their placeholders.
    pub fn of_row(&self, row: usize) -> &[usize] {
        self.of_rows.get(row).map_or(&[], Vec::as_slice)
    }

    /// Where the positions of each entry lie, where all are one sequence of so many positions: as many patches as were merged are
    /// one of them.
    pub fn in_sequence(&self, length: usize) -> Vec<Range<usize>> {
        let merged = (self.grids.iter().map(Grid::patches).sum::<usize>() / length.max(1)).max(1);
        let mut from = 0;
        let next = |grid: &Grid| {
            let own = from..from + grid.patches() / merged;
            from = own.end;
            own
        };
        self.grids.iter().map(next).collect()
    }

    /// For each entry the first row that shows it, and which of the row's own it is.
    pub(crate) fn owners(&self) -> Vec<Option<(usize, usize)>> {
        let mut owners = vec![None; self.len()];
        for (row, entries) in self.of_rows.iter().enumerate() {
            for (own, entry) in entries.iter().enumerate() {
                if let Some(slot @ None) = owners.get_mut(*entry) {
                    *slot = Some((row, own));
                }
            }
        }
        owners
    }

    /// The entries of rows, in their order; the entries stay as they are.
    pub(super) fn rows(&self, rows: impl Iterator<Item = usize>) -> Self {
        Self { of_rows: rows.map(|row| self.of_row(row).to_vec()).collect(), ..self.clone() }
    }

    /// These entries `times` over, of which each copy of the rows has its own. `of_rows` is of all copies.
    ///
    /// # Errors
    /// [`HookError::Values`] if the values cannot be repeated.
    pub(super) fn apart(mut self, times: usize) -> Result<Self, HookError> {
        if let Some(values) = &self.values {
            let (own, rows) = (self.len(), (self.of_rows.len() / times.max(1)).max(1));
            self.values = Some(values.repeat_rows(times)?);
            self.grids = self.grids.repeat(times);
            self.means = (0..times).flat_map(|_| self.means.clone()).collect();
            for (row, entries) in self.of_rows.iter_mut().enumerate() {
                entries.iter_mut().for_each(|entry| *entry += row / rows * own);
            }
        }
        Ok(self)
    }

    /// Those of several batches, one after the other, each with so many rows.
    ///
    /// # Errors
    /// [`SubjectError::Batch`] if they differ in size.
    pub(super) fn joined(all: &[(&Self, usize)], part: Part) -> Result<Self, SubjectError> {
        let mut out = Self::default();
        let (mut values, mut offset) = (Vec::new(), 0);
        for (own, rows) in all {
            let moved = |row| own.of_row(row).iter().map(|entry| entry + offset).collect();
            out.of_rows.extend((0..*rows).map(moved));
            if let Some(those) = &own.values {
                offset += own.len();
                out.grids.extend(&own.grids);
                out.means.extend(own.means.iter().cloned());
                values.push(those.clone());
            }
        }
        out.values = concatenate(&values, part)?;
        Ok(out)
    }

    /// That they belong together, and with so many rows.
    ///
    /// # Errors
    /// [`SubjectError::Batch`] naming what does not fit.
    pub(super) fn check(&self, part: Part, rows: usize) -> Result<(), SubjectError> {
        let fail = |reason: String| Err(SubjectError::Batch { reason });
        let (entries, names) = (self.len(), Names::of(part));
        if self.of_rows.len() != rows {
            return fail(format!("{rows} rows, but {} lists of {}", self.of_rows.len(), names.many));
        }
        if let Some(bad) = self.of_rows.iter().flatten().find(|i| **i >= entries) {
            return fail(format!("{} {bad} is named, there are {entries}", names.one));
        }
        let patches: usize = self.grids.iter().map(Grid::patches).sum();
        if let (false, Some(found)) =
            (self.grids.is_empty(), self.values.as_ref().and_then(|p| p.dims().first().copied()))
            && found != patches
        {
            return fail(format!("the {} have {patches} patches, the {} {found}", names.many, names.values));
        }
        if !self.means.is_empty() && self.means.len() != entries {
            return fail(format!("{} mean {}, but {entries} {}", self.means.len(), names.means, names.many));
        }
        Ok(())
    }
}

/// What entries of a tower are called.
struct Names {
    one: &'static str,
    many: &'static str,
    values: &'static str,
    means: &'static str,
}

impl Names {
    fn of(part: Part) -> Self {
        match part {
            Part::Audio => {
                Self { one: "recording", many: "recordings", values: "spectrograms", means: "spectra" }
            }
            _ => Self { one: "picture", many: "pictures", values: "pixels", means: "colours" },
        }
    }
}

fn concatenate(all: &[AnyTensor], part: Part) -> Result<Option<AnyTensor>, SubjectError> {
    let Some(first) = all.first() else { return Ok(None) };
    if all.len() == 1 {
        return Ok(Some(first.clone()));
    }
    let size = first.dims().get(1..).map(<[usize]>::to_vec);
    if let Some(other) = all.iter().find(|p| p.dims().get(1..).map(<[usize]>::to_vec) != size) {
        let reason = format!(
            "{} of sizes {:?} and {:?} cannot share a batch",
            Names::of(part).many,
            first.dims(),
            other.dims()
        );
        return Err(SubjectError::Batch { reason });
    }
    let join = match first.rank() {
        2 => cat::<2>,
        3 => cat::<3>,
        4 => cat::<4>,
        _ => cat::<5>,
    };
    let place = part.entrance().unwrap_or(Site::of(part, crate::Point::Input));
    Ok(Some(join(all, place)?))
}

fn cat<const D: usize>(all: &[AnyTensor], place: Site) -> Result<AnyTensor, HookError> {
    let tensors: Result<Vec<_>, HookError> = all.iter().map(|p| p.clone().rank_of::<D>(place)).collect();
    Ok(Tensor::cat(tensors?, 0).into())
}
