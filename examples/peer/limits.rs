//! What the machine gives at most: products of large matrices, and reading memory.

use std::time::Instant;

use anyhow::Result;
use burn::tensor::{Device, Distribution, Tensor};
use mmlens::kernels::linear;
use serde_json::{Value, json};

use crate::timed::Times;

const SIDE: usize = 2048;
/// Numbers read by every thread: far more than any cache holds.
const READ: usize = 1 << 27;

/// Products of two `[2048, 2048]` matrices in GFLOP/s and memory read in GB/s, each the best of several.
pub(crate) fn measure(times: Times) -> Result<Value> {
    let device = Device::flex();
    let random = || Tensor::<2>::random([SIDE, SIDE], Distribution::Normal(0.0, 1.0), &device);
    let (x, weight) = (random(), random());
    let mut products: f64 = 0.0;
    for _ in 0..=times.repetitions {
        let start = Instant::now();
        linear(x.clone(), weight.clone(), None).into_data();
        // no NaN: what a clock says
        products = products.max(2.0 * (SIDE as f64).powi(3) / start.elapsed().as_secs_f64() / 1e9);
    }
    let threads = std::thread::available_parallelism()?.get();
    let buffers = vec![vec![1.0_f32; READ]; threads];
    let mut read: f64 = 0.0;
    for _ in 0..=times.repetitions {
        let start = Instant::now();
        let sum: f32 = std::thread::scope(|scope| {
            let readers: Vec<_> = buffers.iter().map(|buffer| scope.spawn(|| sum(buffer))).collect();
            readers.into_iter().filter_map(|reader| reader.join().ok()).sum()
        });
        std::hint::black_box(sum);
        // no NaN: what a clock says
        read = read.max((threads * READ * 4) as f64 / start.elapsed().as_secs_f64() / 1e9);
    }
    Ok(json!({ "products": products, "read": read }))
}

/// In 64 sums side by side, so that memory and not addition is what it waits for.
fn sum(values: &[f32]) -> f32 {
    let mut sums = [0.0; 64];
    for chunk in values.chunks_exact(64) {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += value;
        }
    }
    sums.iter().sum()
}
