//! Questions: what can be asked of a scene, what the answer is and which objects are the evidence.

use std::fmt;

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use super::scene::{Object, SIDE, Scene};
use super::vocabulary::{Cell, Colour, DIGITS, Direction, Shape};

/// How far along an axis two centres must be apart, in pixels, before one object is left of (above, ...) the other.
pub const CLEAR_OFFSET: f32 = 8.0;

/// How far from a cell boundary a centre must be, in pixels, before its cell is asked for.
pub const CELL_MARGIN: f32 = 2.5;

/// How many draws [`Scene::sample`] makes to avoid asking the same twice.
const FRESH_DRAWS: usize = 16;

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
    /// "how many objects are there ?", "how many red objects are there ?", "how many stars are there ?": a digit.
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

/// A question about a scene, with its answer and what the answer rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// What it is about.
    pub kind: Kind,
    /// The question: lower case, words and punctuation set off by single spaces.
    pub text: String,
    /// The one right answer, in the same form.
    pub answer: String,
    /// The objects that make the answer true, ascending: the object asked about, both sides of a relation, all objects
    /// counted or found. Empty where the answer says there is none. For a description: all objects.
    pub evidence: Vec<usize>,
    /// The objects the nouns of the question refer to, by word; a noun that several objects match has an entry for
    /// each, a noun without a match has none.
    pub mentions: Vec<Mention>,
    /// The same for the nouns of the answer: each shape named in a description or as the answer to a relation.
    pub answer_mentions: Vec<Mention>,
}

/// Which properties an expression names.
#[derive(Clone, Copy)]
struct Naming {
    size: bool,
    colour: bool,
    shape: bool,
}

/// A way to ask, before it is put into words.
#[derive(Clone, Copy)]
enum Ask {
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
enum Filter {
    Colour(Colour),
    Shape(Shape),
    Both(Colour, Shape),
}

impl Filter {
    fn admits(self, object: &Object) -> bool {
        match self {
            Self::Colour(colour) => object.colour == colour,
            Self::Shape(shape) => object.shape == shape,
            Self::Both(colour, shape) => object.colour == colour && object.shape == shape,
        }
    }
}

impl Scene {
    /// Every question that can be asked of this scene in every wording, kind by kind in the order of [`Kind::ALL`].
    pub fn questions(&self) -> Vec<Question> {
        Kind::ALL.iter().flat_map(|&kind| self.asks(kind)).map(|ask| self.phrase(ask)).collect()
    }

    /// One question of a kind; `None` if this scene allows none.
    ///
    /// Draws are balanced, so that the wording gives as little away as can be: yes and no are equally likely; three in
    /// four of the colour-and-shape questions answered by no are near misses (the colour or the shape is there, on
    /// another object); counts of colours and shapes are zero once in four, and else drawn evenly among the counts that
    /// occur.
    pub fn ask<R: Rng + ?Sized>(&self, kind: Kind, rng: &mut R) -> Option<Question> {
        let ask = match kind {
            Kind::Count => Some(self.draw_count(rng)),
            Kind::Existence => self.draw_existence(rng),
            Kind::Relation => {
                let yes = rng.random_bool(0.5);
                let asks = self.asks(kind);
                let fitting: Vec<Ask> = asks.into_iter().filter(|&ask| self.holds(ask) == yes).collect();
                fitting.choose(rng).copied()
            }
            _ => self.asks(kind).choose(rng).copied(),
        };
        ask.map(|ask| self.phrase(ask))
    }

    /// `n` questions, each of a kind drawn by weight among those this scene allows. Kinds without a positive weight are
    /// not asked; if none is left, there are no questions. The same question comes twice only if sixteen further draws
    /// find no other.
    pub fn sample<R: Rng + ?Sized>(&self, n: usize, rng: &mut R, weights: &[(Kind, f32)]) -> Vec<Question> {
        let mut open: Vec<(Kind, f32)> = weights.iter().copied().filter(|&(_, weight)| weight > 0.0).collect();
        let mut questions: Vec<Question> = Vec::with_capacity(n);
        let mut stale = 0;
        while questions.len() < n {
            let Ok(&(kind, _)) = open.choose_weighted(rng, |&(_, weight)| weight) else { break };
            let Some(question) = self.ask(kind, rng) else {
                open.retain(|&(other, _)| other != kind);
                continue;
            };
            if stale < FRESH_DRAWS && questions.contains(&question) {
                stale += 1;
                continue;
            }
            stale = 0;
            questions.push(question);
        }
        questions
    }

