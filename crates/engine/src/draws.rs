//! Draws that depend on a seed alone.

use mmlens_core::Seed;

/// A draw of the normal distribution: [`Seed::normal`].
pub fn normal(seed: Seed) -> f64 {
    seed.normal()
}

/// `0..len` in an order that follows from a seed: by the numbers `seed.at(i).value()`, the smallest first.
pub fn drawn_order(len: usize, seed: Seed) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    order.sort_by_key(|at| (seed.at(*at as u64).value(), *at));
    order
}

/// A vector of length one, of which every direction is equally likely: number `i` is [`normal`] of `seed.at(i)`, before it is brought to length one.
pub fn direction(width: usize, seed: Seed) -> Vec<f64> {
    let drawn: Vec<f64> = (0..width).map(|at| normal(seed.at(at as u64))).collect();
    let length = drawn.iter().map(|x| x * x).sum::<f64>().sqrt();
    drawn.into_iter().map(|x| x / length).collect()
}
