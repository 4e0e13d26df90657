//! Any picture as red, green and blue bytes, as Pillow and transformers 5 convert it, and its mean colour.
//!
//! Transparency is laid on white (transformers before 5 dropped it). Of 16 bits a channel the upper 8 are taken, except
//! in grey pictures, whose values Pillow cuts off at 255.

use std::borrow::Cow;

use image::DynamicImage;

/// Why a picture has no bytes of red, green and blue, or no mean colour.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ColourError {
    /// Colours that are not taken.
    #[error("colours are {found}, but {expected}")]
    Kind {
        /// What the picture has.
        found: String,
        /// What is taken.
        expected: &'static str,
    },
    /// No pixels.
    #[error("there are no pixels")]
    Empty,
}

/// The bytes of a picture, red, green and blue of each pixel, row by row: its own, where it has them.
///
/// # Errors
/// [`ColourError::Kind`] for other numbers than integers of 8 or 16 bits.
pub fn rgb_bytes(picture: &DynamicImage) -> Result<Cow<'_, [u8]>, ColourError> {
    Ok(match picture {
        DynamicImage::ImageRgb8(p) => Cow::Borrowed(p.as_raw()),
        DynamicImage::ImageLuma8(p) => p.pixels().flat_map(|p| [p.0[0]; 3]).collect(),
        DynamicImage::ImageLuma16(p) => p.pixels().flat_map(|p| [p.0[0].min(255) as u8; 3]).collect(),
        DynamicImage::ImageRgb16(p) => p.pixels().flat_map(|p| p.0.map(upper)).collect(),
        DynamicImage::ImageLumaA8(p) => p.pixels().flat_map(|p| [on_white(p.0[0], p.0[1]); 3]).collect(),
        DynamicImage::ImageLumaA16(p) => {
            p.pixels().flat_map(|p| [on_white(upper(p.0[0]), upper(p.0[1])); 3]).collect()
        }
        DynamicImage::ImageRgba8(p) => p.pixels().flat_map(|p| laid(p.0)).collect(),
        DynamicImage::ImageRgba16(p) => p.pixels().flat_map(|p| laid(p.0.map(upper))).collect(),
        _ => {
            let found = format!("{:?}", picture.color());
            return Err(ColourError::Kind { found, expected: "integers of 8 or 16 bits are taken" });
        }
    })
}

/// The mean colour of pictures, on a scale of 0 to 255: red, green and blue, over all pixels of all of them.
///
/// # Errors
/// [`ColourError::Kind`] for colours that are not taken, [`ColourError::Empty`] where there are no pixels.
pub fn mean_colour<'a>(
    pictures: impl IntoIterator<Item = &'a DynamicImage>,
) -> Result<[f64; 3], ColourError> {
    let (mut sums, mut count) = ([0_u64; 3], 0_u64);
    for picture in pictures {
        for pixel in rgb_bytes(picture)?.chunks_exact(3) {
            sums.iter_mut().zip(pixel).for_each(|(sum, level)| *sum += u64::from(*level));
        }
        count += u64::from(picture.width()) * u64::from(picture.height());
    }
    match count {
        0 => Err(ColourError::Empty),
        count => Ok(sums.map(|sum| sum as f64 / count as f64)),
    }
}

fn upper(value: u16) -> u8 {
    (value >> 8) as u8
}

fn laid([red, green, blue, alpha]: [u8; 4]) -> [u8; 3] {
    [red, green, blue].map(|value| on_white(value, alpha))
}

/// `(value * alpha + 255 * (255 - alpha)) / 255`, rounded, with Pillow's way of dividing by 255.
fn on_white(value: u8, alpha: u8) -> u8 {
    let (value, alpha) = (u32::from(value), u32::from(alpha));
    let sum = (value * alpha + 255 * (255 - alpha) + 128) << 7;
    ((((sum >> 8) + sum) >> 8) >> 7) as u8
}
