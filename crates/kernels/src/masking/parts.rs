//! How the plain attention goes through what may be seen: rectangles of scores of bounded size.

use std::ops::Range;

use burn::tensor::{Bool, Device, Tensor, TensorData};

use super::{Masking, Rules};

/// Scores of one head and one row that are computed at once, at most, where queries can be parted.
const ENTRIES: usize = 1 << 20;

/// A rectangle of scores, in rows of a batch.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) rows: Range<usize>,
    pub(crate) queries: Range<usize>,
    /// From the first to the last key that any of them sees.
    pub(crate) keys: Range<usize>,
    /// Which pairs of these do not see one another, `[1 or rows, 1, query, key]`.
    pub(crate) hidden: Option<Tensor<4, Bool>>,
}

impl Masking {
    /// All queries of all rows, in order.
    pub(crate) fn parts(&self, shape: [usize; 3], device: &Device) -> Vec<Part> {
        let ([batch, queries, keys], rules) = (shape, self.rules(shape));
        let rows = if rules.differ() { batch } else { 1 };
        if rows * queries * keys <= ENTRIES {
            let hidden = self.table(0..queries, device);
            return vec![Part { rows: 0..batch, queries: 0..queries, keys: 0..keys, hidden }];
        }
        let of = |row: usize| {
            let rows = if rules.differ() { row..row + 1 } else { 0..batch };
            rules.rectangles(row).into_iter().map(move |(queries, keys)| (rows.clone(), queries, keys))
        };
        (0..rows)
            .flat_map(of)
            .map(|(rows, queries, keys)| {
                let hidden = rules.hidden(rows.start, queries.clone(), keys.clone());
                let shape = [1, 1, queries.len(), keys.len()];
                let hidden =
                    hidden.contains(&true).then(|| Tensor::from_data(TensorData::new(hidden, shape), device));
                Part { rows, queries, keys, hidden }
            })
            .collect()
    }
}

impl Rules {
    /// Queries of a row with the keys they see between them: as many queries at a time as the bound allows.
    fn rectangles(&self, row: usize) -> Vec<(Range<usize>, Range<usize>)> {
        let mut out: Vec<(Range<usize>, Range<usize>)> = Vec::new();
        for stretch in self.row(row) {
            for query in stretch.queries.clone() {
                let mut seen = self.seen(stretch, query);
                let own = match seen.next() {
                    Some(first) => first.start..seen.last().map_or(first.end, |last| last.end),
                    None => 0..self.keys,
                };
                match out.last_mut() {
                    Some((queries, keys)) => {
                        let all = keys.start.min(own.start)..keys.end.max(own.end);
                        if (queries.len() + 1) * all.len() <= ENTRIES {
                            (queries.end, *keys) = (query + 1, all);
                            continue;
                        }
                        out.push((query..query + 1, own));
                    }
                    None => out.push((query..query + 1, own)),
                }
            }
        }
        out
    }
}
