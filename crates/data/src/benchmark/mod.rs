//! Benchmarks: data sets that others made, read item by item, answered by a model, and scored as their own scripts score them.
//!
//! # Idea
//! A [`Source`] opens a data set as [`Items`]: any [`Item`] by its number, each read when it is asked for, so that a million lines take
//! no more memory than one. A [`Scorer`] says what an answer comes to; a [`Tally`] adds verdicts up to figures with intervals.
//!
//! ```
//! use mmlens_core::Seed;
//! use mmlens_data::benchmark::{Answer, Item, Scorer, Tally, Vqa};
//! let answers = ["two", "2", "2", "2", "3", "2", "2", "2", "two", "2"].map(str::to_owned).to_vec();
//! let item = Item { id: "1".into(), group: "1".into(), answers, ..Item::default() };
//! let mut tally = Tally::default();
//! tally.add(&item, &Vqa.judge(&item, &Answer::text("Two."))?);
//! let all = &tally.scores(&Vqa, Seed(1))[0];
//! assert_eq!((all.items, all.figures[0].value), (1, Some(1.0)));
//! # Ok::<(), mmlens_data::benchmark::ScoreError>(())
//! ```
pub(crate) mod error;
mod item;
pub(crate) mod read;
mod regions;
mod run;
mod score;

pub use error::{At, ReadError};
pub use item::{Item, Marked, Shown};
pub use read::{Items, Map, Reader, Source, UnknownReader, UnknownRole};
pub use regions::Outline;
pub use run::{Bench, BenchError, By, ItemCases, Row, Scored, Settings};
pub use score::{
    ALL, Answer, Chair, Choice, DRAWS, Figure, Fits, Mme, Pairwise, Part, ScoreError, Scorer, ScorerName,
    Tally, Verdict, Vqa, Winoground, YesNo, tokens,
};
