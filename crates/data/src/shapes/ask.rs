//! Asking: which questions a scene allows, and a balanced draw among them.

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

use super::question::{CELL_MARGIN, CLEAR_OFFSET, Filter, Form, Kind, Naming, Question};
use super::scene::{Object, SIDE, Scene};
use super::vocabulary::{Cell, Colour, Direction, Shape};
use crate::balance::{counted, several, sought};

/// Expressions for an object whose properties are not what is asked: "the star", "the red star", "the large
/// red star".
pub(super) const BY_ANY: [Naming; 3] = [
    Naming { size: false, colour: false, shape: true },
    Naming { size: false, colour: true, shape: true },
    Naming { size: true, colour: true, shape: true },
];

impl Scene {
    /// Every question that can be asked of this scene in every wording, kind by kind in the order of
    /// [`Kind::ALL`].
    pub fn questions(&self) -> Vec<Question> {
        Kind::ALL.iter().flat_map(|&kind| self.forms(kind)).map(|ask| self.phrase(ask)).collect()
    }

    /// One question of a kind; `None` if this scene allows none.
    ///
    /// Draws are balanced, so that the wording gives as little away as can be: yes and no are equally likely;
    /// at least three in four of the colour-and-shape questions answered by no are near misses (the colour or
    /// the shape is there, on another object); counts of colours and shapes are zero once in four, and else
    /// drawn evenly among the counts that occur.
    pub fn ask<R: Rng + ?Sized>(&self, kind: Kind, rng: &mut R) -> Option<Question> {
        let ask = match kind {
            Kind::Count => self.draw_count(rng),
            Kind::Existence => self.draw_existence(rng),
            Kind::Relation => {
                let yes = rng.random_bool(0.5);
                let asks = self.forms(kind);
                let fitting: Vec<Form> = asks.into_iter().filter(|&ask| self.holds(ask) == yes).collect();
                fitting.choose(rng).copied()
            }
            _ => self.forms(kind).choose(rng).copied(),
        };
        ask.map(|ask| self.phrase(ask))
    }

    /// `n` questions, each of a kind drawn by weight among those this scene allows. Kinds without a positive,
    /// finite weight are not asked; if none is left, there are no questions. The same question comes twice
    /// only if sixteen further draws find no other.
    pub fn sample<R: Rng + ?Sized>(&self, n: usize, rng: &mut R, weights: &[(Kind, f32)]) -> Vec<Question> {
        several(n, rng, weights, |kind, rng| self.ask(kind, rng))
    }

    /// Every way to ask about a kind.
    fn forms(&self, kind: Kind) -> Vec<Form> {
        let naming = |size, colour, shape| Naming { size, colour, shape };
        match kind {
            Kind::Colour => self.property(kind, 1, &[naming(false, false, true), naming(true, false, true)]),
            Kind::Shape => self.property(kind, 1, &[naming(false, true, false), naming(true, true, false)]),
            Kind::Size => self.property(kind, 2, &[naming(false, false, true), naming(false, true, true)]),
            Kind::Location => self.property(kind, 1, &BY_ANY),
            Kind::Count => {
                std::iter::once(Form::CountAll).chain(colours().chain(shapes()).map(Form::Count)).collect()
            }
            Kind::Existence => shapes().chain(colours()).chain(pairs()).map(Form::Existence).collect(),
            Kind::Relation => self.relations(),
            Kind::RelationObject => self.relation_objects(),
            Kind::Describe if self.objects.is_empty() => Vec::new(),
            Kind::Describe => (0..2).map(|wording| Form::Describe { wording }).collect(),
        }
    }

    fn property(&self, kind: Kind, wordings: usize, namings: &[Naming]) -> Vec<Form> {
        let mut asks = Vec::new();
        for (object, thing) in self.objects.iter().enumerate() {
            if kind == Kind::Location && Cell::at(thing.centre).is_none() {
                continue;
            }
            let Some(naming) = self.name(object, namings) else { continue };
            asks.extend((0..wordings).map(|wording| Form::Property { kind, wording, object, naming }));
        }
        asks
    }

