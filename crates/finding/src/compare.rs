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
    let label = |axis: &Axis, i| axis.label(i).unwrap_or_default();
    if a.role != b.role || a.len() != b.len() {
        return (a.to_string(), b.to_string());
    }
    if let Some(i) = (0..a.len()).find(|&i| a.label(i) != b.label(i)) {
        return (format!("{a} with `{}` at {i}", label(a, i)), format!("{b} with `{}` at {i}", label(b, i)));
    }
    let labels = (0..a.len()).map(|i| (i, a.labels.at(&[i]), b.labels.at(&[i])));
    match labels.into_iter().find(|(_, x, y)| x != y) {
        Some((i, x, y)) => (format!("{a} with {x:?} at {i}"), format!("{b} with {y:?} at {i}")),
        None => (format!("{a} {:?}", a.labels), format!("{b} {:?}", b.labels)),
    }
}

#[cfg(test)]
mod tests {
    use crate::{Axis, Labelled, Modality, PatchLabel, Role, TokenLabel, Unit};

    fn words(name: &str, words: [&str; 2], values: [f32; 2]) -> Labelled {
        let tokens = words.map(|word| TokenLabel::new(word, Modality::Text));
        Labelled::numbers(name, Unit::Logit, vec![Axis::tokens(tokens.to_vec())], values.to_vec()).unwrap()
    }

    #[test]
    fn a_difference_keeps_the_name_and_the_axes() {
        let difference =
            words("a", ["red", "dot"], [1.0, 2.0]).minus(&words("b", ["red", "dot"], [0.5, 3.0])).unwrap();
        assert_eq!(difference, words("a", ["red", "dot"], [0.5, -1.0]));
    }

    #[test]
    fn other_words_are_not_subtracted() {
        let error = words("a", ["red", "dot"], [1.0; 2]).minus(&words("b", ["red", "cat"], [1.0; 2]));
        assert_eq!(
            error.unwrap_err().to_string(),
            "tables `a` and `b` differ in axis 0: token[2] with `dot` at 1 against token[2] with `cat` at 1"
        );
    }

    #[test]
    fn labels_that_read_the_same_are_still_told_apart() {
        let patch =
            |x1| PatchLabel { image: 0, tile: 0, frame: 0, row: 0, col: 0, bbox: [0.0, 0.0, x1, 4.0] };
        let table = |x1| {
            Labelled::numbers("m", Unit::Logit, vec![Axis::patches(vec![patch(x1)])], vec![0.0]).unwrap()
        };
        let message = table(4.0).minus(&table(8.0)).unwrap_err().to_string();
        assert!(message.contains("bbox: [0.0, 0.0, 8.0, 4.0]"), "{message}");
    }

    #[test]
    fn other_units_ranks_and_texts_are_refused_by_name() {
        let scalar = |name, unit| Labelled::scalar(name, unit, 1.0);
        let error = scalar("a", Unit::Logit).max_abs_difference(&scalar("b", Unit::LogProbability));
        assert_eq!(
            error.unwrap_err().to_string(),
            "tables `a` and `b` differ in unit: logit against log probability"
        );
        let error = scalar("a", Unit::Logit).minus(&words("b", ["red", "dot"], [1.0; 2]));
        assert_eq!(
            error.unwrap_err().to_string(),
            "tables `a` and `b` differ: [] against [\"token[2]\"] axes"
        );
        let texts = Labelled::texts("w", vec![Axis::count(Role::Rank, 1)], vec!["x".to_owned()]).unwrap();
        assert_eq!(
            texts.minus(&texts).unwrap_err().to_string(),
            "minus needs numbers; table `w` holds texts"
        );
    }

    #[test]
    fn the_largest_gap_counts_infinities_and_nan() {
        let gap = |a, b| words("a", ["x", "y"], a).max_abs_difference(&words("b", ["x", "y"], b)).unwrap();
        assert_eq!(gap([1.0, f32::INFINITY], [0.5, f32::INFINITY]), 0.5);
        assert_eq!(gap([1.0, f32::INFINITY], [0.5, 0.0]), f32::INFINITY);
        assert!(gap([f32::NAN, 9.0], [f32::NAN, 0.0]).is_nan());
        assert!(gap([9.0, f32::NAN], [0.0, f32::NAN]).is_nan());
    }

    #[test]
    fn closeness_is_absolute_plus_relative_and_never_holds_for_nan() {
        let close = |a, b, absolute, relative| {
            words("a", ["x", "y"], a).allclose(&words("b", ["x", "y"], b), absolute, relative).unwrap()
        };
        // |101 - 100| = 1 <= 0.5 + 0.01 * 100 = 1.5
        assert!(close([101.0, 0.0], [100.0, 0.0], 0.5, 0.01));
        // 1 > 0.5 + 0.004 * 100 = 0.9
        assert!(!close([101.0, 0.0], [100.0, 0.0], 0.5, 0.004));
        assert!(!close([f32::NAN, 0.0], [f32::NAN, 0.0], 1.0, 1.0));
        assert!(close([f32::INFINITY, 0.0], [f32::INFINITY, 0.0], 0.0, 0.0));
    }

    #[test]
    fn relabelling_is_a_named_act_that_keeps_lengths() {
        let other = words("b", ["blue", "dot"], [0.0; 2]);
        let moved = words("a", ["red", "dot"], [1.0, 2.0]).relabelled(other.axes().to_vec()).unwrap();
        assert_eq!(moved.minus(&other).unwrap().as_numbers(), Some(&[1.0, 2.0][..]));
        let error = moved.relabelled(vec![Axis::count(Role::Token, 3)]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "tables `a` and `new axes` differ in axis 0: token[2] against token[3]"
        );
    }
}
