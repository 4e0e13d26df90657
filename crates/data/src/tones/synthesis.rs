//! How a sound is made: tones under an envelope, added up.
//!
//! # The same bits everywhere
//! Sines and cosines are those of `libm` (the crate: plain arithmetic in double precision, no function of the system and none of
//! the processor); all else is additions, products and square roots in double precision, which IEEE 754 rounds in one way, in a
//! fixed order. Samples are rounded to 16 bits at the end.

use std::f64::consts::{PI, TAU};

use super::event::{EDGE, Event, Partial};
use super::scene::RATE;
use super::vocabulary::Timbre;
use crate::drawn::scramble;

/// How often a pulse swells in a second.
const SWELLS: f64 = 12.5;
/// Samples of a millisecond.
const MILLISECOND: usize = RATE as usize / 1000;

/// Adds a sound to samples, from where it begins on; what lies behind the last sample is cut off.
pub(super) fn add(event: &Event, samples: &mut [f64]) {
    let length = event.milliseconds as usize * MILLISECOND;
    let mut own = vec![0.0; length];
    for partial in event.partials() {
        tone(partial, &mut own);
    }
    let edge: Vec<f64> = rise(EDGE as usize * MILLISECOND).collect();
    for (sample, weight) in own.iter_mut().zip(&edge) {
        *sample *= weight;
    }
    for (sample, weight) in own.iter_mut().rev().zip(&edge) {
        *sample *= weight;
    }
    if event.timbre == Timbre::Pulse {
        // A sample of a swell, the same in each of them.
        let swell = (f64::from(RATE) / SWELLS) as usize;
        let weights: Vec<f64> =
            (0..swell).map(|at| 0.5 - 0.5 * libm::cos(TAU * (at as f64 / swell as f64))).collect();
        for (sample, weight) in own.iter_mut().zip(weights.iter().cycle()) {
            *sample *= weight;
        }
    }
    for (sample, own) in samples.iter_mut().skip(event.start as usize * MILLISECOND).zip(own) {
        *sample += own;
    }
}

/// Half of a cosine, from near 0 to near 1.
fn rise(length: usize) -> impl Iterator<Item = f64> {
    (0..length).map(move |at| 0.5 - 0.5 * libm::cos(PI * ((at as f64 + 0.5) / length as f64)))
}

/// Adds a tone: a point on a circle, turned from sample to sample.
fn tone(Partial { amplitude, hertz, turns }: Partial, samples: &mut [f64]) {
    let turn = TAU * (hertz / f64::from(RATE));
    let (cos, sin) = (libm::cos(turn), libm::sin(turn));
    let (mut x, mut y) = (amplitude * libm::cos(TAU * turns), amplitude * libm::sin(TAU * turns));
    for sample in samples {
        *sample += y;
        (x, y) = (x * cos - y * sin, x * sin + y * cos);
    }
}

/// The background of a recording: white noise, evenly between two values.
pub(super) fn noise(level: f32, grain: u64, count: usize) -> Vec<f64> {
    // An even distribution from -1 to 1 has a mean square of 1/3.
    let reach = f64::from(level) * 3.0_f64.sqrt();
    let mut state = grain;
    let value = |_| {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let part = (scramble(state) >> 11) as f64 / (1_u64 << 53) as f64;
        reach * (2.0 * part - 1.0)
    };
    (0..count).map(value).collect()
}
