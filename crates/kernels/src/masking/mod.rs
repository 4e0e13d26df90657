//! Who attends to whom, as rules.
//!
//! A rule says of a run of queries which ranges of keys they see, and how far from their own place. It takes memory for
//! positions, rows and ranges, never for pairs: causal attention over 100,000 positions is one rule, and so is a window; pictures in
//! one sequence are one rule each. Attention computes the scores of what may be seen and no others ([`Masking::visits`]).

mod blocks;
mod parts;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use burn::tensor::{Bool, Device, Tensor, TensorData};

pub(crate) use blocks::{Block, Piece, Sizing, Tile};
pub(crate) use parts::Part;

/// Who attends to whom in a sequence, besides padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// A position attends to all others.
    Both,
    /// A position attends to itself and what comes before it.
    Before,
    /// A position attends to itself and to so many before it that they are this many in all.
    Window(usize),
}

/// The padding of a batch: so many positions at the start and at the end of each row. A row that is not named has none.
#[derive(Debug, Clone, Copy)]
pub struct Padding<'a> {
    /// At the start.
    pub pads: &'a [usize],
    /// At the end.
    pub tails: &'a [usize],
}

impl Padding<'_> {
    /// For how many rows there must be rules: one for all, where none is padded.
    fn rows(&self) -> usize {
        let padded = self.pads.iter().chain(self.tails).any(|size| *size > 0);
        if padded { self.pads.len().max(self.tails.len()) } else { 1 }
    }

    /// What of so many positions is no padding, in a row.
    fn real(&self, row: usize, positions: usize) -> Range<usize> {
        let size = |sizes: &[usize]| sizes.get(row).copied().unwrap_or(0).min(positions);
        size(self.pads)..positions - size(self.tails)
    }
}

/// Which keys each query attends to, in every head alike; by default all.
///
/// Cheap to clone. A query that sees nothing attends to all keys evenly, and nothing flows back to its scores.
#[derive(Debug, Clone, Default)]
pub struct Masking(Option<Arc<Rules>>);

/// The rules for so many queries over so many keys; queries are the last positions of the keys, where they are of one sequence.
#[derive(Debug)]
pub(crate) struct Rules {
    queries: usize,
    keys: usize,
    /// One list for each row of a batch, or one for all: every query once, in order.
    rows: Vec<Vec<Stretch>>,
}

/// Queries that see alike.
#[derive(Debug, Clone)]
pub(crate) struct Stretch {
    queries: Range<usize>,
    /// Among which keys, in order and apart; none at all for queries that see nothing.
    keys: Arc<[Range<usize>]>,
    /// How far from their own places.
    reach: Reach,
}

impl Masking {
    /// Everything attends to everything.
    pub fn none() -> Self {
        Self(None)
    }

    /// For `length` new positions behind `past` cached ones: nothing attends to padding or beyond its reach.
    ///
    /// A padding position attends to itself alone, so that its values stay finite.
    pub fn rows(reach: Reach, padding: Padding<'_>, past: usize, length: usize) -> Self {
        let keys = past + length;
        Self::of((length, keys), padding, |row| {
            let real = padding.real(row, keys);
            let alone = |places| (places, 0..keys, Reach::Window(1));
            // Where padding at both ends meets, there is nothing between them.
            let behind = real.end.max(real.start);
            vec![alone(0..real.start), (real.start..behind, real, reach), alone(behind..keys)]
        })
    }

    /// For `length` new positions behind `past` cached ones, as encoders of transformers have it: nobody attends to padding,
    /// but padding attends like any other position. Only padding at the start that would see nothing at all attends to
    /// itself.
    pub fn seen(reach: Reach, padding: Padding<'_>, past: usize, length: usize) -> Self {
        let keys = past + length;
        Self::of((length, keys), padding, |row| {
            let real = padding.real(row, keys);
            let from = if reach == Reach::Both { 0 } else { real.start };
            vec![(0..from, 0..keys, Reach::Window(1)), (from..keys, real, reach)]
        })
    }

    /// For so many queries over keys of another sequence: none attends to the padding among them.
    pub fn across(padding: Padding<'_>, queries: usize, keys: usize) -> Self {
        let one = |row| vec![Stretch::new(0..queries, padding.real(row, keys), Reach::Both)];
        Self::new(queries, keys, (0..padding.rows()).map(one).collect())
    }

