//! Any picture as red, green and blue bytes, as Pillow and transformers 5 convert it.
//!
//! Transparency is laid on white (transformers before 5 dropped it). Of 16 bits a channel the upper 8 are taken, except
//! in grey pictures, whose values Pillow cuts off at 255.

use std::borrow::Cow;

use image::DynamicImage;

use super::error::ProcessorError;
use super::resample::Rgb;

/// The picture as it is if it has plain colours, else converted, if it may be.
pub(crate) fn to_rgb(picture: &DynamicImage, convert: bool) -> Result<Rgb<'_>, ProcessorError> {
    let refuse = |expected| {
        let found = format!("{:?}", picture.color());
        Err(ProcessorError::Colour { found, expected })
    };
    if !convert && !matches!(picture, DynamicImage::ImageRgb8(_)) {
        return refuse("only Rgb8 is taken, since `do_convert_rgb` is off");
    }
    let bytes: Cow<'_, [u8]> = match picture {
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
        _ => return refuse("integers of 8 or 16 bits are taken"),
    };
    Ok(Rgb { width: picture.width() as usize, height: picture.height() as usize, bytes })
}

/// The mean colour of pictures, on a scale of 0 to 255: red, green and blue, over all pixels of all of them.
///
/// # Errors
/// [`ProcessorError::Colour`] for colours that are not taken, [`ProcessorError::Empty`] where there are no pixels.
pub fn mean_colour<'a>(
    pictures: impl IntoIterator<Item = &'a DynamicImage>,
) -> Result<[f64; 3], ProcessorError> {
    let (mut sums, mut count) = ([0_u64; 3], 0_u64);
    for picture in pictures {
        let rgb = to_rgb(picture, true)?;
        for pixel in rgb.bytes.chunks_exact(3) {
            sums.iter_mut().zip(pixel).for_each(|(sum, level)| *sum += u64::from(*level));
        }
        count += rgb.width as u64 * rgb.height as u64;
    }
    match count {
        0 => Err(ProcessorError::Empty { width: 0, height: 0 }),
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
