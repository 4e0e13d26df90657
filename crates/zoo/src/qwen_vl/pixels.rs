//! From pictures and frames to patches: resized, normalised, cut and put in the tower's order.

use image::DynamicImage;
use mmlens_core::mean_colour;

use super::settings::{Patches, Settings};
use super::size::near;
use crate::processor::{
    MOST_PIXELS, MOST_PROCESSED, ProcessorError, Rgb, Target, limited, resize, resize_as_torch, to_rgb,
};

/// A picture or clip as the tower takes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Cut {
    /// The patches: frame by frame, block by block of those that are merged, row by row within. Each holds its
    /// numbers by channel, frame, row and column.
    pub values: Vec<f32>,
    /// Steps in time.
    pub frames: usize,
    /// Rows of patches.
    pub rows: usize,
    /// Columns of patches.
    pub cols: usize,
}

/// Which library does the arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Library {
    /// Pillow and NumPy, for pictures.
    Pillow,
    /// Torchvision, for clips.
    Torch,
}

impl Settings {
    /// A picture as patches. Each stands in the place of as many frames as a patch spans.
    ///
    /// # Errors
    /// [`ProcessorError`] for pictures that are empty, too large, too narrow, or of colours that are not taken.
    pub fn picture(&self, picture: &DynamicImage) -> Result<Cut, ProcessorError> {
        let rgb = self.rgb(picture)?;
        let size = match self.resize {
            Some(_) => near((rgb.height, rgb.width), self.patches.factor(), self.pixels)?,
            None => (rgb.height, rgb.width),
        };
        let resized = self.resized(&rgb, size, Library::Pillow)?;
        let frames = vec![&resized; self.patches.frames];
        cut(&frames, self.patches, &self.levels(Library::Pillow))
    }

    /// The bytes of a picture, of a size that can be worked with.
    pub(super) fn rgb<'a>(&self, picture: &'a DynamicImage) -> Result<Rgb<'a>, ProcessorError> {
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        if width == 0 || height == 0 {
            return Err(ProcessorError::Empty { width, height });
        }
        limited("the picture", (width, height), MOST_PIXELS)?;
        to_rgb(picture, self.convert_rgb)
    }

    /// A picture of another size.
    pub(super) fn resized(
        &self,
        picture: &Rgb<'_>,
        (height, width): (usize, usize),
        library: Library,
    ) -> Result<Rgb<'static>, ProcessorError> {
        limited("the processed picture", (width, height), MOST_PROCESSED)?;
        let target = Target { width, height, rows: 0..height, cols: 0..width };
        let Some(filter) = self.resize else {
            let factor = self.patches.factor();
            if !height.is_multiple_of(factor) || !width.is_multiple_of(factor) {
                return Err(ProcessorError::Uneven { width, height, factor });
            }
            return Ok(picture.part(&target.rows, &target.cols));
        };
        let between = match library {
            Library::Pillow => target.between(picture.width, picture.height, filter),
            Library::Torch => (width, picture.height),
        };
        limited("the picture between two steps of resizing", between, MOST_PIXELS)?;
        Ok(match library {
            Library::Pillow => resize(picture, &target, filter),
            Library::Torch => resize_as_torch(picture, (height, width), filter),
        })
    }

    /// What each of the 256 levels of each channel becomes.
    pub(super) fn levels(&self, library: Library) -> [[f32; 256]; 3] {
        std::array::from_fn(|channel| std::array::from_fn(|at| self.valued(library, channel, at as f64)))
    }

    /// What a level becomes. NumPy multiplies in `f64` and subtracts in `f32`; torchvision does both at once in `f32`, the
    /// factor moved into mean and deviation.
    #[allow(clippy::cast_possible_truncation, reason = "rounding to f32 is meant")]
    fn valued(&self, library: Library, channel: usize, level: f64) -> f32 {
        let factor = self.rescale.unwrap_or(1.0);
        let plain = level as f32;
        match (library, self.normalize) {
            (Library::Pillow, None) => (level * factor) as f32,
            (Library::Pillow, Some((mean, std))) => {
                ((level * factor) as f32 - mean[channel] as f32) / std[channel] as f32
            }
            (Library::Torch, None) => plain * factor as f32,
            (Library::Torch, Some((mean, std))) => {
                let wide = (1.0 / factor) as f32;
                (plain - mean[channel] as f32 * wide) / (std[channel] as f32 * wide)
            }
        }
    }

    /// The mean colour of a picture, or of all frames of a clip, in the numbers that the tower is given.
    ///
    /// # Errors
    /// [`ProcessorError`] for colours that are not taken.
    pub(super) fn colour<'a>(
        &self,
        frames: impl IntoIterator<Item = &'a DynamicImage>,
        library: Library,
    ) -> Result<[f32; 3], ProcessorError> {
        let mean = mean_colour(frames)?;
        Ok(std::array::from_fn(|channel| self.valued(library, channel, mean[channel])))
    }
}

