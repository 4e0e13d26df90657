//! Small matrix products on one core, with their bounds checked.

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

    /// The product of a head's vector at a position with that of another tensor, `[batch, position, head]`.
    pub(crate) fn dot(&self, other: &Self, [batch, position, head]: [usize; 3], width: usize) -> f32 {
        let [a, b] = [self, other].map(|x| x.at(batch, head, position));
        if a.col == 1 && b.col == 1 {
            return dot_row::<()>(Level::best(), &a.data[..width], &b.data[..width]);
        }
        (0..width).map(|i| a.data[i * a.col] * b.data[i * b.col]).sum()
    }
}

/// `c = a b`, or `c += a b`; `a` is `[m, k]`, `b` is `[k, n]`, `c` is row by row with rows `width` apart.
pub(crate) fn product(
    [m, n, k]: [usize; 3],
    a: Matrix<'_>,
    b: Matrix<'_>,
    c: &mut [f32],
    width: usize,
    add: bool,
) {
    if m == 0 || n == 0 {
        return;
    }
    assert!(a.holds(m, k) && b.holds(k, n) && n <= width && (m - 1) * width + n <= c.len());
    let signed = |stride: usize| stride as isize;
    // SAFETY: all elements that the strides reach lie within the three slices, as was asserted; `c` is borrowed alone.
    #[allow(unsafe_code, reason = "the product takes pointers")]
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            signed(width),
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

    #[test]
    #[should_panic(expected = "holds")]
    fn a_matrix_too_small_is_refused() {
        product([2, 2, 3], Matrix::rows(&[0.0; 5], 3), Matrix::rows(&[0.0; 6], 2), &mut [0.0; 4], 2, false);
    }
}
