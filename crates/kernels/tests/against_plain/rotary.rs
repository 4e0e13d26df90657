use burn::tensor::Tensor;
use mmlens_kernels::{plain, rotate};
use proptest::prelude::*;

use super::support::{compare, random};

fn both(what: &str, x: Tensor<4>) {
    let [b, p, _, w] = x.dims();
    for rows in [1, b] {
        let angles = random::<4>(7, 3.0, [rows, p, 1, w / 2]);
        let (cos, sin) = (angles.clone().cos(), angles.sin());
        compare(
            what,
            &[x.clone()],
            |x| rotate(x[0].clone(), cos.clone(), sin.clone()),
            |x| plain::rotate(x[0].clone(), cos.clone(), sin.clone()),
        );
    }
}

#[test]
fn sizes() {
    both("[2, 7, 3, 16]", random(1, 3.0, [2, 7, 3, 16]));
    both("one position", random(1, 3.0, [3, 1, 4, 64]));
    both("two coordinates", random(1, 3.0, [2, 5, 1, 2]));
    both("odd half", random(1, 3.0, [2, 5, 3, 10]));
    both("many tasks", random(1, 3.0, [2, 101, 9, 64]));
    both("no position", random(1, 3.0, [2, 0, 3, 16]));
}

#[test]
fn views() {
    both("turned", random::<4>(1, 3.0, [2, 3, 7, 16]).swap_dims(1, 2));
    both("narrowed", random::<4>(1, 3.0, [2, 9, 3, 16]).narrow(1, 2, 5));
    both("part of the width", random::<4>(1, 3.0, [2, 9, 3, 32]).narrow(3, 8, 16));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_shape(b in 1_usize..4, p in 1_usize..30, h in 1_usize..5, half in 1_usize..20, seed in 0_u64..1000) {
        both("any", random(seed, 4.0, [b, p, h, 2 * half]));
    }
}
