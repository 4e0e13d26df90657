//! A product between two sites, by the weights that a subject shows: applied, and its gradient made without tracking it.

use burn::tensor::{Int, Tensor, TensorData};
use mmlens_core::{
    AnyTensor, HookError, Site, Subject, SubjectError, Through, Trace, WeightKind, WeightSpec,
};

use crate::gain::biased;
use crate::{Gain, reshaped, unfolded};

/// A product `written = after( before(read) W + bias )` of a subject.
#[derive(Debug, Clone)]
pub struct Projection {
    spec: WeightSpec,
    /// `[out, in]`.
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    before: Option<Between>,
    after: Option<Between>,
}

/// What lies between a site and the product.
#[derive(Debug, Clone)]
enum Between {
    Norm(Gain),
    Scale(f32),
    Cap(f32),
}

/// The gradient of a product's weight and bias, one for each row of the batch.
#[derive(Debug, Clone)]
pub struct ProductGradient {
    /// `[batch, ...]`, behind that the axes of the weight.
    pub weight: AnyTensor,
    /// `[batch, ...]`, behind that the axes of the bias; made whether there is a bias or not.
    pub bias: AnyTensor,
}

/// A direction taken back through a product.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// Along the value that is read.
    pub along: Vec<f64>,
    /// What biases on the way add; `None` if there are none.
    pub constant: Option<f64>,
}

impl Projection {
    /// The product of a subject under a name such as `text.blocks.3.attn.o`. Weights are shared with the subject, not copied.
    ///
    /// # Errors
    /// [`SubjectError::NoWeight`] for a name that is not published; [`SubjectError::Unsupported`] for one that is no product
    /// between two sites.
    pub fn of(subject: &dyn Subject, name: &str) -> Result<Self, SubjectError> {
        let spec = subject.weights().iter().find(|spec| spec.name == name);
        let spec = spec.ok_or_else(|| SubjectError::no_weight(subject, name))?.clone();
        let (WeightKind::Product { summed }, Some(reads), Some(writes)) =
            (spec.kind, &spec.reads, &spec.writes)
        else {
            let what = format!("a product between two sites under the name `{name}`");
            return Err(SubjectError::Unsupported { subject: subject.name().to_owned(), what });
        };
        let (gives, given) = sides(&spec, summed);
        let weight = reshaped(subject.weight(name)?, [gives.iter().product(), given.iter().product()])?;
        let bias = match biased(subject, name)? {
            Some((_, bias)) => Some(reshaped(bias, [gives.iter().product()])?),
            None => None,
        };
        let (before, after) =
            (between(subject, reads.through.as_ref())?, between(subject, writes.through.as_ref())?);
        Ok(Self { weight, bias, before, after, spec })
    }

    /// The product that reads one site and writes another; `None` if the subject shows none.
    ///
    /// # Errors
    /// As [`Projection::of`].
    pub fn between(subject: &dyn Subject, from: Site, to: Site) -> Result<Option<Self>, SubjectError> {
        let spec = subject.weights().iter().find(|spec| spec.carries(from, to));
        spec.map(|spec| Self::of(subject, &spec.name)).transpose()
    }

    /// What is published of it.
    pub fn spec(&self) -> &WeightSpec {
        &self.spec
    }

    /// What it gives, before anything that lies between it and the site it writes: `[rows, in]` to `[rows, out]`. `read` is
    /// what the site it reads holds, flat.
    pub fn product(&self, read: Tensor<2>) -> Tensor<2> {
        let y = self.entered(read).matmul(self.weight.clone().transpose());
        match &self.bias {
            Some(bias) => y + bias.clone().unsqueeze(),
            None => y,
        }
    }

    /// The value at the site it writes, of the value at the site it reads: `[batch, pos, ...]` to `[batch, pos, ...]`.
    ///
    /// # Errors
    /// [`HookError::Values`] for a value that does not stand there.
    pub fn apply(&self, read: &AnyTensor) -> Result<AnyTensor, HookError> {
        let (gives, given) = self.sides();
        let [b, p, x] = flat(read, &given)?;
        let y = self.product(reshaped(read.clone(), [b * p, x])?);
        let y = match &self.after {
            Some(between) => between.apply(y),
            None => y,
        };
        unfolded(y, &[&[b, p], gives.as_slice()].concat())
    }

    /// The gradient of its weight and bias for each row, of the value at the site it reads and the gradient at the site it
    /// writes: what `trace` holds of a pass that read the one and differentiated the other.
    ///
    /// # Errors
    /// [`HookError::NotRead`], [`HookError::NoGradient`].
    pub fn gradient(&self, trace: &Trace) -> Result<ProductGradient, HookError> {
        let (gives, given) = self.sides();
        let (read, behind, [b, p]) = self.both(trace)?;
        let [x, y] = [given.iter().product::<usize>(), gives.iter().product()];
        let (read, behind) = (read.reshape([b, p, x]), behind.reshape([b, p, y]));
        let weight = behind.clone().swap_dims(1, 2).matmul(read);
        let bias = behind.sum_dim(1).reshape([b, y]);
        Ok(ProductGradient {
            weight: unfolded(weight, &[&[b], self.spec.dims().as_slice()].concat())?,
            bias: unfolded(bias, &[&[b], gives.as_slice()].concat())?,
        })
    }