    /// Every way to ask about a kind.
    fn asks(&self, kind: Kind) -> Vec<Ask> {
        let naming = |size, colour, shape| Naming { size, colour, shape };
        match kind {
            Kind::Colour => self.property(kind, 1, &[naming(false, false, true), naming(true, false, true)]),
            Kind::Shape => self.property(kind, 1, &[naming(false, true, false), naming(true, true, false)]),
            Kind::Size => self.property(kind, 2, &[naming(false, false, true), naming(false, true, true)]),
            Kind::Location => self.property(kind, 1, &BY_ANY),
            Kind::Count => {
                let colours = Colour::ALL.iter().map(|&colour| Ask::Count(Filter::Colour(colour)));
                let shapes = Shape::ALL.iter().map(|&shape| Ask::Count(Filter::Shape(shape)));
                std::iter::once(Ask::CountAll).chain(colours).chain(shapes).collect()
            }
            Kind::Existence => {
                let shapes = Shape::ALL.iter().map(|&shape| Filter::Shape(shape));
                let colours = Colour::ALL.iter().map(|&colour| Filter::Colour(colour));
                shapes.chain(colours).chain(pairs()).map(Ask::Existence).collect()
            }
            Kind::Relation => self.relations(),
            Kind::RelationObject => self.relation_objects(),
            Kind::Describe => (0..2).map(|wording| Ask::Describe { wording }).collect(),
        }
    }

    fn property(&self, kind: Kind, wordings: usize, namings: &[Naming]) -> Vec<Ask> {
        let mut asks = Vec::new();
        for (object, thing) in self.objects.iter().enumerate() {
            if kind == Kind::Location && Cell::at(thing.centre).is_none() {
                continue;
            }
            let Some(naming) = self.name(object, namings) else { continue };
            asks.extend((0..wordings).map(|wording| Ask::Property { kind, wording, object, naming }));
        }
        asks
    }

    fn relations(&self) -> Vec<Ask> {
        let mut asks = Vec::new();
        for object in 0..self.objects.len() {
            for origin in 0..self.objects.len() {
                if object == origin || self.name(object, &BY_ANY).is_none() || self.name(origin, &BY_ANY).is_none() {
                    continue;
                }
                for &direction in Direction::ALL {
                    if self.offset(direction, origin, object).abs() >= CLEAR_OFFSET {
                        asks.push(Ask::Relation { object, direction, origin });
                    }
                }
            }
        }
        asks
    }

    fn relation_objects(&self) -> Vec<Ask> {
        let mut asks = Vec::new();
        for origin in 0..self.objects.len() {
            if self.name(origin, &BY_ANY).is_none() {
                continue;
            }
            for &direction in Direction::ALL {
                let others = || (0..self.objects.len()).filter(|&other| other != origin);
                let clear = others().all(|other| self.offset(direction, origin, other).abs() >= CLEAR_OFFSET);
                let mut beyond = others().filter(|&other| self.offset(direction, origin, other) > 0.0);
                if let (true, Some(found), None) = (clear, beyond.next(), beyond.next()) {
                    asks.push(Ask::RelationObject { direction, origin, found });
                }
            }
        }
        asks
    }

    fn offset(&self, direction: Direction, origin: usize, other: usize) -> f32 {
        direction.offset(self.objects[origin].centre, self.objects[other].centre)
    }

