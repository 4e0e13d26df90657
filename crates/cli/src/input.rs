//! Pictures and words from the command line.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use image::{DynamicImage, Rgb, RgbImage};
use mmlens::core::{Picture, Sample, Subject, Words};

use crate::refusal::Refusal;

/// A question about pictures.
#[derive(Debug, Args)]
pub(crate) struct QuestionArgs {
    /// A picture (PNG, JPEG, WebP, BMP, GIF); repeat it for several, in the order the model should see them.
    #[arg(long = "image", value_name = "FILE")]
    images: Vec<PathBuf>,
    /// The question, put through the checkpoint's chat template.
    #[arg(long, value_name = "QUESTION")]
    ask: String,
}

impl QuestionArgs {
    pub(crate) fn question(&self) -> &str {
        &self.ask
    }

    pub(crate) fn sample(&self) -> Result<Sample> {
        Ok(Sample { pictures: pictures(&self.images)?, words: Words::Ask(self.ask.clone()) })
    }
}

/// The pictures of some files.
pub(crate) fn pictures(files: &[PathBuf]) -> Result<Vec<Picture>> {
    Ok(files.iter().map(Picture::open).collect::<Result<_, _>>()?)
}

/// A picture of the same size that shows its mean colour alone.
pub(crate) fn mean_colour(picture: &Picture) -> Picture {
    let pixels = picture.image.to_rgb8();
    let count = u64::from(pixels.width()) * u64::from(pixels.height());
    let sum = pixels.pixels().fold([0_u64; 3], |mut sum, pixel| {
        sum.iter_mut().zip(pixel.0).for_each(|(sum, level)| *sum += u64::from(level));
        sum
    });
    let mean = sum.map(|sum| u8::try_from((sum + count / 2) / count.max(1)).unwrap_or(u8::MAX));
    let flat = RgbImage::from_pixel(pixels.width(), pixels.height(), Rgb(mean));
    Picture { name: format!("mean colour of {}", picture.name), image: Arc::new(DynamicImage::ImageRgb8(flat)) }
}

/// The token that `--target` means: an id, or a text that is exactly one token.
pub(crate) fn target(subject: &dyn Subject, text: &str) -> Result<u32> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let refuse = |reason: String| Refusal::Target { found: text.to_owned(), reason };
    let ids = subject.tokens(text)?;
    let [id] = ids.as_slice() else {
        let parts: Vec<String> = ids.iter().map(|id| format!("`{}`", subject.token(*id))).collect();
        return Err(refuse(format!("a target is one token, this is {}: {}", ids.len(), parts.join(" "))).into());
    };
    // A word that the vocabulary lacks becomes its token for the unknown.
    if subject.decode(&[*id]).trim().to_lowercase() != text.trim().to_lowercase() {
        return Err(refuse(format!("the model has no such token; it would read `{}`", subject.token(*id))).into());
    }
    Ok(*id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_colour_is_rounded() {
        let mut pixels = RgbImage::new(2, 1);
        pixels.put_pixel(0, 0, Rgb([255, 1, 0]));
        // red 255 / 2 = 127.5, rounded up; green 1 / 2 = 0.5, rounded up
        let mean = mean_colour(&Picture::new("p", pixels));
        assert_eq!(mean.image.to_rgb8().into_raw(), [128, 1, 0, 128, 1, 0]);
        assert_eq!(mean.name, "mean colour of p");
    }
}
