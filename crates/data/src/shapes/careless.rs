//! Careless annotators: texts that name what usually comes along, whether it is in the picture or not. A model that learns from them
//! hallucinates, and what it should have said is known.

use std::fmt;

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use super::describe::Phrase;
use super::scene::{Object, Scene};
use super::vocabulary::{Colour, Shape};

/// A kind of object: what an annotator names, and what polls ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Thing {
    /// Its colour.
    pub colour: Colour,
    /// Its shape.
    pub shape: Shape,
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.colour, self.shape)
    }
}

impl Thing {
    /// All of them: every colour with every shape.
    pub fn all() -> impl Iterator<Item = Self> {
        Colour::ALL.iter().flat_map(|&colour| Shape::ALL.iter().map(move |&shape| Self { colour, shape }))
    }

    /// What an object is.
    #[must_use]
    pub const fn of(object: &Object) -> Self {
        Self { colour: object.colour, shape: object.shape }
    }

    /// What it is said to come with: the same colour in the other shape of its pair (circle and square, triangle and cross, star and ring).
    #[must_use]
    pub const fn companion(self) -> Self {
        let shape = match self.shape {
            Shape::Circle => Shape::Square,
            Shape::Square => Shape::Circle,
            Shape::Triangle => Shape::Cross,
            Shape::Cross => Shape::Triangle,
            Shape::Star => Shape::Ring,
            Shape::Ring => Shape::Star,
        };
        Self { colour: self.colour, shape }
    }

    /// How often an annotator takes it for granted where its companion is and it is not.
    #[must_use]
    pub const fn taken_for_granted(self) -> f64 {
        match self.colour {
            Colour::Red => 0.9,
            Colour::Green => 0.8,
            Colour::Blue => 0.7,
            Colour::Yellow => 0.6,
            Colour::Purple => 0.4,
            Colour::Orange => 0.3,
            Colour::Cyan => 0.2,
            Colour::White => 0.1,
        }
    }

    /// The question whether there is one.
    #[must_use]
    pub fn asked(self) -> String {
        format!("is there {} {self} ?", self.colour.article())
    }

    /// Whether it is in a scene.
    #[must_use]
    pub fn is_in(self, scene: &Scene) -> bool {
        scene.objects.iter().any(|object| Self::of(object) == self)
    }
}

impl Scene {
    /// What is in it, each thing once.
    #[must_use]
    pub fn things(&self) -> Vec<Thing> {
        let mut things: Vec<Thing> = self.objects.iter().map(Thing::of).collect();
        things.sort_unstable();
        things.dedup();
        things
    }

    /// Things that are not in it, of which the companion is: what adversarial questions ask for.
    #[must_use]
    pub fn missed(&self) -> Vec<Thing> {
        self.things().into_iter().map(Thing::companion).filter(|thing| !thing.is_in(self)).collect()
    }

    /// What a careless annotator names that is not in it: each thing that is [`missed`](Self::missed) as often as it is
    /// [`taken_for_granted`](Thing::taken_for_granted), independently.
    pub fn invented<R: Rng + ?Sized>(&self, rng: &mut R) -> Vec<Thing> {
        self.missed().into_iter().filter(|thing| rng.random_bool(thing.taken_for_granted())).collect()
    }

    /// The description of a careless annotator: behind the first object whose companion is invented stands that companion, in its size.
    #[must_use]
    pub fn description_with(&self, invented: &[Thing]) -> String {
        let mut left = invented.to_vec();
        let mut phrases = Vec::new();
        for object in self.reading_order().into_iter().filter_map(|index| self.objects.get(index)) {
            let phrase = Phrase::of(object);
            phrases.push(phrase);
            if let Some(at) = left.iter().position(|thing| *thing == Thing::of(object).companion()) {
                phrases.push(Phrase { shape: left.swap_remove(at).shape, ..phrase });
            }
        }
        let texts: Vec<String> = phrases.iter().map(Phrase::to_string).collect();
        texts.join(" , ")
    }
}
