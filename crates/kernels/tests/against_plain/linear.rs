use burn::tensor::Tensor;
use mmlens_kernels::{lay_out, linear, plain};
use proptest::prelude::*;

use super::support::{assert_close, compare, random, values};

fn both<const D: usize>(what: &str, x: Tensor<D>, weight: Tensor<2>) {
    let bias = random::<1>(5, 1.0, [weight.dims()[0]]);
    for bias in [None, Some(bias)] {
        compare(
            what,
            &[x.clone()],
            |x| linear(x[0].clone(), weight.clone(), bias.clone()),
            |x| plain::linear(x[0].clone(), weight.clone(), bias.clone()),
        );
    }
}

#[test]
fn shapes_of_every_rank() {
    both("[1, 7] to 3", random::<2>(1, 1.0, [1, 7]), random(2, 1.0, [3, 7]));
    both("[50, 96] to 200", random::<2>(1, 1.0, [50, 96]), random(2, 1.0, [200, 96]));
    both("[1, 33, 70] to 41", random::<3>(1, 1.0, [1, 33, 70]), random(2, 1.0, [41, 70]));
    both("[2, 3, 5, 16] to 6", random::<4>(1, 1.0, [2, 3, 5, 16]), random(2, 1.0, [6, 16]));
    both("one to one", random::<2>(1, 1.0, [5, 1]), random(2, 1.0, [1, 1]));
    both("no row", random::<3>(1, 1.0, [2, 0, 16]), random(2, 1.0, [6, 16]));
    both("more rows than are held", random::<2>(1, 1.0, [300, 32]), random(2, 1.0, [70, 32]));
    both("long sums", random::<2>(1, 1.0, [7, 2500]), random(2, 1.0, [37, 2500]));
}

#[test]
fn views() {
    let x = random::<3>(1, 1.0, [9, 4, 50]);
    both("x turned", x.clone().swap_dims(0, 1), random(2, 1.0, [12, 50]));
    both("x narrowed", x.clone().narrow(2, 3, 40), random(2, 1.0, [12, 40]));
    both("weight turned", x.clone(), random::<2>(2, 1.0, [50, 12]).transpose());
    both("weight's rows in part", x.clone(), random::<2>(2, 1.0, [36, 50]).narrow(0, 12, 12));
    both("weight's columns in part", x.clone(), random::<2>(2, 1.0, [12, 70]).narrow(1, 10, 50));
    both("weight of one row", x.clone(), random::<2>(2, 1.0, [1, 50]).expand([12, 50]));
    both("weight flipped", x, random::<2>(2, 1.0, [12, 50]).flip([0]));
}

/// A weight that is tracked gets its gradient, too.
#[test]
fn tracked_weights() {
    let (x, weight) = (random::<2>(1, 1.0, [9, 30]), random::<2>(2, 1.0, [12, 30]));
    compare(
        "weight",
        &[weight],
        |w| linear(x.clone(), w[0].clone(), None),
        |w| plain::linear(x.clone(), w[0].clone(), None),
    );
}

#[test]
fn laid_out_weights_are_the_same() {
    let weight = random::<2>(2, 1.0, [50, 12]).transpose();
    assert_close("laid out", &values(lay_out(weight.clone())), &values(weight.clone()), 0.0);
    let kept = lay_out(weight.clone().autodiff().require_grad());
    assert!(kept.is_tracked());
    both("laid out", random::<2>(1, 1.0, [9, 50]), lay_out(weight));
}

/// Infinite and undefined inputs stay in their rows.
#[test]
fn ends_of_the_line() {
    let x = random::<2>(1, 1.0, [40, 100]);
    let mut line = values(x);
    (line[105], line[2050]) = (f32::INFINITY, f32::NAN);
    let x = super::support::tensor(line, [40, 100]);
    let weight = random::<2>(2, 1.0, [90, 100]);
    let (got, want) = (linear(x.clone(), weight.clone(), None), plain::linear(x, weight, None));
    assert_close("infinite and undefined", &values(got), &values(want), 1e-5);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn any_shape(rows in 0_usize..60, input in 1_usize..90, output in 1_usize..90, seed in 0_u64..1000) {
        both("any", random::<2>(seed, 1.0, [rows, input]), random(seed + 1, 1.0, [output, input]));
    }
}
