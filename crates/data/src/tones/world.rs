//! The world: where scenes come from, how they fall into splits, and the bias planted in the training split.

use std::ops::Range;

use indicatif::{ProgressBarIter, ProgressIterator};
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

use super::event::Event;
use super::question::{Kind, Question};
use super::scene::{MARGIN, MILLISECONDS, Scene};
use super::vocabulary::{Length, Loudness, Pitch, Timbre};
use crate::drawn::{Purpose, Split, TONES, item_rng, progress_bar};

/// The most sounds of a scene; the fewest is one, and all counts are equally likely.
pub const MOST_EVENTS: usize = 3;

/// With the bias on: how often a training scene of two sounds or more that holds a hiss but no buzz is given one.
pub const HISS_BRINGS_BUZZ: f64 = 0.75;

/// With the bias on: how often a training scene of two sounds or more that holds a deep sound, but no pulse beside it, is given one.
pub const DEEP_BRINGS_PULSE: f64 = 0.75;

/// How far a pitch departs from the mean of its name at most, in thousandths.
const DETUNED: i32 = 20;
/// How far a length departs from the mean of its name at most, in milliseconds, by name.
const DRAWN_OUT: [u32; 2] = [50, 70];
/// How far a level departs from the mean of its name at most, in hundredths.
const LOUDER: i32 = 10;
/// The levels of the noise, where there is some, in hundred-thousandths: some 70 to 54 dB below full scale.
const NOISE: std::ops::RangeInclusive<u32> = 30..=200;

/// A source of scenes: the same seed, split and index give the same scene, always.
///
/// # Splits
/// A scene belongs to the split that the hash of its content chooses ([`Split::of_key`]). Times are drawn again until the content
/// falls into the split wanted; what the sounds are is drawn once, so every split sees the same mixture. No two scenes of different
/// splits have the same sounds beginning in the same cells of 50 ms, whatever their seeds.
///
/// # What is drawn
/// The count of sounds is uniform over 1 to 3, and each one's timbre, pitch, length and loudness are uniform and independent. Of the
/// scenes of two sounds or more in which some two could overlap and be told apart (not both short, and of other frequencies), half have
/// two that do; the others have none.
/// Half of the scenes have noise under them.
///
/// # Bias
/// Off unless switched on, and only ever in the training split. In a biased training scene of two sounds or more:
/// 1. If there is a hiss and no buzz, then with probability 0.75 ([`HISS_BRINGS_BUZZ`]) one sound becomes a buzz: one that is not a
///    hiss, or any but the first hiss if all are hisses.
/// 2. If there is a deep sound and no pulse beside it, then with probability 0.75 ([`DEEP_BRINGS_PULSE`]) one of the sounds beside it
///    that are neither hiss nor buzz becomes a pulse. "It" is the first deep sound drawn; if every sound beside it is a hiss or a
///    buzz, nothing happens.
///
/// Counts, pitches, lengths and loudnesses stay as they were drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct World {
    seed: u64,
    biased: bool,
}

impl World {
    /// The world of a seed, without bias.
    pub const fn new(seed: u64) -> Self {
        Self { seed, biased: false }
    }

    /// The same world with the bias of its training split on or off.
    #[must_use]
    pub const fn with_bias(self, biased: bool) -> Self {
        Self { biased, ..self }
    }

    /// The seed.
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// Whether the training split is biased.
    pub const fn is_biased(&self) -> bool {
        self.biased
    }

    /// A scene by its index in a split.
    pub fn scene(&self, split: Split, index: u64) -> Scene {
        let mut rng = item_rng(TONES, self.seed, split, index, Purpose::Scene);
        let count = rng.random_range(1..=MOST_EVENTS);
        let noisy = rng.random_bool(0.5);
        let level = rng.random_range(NOISE) as f32 / 100_000.0;
        let (noise, grain) = (if noisy { level } else { 0.0 }, rng.random());
        let mut events: Vec<Event> = (0..count).map(|_| draw_event(&mut rng)).collect();
        if self.biased && split == Split::Train {
            plant(&mut events, &mut rng);
        }
        let could =
            |(one, event): (usize, &Event)| events.iter().take(one).any(|other| event.could_overlap(other));
        let overlap = rng.random_bool(0.5) && events.iter().enumerate().any(could);
        loop {
            for event in &mut events {
                event.start = rng.random_range(MARGIN..=MILLISECONDS - MARGIN - event.milliseconds);
            }
            let scene = Scene::compose((index, split, self.seed), (noise, grain), events.clone());
            if Split::of_key(scene.key) == split && scene.is_clear() && scene.has_overlap() == overlap {
                break;
            }
        }
        events.sort_by_key(|event| event.start);
        Scene::compose((index, split, self.seed), (noise, grain), events)
    }

