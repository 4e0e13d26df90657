//! Dual encoders: a tower for pictures, a tower for texts, and the angle between what they give. The network alone.
//!
//! Follows `CLIPModel` and `SiglipModel` of transformers.

use burn::tensor::{Device, Tensor};
use mmlens_core::{
    Anatomy, AnyTensor, AxisName, Inputs, Pairs, Part, Point, Port, Run, Site, SiteSpec, WeightSpec,
};

use super::{ClipConfig, DualKind, PoolingHead, TextTower};
use crate::ZooError;
use crate::checkpoint::WeightSource;
use crate::parts::{Linear, Named, Norm, named};
use crate::self_check::{pattern, small_inputs};
use crate::vision::VisionTower;

/// The network.
#[derive(Debug, Clone)]
pub struct ClipModel {
    /// The image tower.
    pub vision: VisionTower,
    /// The text tower.
    pub text: TextTower,
    kind: DualKind,
    post_norm: Norm,
    pooling: Pooling,
    text_projection: Linear,
    scale: Tensor<1>,
    bias: Option<Tensor<1>>,
    shared: usize,
}

/// From the tower's last states to one vector for a picture.
#[derive(Debug, Clone)]
enum Pooling {
    /// The class token through the norm, then a product.
    Class(Linear),
    /// All patches through the norm, then attention.
    Attention(Box<PoolingHead>),
}

impl ClipModel {
    /// Takes all weights. `logit_scale` and `logit_bias` are asked for as `[1]`.
    ///
    /// # Errors
    /// A tensor that is missing or misshapen.
    pub fn take(config: &ClipConfig, weights: &mut impl WeightSource) -> Result<Self, ZooError> {
        let ClipConfig { kind, vision: image, text, shared } = config.clone();
        let (d_image, d_text, eps) = (image.d_model, text.d_model, image.eps);
        let (pooling, text_projection, bias) = match kind {
            DualKind::Clip => (
                Pooling::Class(Linear::take(weights, "visual_projection", d_image, shared, false)?),
                Linear::take(weights, "text_projection", d_text, shared, false)?,
                None,
            ),
            DualKind::Siglip => (
                Pooling::Attention(Box::new(PoolingHead::take(&image, weights, "vision_model.head")?)),
                Linear::take(weights, "text_model.head", d_text, shared, true)?,
                Some(weights.take("logit_bias", [1])?),
            ),
        };
        Ok(Self {
            vision: VisionTower::take(image, weights, "vision_model")?,
            text: TextTower::take(text, weights, "text_model")?,
            kind,
            post_norm: Norm::layer(weights, "vision_model.post_layernorm", d_image, eps)?,
            pooling,
            text_projection,
            scale: weights.take("logit_scale", [1])?,
            bias,
            shared,
        })
    }

    /// Which kind it is.
    pub fn kind(&self) -> DualKind {
        self.kind
    }

    /// Its sites, in the order of a pass.
    pub fn sites(&self) -> Vec<SiteSpec> {
        use AxisName::{Batch, DModel, Head, Image, Key, Pos, Query};
        let mut sites = self.vision.sites();
        let tower = self.vision.config();
        let at = |point| Site::of(Part::Vision, point);
        if matches!(self.pooling, Pooling::Attention(_)) {
            let tokens = Some(self.vision.tokens());
            let stream = [(Image, None), (Pos, tokens), (DModel, Some(tower.d_model))];
            sites.push(SiteSpec::new(at(Point::FinalNorm), stream));
            let pattern = [(Image, None), (Head, Some(tower.heads)), (Query, Some(1)), (Key, tokens)];
            sites.push(SiteSpec::new(at(Point::PoolPattern), pattern));
        }
        sites.push(SiteSpec::new(at(Point::Pooled), [(Image, None), (DModel, Some(tower.d_model))]));
        sites.push(SiteSpec::new(at(Point::Projected), [(Image, None), (DModel, Some(self.shared))]));
        sites.extend(self.text.sites());
        let projected = [(Batch, None), (DModel, Some(self.shared))];
        sites.push(SiteSpec::new(Site::of(Part::Text, Point::Projected), projected));
        sites
    }

    /// The sizes of its towers.
    pub fn anatomy(&self) -> Vec<Anatomy> {
        vec![self.vision.anatomy(), self.text.anatomy()]
    }

    /// The weights of both towers by name: of their blocks, of their last norms, and of the projections into the shared space. The last norm
    /// of a class token reads one position alone, which no site holds by itself, and attention that pools is not among them.
    pub(crate) fn named(&self) -> Vec<Named> {
        let mut all = self.vision.named();
        let (d, at) = (self.vision.config().d_model, |point| Port::at(Site::of(Part::Vision, point)));
        let (stream, name) = (self.vision.end(), "vision.final_norm".to_owned());
        match &self.pooling {
            Pooling::Class(projection) => {
                let pooled = at(Point::Pooled);
                all.extend(named::norm(&self.post_norm, name, AxisName::DModel, None, Some(pooled.clone())));
                let axes = (&[(AxisName::DModel, self.shared)][..], &[(AxisName::DModel, d)][..]);
                let to = Some(at(Point::Projected));
                let spec = WeightSpec::product("vision.projection", axes, Some(pooled), to);
                all.extend(named::product(projection, spec));
            }
            Pooling::Attention(_) => {
                let to = Some(at(Point::FinalNorm));
                all.extend(named::norm(&self.post_norm, name, AxisName::DModel, stream, to));
            }
        }
        all.extend(self.text.named());
        let at = |point| Some(Port::at(Site::of(Part::Text, point)));
        let width = self.text.config().d_model;
        let axes = (&[(AxisName::DModel, self.shared)][..], &[(AxisName::DModel, width)][..]);
        let spec = WeightSpec::product("text.projection", axes, at(Point::Pooled), at(Point::Projected));
        all.extend(named::product(&self.text_projection, spec));
        all
    }