    /// What the gradient of its weight is made of, over all rows and positions of a pass: what it is given, `[n, in]`, and the gradients
    /// of what it gives, `[n, out]`. The gradient of the weight, of an objective summed over rows, is the second, transposed, times the
    /// first.
    ///
    /// # Errors
    /// As [`Projection::gradient`].
    pub fn factors(&self, trace: &Trace) -> Result<[Tensor<2>; 2], HookError> {
        let (read, behind, _) = self.both(trace)?;
        Ok([read, behind])
    }

    /// The same where what it reads is that of the entries of a tower, and what it gives that of rows: `of_rows` says of each row whose entry
    /// it is.
    pub(crate) fn factors_across(
        &self,
        trace: &Trace,
        of_rows: &[usize],
    ) -> Result<[Tensor<2>; 2], HookError> {
        let (read, written) = self.places()?;
        let entries: Tensor<3> = trace.get(read)?.clone().rank_of(read)?;
        let (device, count) = (entries.device().without_autodiff(), entries.dims()[0]);
        if let Some(entry) = of_rows.iter().find(|entry| **entry >= count) {
            return Err(HookError::Values { dims: entries.dims().to_vec(), given: entry + 1 });
        }
        let of_rows: Vec<i64> = of_rows.iter().map(|entry| *entry as i64).collect();
        let rows = TensorData::new(of_rows.clone(), [of_rows.len()]);
        let read = AnyTensor::new(entries.select(0, Tensor::<1, Int>::from_data(rows, &device)));
        let (read, behind, _) = self.paired(&read, trace.grad(written)?)?;
        Ok([read, behind])
    }

    /// The sites that it reads and writes.
    pub(crate) fn places(&self) -> Result<(Site, Site), HookError> {
        match (&self.spec.reads, &self.spec.writes) {
            (Some(reads), Some(writes)) => Ok((reads.site, writes.site)),
            _ => Err(HookError::NoObjective),
        }
    }

    /// What it is given and the gradients of what it gives, both flat, with their rows and positions.
    fn both(&self, trace: &Trace) -> Result<(Tensor<2>, Tensor<2>, [usize; 2]), HookError> {
        let (read, written) = self.places()?;
        self.paired(trace.get(read)?, trace.grad(written)?)
    }

    fn paired(
        &self,
        read: &AnyTensor,
        behind: &AnyTensor,
    ) -> Result<(Tensor<2>, Tensor<2>, [usize; 2]), HookError> {
        let (gives, given) = self.sides();
        let ([b, p, x], [rows, positions, y]) = (flat(read, &given)?, flat(behind, &gives)?);
        if [b, p] != [rows, positions] {
            let (holds, other) = (read.dims(), behind.dims());
            let (site, _) = self.places()?;
            return Err(HookError::Operand { site, holds, given: other, verb: "multiplied" });
        }
        let read: Tensor<2> = reshaped(read.clone(), [b * p, x])?;
        let mut behind: Tensor<2> = reshaped(behind.clone(), [b * p, y])?;
        if let Some(after) = &self.after {
            behind = after.back(self.product(read.clone()), behind);
        }
        Ok((self.entered(read), behind, [b, p]))
    }

    /// A direction at the site it writes as one at the site it reads, with the scales of norms between held at what they are where
    /// the site it reads holds `read`, `[in]`: products with what is written are those with what is read, plus a constant. `None`
    /// where a cap lies between, which is no affine map.
    ///
    /// # Errors
    /// [`HookError::Values`] for a vector of another width; [`HookError::Read`].
    pub fn pulled(&self, read: &[f32], direction: &[f64]) -> Result<Option<Pulled>, HookError> {
        let [out, given] = self.weight.dims();
        for (found, wanted) in [(read.len(), given), (direction.len(), out)] {
            if found != wanted {
                return Err(HookError::Values { dims: vec![wanted], given: found });
            }
        }
        let device = self.weight.device();
        let row = |values: Vec<f32>| Tensor::<1>::from_floats(values.as_slice(), &device).unsqueeze::<2>();
        let host = |x: Tensor<2>| AnyTensor::new(x).to_values();
        let read_here = row(read.to_vec());
        let (mut along, mut constant) = (direction.to_vec(), None);
        match &self.after {
            Some(Between::Norm(gain)) => {
                let held = gain.held_at(&host(self.product(read_here.clone()))?)?;
                constant = held.has_bias().then(|| held.constant(&along));
                along = held.pull(&along);
            }
            Some(Between::Scale(by)) => along.iter_mut().for_each(|d| *d *= f64::from(*by)),
            Some(Between::Cap(_)) => return Ok(None),
            None => {}
        }
        if let Some(bias) = &self.bias {
            let bias = AnyTensor::new(bias.clone()).to_values()?;
            let own: f64 = bias.iter().zip(&along).map(|(bias, d)| f64::from(*bias) * d).sum();
            constant = Some(constant.unwrap_or(0.0) + own);
        }
        let narrow = along.iter().map(|d| *d as f32).collect();
        along = host(row(narrow).matmul(self.weight.clone()))?.into_iter().map(f64::from).collect();
        match &self.before {
            Some(Between::Norm(gain)) => {
                let held = gain.held_at(read)?;
                if held.has_bias() {
                    constant = Some(constant.unwrap_or(0.0) + held.constant(&along));
                }
                along = held.pull(&along);
            }
            Some(Between::Scale(by)) => along.iter_mut().for_each(|d| *d *= f64::from(*by)),
            Some(Between::Cap(_)) => return Ok(None),
            None => {}
        }
        Ok(Some(Pulled { along, constant }))
    }

