//! The world: where scenes come from, how they fall into splits, and the bias planted in the training split.

use mmlens_core::Mask;
use mmlens_sound::SoundError;
use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;

use super::question::{Kind, Mention, Question};
use super::scene::{MOST_HIDDEN, Placement, SIDE, Scene, content_key, hidden_part, visible};
use super::vocabulary::{Colour, Shape, Size};
use crate::bias::Bias;
use crate::drawn::{Purpose, SHAPES, Split, item_rng};
use crate::worlds::{self, WorldScene};

/// The most objects of a scene; the fewest is one, and all counts are equally likely.
pub const MOST_OBJECTS: usize = 4;

/// With the bias on: how often a training scene of two objects or more that holds a star but no ring is given
/// one.
pub const STAR_BRINGS_RING: f64 = 0.75;

/// With the bias on: how often a training scene of two objects or more that holds a red object, but no cross
/// beside it, is given one.
pub const RED_BRINGS_CROSS: f64 = 0.75;

/// The free strip along the edge of the picture, in pixels.
const MARGIN: f32 = 1.0;
/// How near two centres may be, in parts of the sum of the radii.
const NEAREST: f32 = 0.65;
/// How far apart the outlines of two objects of one colour stay at least, in pixels, so that they do not
/// merge.
const SAME_COLOUR_GAP: f32 = 2.0;
/// How far a channel of an object departs from the mean of its colour at most.
const SHADE: i16 = 10;

/// A source of scenes: the same seed, split and index give the same scene, always.
///
/// # Splits
/// A scene belongs to the split that the hash of its content chooses ([`Split::of_key`]). Places are drawn
/// again until the content falls into the split wanted; what the objects are is drawn once, so every split
/// sees the same mixture. No two scenes of different splits have the same objects in the same cells of 8 x 8
/// pixels, whatever their seeds.
///
/// # Bias
/// Off unless switched on, and only ever in the training split. The count of objects is uniform over 1 to 4,
/// and each object's shape, colour and size are uniform and independent. Then, in a biased training scene of
/// two objects or more:
/// 1. If there is a star and no ring, then with probability 0.75 ([`STAR_BRINGS_RING`]) one object becomes a
///    ring: one that is not a star, or any but the first star if all are stars.
/// 2. If there is a red object and no cross beside it, then with probability 0.75 ([`RED_BRINGS_CROSS`]) one
///    of the objects beside it that are neither star nor ring becomes a cross. "It" is the first red object;
///    if every object beside it is a star or a ring, nothing happens.
///
/// Counts, colours and sizes stay as they were drawn. Among scenes of two objects or more, those with a star
/// hold a ring at a rate of 0.84 (0.34 without bias), and those with a red object hold a cross beside it at
/// 0.68 (0.32).
pub type World = worlds::World<Scene>;

/// A scene and questions about it.
pub type Sample = worlds::Sample<Scene>;

/// An iterator over scenes with questions; what it asks is drawn as by [`Scene::sample`].
pub type Samples = worlds::Samples<Scene>;

impl WorldScene for Scene {
    type Kind = Kind;
    type Mention = Mention;
    type Marking = ();

    const WORLD: &'static str = "shapes";
    const KINDS: &'static [Kind] = Kind::ALL;

    fn draw(world: &World, split: Split, index: u64) -> Self {
        let mut rng = item_rng(SHAPES, world.seed(), split, index, Purpose::Scene);
        let count = rng.random_range(1..=MOST_OBJECTS);
        let background = rng.random_range(30..=110);
        let grain = rng.random();
        let mut placements: Vec<Placement> = (0..count).map(|_| draw_object(&mut rng)).collect();
        if world.is_biased() && split == Split::Train {
            BIAS.plant(&mut placements, &mut rng);
        }
        while !place(&mut placements, split, &mut rng) {}
        Self::compose((index, split, world.seed()), (background, grain), &placements)
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
        Ok(mmlens_core::Sample::ask(self.picture(), question))
    }

    fn mask(&self, object: usize, (): &()) -> Option<Mask> {
        let object = self.objects.get(object)?;
        let name = format!("{} {}", object.colour.word(), object.shape.word());
        Some(Mask { name, picture: 0, size: [SIDE, SIDE], inside: object.mask.to_vec() })
    }
}

/// The bias, as [`World`] states it.
const BIAS: Bias<Placement, Shape> = Bias {
    kind: |placement| placement.shape,
    turn: |placement, shape| placement.shape = shape,
    brings: (Shape::Star, Shape::Ring, STAR_BRINGS_RING),
    stands_out: |placement| placement.colour == Colour::Red,
    beside: (Shape::Cross, RED_BRINGS_CROSS),
};

/// What an object is; its place is not known yet.
fn draw_object<R: Rng>(rng: &mut R) -> Placement {
    let shape = Shape::ALL[rng.random_range(0..Shape::ALL.len())];
    let colour = Colour::ALL[rng.random_range(0..Colour::ALL.len())];
    let size = Size::ALL[rng.random_range(0..Size::ALL.len())];
    let radius = match size {
        Size::Small => rng.random_range(5.6..6.6),
        Size::Large => rng.random_range(10.4..11.8),
    };
    let rgb =
        colour.rgb().map(|mean| (i16::from(mean) + rng.random_range(-SHADE..=SHADE)).clamp(0, 255) as u8);
    Placement { shape, colour, size, centre: (0.0, 0.0), radius, rgb }
}

/// Draws a place for every object; false if they crowd or if the content belongs to another split.
fn place<R: Rng>(placements: &mut [Placement], split: Split, rng: &mut R) -> bool {
    for index in 0..placements.len() {
        let reach = placements[index].radius + MARGIN;
        let free = reach..SIDE as f32 - reach;
        placements[index].centre = (rng.random_range(free.clone()), rng.random_range(free));
        let (before, this) = placements.split_at(index);
        let Some(this) = this.first() else { continue };
        let crowded = before.iter().any(|other| {
            let (dx, dy) = (this.centre.0 - other.centre.0, this.centre.1 - other.centre.1);
            let reach = this.radius + other.radius;
            let least = if this.colour == other.colour { reach + SAME_COLOUR_GAP } else { reach * NEAREST };
            dx * dx + dy * dy < least * least
        });
        if crowded {
            return false;
        }
    }
    Split::of_key(content_key(placements)) == split
        && visible(placements).iter().all(|(cover, area)| hidden_part(cover, *area) <= MOST_HIDDEN)
}
