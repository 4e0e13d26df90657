//! However many threads there are, every bit is the same.

use burn::tensor::Tensor;
use mmlens_kernels::{
    AttentionSettings, Curve, Masking, Padding, Reach, activate, attention, gate, layer_norm, linear, plain,
    rms_norm, softmax,
};

use super::support::{random, values};

/// Values and gradients of everything, at sizes whose work is shared and whose sums are cut.
fn everything() -> Vec<Vec<f32>> {
    let mut found = Vec::new();
    let mut both = |x: Tensor<4>, f: &dyn Fn(Tensor<4>) -> Tensor<4>| {
        found.push(values(f(x.clone())));
        let leaf = x.autodiff().require_grad();
        let y = f(leaf.clone());
        let upstream = random(99, 1.0, y.dims()).autodiff();
        let grads = (y * upstream).sum().backward();
        found.push(values(leaf.grad(&grads).unwrap()));
    };
    // Prompts of which the last block of queries is a single one, and pictures; keys beyond one stretch of a sum (512).
    let none = Padding { pads: &[], tails: &[] };
    for (positions, reach) in [
        (1, Reach::Both),
        (129, Reach::Before),
        (577, Reach::Both),
        (700, Reach::Before),
        (1025, Reach::Window(300)),
    ] {
        let [q, k, v] = [1, 2, 3].map(|seed| random::<4>(seed, 2.0, [1, positions, 4, 40]));
        let groups = Masking::groups(&(0..positions).map(|i| i / 200 % 3).collect::<Vec<_>>());
        for masking in [Masking::rows(reach, none, 0, positions), groups] {
            for cap in [None, Some(3.0)] {
                let settings = AttentionSettings { scale: 0.3, cap };
                both(q.clone(), &|q| attention(q, k.clone(), v.clone(), &masking, settings));
                both(k.clone(), &|k| attention(q.clone(), k, v.clone(), &masking, settings));
                both(v.clone(), &|v| attention(q.clone(), k.clone(), v, &masking, settings));
            }
        }
        both(q.clone().swap_dims(1, 2), &|q| {
            softmax(q.matmul(k.clone().swap_dims(1, 2).swap_dims(2, 3)), 0.2)
        });
    }
    for (rows, input, output) in [(1, 1500, 700), (9, 1500, 700), (50, 768, 3072), (600, 1100, 520)] {
        let (x, weight) = (random::<4>(4, 1.0, [1, 1, rows, input]), random::<2>(5, 1.0, [output, input]));
        both(x.clone(), &|x| linear(x, weight.clone(), None));
        both(x.clone(), &|x| plain::linear(x, weight.clone(), None));
        let (scale, shift) = (random::<1>(6, 1.0, [input]), random::<1>(7, 1.0, [input]));
        both(x.clone(), &|x| rms_norm(x, scale.clone(), 1e-5));
        both(x.clone(), &|x| layer_norm(x, scale.clone(), shift.clone(), 1e-5));
        both(x.clone(), &|x| activate(Curve::Gelu, x));
        both(x.clone(), &|x| gate(Curve::Silu, x.clone(), x.mul_scalar(0.5)));
        // What methods take of gradients and streams.
        both(x.clone(), &|x| x.sum_dim(2));
        both(x, &|x| x.mean_dim(3));
    }
    found
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let among = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            assert_eq!(rayon::current_num_threads(), threads);
            everything()
        })
    };
    let bits = |all: &[f32]| all.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    let one = among(1);
    for threads in [2, 3, 8] {
        for (place, (found, wanted)) in among(threads).iter().zip(&one).enumerate() {
            assert!(bits(found) == bits(wanted), "value {place} with {threads} threads");
        }
    }
}
