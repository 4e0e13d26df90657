//! Small matrix products on one core, with their bounds checked.

use std::marker::PhantomData;
use std::ops::Range;

use burn::backend::flex::FlexTensor;

use super::simd::Level;
use super::softmax::dot_row;

/// A matrix within a buffer, of any strides that are not negative.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matrix<'a> {
    data: &'a [f32],
    row: usize,
    col: usize,
}

impl<'a> Matrix<'a> {
    /// Row by row, without gaps.
    pub(crate) fn rows(data: &'a [f32], width: usize) -> Self {
        Self { data, row: width, col: 1 }
    }

    /// With rows and columns exchanged.
    pub(crate) fn turned(self) -> Self {
        Self { data: self.data, row: self.col, col: self.row }
    }

    /// Whether elements up to `[rows, cols]` lie within the buffer.
    fn holds(&self, rows: usize, cols: usize) -> bool {
        rows == 0 || cols == 0 || (rows - 1) * self.row + (cols - 1) * self.col < self.data.len()
    }
}

/// A tensor `[b, p, h, w]` of `flex`, whatever its strides: the matrices `[p, w]` in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heads<'a> {
    data: &'a [f32],
    strides: [usize; 4],
}

impl<'a> Heads<'a> {
    /// `None` if a stride is negative.
    pub(crate) fn of(x: &'a FlexTensor) -> Option<Self> {
        let mut strides = [0; 4];
        let layout = x.layout();
        for (to, from) in strides.iter_mut().zip(layout.strides()) {
            *to = usize::try_from(*from).ok()?;
        }
        Some(Self { data: x.storage::<f32>().get(layout.start_offset()..).unwrap_or(&[]), strides })
    }

    /// The matrix of a row of the batch and a head, from a position on.
    pub(crate) fn at(&self, batch: usize, head: usize, position: usize) -> Matrix<'a> {
        let [b, p, h, w] = self.strides;
        let data = self.data.get(batch * b + position * p + head * h..).unwrap_or(&[]);
        Matrix { data, row: p, col: w }
    }

    /// Over one head's vectors, one after the other, whichever row of the batch and head is asked for.
    pub(crate) fn one(data: &'a [f32], width: usize) -> Self {
        Self { data, strides: [0, width, 0, 1] }
    }

    /// Writes a head's vectors at some positions, one after the other.
    pub(crate) fn lay(&self, [batch, head]: [usize; 2], from: Range<usize>, width: usize, into: &mut [f32]) {
        let Matrix { data, row, col } = self.at(batch, head, from.start);
        for (i, into) in into.chunks_mut(width.max(1)).take(from.len()).enumerate() {
            if col == 1 {
                into.copy_from_slice(&data[i * row..][..width]);
            } else {
                into.iter_mut().enumerate().for_each(|(j, into)| *into = data[i * row + j * col]);
            }
        }
    }

    /// The product of a head's vector at a position with that of another tensor, `[batch, position, head]`.
    pub(crate) fn dot(&self, other: &Self, [batch, position, head]: [usize; 3], width: usize) -> f32 {
        let [a, b] = [self, other].map(|x| x.at(batch, head, position));
        if a.col == 1 && b.col == 1 {
            return dot_row::<()>(Level::taken(), &a.data[..width], &b.data[..width]);
        }
        (0..width).map(|i| a.data[i * a.col] * b.data[i * b.col]).sum()
    }
}

/// Where a product is written: rows of a buffer that lie some way apart. What lies between them may be another's.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    start: *mut f32,
    rows: usize,
    width: usize,
    apart: usize,
    buffer: PhantomData<&'a mut [f32]>,
}

// SAFETY: a place is a borrow of the numbers in its rows, and of no others, that nothing else has.
#[allow(unsafe_code, reason = "a place is borrowed numbers, which may be handed to another thread")]
unsafe impl Send for Place<'_> {}

impl<'a> Place<'a> {
    /// Rows of a width, one after the other; a rest that fills none is left out.
    pub(crate) fn of(buffer: &'a mut [f32], width: usize) -> Self {
        let rows = buffer.len() / width.max(1);
        Self { start: buffer.as_mut_ptr(), rows, width, apart: width, buffer: PhantomData }
    }

    /// The first columns, and those from `at` on.
    pub(crate) fn split_columns(self, at: usize) -> (Self, Self) {
        assert!(at <= self.width);
        // SAFETY: within the buffer or one past its end, as `at` is no more than the width.
        #[allow(unsafe_code, reason = "a pointer moves")]
        let rest = if self.rows == 0 { self.start } else { unsafe { self.start.add(at) } };
        let rest = Self { start: rest, width: self.width - at, ..self };
        (Self { width: at, ..self }, rest)
    }

    /// The first rows, and those from `at` on.
    pub(crate) fn split_rows(self, at: usize) -> (Self, Self) {
        assert!(at <= self.rows);
        // SAFETY: the start of a row that is there; where there is none, the pointer is not moved and nothing is read.
        #[allow(unsafe_code, reason = "a pointer moves")]
        let rest = if at == self.rows { self.start } else { unsafe { self.start.add(at * self.apart) } };
        let rest = Self { start: rest, rows: self.rows - at, ..self };
        (Self { rows: at, ..self }, rest)
    }

