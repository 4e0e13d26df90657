//! The two kinds of MLP.

use burn::tensor::Tensor;
use mmlens_core::{AxisName, HookError, Part, Point, Run, Site, SiteSpec};

use super::{Act, Linear};

/// A feed-forward layer.
#[derive(Debug, Clone)]
pub enum Mlp {
    /// `W2 act(W1 x)`.
    Plain {
        /// W1.
        up: Linear,
        /// W2.
        down: Linear,
        /// The nonlinearity.
        act: Act,
    },
    /// `Wd (act(Wg x) * Wu x)` (Shazeer 2020).
    Gated {
        /// Wg.
        gate: Linear,
        /// Wu.
        up: Linear,
        /// Wd.
        down: Linear,
        /// The nonlinearity.
        act: Act,
    },
}

impl Mlp {
    /// Whether it has a gate branch, and so an `mlp.gate` site.
    pub fn is_gated(&self) -> bool {
        matches!(self, Self::Gated { .. })
    }

    /// Number of neurons.
    pub fn neurons(&self) -> usize {
        let (Self::Plain { up, .. } | Self::Gated { up, .. }) = self;
        up.weight().dims()[0]
    }

    /// Its sites, in the order of a pass, from `mlp.gate` (of a gated one) to `mlp.post`. `batch` names the first axis.
    pub fn sites(&self, (part, block): (Part, usize), batch: AxisName) -> Vec<SiteSpec> {
        let neurons = [(batch, None), (AxisName::Pos, None), (AxisName::Neuron, Some(self.neurons()))];
        let gate = self.is_gated().then_some(Point::MlpGate);
        let points = gate.into_iter().chain([Point::MlpPre, Point::MlpPost]);
        points.map(|point| SiteSpec::new(Site::block(part, block, point), neurons)).collect()
    }

    /// `[batch, pos, d]` to the same.
    ///
    /// # Errors
    /// Whatever a site reports.
    pub fn forward(
        &self,
        x: Tensor<3>,
        part: Part,
        block: usize,
        run: &mut Run,
    ) -> Result<Tensor<3>, HookError> {
        let site = |point| Site::block(part, block, point);
        let (post, down) = match self {
            Self::Plain { up, down, act } => {
                let pre = run.at(site(Point::MlpPre), up.apply(x))?;
                (act.apply(pre), down)
            }
            Self::Gated { gate, up, down, act } => {
                let gate = run.at(site(Point::MlpGate), gate.apply(x.clone()))?;
                let pre = run.at(site(Point::MlpPre), up.apply(x))?;
                (act.gate(gate, pre), down)
            }
        };
        let post = run.at(site(Point::MlpPost), post)?;
        Ok(down.apply(post))
    }
}
