//! Image processors: from a picture to the numbers a vision tower takes, as Hugging Face's processors do it.
//!
//! Resizing follows Pillow to the byte, the rest the processors of transformers that are built on Pillow. The default
//! ones of transformers 5 are built on torchvision, whose resizing differs from Pillow's by a grey level here and there,
//! more where a tall picture is made wide.
//!
//! Decoders differ too: PNG, WebP, GIF and BMP give the bytes that Pillow reads, but JPEG with halved colours differs by
//! up to some 14 levels in single pixels (0.4 on average; 2 at most once it is resized), since colours are enlarged by
//! another filter. In PNG with 16 bits and a transparent colour, that colour is transparent here and not in Pillow.
//!
//! ```no_run
//! use mmlens_zoo::processor::ImageProcessor;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let picture = mmlens_core::Picture::open("cat.jpg")?;
//! let processed = ImageProcessor::from_dir("models/llava")?.process(&picture.image)?;
//! assert_eq!(processed.pixels.len(), 3 * processed.height * processed.width);
//! # Ok(())
//! # }
//! ```

mod colour;
mod config;
mod error;
mod geometry;
mod resample;
mod size;
mod torch;

use std::ops::Range;
use std::path::{Path, PathBuf};

use image::{DynamicImage, RgbImage};
use mmlens_core::mean_colour;
use serde_json::{Map, Value};

pub(crate) use colour::to_rgb;
pub(crate) use config::{Fields, beyond};
pub use error::ProcessorError;
pub use geometry::{Geometry, PixelBox};
pub use resample::Filter;
pub(crate) use resample::{Rgb, Target, resize};
pub use size::Size;
pub(crate) use torch::resize_as_torch;

use crate::checkpoint::{parse_json, read_json_if_there};
use config::Steps;
use geometry::AxisMap;

/// The most pixels a picture may have.
pub const MOST_PIXELS: usize = mmlens_core::MOST_PICTURE_PIXELS as usize;
/// The most pixels a processed picture may have.
pub const MOST_PROCESSED: usize = 1 << 24;

/// Turns pictures into what a vision tower takes.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageProcessor {
    steps: Steps,
}

/// A picture as the vision tower takes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Processed {
    /// The values: channel by channel (red, green, blue), each row by row.
    pub pixels: Vec<f32>,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Where they lie on the original picture.
    pub geometry: Geometry,
}

impl ImageProcessor {
    /// Reads the object `image_processor` of `processor_config.json` in `dir`, or else `preprocessor_config.json`.
    ///
    /// # Errors
    ///
    /// [`ProcessorError`] if neither is there, a field is not what it should be, or is not supported.
    pub fn from_dir(dir: impl AsRef<Path>) -> Result<Self, ProcessorError> {
        let (file, fields) = Self::fields_in(dir.as_ref())?;
        Self::read(&file, &fields)
    }

    /// The fields of a folder's image processor, and the file they are in. One that is not named there has the name that goes
    /// with the model's config, as in transformers.
    pub(crate) fn fields_in(dir: &Path) -> Result<(PathBuf, Map<String, Value>), ProcessorError> {
        let (file, mut fields) = Self::written_in(dir)?;
        config::name(dir, &mut fields)?;
        Ok((file, fields))
    }

    fn written_in(dir: &Path) -> Result<(PathBuf, Map<String, Value>), ProcessorError> {
        let nested = dir.join("processor_config.json");
        if let Some(mut fields) = read_json_if_there::<Map<String, Value>>(&nested)?
            && let Some(fields) = fields.remove("image_processor")
        {
            return match fields {
                Value::Object(fields) => Ok((nested, fields)),
                other => Err(ProcessorError::Field {
                    file: nested,
                    field: "image_processor".to_owned(),
                    found: other.to_string(),
                    expected: "an object",
                }),
            };
        }
        let own = dir.join("preprocessor_config.json");
        match read_json_if_there(&own)? {
            Some(fields) => Ok((own, fields)),
            None => Err(ProcessorError::NotThere { dir: dir.to_owned() }),
        }
    }

    /// Reads the text of a `preprocessor_config.json`, or of a `processor_config.json` with its `image_processor`; `name`
    /// is what errors call it.
    ///
    /// # Errors
    ///
    /// As [`ImageProcessor::from_dir`].
    pub fn from_json(name: &str, text: &[u8]) -> Result<Self, ProcessorError> {
        let fields: Map<String, Value> = parse_json(name, text)?;
        match fields.get("image_processor") {
            Some(Value::Object(nested)) => Self::read(Path::new(name), nested),
            _ => Self::read(Path::new(name), &fields),
        }
    }

    /// Reads the fields of `file`.
    pub(crate) fn read(file: &Path, fields: &Map<String, Value>) -> Result<Self, ProcessorError> {
        Ok(Self { steps: Steps::read(file, fields)? })
    }

