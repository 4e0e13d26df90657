//! Sums over the axes nobody asked to see.

/// Sums row-major values over every axis that is not kept, in double precision.
pub fn summed(values: &[f32], dims: &[usize], keep: &[usize]) -> Vec<f32> {
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
    sums.into_iter().map(|sum| sum as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::summed;

    #[test]
    fn kept_axes_stay_in_their_order() {
        let values: Vec<f32> = (0..12_u8).map(f32::from).collect();
        // rows of 0 1 2 3 | 4 5 6 7 | 8 9 10 11
        assert_eq!(summed(&values, &[3, 4], &[0]), [6.0, 22.0, 38.0]);
        assert_eq!(summed(&values, &[3, 4], &[1]), [12.0, 15.0, 18.0, 21.0]);
        assert_eq!(summed(&values, &[3, 4], &[0, 1]), values);
        assert_eq!(summed(&values, &[3, 4], &[]), [66.0]);
        // [2, 3, 2] over the middle: 0 + 2 + 4, 1 + 3 + 5, 6 + 8 + 10, 7 + 9 + 11
        assert_eq!(summed(&values, &[2, 3, 2], &[0, 2]), [6.0, 9.0, 24.0, 27.0]);
    }
}