    /// The first of several namings that fits this object alone.
    fn name(&self, object: usize, namings: &[Naming]) -> Option<Naming> {
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

    fn matching(&self, filter: Filter) -> Vec<usize> {
        (0..self.objects.len()).filter(|&index| filter.admits(&self.objects[index])).collect()
    }

    fn holds(&self, ask: Ask) -> bool {
        match ask {
            Ask::Existence(filter) => self.objects.iter().any(|object| filter.admits(object)),
            Ask::Relation { object, direction, origin } => self.offset(direction, origin, object) > 0.0,
            _ => true,
        }
    }

    fn draw_count<R: Rng + ?Sized>(&self, rng: &mut R) -> Ask {
        let filters: Vec<Filter> = match rng.random_range(0..3) {
            0 => return Ask::CountAll,
            1 => Colour::ALL.iter().map(|&colour| Filter::Colour(colour)).collect(),
            _ => Shape::ALL.iter().map(|&shape| Filter::Shape(shape)).collect(),
        };
        let counts: Vec<usize> = filters.iter().map(|&filter| self.matching(filter).len()).collect();
        let mut occurring: Vec<usize> = counts.iter().copied().filter(|&count| count > 0).collect();
        occurring.sort_unstable();
        occurring.dedup();
        let none = rng.random_bool(0.25);
        let wanted = if none { 0 } else { occurring.choose(rng).copied().unwrap_or(0) };
        let fitting: Vec<Filter> =
            filters.into_iter().zip(counts).filter(|&(_, count)| count == wanted).map(|(filter, _)| filter).collect();
        fitting.choose(rng).map_or(Ask::CountAll, |&filter| Ask::Count(filter))
    }

    fn draw_existence<R: Rng + ?Sized>(&self, rng: &mut R) -> Option<Ask> {
        let yes = rng.random_bool(0.5);
        let form = rng.random_range(0..3);
        let near = rng.random_bool(0.75);
        let mut filters: Vec<Filter> = match form {
            0 => Shape::ALL.iter().map(|&shape| Filter::Shape(shape)).collect(),
            1 => Colour::ALL.iter().map(|&colour| Filter::Colour(colour)).collect(),
            _ => pairs().collect(),
        };
        filters.retain(|&filter| self.holds(Ask::Existence(filter)) == yes);
        if form == 2 && !yes && near {
            let misses: Vec<Filter> = filters.iter().copied().filter(|&filter| self.nearly(filter)).collect();
            if !misses.is_empty() {
                filters = misses;
            }
        }
        filters.choose(rng).copied().map(Ask::Existence)
    }

    /// Whether some object has the colour or the shape.
    fn nearly(&self, filter: Filter) -> bool {
        match filter {
            Filter::Both(colour, shape) => {
                self.objects.iter().any(|object| object.colour == colour || object.shape == shape)
            }
            other => self.objects.iter().any(|object| other.admits(object)),
        }
    }

    fn phrase(&self, ask: Ask) -> Question {
        let mut text = Sentence::default();
        let mut answer = Sentence::default();
        let (kind, mut evidence) = match ask {
            Ask::Property { kind, wording, object, naming } => {
                let thing = &self.objects[object];
                let (opening, reply) = match (kind, wording) {
                    (Kind::Colour, _) => ("what colour is", thing.colour.word()),
                    (Kind::Shape, _) => ("what shape is", thing.shape.word()),
                    (Kind::Size, 0) => ("what size is", thing.size.word()),
                    (Kind::Size, _) => ("how big is", thing.size.word()),
                    _ => ("where is", Cell::at(thing.centre).map_or("", Cell::word)),
                };
                text.say(opening);
                text.refer(thing, naming, object);
                text.say("?");
                answer.say(reply);
                (kind, vec![object])
            }
            Ask::CountAll => {
                let all: Vec<usize> = (0..self.objects.len()).collect();
                text.say("how many objects");
                text.mention(&all);
                text.say("are there ?");
                answer.say(digit(all.len()));
                (Kind::Count, all)
            }
            Ask::Count(filter) => {
                let counted = self.matching(filter);
                text.say("how many");
                match filter {
                    Filter::Colour(colour) => text.say(colour.word()).say("objects"),
                    Filter::Shape(shape) => text.say(shape.plural()),
                    Filter::Both(colour, shape) => text.say(colour.word()).say(shape.plural()),
                };
                text.mention(&counted);
                text.say("are there ?");
                answer.say(digit(counted.len()));
                (Kind::Count, counted)
            }
            Ask::Existence(filter) => {
                let found = self.matching(filter);
                text.say("is there");
                match filter {
                    Filter::Colour(colour) => text.say(colour.article()).say(colour.word()).say("object"),
                    Filter::Shape(shape) => text.say("a").say(shape.word()),
                    Filter::Both(colour, shape) => text.say(colour.article()).say(colour.word()).say(shape.word()),
                };
                text.mention(&found);
                text.say("?");
                answer.say(yes_or_no(!found.is_empty()));
                (Kind::Existence, found)
            }
            Ask::Relation { object, direction, origin } => {
                text.say("is");
                self.refer(&mut text, object);
                text.say(direction.word());
                self.refer(&mut text, origin);
                text.say("?");
                answer.say(yes_or_no(self.holds(ask)));
                (Kind::Relation, vec![object, origin])
            }
            Ask::RelationObject { direction, origin, found } => {
                text.say("what is").say(direction.word());
                self.refer(&mut text, origin);
                text.say("?");
                let thing = &self.objects[found];
                answer.say(thing.colour.article()).say(thing.colour.word()).say(thing.shape.word());
                answer.mention(&[found]);
                (Kind::RelationObject, vec![found, origin])
            }
            Ask::Describe { wording } => {
                text.say(if wording == 0 { "describe the picture ." } else { "what is in the picture ?" });
                let order = self.reading_order();
                let mentions =
                    order.iter().enumerate().map(|(place, &object)| Mention { word: Self::noun_in_description(place), object });
                answer = Sentence { text: self.description(), mentions: mentions.collect() };
                (Kind::Describe, order)
            }
        };
        evidence.sort_unstable();
        Question {
            kind,
            text: text.text,
            answer: answer.text,
            evidence,
            mentions: text.mentions,
            answer_mentions: answer.mentions,
        }
    }

    /// Refers to an object by the shortest expression that fits it alone.
    fn refer(&self, text: &mut Sentence, object: usize) {
        if let Some(naming) = self.name(object, &BY_ANY) {
            text.refer(&self.objects[object], naming, object);
        }
    }
}

/// Expressions for an object whose properties are not what is asked: "the star", "the red star", "the large red star".
const BY_ANY: [Naming; 3] = [
    Naming { size: false, colour: false, shape: true },
    Naming { size: false, colour: true, shape: true },
    Naming { size: true, colour: true, shape: true },
];

fn pairs() -> impl Iterator<Item = Filter> {
    Colour::ALL.iter().flat_map(|&colour| Shape::ALL.iter().map(move |&shape| Filter::Both(colour, shape)))
}

fn digit(count: usize) -> &'static str {
    DIGITS[count.min(DIGITS.len() - 1)]
}

const fn yes_or_no(holds: bool) -> &'static str {
    if holds { "yes" } else { "no" }
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

/// A text that grows word by word and knows which of its nouns refer to what.
#[derive(Default)]
struct Sentence {
    text: String,
    mentions: Vec<Mention>,
}

impl Sentence {
    fn say(&mut self, words: &str) -> &mut Self {
        if !self.text.is_empty() {
            self.text.push(' ');
        }
        self.text.push_str(words);
        self
    }

    /// Notes that the last word refers to these objects.
    fn mention(&mut self, objects: &[usize]) {
        let word = self.text.split(' ').count() - 1;
        self.mentions.extend(objects.iter().map(|&object| Mention { word, object }));
    }

    fn refer(&mut self, thing: &Object, naming: Naming, object: usize) {
        self.say("the");
        if naming.size {
            self.say(thing.size.word());
        }
        if naming.colour {
            self.say(thing.colour.word());
        }
        self.say(if naming.shape { thing.shape.word() } else { "object" });
        self.mention(&[object]);
    }
}
