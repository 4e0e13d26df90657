//! Finite first: what looks for the largest of some numbers refuses one that is none. Every comparison with NaN is false, so
//! that `max`, and any search built on it, passes NaN by.

/// A value that is no finite number.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("value {at} is {found}, where a finite number belongs")]
pub struct NotFinite {
    /// Where.
    pub at: usize,
    /// What stands there.
    pub found: f64,
}

/// Refuses values of which one is no finite number.
///
/// # Errors
/// [`NotFinite`] with the first of them.
pub fn finite<A: Copy + Into<f64>>(values: &[A]) -> Result<(), NotFinite> {
    let mut values = values.iter().map(|value| (*value).into()).enumerate();
    match values.find(|(_, value): &(usize, f64)| !value.is_finite()) {
        Some((at, found)) => Err(NotFinite { at, found }),
        None => Ok(()),
    }
}

/// The largest absolute value; 0 of none.
///
/// # Errors
/// [`NotFinite`].
pub fn largest<A: Copy + Into<f64>>(values: &[A]) -> Result<f64, NotFinite> {
    finite(values)?;
    Ok(highest(values.iter().map(|value| (*value).into().abs())))
}

/// The place of the largest value, the first of equal ones; `None` of no values.
///
/// # Errors
/// [`NotFinite`].
pub fn top<A: Copy + Into<f64>>(values: &[A]) -> Result<Option<usize>, NotFinite> {
    finite(values)?;
    let mut best: Option<(usize, f64)> = None;
    for (at, value) in values.iter().enumerate() {
        let value: f64 = (*value).into();
        // no NaN: looked for above
        if best.is_none_or(|(_, largest)| value > largest) {
            best = Some((at, value));
        }
    }
    Ok(best.map(|(at, _)| at))
}

/// The largest of absolute values that are known to be finite; 0 of none.
pub(crate) fn highest(sizes: impl Iterator<Item = f64>) -> f64 {
    sizes.fold(0.0, f64::max) // no NaN: those who call have looked
}

#[cfg(test)]
mod tests {
    use super::{finite, largest, top};

    #[test]
    fn the_largest_of_finite_values() {
        assert_eq!(largest(&[1.0_f32, -3.5, 2.0]), Ok(3.5));
        assert_eq!(largest::<f32>(&[]), Ok(0.0));
        assert_eq!(top(&[1.0_f32, 4.0, -9.0, 4.0]), Ok(Some(1)));
        assert_eq!(top(&[f32::MIN, f32::MIN]), Ok(Some(0)));
        assert_eq!(top::<f64>(&[]), Ok(None));
    }

    #[test]
    fn what_is_no_number_is_found_wherever_it_stands() {
        for found in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in 0..3 {
                let mut values = [1.0, -2.0, 3.0];
                values[at] = found;
                let said = format!("value {at} is {found}, where a finite number belongs");
                assert_eq!(finite(&values).unwrap_err().to_string(), said);
                assert_eq!(largest(&values).unwrap_err().to_string(), said);
                assert_eq!(top(&values).unwrap_err().to_string(), said);
            }
        }
    }
}