    /// Height and width of every processed picture, where they do not depend on the picture.
    #[must_use]
    pub fn output_size(&self) -> Option<(usize, usize)> {
        match (self.steps.crop, self.steps.resize) {
            (Some(size), _) => Some(size),
            (None, Some((Size::Exactly { height, width }, _))) => Some((height, width)),
            _ => None,
        }
    }

    /// How pictures are resized, whether or not they are.
    pub(crate) fn resizing(&self) -> (Size, Filter) {
        self.steps.size
    }

    /// The height of the crop, whether or not pictures are cropped.
    pub(crate) fn crop_height(&self) -> Option<usize> {
        self.steps.crop_height
    }

    /// The value that a grey level (0 to 255) of a channel becomes: for baselines, and for showing pixels again.
    #[must_use]
    pub fn value(&self, channel: usize, level: u8) -> f32 {
        self.valued(channel.min(2), f64::from(level))
    }

    /// The mean colour of a picture, all of it, in the numbers that the tower is given: what [`ImageProcessor::process`] would
    /// make of every pixel of a picture in that colour alone, which need be no whole level.
    ///
    /// # Errors
    ///
    /// [`ProcessorError`] for pictures that are empty, or of colours that are not taken.
    ///
    /// # Cost
    ///
    /// One look at every pixel.
    pub fn colour(&self, picture: &DynamicImage) -> Result<[f32; 3], ProcessorError> {
        let mean = mean_colour([picture])?;
        Ok(std::array::from_fn(|channel| self.valued(channel, mean[channel])))
    }

    /// Processes one picture, which should be upright already.
    ///
    /// # Memory
    ///
    /// Only the part that the crop keeps is resized, so that a long and narrow picture costs no more than others.
    ///
    /// # Errors
    ///
    /// [`ProcessorError`] for pictures that are empty, too large, or of colours that are not taken.
    pub fn process(&self, picture: &DynamicImage) -> Result<Processed, ProcessorError> {
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        if width == 0 || height == 0 {
            return Err(ProcessorError::Empty { width, height });
        }
        limited("the picture", (width, height), MOST_PIXELS)?;
        let picture = self.squared(colour::to_rgb(picture, self.steps.convert_rgb)?)?;
        let before = ((picture.width - width) / 2, (picture.height - height) / 2);

        let (resized_height, resized_width) = match self.steps.resize {
            Some((size, _)) => size.of(picture.height, picture.width),
            None => (picture.height, picture.width),
        };
        if resized_height == 0 || resized_width == 0 {
            let (to_width, to_height) = (resized_width, resized_height);
            return Err(ProcessorError::Vanishes { width, height, to_width, to_height });
        }
        let (out_height, out_width) = self.steps.crop.unwrap_or((resized_height, resized_width));
        limited("the processed picture", (out_width, out_height), MOST_PROCESSED)?;
        let (rows, cols) = (Middle::of(resized_height, out_height), Middle::of(resized_width, out_width));

        let (kept_rows, kept_cols) = (rows.kept.clone(), cols.kept.clone());
        let part = match self.steps.resize {
            None => picture.part(&kept_rows, &kept_cols),
            Some((_, filter)) => {
                let target =
                    Target { width: resized_width, height: resized_height, rows: kept_rows, cols: kept_cols };
                limited(
                    "the picture between two steps of resizing",
                    target.between(picture.width, picture.height, filter),
                    MOST_PIXELS,
                )?;
                resample::resize(&picture, &target, filter)
            }
        };
        let axis = |original, before, from: usize, to: usize, middle: &Middle, processed| AxisMap {
            original,
            processed,
            before,
            scale: to as f64 / from as f64,
            shift: middle.shift(),
        };
        let geometry = Geometry::new(
            axis(width, before.0, picture.width, resized_width, &cols, out_width),
            axis(height, before.1, picture.height, resized_height, &rows, out_height),
        );
        let pixels = self.pixels(&part, (rows.at, cols.at), (out_height, out_width));
        Ok(Processed { pixels, height: out_height, width: out_width, geometry })
    }

    /// The picture in three colours, as [`ImageProcessor::process`] sees it: for what cuts it into tiles first.
    ///
    /// # Errors
    ///
    /// [`ProcessorError`] for pictures that are empty, or of colours that are not taken.
    pub(crate) fn rgb(&self, picture: &DynamicImage) -> Result<RgbImage, ProcessorError> {
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let bytes = colour::to_rgb(picture, self.steps.convert_rgb)?.bytes.into_owned();
        RgbImage::from_raw(picture.width(), picture.height(), bytes)
            .filter(|picture| !picture.is_empty())
            .ok_or(ProcessorError::Empty { width, height })
    }

