use burn::tensor::{Bool, Tensor};
use mmlens_kernels::{AttentionSettings, attention, plain};
use proptest::prelude::*;

use super::support::{compare, mask, random, tensor};

const PLAIN: AttentionSettings = AttentionSettings { scale: 0.3, cap: None };
const CAPPED: AttentionSettings = AttentionSettings { scale: 0.3, cap: Some(1.5) };

fn both(what: &str, qkv: &[Tensor<4>; 3], mask: Option<Tensor<4, Bool>>) {
    for settings in [PLAIN, CAPPED] {
        let [q, k, v] = qkv;
        compare(
            &format!("{what} {settings:?}, at q"),
            &[q.clone()],
            |x| attention(x[0].clone(), k.clone(), v.clone(), mask.clone(), settings),
            |x| plain::attention(x[0].clone(), k.clone(), v.clone(), mask.clone(), settings),
        );
        compare(
            &format!("{what} {settings:?}, at k and v"),
            &[k.clone(), v.clone()],
            |x| attention(q.clone(), x[0].clone(), x[1].clone(), mask.clone(), settings),
            |x| plain::attention(q.clone(), x[0].clone(), x[1].clone(), mask.clone(), settings),
        );
    }
}

fn qkv([b, q, h, w]: [usize; 4], keys: usize, kv: usize) -> [Tensor<4>; 3] {
    [random(1, 2.0, [b, q, h, w]), random(2, 2.0, [b, keys, kv, w]), random(3, 2.0, [b, keys, kv, w])]
}

fn causal(queries: usize, keys: usize) -> Tensor<4, Bool> {
    let past = keys - queries;
    let beyond = |i: usize| f32::from(u8::from(i % keys > past + i / keys));
    tensor((0..queries * keys).map(beyond).collect(), [1, 1, queries, keys]).bool()
}

#[test]
fn heads_and_groups() {
    both("one head", &qkv([1, 5, 1, 8], 5, 1), None);
    both("heads", &qkv([2, 7, 4, 16], 7, 4), None);
    both("groups", &qkv([2, 7, 6, 8], 9, 2), None);
    both("one KV head", &qkv([1, 3, 5, 4], 11, 1), None);
    both("one query", &qkv([1, 1, 4, 16], 33, 2), None);
    both("one key", &qkv([2, 3, 2, 8], 1, 1), None);
    both("odd width", &qkv([1, 4, 3, 5], 6, 3), None);
    both("no row", &qkv([0, 4, 3, 5], 6, 3), None);
}

#[test]
fn many_tasks() {
    both("picture", &qkv([2, 70, 3, 32], 70, 3), None);
    both("prompt", &qkv([1, 90, 6, 32], 90, 2), Some(causal(90, 90)));
}

#[test]
fn masks() {
    both("causal", &qkv([2, 9, 4, 8], 9, 2), Some(causal(9, 9)));
    both("causal after others", &qkv([1, 3, 4, 8], 9, 2), Some(causal(3, 9)));
    for shape in [[2, 4, 9, 9], [2, 1, 9, 9], [1, 1, 9, 9], [2, 1, 1, 9], [1, 4, 1, 9]] {
        both("any", &qkv([2, 9, 4, 8], 9, 2), Some(mask(5, shape)));
    }
    let out = tensor([vec![1.0; 9], vec![0.0; 9], vec![1.0; 9]].concat(), [1, 1, 3, 9]).bool();
    both("masked out", &qkv([1, 3, 2, 8], 9, 2), Some(out));
}

#[test]
fn views() {
    let turned = |seed| random::<4>(seed, 2.0, [2, 4, 9, 8]).swap_dims(1, 2);
    both("turned", &[turned(1), turned(2), turned(3)], Some(causal(9, 9)));
    let part = |seed| random::<4>(seed, 2.0, [2, 9, 12, 8]).narrow(2, 4, 4);
    both("parts", &[part(1), part(2), part(3)], None);
    let flipped = |seed| random::<4>(seed, 2.0, [2, 9, 4, 8]).flip([1]);
    both("flipped", &[flipped(1), flipped(2), flipped(3)], None);
    let shared = |seed| random::<4>(seed, 2.0, [1, 9, 1, 8]).expand([2, 9, 4, 8]);
    both("expanded", &[shared(1), shared(2), shared(3)], None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn any_shape(b in 1_usize..3, q in 1_usize..30, more in 0_usize..20, kv in 1_usize..4, group in 1_usize..3, w in 1_usize..20) {
        both("any", &qkv([b, q, kv * group, w], q + more, kv), Some(causal(q, q + more)));
    }
}
