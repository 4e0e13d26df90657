//! Attention weights read as shares that flow from position to position, layer by layer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::Tensor;
use mmlens_core::{
    AnyTensor, Change, HookError, Inputs, Part, Plan, Point, Region, Site, Subject, SubjectError,
};

/// How the heads of a layer become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Heads {
    /// Their mean.
    #[default]
    Mean,
    /// The largest weight of any head.
    Max,
    /// The smallest weight of any head.
    Min,
}

impl Heads {
    /// Its name in findings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Max => "max",
            Self::Min => "min",
        }
    }
}

/// How the heads of a layer, and the stream that passes them by, become one matrix of shares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mixing {
    /// How heads become one.
    pub heads: Heads,
    /// The share of the stream that passes the layer by, in [0, 1].
    pub residual: f32,
}

impl Mixing {
    /// `[batch, head, query, key]` to `(1 - r) heads + r identity`, its rows divided by their sums: `[batch,
    /// query, key]`. A row whose heads share no key is the identity's.
    ///
    /// # Errors
    /// [`HookError::Rank`], or [`HookError::Values`] for a pattern that is not square.
    pub fn mix(&self, pattern: AnyTensor) -> Result<Tensor<3>, HookError> {
        let pattern: Tensor<4> = pattern.rank_of("attn.pattern")?;
        let dims = pattern.dims();
        let [batch, heads, queries, keys] = dims;
        if queries != keys {
            return Err(HookError::Values { dims: dims.to_vec(), given: batch * heads * queries * queries });
        }
        let fused: Tensor<3> = match self.heads {
            Heads::Mean => pattern.mean_dim(1),
            Heads::Max => pattern.max_dim(1),
            Heads::Min => pattern.min_dim(1),
        }
        .squeeze_dim(1);
        let identity = Tensor::<2>::eye(keys, &fused.device()).unsqueeze_dim::<3>(0);
        let mixed = fused.mul_scalar(1.0 - self.residual) + identity.clone().mul_scalar(self.residual);
        let sums = mixed.clone().sum_dim(2);
        let empty = sums.clone().lower_equal_elem(0.0);
        let mixed = mixed.mask_where(
            empty.clone().expand([batch, queries, keys]),
            identity.expand([batch, queries, keys]),
        );
        Ok(mixed / sums.mask_fill(empty, 1.0))
    }
}

/// The product of the layers, later ones from the left; `None` for no layers.
pub fn composed(layers: impl IntoIterator<Item = Tensor<3>>) -> Option<Tensor<3>> {
    layers.into_iter().reduce(|below, layer| layer.matmul(below))
}

/// Shares that have flowed through all layers, on the host.
#[derive(Debug, Clone, PartialEq)]
pub struct Rollout {
    positions: usize,
    values: Vec<f32>,
}

impl Rollout {
    /// The product of the layers; `None` for no layers.
    ///
    /// # Errors
    /// [`HookError::Read`] if the device does not hand over the values.
    pub fn of(layers: impl IntoIterator<Item = Tensor<3>>) -> Result<Option<Self>, HookError> {
        let Some(product) = composed(layers) else { return Ok(None) };
        let [_, _, positions] = product.dims();
        Ok(Some(Self { positions, values: AnyTensor::new(product).to_values()? }))
    }

    /// Number of positions.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// Number of rows of the batch.
    pub fn rows(&self) -> usize {
        self.values.len() / (self.positions * self.positions).max(1)
    }

    /// The matrix of one row of the batch, row-major: what each position is mixed of.
    pub fn matrix(&self, row: usize) -> &[f32] {
        let size = self.positions * self.positions;
        self.values.get(row * size..(row + 1) * size).unwrap_or(&[])
    }

    /// What the last position is mixed of.
    pub fn last(&self, row: usize) -> &[f32] {
        let matrix = self.matrix(row);
        matrix.get(matrix.len().saturating_sub(self.positions)..).unwrap_or(&[])
    }

    /// Shares given to positions, as shares of what these are mixed of.
    ///
    /// # Errors
    /// [`HookError::Values`] for a row there is not, or another number of shares than there are positions.
    pub fn carry(&self, row: usize, shares: &[f32]) -> Result<Vec<f32>, HookError> {
        if row >= self.rows() || shares.len() != self.positions {
            let dims = vec![self.rows(), self.positions];
            return Err(HookError::Values { dims, given: shares.len() });
        }
        let mut carried = vec![0.0_f64; self.positions];
        for (share, from) in shares.iter().zip(self.matrix(row).chunks(self.positions.max(1))) {
            for (sum, part) in carried.iter_mut().zip(from) {
                *sum += f64::from(*share) * f64::from(*part);
            }
        }
        Ok(carried.into_iter().map(|sum| sum as f32).collect())
    }
}

