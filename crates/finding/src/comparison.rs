//! Two findings side by side, on what both have: how far their numbers lie apart, and what only one of them has.
//!
//! Positions are matched by what stands there, axis by axis: names by name, tokens by position, text and patch, patches and spans by their
//! place in the picture. So findings of other layers, other steps or other words are compared where they speak of the same.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Serialize, Serializer};

use crate::finite::highest;
use crate::{Axis, Difference, Finding, Labelled, Labels, Role, TableError, Unit, Values};

/// Two findings side by side. See [`Finding::compared`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// In what they differ in how they came to be; each of them is a [`Difference::Provenance`].
    #[serde(skip)]
    pub made: Vec<Difference>,
    /// The tables that both have, in the order of the first.
    pub tables: Vec<Compared>,
    /// The tables that only the first has.
    pub left_only: Vec<String>,
    /// The tables that only the second has.
    pub right_only: Vec<String>,
}

/// A table that two findings have.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    /// Its name.
    pub table: String,
    /// The axes, with what only one of the two has.
    pub axes: Vec<SharedAxis>,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// An axis of two tables: how many positions both have, and those that only one has, by their labels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SharedAxis {
    /// What it runs over.
    pub role: Role,
    /// Positions that both have.
    pub both: usize,
    /// Positions that only the first has.
    pub left_only: Vec<String>,
    /// Positions that only the second has.
    pub right_only: Vec<String>,
}

/// What came of the comparison of two tables.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// Numbers.
    Numbers(Numbers),
    /// Texts.
    Texts(Texts),
    /// They do not mean the same: another unit, other axes, or no position that both have.
    Apart(String),
}

/// How far numbers lie apart.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Numbers {
    /// Their unit.
    pub unit: Unit,
    /// How many were compared.
    pub compared: usize,
    /// How many differ in some bit.
    pub differ: usize,
    /// How many of those are no finite number on one side or both. They are in nothing that follows, but the largest
    /// difference is the first of them.
    pub not_finite: usize,
    /// The largest difference; none, where all bits are the same.
    pub largest: Option<Largest>,
    /// That difference over the largest absolute value of both; zero without a difference, infinite where one is no finite number.
    #[serde(serialize_with = "number")]
    pub relative: f64,
    /// The correlation of the values (Pearson); none of fewer than three, or where one side is all the same.
    pub pearson: Option<f64>,
    /// The correlation of their ranks (Spearman), equal values having the mean of their ranks; none as above.
    pub spearman: Option<f64>,
    /// How many are positive on one side and negative on the other.
    pub sign_flips: usize,
}

/// The largest difference, and where it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Largest {
    /// The place, axis by axis, in the first table.
    pub at: Vec<Place>,
    /// The number of the first.
    #[serde(serialize_with = "number")]
    pub left: f32,
    /// The number of the second.
    #[serde(serialize_with = "number")]
    pub right: f32,
    /// By how much they differ; NaN where one is no finite number.
    #[serde(serialize_with = "number")]
    pub difference: f64,
}

/// A position of an axis.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// What the axis runs over.
    pub role: Role,
    /// The position, from 0.
    pub index: usize,
    /// What stands there.
    pub label: String,
}

/// Which texts differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Texts {
    /// How many were compared.
    pub compared: usize,
    /// How many differ.
    pub differ: usize,
    /// The first that differs: its place, and what both say.
    pub first: Option<(Vec<Place>, String, String)>,
}

/// JSON has no infinities and no NaN: those are texts.
fn number<S: Serializer, N: Copy + Into<f64> + Serialize>(value: &N, to: S) -> Result<S::Ok, S::Error> {
    let wide: f64 = (*value).into();
    if wide.is_finite() { value.serialize(to) } else { to.collect_str(&wide) }
}

impl Comparison {
    /// Whether they say the same: the same tables with the same positions, and every value within `relative` of the largest absolute
    /// value of its table; with 0, every bit the same. How they came to be does not count.
    #[must_use]
    pub fn same(&self, relative: f64) -> bool {
        let whole = self.left_only.is_empty() && self.right_only.is_empty();
        whole && self.tables.iter().all(|table| table.same(relative))
    }
}

