//! What flows through a hook: a float tensor whose rank is known at run time.

use burn::backend::{DispatchTensor, TensorMetadata};
use burn::tensor::{Device, Tensor, TensorData};
use mmlens_finding::finite;
use ndarray::{ArrayD, IxDyn};

use crate::HookError;

/// A float tensor of any rank on any device; a thin cover of Burn's own run-time tensor.
///
/// Cloning is a reference-count bump.
#[derive(Clone, Debug)]
pub struct AnyTensor(DispatchTensor);

impl AnyTensor {
    /// Forgets the rank of a tensor.
    pub fn new<const D: usize>(x: Tensor<D>) -> Self {
        Self(x.into_dispatch())
    }

    /// A tensor made from row-major host values.
    ///
    /// # Errors
    /// [`HookError::Values`] if the number of values is not the product of `dims`, or the rank is not 1 to 6.
    pub fn from_values(values: Vec<f32>, dims: &[usize], device: &Device) -> Result<Self, HookError> {
        let wanted: usize = dims.iter().product();
        if wanted != values.len() || dims.is_empty() || dims.len() > 6 {
            return Err(HookError::Values { dims: dims.to_vec(), given: values.len() });
        }
        let data = TensorData::new(values, dims.to_vec());
        Ok(match dims.len() {
            1 => Self::new(Tensor::<1>::from_data(data, device)),
            2 => Self::new(Tensor::<2>::from_data(data, device)),
            3 => Self::new(Tensor::<3>::from_data(data, device)),
            4 => Self::new(Tensor::<4>::from_data(data, device)),
            5 => Self::new(Tensor::<5>::from_data(data, device)),
            _ => Self::new(Tensor::<6>::from_data(data, device)),
        })
    }

    /// Length of each axis.
    pub fn dims(&self) -> Vec<usize> {
        self.0.shape().as_slice().to_vec()
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.0.shape().num_dims()
    }

    /// The tensor with its rank in the type, or `None` if the rank is another.
    pub fn typed<const D: usize>(self) -> Option<Tensor<D>> {
        (self.rank() == D).then(|| Tensor::from_dispatch(self.0))
    }

    /// The tensor with its rank in the type; `at` names the place in the error.
    ///
    /// # Errors
    /// [`HookError::Rank`] if the rank is another.
    pub fn rank_of<const D: usize>(self, at: impl ToString) -> Result<Tensor<D>, HookError> {
        let holds = self.rank();
        self.typed().ok_or_else(|| HookError::Rank { site: at.to_string(), holds, asked: D })
    }

    /// Row-major host values, as f32 whatever the tensor's precision.
    ///
    /// # Errors
    /// [`HookError::Read`] if the device cannot hand the values over.
    pub fn to_values(&self) -> Result<Vec<f32>, HookError> {
        let data = with_rank!(self.clone(), x => x.try_into_data())?;
        let data = data.map_err(|e| HookError::Read(format!("{e:?}")))?;
        data.convert::<f32>().try_to_vec::<f32>().map_err(|e| HookError::Read(format!("{e:?}")))
    }

    /// Row-major host values, every one of them a finite number. `what` names them in the error.
    ///
    /// # Errors
    /// [`HookError::NotFinite`] with the place of the first that is none, and as [`AnyTensor::to_values`].
    pub fn finite_values(&self, what: impl ToString) -> Result<Vec<f32>, HookError> {
        let values = self.to_values()?;
        finite(&values).map_err(|error| HookError::not_finite(what, &self.dims(), 0, error))?;
        Ok(values)
    }

    /// The same values where another tensor is: itself, if they share a device, else a copy without gradient tracking,
    /// through the host.
    ///
    /// # Errors
    /// [`HookError::Read`] if its device cannot hand the values over.
    pub fn beside(&self, other: &Self) -> Result<Self, HookError> {
        let (own, other) = (self.device()?, other.device()?);
        if own == other {
            Ok(self.clone())
        } else {
            Self::from_values(self.to_values()?, &self.dims(), &other)
        }
    }

    fn device(&self) -> Result<Device, HookError> {
        with_rank!(self.clone(), x => x.device().without_autodiff())
    }

    /// A tensor of the same shape on the same device, of other row-major values.
    ///
    /// # Errors
    /// [`HookError::Values`] if their number is another.
    pub fn filled(&self, values: Vec<f32>) -> Result<Self, HookError> {
        self.shaped(values, &self.dims())
    }

    /// A tensor of another shape on the same device, of row-major values.
    ///
    /// # Errors
    /// [`HookError::Values`] if their number is not the product of `dims`, or the rank is not 1 to 6.
    pub fn shaped(&self, values: Vec<f32>, dims: &[usize]) -> Result<Self, HookError> {
        Self::from_values(values, dims, &self.device()?)
    }

    /// `times` copies one after the other along the first axis: `[b, ...]` to `[times * b, ...]`.
    ///
    /// # Errors
    /// [`HookError::Values`] for a tensor of rank 0 or above 6.
    pub fn repeat_rows(&self, times: usize) -> Result<Self, HookError> {
        with_rank!(self.clone(), x => Self::new(x.repeat_dim(0, times)))
    }

