//! Parts of a matrix that threads write side by side.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Some columns of a matrix that is stored row by row, for writing. They may hold nothing yet.
pub(super) struct Columns<'a> {
    start: *mut f32,
    rows: usize,
    width: usize,
    columns: Range<usize>,
    matrix: PhantomData<&'a mut [MaybeUninit<f32>]>,
}

// SAFETY: a value of this type is the only one to reach its columns, as of a `&mut [f32]`.
#[allow(unsafe_code, reason = "columns are handed to threads")]
unsafe impl Send for Columns<'_> {}

impl<'a> Columns<'a> {
    /// All columns of a matrix of a width.
    pub(super) fn all(matrix: &'a mut [MaybeUninit<f32>], width: usize) -> Self {
        let rows = matrix.len() / width.max(1);
        Self { start: matrix.as_mut_ptr().cast(), rows, width, columns: 0..width, matrix: PhantomData }
    }

    /// All columns, so many at a time.
    pub(super) fn split(matrix: &'a mut [MaybeUninit<f32>], width: usize, share: usize) -> Vec<Self> {
        let Self { start, rows, width, .. } = Self::all(matrix, width);
        let part =
            |from| Self { start, rows, width, columns: from..width.min(from + share), matrix: PhantomData };
        (0..width).step_by(share.max(1)).map(part).collect()
    }

    /// Which columns.
    pub(super) fn columns(&self) -> Range<usize> {
        self.columns.clone()
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Where a row begins at a column, from which on so many columns of so many rows are ours; rows are [`Self::width`] apart.
    #[inline(always)]
    pub(super) fn at(&mut self, [row, column]: [usize; 2], [rows, columns]: [usize; 2]) -> *mut f32 {
        assert!(
            row + rows <= self.rows && self.columns.start <= column && column + columns <= self.columns.end
        );
        // SAFETY: the matrix has `rows` rows of `width` floats, and the element lies in it if any is asked for.
        #[allow(unsafe_code, reason = "columns of a matrix are no slice")]
        unsafe {
            self.start.add(row * self.width + column)
        }
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Writes a tile whose first element is at a row and a column, or adds it to what was written there.
    #[inline(always)]
    pub(super) fn put<const M: usize, const N: usize>(
        &mut self,
        row: usize,
        column: usize,
        tile: [[f32; N]; M],
        add: bool,
    ) {
        let (start, width) = (self.at([row, column], [M, N]), self.width);
        for (m, values) in tile.iter().enumerate() {
            for (n, value) in values.iter().enumerate() {
                // SAFETY: `at` has answered for these rows and columns, which are ours alone.
                #[allow(unsafe_code, reason = "columns of a matrix are no slice")]
                unsafe {
                    let at = start.add(m * width + n);
                    *at = if add { *at + value } else { *value };
                }
            }
        }
    }
}
