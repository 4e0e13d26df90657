use burn::tensor::{Device, Tensor, activation};
use mmlens_kernels::{AttentionSettings, Masking, Padding, Reach, attention, plain};
use proptest::prelude::*;

use super::support::{assert_close, compare, noise, random, tensor, values};

const PLAIN: AttentionSettings = AttentionSettings { scale: 0.3, cap: None };
const CAPPED: AttentionSettings = AttentionSettings { scale: 0.3, cap: Some(1.5) };

/// By the definition, with all scores and the whole table.
fn defined(qkv: [Tensor<4>; 3], masking: &Masking, settings: AttentionSettings) -> Tensor<4> {
    let group = qkv[0].dims()[2] / qkv[1].dims()[2];
    let [q, k, v] = qkv;
    let (q, k, v) = (q.swap_dims(1, 2), plain::spread(k, group), plain::spread(v, group));
    let mut scores = q.matmul(k.swap_dims(2, 3)).mul_scalar(settings.scale);
    if let Some(cap) = settings.cap {
        scores = scores.div_scalar(cap).tanh().mul_scalar(cap);
    }
    if let Some(table) = masking.table(0..scores.dims()[2], &Device::flex()) {
        let dims = scores.dims();
        scores = scores.mask_fill(table.expand(dims), f32::MIN);
    }
    activation::softmax(scores, 3).matmul(v).swap_dims(1, 2)
}

type Op = fn(Tensor<4>, Tensor<4>, Tensor<4>, &Masking, AttentionSettings) -> Tensor<4>;

fn agrees(what: &str, qkv: &[Tensor<4>; 3], masking: &Masking, op: Op) {
    for settings in [PLAIN, CAPPED] {
        let [q, k, v] = qkv;
        compare(
            &format!("{what} {settings:?}, at q"),
            &[q.clone()],
            |x| op(x[0].clone(), k.clone(), v.clone(), masking, settings),
            |x| defined([x[0].clone(), k.clone(), v.clone()], masking, settings),
        );
        compare(
            &format!("{what} {settings:?}, at k and v"),
            &[k.clone(), v.clone()],
            |x| op(q.clone(), x[0].clone(), x[1].clone(), masking, settings),
            |x| defined([q.clone(), x[0].clone(), x[1].clone()], masking, settings),
        );
    }
}

fn both(what: &str, qkv: &[Tensor<4>; 3], masking: &Masking) {
    agrees(what, qkv, masking, attention);
    agrees(&format!("plain, {what}"), qkv, masking, plain::attention);
}

fn qkv([b, q, h, w]: [usize; 4], keys: usize, kv: usize) -> [Tensor<4>; 3] {
    [random(1, 2.0, [b, q, h, w]), random(2, 2.0, [b, keys, kv, w]), random(3, 2.0, [b, keys, kv, w])]
}

const NONE: Padding<'_> = Padding { pads: &[], tails: &[] };

fn causal(queries: usize, keys: usize) -> Masking {
    Masking::rows(Reach::Before, NONE, keys - queries, queries)
}

#[test]
fn heads_and_groups() {
    let all = Masking::none();
    both("one head", &qkv([1, 5, 1, 8], 5, 1), &all);
    both("heads", &qkv([2, 7, 4, 16], 7, 4), &all);
    both("groups", &qkv([2, 7, 6, 8], 9, 2), &all);
    both("one KV head", &qkv([1, 3, 5, 4], 11, 1), &all);
    both("one query", &qkv([1, 1, 4, 16], 33, 2), &all);
    both("one key", &qkv([2, 3, 2, 8], 1, 1), &all);
    both("odd width", &qkv([1, 4, 3, 5], 6, 3), &all);
    both("no row", &qkv([0, 4, 3, 5], 6, 3), &all);
}

#[test]
fn many_tasks() {
    both("picture", &qkv([2, 70, 3, 32], 70, 3), &Masking::none());
    both("prompt", &qkv([1, 90, 6, 32], 90, 2), &causal(90, 90));
}

/// More keys than are held at a time: scores go through the cache in tiles.
#[test]
fn many_keys() {
    let qkv = qkv([1, 1100, 2, 4], 1100, 1);
    both("picture", &qkv, &Masking::none());
    both("prompt", &qkv, &causal(1100, 1100));
    both("window", &qkv, &Masking::rows(Reach::Window(700), NONE, 0, 1100));
    let halves: Vec<bool> = (0..1100).map(|i| i / 3 % 2 == 0).collect();
    both("halves", &qkv, &Masking::groups(&halves));
}

#[test]
fn masks() {
    both("causal", &qkv([2, 9, 4, 8], 9, 2), &causal(9, 9));
    both("causal after others", &qkv([1, 3, 4, 8], 9, 2), &causal(3, 9));
    let padding = Padding { pads: &[4, 0], tails: &[0, 2] };
    for reach in [Reach::Both, Reach::Before, Reach::Window(3)] {
        both("padded", &qkv([2, 9, 4, 8], 9, 2), &Masking::rows(reach, padding, 0, 9));
        both("padded after others", &qkv([2, 3, 4, 8], 9, 2), &Masking::rows(reach, padding, 6, 3));
        both("seen", &qkv([2, 9, 4, 8], 9, 2), &Masking::seen(reach, padding, 0, 9));
    }
    both("across", &qkv([2, 5, 4, 8], 9, 2), &Masking::across(padding, 5, 9));
    both("groups", &qkv([2, 9, 4, 8], 9, 2), &Masking::groups(&[1, 1, 2, 1, 1, 2, 2, 3, 1]));
}