impl Compared {
    /// As [`Comparison::same`], of one table.
    #[must_use]
    pub fn same(&self, relative: f64) -> bool {
        let whole = self.axes.iter().all(|axis| axis.left_only.is_empty() && axis.right_only.is_empty());
        whole
            && match &self.outcome {
                Outcome::Numbers(numbers) => {
                    numbers.differ == 0 || (relative > 0.0 && numbers.relative <= relative)
                }
                Outcome::Texts(texts) => texts.differ == 0,
                Outcome::Apart(_) => false,
            }
    }
}

impl Finding {
    /// This finding and another side by side: tables by name, positions by what stands there. Numbers are equal if all their
    /// bits are.
    ///
    /// # Memory
    /// What both have of one table, twice.
    ///
    /// # Errors
    /// [`TableError`], which should not be: the positions that are looked at are there.
    pub fn compared(&self, other: &Self) -> Result<Comparison, TableError> {
        let lacks = |finding: &Self, table: &&Labelled| finding.find(table.name()).is_none();
        let names = |own: &Self, other: &Self| -> Vec<String> {
            own.tables()
                .iter()
                .filter(|table| lacks(other, table))
                .map(|table| table.name().to_owned())
                .collect()
        };
        let both = self.tables().iter().filter_map(|table| Some((table, other.find(table.name())?)));
        Ok(Comparison {
            made: crate::difference::made(self, other),
            tables: both.map(|(left, right)| left.compared(right)).collect::<Result<_, _>>()?,
            left_only: names(self, other),
            right_only: names(other, self),
        })
    }
}

impl Labelled {
    /// This table and another side by side, on the positions that both have.
    ///
    /// # Errors
    /// As [`Finding::compared`].
    pub fn compared(&self, other: &Self) -> Result<Compared, TableError> {
        let made = |axes, outcome| Ok(Compared { table: self.name().to_owned(), axes, outcome });
        if self.roles() != other.roles() {
            let axes =
                |table: &Self| table.axes().iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
            let reason = format!("axes `{}` against `{}`", axes(self), axes(other));
            return made(Vec::new(), Outcome::Apart(reason));
        }
        if self.unit() != other.unit() {
            let reason = format!("{} against {}", self.unit(), other.unit());
            return made(Vec::new(), Outcome::Apart(reason));
        }
        let pairs: Vec<Vec<(usize, usize)>> =
            self.axes().iter().zip(other.axes()).map(|(left, right)| matched(left, right)).collect();
        let axes: Vec<SharedAxis> = self
            .axes()
            .iter()
            .zip(other.axes())
            .zip(&pairs)
            .map(|((left, right), pairs)| SharedAxis {
                role: left.role,
                both: pairs.len(),
                left_only: without(left, pairs.iter().map(|(own, _)| *own)),
                right_only: without(right, pairs.iter().map(|(_, own)| *own)),
            })
            .collect();
        if let Some(axis) = axes.iter().find(|axis| axis.both == 0) {
            let reason = format!("no {} that both have", axis.role);
            return made(axes, Outcome::Apart(reason));
        }
        let left = chosen(self, pairs.iter().map(|pairs| pairs.iter().map(|(own, _)| *own).collect()))?;
        let right = chosen(other, pairs.iter().map(|pairs| pairs.iter().map(|(_, own)| *own).collect()))?;
        let place = |offset: usize| -> Vec<Place> {
            let axes = self.axes().iter().zip(&pairs).zip(left.unravel(offset));
            let place = axes.map(|((axis, pairs), at)| {
                let (index, _) = *pairs.get(at)?;
                Some(Place { role: axis.role, index, label: told(axis, index)? })
            });
            place.flatten().collect()
        };
        let outcome = match (left.values(), right.values()) {
            (Values::Numbers(ours), Values::Numbers(theirs)) => {
                Outcome::Numbers(numbers(self.unit(), ours, theirs, place))
            }
            (Values::Texts(ours), Values::Texts(theirs)) => Outcome::Texts(texts(ours, theirs, place)),
            _ => Outcome::Apart("numbers against texts".to_owned()),
        };
        made(axes, outcome)
    }
}

