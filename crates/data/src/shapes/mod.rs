//! The shapes world: small pictures of coloured shapes, and questions whose answer and evidence are known.
//!
//! # Idea
//! A [`Scene`] is a 64 x 64 picture of one to four objects. Each object has a [`Shape`], a [`Colour`] and a
//! [`Size`], and the exact pixels on which it can be seen. A [`World`] draws scenes from a seed, by split and
//! index, so that any scene can be drawn again alone. A scene asks questions about itself ([`Scene::ask`],
//! [`Scene::questions`]) and describes itself ([`Scene::description`]). Every [`Question`] carries the
//! objects that are the evidence for its answer, so an explanation of a model can be scored against the
//! truth.
//!
//! # Units
//! All lengths are pixels; x grows to the right, y grows downwards; pixel `(i, j)` covers `[i, i+1) x [j,
//! j+1)`.
//!
//! # When it misleads
//! - With the bias on ([`World::with_bias`]), shapes co-occur in the training split. Rates measured there say
//!   nothing about the other splits.
//! - "Left" of [`Kind::Relation`] is decided by centres at least [`CLEAR_OFFSET`] apart, so no question
//!   exists for objects nearly in line: the absence of a question is itself information.
//! - A mask holds the pixels an object covers by half or more. The soft edge of an object reaches one pixel
//!   further.

mod answer;
mod ask;
mod caption;
mod careless;
mod cases;
mod concepts;
mod describe;
mod edit;
mod export;
mod polls;
mod question;
mod raster;
mod scene;
mod score;
mod vocabulary;
mod world;

pub use caption::{Caption, Detail, Mentioned};
pub use careless::Thing;
pub use cases::ShapesCases;
pub use concepts::{Said, ShapesConcepts};
pub use describe::{Phrase, parse_description};
pub use edit::{Counterfactual, Edit, EditError};
pub use export::{ObjectRecord, Record, export, read_records};
pub use polls::{Named, Poll};
pub use question::{CELL_MARGIN, CLEAR_OFFSET, Kind, Mention, Question};
pub use raster::Mask;
pub use scene::{MOST_HIDDEN, Object, SIDE, Scene};
pub use score::{Described, Scores, compare_description, names_every_object};
pub use vocabulary::{Cell, Colour, Direction, Shape, Size, vocabulary};
pub use world::{MOST_OBJECTS, RED_BRINGS_CROSS, STAR_BRINGS_RING, Sample, Samples, World};

pub use crate::drawn::{Split, UnknownSplit};
pub use crate::exported::ExportError;
pub use crate::score::Score;