    /// The same network for pictures of a few patches, sharing its weights, and one such picture with a text.
    pub(crate) fn check_inputs(&self, device: &Device) -> Result<(Self, Inputs), ZooError> {
        let small = Self { vision: self.vision.cropped(2), ..self.clone() };
        let tower = small.vision.config();
        let pixels = pattern(&[1, tower.channels, tower.image_size, tower.image_size], device)?;
        let config = small.text.config();
        let inputs = small_inputs(config.vocab, (&[], 0), Some(pixels))?;
        let inputs =
            inputs.with(|batch| batch.ids.iter_mut().for_each(|ids| ids.truncate(config.positions)))?;
        Ok((small, inputs))
    }

    /// Pictures in the shared space, before they are brought to length one, `[image, d]`; `None` if the pass ended
    /// before.
    ///
    /// # Errors
    /// Whatever a site reports; pixels of another size.
    pub fn see(&self, pixels: Tensor<4>, run: &mut Run) -> Result<Option<Tensor<2>>, ZooError> {
        let at = |point| Site::of(Part::Vision, point);
        let last = self.vision.config().blocks;
        let Some(x) = self.vision.forward(pixels, &[last], run)?.and_then(|mut states| states.pop()) else {
            return Ok(None);
        };
        if run.done() {
            return Ok(None);
        }
        let projected = match &self.pooling {
            Pooling::Class(projection) => {
                let class = x.narrow(1, 0, 1).squeeze_dim::<2>(1);
                let pooled = run.at(at(Point::Pooled), self.post_norm.apply(class))?;
                projection.apply(pooled)
            }
            Pooling::Attention(head) => {
                let x = run.at(at(Point::FinalNorm), self.post_norm.apply(x))?;
                let pooled = head.forward(x, run)?;
                run.at(at(Point::Pooled), pooled)?
            }
        };
        let projected = run.at(at(Point::Projected), projected)?;
        Ok((!run.done()).then_some(projected))
    }

    /// Texts in the shared space, before they are brought to length one, `[batch, d]`; `None` if the pass ended before.
    ///
    /// # Errors
    /// Whatever a site reports; tokens or positions there are not.
    pub fn read(&self, inputs: &Inputs, run: &mut Run) -> Result<Option<Tensor<2>>, ZooError> {
        let Some(pooled) = self.text.forward(inputs, run)? else { return Ok(None) };
        if run.done() {
            return Ok(None);
        }
        let projected = run.at(Site::of(Part::Text, Point::Projected), self.text_projection.apply(pooled))?;
        Ok((!run.done()).then_some(projected))
    }

    /// What states of a tower would be in the shared space, `[rows, d]` to `[rows, d_shared]`, each by itself: the last norm and
    /// the projection. `None` for a tower that is pooled by attention.
    pub fn read_out(&self, part: Part, states: Tensor<2>) -> Option<Tensor<2>> {
        match (part, &self.pooling) {
            (Part::Text, _) => Some(self.text_projection.apply(self.text.normed(states))),
            (Part::Vision, Pooling::Class(projection)) => {
                Some(projection.apply(self.post_norm.apply(states)))
            }
            _ => None,
        }
    }

    /// The whole pass; `None` if it ended before.
    ///
    /// # Errors
    /// Whatever a site reports; inputs without pictures or texts.
    pub fn forward(&self, inputs: &Inputs, run: &mut Run) -> Result<Option<Pairs>, ZooError> {
        let missing = |found: &str| ZooError::Value {
            field: "inputs".to_owned(),
            found: found.to_owned(),
            expected: "at least one picture and one text".to_owned(),
        };
        let pixels = inputs.seen.values.clone().ok_or_else(|| missing("no picture"))?;
        let own: Option<Vec<usize>> = inputs.seen.of_rows.iter().map(|own| own.first().copied()).collect();
        let own = own.ok_or_else(|| missing("a text without a picture"))?;
        let twice = |shown: &Vec<usize>| (1..shown.len()).any(|i| shown[..i].contains(&shown[i]));
        if inputs.seen.of_rows.iter().any(twice) {
            return Err(missing("a text that shows a picture twice"));
        }
        let Some(images) = self.see(pixels.rank_of("vision.pixels")?, run)? else { return Ok(None) };
        let Some(texts) = self.read(inputs, run)? else { return Ok(None) };
        let (images, texts) = (unit(images), unit(texts));
        let cosine = images.clone().matmul(texts.clone().transpose());
        let mut logits = cosine.clone() * self.scale.clone().exp().unsqueeze();
        if let Some(bias) = &self.bias {
            logits = logits + bias.clone().unsqueeze();
        }
        Ok(Some(Pairs {
            images: images.into(),
            texts: texts.into(),
            cosine: cosine.into(),
            logits: logits.into(),
            scale: self.scale.clone().exp().into(),
            bias: self.bias.clone().map(AnyTensor::new),
            own,
            apart: self.kind == DualKind::Siglip,
        }))
    }
}

/// Rows brought to length one.
fn unit(x: Tensor<2>) -> Tensor<2> {
    let length = x.clone().square().sum_dim(1).sqrt();
    x / length
}