/// The part of a table at these positions of each axis.
fn chosen(table: &Labelled, picked: impl Iterator<Item = Vec<usize>>) -> Result<Labelled, TableError> {
    let mut part = table.clone();
    for (axis, picked) in picked.enumerate() {
        let whole = table.axes().get(axis).is_some_and(|axis| axis.len() == picked.len());
        if !whole || picked.iter().enumerate().any(|(at, index)| at != *index) {
            part = part.select(axis, &picked)?;
        }
    }
    Ok(part)
}

/// The labels of the positions of an axis that are not among those matched.
fn without(axis: &Axis, matched: impl Iterator<Item = usize>) -> Vec<String> {
    let matched: BTreeSet<usize> = matched.collect();
    (0..axis.len()).filter(|at| !matched.contains(at)).filter_map(|at| told(axis, at)).collect()
}

/// What stands at a position; of a token that shows a part of a picture, which part.
fn told(axis: &Axis, at: usize) -> Option<String> {
    let place = match &axis.labels {
        Labels::Tokens(tokens) => tokens.get(at).and_then(crate::TokenLabel::place),
        _ => None,
    };
    place.or_else(|| axis.label(at))
}

/// The positions of two axes at which the same stands, in the order of the first.
fn matched(left: &Axis, right: &Axis) -> Vec<(usize, usize)> {
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    places.extend(keys(&right.labels).into_iter().enumerate().map(|(at, key)| (key, at)));
    let own = keys(&left.labels).into_iter().enumerate();
    own.filter_map(|(at, key)| Some((at, *places.get(&key)?))).collect()
}

/// What tells the positions of an axis apart. A position that is only counted is the same as one with that number as its name; of
/// equal names each is another. Where a token lies among the bytes of a prompt does not count.
fn keys(labels: &Labels) -> Vec<String> {
    match labels {
        Labels::Count(len) => (0..*len).map(|at| format!("{at} 0")).collect(),
        Labels::Names(names) => {
            let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
            let key = |name: &'_ String, seen: usize| format!("{name} {seen}");
            let mut keys = Vec::with_capacity(names.len());
            for name in names {
                let before = seen.entry(name).or_insert(0);
                keys.push(key(name, *before));
                *before += 1;
            }
            keys
        }
        Labels::Tokens(tokens) => {
            let key = |(at, token): (usize, &crate::TokenLabel)| {
                format!("{at} {:?} {:?} {:?}", token.text, token.id, token.patch)
            };
            tokens.iter().enumerate().map(key).collect()
        }
        Labels::Patches(patches) => patches.iter().map(|patch| format!("{patch:?}")).collect(),
        Labels::Spans { image, spans, .. } => spans.iter().map(|span| format!("{image} {span:?}")).collect(),
    }
}

fn texts(ours: &[String], theirs: &[String], place: impl Fn(usize) -> Vec<Place>) -> Texts {
    let differ = || ours.iter().zip(theirs).enumerate().filter(|(_, (a, b))| a != b);
    let first = differ().next().map(|(at, (a, b))| (place(at), a.clone(), b.clone()));
    Texts { compared: ours.len(), differ: differ().count(), first }
}

