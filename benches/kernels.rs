//! Every fused operation against the plain one, forward and with its backward pass, at the sizes of ViT-B (197 positions, 12 heads)
//! and of SmolLM-135M (128 positions, 9 heads over 3).

#![allow(missing_docs, reason = "made by criterion's macros")]
#![allow(clippy::expect_used, reason = "a benchmark fails by panicking")]

use std::time::Duration;

use burn::tensor::{Device, Distribution, Tensor};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use mmlens_kernels::{
    AttentionSettings, Curve, Masking, Padding, Reach, activate, attention, gate, layer_norm, linear, plain,
    rms_norm, rotate, softmax,
};

fn random<const D: usize>(dims: [usize; D]) -> Tensor<D> {
    Tensor::random(dims, Distribution::Normal(0.0, 1.0), &Device::flex())
}

/// A function of some tensors.
type Op<'a, const D: usize, const O: usize> = &'a dyn Fn(Vec<Tensor<D>>) -> Tensor<O>;

/// The two of them on fresh inputs that nobody else holds, and with a backward pass to all of them.
fn pair<const D: usize, const O: usize>(
    c: &mut Criterion,
    name: &str,
    inputs: &[Tensor<D>],
    fused: Op<'_, D, O>,
    plain: Op<'_, D, O>,
) {
    let mut group = c.benchmark_group(name);
    group.sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    let own = || inputs.iter().map(|x| x.clone().mul_scalar(1.0)).collect::<Vec<_>>();
    for (which, f) in [("fused", fused), ("plain", plain)] {
        group.bench_function(which, |b| b.iter_batched(own, f, BatchSize::LargeInput));
    }
    for (which, f) in [("fused, backward", fused), ("plain, backward", plain)] {
        let leaves = || own().into_iter().map(|x| x.autodiff().require_grad()).collect::<Vec<_>>();
        let both = |x: Vec<Tensor<D>>| {
            let grads = f(x.clone()).sum().backward();
            x.iter().map(|x| x.grad(&grads).expect("tracked")).collect::<Vec<_>>()
        };
        group.bench_function(which, |b| b.iter_batched(leaves, both, BatchSize::LargeInput));
    }
    group.finish();
}

fn activations(c: &mut Criterion) {
    for curve in Curve::ALL {
        pair::<3, 3>(
            c,
            &format!("{curve:?} [1, 197, 3072]"),
            &[random([1, 197, 3072])],
            &|mut x| activate(curve, x.remove(0)),
            &|mut x| plain::activate(curve, x.remove(0)),
        );
    }
    pair::<3, 3>(
        c,
        "gate by Silu [1, 128, 1536]",
        &[random([1, 128, 1536]), random([1, 128, 1536])],
        &|mut x| gate(Curve::Silu, x.remove(0), x.remove(0)),
        &|mut x| plain::gate(Curve::Silu, x.remove(0), x.remove(0)),
    );
}

fn softmaxes(c: &mut Criterion) {
    pair::<4, 4>(
        c,
        "softmax [1, 12, 197, 197]",
        &[random([1, 12, 197, 197])],
        &|mut x| softmax(x.remove(0), 0.125),
        &|mut x| plain::softmax(x.remove(0), 0.125),
    );
}

fn causal(n: usize) -> Masking {
    Masking::rows(Reach::Before, Padding { pads: &[], tails: &[] }, 0, n)
}

fn attentions(c: &mut Criterion) {
    let settings = AttentionSettings { scale: 0.125, cap: None };
    let none = Masking::none();
    for (name, dims, masking) in [
        ("attention [1, 50, 12, 64]", [1, 50, 12, 64], none.clone()),
        ("attention [1, 197, 12, 64]", [1, 197, 12, 64], none.clone()),
        ("attention [8, 197, 12, 64]", [8, 197, 12, 64], none.clone()),
        ("attention [1, 577, 16, 64]", [1, 577, 16, 64], none.clone()),
        ("attention [1, 3600, 16, 80]", [1, 3600, 16, 80], none.clone()),
        ("causal attention [1, 128, 9, 64]", [1, 128, 9, 64], causal(128)),
        ("causal attention [1, 2048, 9, 64]", [1, 2048, 9, 64], causal(2048)),
    ] {
        pair::<4, 4>(
            c,
            name,
            &[random(dims), random(dims), random(dims)],
            &|mut x| attention(x.remove(0), x.remove(0), x.remove(0), &masking, settings),
            &|mut x| plain::attention(x.remove(0), x.remove(0), x.remove(0), &masking, settings),
        );
    }
    let (k, v) = (random([1, 200, 3, 64]), random([1, 200, 3, 64]));
    pair::<4, 4>(
        c,
        "one query [1, 1, 9, 64] over [1, 200, 3, 64]",
        &[random([1, 1, 9, 64])],
        &|mut x| attention(x.remove(0), k.clone(), v.clone(), &none, settings),
        &|mut x| plain::attention(x.remove(0), k.clone(), v.clone(), &none, settings),
    );
}

fn norms(c: &mut Criterion) {
    let (weight, bias) = (random([768]), random([768]));
    for (name, dims) in [("[1, 50, 768]", [1, 50, 768]), ("[8, 197, 768]", [8, 197, 768])] {
        pair::<3, 3>(
            c,
            &format!("rms norm {name}"),
            &[random(dims)],
            &|mut x| rms_norm(x.remove(0), weight.clone(), 1e-5),
            &|mut x| plain::rms_norm(x.remove(0), weight.clone(), 1e-5),
        );
        pair::<3, 3>(
            c,
            &format!("layer norm {name}"),
            &[random(dims)],
            &|mut x| layer_norm(x.remove(0), weight.clone(), bias.clone(), 1e-5),
            &|mut x| plain::layer_norm(x.remove(0), weight.clone(), bias.clone(), 1e-5),
        );
    }
}

fn rotations(c: &mut Criterion) {
    let angles = random([1, 128, 1, 32]);
    let (cos, sin) = (angles.clone().cos(), angles.sin());
    pair::<4, 4>(
        c,
        "rotate [1, 128, 9, 64]",
        &[random([1, 128, 9, 64])],
        &|mut x| rotate(x.remove(0), cos.clone(), sin.clone()),
        &|mut x| plain::rotate(x.remove(0), cos.clone(), sin.clone()),
    );
}

fn linears(c: &mut Criterion) {
    for (rows, input, output) in [
        (1, 576, 1536),
        (1, 576, 49152),
        (50, 768, 768),
        (50, 768, 3072),
        (50, 3072, 768),
        (128, 576, 1536),
        (128, 1536, 576),
        (197, 768, 3072),
        (1024, 1024, 1024),
        (2048, 2048, 2048),
    ] {
        let (weight, bias) = (random([output, input]), random([output]));
        pair::<2, 2>(
            c,
            &format!("linear [{rows}, {input}] to {output}"),
            &[random([rows, input])],
            &|mut x| linear(x.remove(0), weight.clone(), Some(bias.clone())),
            &|mut x| plain::linear(x.remove(0), weight.clone(), Some(bias.clone())),
        );
    }
}

criterion_group!(benches, activations, softmaxes, attentions, norms, rotations, linears);
criterion_main!(benches);