    /// Positions of a sequence attend to those of their own group alone, wherever these are: pictures in one sequence, or windows of
    /// pictures. One name for each position.
    ///
    /// # Cost
    /// Sorting the runs of positions of one name.
    pub fn groups<I: Ord>(names: &[I]) -> Self {
        let mut from = 0;
        let runs: Vec<Range<usize>> = names
            .chunk_by(|a, b| a == b)
            .map(|run| {
                from += run.len();
                from - run.len()..from
            })
            .collect();
        let mut groups: BTreeMap<&I, Vec<Range<usize>>> = BTreeMap::new();
        for (name, run) in runs.iter().filter_map(|run| Some((names.get(run.start)?, run))) {
            groups.entry(name).or_default().push(run.clone());
        }
        let groups: BTreeMap<&I, Arc<[Range<usize>]>> =
            groups.into_iter().map(|(name, runs)| (name, runs.into())).collect();
        let stretch = |queries: Range<usize>| {
            let keys = groups.get(names.get(queries.start)?)?.clone();
            Some(Stretch { queries, keys, reach: Reach::Both })
        };
        let stretches = runs.into_iter().filter_map(stretch).collect();
        Self::new(names.len(), names.len(), vec![stretches])
    }

    /// Some queries' part of the mask as a table, `true` where a query does not see a key, `[rows or 1, 1, query, key]`; `None`
    /// where all see all.
    ///
    /// # Cost
    /// A byte for each of these pairs: only for those who hold the scores too.
    pub fn table(&self, queries: Range<usize>, device: &Device) -> Option<Tensor<4, Bool>> {
        let rules = self.0.as_ref()?;
        let (rows, keys) = (rules.rows.len(), rules.keys);
        let hidden: Vec<bool> =
            (0..rows).flat_map(|row| rules.hidden(row, queries.clone(), 0..keys)).collect();
        let shape = [rows, 1, queries.len(), keys];
        hidden.contains(&true).then(|| Tensor::from_data(TensorData::new(hidden, shape), device))
    }

    /// How many pairs of a query and a key see one another, in `[batch, queries, keys]`: scores that count.
    pub fn pairs(&self, shape: [usize; 3]) -> u64 {
        let rules = self.rules(shape);
        let of = |stretch: &Stretch| -> u64 {
            let seen = |query| rules.seen(stretch, query).map(|keys| keys.len() as u64).sum::<u64>();
            stretch.queries.clone().map(seen).sum()
        };
        (0..shape[0]).map(|row| rules.row(row).iter().map(of).sum::<u64>()).sum()
    }

    /// How many entries of scores [`attention`](crate::attention) computes on the CPU for one head, in `[batch, queries, keys]`:
    /// the pairs, and what stands beside them in a block of queries whose reach differs.
    pub fn visits(&self, shape: [usize; 3]) -> u64 {
        let (rules, sizing) = (self.rules(shape), Sizing::of(shape));
        let block = |block: Block<'_>| {
            let keys: usize = block.tiles(sizing.keys).iter().map(Tile::width).sum();
            (block.queries().len() * keys) as u64
        };
        (0..shape[0]).flat_map(|row| rules.blocks(row, sizing)).map(block).sum()
    }

    /// The rules for a batch of some size.
    ///
    /// # Shapes
    /// A batch of another is a panic.
    pub(crate) fn rules(&self, [batch, queries, keys]: [usize; 3]) -> Arc<Rules> {
        let Some(rules) = &self.0 else {
            let all = Stretch::new(0..queries, 0..keys, Reach::Both);
            return Arc::new(Rules { queries, keys, rows: vec![vec![all]] });
        };
        let rows = rules.rows.len();
        assert!(
            (rules.queries, rules.keys) == (queries, keys) && (rows == 1 || rows == batch),
            "a mask of {rows} rows, {} queries and {} keys over {batch}, {queries} and {keys}",
            rules.queries,
            rules.keys
        );
        rules.clone()
    }

    /// One list of stretches for every row, given by places among the keys.
    fn of(
        (queries, keys): (usize, usize),
        padding: Padding<'_>,
        row: impl Fn(usize) -> Vec<(Range<usize>, Range<usize>, Reach)>,
    ) -> Self {
        let past = keys - queries;
        let own = |at: usize| at.saturating_sub(past);
        let stretch = |(places, seen, reach): (Range<usize>, Range<usize>, Reach)| {
            Stretch::new(own(places.start)..own(places.end), seen, reach)
        };
        let rows = (0..padding.rows()).map(|at| row(at).into_iter().map(stretch).collect());
        Self::new(queries, keys, rows.collect())
    }

    fn new(queries: usize, keys: usize, mut rows: Vec<Vec<Stretch>>) -> Self {
        let mut rules = Rules { queries, keys, rows: Vec::new() };
        for row in &mut rows {
            *row = std::mem::take(row).into_iter().flat_map(|stretch| rules.parted(stretch)).collect();
        }
        rules.rows = rows;
        let all = rules.rows.iter().flatten().all(|stretch| rules.is_all(stretch));
        Self((!all).then(|| Arc::new(rules)))
    }
}

