//! A picture from a file, within limits that hold before it is decoded.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Seek};
use std::path::Path;
use std::sync::Arc;

use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, Rgb, RgbImage};
use mmlens_finding::{PictureRecord, Source};

use crate::gif::{Frames, GifFault};
use crate::png::{size, without_profile};
use crate::{Panicked, caught};
use crate::{SubjectError, mean_colour, rgb_bytes, upright};

/// The most pixels a picture may have. (Pillow warns of pictures with more.)
pub const MOST_PICTURE_PIXELS: u64 = 90_000_000;
/// The most bytes of a picture's file.
pub const MOST_PICTURE_BYTES: u64 = 1 << 28;
/// The most bytes that decoding a picture may take, as far as decoders count them: 8 for each of the most pixels, in 16 bits
/// and four channels, and some for what else is in a file.
const MOST_DECODED: u64 = 8 * MOST_PICTURE_PIXELS + (1 << 26);

/// A picture with its name.
#[derive(Debug, Clone)]
pub struct Picture {
    /// What it is called in findings and reports.
    pub name: String,
    /// The pixels, as decoded and turned upright.
    pub image: Arc<DynamicImage>,
    /// Where they came from.
    pub source: Source,
}

impl Picture {
    /// A picture from memory.
    pub fn new(name: impl Into<String>, image: impl Into<DynamicImage>) -> Self {
        Self { name: name.into(), image: Arc::new(image.into()), source: Source::Memory }
    }

    /// A picture of the same size that shows its mean colour alone, as near as whole levels come.
    ///
    /// # Errors
    /// [`SubjectError::Picture`] for colours that are not taken.
    pub fn mean_colour(&self) -> Result<Self, SubjectError> {
        let colour = level(&self.name, [self.image.as_ref()])?;
        Ok(Self {
            name: format!("mean colour of {}", self.name),
            image: filled(&self.image, colour),
            source: Source::MeanColourOf(Box::new(self.source.clone())),
        })
    }

    /// Its pixels as models take them: red, green and blue in 8 bits, on white where it is transparent.
    ///
    /// # Errors
    /// [`SubjectError::Picture`] for colours that are not taken.
    pub fn rgb(&self) -> Result<RgbImage, SubjectError> {
        let told = |reason: String| SubjectError::Picture { path: self.name.clone(), reason };
        let bytes = rgb_bytes(&self.image).map_err(|error| told(error.to_string()))?.into_owned();
        let [width, height] = [self.image.width(), self.image.height()];
        RgbImage::from_raw(width, height, bytes)
            .ok_or_else(|| told("its pixels do not fill its size".to_owned()))
    }

    /// What a finding keeps of it.
    pub(crate) fn record(&self) -> PictureRecord {
        PictureRecord {
            name: self.name.clone(),
            source: self.source.clone(),
            size: [self.image.width(), self.image.height()],
            sha256: hash(&self.image),
        }
    }

    /// A picture from a file (PNG, JPEG, WebP, BMP, GIF), turned upright by what its EXIF says, or else its XMP.
    ///
    /// # Errors
    /// [`SubjectError::Picture`] if the file cannot be read or decoded, is larger than [`MOST_PICTURE_BYTES`], or says that it
    /// has more than [`MOST_PICTURE_PIXELS`].
    ///
    /// # Memory
    /// The pixels, twice where they are turned, and the file. What the file says of its size is checked before.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, SubjectError> {
        let path = path.as_ref();
        let image = opened(path, u64::MAX).map_err(|fault| SubjectError::Picture {
            path: path.display().to_string(),
            reason: fault.to_string(),
        })?;
        let name =
            path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned());
        let source = Source::File(path.display().to_string());
        Ok(Self { source, ..Self::new(name, image) })
    }

    /// A picture from the bytes of a file, as [`Picture::open`] reads one; its format is told by the bytes.
    ///
    /// # Errors
    /// As [`Picture::open`], with the name instead of a file.
    pub fn from_bytes(name: impl Into<String>, bytes: &[u8]) -> Result<Self, SubjectError> {
        let (name, found) = (name.into(), bytes.len() as u64);
        let read = || match found {
            0..=MOST_PICTURE_BYTES => caught(|| decoded(ImageReader::new(Cursor::new(bytes)), u64::MAX))?,
            _ => Err(io::Error::from(mmlens_files::Refused::Size { found, most: MOST_PICTURE_BYTES }).into()),
        };
        match read() {
            Ok(image) => Ok(Self::new(name, image)),
            Err(fault) => Err(SubjectError::Picture { path: name, reason: fault.to_string() }),
        }
    }
}