/// A query with nothing to attend to attends to all evenly; nothing flows back to its scores.
#[test]
fn nothing_to_see() {
    let padding = Padding { pads: &[9, 2], tails: &[0, 0] };
    let masking = Masking::across(padding, 3, 9);
    let all = qkv([2, 3, 2, 8], 9, 2);
    both("across", &all, &masking);
    let padding = Padding { pads: &[0, 0], tails: &[5, 0] };
    both("window", &qkv([2, 9, 2, 8], 9, 2), &Masking::seen(Reach::Window(2), padding, 0, 9));
    let [q, k, v] = all;
    let mean = v.clone().narrow(0, 0, 1).mean_dim(1);
    let z = attention(q, k, v, &masking, PLAIN).narrow(0, 0, 1).narrow(1, 2, 1);
    assert_close("mean", &values(z), &values(mean), 1e-6);
}

#[test]
fn views() {
    let turned = |seed| random::<4>(seed, 2.0, [2, 4, 9, 8]).swap_dims(1, 2);
    both("turned", &[turned(1), turned(2), turned(3)], &causal(9, 9));
    let part = |seed| random::<4>(seed, 2.0, [2, 9, 12, 8]).narrow(2, 4, 4);
    both("parts", &[part(1), part(2), part(3)], &Masking::none());
    let flipped = |seed| random::<4>(seed, 2.0, [2, 9, 4, 8]).flip([1]);
    both("flipped", &[flipped(1), flipped(2), flipped(3)], &Masking::none());
    let shared = |seed| random::<4>(seed, 2.0, [1, 9, 1, 8]).expand([2, 9, 4, 8]);
    both("expanded", &[shared(1), shared(2), shared(3)], &Masking::none());
    // Widths across: the upstream gradient is one too.
    let across = |seed| random::<4>(seed, 2.0, [2, 8, 4, 9]).swap_dims(1, 3);
    both("across", &[across(1), across(2), across(3)], &causal(9, 9));
}

/// The gradient of a plain sum is one number for all: a view of no steps.
#[test]
fn the_gradient_may_be_a_view() {
    let slopes = |op: Op| {
        let leaves = qkv([1, 70, 4, 8], 70, 2).map(|x| x.autodiff().require_grad());
        let [q, k, v] = leaves.clone();
        let grads = op(q, k, v, &causal(70, 70), PLAIN).sum().backward();
        leaves.map(|x| values(x.grad(&grads).unwrap())).concat()
    };
    assert_close("sum", &slopes(attention), &slopes(plain::attention), 1e-5);
}

/// Scores as trained models have them, and far beyond: weights follow the largest, whichever tile it comes in.
#[test]
fn large_scores_in_every_tile() {
    let (n, w) = (1300, 4);
    let one = |at: usize| {
        let mut k = vec![0.0; n * w];
        k[at * w] = 1500.0;
        tensor(k, [1, n, 1, w])
    };
    let ones = tensor([1.0, 0.0, 0.0, 0.0].repeat(n), [1, n, 1, w]);
    let v: Tensor<4> = tensor(noise(5, n * w), [1, n, 1, w]);
    let settings = AttentionSettings { scale: 1.0, cap: None };
    for at in [0, 600, 1299] {
        let z = attention(ones.clone(), one(at), v.clone(), &Masking::none(), settings);
        // One key has all the weight, exp(-1500) being no float.
        let want = values(v.clone()).chunks(w).nth(at).unwrap().repeat(n);
        assert_close(&format!("{at}"), &values(z), &want, 1e-6);
    }
}

/// Scores that are no finite numbers, in rows of one tile and of several: as by the definition.
#[test]
fn ends_of_the_line() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    for n in [4, 1300] {
        for (first, other) in
            [(-inf, 0.0), (inf, 0.0), (nan, 0.0), (-inf, -inf), (1e30, -1e30), (3e38, -3e38)]
        {
            for at in [0, n - 1] {
                let mut k = vec![other; n];
                k[at] = first;
                let k: Tensor<4> = tensor(k, [1, n, 1, 1]);
                let ones = || tensor(vec![1.0; n], [1, n, 1, 1]);
                let settings = AttentionSettings { scale: 1.0, cap: None };
                let all = Masking::none();
                let got = attention(ones(), k.clone(), ones(), &all, settings);
                let want = defined([ones(), k, ones()], &all, settings);
                assert_close(&format!("{first} and {other}, {n}"), &values(got), &values(want), 1e-6);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn any_shape(b in 1_usize..3, q in 1_usize..30, more in 0_usize..20, kv in 1_usize..4, group in 1_usize..3, w in 1_usize..20) {
        both("any", &qkv([b, q, kv * group, w], q + more, kv), &causal(q, q + more));
    }
}