fn numbers(unit: Unit, ours: &[f32], theirs: &[f32], place: impl Fn(usize) -> Vec<Place>) -> Numbers {
    let pairs = || ours.iter().copied().zip(theirs.iter().copied());
    let differ = || pairs().enumerate().filter(|(_, (a, b))| a.to_bits() != b.to_bits());
    let odd = |a: f32, b: f32| !(a.is_finite() && b.is_finite());
    let finite: Vec<(f64, f64)> =
        pairs().filter(|(a, b)| !odd(*a, *b)).map(|(a, b)| (a.into(), b.into())).collect();
    let gap = |(a, b): (f32, f32)| {
        if odd(a, b) { f64::NAN } else { (f64::from(a) - f64::from(b)).abs() }
    };
    let mut largest: Option<(usize, (f32, f32), f64)> = None;
    for (at, pair) in differ() {
        let gap = gap(pair);
        match largest {
            Some((.., before)) if before.is_nan() || gap <= before => {}
            _ => largest = Some((at, pair, gap)),
        }
    }
    let scale = highest(finite.iter().flat_map(|(a, b)| [a.abs(), b.abs()]));
    let relative = match largest {
        None => 0.0,
        Some((.., gap)) if gap.is_nan() => f64::INFINITY,
        Some((.., gap)) if gap > 0.0 => gap / scale,
        // Zeros of another sign.
        Some(_) => 0.0,
    };
    let largest =
        largest.map(|(at, (left, right), difference)| Largest { at: place(at), left, right, difference });
    let (xs, ys): (Vec<f64>, Vec<f64>) = finite.iter().copied().unzip();
    Numbers {
        unit,
        compared: ours.len(),
        differ: differ().count(),
        not_finite: differ().filter(|(_, (a, b))| odd(*a, *b)).count(),
        largest,
        relative,
        pearson: correlation(&xs, &ys),
        spearman: correlation(&ranks(&xs), &ranks(&ys)),
        sign_flips: finite.iter().filter(|(a, b)| a * b < 0.0).count(),
    }
}

