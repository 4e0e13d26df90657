//! How attention goes through what may be seen: blocks of queries of one rule, and for each the keys they see between them, some
//! at a time.

use std::ops::Range;

use super::{Reach, Rules, Stretch};

/// Scores that are held at a time, at most: 256 KiB, a part of a core's second cache.
const SCORES: usize = 1 << 16;

/// Queries of a block, where there are many keys: enough to make good use of keys that were fetched.
const MANY: usize = 128;

/// Below so many keys, the triangle beside the diagonal of a block is a large part of what it computes.
const SHORT: usize = 512;

/// How many queries and keys are taken at a time. It follows from the shape alone: what is computed must not depend on the
/// number of threads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizing {
    queries: usize,
    /// Queries that see up to a place of their own: what stands beside the diagonal is computed for nothing.
    beside: usize,
    /// Keys of a tile.
    pub(crate) keys: usize,
}

impl Sizing {
    /// For `[batch, queries, keys]`.
    pub(crate) fn of([_, queries, keys]: [usize; 3]) -> Self {
        let queries = (SCORES / keys.max(1)).max(MANY).min(queries.max(1));
        Self { queries, beside: queries.min(if keys < SHORT { 32 } else { 64 }), keys: SCORES / queries }
    }

    /// The same for the way back, where every block is added to the gradients of all its keys.
    pub(crate) fn back(shape: [usize; 3]) -> Self {
        let sizing = Self::of(shape);
        Self { beside: sizing.queries.min(64), ..sizing }
    }

    #[cfg(test)]
    pub(super) fn new(queries: usize, keys: usize) -> Self {
        Self { queries, beside: queries, keys }
    }

    /// Queries of a block, at most.
    fn queries(&self, reach: Reach) -> usize {
        if reach == Reach::Both { self.queries } else { self.beside }
    }
}

/// Some queries of a row of a batch that see by one rule.
#[derive(Debug)]
pub(crate) struct Block<'a> {
    rules: &'a Rules,
    stretch: &'a Stretch,
    batch: usize,
    queries: Range<usize>,
}

/// Some of the keys that a block sees, side by side.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tile {
    pieces: Vec<Piece>,
}

/// Keys that follow one another, in columns that do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece {
    /// The first key.
    pub(crate) key: usize,
    /// How many there are.
    pub(crate) keys: usize,
    /// The first column.
    pub(crate) column: usize,
}

impl Rules {
    /// All queries of a row of a batch, in order.
    pub(crate) fn blocks(&self, batch: usize, sizing: Sizing) -> Vec<Block<'_>> {
        let mut blocks = Vec::new();
        for stretch in self.row(batch) {
            let parts = even(stretch.queries.clone(), sizing.queries(stretch.reach));
            blocks.extend(parts.map(|queries| Block { rules: self, stretch, batch, queries }));
        }
        blocks
    }
}

impl Block<'_> {
    /// The row of the batch.
    pub(crate) fn batch(&self) -> usize {
        self.batch
    }

    /// Which queries.
    pub(crate) fn queries(&self) -> Range<usize> {
        self.queries.clone()
    }

    /// Whether they see nothing, and so attend to all keys evenly.
    pub(crate) fn is_blind(&self) -> bool {
        self.stretch.keys.is_empty()
    }

    /// The keys that any of them sees (all keys, if none does), at most so many in a tile.
    pub(crate) fn tiles(&self, most: usize) -> Vec<Tile> {
        let Self { rules, stretch, queries, .. } = self;
        let all = 0..rules.keys;
        let (keys, reach) = match self.is_blind() {
            true => (std::slice::from_ref(&all), 0..rules.keys),
            false => {
                let last = queries.end.saturating_sub(1);
                let (first, last) =
                    (rules.reach(stretch.reach, queries.start), rules.reach(stretch.reach, last));
                (&stretch.keys[..], first.start..last.end)
            }
        };
        let within = keys.iter().map(|k| k.start.max(reach.start)..k.end.min(reach.end));
        let within: Vec<Range<usize>> = within.filter(|keys| !keys.is_empty()).collect();
        let total = within.iter().map(Range::len).sum::<usize>();
        // Of much the same width, and whole registers.
        let width = total.div_ceil(total.div_ceil(most.max(1)).max(1)).next_multiple_of(16);
        let (mut tiles, mut tile, mut free) = (Vec::new(), Tile::default(), width);
        for mut keys in within {
            while !keys.is_empty() {
                let taken = keys.len().min(free);
                tile.pieces.push(Piece { key: keys.start, keys: taken, column: width - free });
                (keys.start, free) = (keys.start + taken, free - taken);
                if free == 0 {
                    tiles.push(std::mem::take(&mut tile));
                    free = width;
                }
            }
        }
        if !tile.pieces.is_empty() {
            tiles.push(tile);
        }
        tiles
    }

    /// Which columns of a tile a query of the block sees.
    pub(crate) fn columns(&self, tile: &Tile, query: usize) -> Range<usize> {
        if self.is_blind() || self.stretch.reach == Reach::Both {
            return 0..tile.width();
        }
        let reach = self.rules.reach(self.stretch.reach, query);
        let before =
            |key: usize| tile.pieces.iter().map(|p| key.clamp(p.key, p.key + p.keys) - p.key).sum::<usize>();
        before(reach.start)..before(reach.end)
    }
}

impl Tile {
    /// How many keys.
    pub(crate) fn width(&self) -> usize {
        self.pieces.last().map_or(0, |piece| piece.column + piece.keys)
    }

    /// Its keys, in order.
    pub(crate) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// As many keys, of which the first is at 0: where its keys were copied to follow one another.
    pub(crate) fn gathered(&self) -> Self {
        Self { pieces: vec![Piece { key: 0, keys: self.width(), column: 0 }] }
    }
}

/// A range in parts of much the same length, none longer than this.
fn even(all: Range<usize>, most: usize) -> impl Iterator<Item = Range<usize>> {
    let each = all.len().div_ceil(all.len().div_ceil(most.max(1)).max(1)).max(1);
    let end = all.end;
    all.step_by(each).map(move |from| from..end.min(from + each))
}
