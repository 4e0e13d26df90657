//! The world: where scenes come from, how they fall into splits, and the bias planted in the training split.

use mmlens_core::Mask;
use mmlens_sound::{LogMel, SoundError};
use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;

use super::event::Event;
use super::evidence::Cells;
use super::question::{Kind, Mention, Question};
use super::scene::{MARGIN, MILLISECONDS, Scene};
use super::vocabulary::{Length, Loudness, Pitch, Timbre};
use crate::bias::Bias;
use crate::drawn::{Purpose, Split, TONES, item_rng};
use crate::worlds::{self, WorldScene};

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
pub type World = worlds::World<Scene>;

/// A scene and questions about it.
pub type Sample = worlds::Sample<Scene>;

/// An iterator over scenes with questions; what it asks is drawn as by [`Scene::sample`].
pub type Samples = worlds::Samples<Scene>;

impl WorldScene for Scene {
    type Kind = Kind;
    type Mention = Mention;
    type Marking = LogMel;

    const WORLD: &'static str = "tones";
    const KINDS: &'static [Kind] = Kind::ALL;

    fn draw(world: &World, split: Split, index: u64) -> Self {
        let mut rng = item_rng(TONES, world.seed(), split, index, Purpose::Scene);
        let count = rng.random_range(1..=MOST_EVENTS);
        let noisy = rng.random_bool(0.5);
        let level = rng.random_range(NOISE) as f32 / 100_000.0;
        let (noise, grain) = (if noisy { level } else { 0.0 }, rng.random());
        let mut events: Vec<Event> = (0..count).map(|_| draw_event(&mut rng)).collect();
        if world.is_biased() && split == Split::Train {
            BIAS.plant(&mut events, &mut rng);
        }
        let could =
            |(one, event): (usize, &Event)| events.iter().take(one).any(|other| event.could_overlap(other));
        let overlap = rng.random_bool(0.5) && events.iter().enumerate().any(could);
        let from = (index, split, world.seed());
        loop {
            for event in &mut events {
                event.start = rng.random_range(MARGIN..=MILLISECONDS - MARGIN - event.milliseconds);
            }
            let scene = Self::compose(from, (noise, grain), events.clone());
            if Split::of_key(scene.key) == split && scene.is_clear() && scene.has_overlap() == overlap {
                break;
            }
        }
        events.sort_by_key(|event| event.start);
        Self::compose(from, (noise, grain), events)
    }

    fn key(&self) -> u64 {
        self.key
    }

    fn concepts(&self) -> Vec<String> {
        Self::concepts(self)
    }

    fn rng(&self, draw: u64) -> ChaCha8Rng {
        Self::rng(self, draw)
    }

    fn ask(&self, kind: Kind, rng: &mut ChaCha8Rng) -> Option<Question> {
        Self::ask(self, kind, rng)
    }

    fn given(&self, question: String) -> Result<mmlens_core::Sample, SoundError> {
        Ok(mmlens_core::Sample::hear(self.sound(format!("{} {}", self.split, self.id))?, question))
    }

    fn mask(&self, event: usize, listening: &LogMel) -> Option<Mask> {
        let event = self.events.get(event)?;
        let Cells { mels, frames, inside } = event.cells(listening);
        let name = format!("{} {}", event.pitch, event.timbre);
        Some(Mask { name, picture: 0, size: [frames, mels], inside })
    }
}

/// The bias, as [`World`] states it.
const BIAS: Bias<Event, Timbre> = Bias {
    kind: |event| event.timbre,
    turn: |event, timbre| event.timbre = timbre,
    brings: (Timbre::Hiss, Timbre::Buzz, HISS_BRINGS_BUZZ),
    stands_out: |event| event.pitch == Pitch::Deep,
    beside: (Timbre::Pulse, DEEP_BRINGS_PULSE),
};

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
