//! Comparison of tables: only what means the same is ever compared.

use crate::{Axis, Gap, Labelled, TableError, Tolerance, Values};

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

    /// Whether this table holds the numbers of another of the same axes and unit, within a tolerance.
    ///
    /// # Errors
    /// As [`Labelled::minus`], and [`TableError::Apart`] for a value too far off, or one of either that is no finite number.
    pub fn check(&self, other: &Self, tolerance: Tolerance) -> Result<Gap, TableError> {
        let (left, right) = self.beside(other, "check")?;
        Ok(tolerance.check(&format!("table `{}`", self.name()), left, right)?)
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
    use crate::{Axis, Labelled, Modality, PatchLabel, Role, TokenLabel, Tolerance, Unit};

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
        let error = scalar("a", Unit::Logit).check(&scalar("b", Unit::LogProbability), Tolerance::EXACT);
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
    fn tables_are_compared_within_a_tolerance_and_never_without_numbers() {
        let check =
            |a, b| words("a", ["x", "y"], a).check(&words("b", ["x", "y"], b), Tolerance::relative(0.01));
        // |101 - 100| is a hundredth of 100.
        assert_eq!(check([101.0, 0.0], [100.0, 0.0]).unwrap().absolute, 1.0);
        assert_eq!(
            check([102.0, 0.0], [100.0, 0.0]).unwrap_err().to_string(),
            "table `a`: value 0 is off by 2e0, 2e-2 of 1e2; allowed 0e0, or 1e-2 of it"
        );
        for odd in [f32::NAN, f32::INFINITY] {
            let said = check([1.0, odd], [1.0, odd]).unwrap_err().to_string();
            assert_eq!(said, format!("table `a`: value 1 is {odd}, wanted {odd}"));
        }
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
