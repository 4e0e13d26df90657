//! Sums, or the largest, over the axes nobody asked to see.

use mmlens_core::HookError;
use serde::{Deserialize, Serialize};

/// How the values along axes that nobody asked to see become one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pool {
    /// Their sum, with their signs.
    #[default]
    Sum,
    /// The largest magnitude.
    Max,
    /// The root of the sum of their squares.
    Norm,
}

impl Pool {
    /// Row-major values pooled over every axis that is not kept, in double precision.
    ///
    /// # Errors
    /// [`HookError::Values`] for another number of values than the axes have places.
    pub fn of(self, values: &[f32], dims: &[usize], keep: &[usize]) -> Result<Vec<f32>, HookError> {
        if dims.iter().product::<usize>() != values.len() {
            return Err(HookError::Values { dims: dims.to_vec(), given: values.len() });
        }
        let kept = |axis: usize| keep.contains(&axis);
        let len: usize = dims.iter().enumerate().filter(|(axis, _)| kept(*axis)).map(|(_, n)| n).product();
        let mut pooled = vec![0.0_f64; len];
        for (offset, value) in values.iter().enumerate() {
            let (mut rest, mut place, mut stride) = (offset, 0, 1);
            for (axis, length) in dims.iter().enumerate().rev() {
                if kept(axis) {
                    place += rest % length.max(&1) * stride;
                    stride *= length;
                }
                rest /= length.max(&1);
            }
            if let Some(slot) = pooled.get_mut(place) {
                let value = f64::from(*value);
                *slot = match self {
                    Self::Sum => *slot + value,
                    Self::Norm => *slot + value * value,
                    // What is no number stays, to be refused where the table is made.
                    Self::Max if value.is_nan() || slot.is_nan() => f64::NAN,
                    Self::Max => slot.max(value.abs()), // no NaN: looked at above
                };
            }
        }
        let last = |value: f64| if self == Self::Norm { value.sqrt() } else { value };
        Ok(pooled.into_iter().map(|value| last(value) as f32).collect())
    }
}

/// Sums row-major values over every axis that is not kept, in double precision.
///
/// # Errors
/// As [`Pool::of`].
pub fn summed(values: &[f32], dims: &[usize], keep: &[usize]) -> Result<Vec<f32>, HookError> {
    Pool::Sum.of(values, dims, keep)
}

#[cfg(test)]
mod tests {
    use super::{Pool, summed};

    #[test]
    fn kept_axes_stay_in_their_order() {
        let values: Vec<f32> = (0..12_u8).map(f32::from).collect();
        // rows of 0 1 2 3 | 4 5 6 7 | 8 9 10 11
        assert_eq!(summed(&values, &[3, 4], &[0]).unwrap(), [6.0, 22.0, 38.0]);
        assert_eq!(summed(&values, &[3, 4], &[1]).unwrap(), [12.0, 15.0, 18.0, 21.0]);
        assert_eq!(summed(&values, &[3, 4], &[0, 1]).unwrap(), values);
        assert_eq!(summed(&values, &[3, 4], &[]).unwrap(), [66.0]);
        // [2, 3, 2] over the middle: 0 + 2 + 4, 1 + 3 + 5, 6 + 8 + 10, 7 + 9 + 11
        assert_eq!(summed(&values, &[2, 3, 2], &[0, 2]).unwrap(), [6.0, 9.0, 24.0, 27.0]);
        assert!(summed(&values[1..], &[3, 4], &[0]).is_err());
    }
    #[test]
    fn the_largest_and_the_length_know_no_sign() {
        // rows of 3 -4 | 0 -1
        let values = [3.0, -4.0, 0.0, -1.0];
        assert_eq!(Pool::Max.of(&values, &[2, 2], &[0]).unwrap(), [4.0, 1.0]);
        assert_eq!(Pool::Norm.of(&values, &[2, 2], &[0]).unwrap(), [5.0, 1.0]);
        assert_eq!(Pool::Max.of(&values, &[2, 2], &[1]).unwrap(), [3.0, 4.0]);
        for nan in [[f32::NAN, 1.0], [1.0, f32::NAN]] {
            assert!(Pool::Max.of(&nan, &[1, 2], &[0]).unwrap()[0].is_nan());
        }
    }
}
