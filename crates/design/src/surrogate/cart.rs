//! Classification trees (CART): each node is split where the Gini impurity falls most.
//!
//! Of splits that are as good the one by the first feature is taken, and of those the lowest threshold, so that the same rows give the same tree. Thresholds lie half way between values; what is not above goes left.
//! That is all that is needed here: crates for trees draw among equals, or bring linear algebra of their own.

use mmlens_engine::Matrix;

/// When a node is not split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grown {
    /// At this depth.
    pub depth: usize,
    /// Where a side would have fewer rows.
    pub least: usize,
}

/// A node, or a leaf.
#[derive(Debug, Clone, PartialEq)]
pub enum Tree {
    /// How many rows of each class there are.
    Leaf(Vec<usize>),
    /// Rows are told apart by one feature.
    Split {
        /// How many rows of each class there are.
        counts: Vec<usize>,
        /// Which feature.
        feature: usize,
        /// What is not above it goes below.
        threshold: f64,
        /// Rows that are not above.
        below: Box<Tree>,
        /// Rows that are above.
        above: Box<Tree>,
    },
}

/// Where a node is split, and what is left of its impurity, times its rows.
struct Best {
    feature: usize,
    threshold: f64,
    left: f64,
}

fn gini(counts: &[usize]) -> f64 {
    let n = counts.iter().sum::<usize>() as f64;
    let squares: f64 = counts.iter().map(|count| (*count as f64 / n.max(1.0)).powi(2)).sum(); // no NaN: a count
    1.0 - squares
}

impl Tree {
    /// Grows a tree of rows with classes.
    #[must_use]
    pub fn of(rows: &Matrix, labels: &[usize], classes: usize, grown: Grown) -> Self {
        Self::from(rows, labels, &(0..labels.len()).collect::<Vec<_>>(), (classes, grown.depth, grown.least))
    }

    fn from(
        rows: &Matrix,
        labels: &[usize],
        own: &[usize],
        (classes, depth, least): (usize, usize, usize),
    ) -> Self {
        let mut counts = vec![0; classes];
        let label = |row: &usize| labels.get(*row).copied().unwrap_or_default();
        for row in own {
            if let Some(count) = counts.get_mut(label(row)) {
                *count += 1;
            }
        }
        let pure = counts.iter().filter(|count| **count > 0).count() < 2;
        let best = if pure || depth == 0 { None } else { best(rows, own, &label, (&counts, least)) };
        let Some(Best { feature, threshold, .. }) = best else { return Self::Leaf(counts) };
        let value = |row: &usize| rows.row(*row).get(feature).copied().unwrap_or_default();
        let (below, above): (Vec<usize>, Vec<usize>) = own.iter().partition(|row| value(row) <= threshold);
        let side = |own: &[usize]| Box::new(Self::from(rows, labels, own, (classes, depth - 1, least)));
        Self::Split { counts, feature, threshold, below: side(&below), above: side(&above) }
    }

    /// The class of a row: the most frequent of its leaf, of several the first.
    #[must_use]
    pub fn says(&self, row: &[f64]) -> usize {
        match self {
            Self::Leaf(counts) => most(counts),
            Self::Split { feature, threshold, below, above, .. } => {
                let value = row.get(*feature).copied().unwrap_or_default();
                if value <= *threshold { below.says(row) } else { above.says(row) }
            }
        }
    }

    fn counts(&self) -> &[usize] {
        match self {
            Self::Leaf(counts) | Self::Split { counts, .. } => counts,
        }
    }

    /// How much the splits by each feature lower the impurity, as shares of all.
    #[must_use]
    pub fn importance(&self, width: usize) -> Vec<f64> {
        let mut all = vec![0.0; width];
        self.add(&mut all);
        let sum: f64 = all.iter().sum();
        if sum > 0.0 {
            all.iter_mut().for_each(|own| *own /= sum);
        }
        all
    }

    fn add(&self, all: &mut [f64]) {
        let Self::Split { counts, feature, below, above, .. } = self else { return };
        let whole = |counts: &[usize]| gini(counts) * counts.iter().sum::<usize>() as f64;
        if let Some(slot) = all.get_mut(*feature) {
            *slot += whole(counts) - whole(below.counts()) - whole(above.counts());
        }
        below.add(all);
        above.add(all);
    }

    /// Leaves there are.
    #[must_use]
    pub fn leaves(&self) -> usize {
        match self {
            Self::Leaf(_) => 1,
            Self::Split { below, above, .. } => below.leaves() + above.leaves(),
        }
    }

