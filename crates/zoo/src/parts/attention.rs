//! Multi-head attention: grouped keys and values, rotary or not, normed or not, capped or not, cached or not,
//! within a sequence or across two.

use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Tensor, activation::softmax, module::attention};
use mmlens_core::{HookError, MASKED, Part, Point, Run, Site};

use super::{KvCache, Linear, Masking, Norm, Rotation};

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
    /// Scores `s` become `cap tanh(s / cap)` (Gemma 2).
    pub cap: Option<f32>,
}

impl AttentionShape {
    /// As many key heads as query heads, scaled by the root of their width.
    pub fn plain(heads: usize, width: usize) -> Self {
        Self { heads, kv_heads: heads, width, scale: (width as f32).powf(-0.5), cap: None }
    }
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
    /// Norms of each head's queries and keys, before rotary (Qwen3).
    pub norms: Option<(Norm, Norm)>,
    /// Sizes.
    pub shape: AttentionShape,
}

/// Where the two kinds of attention publish what they compute.
struct Places {
    scores: Point,
    pattern: Point,
    z: Point,
    result: Point,
}

const WITHIN: Places =
    Places { scores: Point::Scores, pattern: Point::Pattern, z: Point::Z, result: Point::Result };

const ACROSS: Places = Places {
    scores: Point::CrossScores,
    pattern: Point::CrossPattern,
    z: Point::CrossZ,
    result: Point::CrossResult,
};

impl Attention {
    /// Whether there are `attn.q_rot` and `attn.k_rot`, given whether there is a rotation.
    pub(super) fn turns(&self, rotary: bool) -> bool {
        rotary || self.norms.is_some()
    }

    /// `[batch, pos, d]` to what is added to the stream, `[batch, pos, d]`.
    ///
    /// The explicit form, which holds all scores at once, is computed only if `attn.scores` or `attn.pattern` is
    /// wanted or scores are capped, and per-head results only if `attn.result` is.
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
        let mut q = run.at(site(Point::Q), self.heads(&self.q, x.clone(), self.shape.heads))?;
        let mut k = run.at(site(Point::K), self.heads(&self.k, x.clone(), self.shape.kv_heads))?;
        let mut v = run.at(site(Point::V), self.heads(&self.v, x, self.shape.kv_heads))?;
        if let Some((q_norm, k_norm)) = &self.norms {
            (q, k) = (q_norm.apply(q), k_norm.apply(k));
        }
        if let Some(rotation) = rotation {
            (q, k) = (rotation.apply(q), rotation.apply(k));
        }
        if self.turns(rotation.is_some()) {
            (q, k) = (run.at(site(Point::QRot), q)?, run.at(site(Point::KRot), k)?);
        }
        if let Some(cache) = cache {
            (k, v) = cache.extend(block, k, v);
        }
        self.mix(q, k, v, masking, site, &WITHIN, run)
    }

    /// Cross-attention: queries of `x`, `[batch, pos, d]`, over keys and values of `context`,
    /// `[batch, context pos, d of the context]`.
    ///
    /// With a cache, keys and values are computed for the first token alone.
    ///
    /// # Errors
    /// Whatever a site reports.
    pub fn across(
        &self,
        x: Tensor<3>,
        context: &Context,
        (part, block): (Part, usize),
        cache: Option<&mut KvCache>,
        run: &mut Run,
    ) -> Result<Tensor<3>, HookError> {
        let site = |point| Site::block(part, block, point);
        let q = run.at(site(Point::CrossQ), self.heads(&self.q, x, self.shape.heads))?;
        let (k, v) = match cache.as_ref().and_then(|cache| cache.cross(block)) {
            Some(known) => known,
            None => (
                self.heads(&self.k, context.states.clone(), self.shape.kv_heads),
                self.heads(&self.v, context.states.clone(), self.shape.kv_heads),
            ),
        };
        let (k, v) = (run.at(site(Point::CrossK), k)?, run.at(site(Point::CrossV), v)?);
        if let Some(cache) = cache {
            cache.keep_cross(block, k.clone(), v.clone());
        }
        self.mix(q, k, v, &context.masking, site, &ACROSS, run)
    }

    fn heads(&self, linear: &Linear, x: Tensor<3>, heads: usize) -> Tensor<4> {
        let [b, p, _] = x.dims();
        linear.apply(x).reshape([b, p, heads, self.shape.width])
    }

    #[allow(clippy::too_many_arguments, reason = "the seven that an attention layer has")]
    fn mix(
        &self,
        q: Tensor<4>,
        k: Tensor<4>,
        v: Tensor<4>,
        masking: &Masking,
        site: impl Fn(Point) -> Site,
        places: &Places,
        run: &mut Run,
    ) -> Result<Tensor<3>, HookError> {
        let AttentionShape { heads, kv_heads, width, scale, cap } = self.shape;
        let [b, p, ..] = q.dims();
        let (q, k, v) = (q.swap_dims(1, 2), spread(k, heads / kv_heads), spread(v, heads / kv_heads));
        let mask = masking.expanded(b, heads);
        let explicit = cap.is_some() || run.wants(site(places.scores)) || run.wants(site(places.pattern));
        let z = if explicit {
            let mut scores = q.matmul(k.swap_dims(2, 3)).mul_scalar(scale);
            if let Some(cap) = cap {
                scores = scores.div_scalar(cap).tanh().mul_scalar(cap);
            }
            if let Some(mask) = mask {
                scores = scores.mask_fill(mask, MASKED);
            }
            let scores = run.at(site(places.scores), scores)?;
            run.at(site(places.pattern), softmax(scores, 3))?.matmul(v)
        } else {
            let options =
                AttentionModuleOptions { scale: Some(f64::from(scale)), softcap: None, is_causal: false };
            attention(q, k, v, mask, None, options)
        };
        let z = run.at(site(places.z), z.swap_dims(1, 2))?;
        if run.wants(site(places.result)) {
            let result = run.at(site(places.result), self.results(z))?;
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

/// What cross-attention attends to.
#[derive(Debug, Clone)]
pub struct Context {
    /// `[batch, context pos, d]`.
    pub states: Tensor<3>,
    /// Which of them are padding.
    pub masking: Masking,
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
