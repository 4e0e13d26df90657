//! The world: where scenes come from, how they fall into splits, and the bias planted in the training split.

use std::ops::Range;

use indicatif::{ProgressBarIter, ProgressIterator};
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

use super::question::{Kind, Question};
use super::scene::{MOST_HIDDEN, Placement, SIDE, Scene, content_key, hidden_part, visible};
use super::vocabulary::{Colour, Shape, Size};
use crate::drawn::{Purpose, SHAPES, Split, item_rng, progress_bar};

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
        let mut rng = item_rng(SHAPES, self.seed, split, index, Purpose::Scene);
        let count = rng.random_range(1..=MOST_OBJECTS);
        let background = rng.random_range(30..=110);
        let grain = rng.random();
        let mut placements: Vec<Placement> = (0..count).map(|_| draw_object(&mut rng)).collect();
        if self.biased && split == Split::Train {
            plant(&mut placements, &mut rng);
        }
        while !place(&mut placements, split, &mut rng) {}
        Scene::compose((index, split, self.seed), (background, grain), &placements)
    }

    /// The scenes of a range of indices, each with one question of every kind that it allows. See
    /// [`Samples::asking`] for another choice of questions, [`Samples::with_progress`] to watch.
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

/// An iterator over scenes with questions. What it asks of a scene depends on that scene and the settings
/// alone, so ranges can be cut and run in any order.
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

/// The bias, as [`World`] states it.
fn plant<R: Rng>(placements: &mut [Placement], rng: &mut R) {
    if placements.len() < 2 {
        return;
    }
    let has =
        |placements: &[Placement], shape| placements.iter().position(|placement| placement.shape == shape);
    if let (Some(star), None) = (has(placements, Shape::Star), has(placements, Shape::Ring))
        && rng.random_bool(STAR_BRINGS_RING)
    {
        let mut room: Vec<usize> =
            (0..placements.len()).filter(|&index| placements[index].shape != Shape::Star).collect();
        if room.is_empty() {
            room = (0..placements.len()).filter(|&index| index != star).collect();
        }
        if let Some(&index) = room.choose(rng) {
            placements[index].shape = Shape::Ring;
        }
    }
    let Some(red) = placements.iter().position(|placement| placement.colour == Colour::Red) else { return };
    let beside = || (0..placements.len()).filter(move |&index| index != red);
    if beside().all(|index| placements[index].shape != Shape::Cross) && rng.random_bool(RED_BRINGS_CROSS) {
        let room: Vec<usize> =
            beside().filter(|&index| !matches!(placements[index].shape, Shape::Star | Shape::Ring)).collect();
        if let Some(&index) = room.choose(rng) {
            placements[index].shape = Shape::Cross;
        }
    }
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
