//! Sums over the axes nobody asked to see.

use mmlens_core::HookError;

/// Sums row-major values over every axis that is not kept, in double precision.
///
/// # Errors
/// [`HookError::Values`] for another number of values than the axes have places.
pub fn summed(values: &[f32], dims: &[usize], keep: &[usize]) -> Result<Vec<f32>, HookError> {
    if dims.iter().product::<usize>() != values.len() {
        return Err(HookError::Values { dims: dims.to_vec(), given: values.len() });
    }
    let kept = |axis: usize| keep.contains(&axis);
    let len: usize = dims.iter().enumerate().filter(|(axis, _)| kept(*axis)).map(|(_, n)| n).product();
    let mut sums = vec![0.0_f64; len];
    for (offset, value) in values.iter().enumerate() {
        let (mut rest, mut place, mut stride) = (offset, 0, 1);
        for (axis, length) in dims.iter().enumerate().rev() {
            if kept(axis) {
                place += rest % length.max(&1) * stride;
                stride *= length;
            }
            rest /= length.max(&1);
        }
        if let Some(sum) = sums.get_mut(place) {
            *sum += f64::from(*value);
        }
    }
    Ok(sums.into_iter().map(|sum| sum as f32).collect())
}

#[cfg(test)]
mod tests {
    use super::summed;

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
}
