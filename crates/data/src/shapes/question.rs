//! Questions: what can be asked of a scene, what the answer is and which objects are the evidence.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ask::BY_ANY;
use super::scene::{Object, Scene};
use super::vocabulary::{Cell, Colour, DIGITS, Direction, Shape};
use crate::sentence::{Sentence, digit, yes_or_no};
use crate::worlds;

/// How far along an axis two centres must be apart, in pixels, before one object is left of (above, ...) the
/// other.
pub const CLEAR_OFFSET: f32 = 8.0;

/// How far from a cell boundary a centre must be, in pixels, before its cell is asked for.
pub const CELL_MARGIN: f32 = 2.5;

/// What a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// "what colour is the star ?": a colour. Refers by shape, by size and shape where shapes repeat.
    Colour,
    /// "what shape is the red object ?": a shape. Refers by colour, by size and colour where colours repeat.
    Shape,
    /// "what size is the star ?", "how big is the star ?": "small" or "large".
    Size,
    /// "where is the star ?": one of nine cells.
    Location,
    /// "how many objects are there ?", "how many red objects are there ?", "how many stars are there ?": a
    /// digit, from "0" to "4".
    Count,
    /// "is there a star ?", "is there a red star ?", "is there a red object ?": "yes" or "no".
    Existence,
    /// "is the star left of the ring ?": "yes" or "no".
    Relation,
    /// "what is left of the star ?": "a red circle".
    RelationObject,
    /// "describe the picture .", "what is in the picture ?": the description.
    Describe,
}

impl Kind {
    /// All kinds, in canonical order.
    pub const ALL: &[Self] = &[
        Self::Colour,
        Self::Shape,
        Self::Size,
        Self::Location,
        Self::Count,
        Self::Existence,
        Self::Relation,
        Self::RelationObject,
        Self::Describe,
    ];

    /// The name of this kind, as it is written to files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Colour => "colour",
            Self::Shape => "shape",
            Self::Size => "size",
            Self::Location => "location",
            Self::Count => "count",
            Self::Existence => "existence",
            Self::Relation => "relation",
            Self::RelationObject => "relation_object",
            Self::Describe => "describe",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A noun of a text, and an object it refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mention {
    /// The index of the noun in `text.split(' ')`.
    pub word: usize,
    /// The index of the object in its scene.
    pub object: usize,
}

/// A question about a scene, with its answer and what the answer rests on: for a property the object asked about,
/// for a relation both sides, for a count or existence all objects counted or found.
///
/// Each shape named in a description, or as the answer to a relation, is a noun of the answer.
pub type Question = worlds::Question<Kind, Mention>;

/// Which properties an expression names.
#[derive(Clone, Copy)]
pub(super) struct Naming {
    pub(super) size: bool,
    pub(super) colour: bool,
    pub(super) shape: bool,
}

/// A way to ask, before it is put into words.
#[derive(Clone, Copy)]
pub(super) enum Form {
    Property { kind: Kind, wording: usize, object: usize, naming: Naming },
    CountAll,
    Count(Filter),
    Existence(Filter),
    Relation { object: usize, direction: Direction, origin: usize },
    RelationObject { direction: Direction, origin: usize, found: usize },
    Describe { wording: usize },
}

/// Objects by colour, by shape or by both.
#[derive(Clone, Copy)]
pub(super) enum Filter {
    Colour(Colour),
    Shape(Shape),
    Both(Colour, Shape),
}

impl Filter {
    pub(super) fn admits(self, object: &Object) -> bool {
        match self {
            Self::Colour(colour) => object.colour == colour,
            Self::Shape(shape) => object.shape == shape,
            Self::Both(colour, shape) => object.colour == colour && object.shape == shape,
        }
    }

    /// Whether an object has the colour or the shape.
    pub(super) fn nearly(self, object: &Object) -> bool {
        match self {
            Self::Both(colour, shape) => object.colour == colour || object.shape == shape,
            other => other.admits(object),
        }
    }
}

impl Scene {
    /// Puts a way to ask into words, with its answer and evidence.
    pub(super) fn phrase(&self, ask: Form) -> Question {
        self.phrase_as(ask, |object| self.name(object, &BY_ANY))
    }

