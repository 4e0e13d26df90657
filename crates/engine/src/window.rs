//! Windows over a picture, and what many windows say about each place.

use std::collections::BTreeSet;
use std::ops::Range;

use mmlens_core::HookError;

/// Windows over a picture: every row range with every column range, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Windows {
    rows: Vec<Range<usize>>,
    cols: Vec<Range<usize>>,
}

impl Windows {
    /// A grid of cells that share no pixel and leave none out. A side is cut as evenly as whole pixels allow,
    /// into no more cells than it has pixels.
    pub fn grid([height, width]: [usize; 2], [rows, cols]: [usize; 2]) -> Self {
        let cut = |length: usize, parts: usize| {
            let parts = parts.clamp(1, length.max(1));
            (0..parts).map(|i| i * length / parts..(i + 1) * length / parts).collect()
        };
        Self { rows: cut(height, rows), cols: cut(width, cols) }
    }

    /// Windows of one size, one stride apart. The last of a row or column is cut by the edge of the picture, so
    /// that with strides no larger than windows every pixel is covered.
    pub fn sliding(picture: [usize; 2], window: [usize; 2], stride: [usize; 2]) -> Self {
        let slide = |length: usize, window: usize, stride: usize| {
            let (window, stride) = (window.max(1), stride.max(1));
            let more = length.saturating_sub(window).div_ceil(stride);
            (0..=more)
                .map(|i| i * stride..length.min(i * stride + window))
                .filter(|r| !r.is_empty())
                .collect()
        };
        let [height, width] = picture;
        Self { rows: slide(height, window[0], stride[0]), cols: slide(width, window[1], stride[1]) }
    }

    /// The row ranges.
    pub fn rows(&self) -> &[Range<usize>] {
        &self.rows
    }

    /// The column ranges.
    pub fn cols(&self) -> &[Range<usize>] {
        &self.cols
    }

    /// Number of windows.
    pub fn len(&self) -> usize {
        self.rows.len() * self.cols.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether some pixel lies in two windows.
    pub fn overlap(&self) -> bool {
        let touch =
            |ranges: &[Range<usize>]| ranges.windows(2).any(|w| matches!(w, [a, b] if b.start < a.end));
        touch(&self.rows) || touch(&self.cols)
    }

    /// The coarsest grid on whose cells every window covers all or nothing.
    pub fn cells(&self) -> [Vec<Range<usize>>; 2] {
        let cut = |ranges: &[Range<usize>]| {
            let edges: BTreeSet<usize> = ranges.iter().flat_map(|r| [r.start, r.end]).collect();
            let edges: Vec<usize> = edges.into_iter().collect();
            edges.iter().zip(edges.iter().skip(1)).map(|(a, b)| *a..*b).collect()
        };
        [cut(&self.rows), cut(&self.cols)]
    }

    /// For each of [`cells`](Self::cells), the mean of one value per window over the windows that cover it.
    ///
    /// # Errors
    /// [`HookError::Values`] for another number of values than windows.
    pub fn mean(&self, values: &[f32]) -> Result<Vec<f32>, HookError> {
        if values.len() != self.len() {
            return Err(HookError::Values { dims: vec![self.len()], given: values.len() });
        }
        let [rows, cols] = self.cells();
        let covers = |windows: &[Range<usize>], cell: &Range<usize>| -> Vec<usize> {
            let inside = |w: &Range<usize>| w.start <= cell.start && cell.end <= w.end;
            windows.iter().enumerate().filter(|(_, w)| inside(w)).map(|(i, _)| i).collect()
        };
        let downs: Vec<_> = rows.iter().map(|cell| covers(&self.rows, cell)).collect();
        let acrosses: Vec<_> = cols.iter().map(|cell| covers(&self.cols, cell)).collect();
        let mut means = Vec::with_capacity(rows.len() * cols.len());
        for down in &downs {
            for across in &acrosses {
                let over = down.iter().flat_map(|r| across.iter().map(move |c| r * self.cols.len() + c));
                let sum: f64 = over.filter_map(|i| values.get(i)).map(|v| f64::from(*v)).sum();
                means.push((sum / (down.len() * across.len()).max(1) as f64) as f32);
            }
        }
        Ok(means)
    }
}

#[cfg(test)]
mod tests {
    use super::Windows;

    #[test]
    fn a_grid_leaves_no_pixel_out() {
        let windows = Windows::grid([7, 4], [3, 9]);
        assert_eq!(windows.rows(), [0..2, 2..4, 4..7]);
        assert_eq!(windows.cols(), [0..1, 1..2, 2..3, 3..4]);
        assert!(!windows.overlap());
        assert_eq!(windows.cells(), [windows.rows().to_vec(), windows.cols().to_vec()]);
    }

    #[test]
    fn the_last_window_is_cut_by_the_edge() {
        // 10 - 4 = 6 pixels to slide over, 3 at a time: two steps; then 10 - 3 = 7, 5 at a time: two steps, cut at 10
        let windows = Windows::sliding([10, 10], [4, 3], [3, 5]);
        assert_eq!(windows.rows(), [0..4, 3..7, 6..10]);
        assert_eq!(
            windows.cols(),
            [0..3, 5..8, 10..10].iter().filter(|r| !r.is_empty()).cloned().collect::<Vec<_>>()
        );
        assert!(windows.overlap());
        assert_eq!(Windows::sliding([3, 3], [5, 5], [2, 2]).rows(), vec![0..3]);
    }

    #[test]
    fn a_place_has_the_mean_of_the_windows_over_it() {
        // one row; windows 0..4, 3..7, 6..9 with values 1, 4, 10
        let windows = Windows::sliding([1, 9], [1, 4], [1, 3]);
        assert_eq!(windows.cols(), [0..4, 3..7, 6..9]);
        assert_eq!(windows.cells()[1], [0..3, 3..4, 4..6, 6..7, 7..9]);
        // 1, (1 + 4) / 2, 4, (4 + 10) / 2, 10
        assert_eq!(windows.mean(&[1.0, 4.0, 10.0]).unwrap(), [1.0, 2.5, 4.0, 7.0, 10.0]);
    }
}
