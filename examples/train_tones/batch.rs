//! Recordings and questions as the numbers a training step takes.

use std::ops::Range;

use anyhow::Result;
use mmlens::data::tones::{Kind, Mention, Question, Scene, Split, World};
use mmlens::sound::LogMel;

use super::training::Words;
use super::vocabulary::{ASSISTANT, END};

/// How often each kind is asked. What comes first is the hardest and asked most; when a sound begins is its stepping stone.
pub(crate) const WEIGHTS: &[(Kind, f32)] = &[
    (Kind::Pitch, 1.5),
    (Kind::Timbre, 1.5),
    (Kind::Length, 0.8),
    (Kind::Loudness, 0.8),
    (Kind::Begin, 1.2),
    (Kind::Count, 1.5),
    (Kind::Existence, 1.2),
    (Kind::Order, 2.0),
    (Kind::Before, 2.0),
    (Kind::Overlap, 0.8),
];

/// Positions of a recording after the tower's pooling, each of 40 ms.
pub(crate) const POSITIONS: usize = 75;
/// The milliseconds of a position.
const MILLISECONDS: u32 = 40;
/// Pitches that are listened for at each position.
pub(crate) const PITCHES: usize = 4;

/// Turns of one length about the recordings of a batch: row `r` is about recording `r / per_sound`.
pub(crate) struct Turns {
    pub(crate) per_sound: usize,
    pub(crate) ids: Vec<Vec<u32>>,
    pub(crate) kinds: Vec<Kind>,
    /// Where (row * length + position) which token must come next.
    pub(crate) targets: Vec<(usize, u32)>,
    /// Where a noun stands, and when its sound begins and ends, in [-1, 1].
    pub(crate) times: Vec<(usize, [f32; 2])>,
}

pub(crate) struct Batch {
    /// Log-mel spectrograms, filter by filter and frame by frame.
    pub(crate) mels: Vec<Vec<f32>>,
    pub(crate) filters: usize,
    pub(crate) frames: usize,
    /// For every position and pitch: timbre and loudness of the sound there, each plus one; zeros where there is none.
    pub(crate) sounds: Vec<[[u8; 2]; PITCHES]>,
    pub(crate) questions: Turns,
    pub(crate) stories: Turns,
}

/// The recordings of a range of a split with their turns.
pub(crate) fn draw(
    (world, split, range): (&World, Split, Range<u64>),
    turns: usize,
    draw: u64,
    words: &Words,
    listening: &LogMel,
) -> Result<Batch> {
    let (mut mels, mut sounds) = (Vec::new(), Vec::new());
    let (mut asked, mut told) = (Vec::new(), Vec::new());
    for index in range {
        let scene = world.scene(split, index);
        mels.push(listening.of(&scene.sound("scene")?)?.values);
        sounds.extend((0..POSITIONS as u32).map(|position| sounding(&scene, position)));
        let mut rng = scene.rng(draw);
        let mut questions = scene.sample(turns, &mut rng, WEIGHTS);
        while questions.len() < turns {
            let again = scene.ask(Kind::Existence, &mut rng);
            questions.extend(again);
        }
        told.extend(scene.ask(Kind::Describe, &mut rng).map(|q| (scene.clone(), q)));
        asked.extend(questions.into_iter().map(|q| (scene.clone(), q)));
    }
    let settings = listening.settings();
    Ok(Batch {
        mels,
        filters: settings.mels,
        frames: settings.frames(),
        sounds,
        questions: Turns::new(&asked, turns, words),
        stories: Turns::new(&told, 1, words),
    })
}

/// What sounds in the middle of a position.
fn sounding(scene: &Scene, position: u32) -> [[u8; 2]; PITCHES] {
    let at = position * MILLISECONDS + MILLISECONDS / 2;
    let mut sounds = [[0; 2]; PITCHES];
    for event in scene.events.iter().filter(|event| (event.start..event.end()).contains(&at)) {
        sounds[event.pitch as usize] = [event.timbre as u8 + 1, event.loudness as u8 + 1];
    }
    sounds
}

impl Turns {
    fn new(asked: &[(Scene, Question)], per_sound: usize, words: &Words) -> Self {
        let rows: Vec<(Vec<u32>, Vec<u32>)> =
            asked.iter().map(|(_, q)| (words.ids(&q.text), words.ids(&q.answer))).collect();
        let length = rows.iter().map(|(q, a)| q.len() + 1 + a.len()).max().unwrap_or(0);
        let mut turns =
            Self { per_sound, ids: Vec::new(), kinds: Vec::new(), targets: Vec::new(), times: Vec::new() };
        for (row, ((scene, question), (text, answer))) in asked.iter().zip(&rows).enumerate() {
            let base = row * length;
            let mut ids = text.clone();
            ids.push(ASSISTANT);
            ids.extend(answer);
            ids.resize(length, END);
            let next = answer.iter().copied().chain([END]);
            turns.targets.extend(next.enumerate().map(|(i, token)| (base + text.len() + i, token)));
            turns.times.extend(times(scene, &question.mentions).map(|(word, at)| (base + word, at)));
            let after = base + text.len() + 1;
            turns.times.extend(times(scene, &question.answer_mentions).map(|(word, at)| (after + word, at)));
            turns.ids.push(ids);
            turns.kinds.push(question.kind);
        }
        turns
    }

    pub(crate) fn length(&self) -> usize {
        self.ids.first().map_or(0, Vec::len)
    }
}

/// The nouns that mean one sound alone.
fn times<'a>(scene: &'a Scene, mentions: &'a [Mention]) -> impl Iterator<Item = (usize, [f32; 2])> + 'a {
    let alone = |m: &&Mention| mentions.iter().filter(|n| n.word == m.word).count() == 1;
    let when = |m: &Mention| {
        let seconds = scene.events[m.event].seconds();
        (m.word, seconds.map(|at| at as f32 / 1.5 - 1.0))
    };
    mentions.iter().filter(alone).map(when)
}
