//! Directions of the stream as words: through the unembedding, as it is or with the gain of the last norm.

use burn::tensor::Tensor;
use mmlens_core::{AnyTensor, HookError, Part, Point, Site, Subject, SubjectError, WeightKind, WeightSpec};
use serde::{Deserialize, Serialize};

use crate::{Gain, Projection};

/// What becomes of a direction in front of the unembedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fold {
    /// It is multiplied by the gain of the last norm, and before that less its mean where the norm subtracts one. What the norm divides by
    /// is left out: it scales all directions alike.
    #[default]
    Norm,
    /// Nothing.
    None,
}

/// What reads words from the stream of a language model.
#[derive(Debug, Clone)]
pub struct Unembedding {
    product: Projection,
    gain: Option<Gain>,
}

impl Unembedding {
    /// That of a subject; `None` where no product gives logits, or something else than the last norm lies in front of it.
    ///
    /// # Errors
    /// [`SubjectError`] for weights that are no product, or no norm.
    pub fn of(subject: &dyn Subject) -> Result<Option<Self>, SubjectError> {
        let logits = Site::of(Part::Text, Point::Logits);
        let writes = |spec: &&WeightSpec| {
            matches!(spec.kind, WeightKind::Product { .. })
                && spec.writes.as_ref().is_some_and(|port| port.site == logits)
        };
        let Some(spec) = subject.weights().iter().find(writes) else { return Ok(None) };
        let read = spec.reads.as_ref().map(|port| port.site);
        let norm = |spec: &&WeightSpec| {
            matches!(spec.kind, WeightKind::Gain { .. })
                && spec.writes.as_ref().is_some_and(|port| Some(port.site) == read)
        };
        let gain = match (subject.weights().iter().find(norm), read.map(|site| site.point())) {
            (Some(gain), _) => Some(Gain::of(subject, &gain.name)?),
            (None, Some(Point::ResidPost)) => None,
            (None, _) => return Ok(None),
        };
        Ok(Some(Self { product: Projection::of(subject, &spec.name)?, gain }))
    }

    /// How many words there are.
    pub fn words(&self) -> usize {
        self.product.weight().dims()[0]
    }

    /// The logits of directions of the stream, `[directions, width]` to `[directions, words]`, without biases.
    ///
    /// # Errors
    /// [`HookError::Values`] for directions of another width; [`HookError::Read`].
    pub fn logits(&self, directions: &[Vec<f64>], fold: Fold) -> Result<Vec<f32>, HookError> {
        let weight = self.product.weight();
        let width = weight.dims()[1];
        let mut values = Vec::with_capacity(directions.len() * width);
        for direction in directions {
            if direction.len() != width {
                return Err(HookError::Values { dims: vec![width], given: direction.len() });
            }
            let folded = match (&self.gain, fold) {
                (Some(gain), Fold::Norm) => gain.folded(direction)?,
                _ => direction.clone(),
            };
            values.extend(folded.into_iter().map(|value| value as f32));
        }
        let rows = AnyTensor::from_values(values, &[directions.len(), width], &weight.device())?;
        let rows: Tensor<2> = rows.rank_of("directions")?;
        AnyTensor::new(rows.matmul(weight.clone().transpose())).to_values()
    }

    /// The row of the unembedding that reads a word, as a direction of the stream: with the gain of the last norm, less the mean of that where
    /// the norm subtracts one, or as it is.
    ///
    /// # Errors
    /// [`HookError::Values`] for a word that there is not; [`HookError::Read`].
    pub fn reader(&self, word: usize, fold: Fold) -> Result<Vec<f64>, HookError> {
        let (row, _) = self.product.row(word)?;
        match (&self.gain, fold) {
            (Some(gain), Fold::Norm) => gain.unfolded(&row),
            _ => Ok(row),
        }
    }
}

/// What single neurons write to the stream: columns of the output projection of an MLP.
#[derive(Debug, Clone)]
pub struct ValueVectors {
    product: Projection,
}

impl ValueVectors {
    /// Those of a layer of a language model; `None` where it shows no product from its neurons to what its MLP writes. Where a norm lies behind
    /// the product, its gain is part of them, and what it divides by is left out.
    ///
    /// # Errors
    /// As [`Projection::of`].
    pub fn of(subject: &dyn Subject, layer: usize) -> Result<Option<Self>, SubjectError> {
        let [from, to] = [Point::MlpPost, Point::MlpOut].map(|point| Site::block(Part::Text, layer, point));
        Ok(Projection::between(subject, from, to)?.map(|product| Self { product }))
    }

    /// The length of each.
    ///
    /// # Errors
    /// [`HookError::Read`].
    pub fn lengths(&self) -> Result<Vec<f32>, HookError> {
        let written = self.product.written()?;
        AnyTensor::new(written.square().sum_dim(0).sqrt()).to_values()
    }

    /// Some of them.
    ///
    /// # Errors
    /// [`HookError::Values`] for a neuron that there is not; [`HookError::Read`].
    pub fn some(&self, neurons: &[usize]) -> Result<Vec<Vec<f64>>, HookError> {
        let written = self.product.written()?;
        let [_, count] = written.dims();
        let one = |neuron: &usize| {
            if *neuron >= count {
                return Err(HookError::Values { dims: vec![neuron + 1], given: count });
            }
            let column = AnyTensor::new(written.clone()).part(1, *neuron, 1)?.to_values()?;
            Ok(column.into_iter().map(f64::from).collect())
        };
        neurons.iter().map(one).collect()
    }

    /// The product of every one of them with a direction of the stream.
    ///
    /// # Errors
    /// [`HookError::Values`] for a direction of another width; [`HookError::Read`].
    pub fn along(&self, direction: &[f64]) -> Result<Vec<f32>, HookError> {
        let written = self.product.written()?;
        let [width, _] = written.dims();
        if direction.len() != width {
            return Err(HookError::Values { dims: vec![width], given: direction.len() });
        }
        let narrow = direction.iter().map(|value| *value as f32).collect();
        let row: Tensor<2> =
            AnyTensor::from_values(narrow, &[1, width], &written.device())?.rank_of("a direction")?;
        AnyTensor::new(row.matmul(written)).to_values()
    }
}
