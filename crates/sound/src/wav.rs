//! Recordings as the bytes of a WAV file: one channel of 16 bits.

use crate::sound::Sound;

/// The bytes of a WAV file with these samples in one channel of 16 bits, of which there are `rate` in a second.
///
/// WAV has room for 2^31 samples less some: of more, the header says as many as it can.
#[must_use]
pub fn wav(samples: &[i16], rate: u32) -> Vec<u8> {
    let data = u32::try_from(samples.len()).unwrap_or(u32::MAX).saturating_mul(2);
    let mut bytes = Vec::with_capacity(44 + 2 * samples.len());
    let words = |bytes: &mut Vec<u8>, words: &[u32]| {
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    };
    bytes.extend(b"RIFF");
    words(&mut bytes, &[data.saturating_add(36)]);
    bytes.extend(b"WAVEfmt ");
    // PCM in one channel; so many bytes in a second, two to a sample, 16 bits each.
    words(&mut bytes, &[16, 1 | 1 << 16, rate, rate.saturating_mul(2), 2 | 16 << 16]);
    bytes.extend(b"data");
    words(&mut bytes, &[data]);
    bytes.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    bytes
}

impl Sound {
    /// The bytes of a WAV file of 16 bits, for players: full scale is 32767, and what is beyond is cut off. Samples are
    /// rounded, and readers take full scale for 32768, so that they read them as up to a step and a half less.
    ///
    /// # Memory
    /// Two bytes for each sample, twice.
    #[must_use]
    pub fn wav(&self) -> Vec<u8> {
        #[allow(clippy::cast_possible_truncation, reason = "within 16 bits")]
        let level = |sample: &f32| (sample.clamp(-1.0, 1.0) * 32767.0).round() as i16; // no NaN: samples are finite
        wav(&self.samples().iter().map(level).collect::<Vec<i16>>(), self.rate())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_played_is_what_was_read() {
        let tone = (0..800).map(|at| (at as f32 * 0.3).sin() * 0.5).collect();
        let sound = Sound::new("tone", tone, 8000).unwrap();
        let again = Sound::from_bytes("tone", &sound.wav()).unwrap();
        assert_eq!((again.rate(), again.samples().len()), (8000, 800));
        // a step of 16 bits, half of which is lost, and full scale is 32768 for readers
        let far = |(a, b): (&f32, &f32)| (a - b).abs() > 1.1 / 32768.0;
        assert!(!sound.samples().iter().zip(again.samples()).any(far));
    }

    #[test]
    fn samples_of_16_bits_are_read_as_they_were() {
        let levels = [0, 1, -1, 12345, i16::MAX, i16::MIN];
        let again = Sound::from_bytes("levels", &wav(&levels, 16_000)).unwrap();
        assert_eq!(again.rate(), 16_000);
        assert_eq!(again.samples(), levels.map(|level| f32::from(level) / 32768.0));
        // What is beyond full scale is cut off.
        let loud = Sound::new("loud", vec![2.0, -2.0, 1.0], 8000).unwrap();
        let again = Sound::from_bytes("loud", &loud.wav()).unwrap();
        assert_eq!(again.samples(), [32767.0, -32767.0, 32767.0].map(|level: f32| level / 32768.0));
    }
}
