//! A listener without weights: it finds the sounds of a scene in its log-mel spectrogram by rules, and answers from what it found. So the
//! world can be solved from the spectrogram alone.

use mmlens_data::tones::{Kind, Length, Loudness, Pitch, Split, Timbre, World};
use mmlens_sound::{LogMel, Mel};

use crate::evidence::{heard, listening, power};
use crate::support::{Heard, read};

/// A tone of level v gives all filters together so much power for v = 1, but for what a filter is weighed with.
const GAIN: f64 = 30_000.0;
/// Between soft and loud.
const BETWEEN: f64 = 0.028;
/// Scenes that are listened to.
const LISTENED: u64 = 150;
/// Softer than any sound.
const NOTHING: f64 = 0.008;

/// Powers, of which frames can be smoothed.
struct Powers {
    rows: Vec<Vec<f64>>,
    /// The peak of each filter and the distance to the next, in Hz.
    filters: Vec<[f64; 2]>,
}

impl Powers {
    fn of(mel: &Mel, listening: &LogMel) -> Self {
        let row = |at: usize| (0..mel.frames).map(|frame| power(mel, at, frame)).collect();
        let filter = |at: usize| {
            let [begin, peak, end] = listening.mel_hertz(at).unwrap();
            [peak, (end - begin) / 2.0]
        };
        Self { rows: (0..mel.mels).map(row).collect(), filters: (0..mel.mels).map(filter).collect() }
    }

    fn within(&self, fits: impl Fn(f64) -> bool) -> Vec<usize> {
        (0..self.rows.len()).filter(|at| fits(self.filters[*at][0])).collect()
    }

    /// Levels of the filters around a frequency, frame by frame: of a tone there, its own.
    fn line(&self, hertz: f64) -> Vec<f64> {
        let reach = 0.02 * hertz + 25.0_f64.max(0.04 * hertz); // no NaN: a pitch
        let near = self.within(|peak| (peak - hertz).abs() <= reach);
        self.sum(&near)
    }

    fn sum(&self, filters: &[usize]) -> Vec<f64> {
        let frames = self.rows[0].len();
        let power =
            |frame: usize| filters.iter().map(|at| self.rows[*at][frame] * self.filters[*at][1]).sum::<f64>();
        (0..frames).map(|frame| (power(frame) / GAIN).sqrt()).collect()
    }

    /// The level that white noise in the band of a hiss would have, were it everywhere as weak as in the second weakest of the
    /// filters that a tone in the middle does not reach.
    fn band(&self, pitch: f64) -> Vec<f64> {
        let away = (0.12 * pitch).max(75.0); // no NaN: a pitch
        let inside =
            self.within(|peak| (0.66..1.345).contains(&(peak / pitch)) && (peak - pitch).abs() >= away);
        let frames = self.rows[0].len();
        let width = 0.7 * pitch;
        let level = |frame: usize| {
            let from = frame.saturating_sub(5);
            let to = (frame + 6).min(frames);
            let mean = |at: &usize| self.rows[*at][from..to].iter().sum::<f64>() / (to - from) as f64;
            let mut means: Vec<f64> = inside.iter().map(mean).collect();
            means.sort_by(f64::total_cmp);
            (means[usize::from(means.len() > 3)] * width / GAIN).sqrt()
        };
        (0..frames).map(level).collect()
    }
}

/// Root of the mean square over 9 frames around each.
fn smooth(levels: &[f64]) -> Vec<f64> {
    let around = |at: usize| &levels[at.saturating_sub(4)..(at + 5).min(levels.len())];
    let mean = |some: &[f64]| some.iter().map(|own| own * own).sum::<f64>() / some.len() as f64;
    (0..levels.len()).map(|at| mean(around(at)).sqrt()).collect()
}

/// Stretches of frames in which something is above a threshold.
fn stretches(levels: &[f64], threshold: f64) -> Vec<[usize; 2]> {
    let mut found: Vec<[usize; 2]> = Vec::new();
    for (at, _) in levels.iter().enumerate().filter(|(_, level)| **level > threshold) {
        match found.last_mut() {
            Some([_, to]) if *to == at => *to = at + 1,
            _ => found.push([at, at + 1]),
        }
    }
    found
}

fn mean(levels: &[f64], frames: &[usize]) -> f64 {
    (frames.iter().map(|at| levels[*at] * levels[*at]).sum::<f64>() / frames.len().max(1) as f64).sqrt()
}

/// How much of the power swells 12.5 times a second: 2/3 for a pulse.
fn swelling(levels: &[f64], frames: &[usize]) -> f64 {
    let (mut x, mut y, mut all) = (0.0, 0.0, 0.0);
    for at in frames {
        let (power, angle) = (levels[*at] * levels[*at], std::f64::consts::TAU * *at as f64 / 8.0);
        (x, y, all) = (x + power * angle.cos(), y + power * angle.sin(), all + power);
    }
    x.hypot(y) / all
}