/// The colour of a picture's mean, each channel rounded.
pub(crate) fn level<'a>(
    name: &str,
    pictures: impl IntoIterator<Item = &'a DynamicImage>,
) -> Result<Rgb<u8>, SubjectError> {
    let mean = mean_colour(pictures)
        .map_err(|error| SubjectError::Picture { path: name.to_owned(), reason: error.to_string() })?;
    Ok(Rgb(mean.map(|mean| mean.round() as u8)))
}

/// A picture of one colour, of the size of another.
pub(crate) fn filled(like: &DynamicImage, colour: Rgb<u8>) -> Arc<DynamicImage> {
    Arc::new(RgbImage::from_pixel(like.width(), like.height(), colour).into())
}

/// SHA-256 of pixels, with their size and colours.
pub(crate) fn hash(image: &DynamicImage) -> String {
    let mut bytes = format!("{}x{} {:?} ", image.width(), image.height(), image.color()).into_bytes();
    bytes.extend_from_slice(image.as_bytes());
    mmlens_files::sha256(bytes)
}

/// Why a picture is not opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Gif(#[from] GifFault),
    #[error("the picture has no pixels")]
    Empty,
    #[error("it claims to have {width} x {height} pixels, expected at most {MOST_PICTURE_PIXELS} of them")]
    Pixels { width: u32, height: u32 },
    #[error("more pixels than are left of those of a clip")]
    Beyond,
    #[error("the decoder fails: {0}")]
    Panic(#[from] Panicked),
}

/// A regular file of at most so many bytes.
pub(crate) fn regular(path: &Path, most: u64) -> io::Result<File> {
    let (file, about) = mmlens_files::open(path)?;
    match about.len() {
        found if found > most => Err(mmlens_files::Refused::Size { found, most }.into()),
        _ => Ok(file),
    }
}

/// The pixels of a file, turned upright, if there are at most `left` of them.
pub(crate) fn opened(path: &Path, left: u64) -> Result<DynamicImage, Fault> {
    caught(|| {
        let mut reader = ImageReader::new(BufReader::new(regular(path, MOST_PICTURE_BYTES)?));
        if let Ok(format) = ImageFormat::from_path(path) {
            reader.set_format(format);
        }
        decoded(reader, left)
    })?
}

fn decoded<R: BufRead + Seek>(reader: ImageReader<R>, left: u64) -> Result<DynamicImage, Fault> {
    let reader = reader.with_guessed_format()?;
    if reader.format() == Some(ImageFormat::Gif) {
        let mut frames = Frames::new(reader.into_inner())?;
        within(frames.dimensions(), left)?;
        return Ok(frames.read()?.ok_or(Fault::Empty)?.image);
    }
    if reader.format() == Some(ImageFormat::Png) {
        let mut bytes = Vec::new();
        reader.into_inner().read_to_end(&mut bytes)?;
        if let Some(size) = size(&bytes) {
            within(size, left)?;
        }
        let bytes = Cursor::new(without_profile(bytes));
        return upright_of(ImageReader::with_format(bytes, ImageFormat::Png), left);
    }
    upright_of(reader, left)
}

fn upright_of<R: BufRead + Seek>(mut reader: ImageReader<R>, left: u64) -> Result<DynamicImage, Fault> {
    let mut limits = Limits::default();
    limits.max_alloc = Some(MOST_DECODED);
    reader.limits(limits);
    let mut decoder = reader.into_decoder()?;
    within(decoder.dimensions(), left)?;
    let orientation = upright::orientation(&mut decoder);
    let mut image = DynamicImage::from_decoder(decoder)?;
    image.apply_orientation(orientation);
    Ok(image)
}

