//! Does a map stay the same where the picture hardly changes?
//!
//! # Idea
//! The picture is shaken `draws` times: each level of each pixel and colour moves by a whole number drawn evenly from `-radius` to `radius`, and stays within
//! 0 to 255. To a recording white noise is added whose root of the mean square is `radius / 255` of its own. The map is made again of each, of the same thing explained. With `|| ||` the root of the sum of squares over all numbers of a map,
//!
//! ```text
//! q_i = || map(shaken_i) - map || / || map ||,   max: the largest q_i,   mean: their mean
//! ```
//!
//! # In and out
//! | column | unit | better | meaning |
//! |---|---|---|---|
//! | `sensitivity max`, `sensitivity mean` | ratio | lower | as above |
//!
//! # Settings
//! - `draws`: 5. Each costs the method once; captum takes 10, Quantus 200.
//! - `radius`: 5 levels of 255, 0.02 of the range; of a recording 34 dB below it.
//! - `sign`: `signed`.
//!
//! # Cost
//! `draws` times the method.
//!
//! # Errors
//! No score for a sample without a picture or a recording, for a map that is zero everywhere, and where the shaken picture's map has other places.
//!
//! # When it misleads
//! - The steadiest map is one that does not look at the picture: a blob has 0.
//! - The model's own answer moves too; a faithful map of an unsteady model is unsteady.
//!
//! # Agreement
//! Quantus 0.6 `MaxSensitivity` and `AvgSensitivity`: their norms and means on the same shaken maps, to 1e-6. Quantus shakes what the network is given, by 0.2 if nothing else is said; here the picture is shaken,
//! in whole levels, as a camera would.
//!
//! # Reference
//! Yeh et al.: On the (In)fidelity and Sensitivity of Explanations, NeurIPS 2019. <https://arxiv.org/abs/1901.09392>.

use std::sync::Arc;

use image::{DynamicImage, RgbImage};
use mmlens_core::finding::largest;
use mmlens_core::sound::{Sound, SoundError};
use mmlens_core::{AnalysisError, Case, Picture, Sample, Seed};
use serde::{Deserialize, Serialize};

use crate::metric::{AtHand, Better, Column, Metric, MetricCard, NoScore, Redraws, setting};
use crate::{Map, Sign};

/// The most draws.
const MOST: usize = 4096;

/// How pictures are shaken.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SensitivitySettings {
    /// How often.
    pub draws: usize,
    /// By how many levels of 255 at most.
    pub radius: u8,
    /// Which way numbers of the map count.
    pub sign: Sign,
}

impl Default for SensitivitySettings {
    fn default() -> Self {
        Self { draws: 5, radius: 5, sign: Sign::Signed }
    }
}

/// How far a map moves as its picture is shaken.
#[derive(Debug, Clone)]
pub struct Sensitivity(SensitivitySettings);

impl Metric for Sensitivity {
    type Settings = SensitivitySettings;
    const CARD: MetricCard = MetricCard {
        id: "sensitivity",
        question: "Does the map stay the same where the picture hardly changes?",
        needs: "the method, run again",
        cost: "draws x the method",
        citation: "Yeh et al.: On the (In)fidelity and Sensitivity of Explanations. NeurIPS 2019. https://arxiv.org/abs/1901.09392",
        misleads: &[
            "The steadiest map is one that does not look at the picture.",
            "A faithful map of an unsteady model is unsteady.",
        ],
    };

    fn new(settings: SensitivitySettings) -> Result<Self, AnalysisError> {
        match (settings.draws, settings.radius) {
            (draws, _) if draws == 0 || draws > MOST => {
                Err(setting(&Self::CARD, "draws", draws, "it must lie between 1 and 4096"))
            }
            (_, 0) => Err(setting(&Self::CARD, "radius", 0, "it must be at least 1")),
            _ => Ok(Self(settings)),
        }
    }

    fn settings(&self) -> &SensitivitySettings {
        &self.0
    }

    fn columns(&self, _: Redraws<'_>) -> Vec<Column> {
        let steady = |name| Column { blind: true, ..Column::new(name, Better::Lower) };
        ["sensitivity max", "sensitivity mean"].map(steady).to_vec()
    }

    fn cost(&self, asked: &AtHand<'_>) -> Result<u64, NoScore> {
        Ok(self.0.draws as u64 * asked.explainer.cost(&asked.on, asked.case)?)
    }

    fn scores(&self, asked: &AtHand<'_>, map: &Map) -> Result<Vec<f64>, NoScore> {
        let Sample { pictures, recordings, .. } = &asked.case.sample;
        if pictures.is_empty() && recordings.is_empty() {
            return Err(NoScore::Lacks("the sample has no picture and no recording to shake".to_owned()));
        }
        let own = map.signed(self.0.sign);
        let side = Metric::side(self);
        let moved = (0..self.0.draws).map(|draw| {
            let sample = shaken(&asked.case.sample, self.0.radius, asked.seed.at(draw as u64));
            let sample = sample.map_err(|error| NoScore::Refused(error.to_string()))?;
            let case = Case { sample, target: asked.case.target.clone() };
            let again = asked.explainer.map(&asked.on, &case, side)?.signed(self.0.sign);
            moved(&own, &again)
        });
        let moved: Vec<f64> = moved.collect::<Result<_, NoScore>>()?;
        let most = largest(&moved).map_err(|error| NoScore::Undefined(error.to_string()))?;
        Ok(vec![most, moved.iter().sum::<f64>() / moved.len() as f64])
    }
}

