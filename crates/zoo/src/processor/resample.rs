//! Resizing as Pillow does it, byte for byte.
//!
//! A filter is laid over the input around the centre of each output pixel; when reducing it is stretched by the factor
//! of reduction, so that every input pixel counts. Columns and rows are filtered one after the other, with weights in
//! fixed point (22 bits after the point) and a rounded, clipped byte in between. Since that rounding shows, the order
//! matters: columns come first, except that Pillow 13 takes the rows first where they lose more than twice as many
//! pixels as the columns do. Earlier versions always took the columns first.

use std::borrow::Cow;
use std::f64::consts::PI;
use std::ops::Range;

use rayon::prelude::*;

/// Bits after the point in a weight.
const BITS: u32 = 22;

/// How pixels are weighted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// The one pixel at the place.
    Nearest,
    /// A windowed sinc over three pixels to each side.
    Lanczos,
    /// A triangle over one pixel to each side.
    Bilinear,
    /// A cubic (a = -1/2) over two pixels to each side.
    Bicubic,
    /// A plain mean over half a pixel to each side.
    Box,
    /// A sinc with Hamming's window over one pixel to each side.
    Hamming,
}

impl Filter {
    /// The filter of Pillow's number.
    #[must_use]
    pub fn from_code(code: u64) -> Option<Self> {
        Some(match code {
            0 => Self::Nearest,
            1 => Self::Lanczos,
            2 => Self::Bilinear,
            3 => Self::Bicubic,
            4 => Self::Box,
            5 => Self::Hamming,
            _ => return None,
        })
    }

    /// How far it reaches, in pixels of the coarser side.
    pub(super) fn reach(self) -> f64 {
        match self {
            Self::Nearest => 0.0,
            Self::Box => 0.5,
            Self::Bilinear | Self::Hamming => 1.0,
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    pub(super) fn weight(self, x: f64) -> f64 {
        match self {
            Self::Nearest => 1.0,
            Self::Box => f64::from(x > -0.5 && x <= 0.5),
            Self::Bilinear => (1.0 - x.abs()).max(0.0),
            Self::Hamming if x == 0.0 => 1.0,
            Self::Hamming if x.abs() >= 1.0 => 0.0,
            Self::Hamming => {
                let x = x.abs() * PI;
                x.sin() / x * (0.54 + 0.46 * x.cos())
            }
            Self::Bicubic => cubic(x.abs()),
            Self::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            Self::Lanczos => 0.0,
        }
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        return 1.0;
    }
    let x = x * PI;
    x.sin() / x
}

fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

/// Pixels row by row, three bytes each.
#[derive(Debug, Clone)]
pub(crate) struct Rgb<'a> {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) bytes: Cow<'a, [u8]>,
}

impl Rgb<'_> {
    /// A part of the picture.
    pub(crate) fn part(&self, rows: &Range<usize>, cols: &Range<usize>) -> Rgb<'static> {
        let mut bytes = Vec::with_capacity(3 * rows.len() * cols.len());
        for row in self.bytes.chunks_exact(3 * self.width).take(rows.end).skip(rows.start) {
            bytes.extend_from_slice(&row[3 * cols.start..3 * cols.end]);
        }
        Rgb { width: cols.len(), height: rows.len(), bytes: bytes.into() }
    }
}

/// What a resize is to give: the new size, and the part of it that is kept.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) rows: Range<usize>,
    pub(crate) cols: Range<usize>,
}

impl Target {
    /// Whether rows are filtered before columns, from a picture of `width` x `height`.
    fn rows_first(&self, width: usize, height: usize) -> bool {
        let lost = |from: usize, to: usize| i128::from(from as u64) - i128::from(to as u64);
        lost(height, self.height) > 0 && lost(height, self.height) > 2 * lost(width, self.width)
    }

    /// Width and height of what lies between the two passes.
    pub(crate) fn between(&self, width: usize, height: usize, filter: Filter) -> (usize, usize) {
        if self.rows_first(width, height) {
            (needed(filter, width, self.width, &self.cols).len(), self.rows.len())
        } else {
            (self.cols.len(), needed(filter, height, self.height, &self.rows).len())
        }
    }
}

/// The kept part of `picture`, resized.
pub(crate) fn resize(picture: &Rgb<'_>, target: &Target, filter: Filter) -> Rgb<'static> {
    let (width, height) = (picture.width, picture.height);
    if filter == Filter::Nearest {
        return nearest(picture, target);
    }
    if target.rows_first(width, height) {
        let cols = needed(filter, width, target.width, &target.cols);
        let between = filter_rows(picture, target.height, &target.rows, &cols, filter);
        filter_cols(&between, width, cols.start, target.width, &target.cols, &(0..target.rows.len()), filter)
    } else {
        let rows = needed(filter, height, target.height, &target.rows);
        let between = filter_cols(picture, width, 0, target.width, &target.cols, &rows, filter);
        filter_lines(&between, height, rows.start, target.height, &target.rows, filter)
    }
}

/// The weights of one output pixel: those of the input pixels from `first` on.
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

/// Which input pixels one output pixel sees.
fn span(filter: Filter, from: usize, to: usize, at: usize) -> (f64, Range<usize>) {
    let scale = from as f64 / to as f64;
    let reach = filter.reach() * scale.max(1.0);
    let centre = (at as f64 + 0.5) * scale;
    // The casts truncate towards zero, and negative numbers become zero.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "both are meant")]
    let (first, last) = ((centre - reach + 0.5) as usize, (centre + reach + 0.5) as usize);
    (centre, first..last.min(from))
}

/// Which input pixels the output pixels of `kept` see.
fn needed(filter: Filter, from: usize, to: usize, kept: &Range<usize>) -> Range<usize> {
    if from == to || kept.is_empty() {
        return kept.clone();
    }
    span(filter, from, to, kept.start).1.start..span(filter, from, to, kept.end - 1).1.end
}

fn taps(filter: Filter, from: usize, to: usize, at: usize) -> Taps {
    let stretch = (from as f64 / to as f64).max(1.0);
    let shrink = 1.0 / stretch;
    let (centre, seen) = span(filter, from, to, at);
    let first = seen.start;
    let mut weights: Vec<f64> = seen.map(|i| filter.weight((i as f64 - centre + 0.5) * shrink)).collect();
    let sum: f64 = weights.iter().sum();
    if sum != 0.0 {
        weights.iter_mut().for_each(|weight| *weight /= sum);
    }
    let one = f64::from(1 << BITS);
    #[allow(
        clippy::cast_possible_truncation,
        reason = "weights are about one at most; truncating rounds, with the half"
    )]
    let fixed = |weight: f64| (weight * one + if weight < 0.0 { -0.5 } else { 0.5 }) as i32;
    Taps { first, weights: weights.into_iter().map(fixed).collect() }
}

