//! The pre-norm transformer block, with all its sites.

use burn::tensor::Tensor;
use mmlens_core::{AxisName, HookError, Part, Point, Run, Site, SiteSpec};

use super::{Attention, KvCache, Masking, Mlp, Norm, Rotation};

/// `x + attn(norm(x))`, then `x + mlp(norm(x))`.
#[derive(Debug, Clone)]
pub struct Block {
    /// Before attention.
    pub attn_norm: Norm,
    /// Attention.
    pub attn: Attention,
    /// Before the MLP.
    pub mlp_norm: Norm,
    /// MLP.
    pub mlp: Mlp,
}

impl Block {
    /// `[batch, pos, d]` to the same.
    ///
    /// # Errors
    /// Whatever a site reports.
    pub fn forward(
        &self,
        x: Tensor<3>,
        (part, index): (Part, usize),
        rotation: Option<&Rotation>,
        masking: &Masking,
        cache: Option<&mut KvCache>,
        run: &mut Run,
    ) -> Result<Tensor<3>, HookError> {
        let site = |point| Site::block(part, index, point);
        let x = run.at(site(Point::ResidPre), x)?;
        let attn = self.attn.forward(
            self.attn_norm.apply(x.clone()),
            (part, index),
            rotation,
            masking,
            cache,
            run,
        )?;
        let x = x + run.at(site(Point::AttnOut), attn)?;
        let x = run.at(site(Point::ResidMid), x)?;
        let mlp = self.mlp.forward(self.mlp_norm.apply(x.clone()), part, index, run)?;
        let x = x + run.at(site(Point::MlpOut), mlp)?;
        run.at(site(Point::ResidPost), x)
    }
}

/// The sites of a block, in the order of a pass. `batch` names the first axis.
pub fn block_sites(
    block: &Block,
    part: Part,
    index: usize,
    width: usize,
    batch: AxisName,
    rotary: bool,
) -> Vec<SiteSpec> {
    use AxisName::{DHead, DModel, Head, Key, Neuron, Pos, Query};
    let shape = block.attn.shape;
    let stream = vec![(batch, None), (Pos, None), (DModel, Some(width))];
    let heads = |n: usize| vec![(batch, None), (Pos, None), (Head, Some(n)), (DHead, Some(shape.width))];
    let pairs = vec![(batch, None), (Head, Some(shape.heads)), (Query, None), (Key, None)];
    let result = vec![(batch, None), (Pos, None), (Head, Some(shape.heads)), (DModel, Some(width))];
    let neurons = vec![(batch, None), (Pos, None), (Neuron, Some(block.mlp.neurons()))];
    let mut sites = vec![
        (Point::ResidPre, stream.clone()),
        (Point::Q, heads(shape.heads)),
        (Point::K, heads(shape.kv_heads)),
        (Point::V, heads(shape.kv_heads)),
    ];
    if rotary {
        sites.push((Point::QRot, heads(shape.heads)));
        sites.push((Point::KRot, heads(shape.kv_heads)));
    }
    sites.extend([
        (Point::Scores, pairs.clone()),
        (Point::Pattern, pairs),
        (Point::Z, heads(shape.heads)),
        (Point::Result, result),
        (Point::AttnOut, stream.clone()),
        (Point::ResidMid, stream.clone()),
    ]);
    if block.mlp.is_gated() {
        sites.push((Point::MlpGate, neurons.clone()));
    }
    sites.extend([
        (Point::MlpPre, neurons.clone()),
        (Point::MlpPost, neurons),
        (Point::MlpOut, stream.clone()),
        (Point::ResidPost, stream),
    ]);
    sites.into_iter().map(|(point, axes)| SiteSpec::new(Site::block(part, index, point), axes)).collect()
}
