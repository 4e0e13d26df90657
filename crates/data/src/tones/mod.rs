//! The tones world: short recordings of a few sounds, and questions whose answer and evidence are known.
//!
//! # Idea
//! A [`Scene`] is a recording of three seconds at 16 kHz with one to three sounds, two of which may overlap. Each [`Event`] has a
//! [`Timbre`], a [`Pitch`], a [`Length`] and a [`Loudness`], and the boxes in time and frequency ([`Region`]) that it lies in. A
//! [`World`] draws scenes from a seed, by split and index, so that any scene can be drawn again alone. A scene asks questions about
//! itself ([`Scene::ask`], [`Scene::questions`]) and describes itself ([`Scene::description`]). Every [`Question`] carries the
//! sounds that are the evidence for its answer, and with them the cells of a spectrogram ([`Cells`]), so an explanation of a model
//! can be scored against the truth.
//!
//! # Units
//! Times are milliseconds from the beginning of the recording, in boxes seconds; frequencies are Hz; levels are roots of mean
//! squares, where full scale is 1.
//!
//! # The same bits everywhere
//! Waves are made of the sines and cosines of `libm`, of additions, products and square roots in double precision, in a fixed order, and
//! rounded to 16 bits; what is drawn is drawn as whole numbers.
//!
//! # When it misleads
//! - With the bias on ([`World::with_bias`]), timbres and pitches co-occur in the training split. Rates measured there say nothing
//!   about the other splits.
//! - A question that hangs on a near tie does not exist: sounds of a scene begin at least [`CLEAR_ONSET`] ms apart, those that overlap
//!   are apart in frequency, and a scene that an edit made unclear answers nothing. So the absence of a question is itself
//!   information, and a buzz never overlaps with a sound of the next higher pitch, which would be hidden among its overtones.
//! - "The first sound" is evidence by itself, though it is first only because of when the others begin.
//! - A box holds a sound, and a mask 99.8 % of its power ([`LEAST_SHARE`]); the rest of what a window makes of a tone is everywhere.

mod ask;
mod cases;
mod edit;
mod event;
mod evidence;
mod export;
mod question;
mod scene;
mod synthesis;
mod vocabulary;
mod world;

pub use cases::TonesCases;
pub use edit::{Counterfactual, Edit, EditError};
pub use event::{EDGE, Event, MOMENT_MARGIN, Region, SPREAD};
pub use evidence::{Cells, LEAST_SHARE, listening, picture};
pub use export::{EventRecord, Record, export, read_records};
pub use question::{Kind, Mention, Question};
pub use scene::{CLEAR_GAP, CLEAR_HERTZ, CLEAR_ONSET, CLEAR_OVERLAP, MILLISECONDS, RATE, SAMPLES, Scene};
pub use vocabulary::{Length, Loudness, Moment, Pitch, Rank, Timbre, vocabulary};
pub use world::{DEEP_BRINGS_PULSE, HISS_BRINGS_BUZZ, MOST_EVENTS, Sample, Samples, World};

pub use crate::drawn::{Split, UnknownSplit};
pub use crate::exported::ExportError;
pub use crate::score::Score;
