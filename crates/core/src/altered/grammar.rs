//! Edits in text: `SITE[AXIS=INDICES,...]=CHANGE`.
//!
//! | piece | is |
//! |---|---|
//! | `SITE` | a site or a [selector](crate::Selector): `text.blocks.2.attn.z`, `text.blocks.*.mlp_out` |
//! | `[AXIS=INDICES,...]` | a part of it, or all if it is left out: axes as sites publish them, indices `1`, `1,3`, `0..4` (without 4) or several of these |
//! | `zero` | to zero |
//! | `mean` | to the mean of what is alike in the row; of pixels to the mean colour of the picture |
//! | `scale:NUMBER` | multiplied |
//! | `add:FILE#TENSOR`, `add:FILE#TENSOR*NUMBER` | a tensor of a safetensors file added, or so many times |
//! | `set:FILE#TENSOR` | replaced by a tensor |
//! | `without:FILE#TENSOR` | less its projection on what the rows of a tensor span, along the last axis |
//! | `away:FILE#TENSOR`, `away:FILE#TENSOR*NUMBER` | where it points along a tensor of one row, less that, or so many times |
//!
//! Tensors are F32 or F64, taken as F32, and have the axes of the site, each of its length or of length 1; of fewer axes, the last ones. Directions (`without`, `away`) are F32 or F64, taken as F64, a row
//! each, of the length of the last axis.

use std::ops::Range;
use std::path::PathBuf;

use mmlens_files::{TensorError, read_doubles, read_tensor};

use super::Alteration;
use crate::site::closest;
use crate::{AnyTensor, AxisName, Change, HookError, Region, Selector, device};

/// Indices that one range may have.
const MOST_INDICES: usize = 1 << 20;

const CHANGES: [&str; 7] = ["zero", "mean", "scale", "add", "set", "without", "away"];

/// An edit in text that cannot be read: where in the text, and why.
#[derive(Debug, thiserror::Error)]
#[error("the edit `{text}`, at `{found}` (character {}): {fault}", at + 1)]
pub struct AlterationError {
    /// The whole text.
    pub text: String,
    /// Where in it, counted in characters from 0.
    pub at: usize,
    /// What stands there.
    pub found: String,
    /// What is wrong with it.
    pub fault: Box<AlterationFault>,
}

/// What is wrong with an edit in text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AlterationFault {
    /// No change.
    #[error("an edit is SITE=CHANGE or SITE[AXIS=INDICES,...]=CHANGE")]
    NoChange,
    /// A bracket that is opened and not closed.
    #[error("the bracket is not closed")]
    Open,
    /// No site and no selector.
    #[error(transparent)]
    Site(HookError),
    /// A name that no axis has.
    #[error("no axis is called so{}; axes are {}", suggestion(.nearest), AxisName::ALL.map(AxisName::name).join(", "))]
    Axis {
        /// The closest name.
        nearest: Option<String>,
    },
    /// An axis that comes twice.
    #[error("this axis is named twice")]
    Twice,
    /// No indices.
    #[error("indices are like 1 or 1,3 or 0..4")]
    Indices,
    /// More indices than anyone needs.
    #[error("these are {found} indices, expected at most {MOST_INDICES}")]
    Many {
        /// How many.
        found: usize,
    },
    /// No change.
    #[error("no change is called so{}; changes are zero, mean, scale:NUMBER, add:FILE#TENSOR, add:FILE#TENSOR*NUMBER, set:FILE#TENSOR, without:FILE#TENSOR, away:FILE#TENSOR and away:FILE#TENSOR*NUMBER", suggestion(.nearest))]
    Change {
        /// The closest name.
        nearest: Option<String>,
    },
    /// No number.
    #[error("expected a finite number")]
    Number,
    /// No file with a tensor.
    #[error("expected FILE#TENSOR")]
    Tensor,
    /// A tensor that cannot be had.
    #[error(transparent)]
    File(TensorError),
    /// A tensor with values that are no finite numbers, or that cannot be an operand.
    #[error(transparent)]
    Value(HookError),
}

fn suggestion(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or_else(String::new, |nearest| format!(" (did you mean `{nearest}`?)"))
}

/// A piece of the text and where it begins, in bytes.
#[derive(Clone, Copy)]
struct Piece<'a> {
    at: usize,
    text: &'a str,
}

impl<'a> Piece<'a> {
    /// What lies before some bytes of it, and what behind.
    fn split(self, first: usize, skip: usize) -> (Self, Self) {
        let (before, rest) = self.text.split_at_checked(first).unwrap_or((self.text, ""));
        let behind = rest.get(skip..).unwrap_or_default();
        (Self { at: self.at, text: before }, Self { at: self.at + first + skip, text: behind })
    }

    fn split_at(self, mark: &str) -> Option<(Self, Self)> {
        self.text.find(mark).map(|first| self.split(first, mark.len()))
    }

