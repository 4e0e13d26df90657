//! Files from outside, read within limits.
//!
//! Every reader of mmlens opens its files here: [`open`] takes regular files alone, so that a pipe is not waited for and a
//! device not read for ever, and [`read`] takes no more bytes than its caller allows. [`parse_json`] says which field of a
//! text is wrong.

mod json;
mod read;

pub use json::{JsonError, parse_json, parse_value};
pub use read::{Refused, open, read, read_text};
