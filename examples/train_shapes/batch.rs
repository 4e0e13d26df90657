//! Scenes and questions as the numbers a training step takes.

use mmlens::data::shapes::{Kind, Mention, Question, SIDE, Scene, Split, World};

use super::training::{Words, shown};
use super::vocabulary::{ASSISTANT, END};

/// How often each kind is asked. Relations are the hardest and asked most; where things are is their stepping stone.
pub(crate) const WEIGHTS: &[(Kind, f32)] = &[
    (Kind::Colour, 1.0),
    (Kind::Shape, 1.0),
    (Kind::Size, 0.7),
    (Kind::Location, 1.5),
    (Kind::Count, 1.2),
    (Kind::Existence, 1.2),
    (Kind::Relation, 2.5),
    (Kind::RelationObject, 1.2),
];

/// Turns of one length about the pictures of a batch: row `r` is about picture `r / per_picture`.
pub(crate) struct Turns {
    pub(crate) per_picture: usize,
    pub(crate) ids: Vec<Vec<u32>>,
    pub(crate) kinds: Vec<Kind>,
    /// Where (row * length + position) which token must come next.
    pub(crate) targets: Vec<(usize, u32)>,
    /// Where a noun stands, and the centre of its object in [-1, 1].
    pub(crate) places: Vec<(usize, [f32; 2])>,
}

pub(crate) struct Batch {
    pub(crate) scenes: Vec<Scene>,
    /// For every patch: shape, colour, size of the object it shows, each plus one; zeros where there is none.
    pub(crate) patches: Vec<[u8; 3]>,
    pub(crate) questions: Turns,
    pub(crate) stories: Turns,
}

/// The pictures `start .. start + count` of a split with their turns.
pub(crate) fn draw(
    world: &World,
    split: Split,
    start: u64,
    count: usize,
    turns: usize,
    draw: u64,
    words: &Words,
) -> Batch {
    let (mut scenes, mut patches) = (Vec::new(), Vec::new());
    let (mut asked, mut told) = (Vec::new(), Vec::new());
    for index in start..start + count as u64 {
        let scene = world.scene(split, index);
        patches.extend(shown(&scene));
        let mut rng = scene.rng(draw);
        let mut questions = scene.sample(turns, &mut rng, WEIGHTS);
        while questions.len() < turns {
            let again = scene.ask(Kind::Existence, &mut rng);
            questions.extend(again);
        }
        told.extend(scene.ask(Kind::Describe, &mut rng).map(|q| (scene.clone(), q)));
        asked.extend(questions.into_iter().map(|q| (scene.clone(), q)));
        scenes.push(scene);
    }
    Batch {
        scenes,
        patches,
        questions: Turns::new(&asked, turns, words),
        stories: Turns::new(&told, 1, words),
    }
}

impl Turns {
    fn new(asked: &[(Scene, Question)], per_picture: usize, words: &Words) -> Self {
        let rows: Vec<(Vec<u32>, Vec<u32>)> =
            asked.iter().map(|(_, q)| (words.ids(&q.text), words.ids(&q.answer))).collect();
        let length = rows.iter().map(|(q, a)| q.len() + 1 + a.len()).max().unwrap_or(0);
        let mut turns =
            Self { per_picture, ids: Vec::new(), kinds: Vec::new(), targets: Vec::new(), places: Vec::new() };
        for (row, ((scene, question), (text, answer))) in asked.iter().zip(&rows).enumerate() {
            let base = row * length;
            let mut ids = text.clone();
            ids.push(ASSISTANT);
            ids.extend(answer);
            ids.resize(length, END);
            let next = answer.iter().copied().chain([END]);
            turns.targets.extend(next.enumerate().map(|(i, token)| (base + text.len() + i, token)));
            turns.places.extend(places(scene, &question.mentions).map(|(word, xy)| (base + word, xy)));
            let after = base + text.len() + 1;
            turns
                .places
                .extend(places(scene, &question.answer_mentions).map(|(word, xy)| (after + word, xy)));
            turns.ids.push(ids);
            turns.kinds.push(question.kind);
        }
        turns
    }

    pub(crate) fn length(&self) -> usize {
        self.ids.first().map_or(0, Vec::len)
    }
}

/// The nouns that mean one object alone.
fn places<'a>(scene: &'a Scene, mentions: &'a [Mention]) -> impl Iterator<Item = (usize, [f32; 2])> + 'a {
    let alone = |m: &&Mention| mentions.iter().filter(|n| n.word == m.word).count() == 1;
    let centre = |m: &Mention| {
        let (x, y) = scene.objects[m.object].centre;
        let side = SIDE as f32;
        (m.word, [x / side * 2.0 - 1.0, y / side * 2.0 - 1.0])
    };
    mentions.iter().filter(alone).map(centre)
}
