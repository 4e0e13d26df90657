//! What stands in the place of a unit that is absent.

use std::fmt;
use std::sync::Arc;

use image::{DynamicImage, RgbImage};
use mmlens_core::sound::SoundError;
use mmlens_core::{Baseline, Clip, Part, Picture, Point, Sample, Seed, Site};

use super::UnitError;
use super::gauss::blurred;
use super::road;

/// What stands in the place of a unit that is absent.
///
/// | | parts of pictures | parts of recordings | words |
/// |---|---|---|---|
/// | [`Baseline`](Self::Baseline) | processed pixels | the log-mel spectrogram | vectors where the stream begins |
/// | [`Blur`](Self::Blur), [`Road`](Self::Road) | yes | refused | refused |
/// | [`Noise`](Self::Noise) | yes | yes | refused |
/// | [`Silence`](Self::Silence) | refused | yes | refused |
/// | [`Other`](Self::Other) | the other's pixels | the other's sound | the other's vectors |
/// | [`Mask`](Self::Mask), [`Unattended`](Self::Unattended) | refused | refused | yes |
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Absent {
    /// A baseline where the unit enters the model: at `vision.pixels`, where [`Baseline::Mean`] is the picture's own mean colour and zero
    /// that of the processor; at `audio.mel`, where it is the recording's own mean of every filter; or for words at
    /// `text.blocks.0.resid_pre`.
    Baseline(Baseline),
    /// The original picture, blurred by a Gaussian.
    Blur {
        /// Its deviation, in pixels of the original picture. Above 0.
        sigma: f64,
    },
    /// Levels of the original picture drawn evenly from 0 to 255, for each pixel and colour; of a recording white noise of its root mean
    /// square, listened to as the recording is, so that it is as loud as that in the mean over time and frequency.
    Noise {
        /// Counted by picture, pixel and colour, or by recording and sample.
        seed: Seed,
    },
    /// What the model hears where nothing sounds beside the rest of the recording: the floor of its log-mel spectrogram.
    Silence,
    /// What another sample has there: its pictures, made as large as this one's, its recordings from their beginning, and its words at the
    /// same positions.
    Other(Arc<Sample>),
    /// ROAD's noisy linear interpolation from the pixels that are left (Rong et al. 2022), in the original picture. What is filled in
    /// depends on all that is absent, so that each coalition is processed anew.
    Road {
        /// The deviation of the noise, of levels from 0 to 1; the paper's code takes 0.01.
        noise: f64,
        /// Counted by picture, colour and pixel.
        seed: Seed,
    },
    /// The token that the model has for a missing word.
    Mask,
    /// The word's vector stays, but nobody else attends to it, in any layer.
    Unattended,
}

impl Default for Absent {
    fn default() -> Self {
        Self::Baseline(Baseline::Zero)
    }
}

impl From<Baseline> for Absent {
    fn from(baseline: Baseline) -> Self {
        Self::Baseline(baseline)
    }
}

impl Absent {
    /// Checks what a user says of it.
    pub(super) fn check(&self) -> Result<(), UnitError> {
        let wrong = |setting, found: f64, expected| {
            Err(UnitError::Setting { setting, found: found.to_string(), expected })
        };
        match self {
            Self::Blur { sigma } if !sigma.is_finite() || *sigma <= 0.0 => {
                wrong("sigma", *sigma, "a number above 0")
            }
            Self::Road { noise, .. } if !noise.is_finite() || *noise < 0.0 => {
                wrong("noise", *noise, "0 or a number above")
            }
            _ => Ok(()),
        }
    }

    /// What it is in the place of parts of pictures, of recordings and of words, as findings tell it.
    pub fn describe(&self, part: Part) -> String {
        let site = part.entrance().unwrap_or(Site::block(part, 0, Point::ResidPre));
        match self {
            Self::Baseline(baseline) => format!("{site}: {}", baseline.describe(site)),
            Self::Other(_) => format!("{site}: another sample's"),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Baseline(_) => f.write_str("a baseline"),
            Self::Blur { sigma } => write!(f, "a blur of {sigma} pixels"),
            Self::Noise { seed } => write!(f, "noise of seed {}", seed.value()),
            Self::Silence => f.write_str("silence"),
            Self::Other(_) => f.write_str("another sample's part"),
            Self::Road { noise, seed } => {
                write!(f, "noisy linear interpolation (noise {noise}, seed {})", seed.value())
            }
            Self::Mask => f.write_str("the mask token"),
            Self::Unattended => f.write_str("a word that nobody attends to"),
        }
    }
}

