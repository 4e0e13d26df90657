//! What hooks cost when nothing is asked: the blocks of a decoder with sites and an empty plan, against the same blocks
//! written without any sites. Two sizes: one where the arithmetic of a site would show, and one of a real model's width.

#![allow(clippy::expect_used, reason = "a benchmark fails by panicking")]

use burn::tensor::{Device, Distribution, Tensor};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use mmlens::kernels::{AttentionSettings, Curve, attention, gate};
use mmlens::prelude::*;
use mmlens::zoo::parts::{
    Act, Attention, AttentionShape, Block, Linear, Masking, Mlp, Norm, Norms, Padding, Reach, RopeConfig,
    RopeKind, Rotation,
};

struct Sizes {
    name: &'static str,
    blocks: usize,
    width: usize,
    heads: usize,
    neurons: usize,
    positions: usize,
}

const SIZES: [Sizes; 2] = [
    Sizes { name: "tiny", blocks: 12, width: 16, heads: 2, neurons: 32, positions: 8 },
    Sizes { name: "real", blocks: 4, width: 576, heads: 9, neurons: 1536, positions: 128 },
];

fn linear(input: usize, output: usize, device: &Device) -> Linear {
    Linear::new(Tensor::random([output, input], Distribution::Normal(0.0, 0.02), device), None)
}

fn blocks(sizes: &Sizes, device: &Device) -> Vec<Block> {
    let (d, n, width) = (sizes.width, sizes.neurons, sizes.width / sizes.heads);
    let norm = || Norm::Rms { weight: Tensor::ones([d], device), eps: 1e-5 };
    let shape = AttentionShape::plain(sizes.heads, width);
    (0..sizes.blocks)
        .map(|_| {
            let attn = Attention {
                q: linear(d, d, device),
                k: linear(d, d, device),
                v: linear(d, d, device),
                o: linear(d, d, device),
                norms: None,
                shape,
            };
            let mlp = Mlp::Gated {
                gate: linear(d, n, device),
                up: linear(d, n, device),
                down: linear(n, d, device),
                act: Act::Silu,
            };
            Block::pre_norm(norm(), attn, norm(), mlp)
        })
        .collect()
}

/// The same operations with no sites between them.
fn bare(block: &Block, x: Tensor<3>, rotation: &Rotation, masking: &Masking) -> Tensor<3> {
    let [b, p, d] = x.dims();
    let (heads, width) = (block.attn.shape.heads, block.attn.shape.width);
    let Norms::Pre { attn: attn_norm, mlp: mlp_norm } = &block.norms else { return x };
    let h = attn_norm.apply(x.clone());
    let split = |y: Tensor<3>| y.reshape([b, p, heads, width]);
    let q = rotation.apply(split(block.attn.q.apply(h.clone())));
    let k = rotation.apply(split(block.attn.k.apply(h.clone())));
    let v = split(block.attn.v.apply(h));
    let settings = AttentionSettings { scale: block.attn.shape.scale, cap: None };
    let z = attention(q, k, v, masking, settings);
    let x = x + block.attn.o.apply(z.reshape([b, p, d]));
    let h = mlp_norm.apply(x.clone());
    let Mlp::Gated { gate: branch, up, down, .. } = &block.mlp else { return x };
    x + down.apply(gate(Curve::Silu, branch.apply(h.clone()), up.apply(h)))
}

fn hooks(c: &mut Criterion) {
    let device = Device::flex();
    for sizes in &SIZES {
        let blocks = blocks(sizes, &device);
        let rope = RopeConfig {
            theta: 1e4,
            width: sizes.width / sizes.heads,
            max_positions: 512,
            kind: RopeKind::Default,
            sections: None,
        };
        let rotation = rope.rotation(&[(0..sizes.positions).collect()], &device);
        let masking = Masking::rows(Reach::Before, Padding { pads: &[0], tails: &[0] }, 0, sizes.positions);
        let x =
            Tensor::<3>::random([1, sizes.positions, sizes.width], Distribution::Normal(0.0, 1.0), &device);
        let mut group = c.benchmark_group(format!("blocks/{}", sizes.name));
        group.bench_function("bare", |b| {
            b.iter_batched(
                || x.clone(),
                |x| blocks.iter().fold(x, |x, block| bare(block, x, &rotation, &masking)).into_data(),
                BatchSize::SmallInput,
            );
        });
        group.bench_function("sites, empty plan", |b| {
            b.iter_batched(
                || x.clone(),
                |x| {
                    let mut run = Run::idle();
                    let forward = |x, (i, block): (usize, &Block)| {
                        block
                            .forward(x, (Part::Text, i), Some(&rotation), &masking, None, &mut run)
                            .expect("no plan")
                    };
                    blocks.iter().enumerate().fold(x, forward).into_data()
                },
                BatchSize::SmallInput,
            );
        });
        group.finish();
    }
}

criterion_group!(benches, hooks);
criterion_main!(benches);