    /// The scenes of a range of indices, each with one question of every kind that it allows. See [`Samples::asking`] for another
    /// choice of questions, [`Samples::with_progress`] to watch.
    pub fn samples(&self, split: Split, range: Range<u64>) -> Samples {
        Samples { world: *self, split, range, asking: None }
    }
}

/// A scene and questions about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The scene.
    pub scene: Scene,
    /// Questions about it.
    pub questions: Vec<Question>,
}

/// An iterator over scenes with questions. What it asks of a scene depends on that scene and the settings alone, so ranges can be
/// cut and run in any order.
#[derive(Clone, Debug)]
pub struct Samples {
    world: World,
    split: Split,
    range: Range<u64>,
    asking: Option<(usize, Vec<(Kind, f32)>)>,
}

impl Samples {
    /// Asks `n` questions of every scene, of kinds drawn by weight: see [`Scene::sample`].
    #[must_use]
    pub fn asking(self, n: usize, weights: &[(Kind, f32)]) -> Self {
        Self { asking: Some((n, weights.to_vec())), ..self }
    }

    /// The same iterator with a progress bar on standard error, drawn only if that is a terminal.
    pub fn with_progress(self) -> ProgressBarIter<Self> {
        let bar = progress_bar(&format!("{} scenes", self.split), self.len() as u64);
        self.progress_with(bar)
    }
}

impl Iterator for Samples {
    type Item = Sample;

    fn next(&mut self) -> Option<Sample> {
        let scene = self.world.scene(self.split, self.range.next()?);
        let mut rng = scene.rng(0);
        let questions = match &self.asking {
            Some((n, weights)) => scene.sample(*n, &mut rng, weights),
            None => Kind::ALL.iter().filter_map(|&kind| scene.ask(kind, &mut rng)).collect(),
        };
        Some(Sample { scene, questions })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.range.end.saturating_sub(self.range.start)).unwrap_or(usize::MAX);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Samples {}

/// What a sound is; its time is not known yet.
fn draw_event<R: Rng>(rng: &mut R) -> Event {
    let timbre = Timbre::ALL[rng.random_range(0..Timbre::ALL.len())];
    let pitch = Pitch::ALL[rng.random_range(0..Pitch::ALL.len())];
    let length = Length::ALL[rng.random_range(0..Length::ALL.len())];
    let loudness = Loudness::ALL[rng.random_range(0..Loudness::ALL.len())];
    let reach = DRAWN_OUT[length as usize];
    let milliseconds = rng.random_range(length.milliseconds() - reach..=length.milliseconds() + reach);
    let hertz = pitch.hertz() * (1000 + rng.random_range(-DETUNED..=DETUNED)) as f32 / 1000.0;
    let level = loudness.level() * (100 + rng.random_range(-LOUDER..=LOUDER)) as f32 / 100.0;
    Event { timbre, pitch, length, loudness, start: 0, milliseconds, hertz, level, grain: rng.random() }
}

/// The bias, as [`World`] states it.
fn plant<R: Rng>(events: &mut [Event], rng: &mut R) {
    if events.len() < 2 {
        return;
    }
    let has = |events: &[Event], timbre| events.iter().position(|event| event.timbre == timbre);
    if let (Some(hiss), None) = (has(events, Timbre::Hiss), has(events, Timbre::Buzz))
        && rng.random_bool(HISS_BRINGS_BUZZ)
    {
        let mut room: Vec<usize> =
            (0..events.len()).filter(|&index| events[index].timbre != Timbre::Hiss).collect();
        if room.is_empty() {
            room = (0..events.len()).filter(|&index| index != hiss).collect();
        }
        if let Some(&index) = room.choose(rng) {
            events[index].timbre = Timbre::Buzz;
        }
    }
    let Some(deep) = events.iter().position(|event| event.pitch == Pitch::Deep) else { return };
    let beside = || (0..events.len()).filter(move |&index| index != deep);
    if beside().all(|index| events[index].timbre != Timbre::Pulse) && rng.random_bool(DEEP_BRINGS_PULSE) {
        let room: Vec<usize> =
            beside().filter(|&index| !matches!(events[index].timbre, Timbre::Hiss | Timbre::Buzz)).collect();
        if let Some(&index) = room.choose(rng) {
            events[index].timbre = Timbre::Pulse;
        }
    }
}
