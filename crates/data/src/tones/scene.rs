//! A scene: sounds in three seconds of a recording, how they are rendered, and what is heard of it all.

use mmlens_sound::{Sound, SoundError};
use rand_chacha::ChaCha8Rng;

use super::event::{Event, Region};
use super::question::Question;
use super::synthesis::{add, noise};
use super::vocabulary::{Length, Loudness, Pitch, Timbre};
use crate::drawn::{Purpose, Split, TONES, item_rng, key_of};
use crate::worlds::each_once;

/// How many samples a second of every recording has, in Hz.
pub const RATE: u32 = 16_000;

/// How long every recording is, in milliseconds.
pub const MILLISECONDS: u32 = 3000;

/// How many samples every recording has.
pub const SAMPLES: usize = (MILLISECONDS / 1000 * RATE) as usize;

/// How far apart two sounds begin, at least, in milliseconds, in a scene that is [clear](Scene::is_clear).
pub const CLEAR_ONSET: u32 = 200;

/// How long the silence between two sounds is at least, in milliseconds, if they do not overlap.
pub const CLEAR_GAP: u32 = 150;

/// How long two sounds overlap at least, in milliseconds, if they do.
pub const CLEAR_OVERLAP: u32 = 100;

/// How far apart the boxes of sounds that overlap are at least, in Hz: half the width of what the window of a frame makes of a
/// tone (Hann, 25 ms).
pub const CLEAR_HERTZ: f32 = 80.0;

/// How far from the beginning and the end of the recording a sound stays, in milliseconds.
pub(super) const MARGIN: u32 = 50;

/// The step of time in the key of a scene, in milliseconds.
const CELL: u32 = 50;

/// A recording of the tones world and everything that is true of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Scene {
    /// The index of the scene in its split: `world.scene(split, id)` draws it again.
    pub id: u64,
    /// The split the scene was drawn for.
    pub split: Split,
    /// The seed of the world the scene was drawn from.
    pub seed: u64,
    /// The content key: equal for two scenes with the same sounds that begin in the same cells of 50 ms. It decides the split
    /// ([`Split::of_key`]), so scenes of two splits never share a key.
    pub key: u64,
    /// The level of the noise under it all: the root of its mean square. 0 for none.
    pub noise: f32,
    /// The seed of the noise.
    pub grain: u64,
    /// The sounds. In a scene drawn by a world they are in the order in which they begin; an edit leaves each at its place.
    pub events: Vec<Event>,
}

impl Scene {
    pub(super) fn compose(
        (id, split, seed): (u64, Split, u64),
        (noise, grain): (f32, u64),
        events: Vec<Event>,
    ) -> Self {
        Self { id, split, seed, key: content_key(&events), noise, grain, events }
    }

    /// What there is in it, by category, each once: [`Event::concepts`].
    #[must_use]
    pub fn concepts(&self) -> Vec<String> {
        each_once(self.events.iter().flat_map(Event::concepts))
    }

