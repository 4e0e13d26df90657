//! Mergers: neighbouring patches side by side, then two linear layers into the decoder's width.

use burn::tensor::Tensor;
use mmlens_core::{AxisName, HookError, Part, Point, Port, Run, Site, SiteSpec, Through};

use super::{QwenKind, QwenTowerConfig};
use crate::ZooError;
use crate::checkpoint::WeightSource;
use crate::parts::{Act, Linear, Named, Norm, named};

/// A merger.
#[derive(Debug, Clone)]
pub struct Merger {
    norm: Norm,
    up: Linear,
    down: Linear,
    unit: usize,
    /// Whether the norm is over all patches side by side.
    joined: bool,
}

impl Merger {
    /// Takes the merger before the decoder, `PREFIX.merger`.
    ///
    /// # Errors
    /// A tensor that is missing or misshapen.
    pub fn take(
        config: &QwenTowerConfig,
        weights: &mut impl WeightSource,
        prefix: &str,
    ) -> Result<Self, ZooError> {
        Self::taken(config, weights, &format!("{prefix}.merger"), false)
    }

    /// Takes a merger of an earlier block, `PREFIX.deepstack_merger_list.INDEX`.
    ///
    /// # Errors
    /// A tensor that is missing or misshapen.
    pub fn deep(
        config: &QwenTowerConfig,
        weights: &mut impl WeightSource,
        prefix: &str,
        index: usize,
    ) -> Result<Self, ZooError> {
        Self::taken(config, weights, &format!("{prefix}.deepstack_merger_list.{index}"), true)
    }

    fn taken(
        config: &QwenTowerConfig,
        weights: &mut impl WeightSource,
        name: &str,
        joined: bool,
    ) -> Result<Self, ZooError> {
        let (d, wide, out) = (config.d_model, config.d_model * config.unit(), config.out);
        let at = |part: &str| format!("{name}.{part}");
        let normed = if joined { wide } else { d };
        let (first, second) = match config.kind {
            QwenKind::Three => ("linear_fc1", "linear_fc2"),
            _ => ("mlp.0", "mlp.2"),
        };
        Ok(Self {
            norm: match config.kind {
                QwenKind::Two => Norm::layer(weights, &at("ln_q"), normed, EPS)?,
                QwenKind::TwoFive => Norm::rms(weights, &at("ln_q"), normed, EPS)?,
                QwenKind::Three => Norm::layer(weights, &at("norm"), normed, EPS)?,
            },
            up: Linear::take(weights, &at(first), wide, wide, true)?,
            down: Linear::take(weights, &at(second), wide, out, true)?,
            unit: config.unit(),
            joined,
        })
    }

    /// Where its sites are: that of the merger before the decoder, or of the one with this number.
    fn places(&self, index: Option<usize>) -> [Site; 4] {
        match index {
            None => [Point::In, Point::Pre, Point::Post, Point::Out].map(|p| Site::of(Part::Connector, p)),
            Some(index) => [Point::MlpIn, Point::MlpPre, Point::MlpPost, Point::Deepstack]
                .map(|point| Site::block(Part::Connector, index, point)),
        }
    }

    /// Its sites, in the order of a pass.
    pub fn sites(&self, index: Option<usize>) -> Vec<SiteSpec> {
        use AxisName::{DModel, Image, Neuron, Pos};
        let ([neurons, wide], out) = (self.up.weight().dims(), self.down.weight().dims()[0]);
        let widths = [(DModel, wide), (Neuron, neurons), (Neuron, neurons), (DModel, out)];
        let spec = |(site, (axis, length))| {
            SiteSpec::new(site, [(Image, Some(1)), (Pos, None), (axis, Some(length))])
        };
        self.places(index).into_iter().zip(widths).map(spec).collect()
    }

    /// Its weights by name. The norm of single patches reads what leaves the tower, and what it gives is put side by side, which is a
    /// site; the one over patches side by side lies between that site and the product.
    pub(crate) fn named(&self, index: Option<usize>) -> Vec<Named> {
        let [read, pre, post, out] = self.places(index);
        let at = |name: &str| match index {
            None => format!("connector.{name}"),
            Some(index) => format!("connector.blocks.{index}.mlp.{name}"),
        };
        let (norm, place) = (at("norm"), Port::at(read));
        let (from, port) = match self.joined {
            true => (place, Port::through(read, Through::Norm(norm.clone()))),
            false => (Port::at(Site::of(Part::Vision, Point::Features)), place),
        };
        let mut all: Vec<Named> = named::norm(&self.norm, norm, AxisName::DModel, Some(from), None).collect();
        all.extend(named::two_layers((&self.up, &self.down), at, port, [pre, post, out]));
        all
    }

    /// `[1, patches, d]` to `[1, positions, d of the decoder]`; `None` if the pass ended before.
    ///
    /// # Errors
    /// Whatever a site reports.
    pub fn forward(
        &self,
        x: Tensor<3>,
        index: Option<usize>,
        run: &mut Run,
    ) -> Result<Option<Tensor<3>>, HookError> {
        let [read, pre, post, out] = self.places(index);
        let [_, n, d] = x.dims();
        let beside = [1, n / self.unit, self.unit * d];
        let x = match self.joined {
            true => self.norm.apply(run.at(read, x.reshape(beside))?),
            false => run.at(read, self.norm.apply(x).reshape(beside))?,
        };
        if run.done() {
            return Ok(None);
        }
        let x = run.at(pre, self.up.apply(x))?;
        let x = run.at(post, Act::Gelu.apply(x))?;
        if run.done() {
            return Ok(None);
        }
        Ok(Some(run.at(out, self.down.apply(x))?))
    }
}

/// What norms of this family's towers add to the variance.
pub(super) const EPS: f64 = 1e-6;