    /// The picture in the middle of a square, if the processor wants that.
    fn squared<'a>(&self, picture: Rgb<'a>) -> Result<Rgb<'a>, ProcessorError> {
        let Some(levels) = self.steps.square.filter(|_| picture.width != picture.height) else {
            return Ok(picture);
        };
        let side = picture.width.max(picture.height);
        limited("the picture padded to a square", (side, side), MOST_PIXELS)?;
        let (left, top) = ((side - picture.width) / 2, (side - picture.height) / 2);
        let mut bytes = levels.repeat(side * side);
        let lines = bytes.chunks_exact_mut(3 * side).skip(top);
        for (line, from) in lines.zip(picture.bytes.chunks_exact(3 * picture.width)) {
            line[3 * left..3 * (left + picture.width)].copy_from_slice(from);
        }
        Ok(Rgb { width: side, height: side, bytes: bytes.into() })
    }

    /// What a level of a channel becomes. Products are taken in `f64` and differences in `f32`, as NumPy does for the
    /// reference.
    #[allow(clippy::cast_possible_truncation, reason = "rounding to f32 is meant")]
    fn valued(&self, channel: usize, level: f64) -> f32 {
        let value = (level * self.steps.rescale.unwrap_or(1.0)) as f32;
        let normalized =
            |(mean, std): ([f64; 3], [f64; 3])| (value - mean[channel] as f32) / std[channel] as f32;
        self.steps.normalize.map_or(value, normalized)
    }

    /// What each of the 256 levels of a channel becomes.
    fn levels(&self, channel: usize) -> [f32; 256] {
        std::array::from_fn(|level| self.valued(channel, level as f64))
    }

    /// The values of a picture that has `part` at the place `at`, and black around it.
    fn pixels(&self, part: &Rgb<'_>, at: (usize, usize), (height, width): (usize, usize)) -> Vec<f32> {
        let mut pixels = Vec::with_capacity(3 * height * width);
        for channel in 0..3 {
            let levels = self.levels(channel);
            let start = pixels.len();
            pixels.resize(start + height * width, levels[0]);
            let lines = pixels[start..].chunks_exact_mut(width).skip(at.0);
            for (line, from) in lines.zip(part.bytes.chunks_exact(3 * part.width)) {
                for (value, pixel) in line[at.1..].iter_mut().zip(from.chunks_exact(3)) {
                    *value = levels[usize::from(pixel[channel])];
                }
            }
        }
        pixels
    }
}

/// The middle of one side, cropped or padded.
#[derive(Debug, Clone)]
struct Middle {
    /// What is kept of the side.
    kept: Range<usize>,
    /// Where it is put.
    at: usize,
}

impl Middle {
    /// Of an odd number of pixels too many, the smaller half goes first; of an odd number too few, the larger.
    fn of(side: usize, wanted: usize) -> Self {
        if wanted <= side {
            let first = (side - wanted) / 2;
            Self { kept: first..first + wanted, at: 0 }
        } else {
            Self { kept: 0..side, at: (wanted - side).div_ceil(2) }
        }
    }

    fn shift(&self) -> f64 {
        self.at as f64 - self.kept.start as f64
    }
}

/// Refuses what has more pixels than a limit.
///
/// # Errors
/// [`ProcessorError::TooLarge`].
pub(crate) fn limited(
    what: &'static str,
    (width, height): (usize, usize),
    limit: usize,
) -> Result<(), ProcessorError> {
    match width.checked_mul(height) {
        Some(pixels) if pixels <= limit => Ok(()),
        _ => Err(ProcessorError::TooLarge { what, width, height, limit }),
    }
}

/// A picture of three colours resized to a height and width, as Pillow does it.
///
/// # Errors
/// [`ProcessorError`] for pictures that are too large.
pub(crate) fn resized(
    picture: &DynamicImage,
    (height, width): (usize, usize),
    filter: Filter,
) -> Result<RgbImage, ProcessorError> {
    let from = (picture.width() as usize, picture.height() as usize);
    limited("the picture", from, MOST_PIXELS)?;
    limited("the processed picture", (width, height), MOST_PROCESSED)?;
    if from.0 == 0 || from.1 == 0 || width == 0 || height == 0 {
        let (to_width, to_height) = (width, height);
        return Err(ProcessorError::Vanishes { width: from.0, height: from.1, to_width, to_height });
    }
    let rgb = colour::to_rgb(picture, true)?;
    let target = Target { width, height, rows: 0..height, cols: 0..width };
    let between = target.between(rgb.width, rgb.height, filter);
    limited("the picture between two steps of resizing", between, MOST_PIXELS)?;
    let bytes = resample::resize(&rgb, &target, filter).bytes.into_owned();
    RgbImage::from_raw(width as u32, height as u32, bytes).ok_or(ProcessorError::Empty { width, height })
}