/// A sample with every picture and frame changed as a whole. `change` is given which it is among pictures and frames, and which picture or
/// clip it is of, clips counted behind pictures.
pub(super) fn with_pictures(
    sample: &Sample,
    mut change: impl FnMut(usize, usize, &DynamicImage) -> RgbImage,
) -> Sample {
    let mut number = 0;
    let mut next = |of: usize, image: &DynamicImage| {
        number += 1;
        Arc::new(DynamicImage::from(change(number - 1, of, image)))
    };
    let pictures = sample.pictures.iter().enumerate();
    let pictures = pictures.map(|(of, p)| Picture { image: next(of, &p.image), ..p.clone() }).collect();
    let clip = |(at, clip): (usize, &Clip)| Clip {
        frames: clip.frames.iter().map(|frame| next(sample.pictures.len() + at, frame)).collect(),
        ..clip.clone()
    };
    let clips = sample.clips.iter().enumerate().map(clip).collect();
    Sample { pictures, clips, ..sample.clone() }
}

/// A sample with white noise in the place of every recording, as loud as it and as long. Seeds are counted behind those of pictures.
pub(super) fn with_noise(sample: &Sample, seed: Seed) -> Result<Sample, SoundError> {
    let noise = |(at, sound): (usize, &mmlens_core::sound::Sound)| {
        let own = seed.at(at as u64);
        sound.noise(|sample| f64::from(own.at(sample).unit()))
    };
    let recordings = sample.recordings.iter().enumerate().map(noise).collect::<Result<_, _>>()?;
    Ok(Sample { recordings, ..sample.clone() })
}

/// The blurred picture.
pub(super) fn blurry(picture: &DynamicImage, sigma: f64) -> RgbImage {
    let (channels, size) = apart(picture);
    together(channels.map(|channel| blurred(channel, size, sigma)), size)
}

/// Noise in the size of a picture.
pub(super) fn noisy(picture: &DynamicImage, seed: Seed) -> RgbImage {
    let mut noise = RgbImage::new(picture.width(), picture.height());
    for (i, level) in noise.iter_mut().enumerate() {
        *level = (seed.at(i as u64).unit() * 256.0) as u8;
    }
    noise
}

/// A picture with what is missing interpolated from the rest.
pub(super) fn interpolated(picture: &DynamicImage, missing: &[bool], noise: f64, seed: Seed) -> RgbImage {
    let (mut channels, size) = apart(picture);
    road::filled(&mut channels, size, missing, 255.0 * noise, seed);
    together(channels, size)
}

/// The picture of another sample in the size of this one's.
pub(super) fn fitted(other: &DynamicImage, size: (u32, u32)) -> RgbImage {
    let rgb = other.to_rgb8();
    match rgb.dimensions() == size {
        true => rgb,
        false => image::imageops::resize(&rgb, size.0, size.1, image::imageops::FilterType::Triangle),
    }
}

/// Levels by channel, and height and width.
fn apart(picture: &DynamicImage) -> ([Vec<f64>; 3], [usize; 2]) {
    let rgb = picture.to_rgb8();
    let channel = |c: usize| rgb.pixels().map(|pixel| f64::from(pixel.0[c])).collect();
    ([0, 1, 2].map(channel), [rgb.height() as usize, rgb.width() as usize])
}

/// Levels rounded to whole ones.
fn together(channels: [Vec<f64>; 3], [height, width]: [usize; 2]) -> RgbImage {
    let mut out = RgbImage::new(width as u32, height as u32);
    for (i, pixel) in out.pixels_mut().enumerate() {
        // no NaN: means of levels
        pixel.0 =
            [0, 1, 2].map(|c| channels[c].get(i).map_or(0, |level| level.round().clamp(0.0, 255.0) as u8));
    }
    out
}
