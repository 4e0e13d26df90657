//! Polls and descriptions of the shapes world, as POPE and CHAIR have them of photographs, with exact truth.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;

use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};
use serde::{Deserialize, Serialize};

use super::careless::Thing;
use super::scene::Scene;
use super::vocabulary::{Colour, Shape};
use super::world::World;
use crate::benchmark::{Item, Marked};
use crate::drawn::Split;

/// Which things that are not there a poll asks for (Li et al.: POPE, 2023).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Poll {
    /// Any.
    Random,
    /// Those that are named most often.
    Popular,
    /// Those that are named most often along with what is there.
    Adversarial,
}

impl Poll {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Random, Self::Popular, Self::Adversarial];

    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Popular => "popular",
            Self::Adversarial => "adversarial",
        }
    }
}

impl fmt::Display for Poll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How often careless annotators name things, and things together, over scenes of the training split.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    times: BTreeMap<Thing, usize>,
    together: BTreeMap<(Thing, Thing), usize>,
}

impl Named {
    /// Counts what is named of the first scenes.
    #[must_use]
    pub fn of(world: &World, scenes: u64) -> Self {
        let mut named = Self::default();
        for id in 0..scenes {
            let scene = world.scene(Split::Train, id);
            let mut things = scene.things();
            things.extend(scene.invented(&mut scene.rng(0)));
            for thing in &things {
                *named.times.entry(*thing).or_default() += 1;
                for other in things.iter().filter(|other| *other != thing) {
                    *named.together.entry((*thing, *other)).or_default() += 1;
                }
            }
        }
        named
    }

    /// How often a thing is named.
    #[must_use]
    pub fn times(&self, thing: Thing) -> usize {
        self.times.get(&thing).copied().unwrap_or(0)
    }

    /// How often two things are named of one scene.
    #[must_use]
    pub fn together(&self, thing: Thing, other: Thing) -> usize {
        self.together.get(&(thing, other)).copied().unwrap_or(0)
    }
}

impl Scene {
    /// What a poll asks: some things that are there, drawn, and as many that are not. Of things that are named as often the order is drawn.
    /// An adversarial question goes with the question before it: it asks for what is named most often along with that thing and is not there.
    ///
    /// Empty for a scene with fewer things than are asked for.
    pub fn polled<R: Rng + ?Sized>(
        &self,
        poll: Poll,
        named: &Named,
        asked: usize,
        rng: &mut R,
    ) -> Vec<(Thing, bool)> {
        let things = self.things();
        let there: Vec<Thing> = things.sample(rng, asked).copied().collect();
        if there.len() < asked {
            return Vec::new();
        }
        let mut absent: Vec<Thing> = Thing::all().filter(|thing| !things.contains(thing)).collect();
        absent.shuffle(rng);
        if poll == Poll::Popular {
            absent.sort_by_key(|thing| Reverse(named.times(*thing)));
        }
        let mut questions = Vec::with_capacity(2 * asked);
        for thing in there {
            if poll == Poll::Adversarial {
                absent.sort_by_key(|other| Reverse(named.together(thing, *other)));
            }
            questions.push((thing, true));
            if !absent.is_empty() {
                questions.push((absent.remove(0), false));
            }
        }
        questions
    }

    /// The questions of [`polled`](Self::polled) as items of a benchmark, by the scene's own draws: `question` and `label` of each, the poll as its `task`, the scene as its
    /// `group`.
    #[must_use]
    pub fn poll(&self, poll: Poll, named: &Named, asked: usize) -> Vec<Item> {
        let questions = self.polled(poll, named, asked, &mut self.rng(poll as u64));
        let item = |(at, (thing, there)): (usize, (Thing, bool))| Item {
            id: format!("{poll} {} {at}", self.id),
            question: Some(thing.asked()),
            label: Some(if there { "yes" } else { "no" }.to_owned()),
            task: Some(poll.name().to_owned()),
            group: self.id.to_string(),
            ..Item::default()
        };
        questions.into_iter().enumerate().map(item).collect()
    }

    /// The scene as an item to be described: what is there is marked, each thing by its [`word`](Thing::word).
    #[must_use]
    pub fn to_describe(&self) -> Item {
        let marked = |object: &super::scene::Object| {
            let [x0, y0, x1, y1] = object.bbox.map(f64::from);
            Marked {
                name: Thing::of(object).word(),
                bbox: [x0, y0, x1 - x0, y1 - y0],
                outline: None,
                crowd: false,
            }
        };
        Item {
            id: self.id.to_string(),
            question: Some("describe the picture .".to_owned()),
            group: self.id.to_string(),
            marked: self.objects.iter().map(marked).collect(),
            ..Item::default()
        }
    }
}

impl Thing {
    /// It in one word, as CHAIR takes it: `circle-red`. The colour stands last, since CHAIR takes `cross` for a plural.
    #[must_use]
    pub fn word(self) -> String {
        format!("{}-{}", self.shape, self.colour)
    }

    /// CHAIR's list of synonyms: every thing is itself.
    #[must_use]
    pub fn words() -> String {
        Self::all().map(|thing| thing.word() + "\n").collect()
    }

    /// A text with every colour that stands before a shape joined to it, so that CHAIR takes the two for one word.
    #[must_use]
    pub fn in_words(text: &str) -> String {
        let mut words: Vec<String> = Vec::new();
        for word in text.split_whitespace() {
            let before = words.last().and_then(|before| Colour::from_word(before));
            match (before, Shape::from_word(word), words.last_mut()) {
                (Some(colour), Some(shape), Some(last)) => *last = Self { colour, shape }.word(),
                _ => words.push(word.to_owned()),
            }
        }
        words.join(" ")
    }
}
