use burn::tensor::Tensor;
use mmlens_kernels::{plain, softmax};
use proptest::prelude::*;

use super::support::{assert_close, compare, mask, random, tensor, values};

fn both(what: &str, x: Tensor<4>, masks: &[Option<[usize; 4]>]) {
    for (i, shape) in masks.iter().enumerate() {
        let mask = shape.map(|shape| mask(7, shape));
        for scale in [1.0, 0.125] {
            compare(
                &format!("{what}, mask {i}, scale {scale}"),
                &[x.clone()],
                |x| softmax(x[0].clone(), scale, mask.clone()),
                |x| plain::softmax(x[0].clone(), scale, mask.clone()),
            );
        }
    }
}

#[test]
fn masks_of_every_breadth() {
    let all = [
        None,
        Some([2, 3, 5, 37]),
        Some([1, 1, 5, 37]),
        Some([2, 1, 5, 37]),
        Some([1, 3, 5, 37]),
        Some([2, 1, 1, 37]),
        Some([1, 1, 1, 37]),
    ];
    both("[2, 3, 5, 37]", random(1, 8.0, [2, 3, 5, 37]), &all);
}

#[test]
fn sizes() {
    both("one key", random(1, 8.0, [1, 2, 3, 1]), &[None, Some([1, 1, 3, 1])]);
    both("one query", random(1, 8.0, [2, 4, 1, 300]), &[None, Some([2, 1, 1, 300])]);
    both("many tasks", random(1, 8.0, [2, 5, 61, 203]), &[None, Some([2, 1, 61, 203])]);
    both("no row", random(1, 8.0, [0, 2, 3, 4]), &[None]);
    both("no query", random(1, 8.0, [2, 2, 0, 4]), &[None]);
}

#[test]
fn views() {
    let x = random(1, 8.0, [3, 9, 6, 40]);
    both("swapped", x.clone().swap_dims(1, 2), &[None, Some([3, 1, 9, 40])]);
    both("across", x.clone().swap_dims(2, 3), &[None, Some([3, 9, 40, 6])]);
    both("narrowed", x.narrow(3, 5, 20), &[None, Some([1, 1, 6, 20])]);
}

/// A row with nothing to attend to is uniform; nothing flows back through it.
#[test]
fn rows_that_are_masked_out() {
    let x = random::<4>(1, 8.0, [1, 1, 3, 8]);
    let mask = tensor([vec![1.0; 8], vec![0.0; 8], vec![1.0; 8]].concat(), [1, 1, 3, 8]).bool();
    compare(
        "masked out",
        &[x.clone()],
        |x| softmax(x[0].clone(), 0.5, Some(mask.clone())),
        |x| plain::softmax(x[0].clone(), 0.5, Some(mask.clone())),
    );
    assert_eq!(values(softmax(x, 0.5, Some(mask)))[..8], [0.125; 8]);
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
        let (got, want) = (softmax(x.clone(), 1.0, None), plain::softmax(x, 1.0, None));
        let (got, want) = (values(got), values(want));
        assert_close(&format!("{row:?}"), &got, &want, 1e-6);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_shape(b in 1_usize..3, h in 1_usize..4, q in 1_usize..20, k in 1_usize..50, seed in 0_u64..1000) {
        both("any", random(seed, 20.0, [b, h, q, k]), &[None, Some([b, 1, q, k]), Some([1, h, 1, k])]);
    }
}
