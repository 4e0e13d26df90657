//! Fuzz targets for every file that mmlens reads.
//!
//! A [`Target`] takes bytes as the contents of one file, reads it as a user's program would, and where the file is accepted
//! goes on: to encode a sample, to one pass, to a page. Whatever the bytes, a target gives a refusal or a result, within
//! its [`Limits`] of time and memory. A panic, an abort, a hang and more memory than that are findings, and so is a
//! refusal that does not name the file.
//!
//! The program `fuzz` mutates [`Target::seeds`] by rule ([`mutate`]) and runs the targets in processes of their own; it
//! needs no special toolchain. Case `i` of a seed is the same bytes everywhere. The targets are functions of bytes, so that
//! libFuzzer drives them too (`cargo xtask fuzz --coverage TARGET`).

mod benchmark;
mod checkpoint;
mod format;
mod learned;
mod mutate;
mod pictures;
mod program;
mod recordings;
mod requests;
mod results;
mod room;
mod seeds;
mod target;

pub use format::Format;
pub use mutate::mutate;
pub use room::Room;
pub use target::{Limits, Outcome, TARGETS, Target};
