//! Parts of a table: a slice, some positions, the largest values.

use std::cmp::Ordering;

use crate::{Axis, Labelled, TableError, Values};

/// One number of a table, with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Position on each axis.
    pub index: Vec<usize>,
    /// The number there.
    pub value: f32,
}

impl Labelled {
    /// The part at one position of one axis; that axis is gone.
    ///
    /// # Errors
    /// [`TableError::NoAxis`], [`TableError::NoPosition`].
    pub fn slice(&self, axis: usize, index: usize) -> Result<Self, TableError> {
        let values = self.picked(axis, &[index])?;
        let axes = self.axes().iter().enumerate().filter(|(i, _)| *i != axis).map(|(_, a)| a.clone());
        Ok(self.rebuilt(axes.collect(), values))
    }

    /// The parts at these positions of one axis, in this order. Positions that were only counted keep their numbers
    /// as names.
    ///
    /// # Errors
    /// [`TableError::NoAxis`], [`TableError::NoPosition`].
    pub fn select(&self, axis: usize, indices: &[usize]) -> Result<Self, TableError> {
        let values = self.picked(axis, indices)?;
        let mut axes = self.axes().to_vec();
        if let Some(axis) = axes.get_mut(axis) {
            *axis = Axis::new(axis.role, axis.labels.at(indices));
        }
        Ok(self.rebuilt(axes, values))
    }

    /// The `k` largest numbers of a table with one axis, largest first; all of them if there are fewer. Equal numbers
    /// keep their order, NaN comes last.
    ///
    /// # Errors
    /// [`TableError::Texts`], [`TableError::Rank`].
    pub fn top_k(&self, k: usize) -> Result<Self, TableError> {
        if self.rank() != 1 {
            let (table, found) = (self.name().to_owned(), self.rank());
            return Err(TableError::Rank { table, operation: "top_k", expected: 1, found });
        }
        let best: Vec<usize> = self.ordered("top_k")?.into_iter().take(k).map(|(offset, _)| offset).collect();
        self.select(0, &best)
    }

    /// The `k` largest numbers of a table of any rank with their places, largest first.
    ///
    /// # Errors
    /// [`TableError::Texts`].
    pub fn largest(&self, k: usize) -> Result<Vec<Entry>, TableError> {
        let entries = self.ordered("largest")?.into_iter().take(k);
        Ok(entries.map(|(offset, value)| Entry { index: self.unravel(offset), value }).collect())
    }

    /// All numbers with their offsets, largest first.
    fn ordered(&self, operation: &'static str) -> Result<Vec<(usize, f32)>, TableError> {
        let table = || self.name().to_owned();
        let numbers = self.as_numbers().ok_or_else(|| TableError::Texts { table: table(), operation })?;
        let mut order: Vec<(usize, f32)> = numbers.iter().copied().enumerate().collect();
        order.sort_by(|(_, a), (_, b)| descending(*a, *b));
        Ok(order)
    }

    /// The values at some positions of one axis.
    fn picked(&self, axis: usize, indices: &[usize]) -> Result<Values, TableError> {
        let table = || self.name().to_owned();
        let along = self.axes().get(axis).ok_or_else(|| TableError::NoAxis {
            table: table(),
            axis,
            rank: self.rank(),
        })?;
        let len = along.len();
        if let Some(&index) = indices.iter().find(|&&i| i >= len) {
            return Err(TableError::NoPosition { table: table(), role: along.role, index, len });
        }
        let inner: usize = self.axes().iter().skip(axis + 1).map(Axis::len).product();
        let outer: usize = self.axes().iter().take(axis).map(Axis::len).product();
        Ok(match self.values() {
            Values::Numbers(v) => Values::Numbers(gather(v, outer, len, inner, indices)),
            Values::Texts(v) => Values::Texts(gather(v, outer, len, inner, indices)),
        })
    }
}