    fn fault(self, fault: AlterationFault) -> Fault {
        Fault { at: self.at, found: self.text.to_owned(), fault: Box::new(fault) }
    }
}

struct Fault {
    at: usize,
    found: String,
    fault: Box<AlterationFault>,
}

impl Alteration {
    /// An edit as it is written, `SITE[AXIS=INDICES,...]=CHANGE`; its tensor is read from its file.
    ///
    /// ```
    /// use mmlens_core::Alteration;
    /// let edit = Alteration::parse("text.blocks.*.attn.z[head=1,3]=scale:0.5")?;
    /// assert_eq!(edit.to_string(), "text.blocks.*.attn.z[head=1,3]=scale:0.5");
    /// let said = Alteration::parse("text.blocks.2.attn.z[haed=1]=zero").unwrap_err().to_string();
    /// assert!(said.contains("at `haed` (character 22)") && said.contains("did you mean `head`?"));
    /// # Ok::<(), mmlens_core::AlterationError>(())
    /// ```
    ///
    /// # Errors
    /// [`AlterationError`] with the place in the text.
    pub fn parse(text: &str) -> Result<Self, AlterationError> {
        parsed(Piece { at: 0, text }).map_err(|Fault { at, found, fault }| AlterationError {
            text: text.to_owned(),
            at: text.get(..at).map_or(at, |before| before.chars().count()),
            found,
            fault,
        })
    }
}

fn parsed(text: Piece<'_>) -> Result<Alteration, Fault> {
    let end = text.text.find(['[', '=']).ok_or_else(|| text.fault(AlterationFault::NoChange))?;
    let (site, rest) = text.split(end, 0);
    let places: Selector = site.text.parse().map_err(|error| site.fault(AlterationFault::Site(error)))?;
    let (region, change) = match rest.text.strip_prefix('[') {
        None => (Region::all(), rest.split(0, 1).1),
        Some(_) => {
            let open = rest.split(0, 1).1;
            let (inside, behind) = open.split_at("]").ok_or_else(|| rest.fault(AlterationFault::Open))?;
            if !behind.text.starts_with('=') {
                return Err(behind.fault(AlterationFault::NoChange));
            }
            (region(inside)?, behind.split(0, 1).1)
        }
    };
    let (what, file) = changed(change)?;
    let made = match what {
        What::Change(own) => Alteration::new(places, region, own),
        What::Without(directions) => Alteration::without(places, region, &directions),
        What::Away(direction, times) => Alteration::away(places, region, &direction, times.into()),
    };
    let made = made.and_then(|made| made.written(change.text, file));
    made.map_err(|error| change.fault(AlterationFault::Value(error)))
}

/// `AXIS=INDICES,...`: what has no `=` goes on with the indices before.
fn region(inside: Piece<'_>) -> Result<Region, Fault> {
    let mut region = Region::all();
    let mut rest = Some(inside);
    let mut current: Option<(AxisName, Vec<usize>)> = None;
    while let Some(piece) = rest {
        let (one, behind) = match piece.split_at(",") {
            Some((one, behind)) => (one, Some(behind)),
            None => (piece, None),
        };
        rest = behind;
        let listed = match one.split_at("=") {
            None => one,
            Some((name, listed)) => {
                let axis =
                    AxisName::ALL.into_iter().find(|axis| axis.name() == name.text).ok_or_else(|| {
                        let nearest = closest(name.text, AxisName::ALL.map(AxisName::name));
                        name.fault(AlterationFault::Axis { nearest })
                    })?;
                if let Some((axis, indices)) = current.replace((axis, Vec::new())) {
                    region = region.of(axis, indices);
                }
                if region.indices(axis).is_some() {
                    return Err(name.fault(AlterationFault::Twice));
                }
                listed
            }
        };
        let Some((_, indices)) = current.as_mut() else {
            return Err(one.fault(AlterationFault::NoChange));
        };
        indices.extend(range(listed)?);
    }
    Ok(match current {
        Some((axis, indices)) => region.of(axis, indices),
        None => region,
    })
}

/// `4`, or `0..4` without 4.
fn range(piece: Piece<'_>) -> Result<Range<usize>, Fault> {
    let number = |piece: Piece<'_>| piece.text.parse().map_err(|_| piece.fault(AlterationFault::Indices));
    let Some((from, to)) = piece.split_at("..") else {
        let index: usize = number(piece)?;
        return index
            .checked_add(1)
            .map(|end| index..end)
            .ok_or_else(|| piece.fault(AlterationFault::Indices));
    };
    let range: Range<usize> = number(from)?..number(to)?;
    match range.len() {
        0 => Err(piece.fault(AlterationFault::Indices)),
        found if found > MOST_INDICES => Err(piece.fault(AlterationFault::Many { found })),
        _ => Ok(range),
    }
}