    /// The indices of the sounds in the order in which they begin.
    #[must_use]
    pub fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.events.len()).collect();
        order.sort_by_key(|&index| self.events.get(index).map(|event| event.start));
        order
    }

    /// Whether every question about it has one answer that can be heard, as in every scene that a world draws; an edit may undo it:
    /// two sounds begin [`CLEAR_ONSET`] apart or more, those that overlap do so for [`CLEAR_OVERLAP`], are of two
    /// pitches and have boxes that are [`CLEAR_HERTZ`] apart, others are [`CLEAR_GAP`] apart, no more than two overlap, and all lie within the recording.
    #[must_use]
    pub fn is_clear(&self) -> bool {
        let pairs = || (0..self.events.len()).flat_map(|one| (0..one).map(move |other| (one, other)));
        let pairs =
            || pairs().filter_map(|(one, other)| Some((self.events.get(one)?, self.events.get(other)?)));
        self.events.iter().all(Event::fits)
            && pairs().all(|(one, other)| one.is_clear_of(other))
            && pairs().filter(|(one, other)| one.overlaps(other)).count() <= 1
    }

    /// The scene without one sound; the sounds after it move up by one.
    ///
    /// This and the other edits make counterfactual recordings: what is not edited stays as it is, sample by sample. An edited
    /// scene keeps `id`, `split` and `seed`, which say where it came from; its key is new and may belong to another split. It may
    /// be one that is not [clear](Self::is_clear). An index past the end changes nothing.
    #[must_use]
    pub fn without(&self, event: usize) -> Self {
        self.edited(|events| {
            if event < events.len() {
                events.remove(event);
            }
        })
    }

    /// The scene with one sound of another timbre. See [`without`](Self::without) for what all edits share.
    #[must_use]
    pub fn retimbred(&self, event: usize, timbre: Timbre) -> Self {
        self.edited_event(event, |own| Event { timbre, ..own })
    }

    /// The scene with one sound at the mean of another pitch. See [`without`](Self::without) for what all edits share.
    #[must_use]
    pub fn repitched(&self, event: usize, pitch: Pitch) -> Self {
        self.edited_event(event, |own| Event { pitch, hertz: pitch.hertz(), ..own })
    }

    /// The scene with one sound of the mean of another length, from the same instant on. See [`without`](Self::without) for what
    /// all edits share.
    #[must_use]
    pub fn lengthened(&self, event: usize, length: Length) -> Self {
        self.edited_event(event, |own| Event { length, milliseconds: length.milliseconds(), ..own })
    }

    /// The scene with one sound at the mean level of another loudness. See [`without`](Self::without) for what all edits share.
    #[must_use]
    pub fn amplified(&self, event: usize, loudness: Loudness) -> Self {
        self.edited_event(event, |own| Event { loudness, level: loudness.level(), ..own })
    }

    /// The scene with one sound at another time, given in milliseconds; what comes to lie behind the end of the recording is cut
    /// off. See [`without`](Self::without) for what all edits share.
    #[must_use]
    pub fn moved(&self, event: usize, start: u32) -> Self {
        self.edited_event(event, |own| Event { start, ..own })
    }

    fn edited_event(&self, event: usize, edit: impl FnOnce(Event) -> Event) -> Self {
        self.edited(|events| {
            if let Some(own) = events.get_mut(event) {
                *own = edit(*own);
            }
        })
    }

    fn edited(&self, edit: impl FnOnce(&mut Vec<Event>)) -> Self {
        let mut events = self.events.clone();
        edit(&mut events);
        Self::compose((self.id, self.split, self.seed), (self.noise, self.grain), events)
    }

    /// A generator that belongs to this scene alone, so that neither batching nor threads can change what is drawn. Different
    /// `draw`s are independent.
    pub fn rng(&self, draw: u64) -> ChaCha8Rng {
        item_rng(TONES, self.seed, self.split, self.id, Purpose::Caller(draw))
    }

    /// The boxes of the sounds that are the evidence for an answer, sound by sound: see [`Event::regions`].
    #[must_use]
    pub fn regions(&self, question: &Question) -> Vec<Region> {
        let events = question.evidence.iter().filter_map(|&event| self.events.get(event));
        events.flat_map(Event::regions).collect()
    }

    /// The samples: [`SAMPLES`] of them, at [`RATE`].
    ///
    /// The same bits everywhere: see the module's documentation.
    #[must_use]
    pub fn render(&self) -> Vec<i16> {
        let mut samples = noise(self.noise, self.grain, SAMPLES);
        for event in &self.events {
            add(event, &mut samples);
        }
        #[allow(clippy::cast_possible_truncation, reason = "clamped to 16 bits")]
        let rounded = |sample: f64| (sample * 32768.0).round().clamp(-32768.0, 32767.0) as i16;
        samples.into_iter().map(rounded).collect()
    }

    /// The recording: the samples as parts of full scale, as they are read from [`wav`](Self::wav).
    ///
    /// # Errors
    /// None: there are samples, and all are below full scale.
    pub fn sound(&self, name: impl Into<String>) -> Result<Sound, SoundError> {
        Sound::new(name, self.render().into_iter().map(|sample| f32::from(sample) / 32768.0).collect(), RATE)
    }

    /// The recording as the bytes of a WAV file of 16 bits.
    #[must_use]
    pub fn wav(&self) -> Vec<u8> {
        mmlens_sound::wav(&self.render(), RATE)
    }
}

impl Event {
    /// Whether both are heard at one time.
    #[must_use]
    pub const fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end() && other.start < self.end()
    }

    /// How far apart the nearest boxes are, in Hz; negative where boxes overlap.
    fn apart(&self, other: &Self) -> f32 {
        let own = self.regions();
        let gaps = other.regions().into_iter().flat_map(|there| {
            // no NaN: pitches are finite
            own.iter().map(move |here| (here.hertz[0] - there.hertz[1]).max(there.hertz[0] - here.hertz[1]))
        });
        gaps.fold(f32::INFINITY, f32::min) // no NaN: pitches are finite
    }

    /// Whether two sounds can be told apart where they overlap: those of one pitch never.
    fn is_apart(&self, other: &Self) -> bool {
        self.pitch != other.pitch && self.apart(other) >= CLEAR_HERTZ
    }

    /// Whether there are times at which two sounds overlap and are told apart: the first is heard alone for [`CLEAR_ONSET`] and
    /// with the other for [`CLEAR_OVERLAP`], for which no short one is long enough.
    pub(super) fn could_overlap(&self, other: &Self) -> bool {
        (self.length == Length::Long || other.length == Length::Long) && self.is_apart(other)
    }

    /// Whether two sounds are told apart, as [`Scene::is_clear`] says.
    fn is_clear_of(&self, other: &Self) -> bool {
        if self.start.abs_diff(other.start) < CLEAR_ONSET {
            return false;
        }
        if !self.overlaps(other) {
            let gap =
                if self.start < other.start { other.start - self.end() } else { self.start - other.end() };
            return gap >= CLEAR_GAP;
        }
        let both = self.end().min(other.end()) - self.start.max(other.start);
        both >= CLEAR_OVERLAP && self.is_apart(other)
    }
}

/// A number for the content of a scene that ignores the order of sounds and their exact time, pitch, length and level.
pub(super) fn content_key(events: &[Event]) -> u64 {
    let part = |event: &Event| {
        let kind = (event.timbre as u64 * 4 + event.pitch as u64) * 4
            + event.length as u64 * 2
            + event.loudness as u64;
        kind * 64 + u64::from(event.start / CELL)
    };
    // Not that of a scene of shapes.
    key_of(!(events.len() as u64), events.iter().map(part).collect())
}