fn gather<T: Clone>(values: &[T], outer: usize, len: usize, inner: usize, indices: &[usize]) -> Vec<T> {
    let runs = (0..outer).flat_map(|o| indices.iter().map(move |i| (o * len + i) * inner));
    runs.filter_map(|from| values.get(from..from + inner)).flatten().cloned().collect()
}

/// Largest first, NaN last.
fn descending(a: f32, b: f32) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        // no NaN: those are looked at above
        (false, false) => b.partial_cmp(&a).unwrap_or(Ordering::Equal),
    }
}

#[cfg(test)]
mod tests {
    use crate::{Axis, Entry, Labelled, Labels, Role, Unit};

    /// Layer 2 x head 3 x token 2, the value at `[l, h, t]` being `100 l + 10 h + t`.
    fn cube() -> Labelled {
        let axes = vec![
            Axis::count(Role::Layer, 2),
            Axis::count(Role::Head, 3),
            Axis::names(Role::Token, ["a", "b"]),
        ];
        let at = |i: usize| (100 * (i / 6) + 10 * (i / 2 % 3) + i % 2) as f32;
        Labelled::numbers("cube", Unit::Activation, axes, (0..12).map(at).collect()).unwrap()
    }

    #[test]
    fn a_slice_loses_its_axis() {
        let head = cube().slice(1, 2).unwrap();
        assert_eq!(head.roles(), [Role::Layer, Role::Token]);
        assert_eq!(head.as_numbers(), Some(&[20.0, 21.0, 120.0, 121.0][..]));
        assert_eq!(cube().slice(2, 1).unwrap().get(&[1, 0]), Some(101.0));
        let one = cube().slice(0, 1).unwrap().slice(0, 1).unwrap().slice(0, 0).unwrap();
        assert_eq!(one.as_scalar(), Some(110.0));
    }

    #[test]
    fn a_selection_keeps_its_axis_and_its_places() {
        let heads = cube().select(1, &[2, 0]).unwrap();
        assert_eq!(heads.axes()[1].labels, Labels::Names(vec!["2".to_owned(), "0".to_owned()]));
        assert_eq!(heads.get(&[1, 0, 1]), Some(121.0));
        assert_eq!(heads.get(&[1, 1, 1]), Some(101.0));
    }

    #[test]
    fn what_is_not_there_is_named() {
        let message = |error: crate::TableError| error.to_string();
        assert_eq!(message(cube().slice(3, 0).unwrap_err()), "table `cube` has 3 axes; there is no axis 3");
        assert_eq!(
            message(cube().slice(1, 3).unwrap_err()),
            "table `cube`, head axis: position 3 lies outside its 3 positions"
        );
        assert_eq!(message(cube().top_k(1).unwrap_err()), "top_k needs 1 axes; table `cube` has 3");
    }

    #[test]
    fn the_largest_come_first_and_nan_last() {
        let values = vec![0.5, f32::NAN, 2.0, -1.0, 2.0];
        let axis = Axis::names(Role::Vocab, ["a", "b", "c", "d", "e"]);
        let table = Labelled::numbers("t", Unit::Logit, vec![axis], values).unwrap();
        let top = table.top_k(3).unwrap();
        assert_eq!(top.axes()[0], Axis::names(Role::Vocab, ["c", "e", "a"]));
        assert_eq!(top.as_numbers(), Some(&[2.0, 2.0, 0.5][..]));
        let all = table.top_k(9).unwrap();
        assert_eq!(all.axes()[0], Axis::names(Role::Vocab, ["c", "e", "a", "d", "b"]));
    }

    #[test]
    fn the_largest_of_any_rank_know_their_places() {
        let largest = cube().largest(2).unwrap();
        let expected = [(vec![1, 2, 1], 121.0), (vec![1, 2, 0], 120.0)];
        assert_eq!(largest, expected.map(|(index, value)| Entry { index, value }));
        assert_eq!(Labelled::scalar("s", Unit::Nat, 3.0).largest(1).unwrap()[0].index, Vec::<usize>::new());
    }
}
