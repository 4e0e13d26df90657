//! Clips: which frames are taken, how large they become, and when each step in time is.

use mmlens_core::Clip;

use super::pixels::{Cut, Library, cut};
use super::settings::{ClipKind, ClipSettings};
use super::size::{near, near_in_time};
use crate::processor::{ProcessorError, Rgb, limited};

/// The most pixels that the frames of a processed clip may have together.
pub const MOST_OF_CLIP: usize = 1 << 26;
/// What transformers takes for the rate of a clip that does not say.
const RATE: f64 = 24.0;
/// Frames of a second that a clip may have: times of others leave what positions can say.
const RATES: std::ops::RangeInclusive<f64> = 1e-3..=1e6;

/// A clip as the tower takes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Film {
    /// Its patches.
    pub cut: Cut,
    /// Which frames of the clip were taken.
    pub taken: Vec<usize>,
    /// Seconds from one step in time to the next.
    pub seconds: f64,
    /// For each step in time, when it is, in seconds.
    pub times: Vec<f64>,
}

impl ClipSettings {
    /// A clip as patches. The last frame is repeated until the steps in time are whole.
    ///
    /// # Errors
    /// [`ProcessorError`] for clips without frames, of frames that differ in size or are not taken, or of a length that
    /// the settings refuse.
    pub fn film(&self, clip: &Clip) -> Result<Film, ProcessorError> {
        let together = self.shared.patches.frames;
        if let Some(fps) = clip.fps.filter(|fps| !RATES.contains(fps)) {
            return Err(ProcessorError::Rate { fps });
        }
        let total = clip.frames.len();
        if total == 0 {
            return Err(ProcessorError::NoFrames);
        }
        let taken = self.chosen(total, clip.fps)?;
        let missing = || ProcessorError::Sampling { wanted: taken.len(), frames: total };
        let frames = taken.iter().map(|at| self.shared.rgb(clip.frames.get(*at).ok_or_else(missing)?));
        let frames = frames.collect::<Result<Vec<_>, ProcessorError>>()?;
        let first = frames.first().map_or((0, 0), |frame| (frame.width, frame.height));
        if let Some((at, odd)) = frames.iter().enumerate().find(|(_, f)| (f.width, f.height) != first) {
            let (frame, found) = (taken.get(at).copied().unwrap_or(at), (odd.width, odd.height));
            return Err(ProcessorError::Frames { frame, found, first });
        }
        let size = self.size(frames.len(), (first.1, first.0))?;
        limited("the processed clip", (size.1, size.0.saturating_mul(frames.len())), MOST_OF_CLIP)?;
        let resize = |frame| self.shared.resized(frame, size, Library::Torch);
        let resized = frames.iter().map(resize).collect::<Result<Vec<_>, _>>()?;
        let mut shown: Vec<&Rgb<'_>> = resized.iter().collect();
        while let Some(last) = shown.last().copied().filter(|_| !shown.len().is_multiple_of(together)) {
            shown.push(last);
        }
        let rate = clip.fps.unwrap_or(RATE);
        let sampled = match clip.fps {
            Some(fps) => taken.len() as f64 / total as f64 * fps,
            None => RATE,
        };
        Ok(Film {
            cut: cut(&shown, self.shared.patches, &self.shared.levels(Library::Torch))?,
            times: times(&taken, rate, together),
            seconds: together as f64 / sampled,
            taken,
        })
    }

    /// Height and width of the frames.
    fn size(&self, frames: usize, (height, width): (usize, usize)) -> Result<(usize, usize), ProcessorError> {
        let (least, most) = self.shared.pixels;
        let (factor, together) = (self.shared.patches.factor(), self.shared.patches.frames);
        if self.shared.resize.is_none() {
            return Ok((height, width));
        }
        let floor = truncated(least as f64 * 1.05);
        match self.kind {
            ClipKind::Two => {
                let capped = |tokens: usize| {
                    let budget = truncated(tokens.saturating_mul(factor * factor) as f64 * 0.9);
                    (budget.saturating_mul(together) / frames).min(most).max(floor)
                };
                near((height, width), factor, (least, self.cap.map_or(most, capped)))
            }
            ClipKind::Three => {
                if frames < together {
                    return Err(ProcessorError::Short { frames, least: together });
                }
                let capped = |tokens: usize| {
                    tokens
                        .saturating_mul(factor * factor)
                        .min(most / frames)
                        .max(floor)
                        .saturating_mul(frames)
                };
                let limits = (least, self.cap.map_or(most, capped));
                near_in_time((frames, together), (height, width), factor, limits)
            }
        }
    }

