//! Where the patches of a tower lie on the original picture.

use mmlens_core::View;
use mmlens_core::finding::PatchLabel;

use super::TowerConfig;

impl TowerConfig {
    /// Its patches on one picture, row by row, each with its box on the original.
    pub fn patches(&self, view: &View) -> Vec<PatchLabel> {
        let (grid, size, image) = (self.grid(), self.patch_size, view.image);
        let extent = |spans: &[[f32; 2]], i: usize| {
            let from = spans.get(i * size).map_or(0.0, |span| span[0]);
            (from, spans.get((i + 1) * size - 1).map_or(from, |span| span[1]))
        };
        let label = |at: usize| {
            let (row, col) = (at / grid, at % grid);
            let ((y0, y1), (x0, x1)) = (extent(&view.rows, row), extent(&view.cols, col));
            PatchLabel { image, tile: 0, frame: 0, row, col, bbox: [x0, y0, x1, y1] }
        };
        (0..grid * grid).map(label).collect()
    }
}
