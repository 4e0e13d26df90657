//! Values of one prompt as vectors, one for each node, and the inner products of two sets of them.

use burn::tensor::Tensor;
use mmlens_core::{AnyTensor, HookError};

use crate::reshaped;

/// One value less another of the same shape.
///
/// # Errors
/// [`HookError::Values`] for different shapes.
pub fn less(left: &AnyTensor, right: &AnyTensor) -> Result<AnyTensor, HookError> {
    if left.dims() != right.dims() {
        return Err(HookError::Values { dims: left.dims(), given: right.dims().iter().product() });
    }
    let (dims, all) = (left.dims(), left.dims().iter().product());
    let left: Tensor<1> = reshaped(left.clone(), [all])?;
    let right: Tensor<1> = reshaped(right.clone(), [all])?;
    crate::unfolded(left - right, &dims)
}

/// A value of one prompt as one vector, `[1, ...]`.
///
/// # Errors
/// [`HookError::Values`] for a rank outside 1 to 6.
pub fn as_vector(x: &AnyTensor) -> Result<AnyTensor, HookError> {
    let all = x.dims().iter().product();
    reshaped(x.clone(), [1, all]).map(AnyTensor::new::<2>)
}

/// Of the vectors along the last axis of two values of one shape the cosines, one by one, in double precision. A vector of zeros is like any
/// other: one.
///
/// # Errors
/// [`HookError::Values`] for different shapes.
pub fn row_cosines(left: &AnyTensor, right: &AnyTensor) -> Result<Vec<f32>, HookError> {
    let (dims, given) = (left.dims(), right.dims());
    if dims != given {
        return Err(HookError::Values { dims, given: given.iter().product() });
    }
    let wide = dims.last().copied().unwrap_or(1).max(1);
    let (left, right) = (left.to_values()?, right.to_values()?);
    let cosine = |(a, b): (&[f32], &[f32])| {
        let dot =
            |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        let size = (dot(a, a) * dot(b, b)).sqrt();
        if size > 0.0 { (dot(a, b) / size) as f32 } else { 1.0 }
    };
    Ok(left.chunks(wide).zip(right.chunks(wide)).map(cosine).collect())
}

/// Cosines of vectors `[a, n]` and `[b, n]`: `[a, b]`. A vector of zeros has none, and is no number there.
///
/// # Errors
/// [`HookError::Rank`] for other ranks, [`HookError::Values`] for vectors of different length.
pub fn cosines(left: &AnyTensor, right: &AnyTensor) -> Result<AnyTensor, HookError> {
    let rows = |x: &AnyTensor| -> Result<Tensor<2>, HookError> { x.clone().rank_of("vectors to compare") };
    let (left, right) = (rows(left)?, rows(right)?);
    let [dims, given] = [left.dims(), right.dims()];
    if dims[1] != given[1] {
        return Err(HookError::Values { dims: dims.to_vec(), given: given[1] });
    }
    let unit = |x: Tensor<2>| x.clone() / x.square().sum_dim(1).sqrt();
    Ok(unit(left).matmul(unit(right).transpose()).into())
}

/// `[1, pos, head, d]`, of a tower `[image, pos, head, d]`, as a vector for each head, `[head, image * pos * d]`: of one prompt and all that it
/// shows.
///
/// # Errors
/// [`HookError::Values`] for another rank.
pub fn by_head(x: &AnyTensor) -> Result<AnyTensor, HookError> {
    let dims = x.dims();
    let [pictures, each, heads, width] = *dims else {
        return Err(HookError::Values { given: dims.iter().product(), dims });
    };
    let positions = pictures * each;
    let x: Tensor<3> = reshaped(x.clone(), [positions, heads, width])?;
    Ok(x.swap_dims(0, 1).reshape([heads, positions * width]).into())
}

/// Inner products of vectors `[a, n]` and `[b, n]`: `a * b` values, row-major.
///
/// # Errors
/// [`HookError::Values`] for no vectors or vectors of different length.
pub fn products(left: &[AnyTensor], right: &[AnyTensor]) -> Result<Vec<f32>, HookError> {
    let stack = |parts: &[AnyTensor]| -> Result<Tensor<2>, HookError> {
        let parts: Vec<Tensor<2>> =
            parts.iter().map(|x| x.clone().rank_of("vectors of nodes")).collect::<Result<_, _>>()?;
        let wide = parts.first().map_or(0, |x| x.dims()[1]);
        match parts.iter().find(|x| x.dims()[1] != wide) {
            None if !parts.is_empty() => Ok(Tensor::cat(parts, 0)),
            other => {
                let given = other.map_or(0, |x| x.dims()[1]);
                Err(HookError::Values { dims: vec![wide], given })
            }
        }
    };
    let (left, right) = (stack(left)?, stack(right)?);
    let ([_, wide], [_, given]) = (left.dims(), right.dims());
    if wide != given {
        return Err(HookError::Values { dims: vec![wide], given });
    }
    AnyTensor::new(left.matmul(right.transpose())).to_values()
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use mmlens_core::AnyTensor;

    use super::{as_vector, by_head, cosines, less, products};

    fn tensor(values: &[f32], dims: &[usize]) -> AnyTensor {
        AnyTensor::from_values(values.to_vec(), dims, &Device::default()).unwrap()
    }

    #[test]
    fn heads_become_vectors() {
        // two positions, two heads of one value
        let x = tensor(&[1.0, 2.0, 3.0, 4.0], &[1, 2, 2, 1]);
        assert_eq!(by_head(&x).unwrap().to_values().unwrap(), [1.0, 3.0, 2.0, 4.0]);
        let one = as_vector(&tensor(&[1.0, 10.0], &[1, 2, 1])).unwrap();
        // 1 + 30 and 2 + 40
        assert_eq!(products(std::slice::from_ref(&one), &[by_head(&x).unwrap()]).unwrap(), [31.0, 42.0]);
        assert!(products(&[one], &[as_vector(&x).unwrap()]).is_err() && products(&[], &[]).is_err());
        // Of two pictures with a position each the same.
        let pictures = by_head(&tensor(&[1.0, 2.0, 3.0, 4.0], &[2, 1, 2, 1])).unwrap();
        assert_eq!(pictures.to_values().unwrap(), [1.0, 3.0, 2.0, 4.0]);
        assert!(by_head(&tensor(&[0.0; 4], &[2, 2, 1])).is_err());
        assert_eq!(less(&x, &x).unwrap().to_values().unwrap(), [0.0; 4]);
        assert!(less(&x, &tensor(&[0.0; 4], &[4])).is_err());
    }

    #[test]
    fn cosines_by_hand() {
        let (left, right) = (tensor(&[3.0, 4.0, 0.0, -2.0], &[2, 2]), tensor(&[1.0, 0.0], &[1, 2]));
        // (3, 4) and (0, -2) with (1, 0)
        let found = cosines(&left, &right).unwrap();
        assert_eq!((found.dims(), found.to_values().unwrap()), (vec![2, 1], vec![0.6, 0.0]));
        assert!(cosines(&tensor(&[0.0, 0.0], &[1, 2]), &right).unwrap().finite_values("zeros").is_err());
        assert!(cosines(&left, &tensor(&[1.0], &[1, 1])).is_err());
    }
}