/// Refuses what claims to have no pixels, or too many.
pub(crate) fn within((width, height): (u32, u32), left: u64) -> Result<(), Fault> {
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 {
        return Err(Fault::Empty);
    }
    if pixels > MOST_PICTURE_PIXELS {
        return Err(Fault::Pixels { width, height });
    }
    if pixels > left {
        return Err(Fault::Beyond);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use image::RgbImage;

    use super::*;

    /// A picture of one pixel in a format, its bytes changed.
    fn file(folder: &Path, format: ImageFormat, change: impl FnOnce(&mut Vec<u8>)) -> PathBuf {
        let mut bytes = Vec::new();
        RgbImage::new(1, 1).write_to(&mut Cursor::new(&mut bytes), format).unwrap();
        change(&mut bytes);
        let path = folder.join("a").with_extension(format.extensions_str()[0]);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn said(path: &Path) -> String {
        Picture::open(path).unwrap_err().to_string()
    }

    fn put(bytes: &mut [u8], at: usize, with: &[u8]) {
        bytes[at..at + with.len()].copy_from_slice(with);
    }

    #[test]
    fn what_a_file_claims_is_checked_before_it_is_decoded() {
        let folder = tempfile::tempdir().unwrap();
        let large = "it claims to have 65535 x 65535 pixels, expected at most 90000000 of them";
        // Width and height of a BMP are 4 bytes each behind 18, little endian; of a JPEG, height first, 2 bytes each behind
        // the marker FF C0, two bytes of length and one of precision; of a GIF, 2 bytes each behind 6.
        let bmp = file(folder.path(), ImageFormat::Bmp, |bytes| {
            put(bytes, 18, &65_535_u32.to_le_bytes());
            put(bytes, 22, &65_535_u32.to_le_bytes());
        });
        assert!(bmp.metadata().unwrap().len() < 64);
        let jpeg = file(folder.path(), ImageFormat::Jpeg, |bytes| {
            let frame = bytes.windows(2).position(|two| two == [0xff, 0xc0]).unwrap();
            put(bytes, frame + 5, &[0xff; 4]);
        });
        let gif = file(folder.path(), ImageFormat::Gif, |bytes| put(bytes, 6, &[0xff; 4]));
        for path in [bmp, jpeg, gif] {
            assert!(said(&path).ends_with(large), "{}", said(&path));
        }
        // Those of a PNG stand behind 16 bytes, with a checksum behind them; of a lossless WebP, one less
        // in 14 bits each, behind 21. The largest that a PNG may claim is more than its decoder looks at.
        for side in [65_535, 0x7fff_ffff_u32] {
            let png = file(folder.path(), ImageFormat::Png, |bytes| {
                put(bytes, 16, &side.to_be_bytes());
                put(bytes, 20, &side.to_be_bytes());
                let sum = crc(&bytes[12..29]);
                put(bytes, 29, &sum.to_be_bytes());
            });
            let claimed =
                format!("it claims to have {side} x {side} pixels, expected at most 90000000 of them");
            assert_eq!(said(&png), format!("{}: {claimed}", png.display()));
        }
        let webp = file(folder.path(), ImageFormat::WebP, |bytes| put(bytes, 21, &[0xfe, 0xbf, 0xff, 0x0f]));
        assert!(said(&webp).contains("16383 x 16383 pixels"), "{}", said(&webp));
    }

    /// The checksum of PNG's chunks.
    fn crc(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0, |sum, byte| {
            (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0xedb8_8320 * (sum & 1)))
        })
    }

    #[test]
    fn bytes_are_read_as_the_file_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(folder.path(), ImageFormat::Png, |_| {});
        let read = Picture::from_bytes("a", &std::fs::read(&path).unwrap()).unwrap();
        assert_eq!((read.image, read.name.as_str()), (Picture::open(&path).unwrap().image, "a"));
        assert!(Picture::from_bytes("a", b"no picture").unwrap_err().to_string().starts_with("a: "));
    }

    #[test]
    fn only_regular_files_are_pictures() {
        let folder = tempfile::tempdir().unwrap();
        assert!(said(folder.path()).ends_with("it is a folder, expected a regular file"));
        let sparse = folder.path().join("a.png");
        File::create(&sparse).unwrap().set_len(1 << 40).unwrap();
        assert!(said(&sparse).ends_with("it has 1099511627776 bytes, expected at most 268435456"));
    }

    #[test]
    fn the_mean_colour_is_rounded() {
        let mut pixels = RgbImage::new(2, 1);
        pixels.put_pixel(0, 0, Rgb([255, 1, 0]));
        // red 255 / 2 = 127.5, rounded up; green 1 / 2 = 0.5, rounded up
        let mean = Picture::new("p", pixels).mean_colour().unwrap();
        assert_eq!(mean.image.to_rgb8().into_raw(), [128, 1, 0, 128, 1, 0]);
        assert_eq!(mean.name, "mean colour of p");
    }

    #[test]
    fn a_clip_has_one_mean_colour() {
        let frame = |level: u8| Arc::new(RgbImage::from_pixel(1, 1, image::Rgb([level, 0, 9])).into());
        let flat = crate::Clip::new("c", vec![frame(10), frame(40), frame(40)], None).mean_colour().unwrap();
        // (10 + 40 + 40) / 3
        assert!(flat.frames.iter().all(|frame| frame.to_rgb8().get_pixel(0, 0).0 == [30, 0, 9]));
        assert_eq!((flat.frames.len(), flat.name.as_str()), (3, "mean colour of c"));
    }
}
