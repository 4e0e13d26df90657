use burn::tensor::Tensor;
use mmlens_kernels::{plain, softmax};
use proptest::prelude::*;

use super::support::{assert_close, compare, random, tensor, values};

fn both(what: &str, x: Tensor<4>) {
    for scale in [1.0, 0.125] {
        compare(
            &format!("{what}, scale {scale}"),
            &[x.clone()],
            |x| softmax(x[0].clone(), scale),
            |x| plain::softmax(x[0].clone(), scale),
        );
    }
}

#[test]
fn sizes() {
    both("[2, 3, 5, 37]", random(1, 8.0, [2, 3, 5, 37]));
    both("one key", random(1, 8.0, [1, 2, 3, 1]));
    both("one query", random(1, 8.0, [2, 4, 1, 300]));
    both("many tasks", random(1, 8.0, [2, 5, 61, 203]));
    both("no row", random(1, 8.0, [0, 2, 3, 4]));
    both("no query", random(1, 8.0, [2, 2, 0, 4]));
}

#[test]
fn views() {
    let x = random(1, 8.0, [3, 9, 6, 40]);
    both("swapped", x.clone().swap_dims(1, 2));
    both("across", x.clone().swap_dims(2, 3));
    both("narrowed", x.narrow(3, 5, 20));
}

#[test]
fn ends_of_the_line() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    for row in [
        [1e30, -1e30, 0.0, 1e30],
        [f32::MIN, f32::MIN, f32::MIN, f32::MIN],
        [f32::MIN, 1.0, f32::MIN, 2.0],
        [-inf, 0.0, 1.0, -inf],
        [inf, 0.0, 1.0, 2.0],
        [nan, 0.0, 1.0, 2.0],
        [f32::MAX, f32::MIN, 0.0, 1.0],
    ] {
        let x = tensor(row.to_vec(), [1, 1, 1, 4]);
        let (got, want) = (softmax(x.clone(), 1.0), plain::softmax(x, 1.0));
        let (got, want) = (values(got), values(want));
        assert_close(&format!("{row:?}"), &got, &want, 1e-6);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_shape(b in 1_usize..3, h in 1_usize..4, q in 1_usize..20, k in 1_usize..50, seed in 0_u64..1000) {
        both("any", random(seed, 20.0, [b, h, q, k]));
    }
}
