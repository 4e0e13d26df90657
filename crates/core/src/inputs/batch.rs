//! The parts of what a model takes, and whether they belong together.

use std::ops::Range;
use std::sync::Arc;

use super::TokenMap;
use crate::{AnyTensor, SubjectError};

/// Which positions the output is computed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogitsAt {
    /// The last only.
    #[default]
    Last,
    /// All of them.
    All,
}

/// Sizes of one picture, tile or clip of the pixel batch, counted in patches, where they differ.
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

/// The parts of what a model takes; [`Inputs`](super::Inputs) are those that belong together. Decoders pad shorter rows on the left, encoders of text on the right.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Token ids of each row, placeholders expanded, all of one length.
    pub ids: Vec<Vec<u32>>,
    /// How many of a row's positions, at its start, are padding.
    pub pads: Vec<usize>,
    /// How many of a row's positions, at its end, are padding.
    pub tails: Vec<usize>,
    /// What each row's positions are.
    pub maps: Vec<Arc<TokenMap>>,
    /// The pictures and tiles of the batch, `[image, channel, height, width]`. Each is computed once, however many
    /// rows show it.
    pub pixels: Option<AnyTensor>,
    /// One for each picture of the pixel batch, where they may differ in size; else empty.
    pub grids: Vec<Grid>,
    /// For each picture of the pixel batch the mean colour of the original picture (or clip) that it shows, in the numbers the
    /// tower is given: red, green, blue. Tiles of one picture have the same. Empty where that is not known.
    pub colours: Vec<[f32; 3]>,
    /// For each row, its entries of `pixels` (of `grids`, where there are any), in the order of their placeholders.
    pub images: Vec<Vec<usize>>,
    /// Which positions the output is computed for.
    pub logits_at: LogitsAt,
}

impl Grid {
    /// Its patches.
    pub fn patches(&self) -> usize {
        self.frames * self.rows * self.cols
    }
}

impl Batch {
    /// Where the positions of each picture lie, where all pictures are one sequence of so many positions: as many patches as were
    /// merged are one of them.
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

    /// Number of prompts.
    pub fn rows(&self) -> usize {
        self.ids.len()
    }

    /// Number of positions, padding included.
    pub fn positions(&self) -> usize {
        self.ids.first().map_or(0, Vec::len)
    }

    /// Number of pictures, tiles and clips the batch shows.
    pub fn pictures(&self) -> usize {
        let first = self.pixels.as_ref().and_then(|p| p.dims().first().copied());
        if self.grids.is_empty() { first.unwrap_or(0) } else { self.grids.len() }
    }

    /// Checks that the parts belong together, so that a model may rely on it.
    ///
    /// # Errors
    /// [`SubjectError::Batch`] naming what does not fit.
    pub(super) fn check(&self) -> Result<(), SubjectError> {
        let fail = |reason: String| Err(SubjectError::Batch { reason });
        let (rows, len) = (self.rows(), self.positions());
        if rows == 0 || (len == 0 && self.pixels.is_none()) {
            return fail("the batch has no positions".to_owned());
        }
        if [self.pads.len(), self.tails.len(), self.maps.len(), self.images.len()] != [rows; 4] {
            return fail(format!(
                "{rows} rows, but {} and {} pads, {} maps, {} picture lists",
                self.pads.len(),
                self.tails.len(),
                self.maps.len(),
                self.images.len()
            ));
        }
        if let Some((row, ids)) = self.ids.iter().enumerate().find(|(_, ids)| ids.len() != len) {
            return fail(format!("row {row} has {} positions, row 0 has {len}", ids.len()));
        }
        let padding = self.pads.iter().zip(&self.tails).map(|(pad, tail)| pad + tail);
        if let Some((row, pad)) = padding.enumerate().find(|(_, pad)| len > 0 && *pad >= len) {
            return fail(format!("row {row} is padded by {pad} of {len} positions"));
        }
        let pictures = self.pictures();
        if let Some(bad) = self.images.iter().flatten().find(|i| **i >= pictures) {
            return fail(format!("picture {bad} is named, there are {pictures}"));
        }
        if let Some((row, map)) = self.maps.iter().enumerate().find(|(_, map)| map.len() > len) {
            return fail(format!("row {row} has {len} positions, but {} labels", map.len()));
        }
        let patches: usize = self.grids.iter().map(Grid::patches).sum();
        if let (false, Some(found)) =
            (self.grids.is_empty(), self.pixels.as_ref().and_then(|p| p.dims().first().copied()))
            && found != patches
        {
            return fail(format!("the pictures have {patches} patches, the pixels {found}"));
        }
        if !self.colours.is_empty() && self.colours.len() != pictures {
            return fail(format!("{} mean colours, but {pictures} pictures", self.colours.len()));
        }
        Ok(())
    }
}
