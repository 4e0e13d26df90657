use burn::tensor::{Bool, Device, Tensor, TensorData};
use mmlens_finding::Tolerance;

/// Numbers that look random, between -1 and 1.
pub(crate) fn noise(seed: u64, n: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

pub(crate) fn tensor<const D: usize>(values: Vec<f32>, dims: [usize; D]) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, dims), &Device::flex())
}

pub(crate) fn random<const D: usize>(seed: u64, size: f32, dims: [usize; D]) -> Tensor<D> {
    tensor(noise(seed, dims.iter().product()).into_iter().map(|x| x * size).collect(), dims)
}

/// About one in three is masked.
pub(crate) fn mask<const D: usize>(seed: u64, dims: [usize; D]) -> Tensor<D, Bool> {
    let values: Vec<bool> = noise(seed, dims.iter().product()).iter().map(|x| *x > 0.3).collect();
    Tensor::from_data(TensorData::new(values, dims), &Device::flex())
}

pub(crate) fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.without_autodiff().into_data().try_to_vec::<f32>().unwrap()
}

/// Largest difference over the largest value (at least 1) of the finite ones; infinite and undefined values must be the same.
pub(crate) fn assert_close(what: &str, got: &[f32], want: &[f32], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    let (mut ours, mut plain) = (Vec::new(), Vec::new());
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        if got.is_finite() && want.is_finite() {
            ours.push(*got);
            plain.push(*want);
        } else {
            assert!(got == want || (got.is_nan() && want.is_nan()), "{what} at {i}: {got}, plain {want}");
        }
    }
    Tolerance::either(tolerance, tolerance).check(what, &ours, &plain).unwrap();
}

/// Values and gradients of two functions of some tensors, with one upstream gradient for both.
pub(crate) fn compare<const D: usize, const O: usize>(
    what: &str,
    inputs: &[Tensor<D>],
    fast: impl Fn(&[Tensor<D>]) -> Tensor<O>,
    plain: impl Fn(&[Tensor<D>]) -> Tensor<O>,
) {
    let (got, want) = (fast(inputs), plain(inputs));
    assert_eq!(got.dims(), want.dims(), "{what}");
    let dims = want.dims();
    assert_close(&format!("{what}: value"), &values(got), &values(want), 1e-5);
    if dims.contains(&0) {
        return;
    }
    let upstream = random(99, 1.0, dims);
    let slopes = |f: &dyn Fn(&[Tensor<D>]) -> Tensor<O>| {
        let leaves: Vec<Tensor<D>> = inputs.iter().map(|x| x.clone().autodiff().require_grad()).collect();
        let y = f(&leaves);
        assert!(y.is_tracked(), "{what}");
        let grads = (y * upstream.clone().autodiff()).sum().backward();
        leaves.iter().map(|leaf| values(leaf.grad(&grads).unwrap())).collect::<Vec<_>>()
    };
    for (i, (got, want)) in slopes(&fast).iter().zip(&slopes(&plain)).enumerate() {
        assert_close(&format!("{what}: gradient {i}"), got, want, 1e-5);
    }
}
