//! What can be wrong with a table, a finding or a file, each with where, what was found and what was expected.

use std::path::PathBuf;

use mmlens_files::WriteError;

use crate::{Mismatch, Role, Unit};

/// What can be wrong with a table or with an operation on tables.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// The number of values is not the product of the axis lengths.
    #[error("table `{table}` has {found} values; its axes {lengths:?} ask for {expected}")]
    Count {
        /// Name of the table.
        table: String,
        /// Length of each axis.
        lengths: Vec<usize>,
        /// Product of the lengths.
        expected: usize,
        /// Number of values given.
        found: usize,
    },
    /// The product of the axis lengths does not fit this machine.
    #[error("table `{table}` has axes {lengths:?}, more values than this machine can count")]
    TooLarge {
        /// Name of the table.
        table: String,
        /// Length of each axis.
        lengths: Vec<usize>,
    },
    /// A place in a picture is not made of finite numbers.
    #[error("table `{table}`, {role} axis, position {index}: {found:?} is not a place in a picture")]
    Place {
        /// Name of the table.
        table: String,
        /// Role of the axis.
        role: Role,
        /// Position on the axis.
        index: usize,
        /// The numbers found there.
        found: Vec<f32>,
    },
    /// There is no axis of that number.
    #[error("table `{table}` has {rank} axes; there is no axis {axis}")]
    NoAxis {
        /// Name of the table.
        table: String,
        /// The axis asked for, counted from zero.
        axis: usize,
        /// Number of axes.
        rank: usize,
    },
    /// There is no position of that number on the axis.
    #[error("table `{table}`, {role} axis: position {index} lies outside its {len} positions")]
    NoPosition {
        /// Name of the table.
        table: String,
        /// Role of the axis.
        role: Role,
        /// The position asked for, counted from zero.
        index: usize,
        /// Number of positions.
        len: usize,
    },
    /// The operation needs another number of axes.
    #[error("{operation} needs {expected} axes; table `{table}` has {found}")]
    Rank {
        /// Name of the table.
        table: String,
        /// What was tried.
        operation: &'static str,
        /// Number of axes needed.
        expected: usize,
        /// Number of axes found.
        found: usize,
    },
    /// The operation needs numbers and the table holds texts.
    #[error("{operation} needs numbers; table `{table}` holds texts")]
    Texts {
        /// Name of the table.
        table: String,
        /// What was tried.
        operation: &'static str,
    },
    /// The tables have different numbers of axes.
    #[error("tables `{left}` and `{right}` differ: {left_axes:?} against {right_axes:?} axes")]
    Ranks {
        /// Name of the left table.
        left: String,
        /// Name of the right table.
        right: String,
        /// Axes of the left table.
        left_axes: Vec<String>,
        /// Axes of the right table.
        right_axes: Vec<String>,
    },
    /// The tables differ in an axis.
    #[error("tables `{left}` and `{right}` differ in axis {axis}: {left_axis} against {right_axis}")]
    Axes {
        /// Name of the left table.
        left: String,
        /// Name of the right table.
        right: String,
        /// Which axis, counted from zero.
        axis: usize,
        /// The axis of the left table, with its first differing label.
        left_axis: String,
        /// The axis of the right table, with its first differing label.
        right_axis: String,
    },
    /// The tables differ in unit.
    #[error("tables `{left}` and `{right}` differ in unit: {left_unit} against {right_unit}")]
    Units {
        /// Name of the left table.
        left: String,
        /// Name of the right table.
        right: String,
        /// Unit of the left table.
        left_unit: Unit,
        /// Unit of the right table.
        right_unit: Unit,
    },
    /// The tables differ in a number, or hold one that is no finite number.
    #[error(transparent)]
    Apart(#[from] Mismatch),
}

/// What can be wrong with a finding as a whole.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FindingError {
    /// Two tables of one finding have the same name.
    #[error("finding `{method}` has two tables named `{table}`")]
    SameName {
        /// Method of the finding.
        method: String,
        /// The name.
        table: String,
    },
    /// A name that the file format keeps for itself, or no name at all.
    #[error("finding `{method}`: a table may not be named `{table}`")]
    BadName {
        /// Method of the finding.
        method: String,
        /// The name.
        table: String,
    },
    /// There is no table of that name.
    #[error("finding `{method}` has no table `{table}`; it has {have:?}")]
    NoTable {
        /// Method of the finding.
        method: String,
        /// The name asked for.
        table: String,
        /// The names there are.
        have: Vec<String>,
    },
    /// The two findings have different texts, which cannot be subtracted.
    #[error(
        "findings `{left}` and `{right}` differ in the texts of table `{table}`: texts cannot be subtracted"
    )]
    Texts {
        /// Method of the left finding.
        left: String,
        /// Method of the right finding.
        right: String,
        /// The table.
        table: String,
    },
    /// A table is wrong in itself.
    #[error(transparent)]
    Table(#[from] TableError),
}

/// What can go wrong when a finding is written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The file could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The file could not be read.
    #[error("cannot read finding {}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file was read and is not a finding that this version understands.
    #[error("{} is not a readable finding: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with its bytes.
        source: Box<FileError>,
    },
    /// The bytes are not a whole safetensors file.
    #[error("not a whole safetensors file: {reason}")]
    Container {
        /// What the reader said.
        reason: String,
    },
    /// A safetensors file, but without the description of a finding.
    #[error("a safetensors file without `{key}` in its metadata")]
    NotAFinding {
        /// The key that is missing.
        key: &'static str,
    },
    /// Written by a version with another format.
    #[error("format version {found}; this version reads {expected}")]
    Version {
        /// Version of the bytes.
        found: String,
        /// Versions that can be read.
        expected: String,
    },
    /// The description of the finding cannot be understood.
    #[error("description of the finding: {reason}")]
    Description {
        /// Which field, and what was expected there.
        reason: String,
    },
    /// A table that the description promises is not there, or of another kind.
    #[error("table `{table}`: {found}, expected {expected}")]
    Tensor {
        /// Name of the table.
        table: String,
        /// What the file holds.
        found: String,
        /// What the description promises.
        expected: String,
    },
    /// The tables do not make a finding.
    #[error(transparent)]
    Finding(#[from] FindingError),
}
