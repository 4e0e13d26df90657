//! A sound at another rate.
//!
//! # Idea
//! The spectrum of the sound, block by block, is multiplied with that of a low-pass filter (a sinc under a squared
//! Blackman-Harris window) and cut off or extended with zeros to the other rate: rubato's `Fft`, in double precision. The filter
//! is symmetric, and half its length is left out at the beginning, so nothing moves in time.
//!
//! # In and out
//! Of `n` samples at the rate `a` there come `n b / a` at the rate `b`, rounded, a half upwards: sample `i` of the result stands
//! at the instant `i / b` of the sound. (librosa rounds up: it may have one more.) Before its beginning and behind its end a
//! sound is taken to be silent.
//!
//! # Settings
//! None. The filter is 320 samples of the lower rate long or more (20 ms, at 16 kHz); it passes what is below 0.91 of half
//! the lower rate, as soxr's does, and stops what is above half. Rates with a small common divisor need a longer and sharper
//! one: without any, it is two seconds long.
//!
//! # Cost
//! `n log n`. Memory: the result, and a few blocks.
//!
//! # Errors
//! [`SoundError::Rate`], [`SoundError::Most`] for more than [`MOST_SAMPLES`], [`SoundError::Empty`] where nothing would be left.
//!
//! # When it misleads
//! - A recording at 8 kHz, taken to 16 kHz, still has nothing above 4 kHz.
//! - Within half a filter of beginning and end the silence outside is part of what is heard.
//! - Between 0.91 and 1 of half the lower rate filters differ: on noise, results of this one and of soxr by 4e-4 of full scale in
//!   the mean from 44.1 or 48 kHz to 16 kHz, by 1e-2 from 22.05 kHz, whose filter is longer.
//!
//! # Agreement
//! soxr 1.1 (`HQ`, which `librosa.load` uses) on sounds below 0.45 of the lower rate, 25 ms from each end: to 6e-6
//! of full scale. Sines below that, 50 ms from each end, against what they are at the other rate: to 1e-5.
//!
//! # Reference
//! Smith: Digital Audio Resampling. <https://ccrma.stanford.edu/~jos/resample/>

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler, WindowFunction};

use crate::error::SoundError;
use crate::sound::{MOST_SAMPLES, Sound, rate_within};

/// The filter has no fewer points at the lower of the two rates.
const POINTS: usize = 320;

impl Sound {
    /// This sound at another rate, in Hz; at its own, bit for bit itself. See [`resample`](crate::resample).
    ///
    /// # Errors
    /// [`SoundError::Rate`] for a rate that is not taken, [`SoundError::Most`] if the result would have more than
    /// [`MOST_SAMPLES`], [`SoundError::Empty`] if it would have none.
    pub fn at(&self, rate: u32) -> Result<Self, SoundError> {
        rate_within(&self.name, rate)?;
        if rate == self.rate() {
            return Ok(self.clone());
        }
        let [from, to] = [self.rate(), rate].map(u64::from);
        let length = (2 * self.samples().len() as u64 * to + from) / (2 * from);
        if length > MOST_SAMPLES as u64 {
            let what = if rate > self.rate() { "samples at the higher rate" } else { "samples" };
            let (name, most) = (self.name.clone(), MOST_SAMPLES as u64);
            return Err(SoundError::Most { name, what, found: length, most });
        }
        if length == 0 {
            let what = format!("what it is at {rate} Hz");
            return Err(SoundError::Empty { name: self.name.clone(), what });
        }
        let samples = resampled(self.samples(), from as usize, to as usize, length as usize)
            .map_err(|reason| SoundError::Broken { name: self.name.clone(), reason, read: 0 })?;
        Ok(self.with(samples, rate))
    }
}

/// So many samples at the rate `to`.
fn resampled(samples: &[f32], from: usize, to: usize, length: usize) -> Result<Vec<f32>, String> {
    let divisor = common(from, to);
    let (input, output) = (from / divisor, to / divisor);
    // An even number of the smallest blocks: the middle of the filter is a sample at both rates.
    let blocks = POINTS.div_ceil(input.min(output)).next_multiple_of(2);
    let window = WindowFunction::BlackmanHarris2;
    let mut fft = Fft::<f64>::new_custom(from, to, blocks * input, 1, 1, window, FixedSync::Both)
        .map_err(|error| error.to_string())?;
    let (read, write) = (fft.input_frames_next(), fft.output_frames_next());
    let (mut heard, mut made) = (vec![0.0; read], vec![0.0; write]);
    let mut late = fft.output_delay();
    let mut result = Vec::with_capacity(length);
    let mut pieces = samples.chunks(read);
    while result.len() < length {
        let piece = pieces.next().unwrap_or_default();
        heard.fill(0.0);
        for (to, from) in heard.iter_mut().zip(piece) {
            *to = f64::from(*from);
        }
        let heard = InterleavedSlice::new(&heard, 1, read).map_err(|error| error.to_string())?;
        let mut into = InterleavedSlice::new_mut(&mut made, 1, write).map_err(|error| error.to_string())?;
        fft.process_into_buffer(&heard, &mut into, None).map_err(|error| error.to_string())?;
        let skipped = late.min(write);
        late -= skipped;
        let left = length - result.len();
        result.extend(made.iter().skip(skipped).take(left).map(|sample| *sample as f32));
    }
    Ok(result)
}

/// The greatest common divisor.
fn common(a: usize, b: usize) -> usize {
    if b == 0 { a } else { common(b, a % b) }
}