/// What is done.
enum What {
    Change(Change),
    Without(Vec<Vec<f64>>),
    Away(Vec<f64>, f32),
}

/// A change, and the file that it was read from.
fn changed(change: Piece<'_>) -> Result<(What, Option<PathBuf>), Fault> {
    match change.text {
        "zero" => return Ok((What::Change(Change::Zero), None)),
        "mean" => return Ok((What::Change(Change::Mean), None)),
        _ => {}
    }
    let unknown = || {
        let word = change.text.split(':').next().unwrap_or_default();
        change.fault(AlterationFault::Change { nearest: closest(word, CHANGES) })
    };
    let (verb, operand) = change.split_at(":").ok_or_else(unknown)?;
    match verb.text {
        "scale" => Ok((What::Change(Change::Scale(number(operand)?)), None)),
        "add" => {
            let (tensor, times) = times_of(operand)?;
            let (value, file) = tensor_of(tensor, times)?;
            Ok((What::Change(Change::Add(value)), Some(file)))
        }
        "set" => {
            let (value, file) = tensor_of(operand, 1.0)?;
            Ok((What::Change(Change::Set(value)), Some(file)))
        }
        "without" => {
            let (directions, file) = directions_of(operand)?;
            Ok((What::Without(directions), Some(file)))
        }
        "away" => {
            let (tensor, times) = times_of(operand)?;
            let (directions, file) = directions_of(tensor)?;
            match <[Vec<f64>; 1]>::try_from(directions) {
                Ok([direction]) => Ok((What::Away(direction, times), Some(file))),
                Err(rows) => {
                    let (given, dims) = (rows.len(), vec![1]);
                    Err(operand.fault(AlterationFault::Value(HookError::Values { dims, given })))
                }
            }
        }
        _ => Err(unknown()),
    }
}

fn number(piece: Piece<'_>) -> Result<f32, Fault> {
    let number = piece.text.parse::<f32>().ok().filter(|number| number.is_finite());
    number.ok_or_else(|| piece.fault(AlterationFault::Number))
}

/// `FILE#TENSOR` of `FILE#TENSOR*NUMBER`, and the number, or one.
fn times_of(operand: Piece<'_>) -> Result<(Piece<'_>, f32), Fault> {
    match operand.text.rfind('*') {
        Some(star) if operand.text.rfind('#').is_some_and(|mark| mark < star) => {
            let (tensor, times) = operand.split(star, 1);
            Ok((tensor, number(times)?))
        }
        _ => Ok((operand, 1.0)),
    }
}

/// File and tensor of `FILE#TENSOR`.
fn named<'a>(piece: Piece<'a>) -> Result<(&'a str, &'a str), Fault> {
    piece
        .text
        .rsplit_once('#')
        .filter(|(file, name)| !file.is_empty() && !name.is_empty())
        .ok_or_else(|| piece.fault(AlterationFault::Tensor))
}

/// The shape and the numbers of the tensor of `FILE#TENSOR`, in single or double precision, and the file.
fn numbers_of(piece: Piece<'_>) -> Result<(Vec<usize>, Vec<f64>, PathBuf), Fault> {
    let (file, name) = named(piece)?;
    let doubles = read_doubles(file).ok().and_then(|(mut tensors, _)| tensors.remove(name));
    let (shape, values) = match doubles {
        Some(doubles) => (doubles.shape, doubles.values),
        None => {
            let numbers =
                read_tensor(file, name).map_err(|error| piece.fault(AlterationFault::File(error)))?;
            (numbers.shape, numbers.values.into_iter().map(f64::from).collect())
        }
    };
    Ok((shape, values, file.into()))
}

/// The rows of the tensor of `FILE#TENSOR`, and the file.
fn directions_of(piece: Piece<'_>) -> Result<(Vec<Vec<f64>>, PathBuf), Fault> {
    let (shape, values, file) = numbers_of(piece)?;
    let width = shape.last().copied().unwrap_or(1).max(1);
    Ok((values.chunks(width).map(<[f64]>::to_vec).collect(), file))
}

/// The tensor of `FILE#TENSOR`, so many times, and the file.
fn tensor_of(piece: Piece<'_>, times: f32) -> Result<(AnyTensor, PathBuf), Fault> {
    let (shape, values, file) = numbers_of(piece)?;
    let shape = if shape.is_empty() { vec![1] } else { shape };
    // Of single precision nothing is lost on the way through double.
    let values = values.into_iter().map(|v| v as f32 * times).collect();
    let value = AnyTensor::from_values(values, &shape, &device::host());
    let value = value.and_then(|value| value.finite_values(piece.text).map(|_| value));
    let value = value.map_err(|error| piece.fault(AlterationFault::Value(error)))?;
    Ok((value, file))
}
