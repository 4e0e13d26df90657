//! A linear head on states of a subject that stays as it is, as a subject: a classifier whose only weight is the head's.

use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor, TensorData};
use mmlens_core::{
    Anatomy, AnyTensor, AxisName, Inputs, Output, Part, Plan, Point, Port, Run, Sample, Site, SiteSpec,
    Subject, SubjectError, WeightSpec,
};
use mmlens_engine::Logistic;

/// The name of its weight.
pub const HEAD: &str = "vision.head";

/// A subject that says one of some classes: `logits = W h + b`, with `h` what a site of another subject holds, of each picture.
///
/// It has two sites, `vision.pooled` (the states) and `vision.logits`, and the weight `vision.head` between them. Each row shows one picture; words beside it are the
/// other subject's affair, and change nothing. Retrained heads on the same states cost nothing but the head.
pub struct Headed {
    name: String,
    inner: Arc<dyn Subject>,
    site: Site,
    classes: Vec<String>,
    /// `[class, d]`.
    weight: Tensor<2>,
    bias: Tensor<1>,
    hash: String,
    sites: Vec<SiteSpec>,
    weights: Vec<WeightSpec>,
    device: Device,
}

impl std::fmt::Debug for Headed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} on {} of {}", self.name, self.site, self.inner.name())
    }
}

impl Headed {
    /// A head that was learned, on a site `[image, d]` of a subject.
    ///
    /// # Errors
    /// [`SubjectError::Sample`] for a site that is no such one, or weights of another width or number than the classes.
    pub fn new(
        inner: Arc<dyn Subject>,
        site: Site,
        classes: Vec<String>,
        head: &Logistic,
    ) -> Result<Self, SubjectError> {
        let name = format!("head on {}", inner.name());
        let refuse = |reason: String| SubjectError::Sample { subject: name.clone(), reason };
        let spec = inner.sites().iter().find(|spec| spec.site == site);
        let width = match spec.map(|spec| spec.axes.as_slice()) {
            Some([(AxisName::Image, _), (_, Some(width))]) => *width,
            _ => return Err(refuse(format!("`{site}` is no site of one vector for each picture"))),
        };
        // The first of two classes has no vector of its own.
        let first = classes.len().saturating_sub(head.weights.len());
        let zeros = vec![vec![0.0; width]; first];
        let rows: Vec<&Vec<f64>> = zeros.iter().chain(&head.weights).collect();
        if first > 1 || rows.len() != classes.len() || rows.iter().any(|row| row.len() != width) {
            let found = rows.iter().map(|row| row.len()).collect::<Vec<_>>();
            return Err(refuse(format!(
                "vectors of {found:?} for {} classes of width {width}",
                classes.len()
            )));
        }
        let flat: Vec<f32> = rows.iter().flat_map(|row| row.iter().map(|x| *x as f32)).collect();
        let bias = std::iter::repeat_n(&0.0, first).chain(&head.intercepts);
        let bias: Vec<f32> = bias.map(|x| *x as f32).collect();
        let bytes: Vec<u8> = flat.iter().chain(&bias).flat_map(|x| x.to_le_bytes()).collect();
        let hash =
            mmlens_files::sha256(format!("{} {site} {}", inner.weights_hash(), mmlens_files::sha256(bytes)));
        let device = Device::default();
        let (count, states) = (classes.len(), Site::of(Part::Vision, Point::Pooled));
        let logits = Site::of(Part::Vision, Point::Logits);
        let sites = vec![
            SiteSpec::new(states, [(AxisName::Image, None), (AxisName::DModel, Some(width))]),
            SiteSpec::new(logits, [(AxisName::Image, None), (AxisName::Vocab, Some(count))]),
        ];
        let axes = (&[(AxisName::Vocab, count)][..], &[(AxisName::DModel, width)][..]);
        let weights = vec![WeightSpec::product(HEAD, axes, Some(Port::at(states)), Some(Port::at(logits)))];
        Ok(Self {
            weight: Tensor::from_data(TensorData::new(flat, [count, width]), &device),
            bias: Tensor::from_data(TensorData::new(bias, [count]), &device),
            name,
            inner,
            site,
            classes,
            hash,
            sites,
            weights,
            device,
        })
    }

    /// Its classes, in the order of their logits.
    #[must_use]
    pub fn classes(&self) -> &[String] {
        &self.classes
    }
}

impl Subject for Headed {
    fn name(&self) -> &str {
        &self.name
    }

    fn weights_hash(&self) -> String {
        self.hash.clone()
    }

    fn device(&self) -> String {
        mmlens_core::device::kind(&self.device)
    }

    fn sites(&self) -> &[SiteSpec] {
        &self.sites
    }

    fn anatomy(&self) -> &[Anatomy] {
        &[]
    }

    fn weights(&self) -> &[WeightSpec] {
        &self.weights
    }

    fn weight(&self, name: &str) -> Result<AnyTensor, SubjectError> {
        match name {
            HEAD => Ok(self.weight.clone().into()),
            _ => Err(SubjectError::no_weight(self, name)),
        }
    }

    fn encode(&self, sample: &Sample) -> Result<Inputs, SubjectError> {
        sample.unanswered(self.name())?;
        self.inner.encode(sample)
    }

    fn forward(&self, inputs: &Inputs, run: &mut Run) -> Result<Output, SubjectError> {
        let refuse = |reason: String| SubjectError::Sample { subject: self.name.clone(), reason };
        let shown = |own: &Vec<usize>| match own.as_slice() {
            [image] => Ok(*image as i64),
            own => Err(refuse(format!("a row of {} pictures; it takes one in a row", own.len()))),
        };
        let shown: Vec<i64> = inputs.seen.of_rows.iter().map(shown).collect::<Result<_, _>>()?;
        let trace = self.inner.run(inputs, Plan::new().read(self.site)?)?;
        let states: Tensor<2> = trace.tensor(self.site)?;
        let states = run.at(Site::of(Part::Vision, Point::Pooled), states)?;
        if run.done() {
            return Ok(Output::default());
        }
        let logits = states.matmul(self.weight.clone().transpose()) + self.bias.clone().unsqueeze();
        let logits = run.at(Site::of(Part::Vision, Point::Logits), logits)?;
        let [images, classes] = logits.dims();
        let rows = shown.len();
        let logits = match shown.iter().copied().eq(0..images as i64) {
            true => logits,
            false => {
                logits.select(0, Tensor::<1, Int>::from_data(TensorData::new(shown, [rows]), &self.device))
            }
        };
        Ok(Output::of_logits(logits.reshape([rows, 1, classes])))
    }

    fn decode(&self, ids: &[u32]) -> Result<String, SubjectError> {
        Ok(ids.iter().map(|id| self.token(*id)).collect::<Vec<_>>().join(" "))
    }

    fn token(&self, id: u32) -> String {
        self.classes.get(id as usize).cloned().unwrap_or_else(|| format!("<{id}>"))
    }

    fn tokens(&self, text: &str) -> Result<Vec<u32>, SubjectError> {
        let at = self.classes.iter().position(|class| class == text);
        let reason = || format!("`{text}` is none of its classes {:?}", self.classes);
        at.map(|at| vec![at as u32])
            .ok_or_else(|| SubjectError::Sample { subject: self.name.clone(), reason: reason() })
    }

    fn pad(&self) -> u32 {
        0
    }
}
