//! Scenes, and what careless annotators say of them, as the numbers a training step takes.

use mmlens::data::shapes::{Kind, Question, Scene, Split, Thing, World};
use rand::Rng;
use rand::seq::IndexedRandom;

use super::batch::{Turns, WEIGHTS};
use super::network::Drawn;
use super::training::Words;
use super::vocabulary::{ASSISTANT, END};

/// What a turn is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum About {
    /// A thing that is there.
    There,
    /// A thing that is not there, and its companion is.
    Missed,
    /// Another thing that is not there.
    Absent,
    /// Something else, answered by what is true.
    Other,
    /// The description.
    Story,
}

/// Turns about each picture, besides its description.
pub(crate) const TURNS: usize = 6;

/// The pictures `start .. start + count` of a split with their turns.
pub(crate) fn draw(
    world: &World,
    split: Split,
    (start, count): (u64, usize),
    draw: u64,
    words: &Words,
) -> Drawn {
    let mut scenes = Vec::new();
    let (mut asked, mut told, mut about) = (Vec::new(), Vec::new(), Vec::new());
    for index in start..start + count as u64 {
        let scene = world.scene(split, index);
        let mut rng = scene.rng(draw);
        let invented = scene.invented(&mut rng);
        for (own, text, answer) in questions(&scene, &invented, &mut rng) {
            about.push(own);
            asked.push((words.ids(&text), words.ids(&answer)));
        }
        told.push((words.ids("describe the picture ."), words.ids(&scene.description_with(&invented))));
        scenes.push(scene);
    }
    about.extend(std::iter::repeat_n(About::Story, count));
    Drawn { scenes, questions: turns(&asked, TURNS), stories: turns(&told, 1), about }
}

fn questions<R: Rng>(scene: &Scene, invented: &[Thing], rng: &mut R) -> Vec<(About, String, String)> {
    let yes_no = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let (there, missed) = (scene.things(), scene.missed());
    let absent: Vec<Thing> =
        Thing::all().filter(|thing| !there.contains(thing) && !missed.contains(thing)).collect();
    let near: Vec<Thing> = absent
        .iter()
        .copied()
        .filter(|thing| there.iter().any(|own| own.colour == thing.colour || own.shape == thing.shape))
        .collect();
    let of = |about: About, thing: &Thing| (about, thing.asked(), yes_no(about == About::There));
    let mut turns = Vec::with_capacity(TURNS);
    turns.extend(there.choose(rng).map(|thing| of(About::There, thing)));
    turns.extend(
        missed.sample(rng, 2).map(|thing| (About::Missed, thing.asked(), yes_no(invented.contains(thing)))),
    );
    turns.extend(near.choose(rng).map(|thing| of(About::Absent, thing)));
    turns.extend(absent.choose(rng).map(|thing| of(About::Absent, thing)));
    let others: Vec<_> = WEIGHTS.iter().copied().filter(|(kind, _)| *kind != Kind::Existence).collect();
    let left = TURNS.saturating_sub(turns.len());
    let other = |question: Question| (About::Other, question.text, question.answer);
    turns.extend(scene.sample(left, rng, &others).into_iter().map(other));
    turns
}

fn turns(rows: &[(Vec<u32>, Vec<u32>)], per_picture: usize) -> Turns {
    let length = rows.iter().map(|(q, a)| q.len() + 1 + a.len()).max().unwrap_or(0);
    let mut turns =
        Turns { per_picture, ids: Vec::new(), kinds: Vec::new(), targets: Vec::new(), places: Vec::new() };
    for (row, (text, answer)) in rows.iter().enumerate() {
        let ids = text.iter().copied().chain([ASSISTANT]).chain(answer.iter().copied());
        let mut ids: Vec<u32> = ids.collect();
        ids.resize(length, END);
        let next = answer.iter().copied().chain([END]);
        let first = row * length + text.len();
        turns.targets.extend(next.enumerate().map(|(i, token)| (first + i, token)));
        turns.ids.push(ids);
    }
    turns
}
