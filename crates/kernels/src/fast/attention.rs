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

use super::gemm::{Heads, Matrix, Place, product, product_into};
use super::home::{back, back_tracked, dims, filled, packed, plain, record, tracked};
use super::simd::Level;
use super::softmax::{cap_row, cap_row_back, exp_row, scale_row, softmax_row_back, weigh_row};
use crate::masking::{Block, Piece, Rules, Sizing, Tile};
use crate::{AttentionSettings, Masking};

/// Below so many products, one core does it all.
const FEW: usize = 1 << 17;

/// From so many queries on, of all heads that share a KV head, keys and values of a tile are copied to where they follow one another, in the order that products
/// read fastest: as they lie, those of a head are a row of all heads apart and fall on one another in the cache.
const LAID: usize = 64;

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

/// What was computed: `z`, `[batch, query, head, width]`, and how scores became weights, `[batch, KV head, query, head of its group]`.
#[derive(Debug, Clone)]
struct Mixed {
    z: FlexTensor,
    norms: Vec<Norm>,
}

/// What all tasks share.
struct Work<'a> {
    sizes: Sizes,
    q: Heads<'a>,
    k: Heads<'a>,
    v: Heads<'a>,
    rules: &'a Rules,
    settings: AttentionSettings,
    level: Level,
}

/// A tile of keys for a block of queries, and where what products read of them lies.
struct Read<'a> {
    tile: Tile,
    k: Heads<'a>,
    v: Heads<'a>,
}

/// Keys and values of a tile, one after the other.
#[derive(Default)]
struct Laid {
    k: Vec<f32>,
    v: Vec<f32>,
}