    fn relations(&self) -> Vec<Form> {
        let mut asks = Vec::new();
        for object in 0..self.objects.len() {
            for origin in 0..self.objects.len() {
                if object == origin
                    || self.name(object, &BY_ANY).is_none()
                    || self.name(origin, &BY_ANY).is_none()
                {
                    continue;
                }
                for &direction in Direction::ALL {
                    if self.offset(direction, origin, object).abs() >= CLEAR_OFFSET {
                        asks.push(Form::Relation { object, direction, origin });
                    }
                }
            }
        }
        asks
    }

    fn relation_objects(&self) -> Vec<Form> {
        let mut asks = Vec::new();
        for origin in 0..self.objects.len() {
            if self.name(origin, &BY_ANY).is_none() {
                continue;
            }
            for &direction in Direction::ALL {
                if let Some(found) = self.alone_beyond(direction, origin) {
                    asks.push(Form::RelationObject { direction, origin, found });
                }
            }
        }
        asks
    }

    /// The only object on one side of another, if none of the others is nearly in line with it.
    pub(super) fn alone_beyond(&self, direction: Direction, origin: usize) -> Option<usize> {
        let others = || (0..self.objects.len()).filter(|&other| other != origin);
        let clear = others().all(|other| self.offset(direction, origin, other).abs() >= CLEAR_OFFSET);
        let mut beyond = others().filter(|&other| self.offset(direction, origin, other) > 0.0);
        match (clear, beyond.next(), beyond.next()) {
            (true, Some(found), None) => Some(found),
            _ => None,
        }
    }

    pub(super) fn offset(&self, direction: Direction, origin: usize, other: usize) -> f32 {
        direction.offset(self.objects[origin].centre, self.objects[other].centre)
    }

    /// The first of several namings that fits this object alone.
    pub(super) fn name(&self, object: usize, namings: &[Naming]) -> Option<Naming> {
        let thing = self.objects.get(object)?;
        namings.iter().copied().find(|naming| {
            let alike = |other: &&Object| {
                (!naming.size || other.size == thing.size)
                    && (!naming.colour || other.colour == thing.colour)
                    && (!naming.shape || other.shape == thing.shape)
            };
            self.objects.iter().filter(alike).count() == 1
        })
    }

    pub(super) fn matching(&self, filter: Filter) -> Vec<usize> {
        (0..self.objects.len()).filter(|&index| filter.admits(&self.objects[index])).collect()
    }

    pub(super) fn holds(&self, ask: Form) -> bool {
        match ask {
            Form::Relation { object, direction, origin } => self.offset(direction, origin, object) > 0.0,
            _ => true,
        }
    }

    fn draw_count<R: Rng + ?Sized>(&self, rng: &mut R) -> Option<Form> {
        let filters: Vec<Filter> = match rng.random_range(0..3) {
            0 => return Some(Form::CountAll),
            1 => colours().collect(),
            _ => shapes().collect(),
        };
        counted(&self.objects, filters, Filter::admits, rng).map(Form::Count)
    }

    fn draw_existence<R: Rng + ?Sized>(&self, rng: &mut R) -> Option<Form> {
        let filters = |way| match way {
            0 => shapes().collect(),
            1 => colours().collect(),
            _ => pairs().collect(),
        };
        sought(&self.objects, filters, Filter::admits, Filter::nearly, rng).map(Form::Existence)
    }
}

impl Cell {
    /// The cell of a point at least [`CELL_MARGIN`] away from every boundary between cells.
    pub fn at(point: (f32, f32)) -> Option<Self> {
        let third = SIDE as f32 / 3.0;
        let along = |at: f32| {
            let clear = (at - third).abs() >= CELL_MARGIN && (at - 2.0 * third).abs() >= CELL_MARGIN;
            clear.then_some((at / third).clamp(0.0, 2.0) as usize)
        };
        Self::ALL.get(along(point.1)? * 3 + along(point.0)?).copied()
    }
}

fn colours() -> impl Iterator<Item = Filter> {
    Colour::ALL.iter().map(|&colour| Filter::Colour(colour))
}

fn shapes() -> impl Iterator<Item = Filter> {
    Shape::ALL.iter().map(|&shape| Filter::Shape(shape))
}

/// Every filter there is.
pub(super) fn filters() -> impl Iterator<Item = Filter> {
    colours().chain(shapes()).chain(pairs())
}

/// Every colour with every shape.
fn pairs() -> impl Iterator<Item = Filter> {
    Colour::ALL.iter().flat_map(|&colour| Shape::ALL.iter().map(move |&shape| Filter::Both(colour, shape)))
}
