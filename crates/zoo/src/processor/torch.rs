//! Resizing as torchvision does it on a CPU, byte for byte: what the processors of clips in transformers are built on.
//!
//! The same filters as Pillow's, stretched alike when reducing. But columns always come before rows, and weights have 16
//! bits: as many after the point as the largest weight of the axis leaves room for.

use rayon::prelude::*;

use super::resample::{Filter, Rgb};

/// A whole picture, resized with bytes in between. The filter should be bilinear or bicubic, as torch has no others for
/// bytes.
pub(crate) fn resize_as_torch(
    picture: &Rgb<'_>,
    (height, width): (usize, usize),
    filter: Filter,
) -> Rgb<'static> {
    let (rows, cols) = (0..picture.height, 0..picture.width);
    let narrow = match picture.width == width {
        true => picture.part(&rows, &cols),
        false => across(picture, &Axis::new(filter, picture.width, width)),
    };
    if picture.height == height { narrow } else { down(&narrow, &Axis::new(filter, picture.height, height)) }
}

/// The weights of an axis.
struct Axis {
    /// Bits after the point.
    bits: u32,
    /// For each output pixel, the first input pixel and the weights from there on.
    taps: Vec<(usize, Vec<i32>)>,
}

impl Axis {
    fn new(filter: Filter, from: usize, to: usize) -> Self {
        let exact: Vec<(usize, Vec<f64>)> = (0..to).map(|at| weights(filter, from, to, at)).collect();
        // no NaN: weights of a filter
        let largest = exact.iter().flat_map(|(_, w)| w).copied().fold(0.0, f64::max);
        let one = |bits: u32| f64::from(1_u32 << bits);
        let fits = |bits: &u32| largest * one(bits + 1) + 0.5 < f64::from(1 << 15);
        let bits = (0..22).take_while(fits).count() as u32;
        #[allow(clippy::cast_possible_truncation, reason = "truncating rounds, with the half")]
        let fixed = |w: &f64| (w * one(bits) + if *w < 0.0 { -0.5 } else { 0.5 }) as i32;
        let taps = exact.iter().map(|(first, all)| (*first, all.iter().map(fixed).collect())).collect();
        Self { bits, taps }
    }

    fn half(&self) -> i32 {
        1 << self.bits.saturating_sub(1)
    }

    fn byte(&self, sum: i32) -> u8 {
        (sum >> self.bits).clamp(0, 255) as u8
    }
}

/// The weights of one output pixel, which add up to one.
fn weights(filter: Filter, from: usize, to: usize, at: usize) -> (usize, Vec<f64>) {
    let scale = from as f64 / to as f64;
    let reach = filter.reach() * scale.max(1.0);
    let shrink = if scale >= 1.0 { 1.0 / scale } else { 1.0 };
    let centre = scale * (at as f64 + 0.5);
    // The casts truncate towards zero, and negative numbers become zero.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "both are meant")]
    let (first, last) = ((centre - reach + 0.5) as usize, (centre + reach + 0.5) as usize);
    let all: Vec<f64> =
        (first..last.min(from)).map(|i| filter.weight((i as f64 - centre + 0.5) * shrink)).collect();
    let sum: f64 = all.iter().sum();
    (first, if sum == 0.0 { all } else { all.iter().map(|w| w / sum).collect() })
}

fn across(picture: &Rgb<'_>, axis: &Axis) -> Rgb<'static> {
    let width = axis.taps.len();
    let mut bytes = vec![0; 3 * picture.height * width];
    let lines = picture.bytes.par_chunks_exact(3 * picture.width);
    bytes.par_chunks_exact_mut(3 * width).zip(lines).for_each(|(out, line)| {
        for (out, (first, weights)) in out.chunks_exact_mut(3).zip(&axis.taps) {
            let mut sums = [axis.half(); 3];
            for (pixel, weight) in line.chunks_exact(3).skip(*first).zip(weights) {
                for (sum, byte) in sums.iter_mut().zip(pixel) {
                    *sum = sum.wrapping_add(weight.wrapping_mul(i32::from(*byte)));
                }
            }
            out.copy_from_slice(&sums.map(|sum| axis.byte(sum)));
        }
    });
    Rgb { width, height: picture.height, bytes: bytes.into() }
}

fn down(picture: &Rgb<'_>, axis: &Axis) -> Rgb<'static> {
    let stride = 3 * picture.width;
    let mut bytes = vec![0; stride * axis.taps.len()];
    bytes.par_chunks_exact_mut(stride).zip(&axis.taps).for_each(|(out, (first, weights))| {
        let mut sums = vec![axis.half(); stride];
        for (line, weight) in picture.bytes.chunks_exact(stride).skip(*first).zip(weights) {
            for (sum, byte) in sums.iter_mut().zip(line) {
                *sum = sum.wrapping_add(weight.wrapping_mul(i32::from(*byte)));
            }
        }
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = axis.byte(sum);
        }
    });
    Rgb { width: picture.width, height: axis.taps.len(), bytes: bytes.into() }
}