/// How far one map lies from another, in lengths of the first.
fn moved(map: &Map, other: &Map) -> Result<f64, NoScore> {
    let places = |map: &Map| map.places().iter().map(|(place, _)| *place).collect::<Vec<_>>();
    if places(map) != places(other) {
        return Err(NoScore::Undefined("the map of a shaken picture has other places".to_owned()));
    }
    let size = map.places().iter().map(|(_, value)| value * value).sum::<f64>().sqrt();
    let pairs = map.places().iter().zip(other.places());
    let apart = pairs.map(|((_, a), (_, b))| (a - b).powi(2)).sum::<f64>().sqrt();
    match size > 0.0 {
        true => Ok(apart / size),
        false => Err(NoScore::Undefined("the map is zero everywhere".to_owned())),
    }
}

/// A sample whose pictures and recordings are shaken. Draws are counted by picture, pixel and colour, and by recording (behind pictures) and
/// sample.
fn shaken(sample: &Sample, radius: u8, seed: Seed) -> Result<Sample, SoundError> {
    let shake = |(at, picture): (usize, &Picture)| {
        let mut image: RgbImage = picture.image.to_rgb8();
        let (seed, width) = (seed.at(at as u64), 2 * u64::from(radius) + 1);
        for (i, level) in image.iter_mut().enumerate() {
            let drawn = (f64::from(seed.at(i as u64).unit()) * width as f64) as i64 - i64::from(radius);
            *level = (i64::from(*level) + drawn).clamp(0, 255) as u8;
        }
        Picture {
            name: format!("{} shaken", picture.name),
            image: Arc::new(DynamicImage::from(image)),
            ..picture.clone()
        }
    };
    let pictures: Vec<Picture> = sample.pictures.iter().enumerate().map(shake).collect();
    let noisy = |(at, sound): (usize, &Sound)| {
        let seed = seed.at((pictures.len() + at) as u64);
        let noise = sound.noise(|sample| f64::from(seed.at(sample).unit()))?;
        let share = f32::from(radius) / 255.0;
        let samples = sound.samples().iter().zip(noise.samples()).map(|(own, noise)| own + share * noise);
        Sound::new(format!("{} shaken", sound.name), samples.collect(), sound.rate())
    };
    let recordings = sample.recordings.iter().enumerate().map(noisy).collect::<Result<_, _>>()?;
    Ok(Sample { recordings, pictures, ..sample.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_move_by_their_own_length() {
        let map = |values: [f64; 2]| Map::grid(0, [2, 1], [1, 2], values);
        // The root of (0 - 3)^2 + (8 - 4)^2 = 5 over the root of 9 + 16 = 5.
        assert_eq!(moved(&map([3.0, 4.0]), &map([0.0, 8.0])), Ok(1.0));
        assert!(moved(&map([0.0, 0.0]), &map([0.0, 8.0])).is_err());
        assert!(moved(&map([3.0, 4.0]), &Map::grid(0, [2, 1], [2, 1], [3.0, 4.0])).is_err());
    }

    #[test]
    fn levels_move_within_the_radius_and_every_draw_is_another() {
        let grey = image::RgbImage::from_pixel(16, 16, image::Rgb([3, 128, 255]));
        let sample = Sample::new(vec![Picture::new("grey", grey)], mmlens_core::Words::Nothing);
        let levels = |seed| shaken(&sample, 5, Seed(seed)).unwrap().pictures[0].image.to_rgb8().into_raw();
        let some = levels(1);
        let middle: Vec<u8> = some.iter().skip(1).step_by(3).copied().collect();
        assert_eq!((middle.iter().min(), middle.iter().max()), (Some(&123), Some(&133)));
        assert_eq!(some.iter().step_by(3).min(), Some(&0));
        assert_ne!(some, levels(2));
        assert_eq!(some, levels(1));
    }

    #[test]
    fn a_recording_has_noise_that_is_quieter_by_a_known_share() {
        let tone = Sound::new("tone", (0..8000).map(|at| (at as f32 * 0.3).sin()).collect(), 8000).unwrap();
        let sample = Sample::new(Vec::new(), mmlens_core::Words::Nothing).with_recordings(vec![tone.clone()]);
        let moved = |radius, seed| -> Vec<f32> {
            let shaken = shaken(&sample, radius, Seed(seed)).unwrap();
            shaken.recordings[0].samples().iter().zip(tone.samples()).map(|(a, b)| a - b).collect()
        };
        let power = |all: &[f32]| all.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
        let share = (power(&moved(51, 1)) / power(tone.samples())).sqrt();
        assert!((share - 0.2).abs() < 0.005, "{share}"); // 51 / 255; of 8000 draws the power varies by a hundredth
        assert_ne!(moved(51, 1), moved(51, 2));
    }
}
