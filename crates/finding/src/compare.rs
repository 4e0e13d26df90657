//! Comparison of tables: only what means the same is ever compared.

use crate::{Axis, Labelled, TableError, Values};

impl Labelled {
    /// This table minus another of the same axes and unit. The name of this one is kept.
    ///
    /// # Errors
    /// [`TableError::Texts`] for texts; [`TableError::Units`], [`TableError::Ranks`] or [`TableError::Axes`] for
    /// tables that do not mean the same.
    pub fn minus(&self, other: &Self) -> Result<Self, TableError> {
        let (left, right) = self.beside(other, "minus")?;
        let difference = left.iter().zip(right).map(|(a, b)| a - b).collect();
        Ok(self.rebuilt(self.axes().to_vec(), Values::Numbers(difference)))
    }

    /// The largest absolute difference between two tables of the same axes and unit. Equal infinities differ by
    /// nothing; a NaN anywhere makes the result NaN; empty tables differ by nothing.
    ///
    /// # Errors
    /// As [`Labelled::minus`].
    pub fn max_abs_difference(&self, other: &Self) -> Result<f32, TableError> {
        let (left, right) = self.beside(other, "max_abs_difference")?;
        let gaps = left.iter().zip(right).map(|(a, b)| if a == b { 0.0 } else { (a - b).abs() });
        Ok(gaps.fold(0.0, |max: f32, gap| if max.is_nan() || gap <= max { max } else { gap }))
    }

    /// Whether every pair satisfies `|a - b| <= absolute + relative * |b|`. NaN is close to nothing.
    ///
    /// # Errors
    /// As [`Labelled::minus`].
    pub fn allclose(&self, other: &Self, absolute: f32, relative: f32) -> Result<bool, TableError> {
        let (left, right) = self.beside(other, "allclose")?;
        let close = |(a, b): (&f32, &f32)| a == b || (a - b).abs() <= absolute + relative * b.abs();
        Ok(left.iter().zip(right).all(close))
    }

    /// The numbers of both, once it is sure that they mean the same.
    fn beside<'a>(
        &'a self,
        other: &'a Self,
        operation: &'static str,
    ) -> Result<(&'a [f32], &'a [f32]), TableError> {
        let numbers = |table: &'a Self| {
            table.as_numbers().ok_or_else(|| TableError::Texts { table: table.name().to_owned(), operation })
        };
        let (left, right) = (numbers(self)?, numbers(other)?);
        same_meaning(self, other)?;
        Ok((left, right))
    }
}

/// Same unit, same axes, same labels.
pub(crate) fn same_meaning(left: &Labelled, right: &Labelled) -> Result<(), TableError> {
    if left.unit() != right.unit() {
        return Err(TableError::Units {
            left: left.name().to_owned(),
            right: right.name().to_owned(),
            left_unit: left.unit(),
            right_unit: right.unit(),
        });
    }
    same_rank(left, right.name(), right.axes())?;
    match left.axes().iter().zip(right.axes()).enumerate().find(|(_, (a, b))| a != b) {
        Some((axis, (a, b))) => Err(differ(left, right.name(), axis, a, b)),
        None => Ok(()),
    }
}

/// Same number of axes and the same length of each.
pub(crate) fn same_lengths(table: &Labelled, axes: &[Axis]) -> Result<(), TableError> {
    same_rank(table, "new axes", axes)?;
    match table.axes().iter().zip(axes).enumerate().find(|(_, (a, b))| a.len() != b.len()) {
        Some((axis, (a, b))) => Err(differ(table, "new axes", axis, a, b)),
        None => Ok(()),
    }
}

fn same_rank(left: &Labelled, right: &str, axes: &[Axis]) -> Result<(), TableError> {
    if left.rank() == axes.len() {
        return Ok(());
    }
    let list = |axes: &[Axis]| axes.iter().map(ToString::to_string).collect();
    Err(TableError::Ranks {
        left: left.name().to_owned(),
        right: right.to_owned(),
        left_axes: list(left.axes()),
        right_axes: list(axes),
    })
}

fn differ(left: &Labelled, right: &str, axis: usize, a: &Axis, b: &Axis) -> TableError {
    let (left_axis, right_axis) = describe(a, b);
    TableError::Axes { left: left.name().to_owned(), right: right.to_owned(), axis, left_axis, right_axis }
}

/// Two different axes in words; the first differing label where role and length agree.
fn describe(a: &Axis, b: &Axis) -> (String, String) {
    if a.role != b.role || a.len() != b.len() {
        return (a.to_string(), b.to_string());
    }
    let labels = (0..a.len()).map(|i| (i, a.labels.at(&[i]), b.labels.at(&[i])));
    match labels.into_iter().find(|(_, x, y)| x != y) {
        Some((i, x, y)) => (format!("{a} with {x:?} at {i}"), format!("{b} with {y:?} at {i}")),
        None => (format!("{a} {:?}", a.labels), format!("{b} {:?}", b.labels)),
    }
}
