//! The frames of a GIF as Pillow composes them: frames smaller than the canvas, transparency, and what becomes of a frame
//! before the next.

use std::io::{Read, Seek};

use gif::{ColorOutput, DecodeOptions, Decoder, DecodingError, DisposalMethod, Frame};
use image::{DynamicImage, RgbImage, RgbaImage};

use crate::picture::MOST_PICTURE_PIXELS;

/// A colour and whether it is seen: 255, or 0.
type Pixel = [u8; 4];

/// A part of the canvas: columns and rows.
#[derive(Debug, Clone)]
struct Area {
    left: usize,
    top: usize,
    right: usize,
    bottom: usize,
}

impl Area {
    fn of(frame: &Frame<'_>) -> Self {
        let (left, top) = (usize::from(frame.left), usize::from(frame.top));
        Self { left, top, right: left + usize::from(frame.width), bottom: top + usize::from(frame.height) }
    }

    /// The places of its pixels on a canvas of so many columns, row by row.
    fn places(&self, width: usize) -> impl Iterator<Item = usize> {
        let columns = self.left..self.right;
        (self.top..self.bottom).flat_map(move |row| columns.clone().map(move |column| row * width + column))
    }
}

/// The frames of a GIF, one after the other.
pub(crate) struct Frames<R: Read> {
    decoder: Decoder<R>,
    width: usize,
    height: usize,
    canvas: Vec<Pixel>,
    /// Whether the first frame has a transparent colour: without one, the canvas is opaque.
    transparent: bool,
    /// What is put back before the next frame.
    restored: Option<(Area, Vec<Pixel>)>,
    /// A frame that says nothing of it is disposed of as the one before.
    disposal: DisposalMethod,
    /// Frames so far.
    read: usize,
    /// The size of the canvas as the header has it.
    claimed: (usize, usize),
}

/// One frame, and how many hundredths of a second it is shown.
pub(crate) struct Shown {
    pub(crate) image: DynamicImage,
    pub(crate) hundredths: u16,
}

/// Why a frame is not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GifFault {
    #[error(transparent)]
    Decoding(#[from] DecodingError),
    #[error("frame {at} is larger than the canvas of {width} x {height} pixels")]
    Larger { at: usize, width: usize, height: usize },
}

/// How much larger than its canvas a frame may make a picture: so many times, and so many pixels. What claims to be larger
/// still is no frame.
const GROWS: (usize, usize) = (4, 1 << 12);

impl<R: Read + Seek> Frames<R> {
    /// Reads the header of a GIF.
    pub(crate) fn new(source: R) -> Result<Self, GifFault> {
        let mut options = DecodeOptions::new();
        options.set_color_output(ColorOutput::Indexed);
        let decoder = options.read_info(source)?;
        let claimed = (usize::from(decoder.width()), usize::from(decoder.height()));
        Ok(Self {
            decoder,
            width: claimed.0,
            height: claimed.1,
            canvas: Vec::new(),
            transparent: false,
            restored: None,
            disposal: DisposalMethod::Any,
            read: 0,
            claimed,
        })
    }

    /// Width and height of the canvas, as the header has it.
    pub(crate) fn dimensions(&self) -> (u32, u32) {
        (self.width as u32, self.height as u32)
    }

