//! Multi-head attention: grouped keys and values, rotary or not, normed or not, capped or not, cached or not,
//! within a sequence or across two.

use burn::tensor::Tensor;
use mmlens_core::{AxisName, Held, HookError, MASKED, Part, Point, Run, Site, SiteSpec, Strip};
use mmlens_kernels::{AttentionSettings, attention, plain::spread, softmax};

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
    fn turns(&self, rotary: bool) -> bool {
        rotary || self.norms.is_some()
    }

    /// Its sites, in the order of a pass, from `attn.q_in` to `attn.result`, in a stream of a width; `rotary` says whether it
    /// will be given a rotation. `batch` names the first axis.
    pub fn sites(
        &self,
        (part, block): (Part, usize),
        width: usize,
        batch: AxisName,
        rotary: bool,
    ) -> Vec<SiteSpec> {
        use AxisName::{DHead, DModel, Head, Key, Pos, Query};
        let AttentionShape { heads, kv_heads, width: own, .. } = self.shape;
        let spec = |point, axes: [_; 4]| SiteSpec::new(Site::block(part, block, point), axes);
        let narrow =
            |point, n| spec(point, [(batch, None), (Pos, None), (Head, Some(n)), (DHead, Some(own))]);
        let wide =
            |point, n| spec(point, [(batch, None), (Pos, None), (Head, Some(n)), (DModel, Some(width))]);
        let pairs = |point| spec(point, [(batch, None), (Head, Some(heads)), (Query, None), (Key, None)]);
        let mut sites = vec![wide(Point::QIn, heads), wide(Point::KIn, kv_heads), wide(Point::VIn, kv_heads)];
        sites.extend([narrow(Point::Q, heads), narrow(Point::K, kv_heads), narrow(Point::V, kv_heads)]);
        if self.turns(rotary) {
            sites.extend([narrow(Point::QRot, heads), narrow(Point::KRot, kv_heads)]);
        }
        sites.extend([pairs(Point::Scores), pairs(Point::Pattern)]);
        sites.extend([narrow(Point::Z, heads), wide(Point::Result, heads)]);
        sites
    }

    /// The stream, `[batch, pos, d]`, to what is added to it, `[batch, pos, d]`. `before` is the norm between the stream and
    /// the projections.
    ///
    /// Each head is given a copy of the stream of its own only if `attn.q_in`, `k_in` or `v_in` is wanted. The explicit
    /// form is computed only if `attn.scores` or `attn.pattern` is wanted, some queries at a time unless all of it is
    /// ([`Run::held`]), and per-head results only if `attn.result` is.
    ///
    /// # Errors
    /// Whatever a site reports.
    #[allow(
        clippy::too_many_arguments,
        reason = "a norm, a rotation, a mask and a cache, beside what every part is given"
    )]
    pub fn forward(
        &self,
        x: Tensor<3>,
        before: Option<&Norm>,
        (part, block): (Part, usize),
        rotation: Option<&Rotation>,
        masking: &Masking,
        cache: Option<&mut KvCache>,
        run: &mut Run,
    ) -> Result<Tensor<3>, HookError> {
        let site = |point| Site::block(part, block, point);
        let AttentionShape { heads, kv_heads, .. } = self.shape;
        let q_own = copies(&x, before, site(Point::QIn), heads, run)?;
        let k_own = copies(&x, before, site(Point::KIn), kv_heads, run)?;
        let v_own = copies(&x, before, site(Point::VIn), kv_heads, run)?;
        let x = before.map_or(x.clone(), |norm| norm.apply(x));
        let project = |linear, own, heads| match own {
            Some(own) => self.heads_apart(linear, own),
            None => self.heads(linear, x.clone(), heads),
        };
        let mut q = run.at(site(Point::Q), project(&self.q, q_own, heads))?;
        let mut k = run.at(site(Point::K), project(&self.k, k_own, kv_heads))?;
        let mut v = run.at(site(Point::V), project(&self.v, v_own, kv_heads))?;
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

    /// `[batch, pos, head, d]`, what each head reads, to `[batch, pos, head, d_head]`.
    fn heads_apart(&self, linear: &Linear, x: Tensor<4>) -> Tensor<4> {
        let ([b, p, heads, d], width) = (x.dims(), self.shape.width);
        let weight = linear.weight().clone().reshape([heads, width, d]).swap_dims(1, 2);
        let y = x.reshape([b * p, heads, d]).swap_dims(0, 1).matmul(weight);
        let y = y.swap_dims(0, 1).reshape([b, p, heads, width]);
        match linear.bias() {
            Some(bias) => y + bias.clone().reshape([1, 1, heads, width]),
            None => y,
        }
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
        let (scores, pattern) = (site(places.scores), site(places.pattern));
        let z = match run.held([scores, pattern]) {
            Held::Nothing => attention(q, k, v, masking.mask(), AttentionSettings { scale, cap }),
            held => {
                let (q, k, v) = (q.swap_dims(1, 2), spread(k, heads / kv_heads), spread(v, heads / kv_heads));
                let keys = k.dims()[2];
                let mask = masking.expanded(b, heads);
                let some = if held == Held::Whole { p } else { Strip::queries_of(b, heads, keys).min(p) };
                let mut parts = Vec::with_capacity(p.div_ceil(some.max(1)));
                for from in (0..p).step_by(some.max(1)) {
                    let many = some.min(p - from);
                    let strip =
                        Strip { rows: 0..b, queries: from..from + many, keys: 0..keys, of: [b, p, keys] };
                    let own = q.clone().narrow(2, from, many);
                    let mut x = own.matmul(k.clone().swap_dims(2, 3)).mul_scalar(scale);
                    if let Some(cap) = cap {
                        x = x.div_scalar(cap).tanh().mul_scalar(cap);
                    }
                    if let Some(mask) = &mask {
                        x = x.mask_fill(mask.clone().narrow(2, from, many), MASKED);
                    }
                    let mut at = |site, x| match held {
                        Held::Whole => run.at(site, x),
                        _ => run.at_strip(site, &strip, x),
                    };
                    let x = at(scores, x)?;
                    parts.push(at(pattern, softmax(x, 1.0, None))?.matmul(v.clone()));
                }
                let z = if parts.len() == 1 { parts.swap_remove(0) } else { Tensor::cat(parts, 2) };
                z.swap_dims(1, 2)
            }
        };
        let z = run.at(site(places.z), z)?;
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

/// If they are wanted, copies of the stream for every head, then normed: `[batch, pos, head, d]`.
fn copies(
    x: &Tensor<3>,
    norm: Option<&Norm>,
    site: Site,
    heads: usize,
    run: &mut Run,
) -> Result<Option<Tensor<4>>, HookError> {
    if !run.wants(site) {
        return Ok(None);
    }
    let [b, p, d] = x.dims();
    let own = run.at(site, x.clone().unsqueeze_dim::<4>(2).expand([b, p, heads, d]))?;
    Ok(Some(norm.map_or(own.clone(), |norm| norm.apply(own))))
}

/// What cross-attention attends to.
#[derive(Debug, Clone)]
pub struct Context {
    /// `[batch, context pos, d]`.
    pub states: Tensor<3>,
    /// Which of them are padding.
    pub masking: Masking,
}