/// A sum of weighted bytes as a byte. Sums stay within 31 bits, since no filter's weights add up to twice one.
fn to_byte(sum: i32) -> u8 {
    (sum >> BITS).clamp(0, 255) as u8
}

/// Columns of `rows`, from a picture that lacks the first `skipped` of its `from` columns.
fn filter_cols(
    picture: &Rgb<'_>,
    from: usize,
    skipped: usize,
    to: usize,
    kept: &Range<usize>,
    rows: &Range<usize>,
    filter: Filter,
) -> Rgb<'static> {
    if from == to {
        return picture.part(rows, &(kept.start - skipped..kept.end - skipped));
    }
    let all: Vec<Taps> = kept.clone().map(|at| taps(filter, from, to, at)).collect();
    let mut bytes = vec![0; 3 * rows.len() * kept.len()];
    let lines = picture.bytes.par_chunks_exact(3 * picture.width).skip(rows.start).take(rows.len());
    bytes.par_chunks_exact_mut(3 * kept.len()).zip(lines).for_each(|(out, line)| {
        for (out, taps) in out.chunks_exact_mut(3).zip(&all) {
            let mut sums = [1 << (BITS - 1); 3];
            let seen = &line[3 * (taps.first - skipped)..];
            for (pixel, &weight) in seen.chunks_exact(3).zip(&taps.weights) {
                for (sum, &byte) in sums.iter_mut().zip(pixel) {
                    *sum = i32::wrapping_add(*sum, i32::wrapping_mul(weight, i32::from(byte)));
                }
            }
            out.copy_from_slice(&sums.map(to_byte));
        }
    });
    Rgb { width: kept.len(), height: rows.len(), bytes: bytes.into() }
}

/// Rows of the columns `cols`, from the whole picture.
fn filter_rows(
    picture: &Rgb<'_>,
    to: usize,
    kept: &Range<usize>,
    cols: &Range<usize>,
    filter: Filter,
) -> Rgb<'static> {
    let rows = needed(filter, picture.height, to, kept);
    filter_lines(&picture.part(&rows, cols), picture.height, rows.start, to, kept, filter)
}

/// Rows of a picture that lacks the first `skipped` of its `from` rows.
fn filter_lines(
    picture: &Rgb<'_>,
    from: usize,
    skipped: usize,
    to: usize,
    kept: &Range<usize>,
    filter: Filter,
) -> Rgb<'static> {
    if from == to {
        return picture.part(&(kept.start - skipped..kept.end - skipped), &(0..picture.width));
    }
    let stride = 3 * picture.width;
    let mut bytes = vec![0; stride * kept.len()];
    bytes.par_chunks_exact_mut(stride).zip(kept.clone()).for_each(|(out, at)| {
        let taps = taps(filter, from, to, at);
        let mut sums = vec![1 << (BITS - 1); stride];
        let seen = picture.bytes.chunks_exact(stride).skip(taps.first - skipped);
        for (line, &weight) in seen.zip(&taps.weights) {
            for (sum, &byte) in sums.iter_mut().zip(line) {
                *sum = i32::wrapping_add(*sum, i32::wrapping_mul(weight, i32::from(byte)));
            }
        }
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = to_byte(sum);
        }
    });
    Rgb { width: picture.width, height: kept.len(), bytes: bytes.into() }
}

/// The pixel each output pixel's centre falls on. Pillow walks there in steps, so its rounding is that of a sum.
fn nearest(picture: &Rgb<'_>, target: &Target) -> Rgb<'static> {
    let walk = |from: usize, to: usize, kept: &Range<usize>| {
        let step = from as f64 / to as f64;
        let mut place = step * 0.5;
        let mut places = Vec::with_capacity(kept.len());
        for at in 0..kept.end {
            if at >= kept.start {
                #[allow(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a place in the picture"
                )]
                places.push((place as usize).min(from - 1));
            }
            place += step;
        }
        places
    };
    let cols = walk(picture.width, target.width, &target.cols);
    let rows = walk(picture.height, target.height, &target.rows);
    let mut bytes = Vec::with_capacity(3 * rows.len() * cols.len());
    for row in &rows {
        for col in &cols {
            let at = 3 * (row * picture.width + col);
            bytes.extend_from_slice(&picture.bytes[at..at + 3]);
        }
    }
    Rgb { width: cols.len(), height: rows.len(), bytes: bytes.into() }
}