    /// The next frame; `None` behind the last.
    pub(crate) fn read(&mut self) -> Result<Option<Shown>, GifFault> {
        let global = self.decoder.global_palette().map(<[u8]>::to_vec);
        let background = self.decoder.bg_color().unwrap_or(0);
        let Some(frame) = self.decoder.next_frame_info()?.cloned() else { return Ok(None) };
        let area = Area::of(&frame);
        self.fits(&area)?;
        let mut indices = vec![0; self.decoder.buffer_size()];
        self.decoder.read_into_buffer(&mut indices)?;
        let palette = frame.palette.as_ref().or(global.as_ref());
        let colour = |index: u8| {
            let at = 3 * usize::from(index);
            let rgb = palette.and_then(|palette| palette.get(at..at + 3));
            // Beyond its palette, and without any, Pillow counts in grey.
            let rgb = rgb.and_then(|rgb| <[u8; 3]>::try_from(rgb).ok()).unwrap_or([index; 3]);
            let seen = if frame.transparent == Some(index) { 0 } else { 255 };
            [rgb[0], rgb[1], rgb[2], seen]
        };
        if let Some((area, pixels)) = self.restored.take() {
            self.put(&area, &pixels);
        }
        let first = self.read == 0;
        self.read += 1;
        let around = if first { colour(frame.transparent.unwrap_or(0)) } else { [0; 4] };
        self.transparent |= first && frame.transparent.is_some();
        let grown = if first || frame.transparent.is_some() { around } else { colour(0) };
        self.grow(&area, grown);
        if frame.dispose != DisposalMethod::Any {
            self.disposal = frame.dispose;
        }
        let before = || area.places(self.width).map(|at| self.canvas[at]).collect::<Vec<Pixel>>();
        let kept = match self.disposal {
            DisposalMethod::Any | DisposalMethod::Keep => None,
            DisposalMethod::Background => {
                let index = frame.transparent.map_or(background, usize::from);
                Some(vec![colour(index as u8); area.places(self.width).count()])
            }
            // Before the first frame there is nothing but what is transparent.
            DisposalMethod::Previous if first => {
                let count = area.places(self.width).count();
                frame.transparent.map(|index| vec![colour(index); count])
            }
            DisposalMethod::Previous => Some(before()),
        };
        self.restored = kept.map(|pixels| (area.clone(), pixels));
        for (at, index) in area.places(self.width).zip(&indices) {
            let pixel = colour(*index);
            if first || pixel[3] == 255 {
                self.canvas[at] = pixel;
            }
        }
        Ok(Some(Shown { image: self.image(), hundredths: frame.delay }))
    }

    fn put(&mut self, area: &Area, pixels: &[Pixel]) {
        for (at, pixel) in area.places(self.width).zip(pixels) {
            self.canvas[at] = *pixel;
        }
    }

    /// Refuses a frame that would make the canvas far larger than the header says.
    fn fits(&self, area: &Area) -> Result<(), GifFault> {
        let (width, height) = self.claimed;
        let pixels = self.width.max(area.right) * self.height.max(area.bottom);
        let most = (MOST_PICTURE_PIXELS as usize).min(GROWS.0 * width * height + GROWS.1); // no NaN: whole numbers
        match pixels <= most {
            true => Ok(()),
            false => Err(GifFault::Larger { at: self.read, width, height }),
        }
    }

    /// A canvas that has room for a frame; what is new has one colour.
    fn grow(&mut self, area: &Area, colour: Pixel) {
        let (width, height) = (self.width.max(area.right), self.height.max(area.bottom));
        if (width, height) == (self.width, self.height) && !self.canvas.is_empty() {
            return;
        }
        let mut canvas = vec![colour; width * height];
        for (row, line) in self.canvas.chunks(self.width.max(1)).enumerate() {
            canvas[row * width..row * width + line.len()].copy_from_slice(line);
        }
        (self.canvas, self.width, self.height) = (canvas, width, height);
    }

    fn image(&self) -> DynamicImage {
        let (width, height) = (self.width as u32, self.height as u32);
        let clear = self.transparent && self.canvas.iter().any(|pixel| pixel[3] == 0);
        if clear {
            let bytes = self.canvas.concat();
            return RgbaImage::from_raw(width, height, bytes).unwrap_or_default().into();
        }
        let bytes = self.canvas.iter().flat_map(|[red, green, blue, _]| [*red, *green, *blue]).collect();
        RgbImage::from_raw(width, height, bytes).unwrap_or_default().into()
    }
}