    /// Its rules, a line for each node and leaf, in words; `is` says a condition.
    #[must_use]
    pub fn lines(&self, classes: &[String], is: &dyn Fn(usize, f64, bool) -> String) -> Vec<String> {
        let mut lines = Vec::new();
        self.write(classes, is, (0, String::new()), &mut lines);
        lines
    }

    fn write(
        &self,
        classes: &[String],
        is: &dyn Fn(usize, f64, bool) -> String,
        (depth, when): (usize, String),
        lines: &mut Vec<String>,
    ) {
        let before = format!("{}{when}", "  ".repeat(depth));
        match self {
            Self::Leaf(counts) => {
                let own = most(counts);
                let (right, all) = (counts.get(own).copied().unwrap_or(0), counts.iter().sum::<usize>());
                let class = classes.get(own).map_or("", String::as_str);
                let arrow = if when.is_empty() { "" } else { ": " };
                lines.push(format!("{before}{arrow}{class} ({right} of {all})"));
            }
            Self::Split { feature, threshold, below, above, .. } => {
                let inner = if when.is_empty() { depth } else { depth + 1 };
                if !when.is_empty() {
                    lines.push(before);
                }
                above.write(classes, is, (inner, is(*feature, *threshold, true)), lines);
                below.write(classes, is, (inner, is(*feature, *threshold, false)), lines);
            }
        }
    }
}

/// The class of most rows, of several the first.
fn most(counts: &[usize]) -> usize {
    let each = counts.iter().enumerate();
    each.max_by_key(|(class, count)| (**count, std::cmp::Reverse(*class))).map_or(0, |(class, _)| class)
}

/// The best split, if there is one.
fn best(
    rows: &Matrix,
    own: &[usize],
    label: &dyn Fn(&usize) -> usize,
    (counts, least): (&[usize], usize),
) -> Option<Best> {
    let mut best: Option<Best> = None;
    for feature in 0..rows.width() {
        let value = |row: &usize| rows.row(*row).get(feature).copied().unwrap_or_default();
        let mut order: Vec<usize> = own.to_vec();
        order.sort_by(|a, b| (value(a) + 0.0).total_cmp(&(value(b) + 0.0))); // no NaN: finite rows
        let (mut below, mut above) = (vec![0; counts.len()], counts.to_vec());
        for (at, pair) in order.windows(2).enumerate() {
            let [row, next] = pair else { continue };
            let class = label(row);
            if let (Some(below), Some(above)) = (below.get_mut(class), above.get_mut(class)) {
                *below += 1;
                *above -= 1;
            }
            let (from, to) = (value(row), value(next));
            let (n, m) = (at + 1, own.len() - at - 1);
            if from >= to || n < least || m < least {
                continue;
            }
            let left = n as f64 * gini(&below) + m as f64 * gini(&above);
            // no NaN: shares of counts
            if best.as_ref().is_none_or(|best| left < best.left - TIED) {
                best = Some(Best { feature, threshold: from / 2.0 + to / 2.0, left });
            }
        }
    }
    best
}

/// Splits that differ by less are as good: that is rounding.
const TIED: f64 = 1e-9;

#[cfg(test)]
mod tests {
    use mmlens_engine::Matrix;

    use super::{Grown, Tree};

    /// Two features, of which the classes are the exclusive or: two levels tell all of it, one nothing.
    #[test]
    fn an_exclusive_or_takes_two_levels() {
        let rows = Matrix::new(vec![0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0], 2).unwrap();
        let labels = [0, 1, 1, 0];
        let tree = |depth, least| Tree::of(&rows, &labels, 2, Grown { depth, least });
        let right =
            |tree: &Tree| rows.rows().zip(labels).filter(|(row, label)| tree.says(row) == *label).count();
        let found = tree(2, 1);
        assert_eq!((right(&found), found.leaves(), right(&tree(1, 1)), tree(2, 3).leaves()), (4, 4, 2, 1));
        // The root lowers nothing, its children all of it.
        assert_eq!(found.importance(2), [0.0, 1.0]);
        let is =
            |feature: usize, _: f64, above: bool| format!("{}{feature}", if above { "" } else { "not " });
        let lines = found.lines(&["no".to_owned(), "yes".to_owned()], &is);
        assert_eq!(
            lines,
            [
                "0",
                "  1: no (1 of 1)",
                "  not 1: yes (1 of 1)",
                "not 0",
                "  1: yes (1 of 1)",
                "  not 1: no (1 of 1)"
            ]
        );
    }
}
