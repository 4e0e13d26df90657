use burn::tensor::Tensor;
use mmlens_kernels::{layer_norm, plain, rms_norm};
use proptest::prelude::*;

use super::support::{assert_close, compare, random, tensor, values};

fn both<const D: usize>(what: &str, x: Tensor<D>) {
    let d = x.dims()[D - 1];
    let (weight, bias) = (random::<1>(8, 2.0, [d]), random::<1>(9, 1.0, [d]));
    compare(
        &format!("rms {what}"),
        &[x.clone()],
        |x| rms_norm(x[0].clone(), weight.clone(), 1e-5),
        |x| plain::rms_norm(x[0].clone(), weight.clone(), 1e-5),
    );
    compare(
        &format!("layer {what}"),
        &[x],
        |x| layer_norm(x[0].clone(), weight.clone(), bias.clone(), 1e-5),
        |x| plain::layer_norm(x[0].clone(), weight.clone(), bias.clone(), 1e-5),
    );
}

#[test]
fn shapes_of_every_rank() {
    both("[2, 7]", random::<2>(1, 3.0, [2, 7]));
    both("[1, 50, 96]", random::<3>(1, 3.0, [1, 50, 96]));
    both("[3, 5, 4, 17]", random::<4>(1, 3.0, [3, 5, 4, 17]));
    both("many tasks", random::<3>(1, 3.0, [3, 97, 257]));
    both("no row", random::<3>(1, 3.0, [2, 0, 5]));
}

#[test]
fn views() {
    let x = random::<3>(1, 3.0, [8, 12, 70]);
    both("turned", x.clone().swap_dims(0, 1));
    both("across", x.clone().swap_dims(1, 2));
    both("narrowed", x.narrow(2, 5, 40));
}

/// One coordinate: the layer norm of it is the bias, and its gradient zero but for rounding.
#[test]
fn length_one() {
    let x = tensor(vec![3.0, -2.0, 0.0], [3, 1]);
    both("one coordinate", x);
}

#[test]
fn ends_of_the_line() {
    for row in [[0.0; 4], [1e-20; 4], [1e18, -1e18, 1.0, 0.0], [1e-15, 2e-15, 3e-15, -1e-15], [5.0; 4]] {
        both("small and large", tensor::<2>(row.to_vec(), [1, 4]));
    }
    for odd in [f32::INFINITY, f32::NAN] {
        let x = tensor::<2>(vec![odd, 1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 4.0], [2, 4]);
        let weight = tensor(vec![1.0, 2.0, 3.0, 4.0], [4]);
        let (got, want) = (rms_norm(x.clone(), weight.clone(), 1e-6), plain::rms_norm(x, weight, 1e-6));
        assert_close("odd", &values(got), &values(want), 1e-5);
    }
}

/// A weight that is tracked gets its gradient, too.
#[test]
fn tracked_weights() {
    let (x, weight, bias) =
        (random::<2>(1, 3.0, [9, 30]), random::<1>(2, 1.0, [30]), random::<1>(3, 1.0, [30]));
    compare(
        "weight",
        &[weight.clone()],
        |w| rms_norm(x.clone(), w[0].clone(), 1e-5),
        |w| plain::rms_norm(x.clone(), w[0].clone(), 1e-5),
    );
    compare(
        "weight and bias",
        &[weight, bias],
        |w| layer_norm(x.clone(), w[0].clone(), w[1].clone(), 1e-5),
        |w| plain::layer_norm(x.clone(), w[0].clone(), w[1].clone(), 1e-5),
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_shape(a in 0_usize..4, b in 1_usize..40, c in 2_usize..70, seed in 0_u64..1000) {
        both("any", random::<3>(seed, 4.0, [a, b, c]));
    }
}
