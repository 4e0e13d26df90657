//! Values of any rank seen at the rank a computation needs.

use burn::tensor::{Int, Tensor, TensorData};
use mmlens_core::{AnyTensor, HookError};

/// The same values, row-major, under other lengths.
///
/// # Errors
/// [`HookError::Values`] if the number of values is another, or the rank is not 1 to 6.
pub fn reshaped<const D: usize>(x: AnyTensor, dims: [usize; D]) -> Result<Tensor<D>, HookError> {
    let from = x.dims();
    let given = from.iter().product();
    let wrong = HookError::Values { dims: dims.to_vec(), given };
    if dims.iter().product::<usize>() != given {
        return Err(wrong);
    }
    match from.len() {
        1 => x.typed::<1>().map(|x| x.reshape(dims)),
        2 => x.typed::<2>().map(|x| x.reshape(dims)),
        3 => x.typed::<3>().map(|x| x.reshape(dims)),
        4 => x.typed::<4>().map(|x| x.reshape(dims)),
        5 => x.typed::<5>().map(|x| x.reshape(dims)),
        6 => x.typed::<6>().map(|x| x.reshape(dims)),
        _ => None,
    }
    .ok_or(wrong)
}

/// `[first, ...]` as `[first, rest]`.
///
/// # Errors
/// [`HookError::Values`] for a rank outside 1 to 6.
pub fn folded(x: AnyTensor) -> Result<Tensor<2>, HookError> {
    let dims = x.dims();
    let first = dims.first().copied().unwrap_or(0);
    reshaped(x, [first, dims.iter().skip(1).product()])
}

/// Rows as a value of any shape.
///
/// # Errors
/// [`HookError::Values`] if the number of values is another, or the rank is not 1 to 6.
pub fn unfolded<const D: usize>(x: Tensor<D>, dims: &[usize]) -> Result<AnyTensor, HookError> {
    let x = AnyTensor::new(x);
    match *dims {
        [a] => reshaped(x, [a]).map(AnyTensor::new),
        [a, b] => reshaped(x, [a, b]).map(AnyTensor::new),
        [a, b, c] => reshaped(x, [a, b, c]).map(AnyTensor::new),
        [a, b, c, d] => reshaped(x, [a, b, c, d]).map(AnyTensor::new),
        [a, b, c, d, e] => reshaped(x, [a, b, c, d, e]).map(AnyTensor::new),
        [a, b, c, d, e, f] => reshaped(x, [a, b, c, d, e, f]).map(AnyTensor::new),
        _ => Err(HookError::Values { dims: dims.to_vec(), given: x.dims().iter().product() }),
    }
}

/// The states of one prompt at some positions: `[1, pos, d]` to `[positions, d]`.
///
/// # Errors
/// [`HookError::Rank`] for another rank, [`HookError::Objective`] for a position past the end.
pub fn states_at(stream: &AnyTensor, positions: &[usize]) -> Result<AnyTensor, HookError> {
    let stream: Tensor<3> = stream.clone().rank_of("the stream")?;
    let [rows, len, width] = stream.dims();
    if let Some(index) = positions.iter().copied().find(|i| *i >= rows * len) {
        return Err(HookError::Objective { what: "position", index, len });
    }
    let places: Vec<i64> = positions.iter().map(|i| *i as i64).collect();
    let places = Tensor::<1, Int>::from_data(TensorData::new(places, [positions.len()]), &stream.device());
    Ok(stream.reshape([rows * len, width]).select(0, places).into())
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use mmlens_core::AnyTensor;

    use super::{folded, reshaped, unfolded};

    #[test]
    fn folding_and_unfolding_keep_every_value_in_its_place() {
        for dims in [
            vec![6],
            vec![2, 3],
            vec![2, 3, 4],
            vec![2, 1, 3, 2],
            vec![1, 2, 1, 2, 3],
            vec![2, 1, 1, 1, 1, 3],
        ] {
            let values: Vec<f32> = (0..dims.iter().product()).map(|i| i as f32).collect();
            let x = AnyTensor::from_values(values.clone(), &dims, &Device::default()).unwrap();
            let rows = folded(x).unwrap();
            assert_eq!(rows.dims()[0], dims[0]);
            let back = unfolded(rows, &dims).unwrap();
            assert_eq!((back.dims(), back.to_values().unwrap()), (dims, values));
        }
    }

    #[test]
    fn another_number_of_values_is_refused() {
        let x = AnyTensor::from_values(vec![0.0; 6], &[2, 3], &Device::default()).unwrap();
        let error = reshaped(x.clone(), [4, 2]).unwrap_err();
        assert_eq!(error.to_string(), "6 values cannot fill a tensor of shape [4, 2]");
        assert!(unfolded(folded(x).unwrap(), &[]).is_err());
    }
}
