//! The network: a tower, a norm over all its positions, a product with the class token.

use burn::tensor::{Int, Tensor, TensorData};
use mmlens_core::{Anatomy, AxisName, Inputs, Part, Point, Port, Run, Site, SiteSpec, WeightSpec};

use super::VitConfig;
use crate::ZooError;
use crate::checkpoint::WeightSource;
use crate::parts::{Linear, Named, Norm, named};
use crate::vision::VisionTower;

/// The network.
#[derive(Debug, Clone)]
pub struct VitModel {
    /// The tower.
    pub vision: VisionTower,
    pub(super) norm: Norm,
    pub(super) classifier: Linear,
}

impl VitModel {
    /// Takes all weights.
    ///
    /// # Errors
    /// A tensor that is missing or misshapen.
    pub fn take(config: &VitConfig, weights: &mut impl WeightSource) -> Result<Self, ZooError> {
        let (d, eps) = (config.tower.d_model, config.tower.eps);
        Ok(Self {
            vision: VisionTower::take(config.tower.clone(), weights, "vit")?,
            norm: Norm::layer(weights, "vit.post_layernorm", d, eps)?,
            classifier: Linear::take(weights, "classifier", d, config.labels.len(), true)?,
        })
    }

    /// Its sites, in the order of a pass.
    pub fn sites(&self) -> Vec<SiteSpec> {
        use AxisName::{DModel, Image, Pos, Vocab};
        let (d, classes) = (Some(self.vision.config().d_model), self.classifier.weight().dims()[0]);
        let at = |point| Site::of(Part::Vision, point);
        let mut sites = self.vision.sites();
        let stream = [(Image, None), (Pos, Some(self.vision.tokens())), (DModel, d)];
        sites.push(SiteSpec::new(at(Point::FinalNorm), stream));
        sites.push(SiteSpec::new(at(Point::Pooled), [(Image, None), (DModel, d)]));
        sites.push(SiteSpec::new(at(Point::Logits), [(Image, None), (Vocab, Some(classes))]));
        sites
    }

    /// The sizes of its tower.
    pub fn anatomy(&self) -> Vec<Anatomy> {
        vec![self.vision.anatomy()]
    }

    /// Its weights by name: of its blocks, of its last norm, and the classifier, which reads the class token.
    pub(crate) fn named(&self) -> Vec<Named> {
        let mut all = self.vision.named();
        let (d, classes) = (self.vision.config().d_model, self.classifier.weight().dims()[0]);
        let at = |point| Some(Port::at(Site::of(Part::Vision, point)));
        let (stream, name) = (self.vision.end(), "vision.final_norm".to_owned());
        all.extend(named::norm(&self.norm, name, AxisName::DModel, stream, at(Point::FinalNorm)));
        let axes = (&[(AxisName::Vocab, classes)][..], &[(AxisName::DModel, d)][..]);
        let spec = WeightSpec::product("vision.classifier", axes, at(Point::Pooled), at(Point::Logits));
        all.extend(named::product(&self.classifier, spec));
        all
    }

    /// What states of the tower would say, `[rows, d]` to `[rows, classes]`, each by itself: the norm and the classifier.
    pub fn read_out(&self, states: Tensor<2>) -> Tensor<2> {
        self.classifier.apply(self.norm.apply(states))
    }

    /// Class logits of every row, `[batch, 1, classes]`; `None` if the pass ended before.
    ///
    /// # Errors
    /// Whatever a site reports; a row that does not show one picture, or has tokens.
    pub fn forward(&self, inputs: &Inputs, run: &mut Run) -> Result<Option<Tensor<3>>, ZooError> {
        let wrong = |found: String| ZooError::Value {
            field: "inputs".to_owned(),
            found,
            expected: "rows of one picture each, without tokens".to_owned(),
        };
        if inputs.positions() > 0 {
            return Err(wrong(format!("rows of {} tokens", inputs.positions())));
        }
        let shown = |own: &Vec<usize>| match own.as_slice() {
            [image] => Ok(*image as i64),
            own => Err(wrong(format!("a row of {} pictures", own.len()))),
        };
        let shown: Vec<i64> = inputs.seen.of_rows.iter().map(shown).collect::<Result<_, _>>()?;
        let pixels = inputs.seen.values.clone().ok_or_else(|| wrong("no picture".to_owned()))?;
        let Some(logits) = self.classify(pixels.rank_of("vision.pixels")?, run)? else { return Ok(None) };
        let [images, classes] = logits.dims();
        let rows = shown.len();
        let logits = match shown.iter().copied().eq(0..images as i64) {
            true => logits,
            false => {
                let device = logits.device().without_autodiff();
                logits.select(0, Tensor::<1, Int>::from_data(TensorData::new(shown, [rows]), &device))
            }
        };
        Ok(Some(logits.reshape([rows, 1, classes])))
    }

    /// Class logits of every picture, `[image, classes]`.
    fn classify(&self, pixels: Tensor<4>, run: &mut Run) -> Result<Option<Tensor<2>>, ZooError> {
        let at = |point| Site::of(Part::Vision, point);
        let last = self.vision.config().blocks;
        let states = self.vision.forward(pixels, &[last], run)?;
        let Some(x) = states.and_then(|mut states| states.pop()).filter(|_| !run.done()) else {
            return Ok(None);
        };
        let x = run.at(at(Point::FinalNorm), self.norm.apply(x))?;
        let pooled = run.at(at(Point::Pooled), x.narrow(1, 0, 1).squeeze_dim::<2>(1))?;
        Ok(Some(run.at(at(Point::Logits), self.classifier.apply(pooled))?))
    }
}