/// The correlation of two lists of finite numbers, after Pearson; none of fewer than three, which says nothing, or where one does not
/// vary. Of their [`ranks`] it is Spearman's.
pub fn correlation(xs: &[f64], ys: &[f64]) -> Option<f64> {
    let varies = |values: &[f64]| values.windows(2).any(|pair| pair.first() != pair.last());
    if xs.len() < 3 || !varies(xs) || !varies(ys) {
        return None;
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (x, y) = (mean(xs), mean(ys));
    let (mut both, mut own, mut other) = (0.0, 0.0, 0.0);
    for (a, b) in xs.iter().zip(ys) {
        let (a, b) = (a - x, b - y);
        both += a * b;
        own += a * a;
        other += b * b;
    }
    // Rounding may carry it beyond.
    Some((both / (own.sqrt() * other.sqrt())).clamp(-1.0, 1.0))
}

/// The rank of each of some finite numbers, from 1; equal ones have the mean of their ranks.
pub fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<(usize, f64)> = values.iter().copied().enumerate().collect();
    order.sort_by(|(_, a), (_, b)| a.total_cmp(b));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    for equal in order.chunk_by(|(_, a), (_, b)| a == b) {
        // Ranks before + 1 to before + n, of which the mean is
        let mean = before as f64 + (equal.len() + 1) as f64 / 2.0;
        for (at, _) in equal {
            if let Some(rank) = ranks.get_mut(*at) {
                *rank = mean;
            }
        }
        before += equal.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Compared, Numbers, Outcome, correlation, ranks};
    use crate::{Axis, Finding, Labelled, Modality, PatchLabel, Provenance, Role, TokenLabel, Unit};

    fn table(axes: Vec<Axis>, values: &[f32]) -> Labelled {
        Labelled::numbers("t", Unit::Logit, axes, values.to_vec()).unwrap()
    }

    fn layers(names: &[&str], values: &[f32]) -> Labelled {
        table(vec![Axis::names(Role::Layer, names.iter().copied())], values)
    }

    fn numbers(compared: &Compared) -> &Numbers {
        match &compared.outcome {
            Outcome::Numbers(numbers) => numbers,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn numbers_are_compared_where_the_same_stands() {
        // 0 stands first here and last there; 1 and 2 stand in one of them alone.
        let left = layers(&["0", "1", "3"], &[1.0, 9.0, -4.0]);
        let right = layers(&["2", "3", "0"], &[7.0, 1.0, 1.5]);
        let compared = left.compared(&right).unwrap();
        let axis = &compared.axes[0];
        assert_eq!((axis.both, axis.left_only.as_slice()), (2, &["1".to_owned()][..]));
        assert_eq!(axis.right_only, ["2"]);
        let found = numbers(&compared);
        assert_eq!((found.compared, found.differ, found.sign_flips), (2, 2, 1));
        let largest = found.largest.as_ref().unwrap();
        assert_eq!((largest.left, largest.right, largest.difference), (-4.0, 1.0, 5.0));
        assert_eq!((largest.at[0].index, largest.at[0].label.as_str()), (2, "3"));
        // 5 of 4, the largest absolute value that both have.
        assert_eq!(found.relative, 1.25);
        assert!(!compared.same(10.0), "positions are missing");
    }

    #[test]
    fn counted_positions_are_those_with_their_number_as_name() {
        let counted = table(vec![Axis::count(Role::Layer, 3)], &[1.0, 2.0, 3.0]);
        let compared = counted.compared(&layers(&["2", "0"], &[3.0, 1.0])).unwrap();
        assert_eq!(
            (compared.axes[0].left_only.as_slice(), numbers(&compared).differ),
            (&["1".to_owned()][..], 0)
        );
        // Of equal names each is another.
        let twice = layers(&["a", "a"], &[1.0, 2.0]);
        assert_eq!(numbers(&twice.compared(&twice).unwrap()).differ, 0);
        assert_eq!(twice.compared(&layers(&["a"], &[1.0])).unwrap().axes[0].left_only, ["a"]);
    }

    #[test]
    fn tokens_are_matched_by_position_text_and_patch() {
        let words = |words: [(&str, usize); 2], values: &[f32]| {
            let tokens =
                words.map(|(word, from)| TokenLabel::new(word, Modality::Text).with_bytes(from, from + 1));
            table(vec![Axis::tokens(tokens.to_vec())], values)
        };
        let compared = words([("red", 0), ("dot", 4)], &[1.0, 2.0])
            .compared(&words([("blue", 0), ("dot", 5)], &[1.0, 2.0]))
            .unwrap();
        assert_eq!((compared.axes[0].both, numbers(&compared).differ), (1, 0));
        assert_eq!(compared.axes[0].left_only, ["red"]);
        let patch =
            |x1| PatchLabel { image: 0, tile: 0, frame: 0, row: 0, col: 0, bbox: [0.0, 0.0, x1, 4.0] };
        let map = |x1| table(vec![Axis::patches(vec![patch(x1)])], &[1.0]);
        let compared = map(4.0).compared(&map(5.0)).unwrap();
        assert_eq!(compared.outcome, Outcome::Apart("no patch that both have".to_owned()));
    }

    #[test]
    fn what_does_not_mean_the_same_is_not_compared() {
        let apart = |left: &Labelled, right: &Labelled| match left.compared(right).unwrap().outcome {
            Outcome::Apart(reason) => reason,
            other => panic!("{other:?}"),
        };
        let one = layers(&["0"], &[1.0]);
        let nats = Labelled::numbers("t", Unit::Nat, one.axes().to_vec(), vec![1.0]).unwrap();
        assert_eq!(apart(&one, &nats), "logit against nat");
        let heads = table(vec![Axis::count(Role::Layer, 1), Axis::count(Role::Head, 1)], &[1.0]);
        assert_eq!(apart(&one, &heads), "axes `layer[1]` against `layer[1] head[1]`");
        let bare = |table: Labelled| Labelled::new("t", Unit::None, vec![], table.values().clone()).unwrap();
        let text = Labelled::texts("t", vec![], vec!["x".to_owned()]).unwrap();
        assert_eq!(apart(&bare(Labelled::scalar("s", Unit::Nat, 1.0)), &text), "numbers against texts");
    }

    #[test]
    fn a_nan_is_the_largest_difference_and_in_no_correlation() {
        let left = layers(&["0", "1", "2", "3"], &[1.0, f32::NAN, 2.0, 3.0]);
        let right = layers(&["0", "1", "2", "3"], &[1.5, 1.0, 2.0, 3.0]);
        let compared = left.compared(&right).unwrap();
        let found = numbers(&compared);
        assert_eq!((found.differ, found.not_finite, found.relative), (2, 1, f64::INFINITY));
        assert_eq!(found.largest.as_ref().unwrap().at[0].label, "1");
        assert!(found.pearson.unwrap() > 0.9 && !compared.same(1e9));
        let json = serde_json::to_value(&compared).unwrap();
        assert_eq!(
            (&json["numbers"]["largest"]["left"], &json["numbers"]["relative"]),
            (&"NaN".into(), &"inf".into())
        );
        // The same NaN on both sides is no difference.
        assert!(left.compared(&left).unwrap().same(0.0));
        // Zeros of another sign are, and by nothing.
        let zeros = layers(&["0"], &[0.0]).compared(&layers(&["0"], &[-0.0])).unwrap();
        assert!((numbers(&zeros).differ, zeros.same(0.0), zeros.same(1e-9)) == (1, false, true));
    }

    #[test]
    fn a_tolerance_is_measured_against_the_largest_of_the_table() {
        // 0.02 of 4 is 0.005.
        let compared = layers(&["0", "1"], &[4.0, 1.0]).compared(&layers(&["0", "1"], &[4.0, 1.02])).unwrap();
        assert!(!compared.same(0.0) && !compared.same(0.0049) && compared.same(0.0051));
    }

    #[test]
    fn correlations_by_hand() {
        // Deviations -1 0 1 and -1 1 0: 1 / (sqrt 2 * sqrt 2).
        assert!((correlation(&[1.0, 2.0, 3.0], &[1.0, 3.0, 2.0]).unwrap() - 0.5).abs() < 1e-15);
        assert_eq!(correlation(&[1.0, 2.0, 3.0], &[5.0, 5.0, 5.0]), None);
        assert_eq!(correlation(&[1.0, 2.0], &[5.0, 6.0]), None);
        // Ranks 2 and 3 are shared by the two 20s.
        assert_eq!(ranks(&[20.0, 10.0, 20.0, 30.0]), [2.5, 1.0, 2.5, 4.0]);
    }

    #[test]
    fn texts_and_tables_of_one_alone_are_told() {
        let finding = |words: [&str; 2], more: Option<Labelled>| {
            let texts = words.map(str::to_owned).to_vec();
            let words = Labelled::texts("words", vec![Axis::count(Role::Rank, 2)], texts).unwrap();
            Finding::new(Provenance::new("lens", "shapes"), std::iter::once(words).chain(more).collect())
                .unwrap()
        };
        let score = Labelled::scalar("score", Unit::Logit, 1.0);
        let compared = finding(["red", "dot"], None).compared(&finding(["red", "cat"], Some(score))).unwrap();
        assert_eq!(
            (compared.left_only.len(), compared.right_only.as_slice()),
            (0, &["score".to_owned()][..])
        );
        let Outcome::Texts(texts) = &compared.tables[0].outcome else { panic!("{compared:?}") };
        let (place, left, right) = texts.first.as_ref().unwrap();
        assert_eq!((place[0].index, left.as_str(), right.as_str(), texts.differ), (1, "dot", "cat", 1));
        let same = finding(["red", "dot"], None);
        assert!(!compared.same(0.0) && same.compared(&same).unwrap().same(0.0));
    }

    proptest! {
        /// Nothing but the sides changes when the two change places, and a strictly rising change of the values changes no rank.
        #[test]
        fn sides_may_be_exchanged(values in prop::collection::vec((-9i32..9, -9i32..9), 1..20)) {
            let axis = || vec![Axis::count(Role::Token, values.len())];
            let left = table(axis(), &values.iter().map(|(a, _)| *a as f32).collect::<Vec<_>>());
            let right = table(axis(), &values.iter().map(|(_, b)| *b as f32).collect::<Vec<_>>());
            let cubed = table(axis(), &values.iter().map(|(_, b)| (b * b * b) as f32).collect::<Vec<_>>());
            let (one, other) = (left.compared(&right).unwrap(), right.compared(&left).unwrap());
            let (one, other) = (numbers(&one), numbers(&other));
            prop_assert_eq!(
                (one.differ, one.relative, one.sign_flips, one.pearson, one.spearman),
                (other.differ, other.relative, other.sign_flips, other.pearson, other.spearman)
            );
            let risen = left.compared(&cubed).unwrap();
            prop_assert_eq!(numbers(&risen).spearman, one.spearman);
        }
    }
}
