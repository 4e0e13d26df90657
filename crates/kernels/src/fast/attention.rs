//! Attention, some queries at a time: scores never leave the cache.

use std::ops::Range;

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::flex::FlexTensor;
use burn::tensor::{Bool, Tensor};
use rayon::prelude::*;

use super::gemm::{Heads, Matrix, product};
use super::home::{back, back_tracked, dims, filled, packed, plain, record, tracked};
use super::simd::Level;
use super::softmax::{Mask, cap_row, cap_row_back, softmax_row, softmax_row_back};
use crate::AttentionSettings;

/// Scores that are held at a time, at most: 256 KiB, a part of a core's second cache.
const SCORES: usize = 1 << 16;

/// Tasks that the queries of a batch are divided into, at least, where they are many: four for each of eight cores.
const TASKS: usize = 32;

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

    fn group(&self) -> usize {
        self.heads / self.kv
    }

    /// Whether threads are worth their while.
    fn many(&self) -> bool {
        self.batch * self.queries * self.heads * self.keys * self.width > FEW
    }

    /// Queries at a time: few enough for the cache, and for every core to get some. The number of threads has no say: sums over
    /// keys are cut where a block ends.
    fn block(&self) -> usize {
        let fair = (self.batch * self.queries).div_ceil(TASKS).max(16);
        fair.min((SCORES / self.keys).max(1)).min(self.queries.max(1))
    }
}

/// What all tasks share.
struct Work<'a> {
    sizes: Sizes,
    q: Heads<'a>,
    k: Heads<'a>,
    v: Heads<'a>,
    mask: Option<&'a Mask>,
    settings: AttentionSettings,
    level: Level,
}