/// Frames of one size as patches. Their number should be a multiple of the frames of a patch, their sides multiples of a
/// merged patch.
///
/// # Errors
/// [`ProcessorError::Frames`] for frames of different sizes.
pub(super) fn cut(
    frames: &[&Rgb<'_>],
    patches: Patches,
    levels: &[[f32; 256]; 3],
) -> Result<Cut, ProcessorError> {
    let Patches { side, frames: together, merge } = patches;
    let (height, width) = frames.first().map_or((0, 0), |frame| (frame.height, frame.width));
    let odd = |frame: &&Rgb<'_>| (frame.width, frame.height) != (width, height);
    if let Some((frame, other)) = frames.iter().enumerate().find(|(_, frame)| odd(frame)) {
        let (found, first) = ((other.width, other.height), (width, height));
        return Err(ProcessorError::Frames { frame, found, first });
    }
    let (rows, cols, steps) = (height / side, width / side, frames.len() / together);
    let mut values = Vec::with_capacity(3 * frames.len() * height * width);
    for step in frames.chunks_exact(together) {
        for block in 0..(rows / merge) * (cols / merge) {
            let (top, left) = (block / (cols / merge) * merge, block % (cols / merge) * merge);
            for inner in 0..merge * merge {
                let (row, col) = (top + inner / merge, left + inner % merge);
                for (channel, levels) in levels.iter().enumerate() {
                    for frame in step {
                        for y in row * side..(row + 1) * side {
                            let start = 3 * (y * width + col * side);
                            let line = &frame.bytes[start..start + 3 * side];
                            let of = line.iter().skip(channel).step_by(3);
                            values.extend(of.map(|level| levels[usize::from(*level)]));
                        }
                    }
                }
            }
        }
    }
    Ok(Cut { values, frames: steps, rows, cols })
}

/// For every pixel of a processed side, its extent on the original side.
pub(super) fn extents(processed: usize, original: usize) -> Vec<[f32; 2]> {
    let edge = |at: usize| ((at * original) as f64 / processed as f64) as f32;
    (0..processed).map(|at| [edge(at), edge(at + 1)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_come_block_by_block() {
        // Every pixel's level is its number; 4 x 8 pixels, patches of 2, merged two by two.
        let bytes: Vec<u8> = (0..32_u8).flat_map(|at| [at; 3]).collect();
        let frame = Rgb { width: 8, height: 4, bytes: bytes.into() };
        let plain: [[f32; 256]; 3] = std::array::from_fn(|_| std::array::from_fn(|level| level as f32));
        let cut = cut(&[&frame, &frame], Patches { side: 2, frames: 2, merge: 2 }, &plain).unwrap();
        assert_eq!((cut.frames, cut.rows, cut.cols), (1, 2, 4));
        let firsts: Vec<f32> = cut.values.chunks(3 * 2 * 4).map(|patch| patch[0]).collect();
        assert_eq!(firsts, [0.0, 2.0, 16.0, 18.0, 4.0, 6.0, 20.0, 22.0]);
        let patch = [0.0, 1.0, 8.0, 9.0];
        assert_eq!(cut.values[..24], [patch; 6].concat());
    }

    #[test]
    fn frames_of_different_sizes_are_not_cut_together() {
        let frame = |width: usize| Rgb { width, height: 4, bytes: vec![0; 3 * 4 * width].into() };
        let (wide, narrow) = (frame(8), frame(4));
        let patches = Patches { side: 2, frames: 2, merge: 2 };
        let said = cut(&[&wide, &narrow], patches, &[[0.0; 256]; 3]).unwrap_err().to_string();
        assert_eq!(said, "frame 1 of the clip is 4 x 4, its first one 8 x 4");
    }

    #[test]
    fn sides_end_where_they_end() {
        let extents = extents(16, 47);
        assert_eq!((extents[0][0], extents[15][1]), (0.0, 47.0));
        assert!(extents.windows(2).all(|pair| pair[0][1] == pair[1][0]));
    }
}
