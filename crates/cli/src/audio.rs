//! Recordings from the command line.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use image::{Rgb, RgbImage};
use mmlens::core::Heard;
use mmlens::core::sound::{LogMel, LogMelSettings, Sound};
use mmlens::finding::{SoundScale, span};
use mmlens::report;

/// Sound on a page is played at this rate, or its own if that is lower; longer ones at the second.
const PLAYED: [u32; 2] = [16_000, 8_000];
/// The most bytes of one recording on a page: two minutes at the lower rate.
const MOST: usize = 2_000_000;
/// The rate at which a spectrogram is drawn, in Hz.
const DRAWN: u32 = 16_000;

/// Recordings, for models that hear them.
#[derive(Debug, Args)]
pub(crate) struct AudioArgs {
    /// A recording, for models that hear (WAV, FLAC, MP3, Ogg Vorbis); repeat it for several. Recordings come after pictures and clips.
    #[arg(long = "audio", value_name = "FILE")]
    audio: Vec<PathBuf>,
    /// Of every recording, the part from this instant on, in seconds.
    #[arg(long, value_name = "S", requires = "audio", allow_hyphen_values = true)]
    from: Option<f64>,
    /// Of every recording, the part up to this instant, in seconds.
    #[arg(long, value_name = "S", requires = "audio", allow_hyphen_values = true)]
    to: Option<f64>,
}

impl AudioArgs {
    pub(crate) fn sounds(&self) -> Result<Vec<Sound>> {
        sounds(&self.audio, self.part())
    }

    /// Whether there are any.
    pub(crate) fn is_empty(&self) -> bool {
        self.audio.is_empty()
    }

    /// The files.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = PathBuf> {
        self.audio.iter().cloned()
    }

    /// What was given, for the record.
    pub(crate) fn named(&self) -> Vec<String> {
        self.audio.iter().map(|path| path.display().to_string()).collect()
    }

    /// From when to when, where that was given.
    pub(crate) fn part(&self) -> [Option<f64>; 2] {
        [self.from, self.to]
    }
}

/// Recordings from files, of each the part from one instant to another, in seconds, as far as these are given.
pub(crate) fn sounds(paths: &[PathBuf], [from, to]: [Option<f64>; 2]) -> Result<Vec<Sound>> {
    let one = |path: &PathBuf| -> Result<Sound> {
        let whole = Sound::open(path)?;
        match (from, to) {
            (None, None) => Ok(whole),
            (from, to) => {
                let (from, to) = (from.unwrap_or(0.0), to.unwrap_or_else(|| whole.seconds()));
                whole.between(from, to).with_context(|| path.display().to_string())
            }
        }
    };
    paths.iter().map(one).collect()
}

/// The recordings of a sample as the page shows them; they come behind so many pictures and clips.
pub(crate) fn recordings_on_page(
    sounds: &[Sound],
    before: usize,
    heard: &[Heard],
) -> Result<Vec<report::Picture>> {
    let one = |(at, (sound, heard)): (usize, (&Sound, &Heard))| -> Result<report::Picture> {
        Ok(recording_on_page(sound, &heard.scale)?.at(before + at, 0))
    };
    sounds.iter().zip(heard).enumerate().map(one).collect()
}

/// A recording as the page shows it: its spectrogram in grey, as many columns and rows as its model looks at, and its sound.
pub(crate) fn recording_on_page(sound: &Sound, scale: &SoundScale) -> Result<report::Picture> {
    let samples = |seconds: f64| (seconds * f64::from(DRAWN)).round().max(1.0) as usize; // no NaN: a scale is finite
    let settings = LogMelSettings {
        mels: scale.rows_all(),
        rate: DRAWN,
        hop: samples(scale.step),
        // An even number, as transforms here have.
        window: 2 * samples(scale.window / 2.0),
        seconds: sound.seconds().ceil().max(1.0) as usize, // no NaN: a length
        padding: 0.0,
    };
    let mel = LogMel::new(settings)?.of(&sound.at(DRAWN)?)?;
    let (wide, high) = (mel.sound_frames(), mel.mels);
    let places = (0..high).flat_map(|row| (0..wide).map(move |col| (row, col)));
    let values = places.filter_map(|(row, col)| mel.at(row, col));
    let (least, most) = values.fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v))); // no NaN: a spectrogram
    let spread = if most > least { most - least } else { 1.0 };
    let mut pixels = RgbImage::new(wide as u32, high as u32);
    for (x, y, pixel) in pixels.enumerate_pixels_mut() {
        let value = mel.at(high - 1 - y as usize, x as usize).unwrap_or(least);
        // What is loud is dark, as ink on paper.
        let light = 255.0 - 255.0 * (value - least) / spread;
        *pixel = Rgb([light.round() as u8; 3]); // no NaN: within the spread
    }
    let recording = report::Recording { scale: scale.clone(), seconds: sound.seconds(), wav: played(sound)? };
    Ok(report::Picture::from_rgb(titled(sound), &pixels)?.heard(recording))
}

/// Its name, and which part of the file it is.
fn titled(sound: &Sound) -> String {
    match sound.part() {
        Some(part) => format!("{} ({} of it)", sound.name, span(part, "s")),
        None => sound.name.clone(),
    }
}

/// The sound as WAV of 16 bits, at a rate at which it is not too long; nothing, if there is none.
fn played(sound: &Sound) -> Result<Vec<u8>> {
    for rate in PLAYED {
        let bytes = 44 + 2 * (sound.seconds() * f64::from(rate.min(sound.rate()))).ceil() as usize;
        if bytes <= MOST {
            return Ok(sound.at(rate.min(sound.rate()))?.wav());
        }
    }
    Ok(Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loudest_is_the_darkest_and_the_lowest_is_at_the_bottom() {
        let tone = (0..16000).map(|at| (at as f32 * 0.05).sin() * 0.5).collect();
        let sound = Sound::new("hum", tone, 16000).unwrap();
        let hertz = vec![8000.0, 4000.0, 2000.0, 1000.0, 127.0, 0.0];
        let scale = SoundScale { step: 0.05, window: 0.1, hertz };
        let page = recording_on_page(&sound, &scale).unwrap();
        assert_eq!(page.dimensions(), (20, 4));
        let pixels = page.pixels().unwrap();
        assert!(pixels.get_pixel(10, 3).0[0] < 40 && pixels.get_pixel(10, 0).0[0] > 200);
    }

    #[test]
    fn a_part_says_which_it_is() {
        let sound = Sound::new("hum", vec![0.5; 16000], 8000).unwrap();
        assert_eq!(titled(&sound), "hum");
        assert_eq!(titled(&sound.between(0.25, 2.0).unwrap()), "hum (0.25–2 s of it)");
        let third = sound.between(0.5, 1.5).unwrap().between(0.1, 1.0 / 3.0).unwrap();
        assert_eq!(titled(&third.at(4000).unwrap()), "hum (0.6–0.833 s of it)");
    }
}
