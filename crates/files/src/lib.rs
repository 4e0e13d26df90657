//! Files from outside, read within limits, and files of our own, written so that what is there is whole.
//!
//! Every reader of mmlens opens its files here: [`open`] takes regular files alone, so that a pipe is not waited for and a
//! device not read for ever, and [`read`] takes no more bytes than its caller allows. [`parse_json`] says which field of a
//! text is wrong, [`Fields`] which was not looked at, and [`caught`] makes an error of a panic over what a file holds.
//!
//! Everything that mmlens writes goes through [`Target`] (one file), [`Journal`] (line by line) or [`RunFolder`] (the files of
//! one run, with a manifest of them). Whatever happens to the process, a file is there as a whole under its name, or is what
//! it was before.

mod caught;
mod doubles;
mod fields;
mod journal;
mod json;
mod look;
mod read;
mod run;
mod target;
mod tensors;

pub use caught::{Panicked, caught};
pub use doubles::{Doubles, Learned, doubles_to_bytes, read_doubles};
pub use fields::Fields;
pub use journal::Journal;
pub use json::{JsonError, count_values, parse_json, parse_value};
pub use look::{RunState, State, look};
pub use read::{Refused, lines, open, read, read_text};
pub use run::{Entry, Manifest, RunError, RunFolder, remove, sha256, sha256_of};
pub use target::{PARTIAL, Target, WriteError, write};
pub use tensors::{Numbers, TensorError, read_floats, read_tensor, write_tensors};