/// One pass; the attention of every one of these sites, mixed as it is reached, so that no more than one
/// layer's heads are held at a time.
///
/// # Errors
/// Whatever the pass reports.
pub fn mixed_attention(
    subject: &dyn Subject,
    inputs: &Inputs,
    sites: &[Site],
    mixing: Mixing,
) -> Result<BTreeMap<Site, Tensor<3>>, SubjectError> {
    let found: Arc<Mutex<BTreeMap<Site, Tensor<3>>>> = Arc::default();
    let mut plan = Plan::new();
    for &site in sites {
        let found = found.clone();
        plan = plan.edit(site, move |pattern| {
            let mixed = mixing.mix(pattern.clone())?;
            found.lock().unwrap_or_else(PoisonError::into_inner).insert(site, mixed);
            Ok(pattern)
        })?;
    }
    subject.run(inputs, plan)?;
    let found = std::mem::take(&mut *found.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(found)
}

/// How many blocks of the image tower reach `vision.features`: the rest have no effect on an answer. Found by
/// setting what leaves a block to zero, from the last block down, until the features change.
///
/// # Errors
/// Whatever a pass reports.
pub fn blocks_read(subject: &dyn Subject, inputs: &Inputs, blocks: usize) -> Result<usize, SubjectError> {
    let features = Site::of(Part::Vision, Point::Features);
    if !subject.sites().iter().any(|spec| spec.site == features) {
        return Ok(blocks);
    }
    let read = |plan: Plan| -> Result<Vec<f32>, SubjectError> {
        Ok(subject.run(inputs, plan.read(features)?)?.get(features)?.to_values()?)
    };
    let whole = read(Plan::new())?;
    for block in (0..blocks).rev() {
        let site = Site::block(Part::Vision, block, Point::ResidPost);
        if read(Plan::new().change(site, Region::all(), Change::Zero)?)? != whole {
            return Ok(block + 1);
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor};
    use mmlens_core::AnyTensor;

    use super::{Heads, Mixing, Rollout, composed};

    fn pattern(values: &[f32], heads: usize) -> AnyTensor {
        AnyTensor::from_values(values.to_vec(), &[1, heads, 2, 2], &Device::default()).unwrap()
    }

    fn values(x: Tensor<3>) -> Vec<f32> {
        AnyTensor::new(x).to_values().unwrap()
    }

    #[test]
    fn uniform_layers_give_the_value_worked_out_by_hand() {
        let mixing = Mixing { heads: Heads::Mean, residual: 0.5 };
        let uniform = || mixing.mix(pattern(&[0.5; 4], 1)).unwrap();
        // each layer with its skip is [3/4 1/4; 1/4 3/4]; squared, the diagonal is 9/16 + 1/16 = 5/8
        assert_eq!(values(composed([uniform(), uniform()]).unwrap()), [0.625, 0.375, 0.375, 0.625]);
        assert!(composed([]).is_none());
    }

    #[test]
    fn later_layers_multiply_from_the_left() {
        let mixing = Mixing { heads: Heads::Mean, residual: 0.0 };
        let swap = mixing.mix(pattern(&[0.0, 1.0, 1.0, 0.0], 1)).unwrap();
        let first = mixing.mix(pattern(&[1.0, 0.0, 1.0, 0.0], 1)).unwrap();
        // after the swap both rows of `first` still look at what was position 1
        assert_eq!(values(composed([swap.clone(), first.clone()]).unwrap()), [0.0, 1.0, 0.0, 1.0]);
        assert_eq!(values(composed([first, swap]).unwrap()), [1.0, 0.0, 1.0, 0.0]);
    }

    #[test]
    fn shares_are_carried_through() {
        let layer =
            Mixing { heads: Heads::Mean, residual: 0.0 }.mix(pattern(&[0.25, 0.75, 1.0, 0.0], 1)).unwrap();
        let rollout = Rollout::of([layer]).unwrap().unwrap();
        assert_eq!((rollout.rows(), rollout.positions(), rollout.last(0)), (1, 2, &[1.0, 0.0][..]));
        // 0.4 * (0.25, 0.75) + 0.2 * (1, 0)
        let carried = rollout.carry(0, &[0.4, 0.2]).unwrap();
        assert!(rollout.carry(0, &[0.4]).is_err() && rollout.carry(9, &[0.4, 0.2]).is_err());
        assert!((carried[0] - 0.3).abs() < 1e-7 && (carried[1] - 0.3).abs() < 1e-7, "{carried:?}");
        assert!(rollout.matrix(1).is_empty());
    }

    #[test]
    fn heads_are_joined_and_rows_sum_to_one() {
        // heads [1 0; .5 .5] and [.5 .5; .5 .5]
        let both = [1.0, 0.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5];
        let mix = |heads| values(Mixing { heads, residual: 0.0 }.mix(pattern(&both, 2)).unwrap());
        assert_eq!(mix(Heads::Mean), [0.75, 0.25, 0.5, 0.5]);
        // largest 1, .5 divided by 1.5
        let max = mix(Heads::Max);
        assert!((max[0] - 2.0 / 3.0).abs() < 1e-7 && (max[1] - 1.0 / 3.0).abs() < 1e-7);
        // smallest .5, 0 divided by .5
        assert_eq!(mix(Heads::Min), [1.0, 0.0, 0.5, 0.5]);
    }

    #[test]
    fn a_row_without_a_shared_key_keeps_to_itself() {
        let apart = [1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0];
        let mixing = Mixing { heads: Heads::Min, residual: 0.0 };
        assert_eq!(values(mixing.mix(pattern(&apart, 2)).unwrap()), [1.0, 0.0, 0.0, 1.0]);
    }
}