    /// One entry of what it gives: its row of the weight, `[in]`, and its bias.
    ///
    /// # Errors
    /// [`HookError::Values`] for an entry that is not there; [`HookError::Read`].
    pub fn row(&self, entry: usize) -> Result<(Vec<f64>, Option<f64>), HookError> {
        let row = AnyTensor::new(self.weight.clone()).rows(entry, 1)?.to_values()?;
        let bias = match &self.bias {
            Some(bias) => AnyTensor::new(bias.clone()).rows(entry, 1)?.to_values()?.first().copied(),
            None => None,
        };
        Ok((row.into_iter().map(f64::from).collect(), bias.map(f64::from)))
    }

    /// The weight, `[out, in]`.
    pub(crate) fn weight(&self) -> &Tensor<2> {
        &self.weight
    }

    /// The weight with the gain of a norm that lies behind it, or a factor, in it, `[out, in]`. What a norm divides by is left out, and so
    /// is a cap.
    pub(crate) fn written(&self) -> Result<Tensor<2>, HookError> {
        Ok(match &self.after {
            Some(Between::Norm(gain)) => gain.folded_columns(self.weight.clone()),
            Some(Between::Scale(by)) => self.weight.clone().mul_scalar(*by),
            Some(Between::Cap(_)) | None => self.weight.clone(),
        })
    }

    fn entered(&self, read: Tensor<2>) -> Tensor<2> {
        match &self.before {
            Some(between) => between.apply(read),
            None => read,
        }
    }

    /// The lengths of what it gives and of what it is given.
    fn sides(&self) -> (Vec<usize>, Vec<usize>) {
        let summed = if let WeightKind::Product { summed } = self.spec.kind { summed } else { 0 };
        sides(&self.spec, summed)
    }
}

impl Between {
    fn apply(&self, x: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Norm(gain) => gain.apply(x),
            Self::Scale(by) => x.mul_scalar(*by),
            Self::Cap(cap) => x.div_scalar(*cap).tanh().mul_scalar(*cap),
        }
    }

    fn back(&self, x: Tensor<2>, behind: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Norm(gain) => gain.back(x, behind),
            Self::Scale(by) => behind.mul_scalar(*by),
            Self::Cap(cap) => {
                let share = x.div_scalar(*cap).tanh().square();
                behind.clone() - behind * share
            }
        }
    }
}

fn sides(spec: &WeightSpec, summed: usize) -> (Vec<usize>, Vec<usize>) {
    let mut gives = spec.dims();
    let given = gives.split_off(gives.len().saturating_sub(summed));
    (gives, given)
}

fn between(subject: &dyn Subject, through: Option<&Through>) -> Result<Option<Between>, SubjectError> {
    Ok(match through {
        None => None,
        Some(Through::Norm(name)) => Some(Between::Norm(Gain::of(subject, name)?)),
        Some(Through::Scale(by)) => Some(Between::Scale(*by)),
        Some(Through::Cap(cap)) => Some(Between::Cap(*cap)),
        Some(other) => {
            let what = format!("a weight that can be read through {other:?}");
            return Err(SubjectError::Unsupported { subject: subject.name().to_owned(), what });
        }
    })
}

/// Batch, positions, and how many numbers a position holds, if these are of the lengths expected. A site without positions has one.
fn flat(x: &AnyTensor, own: &[usize]) -> Result<[usize; 3], HookError> {
    let dims = x.dims();
    match dims.as_slice() {
        [b, p, rest @ ..] if rest == own => Ok([*b, *p, own.iter().product()]),
        [b, rest @ ..] if rest == own => Ok([*b, 1, own.iter().product()]),
        _ => Err(HookError::Values { given: dims.iter().product(), dims: own.to_vec() }),
    }
}
