//! Which pairs of positions may not attend to one another.

use burn::tensor::{Bool, Device, Tensor, TensorData};

/// Which pairs may not attend: `true` where masked, `[batch or 1, 1, query, key]`.
#[derive(Debug, Clone, Default)]
pub struct Masking(Option<Tensor<4, Bool>>);

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

/// The padding of a batch: so many positions at the start and at the end of each row.
#[derive(Debug, Clone, Copy)]
pub struct Padding<'a> {
    /// At the start.
    pub pads: &'a [usize],
    /// At the end.
    pub tails: &'a [usize],
}

impl Masking {
    /// Everything attends to everything.
    pub fn none() -> Self {
        Self(None)
    }

    /// From a rule: `masked(row, query, key)`, for so many rows, queries and keys.
    pub fn of(
        (rows, queries, keys): (usize, usize, usize),
        device: &Device,
        masked: impl Fn(usize, usize, usize) -> bool,
    ) -> Self {
        let mut values = Vec::with_capacity(rows * queries * keys);
        for row in 0..rows {
            for query in 0..queries {
                values.extend((0..keys).map(|key| masked(row, query, key)));
            }
        }
        if !values.contains(&true) {
            return Self(None);
        }
        Self(Some(Tensor::from_data(TensorData::new(values, [rows, 1, queries, keys]), device)))
    }

    /// For `length` new positions behind `past` cached ones: nothing attends to padding or beyond its reach.
    ///
    /// A padding position attends to itself alone, so that its values stay finite.
    pub fn rows(
        reach: Reach,
        Padding { pads, tails }: Padding<'_>,
        past: usize,
        length: usize,
        device: &Device,
    ) -> Self {
        let keys = past + length;
        let padded = pads.iter().chain(tails).any(|p| *p > 0);
        let hidden = |row: usize, at: usize| {
            padded
                && (at < pads.get(row).copied().unwrap_or(0)
                    || at + tails.get(row).copied().unwrap_or(0) >= keys)
        };
        Self::of((if padded { pads.len() } else { 1 }, length, keys), device, |row, query, key| {
            let query = past + query;
            let beyond = match reach {
                Reach::Both => false,
                Reach::Before => key > query,
                Reach::Window(size) => key > query || key + size <= query,
            };
            key != query && (beyond || hidden(row, key) || hidden(row, query))
        })
    }

    /// For `length` new positions behind `past` cached ones, as encoders of transformers have it: nobody attends to padding,
    /// but padding attends like any other position. Only padding at the start that would see nothing at all attends to
    /// itself.
    pub fn seen(
        reach: Reach,
        Padding { pads, tails }: Padding<'_>,
        past: usize,
        length: usize,
        device: &Device,
    ) -> Self {
        let keys = past + length;
        let size = |sizes: &[usize], row: usize| sizes.get(row).copied().unwrap_or(0);
        Self::of((pads.len().max(1), length, keys), device, |row, query, key| {
            let (query, pad) = (past + query, size(pads, row));
            let beyond = match reach {
                Reach::Both => false,
                Reach::Before => key > query,
                Reach::Window(size) => key > query || key + size <= query,
            };
            let hidden = key < pad || key + size(tails, row) >= keys;
            let alone = key == query && query < pad && reach != Reach::Both;
            !alone && (beyond || hidden)
        })
    }

    /// Positions of one sequence attend within their own segment alone; `segments` are the lengths, one after the other.
    pub fn segments(segments: &[usize], device: &Device) -> Self {
        let of: Vec<usize> =
            segments.iter().enumerate().flat_map(|(i, len)| std::iter::repeat_n(i, *len)).collect();
        Self::of((1, of.len(), of.len()), device, |_, query, key| of.get(query) != of.get(key))
    }

    /// No query attends to the keys that are hidden: `hidden[row][key]`.
    pub fn keys(hidden: &[Vec<bool>], queries: usize, device: &Device) -> Self {
        let keys = hidden.first().map_or(0, Vec::len);
        Self::of((hidden.len(), queries, keys), device, |row, _, key| {
            hidden.get(row).and_then(|h| h.get(key)).copied().unwrap_or(false)
        })
    }

    /// The mask as it is, `[batch or 1, 1, query, key]`.
    pub(crate) fn mask(&self) -> Option<Tensor<4, Bool>> {
        self.0.clone()
    }

    /// The mask for so many rows and heads.
    pub(crate) fn expanded(&self, rows: usize, heads: usize) -> Option<Tensor<4, Bool>> {
        self.0.clone().map(|m| {
            let [_, _, q, k] = m.dims();
            m.expand([rows, heads, q, k])
        })
    }
}
