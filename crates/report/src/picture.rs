//! A picture of the input, at its original resolution.

use std::fmt;
use std::io::Cursor;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::codecs::jpeg::JpegEncoder;
use image::error::{LimitError, LimitErrorKind};
use image::imageops::FilterType;
use image::{
    DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, ImageResult, Limits, RgbImage,
};

use crate::{Recording, ReportError};

/// A picture that is too large for a page is scaled down to sides of at most so many pixels, then further, but not below the least.
const MOST_SIDE: u32 = 1600;
const LEAST_SIDE: u32 = 160;
const QUALITY: u8 = 85;

/// The most pixels of a picture.
const MOST_PIXELS: u64 = 90_000_000;

/// A picture of the input, at its original resolution: the one whose pixels the boxes of patches speak of.
#[derive(Clone, PartialEq)]
pub struct Picture {
    name: String,
    width: u32,
    height: u32,
    kind: &'static str,
    bytes: Vec<u8>,
    place: Option<(usize, usize)>,
    recording: Option<Recording>,
}

impl Picture {
    /// A picture from its pixels.
    ///
    /// # Errors
    /// [`ReportError::Empty`] without pixels, [`ReportError::Picture`] if they cannot be written as PNG.
    pub fn from_rgb(name: impl Into<String>, pixels: &RgbImage) -> Result<Self, ReportError> {
        let name = name.into();
        let (width, height) = pixels.dimensions();
        if width == 0 || height == 0 {
            return Err(ReportError::Empty { picture: name, width, height });
        }
        let mut bytes = Vec::new();
        match pixels.write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png) {
            Ok(()) => {
                Ok(Self { name, width, height, kind: "image/png", bytes, place: None, recording: None })
            }
            Err(source) => Err(ReportError::Picture { picture: name, source }),
        }
    }

    /// A picture from the bytes of its file. PNG, JPEG and WebP stay as they are; any other format that can be read
    /// becomes PNG.
    ///
    /// # Errors
    /// [`ReportError::Picture`] for bytes that are no picture, or one of more than 90 million pixels; [`ReportError::Empty`] for one
    /// without pixels.
    pub fn from_bytes(name: impl Into<String>, bytes: Vec<u8>) -> Result<Self, ReportError> {
        let name = name.into();
        let fail = |source| ReportError::Picture { picture: name.clone(), source };
        let format = image::guess_format(&bytes).map_err(fail)?;
        let pixels = decoded(&bytes).map_err(fail)?;
        let kind = match format {
            ImageFormat::Png => "image/png",
            ImageFormat::Jpeg => "image/jpeg",
            ImageFormat::WebP => "image/webp",
            _ => return Self::from_rgb(name, &pixels),
        };
        let (width, height) = pixels.dimensions();
        Ok(Self { name, width, height, kind, bytes, place: None, recording: None })
    }

    /// The same picture as this image and frame of the input. Without it, the place in the list of the page's
    /// pictures is the number of the image, and the frame is 0.
    #[must_use]
    pub const fn at(mut self, image: usize, frame: usize) -> Self {
        self.place = Some((image, frame));
        self
    }

    /// The same as the spectrogram of a recording: one pixel for each frame of the sound and each filter, the highest on top.
    #[must_use]
    pub fn heard(mut self, recording: Recording) -> Self {
        self.recording = Some(recording);
        self
    }

    /// What is heard, if it is the spectrogram of a recording.
    #[must_use]
    pub const fn recording(&self) -> Option<&Recording> {
        self.recording.as_ref()
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Width and height in pixels.
    #[must_use]
    pub const fn dimensions(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// The pixels.
    ///
    /// # Errors
    /// [`ReportError::Picture`] if they cannot be decoded.
    pub fn pixels(&self) -> Result<RgbImage, ReportError> {
        decoded(&self.bytes).map_err(|source| ReportError::Picture { picture: self.name.clone(), source })
    }

    /// Image and frame of the input, where `index` is the place in the list of pictures.
    #[must_use]
    pub fn place(&self, index: usize) -> (usize, usize) {
        self.place.unwrap_or((index, 0))
    }

    /// The picture as an address that holds the picture itself, and the size it has there. A file of more than `most` bytes is
    /// scaled down to a JPEG that has no more, if one of that few pixels can be seen at all.
    ///
    /// # Errors
    /// [`ReportError::Picture`] if it cannot be decoded or written.
    pub(crate) fn data_uri(&self, most: usize) -> Result<(String, (u32, u32)), ReportError> {
        if self.bytes.len() <= most {
            let address = format!("data:{};base64,{}", self.kind, STANDARD.encode(&self.bytes));
            return Ok((address, (self.width, self.height)));
        }
        let whole = DynamicImage::ImageRgb8(self.pixels()?);
        let mut side = MOST_SIDE;
        loop {
            let small = if whole.width().max(whole.height()) > side {
                whole.resize(side, side, FilterType::Triangle)
            } else {
                whole.clone()
            };
            let mut bytes = Vec::new();
            let encoder = JpegEncoder::new_with_quality(&mut bytes, QUALITY);
            let fail = |source| ReportError::Picture { picture: self.name.clone(), source };
            small.write_with_encoder(encoder).map_err(fail)?;
            if bytes.len() <= most || side <= LEAST_SIDE {
                let address = format!("data:image/jpeg;base64,{}", STANDARD.encode(&bytes));
                return Ok((address, (small.width(), small.height())));
            }
            side = side * 3 / 4;
        }
    }
}

/// The pixels of a file in memory. What it says of its size is looked at before it is decoded.
fn decoded(bytes: &[u8]) -> ImageResult<RgbImage> {
    let mut decoder = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?.into_decoder()?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MOST_PIXELS {
        return Err(ImageError::Limits(LimitError::from_kind(LimitErrorKind::DimensionError)));
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(8 * MOST_PIXELS + (1 << 26));
    decoder.set_limits(limits)?;
    Ok(DynamicImage::from_decoder(decoder)?.into_rgb8())
}

impl fmt::Debug for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Picture({:?}, {} x {}, {})", self.name, self.width, self.height, self.kind)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::{ImageFormat, Rgb, RgbImage};

    use super::Picture;

    fn encoded(format: ImageFormat) -> Vec<u8> {
        let mut bytes = Vec::new();
        let pixels = RgbImage::from_pixel(3, 2, Rgb([200, 10, 10]));
        pixels.write_to(&mut Cursor::new(&mut bytes), format).unwrap();
        bytes
    }

    #[test]
    fn what_a_browser_reads_stays_as_it_is() {
        let jpeg = encoded(ImageFormat::Jpeg);
        let picture = Picture::from_bytes("a", jpeg.clone()).unwrap();
        assert_eq!((picture.kind, &picture.bytes, picture.dimensions()), ("image/jpeg", &jpeg, (3, 2)));
        let picture = Picture::from_bytes("a", encoded(ImageFormat::Bmp)).unwrap();
        assert_eq!(picture.kind, "image/png");
        assert_eq!(picture.pixels().unwrap().get_pixel(2, 1).0, [200, 10, 10]);
    }

    #[test]
    fn a_file_that_is_too_large_for_a_page_is_scaled_down() {
        // noise, which no format makes small
        let noise = |x: u32, y: u32| {
            Rgb([3, 5, 7]
                .map(|k| ((x * 7919 * k) ^ (y * 104_729)).wrapping_mul(2_654_435_761).to_le_bytes()[3]))
        };
        let picture = Picture::from_rgb("n", &RgbImage::from_fn(1800, 900, noise)).unwrap();
        let (whole, size) = picture.data_uri(usize::MAX).unwrap();
        assert!(whole.starts_with("data:image/png;base64,") && size == (1800, 900));
        let (small, (width, height)) = picture.data_uri(300_000).unwrap();
        assert!(small.starts_with("data:image/jpeg;base64,") && small.len() < 400_100, "{}", small.len());
        assert!(width.abs_diff(2 * height) <= 1 && width < 1600, "{width} {height}");
        // what the boxes of patches speak of stays
        assert_eq!(picture.dimensions(), (1800, 900));
    }

    #[test]
    fn what_is_no_picture_is_refused_by_name() {
        let message = Picture::from_bytes("cat.png", b"no picture".to_vec()).unwrap_err().to_string();
        assert!(message.starts_with("picture `cat.png`: "), "{message}");
        let message = Picture::from_bytes("cat.png", encoded(ImageFormat::Png)[..30].to_vec()).unwrap_err();
        assert!(message.to_string().starts_with("picture `cat.png`: "), "{message}");
        let message = Picture::from_rgb("void", &RgbImage::new(0, 4)).unwrap_err().to_string();
        assert_eq!(message, "picture `void` measures 0 x 4 pixels");
    }
}