/// The sounds of a recording.
fn listen(mel: &Mel, listening: &LogMel) -> Vec<Heard> {
    let powers = Powers::of(mel, listening);
    let lines: Vec<Vec<f64>> = Pitch::ALL.iter().map(|pitch| powers.line(f64::from(pitch.hertz()))).collect();
    let bands: Vec<Vec<f64>> = Pitch::ALL.iter().map(|pitch| powers.band(f64::from(pitch.hertz()))).collect();
    let mut found = Vec::new();
    for (at, &pitch) in Pitch::ALL.iter().enumerate() {
        let (line, band) = (smooth(&lines[at]), &bands[at]);
        // no NaN: roots of powers
        let either: Vec<f64> = line.iter().zip(band).map(|(line, band)| line.max(*band)).collect();
        for [from, to] in stretches(&either, NOTHING / 2.0) {
            found.push((at, pitch, from, to));
        }
    }
    let mut heard = Vec::new();
    for &(at, pitch, from, to) in &found {
        if to - from < 12 {
            continue;
        }
        let inner: Vec<usize> = (from + 6..to.saturating_sub(6).max(from + 7)).collect();
        let others: Vec<&(usize, Pitch, usize, usize)> =
            found.iter().filter(|other| other.0 != at && other.3 - other.2 >= 12).collect();
        let free: Vec<usize> = inner
            .iter()
            .copied()
            .filter(|frame| !others.iter().any(|other| (other.2..other.3).contains(frame)))
            .collect();
        let core = if free.len() >= 8 { &free } else { &inner };
        let (line, band) = (mean(&lines[at], core), mean(&bands[at], core));
        let hertz = f64::from(pitch.hertz());
        let noisy = band > 0.5 * line;
        let level = if noisy {
            mean(&powers.sum(&powers.within(|peak| (0.6..1.4).contains(&(peak / hertz)))), core)
        } else {
            line
        };
        // Noise is as strong in the middle as beside it; overtones of a lower buzz are beside it alone.
        if level < NOTHING || line < 0.35 * band {
            continue;
        }
        // A buzz is told by its overtones, but not where a hiss is that lies there: they never overlap.
        let noise = |other: &&(usize, Pitch, usize, usize)| {
            let own: Vec<usize> = (other.2 + 6..other.3.saturating_sub(6)).collect();
            let (line, band) = (mean(&lines[other.0], &own), mean(&bands[other.0], &own));
            band > 0.5 * line && line >= 0.35 * band
        };
        let meets =
            |other: &&(usize, Pitch, usize, usize)| core.iter().any(|at| (other.2..other.3).contains(at));
        let above =
            others.iter().copied().filter(|other| other.0 == at + 1).any(|own| noise(&own) && meets(&own));
        let twice = mean(&powers.line(2.0 * hertz), core);
        let between = mean(&powers.line(1.5 * hertz), core);
        let timbre = if noisy {
            Timbre::Hiss
        } else if swelling(&lines[at], &inner) > 0.3 {
            Timbre::Pulse
        } else if !above && twice > 0.2 * line && twice > 3.0 * between {
            Timbre::Buzz
        } else {
            Timbre::Beep
        };
        // From where it is half as loud as within.
        let own = if noisy { &bands[at] } else { &lines[at] };
        let half = |frame: &usize| own[*frame] > 0.35 * mean(own, core);
        let from = (from..to).find(half).unwrap_or(from);
        let to = (from..to).rev().find(half).unwrap_or(to) + 1;
        let seconds = [from, to].map(|frame| frame as f64 / 100.0);
        let length = if seconds[1] - seconds[0] < 0.45 { Length::Short } else { Length::Long };
        let whole = if timbre == Timbre::Buzz { level * 1.3725_f64.sqrt() } else { level };
        let loudness = if whole > BETWEEN { Loudness::Loud } else { Loudness::Soft };
        heard.push(Heard { timbre, pitch, length, loudness, seconds });
    }
    heard
}

#[test]
fn a_listener_without_weights_answers_nearly_all_questions() {
    let listening = listening(80);
    let mut counts = std::collections::BTreeMap::<Kind, (usize, usize)>::new();
    let mut wrong = Vec::new();
    for sample in World::new(17).samples(Split::Test, 0..LISTENED) {
        let scene = &sample.scene;
        let heard = listen(&heard(scene, &listening), &listening);
        for question in &sample.questions {
            // What it did not find it cannot be asked about.
            let answer = std::panic::catch_unwind(|| read(&heard, &question.text)).ok().flatten();
            let right = answer.is_some_and(|own| own.answer == question.answer);
            let count = counts.entry(question.kind).or_default();
            *count = (count.0 + usize::from(right), count.1 + 1);
            if !right {
                wrong.push(format!("{} {}: {} ({heard:?})", scene.id, question.text, question.answer));
                wrong.push(format!("    {:?}", scene.events));
            }
        }
    }
    let (right, all) = counts.values().fold((0, 0), |sum, own| (sum.0 + own.0, sum.1 + own.1));
    println!("{right} of {all} right; {counts:?}\n{}", wrong.join("\n"));
    assert!(all > 1200 && right as f64 >= 0.99 * all as f64, "{right} of {all} right");
    for (kind, (right, all)) in counts {
        assert!(right as f64 >= 0.98 * all as f64, "{kind}: {right} of {all}");
    }
}
