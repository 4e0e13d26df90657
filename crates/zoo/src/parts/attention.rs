//! Multi-head attention with grouped keys and values, rotary or not, cached or not.

use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Bool, Device, Tensor, TensorData, activation::softmax, module::attention};
use mmlens_core::{HookError, MASKED, Part, Point, Run, Site};

use super::{Linear, Rotation};

/// Sizes of an attention layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionShape {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; a divisor of `heads`.
    pub kv_heads: usize,
    /// Width of a head.
    pub width: usize,
    /// Multiplies the scores.
    pub scale: f32,
}

/// Attention (Vaswani et al. 2017; grouped heads: Ainslie et al. 2023).
#[derive(Debug, Clone)]
pub struct Attention {
    /// Query projection.
    pub q: Linear,
    /// Key projection.
    pub k: Linear,
    /// Value projection.
    pub v: Linear,
    /// Output projection.
    pub o: Linear,
    /// Sizes.
    pub shape: AttentionShape,
}

/// Which pairs may not attend: `true` where masked, `[batch or 1, 1, query, key]`.
#[derive(Debug, Clone, Default)]
pub struct Masking(Option<Tensor<4, Bool>>);

impl Masking {
    /// Everything attends to everything.
    pub fn none() -> Self {
        Self(None)
    }

    /// A position attends to itself and what comes before it, but not to padding.
    ///
    /// `past` positions are cached; `length` are new; row `r` starts with `pads[r]` positions of padding. A padding
    /// position attends to itself alone, so that its values stay finite.
    pub fn causal(pads: &[usize], past: usize, length: usize, device: &Device) -> Self {
        let padded = pads.iter().any(|p| *p > 0);
        if !padded && length == 1 {
            return Self(None);
        }
        let rows = if padded { pads } else { &[0] };
        let keys = past + length;
        let mut masked = Vec::with_capacity(rows.len() * length * keys);
        for pad in rows {
            for query in past..keys {
                masked
                    .extend((0..keys).map(|key| key != query && (key > query || key < *pad || query < *pad)));
            }
        }
        Self(Some(Tensor::from_data(TensorData::new(masked, [rows.len(), 1, length, keys]), device)))
    }
}

/// Keys and values of the positions seen so far, for every block.
///
/// Keys are kept after rotary.
#[derive(Debug, Clone, Default)]
pub struct KvCache {
    blocks: Vec<(Tensor<4>, Tensor<4>)>,
}

impl KvCache {
    /// Number of cached positions.
    pub fn positions(&self) -> usize {
        self.blocks.first().map_or(0, |(k, _)| k.dims()[1])
    }

    /// Each row `times` over, one after the other: `[a, b]` becomes `[a, a, b, b]`. Many continuations then share
    /// one prompt.
    #[must_use]
    pub fn fork(&self, times: usize) -> Self {
        let fork = |x: &Tensor<4>| {
            let [b, p, h, d] = x.dims();
            x.clone().unsqueeze_dim::<5>(1).expand([b, times, p, h, d]).reshape([b * times, p, h, d])
        };
        Self { blocks: self.blocks.iter().map(|(k, v)| (fork(k), fork(v))).collect() }
    }

    fn extend(&mut self, block: usize, k: Tensor<4>, v: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let joined = match self.blocks.get(block) {
            Some((past_k, past_v)) => {
                (Tensor::cat(vec![past_k.clone(), k], 1), Tensor::cat(vec![past_v.clone(), v], 1))
            }
            None => (k, v),
        };
        match self.blocks.get_mut(block) {
            Some(slot) => *slot = joined.clone(),
            None => self.blocks.push(joined.clone()),
        }
        joined
    }
}

impl Attention {
    /// `[batch, pos, d]` to what is added to the stream, `[batch, pos, d]`.
    ///
    /// The explicit form, which holds all scores at once, is computed only if `attn.scores` or `attn.pattern` is
    /// wanted, and per-head results only if `attn.result` is.
    ///
    /// # Errors
    /// Whatever a site reports.
    pub fn forward(
        &self,
        x: Tensor<3>,
        (part, block): (Part, usize),
        rotation: Option<&Rotation>,
        masking: &Masking,
        cache: Option<&mut KvCache>,
        run: &mut Run,
    ) -> Result<Tensor<3>, HookError> {
        let site = |point| Site::block(part, block, point);
        let AttentionShape { heads, kv_heads, width, scale } = self.shape;
        let [b, p, _] = x.dims();
        let mut q = run.at(site(Point::Q), self.q.apply(x.clone()).reshape([b, p, heads, width]))?;
        let mut k = run.at(site(Point::K), self.k.apply(x.clone()).reshape([b, p, kv_heads, width]))?;
        let mut v = run.at(site(Point::V), self.v.apply(x).reshape([b, p, kv_heads, width]))?;
        if let Some(rotation) = rotation {
            q = run.at(site(Point::QRot), rotation.apply(q))?;
            k = run.at(site(Point::KRot), rotation.apply(k))?;
        }
        if let Some(cache) = cache {
            (k, v) = cache.extend(block, k, v);
        }
        let (q, k, v) = (q.swap_dims(1, 2), spread(k, heads / kv_heads), spread(v, heads / kv_heads));
        let keys = k.dims()[2];
        let mask = masking.0.clone().map(|m| m.expand([b, heads, p, keys]));
        let z = if run.wants(site(Point::Scores)) || run.wants(site(Point::Pattern)) {
            let mut scores = q.matmul(k.swap_dims(2, 3)).mul_scalar(scale);
            if let Some(mask) = mask {
                scores = scores.mask_fill(mask, MASKED);
            }
            let scores = run.at(site(Point::Scores), scores)?;
            run.at(site(Point::Pattern), softmax(scores, 3))?.matmul(v)
        } else {
            let options =
                AttentionModuleOptions { scale: Some(f64::from(scale)), softcap: None, is_causal: false };
            attention(q, k, v, mask, None, options)
        };
        let z = run.at(site(Point::Z), z.swap_dims(1, 2))?;
        if run.wants(site(Point::Result)) {
            let result = run.at(site(Point::Result), self.results(z))?;
            let sum = result.sum_dim(2).squeeze_dim::<3>(2);
            return Ok(match self.o.bias() {
                Some(bias) => sum + bias.clone().unsqueeze(),
                None => sum,
            });
        }
        Ok(self.o.apply(z.reshape([b, p, heads * width])))
    }

    /// Each head's own share of the output, `[batch, pos, head, d]`.
    fn results(&self, z: Tensor<4>) -> Tensor<4> {
        let [b, p, heads, width] = z.dims();
        let d = self.o.weight().dims()[0];
        let per_head = self.o.weight().clone().transpose().reshape([heads, width, d]);
        let z = z.reshape([b * p, heads, width]).swap_dims(0, 1);
        z.matmul(per_head).swap_dims(0, 1).reshape([b, p, heads, d])
    }
}

/// `[b, p, kv, w]` to `[b, kv * group, p, w]`: each KV head serves a group of query heads.
fn spread(x: Tensor<4>, group: usize) -> Tensor<4> {
    let x = x.swap_dims(1, 2);
    if group == 1 {
        return x;
    }
    let [b, kv, p, w] = x.dims();
    x.unsqueeze_dim::<5>(2).expand([b, kv, group, p, w]).reshape([b, kv * group, p, w])
}
