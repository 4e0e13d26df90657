use burn::tensor::Tensor;
use mmlens_kernels::{Curve, activate, gate, plain};
use proptest::prelude::*;

use super::support::{assert_close, compare, random, tensor, values};

fn both<const D: usize>(what: &str, x: Tensor<D>, other: Tensor<D>) {
    for curve in Curve::ALL {
        compare(
            &format!("{curve:?} {what}"),
            &[x.clone()],
            |x| activate(curve, x[0].clone()),
            |x| plain::activate(curve, x[0].clone()),
        );
        compare(
            &format!("gate by {curve:?} {what}"),
            &[x.clone(), other.clone()],
            |x| gate(curve, x[0].clone(), x[1].clone()),
            |x| plain::gate(curve, x[0].clone(), x[1].clone()),
        );
    }
}

#[test]
fn shapes_of_every_rank() {
    both("[7]", random::<1>(1, 6.0, [7]), random(2, 2.0, [7]));
    both("[3, 17]", random::<2>(1, 6.0, [3, 17]), random(2, 2.0, [3, 17]));
    both("[1, 50, 333]", random::<3>(1, 6.0, [1, 50, 333]), random(2, 2.0, [1, 50, 333]));
    both("[2, 1, 5, 9]", random::<4>(1, 6.0, [2, 1, 5, 9]), random(2, 2.0, [2, 1, 5, 9]));
    both("[3, 97, 257]", random::<3>(1, 6.0, [3, 97, 257]), random(2, 2.0, [3, 97, 257]));
    both("empty", random::<3>(1, 6.0, [2, 0, 5]), random(2, 2.0, [2, 0, 5]));
}

#[test]
fn views_that_are_not_contiguous() {
    let (x, y) = (random::<3>(1, 6.0, [8, 12, 70]), random::<3>(2, 2.0, [12, 8, 70]));
    both("swapped", x.clone().swap_dims(0, 1), y.clone());
    both("narrowed", x.clone().narrow(1, 3, 5), y.clone().narrow(0, 1, 8).swap_dims(0, 1).narrow(1, 0, 5));
    both("expanded", random::<3>(3, 6.0, [1, 12, 1]).expand([8, 12, 70]), y.swap_dims(0, 1));
    both("a leading part", x.clone().narrow(0, 0, 3), x.narrow(0, 5, 3));
}

#[test]
fn ends_of_the_line() {
    let inf = f32::INFINITY;
    let line = vec![
        0.0,
        -0.0,
        inf,
        -inf,
        f32::NAN,
        1e30,
        -1e30,
        1e-30,
        -1e-30,
        88.0,
        -88.0,
        1e4,
        -1e4,
        f32::MIN,
        f32::MAX,
    ];
    let n = line.len();
    let x = tensor(line, [n]);
    for curve in Curve::ALL {
        let (got, want) = (values(activate(curve, x.clone())), values(plain::activate(curve, x.clone())));
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            // Where the plain path meets infinity times zero it has no number, and ours may have the limit.
            let same = (got - want).abs() <= 1e-5 * want.abs().max(1.0) || got == want || want.is_nan();
            assert!(same, "{curve:?} at {i}: {got}, plain {want}");
        }
        assert!(got[4].is_nan());
        let leaf = x.clone().autodiff().require_grad();
        let grads = activate(curve, leaf.clone()).sum().backward();
        let slope = values(leaf.grad(&grads).unwrap());
        let want = [0.5, 0.5, 1.0, 0.0, f32::NAN, 1.0, 0.0, 0.5, 0.5, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0];
        assert_close(&format!("slopes of {curve:?}"), &slope, &want, 1e-6);
    }
}

/// What somebody else holds is not written to; what nobody holds may be.
#[test]
fn shared_buffers_are_left_alone() {
    let x = random::<2>(1, 3.0, [40, 1000]);
    let before = values(x.clone());
    let y = activate(Curve::Gelu, x.clone());
    let z = gate(Curve::Silu, x.clone(), x.clone());
    assert_eq!(values(x.clone()), before);
    assert_close("owned", &values(activate(Curve::Gelu, x.clone().mul_scalar(1.0))), &values(y), 0.0);
    assert_close(
        "owned",
        &values(gate(Curve::Silu, x.clone().mul_scalar(1.0), x.clone())),
        &values(z.clone()),
        1e-7,
    );
    assert_close("owned", &values(gate(Curve::Silu, x.clone(), x.mul_scalar(1.0))), &values(z), 1e-7);
}

/// A gate of which one side is plain: its gradient goes to the other.
#[test]
fn plain_and_tracked_mix() {
    let (g, x) = (random::<2>(1, 3.0, [5, 30]), random::<2>(2, 3.0, [5, 30]));
    for which in 0..2 {
        let slope = |f: fn(Curve, Tensor<2>, Tensor<2>) -> Tensor<2>| {
            let leaf = [&g, &x][which].clone().autodiff().require_grad();
            let y = if which == 0 {
                f(Curve::Silu, leaf.clone(), x.clone())
            } else {
                f(Curve::Silu, g.clone(), leaf.clone())
            };
            values(leaf.grad(&y.sum().backward()).unwrap())
        };
        assert_close("mixed", &slope(gate), &slope(plain::gate), 1e-5);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_shape(a in 0_usize..4, b in 1_usize..40, c in 1_usize..70, seed in 0_u64..1000) {
        both("any", random::<3>(seed, 9.0, [a, b, c]), random(seed + 1, 2.0, [a, b, c]));
    }
}