/// What the way back of a task is computed in.
#[derive(Default)]
struct Scratch {
    scores: Vec<f32>,
    slopes: Vec<f32>,
    capped: Vec<f32>,
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
        Some(Self { sizes, q, k, v, rules, settings, level: Level::taken() })
    }

    /// What multiplies scores once they are capped, or products if they are not.
    fn scale(&self) -> f32 {
        if self.settings.cap.is_some() { 1.0 } else { self.settings.scale }
    }

    /// Keys or values of a tile, one after the other.
    fn gathered<'b>(
        &self,
        x: &Heads<'_>,
        [batch, kv]: [usize; 2],
        tile: &Tile,
        into: &'b mut Vec<f32>,
    ) -> Heads<'b> {
        let width = self.sizes.width;
        into.resize(tile.width() * width, 0.0);
        for piece in tile.pieces() {
            let into = into.get_mut(piece.column * width..).unwrap_or_default();
            x.lay([batch, kv], piece.key..piece.key + piece.keys, width, into);
        }
        Heads::one(into, width)
    }

    /// Products of a block's queries with a tile's keys, `[queries, keys]`.
    fn products(&self, block: &Block<'_>, head: usize, read: &Read<'_>, scores: &mut Vec<f32>) {
        let (many, wide, batch) = (block.queries().len(), read.tile.width(), block.batch());
        scores.resize(many * wide, 0.0);
        if block.is_blind() {
            return scores.fill(0.0);
        }
        let queries = self.q.at(batch, head, block.queries().start);
        for piece in read.tile.pieces() {
            let keys = read.k.at(batch, head / self.sizes.group(), piece.key).turned();
            let into = scores.get_mut(piece.column..).unwrap_or_default();
            product([many, piece.keys, self.sizes.width], queries, keys, into, wide, false);
        }
    }

    /// For a block of queries, the heads that share a KV head: `z`, `[queries, heads of the group * width]`, and the norms of
    /// its rows, `[queries, heads of the group]`.
    fn forward_block(
        &self,
        (block, kv): (&Block<'_>, usize),
        most: usize,
        mut z: Place<'_>,
        norms: &mut [Norm],
        (Laid { k, v }, scores): &mut (Laid, Vec<f32>),
    ) {
        let (group, width, many) = (self.sizes.group(), self.sizes.width, block.queries().len());
        norms.fill(Norm { top: f32::NEG_INFINITY, share: 0.0 });
        for (i, tile) in block.tiles(most).into_iter().enumerate() {
            let read = match many * group < LAID {
                true => Read { tile: tile.clone(), k: self.k, v: self.v },
                false => Read {
                    tile: tile.gathered(),
                    k: self.gathered(&self.k, [block.batch(), kv], &tile, k),
                    v: self.gathered(&self.v, [block.batch(), kv], &tile, v),
                },
            };
            for member in 0..group {
                let head = (kv * group + member, member);
                let z = z.columns(member * width..(member + 1) * width);
                self.forward_tile((block, head), (&tile, &read), i == 0, z, (norms, scores));
            }
        }
        for (i, norms) in norms.chunks_mut(group).enumerate() {
            for (norm, z) in norms.iter_mut().zip(z.row(i).chunks_mut(width)) {
                norm.share = 1.0 / norm.share;
                scale_row::<()>(self.level, z, norm.share);
            }
        }
    }

    /// Adds a tile of keys to the `z` of a head, given with its number in its group; until the last tile, `share` is the sum so
    /// far.
    fn forward_tile(
        &self,
        (block, (head, member)): (&Block<'_>, (usize, usize)),
        (tile, read): (&Tile, &Read<'_>),
        first: bool,
        mut z: Place<'_>,
        (norms, scores): (&mut [Norm], &mut Vec<f32>),
    ) {
        let AttentionSettings { scale, cap } = self.settings;
        let (wide, group) = (tile.width(), self.sizes.group());
        self.products(block, head, read, scores);
        for (i, (query, row)) in block.queries().zip(scores.chunks_mut(wide)).enumerate() {
            let seen = block.columns(tile, query);
            blank(row, &seen);
            if seen.is_empty() {
                continue;
            }
            let (row, norm) = (&mut row[seen], &mut norms[i * group + member]);
            if let Some(cap) = cap {
                cap_row::<()>(self.level, row, scale, cap);
            }
            let (top, sum) = exp_row::<()>(self.level, row, self.scale(), norm.top);
            let kept = if top == norm.top { 1.0 } else { (norm.top - top).exp() };
            *norm = Norm { top, share: norm.share * kept + sum };
            if !first && kept != 1.0 {
                scale_row::<()>(self.level, z.row(i), kept);
            }
        }
        for (i, piece) in read.tile.pieces().iter().enumerate() {
            let values = read.v.at(block.batch(), head / group, piece.key);
            let sizes = [block.queries().len(), self.sizes.width, piece.keys];
            let pattern = Matrix::rows(scores.get(piece.column..).unwrap_or_default(), wide);
            product_into(sizes, pattern, values, z.columns(0..self.sizes.width), !(first && i == 0));
        }
    }

    fn forward(&self) -> Mixed {
        let Sizes { batch, queries, heads, kv, width, .. } = self.sizes;
        let (group, sizing) = (self.sizes.group(), Sizing::of(self.sizes.shape()));
        let mut z = vec![0.0; batch * queries * heads * width];
        let mut norms = vec![Norm { top: 0.0, share: 0.0 }; batch * kv * queries * group];
        let blocks: Vec<_> = (0..batch).map(|row| self.rules.blocks(row, sizing)).collect();
        let mut parts = Vec::with_capacity(blocks.iter().map(Vec::len).sum::<usize>() * kv);
        let mut norms_left = norms.as_mut_slice();
        for (blocks, z) in blocks.iter().zip(z.chunks_mut((queries * heads * width).max(1))) {
            let mut z_left = Place::of(z, heads * width);
            for kv in 0..kv {
                let (mut own, rest) = z_left.split_columns(group * width);
                z_left = rest;
                for block in blocks {
                    let rows = block.queries().len();
                    let (z, rest) = own.split_rows(rows);
                    own = rest;
                    let norms = norms_left.split_off_mut(..rows * group).unwrap_or_default();
                    parts.push(((block, kv), z, norms));
                }
            }
        }
        if self.sizes.many() {
            parts.into_par_iter().for_each_init(Default::default, |scratch, (at, z, norms)| {
                self.forward_block(at, sizing.keys, z, norms, scratch);
            });
        } else {
            let mut scratch = Default::default();
            for (at, z, norms) in parts {
                self.forward_block(at, sizing.keys, z, norms, &mut scratch);
            }
        }
        Mixed { z: filled(z, [batch, queries, heads, width]), norms }
    }

    /// Gradients at queries, keys and values from that at the result, `[b, p, h, w]` each.
    fn backward(&self, mixed: &Mixed, dz: &Heads<'_>) -> Option<[FlexTensor; 3]> {
        let Sizes { batch, queries, heads, kv, keys, width } = self.sizes;
        let z = Heads::of(&mixed.z)?;
        let sizing = Sizing::back(self.sizes.shape());
        let mut dq = vec![0.0; batch * heads * queries * width];
        let mut dk = vec![0.0; batch * kv * keys * width];
        let mut dv = vec![0.0; batch * kv * keys * width];
        let of_queries = (self.sizes.group() * queries * width).max(1);
        let tasks = dq
            .par_chunks_mut(of_queries)
            .zip(dk.par_chunks_mut(keys * width).zip(dv.par_chunks_mut(keys * width)))
            .enumerate();
        let given = (mixed, &z, dz);
        tasks.for_each_init(<(Laid, Scratch)>::default, |scratch, (i, (dq, (dk, dv)))| {
            let (row, kv) = (i / kv, i % kv);
            let Laid { k, v } = &mut scratch.0;
            for block in self.rules.blocks(row, sizing) {
                for tile in block.tiles(sizing.keys) {
                    let read = Read {
                        tile: tile.gathered(),
                        k: self.gathered(&self.k, [row, kv], &tile, k),
                        v: self.gathered(&self.v, [row, kv], &tile, v),
                    };
                    for (member, dq) in dq.chunks_mut((queries * width).max(1)).enumerate() {
                        let at = (&block, kv * self.sizes.group() + member);
                        self.backward_tile(at, (&tile, &read), given, [dq, dk, dv], &mut scratch.1);
                    }
                }
            }
        });
        let turned =
            |values, heads, positions| filled(values, [batch, heads, positions, width]).transpose(1, 2);
        Some([turned(dq, heads, queries), turned(dk, kv, keys), turned(dv, kv, keys)])
    }

    /// Adds what a tile of keys gives: `dq` is `[queries, width]`, `dk` and `dv` `[keys, width]`.
    fn backward_tile(
        &self,
        (block, head): (&Block<'_>, usize),
        (tile, read): (&Tile, &Read<'_>),
        (mixed, z, dz): (&Mixed, &Heads<'_>, &Heads<'_>),
        [dq, dk, dv]: [&mut [f32]; 3],
        scratch: &mut Scratch,
    ) {
        let Sizes { queries, kv: kvs, width, .. } = self.sizes;
        let AttentionSettings { scale, cap } = self.settings;
        let group = self.sizes.group();
        let (batch, kv, wide) = (block.batch(), head / group, tile.width());
        let (first, many) = (block.queries().start, block.queries().len());
        let Scratch { scores, slopes, capped, means } = scratch;
        self.products(block, head, read, scores);
        if cap.is_some() {
            capped.resize(scores.len(), 0.0);
        }
        for (i, (query, row)) in block.queries().zip(scores.chunks_mut(wide)).enumerate() {
            let seen = block.columns(tile, query);
            blank(row, &seen);
            let row = &mut row[seen.clone()];
            if let Some(cap) = cap {
                cap_row::<()>(self.level, row, scale, cap);
                capped[i * wide..][seen].copy_from_slice(row);
            }
            let norm = mixed.norms[((batch * kvs + kv) * queries + query) * group + head % group];
            weigh_row::<()>(self.level, row, self.scale(), norm.top, norm.share);
        }
        let upstream = dz.at(batch, head, first);
        let pattern = |piece: &Piece| Matrix::rows(scores.get(piece.column..).unwrap_or_default(), wide);
        for piece in tile.pieces() {
            let into = dv.get_mut(piece.key * width..).unwrap_or_default();
            product([piece.keys, width, many], pattern(piece).turned(), upstream, into, width, true);
        }
        if block.is_blind() {
            return;
        }
        // The mean of the gradients at the weights, over these, is that at the result times the result.
        means.clear();
        means.extend(block.queries().map(|query| dz.dot(z, [batch, query, head], width)));
        slopes.resize(many * wide, 0.0);
        product([many, wide, width], upstream, read.v.at(batch, kv, 0).turned(), slopes, wide, false);
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
        product([many, width, wide], Matrix::rows(slopes, wide), read.k.at(batch, kv, 0), dq, width, true);
        for piece in tile.pieces() {
            let dk = dk.get_mut(piece.key * width..).unwrap_or_default();
            let slopes = Matrix::rows(slopes.get(piece.column..).unwrap_or_default(), wide).turned();
            product([piece.keys, width, many], slopes, self.q.at(batch, head, first), dk, width, true);
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
