//! A norm by its gain: applied, taken back, and with its scale held.

use burn::tensor::Tensor;
use mmlens_core::{AnyTensor, HookError, Subject, SubjectError, WeightKind};

/// A norm over the last axis, `gain (x - mean) / scale + bias`, or without the mean.
#[derive(Debug, Clone)]
pub struct Gain {
    gain: Tensor<1>,
    bias: Option<Tensor<1>>,
    centred: bool,
    eps: f64,
}

impl Gain {
    /// The norm of a subject whose gain is published under a name.
    ///
    /// # Errors
    /// [`SubjectError::NoWeight`] for a name that is not published, or not that of a gain.
    pub fn of(subject: &dyn Subject, name: &str) -> Result<Self, SubjectError> {
        let spec = subject.weights().iter().find(|spec| spec.name == name);
        let Some(WeightKind::Gain { centred, eps }) = spec.map(|spec| spec.kind) else {
            return Err(SubjectError::no_weight(subject, name));
        };
        let gain = subject.weight(name)?.rank_of(name)?;
        let bias = match biased(subject, name)? {
            Some((name, bias)) => Some(bias.rank_of(name)?),
            None => None,
        };
        Ok(Self { gain, bias, centred, eps })
    }

    /// `[rows, d]` to the same.
    pub fn apply(&self, x: Tensor<2>) -> Tensor<2> {
        let (normed, _) = self.normed(x);
        let y = normed * self.gain.clone().unsqueeze();
        match &self.bias {
            Some(bias) => y + bias.clone().unsqueeze(),
            None => y,
        }
    }

    /// From the gradient behind the norm, `[rows, d]`, to that in front of it, where `x` stood.
    pub fn back(&self, x: Tensor<2>, behind: Tensor<2>) -> Tensor<2> {
        let (normed, scale) = self.normed(x);
        let behind = behind * self.gain.clone().unsqueeze();
        let along = (behind.clone() * normed.clone()).mean_dim(1);
        let front = behind - normed * along;
        let front = if self.centred { front.clone() - front.mean_dim(1) } else { front };
        front / scale
    }

    /// The norm with its scale held at what it is for one vector, `[d]`. It is affine then.
    ///
    /// # Errors
    /// [`HookError::Values`] for a vector of another width; [`HookError::Read`].
    pub fn held_at(&self, x: &[f32]) -> Result<HeldGain, HookError> {
        let host = |x: &Tensor<1>| -> Result<Vec<f64>, HookError> {
            Ok(AnyTensor::new(x.clone()).to_values()?.into_iter().map(f64::from).collect())
        };
        let gain = host(&self.gain)?;
        if gain.len() != x.len() {
            return Err(HookError::Values { dims: vec![gain.len()], given: x.len() });
        }
        let (n, all) = (x.len() as f64, || x.iter().copied().map(f64::from));
        let mean = if self.centred { all().sum::<f64>() / n } else { 0.0 };
        let scale = (all().map(|x| (x - mean).powi(2)).sum::<f64>() / n + self.eps).sqrt();
        let bias = self.bias.as_ref().map(host).transpose()?;
        Ok(HeldGain { gain, bias, centred: self.centred, scale })
    }

    /// A direction in front of the norm as it comes out, but for what the norm divides by: less its mean where the norm subtracts one,
    /// times the gain.
    ///
    /// # Errors
    /// [`HookError::Values`] for a direction of another width; [`HookError::Read`].
    pub fn folded(&self, direction: &[f64]) -> Result<Vec<f64>, HookError> {
        let gain = self.gains(direction.len())?;
        let mean = if self.centred { direction.iter().sum::<f64>() / gain.len().max(1) as f64 } else { 0.0 };
        Ok(direction.iter().zip(gain).map(|(d, gain)| (d - mean) * gain).collect())
    }

    /// A direction behind the norm as one in front of it, but for what the norm divides by: times the gain, less the mean of that where the
    /// norm subtracts one. Its product with a vector is that of the direction with the [folded](Gain::folded) vector.
    ///
    /// # Errors
    /// [`HookError::Values`] for a direction of another width; [`HookError::Read`].
    pub fn unfolded(&self, direction: &[f64]) -> Result<Vec<f64>, HookError> {
        let gain = self.gains(direction.len())?;
        let scaled: Vec<f64> = direction.iter().zip(gain).map(|(d, gain)| d * gain).collect();
        let mean = if self.centred { scaled.iter().sum::<f64>() / scaled.len().max(1) as f64 } else { 0.0 };
        Ok(scaled.into_iter().map(|d| d - mean).collect())
    }

    /// The columns of a matrix, each [folded](Gain::folded).
    pub(crate) fn folded_columns(&self, x: Tensor<2>) -> Tensor<2> {
        let x = if self.centred { x.clone() - x.mean_dim(0) } else { x };
        x * self.gain.clone().unsqueeze_dim(1)
    }

    /// The gain on the host, of a width.
    fn gains(&self, width: usize) -> Result<Vec<f64>, HookError> {
        let gain = AnyTensor::new(self.gain.clone()).to_values()?;
        match gain.len() == width {
            true => Ok(gain.into_iter().map(f64::from).collect()),
            false => Err(HookError::Values { dims: vec![gain.len()], given: width }),
        }
    }

    /// Of mean zero (where it is centred) and length `sqrt(d)`, and what it was divided by.
    fn normed(&self, x: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        let x = if self.centred { x.clone() - x.mean_dim(1) } else { x };
        let scale = (x.clone().square().mean_dim(1) + self.eps).sqrt();
        (x / scale.clone(), scale)
    }
}

/// A norm whose scale is held, in double precision on the host.
#[derive(Debug, Clone)]
pub struct HeldGain {
    gain: Vec<f64>,
    bias: Option<Vec<f64>>,
    centred: bool,
    scale: f64,
}

impl HeldGain {
    /// What it divides by.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// A direction behind the norm as one in front of it: their products with a vector, and with what the norm makes of it,
    /// differ by [`Self::constant`]. A direction of another width is cut to the shorter one; the caller checks.
    pub fn pull(&self, direction: &[f64]) -> Vec<f64> {
        let scaled: Vec<f64> = direction.iter().zip(&self.gain).map(|(d, gain)| d * gain).collect();
        let mean = if self.centred { scaled.iter().sum::<f64>() / scaled.len().max(1) as f64 } else { 0.0 };
        scaled.into_iter().map(|d| (d - mean) / self.scale).collect()
    }

    /// What the norm's bias adds along a direction.
    pub fn constant(&self, direction: &[f64]) -> f64 {
        self.bias.iter().flat_map(|bias| bias.iter().zip(direction)).map(|(bias, d)| bias * d).sum()
    }

    /// Whether it has a bias.
    pub fn has_bias(&self) -> bool {
        self.bias.is_some()
    }
}

/// The bias that belongs to a weight, with its name; `None` if the subject publishes none.
pub(crate) fn biased(subject: &dyn Subject, name: &str) -> Result<Option<(String, AnyTensor)>, SubjectError> {
    let own = format!("{name}.bias");
    if !subject.weights().iter().any(|spec| spec.name == own) {
        return Ok(None);
    }
    let bias = subject.weight(&own)?;
    Ok(Some((own, bias)))
}