    /// Which of `total` frames are taken.
    pub(super) fn chosen(&self, total: usize, rate: Option<f64>) -> Result<Vec<usize>, ProcessorError> {
        let together = self.shared.patches.frames;
        let Some(sampling) = &self.sampling else { return Ok((0..total).collect()) };
        let (least, most) = (sampling.least, sampling.most);
        if self.kind == ClipKind::Three {
            let wanted = match (sampling.count, sampling.fps) {
                (Some(count), _) => count,
                (None, None) => total.max(least).min(most),
                (None, Some(fps)) => {
                    truncated(total as f64 / rate.unwrap_or(RATE) * fps).max(least).min(most).min(total)
                }
            };
            return Ok(evenly(total, wanted));
        }
        let wanted = match (sampling.count, sampling.fps) {
            (Some(count), _) => truncated((count as f64 / together as f64).round_ties_even()) * together,
            (None, fps) => {
                let fps = fps.unwrap_or(RATE);
                let rate = rate.ok_or(ProcessorError::NoRate { fps })?;
                let most = most.min(total) / together * together;
                let exact = total as f64 / rate * fps;
                let wanted = exact.max(least as f64).min(most as f64).min(total as f64);
                truncated((wanted / together as f64).floor()) * together
            }
        };
        if wanted == 0 {
            return Err(ProcessorError::Short { frames: total.min(most), least: together });
        }
        if wanted > total {
            return Err(ProcessorError::Sampling { wanted, frames: total });
        }
        stepped(total, wanted)
    }
}

/// Frames from the first to the last, both taken, the others rounded.
fn evenly(total: usize, wanted: usize) -> Vec<usize> {
    let last = total.saturating_sub(1);
    let step = last as f64 / wanted.saturating_sub(1).max(1) as f64;
    let at = |i: usize| {
        if i > 0 && i + 1 == wanted { last } else { truncated((i as f64 * step).round_ties_even()) }
    };
    (0..wanted).map(at).collect()
}

/// Frames from the first on, in steps of one size, rounded towards zero from `f32` as torch counts.
fn stepped(total: usize, wanted: usize) -> Result<Vec<usize>, ProcessorError> {
    let step = total as f64 / wanted as f64;
    let count = truncated((total as f64 / step).ceil());
    #[allow(clippy::cast_possible_truncation, reason = "rounding to f32 is meant")]
    let taken: Vec<usize> = (0..count).map(|i| truncated(f64::from((i as f64 * step) as f32))).collect();
    match taken.iter().find(|at| **at >= total) {
        Some(_) => Err(ProcessorError::Sampling { wanted: count, frames: total }),
        None => Ok(taken),
    }
}

/// For each step in time, the mean of when its first and last frame are; the last frame is repeated until the steps are whole.
pub(super) fn times(taken: &[usize], rate: f64, together: usize) -> Vec<f64> {
    let last = taken.last().copied().unwrap_or(0);
    let at = |i: usize| taken.get(i).copied().unwrap_or(last) as f64 / rate;
    (0..taken.len().div_ceil(together))
        .map(|step| (at(step * together) + at((step + 1) * together - 1)) / 2.0)
        .collect()
}

/// Towards zero.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
fn truncated(x: f64) -> usize {
    x as usize
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use image::{DynamicImage, RgbImage};
    use serde_json::json;

    use super::*;

    fn settings(fields: serde_json::Value, kind: ClipKind) -> ClipSettings {
        ClipSettings::read(Path::new("v.json"), fields.as_object().unwrap(), kind).unwrap()
    }

    fn clip(sizes: &[(u32, u32)], fps: Option<f64>) -> Clip {
        let frame = |(w, h): &(u32, u32)| Arc::new(DynamicImage::from(RgbImage::new(*w, *h)));
        Clip::new("c", sizes.iter().map(frame).collect(), fps)
    }

    #[test]
    fn the_last_frame_fills_the_last_step() {
        let two = settings(
            json!({"patch_size": 2, "size": {"shortest_edge": 16, "longest_edge": 999}}),
            ClipKind::Two,
        );
        let film = two.film(&clip(&[(8, 4); 5], Some(2.0))).unwrap();
        assert_eq!((film.cut.frames, film.cut.rows, film.cut.cols), (3, 2, 4));
        assert_eq!(film.taken, [0, 1, 2, 3, 4]);
        assert_eq!(film.seconds, 1.0);
        assert_eq!(film.times, [0.25, 1.25, 2.0]);
        assert_eq!(two.film(&clip(&[(8, 4)], None)).unwrap().seconds, 2.0 / 24.0);
    }

    #[test]
    fn clips_that_cannot_be_are_refused() {
        let two = settings(json!({"patch_size": 2}), ClipKind::Two);
        let three = settings(json!({"patch_size": 2}), ClipKind::Three);
        let said = |film: Result<Film, ProcessorError>| film.unwrap_err().to_string();
        assert_eq!(said(two.film(&clip(&[], None))), "the clip has no frames");
        let odd = clip(&[(8, 4), (8, 4), (4, 8)], None);
        assert_eq!(said(two.film(&odd)), "frame 2 of the clip is 4 x 8, its first one 8 x 4");
        assert_eq!(
            said(three.film(&clip(&[(8, 4)], None))),
            "the clip has 1 frames to show, at least 2 are needed"
        );
        for rate in [0.0, 1e-30, 1e30, f64::NAN] {
            assert!(said(two.film(&clip(&[(8, 4)], Some(rate)))).contains("expected 0.001 to 1000000"));
        }
        let sampled = settings(json!({"do_sample_frames": true, "fps": 2}), ClipKind::Two);
        assert!(said(sampled.film(&clip(&[(8, 4); 9], None))).contains("give its `fps`"));
    }
}
