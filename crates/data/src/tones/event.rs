//! One sound of a scene: what it is, when it is, and where it lies in time and frequency.

use serde::{Deserialize, Serialize};

use super::scene::{MILLISECONDS, RATE};
use super::vocabulary::{Length, Loudness, Moment, Pitch, Timbre};
use crate::drawn::scramble;

/// How long a sound fades in, and how long it fades out, in milliseconds.
pub const EDGE: u32 = 20;

/// How far a box reaches beyond the lowest and the highest partial, in Hz: half of what an edge of [`EDGE`] milliseconds spreads
/// a tone over.
pub const SPREAD: f32 = 25.0;

/// How far from the boundary between two moments a sound must begin, in milliseconds, before its moment is asked for.
pub const MOMENT_MARGIN: u32 = 100;

/// How strong the partials of a buzz are, beside the lowest.
const OVERTONES: [f64; 3] = [1.0, 0.5, 0.35];
/// How many tones a hiss consists of.
const TONES: u32 = 24;
/// The lowest and the highest frequency of a hiss, as parts of its pitch.
const BAND: [f64; 2] = [0.65, 1.35];
/// What a pulse loses to its swelling: the mean of `(1 - cos)^2 / 4` is 3/8.
const SWELLING: f64 = 3.0 / 8.0;

/// A sound of a scene.
///
/// Times are whole milliseconds, so that they are the same in every format.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Event {
    /// What it is made of.
    pub timbre: Timbre,
    /// The name of the pitch.
    pub pitch: Pitch,
    /// The name of the length.
    pub length: Length,
    /// The name of the loudness.
    pub loudness: Loudness,
    /// When it begins, in milliseconds.
    pub start: u32,
    /// How long it lasts, edges and all, in milliseconds.
    pub milliseconds: u32,
    /// The exact pitch, in Hz.
    pub hertz: f32,
    /// The exact level: the root of the mean square between the edges, where full scale is 1.
    pub level: f32,
    /// The seed of its phases, and of the tones of a hiss.
    pub grain: u64,
}

/// A box in time and frequency.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Region {
    /// From when to when, in seconds.
    pub seconds: [f64; 2],
    /// From which frequency to which, in Hz.
    pub hertz: [f32; 2],
}

/// One tone of a sound: amplitude, frequency in Hz, phase in turns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Partial {
    pub(super) amplitude: f64,
    pub(super) hertz: f64,
    pub(super) turns: f64,
}

impl Event {
    /// What it is, by category: `timbre: beep`, `pitch: low`, `length: short`, `loudness: soft`, `sound: low beep`.
    #[must_use]
    pub fn concepts(&self) -> [String; 5] {
        let Self { timbre, pitch, length, loudness, .. } = self;
        [
            format!("timbre: {timbre}"),
            format!("pitch: {pitch}"),
            format!("length: {length}"),
            format!("loudness: {loudness}"),
            format!("sound: {pitch} {timbre}"),
        ]
    }

    /// From when to when it is heard, in seconds.
    #[must_use]
    pub fn seconds(&self) -> [f64; 2] {
        [self.start, self.end()].map(|at| f64::from(at) / 1000.0)
    }

    /// When it is over, in milliseconds.
    #[must_use]
    pub const fn end(&self) -> u32 {
        self.start + self.milliseconds
    }

    /// The second in which it begins; none within [`MOMENT_MARGIN`] of a boundary between two.
    #[must_use]
    pub fn moment(&self) -> Option<Moment> {
        let clear = [1000, 2000].iter().all(|at| self.start.abs_diff(*at) >= MOMENT_MARGIN);
        clear.then(|| Moment::ALL.get((self.start / 1000) as usize).copied()).flatten()
    }

    /// The boxes that it lies in, from the lowest on: one for a beep, a pulse and a hiss, three for a buzz, fewer where partials are
    /// above half the rate.
    ///
    /// In time a box is the sound with its edges. In frequency it reaches [`SPREAD`] beyond the partials in it.
    #[must_use]
    pub fn regions(&self) -> Vec<Region> {
        let seconds = self.seconds();
        #[allow(clippy::cast_possible_truncation, reason = "below half the rate")]
        let around =
            |low: f64, high: f64| Region { seconds, hertz: [low as f32 - SPREAD, high as f32 + SPREAD] };
        let pitch = f64::from(self.hertz);
        match self.timbre {
            Timbre::Hiss => vec![around(pitch * BAND[0], pitch * BAND[1])],
            _ => self.partials().iter().map(|own| around(own.hertz, own.hertz)).collect(),
        }
    }

    /// The tones that it consists of.
    pub(super) fn partials(&self) -> Vec<Partial> {
        let (pitch, level) = (f64::from(self.hertz), f64::from(self.level));
        // Parts of one, by number.
        let part = |number: u64| {
            let bits = scramble(self.grain.wrapping_add(number.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
            (bits >> 11) as f64 / (1_u64 << 53) as f64
        };
        // A buzz has as many partials as there is room for below half the rate.
        let heard = |number: u32| pitch * f64::from(number) < f64::from(RATE / 2);
        let overtones = || (1..).zip(OVERTONES).filter(|(number, _)| heard(*number));
        // A tone of amplitude a has a mean square of a^2 / 2.
        let whole = match self.timbre {
            Timbre::Beep => 2.0,
            Timbre::Pulse => 2.0 / SWELLING,
            Timbre::Hiss => 2.0 / f64::from(TONES),
            Timbre::Buzz => 2.0 / overtones().map(|(_, own)| own * own).sum::<f64>(),
        };
        let amplitude = level * whole.sqrt();
        match self.timbre {
            Timbre::Beep | Timbre::Pulse => vec![Partial { amplitude, hertz: pitch, turns: part(0) }],
            Timbre::Buzz => {
                let tone = |(number, strength): (u32, f64)| Partial {
                    amplitude: amplitude * strength,
                    hertz: pitch * f64::from(number),
                    turns: part(u64::from(number)),
                };
                overtones().map(tone).collect()
            }
            // One tone somewhere in each of as many equal parts of the band.
            Timbre::Hiss => {
                let tone = |number: u32| {
                    let (at, turns) = (part(2 * u64::from(number)), part(2 * u64::from(number) + 1));
                    let across = (f64::from(number) + at) / f64::from(TONES);
                    Partial { amplitude, hertz: pitch * (BAND[0] + (BAND[1] - BAND[0]) * across), turns }
                };
                (0..TONES).map(tone).collect()
            }
        }
    }

    /// Whether it lies within the recording.
    pub(super) const fn fits(&self) -> bool {
        self.end() <= MILLISECONDS
    }
}
