//! A picture cut into labelled parts: SLIC's, or those of a mask.

use std::collections::BTreeMap;

use image::DynamicImage;

use super::UnitError;

/// A label for every pixel of an original picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segments {
    width: u32,
    height: u32,
    labels: Vec<u32>,
}

impl Segments {
    /// Labels row by row.
    ///
    /// # Errors
    /// [`UnitError::Segments`] for another number of labels than pixels, or none.
    pub fn new(width: u32, height: u32, labels: Vec<u32>) -> Result<Self, UnitError> {
        let pixels = u64::from(width) * u64::from(height);
        match labels.len() as u64 == pixels && pixels > 0 {
            true => Ok(Self { width, height, labels }),
            false => Err(UnitError::Segments {
                found: (u32::try_from(labels.len()).unwrap_or(u32::MAX), 1),
                expected: (width, height),
            }),
        }
    }

    /// A mask picture: pixels of one level, or of one colour, are a segment, whose label is the level, or of a colour
    /// `65536 red + 256 green + blue`. A mask in a file is opened with [`Picture::open`](mmlens_core::Picture::open).
    ///
    /// # Errors
    /// [`UnitError::Segments`] for a picture without pixels.
    pub fn of_mask(mask: &DynamicImage) -> Result<Self, UnitError> {
        let labels = match mask {
            DynamicImage::ImageLuma8(grey) => grey.iter().map(|level| u32::from(*level)).collect(),
            DynamicImage::ImageLuma16(grey) => grey.iter().map(|level| u32::from(*level)).collect(),
            coloured => {
                let label =
                    |pixel: &image::Rgb<u8>| pixel.0.iter().fold(0, |sum, c| 256 * sum + u32::from(*c));
                coloured.to_rgb8().pixels().map(label).collect()
            }
        };
        Self::new(mask.width(), mask.height(), labels)
    }

    /// Width and height, in pixels of the original picture.
    pub fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// Row by row.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// The label of the pixel in which a point lies, in pixels from the upper left corner.
    pub(super) fn at(&self, x: f64, y: f64) -> Option<u32> {
        let (col, row) = (x.floor(), y.floor());
        let within = col >= 0.0 && row >= 0.0 && col < f64::from(self.width) && row < f64::from(self.height);
        let index = row as usize * self.width as usize + col as usize;
        within.then(|| self.labels.get(index).copied()).flatten()
    }

    /// For every label the box around it: `x0, y0, x1, y1`.
    pub(super) fn boxes(&self) -> BTreeMap<u32, [f32; 4]> {
        let mut boxes = BTreeMap::new();
        let width = self.width.max(1) as usize;
        for (i, label) in self.labels.iter().enumerate() {
            let (x, y) = ((i % width) as f32, (i / width) as f32);
            let around: &mut [f32; 4] = boxes.entry(*label).or_insert([x, y, x + 1.0, y + 1.0]);
            let [x0, y0, x1, y1] = *around;
            // no NaN: places of pixels
            *around = [x0.min(x), y0.min(y), x1.max(x + 1.0), y1.max(y + 1.0)];
        }
        boxes
    }
}