    /// The same, with objects of relations called as `naming` says.
    pub(super) fn phrase_as(&self, ask: Form, naming: impl Fn(usize) -> Option<Naming>) -> Question {
        let refer_to = |text: &mut Sentence, object: usize| {
            if let Some(naming) = naming(object) {
                refer(text, &self.objects[object], naming, object);
            }
        };
        let mut text = Sentence::default();
        let mut answer = Sentence::default();
        let (kind, evidence) = match ask {
            Form::Property { kind, wording, object, naming } => {
                let thing = &self.objects[object];
                let (opening, reply) = match (kind, wording) {
                    (Kind::Colour, _) => ("what colour is", thing.colour.word()),
                    (Kind::Shape, _) => ("what shape is", thing.shape.word()),
                    (Kind::Size, 0) => ("what size is", thing.size.word()),
                    (Kind::Size, _) => ("how big is", thing.size.word()),
                    _ => ("where is", Cell::at(thing.centre).map_or("", Cell::word)),
                };
                text.say(opening);
                refer(&mut text, thing, naming, object);
                text.say("?");
                answer.say(reply);
                (kind, vec![object])
            }
            Form::CountAll => {
                let all: Vec<usize> = (0..self.objects.len()).collect();
                text.say("how many objects");
                text.mention(&all);
                text.say("are there ?");
                answer.say(digit(all.len(), &DIGITS));
                (Kind::Count, all)
            }
            Form::Count(filter) => {
                let counted = self.matching(filter);
                text.say("how many");
                match filter {
                    Filter::Colour(colour) => text.say(colour.word()).say("objects"),
                    Filter::Shape(shape) => text.say(shape.plural()),
                    Filter::Both(colour, shape) => text.say(colour.word()).say(shape.plural()),
                };
                text.mention(&counted);
                text.say("are there ?");
                answer.say(digit(counted.len(), &DIGITS));
                (Kind::Count, counted)
            }
            Form::Existence(filter) => {
                let found = self.matching(filter);
                text.say("is there");
                match filter {
                    Filter::Colour(colour) => text.say(colour.article()).say(colour.word()).say("object"),
                    Filter::Shape(shape) => text.say("a").say(shape.word()),
                    Filter::Both(colour, shape) => {
                        text.say(colour.article()).say(colour.word()).say(shape.word())
                    }
                };
                text.mention(&found);
                text.say("?");
                answer.say(yes_or_no(!found.is_empty()));
                (Kind::Existence, found)
            }
            Form::Relation { object, direction, origin } => {
                text.say("is");
                refer_to(&mut text, object);
                text.say(direction.word());
                refer_to(&mut text, origin);
                text.say("?");
                answer.say(yes_or_no(self.holds(ask)));
                (Kind::Relation, vec![object, origin])
            }
            Form::RelationObject { direction, origin, found } => {
                text.say("what is").say(direction.word());
                refer_to(&mut text, origin);
                text.say("?");
                let thing = &self.objects[found];
                answer.say(thing.colour.article()).say(thing.colour.word()).say(thing.shape.word());
                answer.mention(&[found]);
                (Kind::RelationObject, vec![found, origin])
            }
            Form::Describe { wording } => {
                text.say(if wording == 0 { "describe the picture ." } else { "what is in the picture ?" });
                let order = self.reading_order();
                let mentions = order
                    .iter()
                    .enumerate()
                    .map(|(place, &object)| (Self::noun_in_description(place), object));
                answer = Sentence { text: self.description(), mentions: mentions.collect() };
                (Kind::Describe, order)
            }
        };
        Question::of(kind, (text, answer), evidence, |word, object| Mention { word, object })
    }
}

/// Refers to an object, as far as a naming says.
fn refer(text: &mut Sentence, thing: &Object, naming: Naming, object: usize) {
    text.say("the");
    if naming.size {
        text.say(thing.size.word());
    }
    if naming.colour {
        text.say(thing.colour.word());
    }
    text.say(if naming.shape { thing.shape.word() } else { "object" });
    text.mention(&[object]);
}
