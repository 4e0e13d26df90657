//! The transformer block, with all its sites.

use burn::tensor::Tensor;
use mmlens_core::{AxisName, HookError, Part, Point, Run, Site, SiteSpec};

use super::{Attention, Context, KvCache, Masking, Mlp, Norm, Rotation};

/// A residual block.
#[derive(Debug, Clone)]
pub struct Block {
    /// Attention.
    pub attn: Attention,
    /// Cross-attention with the norm of its place, where there is one.
    pub cross: Option<(Norm, Attention)>,
    /// MLP.
    pub mlp: Mlp,
    /// Where the norms are.
    pub norms: Norms,
}

/// Where a block's norms are.
#[derive(Debug, Clone)]
pub enum Norms {
    /// Before attention and MLP: `x + attn(norm(x))`, then `x + mlp(norm(x))`.
    Pre {
        /// Before attention.
        attn: Norm,
        /// Before the MLP.
        mlp: Norm,
    },
    /// Before and after both (Gemma 2): `x + after(attn(before(x)))`. `attn_out` and `mlp_out` are what is added,
    /// after the second norm.
    Around {
        /// Before and after attention.
        attn: (Norm, Norm),
        /// Before and after the MLP.
        mlp: (Norm, Norm),
    },
    /// After each sum (BERT): `norm(x + attn(x))`, then `norm(x + mlp(x))`. `resid_mid`, `resid_cross` and
    /// `resid_post` are the sums before their norm, `normalized_resid_mid` and so on what comes of them; the next block's
    /// `resid_pre` is `normalized_resid_post`.
    Post {
        /// After attention's sum.
        attn: Norm,
        /// After the MLP's sum.
        mlp: Norm,
    },
}

impl Block {
    /// A pre-norm block without cross-attention.
    pub fn pre_norm(attn_norm: Norm, attn: Attention, mlp_norm: Norm, mlp: Mlp) -> Self {
        Self { attn, cross: None, mlp, norms: Norms::Pre { attn: attn_norm, mlp: mlp_norm } }
    }

    /// `[batch, pos, d]` to the same.
    ///
    /// # Errors
    /// Whatever a site reports.
    pub fn forward(
        &self,
        x: Tensor<3>,
        at: (Part, usize),
        rotation: Option<&Rotation>,
        masking: &Masking,
        cache: Option<&mut KvCache>,
        run: &mut Run,
    ) -> Result<Tensor<3>, HookError> {
        self.forward_across(x, at, rotation, masking, None, cache, run)
    }

    /// As [`Self::forward`], attending to a context as well, if the block has cross-attention.
    ///
    /// # Errors
    /// Whatever a site reports.
    #[allow(clippy::too_many_arguments, reason = "one more than a block without cross-attention has")]
    pub fn forward_across(
        &self,
        x: Tensor<3>,
        (part, index): (Part, usize),
        rotation: Option<&Rotation>,
        masking: &Masking,
        context: Option<&Context>,
        mut cache: Option<&mut KvCache>,
        run: &mut Run,
    ) -> Result<Tensor<3>, HookError> {
        let site = |point| Site::block(part, index, point);
        let at = (part, index);
        let before = |mlp: bool| match &self.norms {
            Norms::Pre { attn, mlp: other } => Some(if mlp { other } else { attn }),
            Norms::Around { attn, mlp: other } => Some(if mlp { &other.0 } else { &attn.0 }),
            Norms::Post { .. } => None,
        };
        let after = |y: Tensor<3>, mlp: bool| match &self.norms {
            Norms::Around { attn, mlp: other } => (if mlp { &other.1 } else { &attn.1 }).apply(y),
            _ => y,
        };
        let x = run.at(site(Point::ResidPre), x)?;
        let attn =
            self.attn.forward(x.clone(), before(false), at, rotation, masking, cache.as_deref_mut(), run)?;
        let x = x + run.at(site(Point::AttnOut), after(attn, false))?;
        let mut x = run.at(site(Point::ResidMid), x)?;
        if let Norms::Post { attn, .. } = &self.norms {
            x = run.at(site(Point::NormalizedResidMid), attn.apply(x))?;
        }
        if let (Some((norm, cross)), Some(context)) = (&self.cross, context) {
            let post = matches!(self.norms, Norms::Post { .. });
            let y = if post { x.clone() } else { norm.apply(x.clone()) };
            let y = cross.across(y, context, at, cache, run)?;
            x = x + run.at(site(Point::CrossOut), y)?;
            x = run.at(site(Point::ResidCross), x)?;
            if post {
                x = run.at(site(Point::NormalizedResidCross), norm.apply(x))?;
            }
        }
        let read = run.at(site(Point::MlpIn), x.clone())?;
        let read = before(true).map_or(read.clone(), |norm| norm.apply(read));
        let mlp = self.mlp.forward(read, part, index, run)?;
        let x = x + run.at(site(Point::MlpOut), after(mlp, true))?;
        let x = run.at(site(Point::ResidPost), x)?;
        match &self.norms {
            Norms::Post { mlp, .. } => run.at(site(Point::NormalizedResidPost), mlp.apply(x)),
            _ => Ok(x),
        }
    }

    /// Its sites, in the order of a pass, in a stream of a width. `batch` names the first axis.
    pub fn sites(
        &self,
        part: Part,
        index: usize,
        width: usize,
        batch: AxisName,
        rotary: bool,
    ) -> Vec<SiteSpec> {
        use AxisName::{DHead, DModel, Head, Key, Pos, Query};
        let site = |point| Site::block(part, index, point);
        let stream = vec![(batch, None), (Pos, None), (DModel, Some(width))];
        let heads = |n: usize, d: usize| vec![(batch, None), (Pos, None), (Head, Some(n)), (DHead, Some(d))];
        let pairs = |n: usize| vec![(batch, None), (Head, Some(n)), (Query, None), (Key, None)];
        let result = |n: usize| vec![(batch, None), (Pos, None), (Head, Some(n)), (DModel, Some(width))];
        let spec = |(point, axes): (Point, Vec<(AxisName, Option<usize>)>)| SiteSpec::new(site(point), axes);
        let mut sites = vec![spec((Point::ResidPre, stream.clone()))];
        sites.extend(self.attn.sites((part, index), width, batch, rotary));
        let mut own = vec![(Point::AttnOut, stream.clone()), (Point::ResidMid, stream.clone())];
        let post = matches!(self.norms, Norms::Post { .. });
        let normed = |point| post.then(|| (point, stream.clone()));
        own.extend(normed(Point::NormalizedResidMid));
        if let Some((_, cross)) = &self.cross {
            let s = cross.shape;
            own.extend([
                (Point::CrossQ, heads(s.heads, s.width)),
                (Point::CrossK, heads(s.kv_heads, s.width)),
                (Point::CrossV, heads(s.kv_heads, s.width)),
                (Point::CrossScores, pairs(s.heads)),
                (Point::CrossPattern, pairs(s.heads)),
                (Point::CrossZ, heads(s.heads, s.width)),
                (Point::CrossResult, result(s.heads)),
                (Point::CrossOut, stream.clone()),
                (Point::ResidCross, stream.clone()),
            ]);
            own.extend(normed(Point::NormalizedResidCross));
        }
        own.push((Point::MlpIn, stream.clone()));
        sites.extend(own.into_iter().map(spec));
        sites.extend(self.mlp.sites((part, index), batch));
        let after = [(Point::MlpOut, stream.clone()), (Point::ResidPost, stream.clone())].into_iter();
        sites.extend(after.chain(normed(Point::NormalizedResidPost)).map(spec));
        sites
    }
}
