//! Attention, some queries over some keys at a time: scores never leave the cache.
//!
//! A row of scores that is longer than what is held goes through it in tiles: the largest score and the sum so far are
//! kept, and what was summed before is scaled when a larger one comes (Milakov and Gimelshein 2018; Dao et al. 2022). The backward
//! pass computes scores again, and makes weights of them with the largest score and the sum that the forward pass kept.

use std::ops::Range;
use std::sync::Arc;

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;
use rayon::prelude::*;

use super::gemm::{Heads, Matrix, product};
use super::home::{back, back_tracked, dims, filled, packed, plain, record, tracked};
use super::simd::Level;
use super::softmax::{cap_row, cap_row_back, exp_row, scale_row, softmax_row_back, weigh_row};
use crate::masking::{Block, Rules, Sizing, Tile};
use crate::{AttentionSettings, Masking};

/// Below so many products, one core does it all.
const FEW: usize = 1 << 17;

#[derive(Debug, Clone, Copy)]
struct Sizes {
    batch: usize,
    queries: usize,
    heads: usize,
    kv: usize,
    keys: usize,
    width: usize,
}

impl Sizes {
    fn of(q: [usize; 4], k: [usize; 4], v: [usize; 4]) -> Option<Self> {
        let ([batch, queries, heads, width], [kb, keys, kv, kw]) = (q, k);
        let fits = k == v && kb == batch && kw == width && kv > 0 && heads % kv == 0;
        (fits && keys > 0 && width > 0).then_some(Self { batch, queries, heads, kv, keys, width })
    }

    fn shape(&self) -> [usize; 3] {
        [self.batch, self.queries, self.keys]
    }

    fn group(&self) -> usize {
        self.heads / self.kv
    }

    /// Whether threads are worth their while.
    fn many(&self) -> bool {
        self.batch * self.queries * self.heads * self.keys * self.width > FEW
    }
}

/// How a query's scores become weights: `exp(score - top) * share`.
#[derive(Debug, Clone, Copy)]
struct Norm {
    top: f32,
    share: f32,
}

/// What was computed: `z`, `[batch, query, head, width]`, and how scores became weights, `[batch, query, head]`.
#[derive(Debug, Clone)]
struct Mixed {
    z: FlexTensor,
    norms: Vec<Norm>,
}

/// What all tasks share.
struct Work<'a> {
    sizes: Sizes,
    sizing: Sizing,
    q: Heads<'a>,
    k: Heads<'a>,
    v: Heads<'a>,
    rules: &'a Rules,
    settings: AttentionSettings,
    level: Level,
}

/// What a task computes in.
#[derive(Default)]
struct Scratch {
    scores: Vec<f32>,
    slopes: Vec<f32>,
    capped: Vec<f32>,
    norms: Vec<Norm>,
    means: Vec<f32>,
}