    /// Rows `start .. start + length` of the first axis.
    ///
    /// # Errors
    /// [`HookError::Values`] for an unsupported rank or a range outside the tensor.
    pub fn rows(&self, start: usize, length: usize) -> Result<Self, HookError> {
        self.part(0, start, length)
    }

    /// `start .. start + length` of an axis.
    ///
    /// # Errors
    /// [`HookError::Values`] for an unsupported rank, an axis there is not, or a range outside the tensor.
    pub fn part(&self, axis: usize, start: usize, length: usize) -> Result<Self, HookError> {
        let dims = self.dims();
        if dims.get(axis).is_none_or(|&n| start + length > n) {
            return Err(HookError::Values { dims, given: start + length });
        }
        with_rank!(self.clone(), x => Self::new(x.narrow(axis, start, length)))
    }

    /// The same values without gradient tracking.
    pub fn plain(self) -> Self {
        let fallback = self.clone();
        with_rank!(self, x => Self::new(x.without_autodiff())).unwrap_or(fallback)
    }
}

impl<const D: usize> From<Tensor<D>> for AnyTensor {
    fn from(x: Tensor<D>) -> Self {
        Self::new(x)
    }
}

/// Where a value stands along each axis, given its place among the row-major ones.
pub fn place(mut index: usize, dims: &[usize]) -> Vec<usize> {
    let mut place = vec![0; dims.len()];
    for (slot, len) in place.iter_mut().zip(dims).rev() {
        *slot = index % len.max(&1);
        index /= len.max(&1);
    }
    place
}

/// Runs an expression on an [`AnyTensor`] with its rank in the type. The value is a `Result`.
macro_rules! with_rank {
    ($any:expr, $x:ident => $body:expr) => {{
        let any: $crate::AnyTensor = $any;
        let dims = any.dims();
        let wrong = $crate::HookError::Values { given: dims.iter().product(), dims: dims.clone() };
        match dims.len() {
            1 => any.typed::<1>().map(|$x| $body).ok_or(wrong),
            2 => any.typed::<2>().map(|$x| $body).ok_or(wrong),
            3 => any.typed::<3>().map(|$x| $body).ok_or(wrong),
            4 => any.typed::<4>().map(|$x| $body).ok_or(wrong),
            5 => any.typed::<5>().map(|$x| $body).ok_or(wrong),
            6 => any.typed::<6>().map(|$x| $body).ok_or(wrong),
            _ => Err(wrong),
        }
    }};
}
pub(crate) use with_rank;

/// What a hook may see: a Burn tensor of any rank on any device, or a foreign engine's array.
///
/// A conversion happens only where a plan reads, edits or differentiates a site.
pub trait Activation: Sized {
    /// Length of each axis.
    fn dims(&self) -> Vec<usize>;
    /// The value as a Burn tensor.
    fn into_tensor(self) -> AnyTensor;
    /// The value back in the engine's own form.
    ///
    /// # Errors
    /// [`HookError`] if the tensor has another rank, or its values cannot be read.
    fn from_tensor(x: AnyTensor) -> Result<Self, HookError>;
}

impl<const D: usize> Activation for Tensor<D> {
    fn dims(&self) -> Vec<usize> {
        Tensor::dims(self).to_vec()
    }

    fn into_tensor(self) -> AnyTensor {
        AnyTensor::new(self)
    }

    fn from_tensor(x: AnyTensor) -> Result<Self, HookError> {
        x.rank_of("an activation")
    }
}

impl Activation for AnyTensor {
    fn dims(&self) -> Vec<usize> {
        Self::dims(self)
    }

    fn into_tensor(self) -> AnyTensor {
        self
    }

    fn from_tensor(x: AnyTensor) -> Result<Self, HookError> {
        Ok(x)
    }
}

impl Activation for ArrayD<f32> {
    fn dims(&self) -> Vec<usize> {
        self.shape().to_vec()
    }

    fn into_tensor(self) -> AnyTensor {
        let dims = self.shape().to_vec();
        let values = self.iter().copied().collect();
        let data = TensorData::new(values, dims.clone());
        let device = crate::device::host();
        match dims.len() {
            0 | 1 => AnyTensor::new(Tensor::<1>::from_data(data, &device)),
            2 => AnyTensor::new(Tensor::<2>::from_data(data, &device)),
            3 => AnyTensor::new(Tensor::<3>::from_data(data, &device)),
            4 => AnyTensor::new(Tensor::<4>::from_data(data, &device)),
            5 => AnyTensor::new(Tensor::<5>::from_data(data, &device)),
            _ => AnyTensor::new(Tensor::<6>::from_data(data, &device)),
        }
    }

    fn from_tensor(x: AnyTensor) -> Result<Self, HookError> {
        let (dims, values) = (x.dims(), x.to_values()?);
        let given = values.len();
        Self::from_shape_vec(IxDyn(&dims), values).map_err(|_| HookError::Values { dims, given })
    }
}
