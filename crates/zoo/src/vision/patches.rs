//! Where the patches of a tower lie on the original picture.

use mmlens_core::View;
use mmlens_core::finding::PatchLabel;

use super::TowerConfig;
use crate::ZooError;

impl TowerConfig {
    /// Its patches on one picture, row by row, each with its box on the original.
    ///
    /// # Errors
    /// [`ZooError::Pixels`] for a picture of another size than the tower takes.
    pub fn patches(&self, view: &View) -> Result<Vec<PatchLabel>, ZooError> {
        let (side, grid, image) = (self.image_size, self.grid(), view.image);
        if view.rows.len() != side || view.cols.len() != side {
            let found = vec![view.rows.len(), view.cols.len()];
            return Err(ZooError::Pixels { found, expected: vec![side; 2] });
        }
        let (rows, cols) = (joined(&view.rows, self.patch_size), joined(&view.cols, self.patch_size));
        let mut labels = Vec::with_capacity(grid * grid);
        for (row, [y0, y1]) in rows.into_iter().enumerate() {
            let label = |(col, [x0, x1]): (usize, &[f32; 2])| PatchLabel {
                image,
                tile: 0,
                frame: 0,
                row,
                col,
                bbox: [*x0, y0, *x1, y1],
            };
            labels.extend(cols.iter().enumerate().map(label));
        }
        Ok(labels)
    }

    /// Those on several pictures, one after the other.
    ///
    /// # Errors
    /// See [`Self::patches`].
    pub fn patches_of(&self, views: &[View]) -> Result<Vec<PatchLabel>, ZooError> {
        Ok(views.iter().map(|view| self.patches(view)).collect::<Result<Vec<_>, _>>()?.concat())
    }
}

/// Extents of so many pixels together; pixels that do not fill one more are left out.
pub(crate) fn joined(spans: &[[f32; 2]], together: usize) -> Vec<[f32; 2]> {
    let whole = spans.chunks_exact(together.max(1));
    whole.filter_map(|own| Some([own.first()?[0], own.last()?[1]])).collect()
}

#[cfg(test)]
mod tests {
    use super::joined;

    #[test]
    fn pixels_that_fill_no_patch_are_left_out() {
        let pixels: Vec<[f32; 2]> = [0.0, 1.5, 3.0, 4.5, 6.0].map(|at| [at, at + 1.5]).to_vec();
        assert_eq!(joined(&pixels, 2), [[0.0, 3.0], [3.0, 6.0]]);
        assert!(joined(&pixels, 6).is_empty());
    }
}