impl<'a> Work<'a> {
    fn new(
        sizes: Sizes,
        [q, k, v]: [&'a FlexTensor; 3],
        mask: Option<&'a Mask>,
        settings: AttentionSettings,
    ) -> Option<Self> {
        let [q, k, v] = [Heads::of(q)?, Heads::of(k)?, Heads::of(v)?];
        Some(Self { sizes, q, k, v, mask, settings, level: Level::taken() })
    }

    fn mask(&self, batch: usize, head: usize, query: usize) -> Option<&[u8]> {
        self.mask.map(|mask| mask.row(batch, head, query, self.sizes.keys))
    }

    /// Up to which key any of these queries attends. A row without any is uniform over all of them.
    fn reach(&self, batch: usize, head: usize, queries: Range<usize>) -> usize {
        let keys = self.sizes.keys;
        let Some(mask) = self.mask else { return keys };
        let mut reach = 0;
        for query in queries {
            let row = mask.row(batch, head, query, keys);
            if reach > 0 && row[reach..].iter().all(|masked| *masked != 0) && row[reach - 1] == 0 {
                continue;
            }
            match row.iter().rposition(|masked| *masked == 0) {
                Some(last) => reach = reach.max(last + 1), // no NaN: whole numbers
                None => return keys,
            }
        }
        reach
    }

    /// The pattern of a block of queries of a head, `[queries, reach]`; into `capped`, if scores are, those.
    fn pattern(
        &self,
        (batch, head): (usize, usize),
        queries: Range<usize>,
        reach: usize,
        pattern: &mut Vec<f32>,
        capped: Option<&mut Vec<f32>>,
    ) {
        let Sizes { width, .. } = self.sizes;
        let many = queries.len();
        pattern.resize(many * reach, 0.0);
        let keys = self.k.at(batch, head / self.sizes.group(), 0).turned();
        product([many, reach, width], self.q.at(batch, head, queries.start), keys, pattern, reach, false);
        let AttentionSettings { scale, cap } = self.settings;
        if let Some(cap) = cap {
            pattern.chunks_mut(reach).for_each(|row| cap_row::<()>(self.level, row, scale, cap));
            if let Some(capped) = capped {
                capped.clone_from(pattern);
            }
        }
        let scale = if cap.is_some() { 1.0 } else { scale };
        for (query, row) in queries.zip(pattern.chunks_mut(reach)) {
            let mask = self.mask(batch, head, query).map(|mask| &mask[..reach]);
            softmax_row::<()>(self.level, row, mask, scale);
        }
    }

    /// All heads of a block of queries, `[queries, heads, width]`.
    fn forward_block(&self, batch: usize, first: usize, out: &mut [f32], pattern: &mut Vec<f32>) {
        let Sizes { heads, width, .. } = self.sizes;
        let queries = first..first + out.len() / (heads * width);
        let mut reach = None;
        for head in 0..heads {
            let same = self.mask.is_none_or(Mask::is_same_for_heads);
            let reach = match reach {
                Some(reach) if same => reach,
                _ => *reach.insert(self.reach(batch, head, queries.clone())),
            };
            self.pattern((batch, head), queries.clone(), reach, pattern, None);
            let values = self.v.at(batch, head / self.sizes.group(), 0);
            let into = &mut out[head * width..];
            let sizes = [queries.len(), width, reach];
            product(sizes, Matrix::rows(pattern, reach), values, into, heads * width, false);
        }
    }

    fn forward(&self) -> FlexTensor {
        let Sizes { batch, queries, heads, width, .. } = self.sizes;
        let (row, block) = (heads * width, self.sizes.block());
        let mut out = vec![0.0; batch * queries * row];
        if self.sizes.many() {
            let per_batch = queries.div_ceil(block).max(1);
            let mut parts = Vec::with_capacity(batch * per_batch);
            for (b, rows) in out.chunks_mut((queries * row).max(1)).enumerate() {
                parts.extend(rows.chunks_mut(block * row).enumerate().map(|(i, part)| (b, i * block, part)));
            }
            parts.into_par_iter().for_each_init(Vec::new, |pattern, (b, first, part)| {
                self.forward_block(b, first, part, pattern);
            });
        } else {
            let mut pattern = Vec::new();
            for (b, rows) in out.chunks_mut((queries * row).max(1)).enumerate() {
                for (i, part) in rows.chunks_mut(block * row).enumerate() {
                    self.forward_block(b, i * block, part, &mut pattern);
                }
            }
        }
        filled(out, [batch, queries, heads, width])
    }

    /// Gradients at queries, keys and values from that at the result, `[b, p, h, w]` each.
    fn backward(&self, dz: &Heads<'_>) -> [FlexTensor; 3] {
        let Sizes { batch, queries, heads, kv, keys, width } = self.sizes;
        let mut dq = vec![0.0; batch * heads * queries * width];
        let mut dk = vec![0.0; batch * kv * keys * width];
        let mut dv = vec![0.0; batch * kv * keys * width];
        let of_queries = (self.sizes.group() * queries * width).max(1);
        let tasks = dq
            .par_chunks_mut(of_queries)
            .zip(dk.par_chunks_mut(keys * width).zip(dv.par_chunks_mut(keys * width)))
            .enumerate();
        tasks.for_each(|(i, (dq, (dk, dv)))| self.backward_group(i / kv, i % kv, dz, dq, dk, dv));
        let turned =
            |values, heads, positions| filled(values, [batch, heads, positions, width]).transpose(1, 2);
        [turned(dq, heads, queries), turned(dk, kv, keys), turned(dv, kv, keys)]
    }

    /// Of the query heads that share a KV head: `dq` is `[group, queries, width]`, `dk` and `dv` `[keys, width]`.
    fn backward_group(
        &self,
        batch: usize,
        kv: usize,
        dz: &Heads<'_>,
        dq: &mut [f32],
        dk: &mut [f32],
        dv: &mut [f32],
    ) {
        let Sizes { queries, keys, width, .. } = self.sizes;
        let group = self.sizes.group();
        let block = (SCORES / keys).clamp(1, 64).min(queries.max(1));
        let (mut pattern, mut capped, mut slope) = (Vec::new(), Vec::new(), Vec::new());
        let AttentionSettings { scale, cap } = self.settings;
        for (member, dq) in dq.chunks_mut((queries * width).max(1)).enumerate() {
            let head = kv * group + member;
            for (i, dq) in dq.chunks_mut(block * width).enumerate() {
                let (first, many) = (i * block, dq.len() / width);
                let reach = self.reach(batch, head, first..first + many);
                self.pattern((batch, head), first..first + many, reach, &mut pattern, Some(&mut capped));
                let (upstream, p) = (dz.at(batch, head, first), Matrix::rows(&pattern, reach));
                product([reach, width, many], p.turned(), upstream, dv, width, true);
                slope.resize(many * reach, 0.0);
                let values = self.v.at(batch, kv, 0).turned();
                product([many, reach, width], upstream, values, &mut slope, reach, false);
                for (j, (p, slope)) in pattern.chunks(reach).zip(slope.chunks_mut(reach)).enumerate() {
                    let mask = self.mask(batch, head, first + j).map(|mask| &mask[..reach]);
                    let scale = if cap.is_some() { 1.0 } else { scale };
                    softmax_row_back::<()>(self.level, p, slope, mask, scale);
                }
                if let Some(cap) = cap {
                    cap_row_back::<()>(self.level, &capped, &mut slope, scale, cap);
                }
                let s = Matrix::rows(&slope, reach);
                product([many, width, reach], s, self.k.at(batch, kv, 0), dq, width, false);
                product([reach, width, many], s.turned(), self.q.at(batch, head, first), dk, width, true);
            }
        }
    }
}

type Given = ([Tensor<4>; 3], Option<Tensor<4, Bool>>);

/// Attention, or what was given again if it is not for us.
pub(crate) fn attention(
    given: [Tensor<4>; 3],
    mask: Option<Tensor<4, Bool>>,
    settings: AttentionSettings,
) -> Result<Tensor<4>, Given> {
    let [q, k, v] = &given;
    let Some(sizes) = Sizes::of(q.dims(), k.dims(), v.dims()) else { return Err((given, mask)) };
    let shape = [sizes.batch, sizes.heads, sizes.queries, sizes.keys];
    let Ok(known) = mask.clone().map(|mask| Mask::of(mask, shape)).transpose() else {
        return Err((given, mask));
    };
    if given.iter().any(Tensor::is_autodiff) {
        let inputs: Vec<_> = given.iter().filter_map(|x| tracked(x.clone().autodiff()).ok()).collect();
        let Ok([q, k, v]) = <[_; 3]>::try_from(inputs) else { return Err((given, mask)) };
        let nodes = [q.node(), k.node(), v.node()];
        let inner = [&q, &k, &v].map(|x| usable(x.primitive().clone()));
        let Some(z) = Work::new(sizes, inner.each_ref(), known.as_ref(), settings).map(|work| work.forward())
        else {
            return Err((given, mask));
        };
        let step = Attention { sizes, settings };
        return Ok(back_tracked(record(step, nodes, || (inner, known), z)));
    }
    let inputs: Vec<_> = given.iter().filter_map(|x| plain(x.clone()).ok()).collect();
    let Ok(inner) = <[_; 3]>::try_from(inputs) else { return Err((given, mask)) };
    let inner = inner.map(usable);
    match Work::new(sizes, inner.each_ref(), known.as_ref(), settings) {
        Some(work) => Ok(back(work.forward())),
        None => Err((given, mask)),
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

impl Backward<Flex, 3> for Attention {
    type State = ([FlexTensor; 3], Option<Mask>);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (inner, mask) = ops.state;
        let dz = usable(grads.consume::<Flex>(&ops.node));
        debug_assert_eq!(dims(&dz), dims(&inner[0]));
        let work = Work::new(self.sizes, inner.each_ref(), mask.as_ref(), self.settings);
        let (Some(work), Some(dz)) = (work, Heads::of(&dz)) else { return };
        let slopes = work.backward(&dz);
        for (parent, slope) in ops.parents.into_iter().zip(slopes) {
            if let Some(node) = parent {
                grads.register::<Flex>(node.id, slope);
            }
        }
    }
}