    /// Some of its columns, for a while.
    pub(crate) fn columns(&mut self, columns: Range<usize>) -> Place<'_> {
        let own = Place { buffer: PhantomData, ..*self };
        own.split_columns(columns.end).0.split_columns(columns.start).1
    }

    /// A row.
    pub(crate) fn row(&mut self, row: usize) -> &mut [f32] {
        assert!(row < self.rows);
        // SAFETY: a row of this place, which is borrowed alone.
        #[allow(unsafe_code, reason = "a row is made of a pointer")]
        unsafe {
            std::slice::from_raw_parts_mut(self.start.add(row * self.apart), self.width)
        }
    }
}

/// `c = a b`, or `c += a b`; `a` is `[m, k]`, `b` is `[k, n]`, `c` is row by row with rows `width` apart.
pub(crate) fn product(
    sizes: [usize; 3],
    a: Matrix<'_>,
    b: Matrix<'_>,
    c: &mut [f32],
    width: usize,
    add: bool,
) {
    let [m, n, _] = sizes;
    if m == 0 || n == 0 {
        return;
    }
    assert!(n <= width && (m - 1) * width + n <= c.len());
    let c = Place { start: c.as_mut_ptr(), rows: m, width: n, apart: width, buffer: PhantomData };
    product_into(sizes, a, b, c, add);
}

/// As [`product`], into the first `[m, n]` of a place.
pub(crate) fn product_into([m, n, k]: [usize; 3], a: Matrix<'_>, b: Matrix<'_>, c: Place<'_>, add: bool) {
    if m == 0 || n == 0 {
        return;
    }
    assert!(a.holds(m, k) && b.holds(k, n) && m <= c.rows && n <= c.width);
    let signed = |stride: usize| stride as isize;
    // SAFETY: all elements that the strides reach lie within the two slices and the place, as was asserted; the place is
    // borrowed alone.
    #[allow(unsafe_code, reason = "the product takes pointers")]
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.start,
            1,
            signed(c.apart),
            add,
            a.data.as_ptr(),
            signed(a.col),
            signed(a.row),
            b.data.as_ptr(),
            signed(b.col),
            signed(b.row),
            if add { 1.0 } else { 0.0 },
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_any_strides() {
        let a: Vec<f32> = (0..6).map(|i| i as f32).collect(); // [[0, 1, 2], [3, 4, 5]]
        let b: Vec<f32> = (0..6).map(|i| (i * i) as f32).collect(); // [[0, 1], [4, 9], [16, 25]]
        let mut c = vec![7.0; 6];
        product([2, 2, 3], Matrix::rows(&a, 3), Matrix::rows(&b, 2), &mut c, 3, false);
        // 0*0 + 1*4 + 2*16, 0*1 + 1*9 + 2*25; 3*0 + 4*4 + 5*16, 3*1 + 4*9 + 5*25
        assert_eq!(c, [36.0, 59.0, 7.0, 96.0, 164.0, 7.0]);
        product([2, 2, 3], Matrix::rows(&b, 2).turned(), Matrix::rows(&a, 3).turned(), &mut c, 3, true);
        assert_eq!(c, [72.0, 155.0, 7.0, 155.0, 328.0, 7.0]);
    }

    /// Two columns of four and two rows of three, each written by itself.
    #[test]
    fn places_share_a_buffer() {
        let ones = [1.0; 4];
        let mut c = [7.0; 12];
        let (first, rest) = Place::of(&mut c, 4).split_columns(2);
        let (_, mut below) = first.split_rows(1);
        let (own, below_own) = (rest, below.columns(1..2));
        // Of ones, [2, 1] [1, 1] is 1 in each place.
        product_into([2, 1, 1], Matrix::rows(&ones, 1), Matrix::rows(&ones, 1), below_own, false);
        let (mut own, none) = own.split_rows(3);
        own.row(2).fill(3.0);
        product_into([1, 2, 4], Matrix::rows(&ones, 4), Matrix::rows(&[1.0; 8], 2), own, true);
        assert_eq!(none.rows, 0);
        assert_eq!(c, [7.0, 7.0, 11.0, 11.0, 7.0, 1.0, 7.0, 7.0, 7.0, 1.0, 3.0, 3.0]);
    }

    #[test]
    #[should_panic(expected = "c.rows")]
    fn a_place_too_small_is_refused() {
        let mut c = [0.0; 4];
        let (c, _) = Place::of(&mut c, 2).split_rows(1);
        product_into([2, 1, 1], Matrix::rows(&[0.0; 2], 1), Matrix::rows(&[0.0; 1], 1), c, false);
    }

    #[test]
    #[should_panic(expected = "holds")]
    fn a_matrix_too_small_is_refused() {
        product([2, 2, 3], Matrix::rows(&[0.0; 5], 3), Matrix::rows(&[0.0; 6], 2), &mut [0.0; 4], 2, false);
    }
}