impl Stretch {
    fn new(queries: Range<usize>, keys: Range<usize>, reach: Reach) -> Self {
        let keys = if keys.is_empty() { Arc::new([]) as Arc<[_]> } else { Arc::new([keys]) };
        Self { queries, keys, reach }
    }
}

impl Rules {
    /// Of a row of a batch.
    pub(crate) fn row(&self, batch: usize) -> &[Stretch] {
        let row = if self.rows.len() == 1 { 0 } else { batch };
        self.rows.get(row).map_or(&[], Vec::as_slice)
    }

    /// Whether rows of a batch differ.
    pub(crate) fn differ(&self) -> bool {
        self.rows.len() > 1
    }

    /// From which key to which a query reaches.
    fn reach(&self, reach: Reach, query: usize) -> Range<usize> {
        let own = self.keys.saturating_sub(self.queries) + query;
        match reach {
            Reach::Both => 0..self.keys,
            Reach::Before => 0..own + 1,
            Reach::Window(size) => (own + 1).saturating_sub(size.max(1))..own + 1,
        }
    }

    /// What a query of a stretch sees.
    fn seen<'a>(&self, stretch: &'a Stretch, query: usize) -> impl Iterator<Item = Range<usize>> + use<'a> {
        let reach = self.reach(stretch.reach, query);
        let within = move |keys: &Range<usize>| keys.start.max(reach.start)..keys.end.min(reach.end);
        stretch.keys.iter().map(within).filter(|keys| !keys.is_empty())
    }

    /// Whether a query of a stretch sees nothing.
    fn is_blind(&self, stretch: &Stretch, query: usize) -> bool {
        self.seen(stretch, query).next().is_none()
    }

    /// Whether all of a stretch see all keys. A reach grows or moves with the query, so the first and the last tell.
    fn is_all(&self, stretch: &Stretch) -> bool {
        let all = |query| self.seen(stretch, query).eq(std::iter::once(0..self.keys));
        stretch.queries.is_empty() || (all(stretch.queries.start) && all(stretch.queries.end - 1))
    }

    /// A stretch without queries that see nothing, and those by themselves.
    fn parted(&self, stretch: Stretch) -> Vec<Stretch> {
        let blind = |query: &usize| self.is_blind(&stretch, *query);
        // What can be seen of one range is seen by queries that follow one another: the ends tell.
        let ends = [stretch.queries.start, stretch.queries.end.saturating_sub(1)];
        if stretch.queries.is_empty() {
            return Vec::new();
        }
        if stretch.reach == Reach::Both || (stretch.keys.len() == 1 && !ends.iter().any(blind)) {
            return vec![stretch];
        }
        let mut parts: Vec<Stretch> = Vec::new();
        for query in stretch.queries.clone() {
            let blind = blind(&query);
            match parts.last_mut() {
                Some(part) if part.keys.is_empty() == blind => part.queries.end = query + 1,
                _ => {
                    let keys = if blind { Arc::new([]) as Arc<[_]> } else { stretch.keys.clone() };
                    parts.push(Stretch { queries: query..query + 1, keys, reach: stretch.reach });
                }
            }
        }
        parts
    }

    /// For each of some queries of a row which of some keys it does not see, row-major.
    pub(crate) fn hidden(&self, row: usize, queries: Range<usize>, keys: Range<usize>) -> Vec<bool> {
        let mut hidden = vec![true; queries.len() * keys.len()];
        let mut rows = hidden.chunks_mut(keys.len().max(1));
        for stretch in self.row(row) {
            let own = stretch.queries.start.max(queries.start)..stretch.queries.end.min(queries.end);
            for (query, hidden) in own.zip(&mut rows) {
                for seen in self.seen(stretch, query) {
                    let [from, to] =
                        [seen.start, seen.end].map(|at| at.clamp(keys.start, keys.end) - keys.start);
                    hidden.get_mut(from..to).unwrap_or_default().fill(false);
                }
            }
        }
        hidden
    }
}

#[cfg(test)]
mod tests;
