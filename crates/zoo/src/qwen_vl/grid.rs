//! Where patches lie on their pictures, and which of them attend to one another.

use mmlens_core::Grid;

use super::QwenTowerConfig;
use crate::ZooError;

/// A patch of the packed sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Its row on the picture, in patches.
    pub row: usize,
    /// Its column.
    pub col: usize,
    /// Rows and columns of its picture.
    pub size: (usize, usize),
    /// Its frame, counted over all pictures and clips.
    pub frame: usize,
}

/// Every patch in the order the processor writes them: picture by picture, frame by frame, block by block of patches that
/// are merged, row by row within.
pub(super) fn places(grids: &[Grid], merge: usize) -> Vec<Place> {
    let (mut out, mut frame) = (Vec::new(), 0);
    for grid in grids {
        for _ in 0..grid.frames {
            for block in 0..(grid.rows / merge) * (grid.cols / merge) {
                let across = grid.cols / merge;
                let (top, left) = (block / across * merge, block % across * merge);
                for inner in 0..merge * merge {
                    let (row, col) = (top + inner / merge, left + inner % merge);
                    out.push(Place { row, col, size: (grid.rows, grid.cols), frame });
                }
            }
            frame += 1;
        }
    }
    out
}

/// Checks that sizes are whole numbers of merged patches and account for all patches.
///
/// # Errors
/// [`ZooError::Value`] or [`ZooError::Pixels`].
pub(super) fn check(grids: &[Grid], found: &[usize], config: &QwenTowerConfig) -> Result<(), ZooError> {
    let merge = config.merge;
    let odd = |g: &&Grid| {
        g.frames == 0
            || g.rows == 0
            || g.cols == 0
            || !g.rows.is_multiple_of(merge)
            || !g.cols.is_multiple_of(merge)
    };
    if let Some(grid) = grids.iter().find(odd) {
        return Err(ZooError::Value {
            field: "the size of a picture in patches".to_owned(),
            found: format!("{} x {} x {}", grid.frames, grid.rows, grid.cols),
            expected: format!("rows and columns in multiples of {merge}"),
        });
    }
    let expected = vec![grids.iter().map(Grid::patches).sum(), config.values()];
    if found != expected {
        return Err(ZooError::Pixels { found: found.to_vec(), expected });
    }
    Ok(())
}

/// For each patch, the number of the window it lies in. `side` is that of a window, in patches.
pub(super) fn windows(places: &[Place], side: usize) -> Vec<[usize; 3]> {
    places.iter().map(|p| [p.frame, p.row / side, p.col / side]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(frames: usize, rows: usize, cols: usize) -> Grid {
        Grid { frames, rows, cols, seconds: None }
    }

    #[test]
    fn patches_come_block_by_block() {
        let places = places(&[grid(1, 2, 4), grid(2, 2, 2)], 2);
        let at: Vec<_> = places.iter().map(|p| (p.frame, p.row, p.col)).collect();
        assert_eq!(
            &at[..8],
            &[(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1), (0, 0, 2), (0, 0, 3), (0, 1, 2), (0, 1, 3)]
        );
        assert_eq!(
            &at[8..],
            &[(1, 0, 0), (1, 0, 1), (1, 1, 0), (1, 1, 1), (2, 0, 0), (2, 0, 1), (2, 1, 0), (2, 1, 1)]
        );
    }

    #[test]
    fn windows_end_at_the_edge_and_at_the_frame() {
        let places = places(&[grid(2, 2, 6)], 2);
        let windows = windows(&places, 4);
        let mut distinct = windows.clone();
        distinct.dedup();
        assert_eq!(distinct, [[0, 0, 0], [0, 0, 1], [1, 0, 0], [1, 0, 1]]);
        assert_eq!(windows.iter().filter(|w| **w == [0, 0, 0]).count(), 8);
    }
}
