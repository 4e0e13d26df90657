//! Pictures as red, green and blue bytes, where a processor converts them, and those that have them where it does not.

use image::DynamicImage;
use mmlens_core::{ColourError, rgb_bytes};

use super::error::ProcessorError;
use super::resample::Rgb;

/// The picture as it is if it has plain colours, else converted, if it may be.
pub(crate) fn to_rgb(picture: &DynamicImage, convert: bool) -> Result<Rgb<'_>, ProcessorError> {
    if !convert && !matches!(picture, DynamicImage::ImageRgb8(_)) {
        let found = format!("{:?}", picture.color());
        let expected = "only Rgb8 is taken, since `do_convert_rgb` is off";
        return Err(ProcessorError::Colour { found, expected });
    }
    let bytes = rgb_bytes(picture)?;
    Ok(Rgb { width: picture.width() as usize, height: picture.height() as usize, bytes })
}

impl From<ColourError> for ProcessorError {
    fn from(error: ColourError) -> Self {
        match error {
            ColourError::Kind { found, expected } => Self::Colour { found, expected },
            _ => Self::Empty { width: 0, height: 0 },
        }
    }
}