impl<'a> Work<'a> {
    fn new(
        sizes: Sizes,
        [q, k, v]: [&'a FlexTensor; 3],
        rules: &'a Rules,
        settings: AttentionSettings,
    ) -> Option<Self> {
        let [q, k, v] = [Heads::of(q)?, Heads::of(k)?, Heads::of(v)?];
        let sizing = Sizing::of(sizes.shape());
        Some(Self { sizes, sizing, q, k, v, rules, settings, level: Level::best() })
    }

    /// What multiplies scores once they are capped, or products if they are not.
    fn scale(&self) -> f32 {
        if self.settings.cap.is_some() { 1.0 } else { self.settings.scale }
    }

    /// Products of a block's queries with a tile's keys, `[queries, keys]`.
    fn products(&self, block: &Block<'_>, head: usize, tile: &Tile, scores: &mut Vec<f32>) {
        let (many, wide, batch) = (block.queries().len(), tile.width(), block.batch());
        scores.resize(many * wide, 0.0);
        if block.is_blind() {
            return scores.fill(0.0);
        }
        let queries = self.q.at(batch, head, block.queries().start);
        for piece in tile.pieces() {
            let keys = self.k.at(batch, head / self.sizes.group(), piece.key).turned();
            let into = scores.get_mut(piece.column..).unwrap_or_default();
            product([many, piece.keys, self.sizes.width], queries, keys, into, wide, false);
        }
    }

    /// All heads of a block of queries: `z`, `[queries, heads, width]`, and the norms of its rows.
    fn forward_block(&self, block: &Block<'_>, z: &mut [f32], norms: &mut [Norm], scratch: &mut Scratch) {
        let Sizes { heads, width, .. } = self.sizes;
        let tiles = block.tiles(self.sizing.keys);
        for head in 0..heads {
            let z = z.get_mut(head * width..).unwrap_or_default();
            scratch.norms.clear();
            scratch.norms.resize(block.queries().len(), Norm { top: f32::NEG_INFINITY, share: 0.0 });
            for (i, tile) in tiles.iter().enumerate() {
                self.forward_tile((block, head), tile, i == 0, z, scratch);
            }
            for (i, norm) in scratch.norms.iter_mut().enumerate() {
                norm.share = 1.0 / norm.share;
                let row = i * heads * width;
                scale_row::<()>(self.level, &mut z[row..row + width], norm.share);
                norms[i * heads + head] = *norm;
            }
        }
    }

    /// Adds a tile of keys to `z`, whose rows lie a row of all heads apart; until the last tile, `share` is the sum so far.
    fn forward_tile(
        &self,
        (block, head): (&Block<'_>, usize),
        tile: &Tile,
        first: bool,
        z: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let Sizes { heads, width, .. } = self.sizes;
        let AttentionSettings { scale, cap } = self.settings;
        let (wide, apart, scores) = (tile.width(), heads * width, &mut scratch.scores);
        self.products(block, head, tile, scores);
        let rows = block.queries().zip(scores.chunks_mut(wide)).zip(&mut scratch.norms);
        for (i, ((query, row), norm)) in rows.enumerate() {
            let seen = block.columns(tile, query);
            blank(row, &seen);
            if seen.is_empty() {
                continue;
            }
            let row = &mut row[seen];
            if let Some(cap) = cap {
                cap_row::<()>(self.level, row, scale, cap);
            }
            let (top, sum) = exp_row::<()>(self.level, row, self.scale(), norm.top);
            let kept = if top == norm.top { 1.0 } else { (norm.top - top).exp() };
            *norm = Norm { top, share: norm.share * kept + sum };
            if !first && kept != 1.0 {
                scale_row::<()>(self.level, &mut z[i * apart..i * apart + width], kept);
            }
        }
        for (i, piece) in tile.pieces().iter().enumerate() {
            let values = self.v.at(block.batch(), head / self.sizes.group(), piece.key);
            let sizes = [block.queries().len(), width, piece.keys];
            let pattern = Matrix::rows(scores.get(piece.column..).unwrap_or_default(), wide);
            product(sizes, pattern, values, z, apart, !(first && i == 0));
        }
    }

    fn forward(&self) -> Mixed {
        let Sizes { batch, queries, heads, width, .. } = self.sizes;
        let mut z = vec![0.0; batch * queries * heads * width];
        let mut norms = vec![Norm { top: 0.0, share: 0.0 }; batch * queries * heads];
        let (mut z_left, mut norms_left) = (z.as_mut_slice(), norms.as_mut_slice());
        let blocks = (0..batch).flat_map(|row| self.rules.blocks(row, self.sizing.queries));
        let parts: Vec<_> = blocks
            .map(|block| {
                let rows = block.queries().len() * heads;
                let own = z_left.split_off_mut(..rows * width).unwrap_or_default();
                (block, own, norms_left.split_off_mut(..rows).unwrap_or_default())
            })
            .collect();
        if self.sizes.many() {
            parts.into_par_iter().for_each_init(Scratch::default, |scratch, (block, z, norms)| {
                self.forward_block(&block, z, norms, scratch);
            });
        } else {
            let mut scratch = Scratch::default();
            for (block, z, norms) in parts {
                self.forward_block(&block, z, norms, &mut scratch);
            }
        }
        Mixed { z: filled(z, [batch, queries, heads, width]), norms }
    }

    /// Gradients at queries, keys and values from that at the result, `[b, p, h, w]` each.
    fn backward(&self, mixed: &Mixed, dz: &Heads<'_>) -> Option<[FlexTensor; 3]> {
        let Sizes { batch, queries, heads, kv, keys, width } = self.sizes;
        let z = Heads::of(&mixed.z)?;
        let mut dq = vec![0.0; batch * heads * queries * width];
        let mut dk = vec![0.0; batch * kv * keys * width];
        let mut dv = vec![0.0; batch * kv * keys * width];
        let of_queries = (self.sizes.group() * queries * width).max(1);
        let tasks = dq
            .par_chunks_mut(of_queries)
            .zip(dk.par_chunks_mut(keys * width).zip(dv.par_chunks_mut(keys * width)))
            .enumerate();
        tasks.for_each_init(Scratch::default, |scratch, (i, (dq, (dk, dv)))| {
            let (row, kv) = (i / kv, i % kv);
            for (member, dq) in dq.chunks_mut((queries * width).max(1)).enumerate() {
                let head = kv * self.sizes.group() + member;
                for block in self.rules.blocks(row, self.sizing.queries) {
                    self.means((&block, head), &z, dz, scratch);
                    for tile in block.tiles(self.sizing.keys) {
                        self.backward_tile((&block, head), &tile, (mixed, dz), [dq, dk, dv], scratch);
                    }
                }
            }
        });
        let turned =
            |values, heads, positions| filled(values, [batch, heads, positions, width]).transpose(1, 2);
        Some([turned(dq, heads, queries), turned(dk, kv, keys), turned(dv, kv, keys)])
    }

    /// For each query of a block the mean, over its weights, of the gradients at them: `dz z`.
    fn means(
        &self,
        (block, head): (&Block<'_>, usize),
        z: &Heads<'_>,
        dz: &Heads<'_>,
        scratch: &mut Scratch,
    ) {
        let own = |query| dz.dot(z, [block.batch(), query, head], self.sizes.width);
        scratch.means.clear();
        scratch.means.extend(block.queries().map(own));
    }

    /// Adds what a tile of keys gives: `dq` is `[queries, width]`, `dk` and `dv` `[keys, width]`.
    fn backward_tile(
        &self,
        (block, head): (&Block<'_>, usize),
        tile: &Tile,
        (mixed, dz): (&Mixed, &Heads<'_>),
        [dq, dk, dv]: [&mut [f32]; 3],
        scratch: &mut Scratch,
    ) {
        let Sizes { queries, heads, width, .. } = self.sizes;
        let AttentionSettings { scale, cap } = self.settings;
        let (batch, kv, wide) = (block.batch(), head / self.sizes.group(), tile.width());
        let (first, many) = (block.queries().start, block.queries().len());
        let Scratch { scores, slopes, capped, means, .. } = scratch;
        self.products(block, head, tile, scores);
        if cap.is_some() {
            capped.clone_from(scores);
        }
        for (i, (query, row)) in block.queries().zip(scores.chunks_mut(wide)).enumerate() {
            let seen = block.columns(tile, query);
            blank(row, &seen);
            if let Some(cap) = cap {
                cap_row::<()>(self.level, &mut row[seen.clone()], scale, cap);
                capped[i * wide..][seen.clone()].copy_from_slice(&row[seen.clone()]);
            }
            let norm = mixed.norms[((batch * queries) + query) * heads + head];
            weigh_row::<()>(self.level, &mut row[seen], self.scale(), norm.top, norm.share);
        }
        let upstream = dz.at(batch, head, first);
        let piece_of =
            |buffer, column: usize| Matrix::rows(<[f32]>::get(buffer, column..).unwrap_or_default(), wide);
        for piece in tile.pieces() {
            let into = dv.get_mut(piece.key * width..).unwrap_or_default();
            let pattern = piece_of(scores, piece.column).turned();
            product([piece.keys, width, many], pattern, upstream, into, width, true);
        }
        if block.is_blind() {
            return;
        }
        slopes.resize(many * wide, 0.0);
        for piece in tile.pieces() {
            let values = self.v.at(batch, kv, piece.key).turned();
            let into = slopes.get_mut(piece.column..).unwrap_or_default();
            product([many, piece.keys, width], upstream, values, into, wide, false);
        }
        let rows = scores.chunks(wide).zip(slopes.chunks_mut(wide)).zip(means.iter());
        for (i, ((pattern, slopes), mean)) in rows.enumerate() {
            let seen = block.columns(tile, first + i);
            blank(slopes, &seen);
            let slopes = &mut slopes[seen.clone()];
            softmax_row_back::<()>(self.level, &pattern[seen.clone()], slopes, *mean, self.scale());
            if let Some(cap) = cap {
                cap_row_back::<()>(self.level, &capped[i * wide..][seen], slopes, scale, cap);
            }
        }
        let dq = dq.get_mut(first * width..).unwrap_or_default();
        for piece in tile.pieces() {
            let slopes = piece_of(slopes, piece.column);
            product([many, width, piece.keys], slopes, self.k.at(batch, kv, piece.key), dq, width, true);
            let dk = dk.get_mut(piece.key * width..).unwrap_or_default();
            let queries = self.q.at(batch, head, first);
            product([piece.keys, width, many], slopes.turned(), queries, dk, width, true);
        }
    }
}

/// Zero outside of what is seen.
fn blank(row: &mut [f32], seen: &Range<usize>) {
    row[..seen.start].fill(0.0);
    row[seen.end..].fill(0.0);
}

/// Attention, or the three again if they are not for us.
pub(crate) fn attention(
    given: [Tensor<4>; 3],
    masking: &Masking,
    settings: AttentionSettings,
) -> Result<Tensor<4>, [Tensor<4>; 3]> {
    let [q, k, v] = &given;
    let Some(sizes) = Sizes::of(q.dims(), k.dims(), v.dims()) else { return Err(given) };
    let rules = masking.rules(sizes.shape());
    if given.iter().any(Tensor::is_autodiff) {
        let inputs: Vec<_> = given.iter().filter_map(|x| tracked(x.clone().autodiff()).ok()).collect();
        let Ok([q, k, v]) = <[_; 3]>::try_from(inputs) else { return Err(given) };
        let nodes = [q.node(), k.node(), v.node()];
        let inner = [&q, &k, &v].map(|x| usable(x.primitive().clone()));
        let Some(mixed) = Work::new(sizes, inner.each_ref(), &rules, settings).map(|work| work.forward())
        else {
            return Err(given);
        };
        let (step, z) = (Attention { sizes, settings }, mixed.z.clone());
        return Ok(back_tracked(record(step, nodes, || Kept { inner, mixed, rules }, z)));
    }
    let inputs: Vec<_> = given.iter().filter_map(|x| plain(x.clone()).ok()).collect();
    let Ok(inner) = <[_; 3]>::try_from(inputs) else { return Err(given) };
    let inner = inner.map(usable);
    match Work::new(sizes, inner.each_ref(), &rules, settings) {
        Some(work) => Ok(back(work.forward().z)),
        None => Err(given),
    }
}

/// Views are read as they are; only one that is flipped is copied.
fn usable(x: FlexTensor) -> FlexTensor {
    if x.layout().strides().iter().all(|stride| *stride >= 0) { x } else { packed(x) }
}

#[derive(Debug)]
struct Attention {
    sizes: Sizes,
    settings: AttentionSettings,
}

/// What the backward pass needs: queries, keys and values, what came of them, and who attended to whom.
#[derive(Debug, Clone)]
struct Kept {
    inner: [FlexTensor; 3],
    mixed: Mixed,
    rules: Arc<Rules>,
}

impl Backward<Flex, 3> for Attention {
    type State = Kept;

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let Kept { inner, mixed, rules } = ops.state;
        let dz = usable(grads.consume::<Flex>(&ops.node));
        debug_assert_eq!(dims(&dz), dims(&inner[0]));
        let work = Work::new(self.sizes, inner.each_ref(), &rules, self.settings);
        let (Some(work), Some(dz)) = (work, Heads::of(&dz)) else { return };
        let Some(slopes) = work.backward(&mixed, &dz) else { return };
        for (parent, slope) in ops.parents.into_iter().zip(slopes) {
            if let Some(node) = parent {
                grads.register::<Flex>(node.id, slope);
            }
        }
    }
}
