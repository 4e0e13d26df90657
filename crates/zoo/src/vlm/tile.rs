//! How a tile of a picture lies on the original.

use mmlens_core::View;
use mmlens_core::finding::PatchLabel;

use crate::processor::Processed;

/// How a tile lies on the original picture: cut at `at` from a canvas on which the picture, made smaller by `scale`,
/// begins at `origin`. All pairs are of rows and columns; `size` is the original's.
pub(crate) fn tile_view(
    image: usize,
    tile: &Processed,
    at: (usize, usize),
    origin: (usize, usize),
    scale: (f64, f64),
    size: (usize, usize),
) -> View {
    let spans = |spans: Vec<[f32; 2]>, at: usize, origin: usize, scale: f64, size: usize| -> Vec<[f32; 2]> {
        let edge =
            |x: f32| ((f64::from(x) + at as f64 - origin as f64) * scale).clamp(0.0, size as f64) as f32;
        spans.into_iter().map(|[from, to]| [edge(from), edge(to)]).collect()
    };
    View {
        image,
        rows: spans(tile.geometry.rows(), at.0, origin.0, scale.0, size.0),
        cols: spans(tile.geometry.cols(), at.1, origin.1, scale.1, size.1),
    }
}

/// The patch in a row and column of a tile, patches being squares of `side` pixels given to the tower.
pub(crate) fn tile_patch(
    view: &View,
    tile: usize,
    row: usize,
    col: usize,
    side: usize,
) -> Option<PatchLabel> {
    let span = |spans: &[[f32; 2]], i: usize| -> Option<[f32; 2]> {
        Some([spans.get(i * side)?[0], spans.get((i + 1) * side - 1)?[1]])
    };
    let ([y0, y1], [x0, x1]) = (span(&view.rows, row)?, span(&view.cols, col)?);
    Some(PatchLabel { image: view.image, tile, frame: 0, row, col, bbox: [x0, y0, x1, y1] })
}
