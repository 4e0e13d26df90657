//! Shapley values from some of the orders in which players may come, each with its reverse.

use mmlens_core::Seed;

use super::{ShapleyError, Shares, scored};
use crate::{Coalition, drawn_order};

/// How many scores [`permutation`] asks for.
#[must_use]
pub fn permuted(players: usize, orders: usize) -> usize {
    2 + 2 * orders * players.saturating_sub(1)
}

/// Values as the mean over `orders` drawn orders, and the reverse of each, of what every player adds to those before it. They add up to
/// `all - none` for every order, so that there is no gap; a player has the same value in an order and in its reverse where others do not
/// matter to it.
///
/// The standard errors are those of the mean over pairs of orders: none from a single pair, where they are zero.
///
/// # Errors
/// [`ShapleyError::Scores`], [`ShapleyError::NotFinite`]; whatever scoring reports.
///
/// # Cost
/// `2 + 2 orders (n - 1)` scores, asked for at once.
pub fn permutation<E: From<ShapleyError>>(
    players: usize,
    orders: usize,
    seed: Seed,
    mut score: impl FnMut(&[Coalition]) -> Result<Vec<f32>, E>,
) -> Result<Shares, E> {
    let drawn: Vec<Vec<usize>> = (0..orders).map(|at| drawn_order(players, seed.at(at as u64))).collect();
    let mut some = vec![Coalition::none(players), Coalition::all(players)];
    let inner = 1..players.max(1);
    for order in &drawn {
        some.extend(inner.clone().map(|size| Coalition::of(players, order.iter().take(size).copied())));
        some.extend(inner.clone().map(|size| Coalition::of(players, order.iter().rev().take(size).copied())));
    }
    let scores = scored(&some, &mut score)?;
    let [none, all, rest @ ..] = scores.as_slice() else {
        return Err(ShapleyError::Scores { found: scores.len(), expected: some.len() }.into());
    };
    let mut sums = vec![(0.0_f64, 0.0_f64); players];
    let each = players.saturating_sub(1);
    for (at, order) in drawn.iter().enumerate() {
        let mut own = vec![0.0; players];
        let walk = |from: usize| {
            let inner = rest.get(from..from + each).unwrap_or_default().iter().copied();
            std::iter::once(*none).chain(inner).chain([*all]).collect::<Vec<f64>>()
        };
        let (there, back) = (walk(2 * at * each), walk((2 * at + 1) * each));
        let forward = order.iter().zip(there.windows(2));
        let reverse = order.iter().rev().zip(back.windows(2));
        for (player, step) in forward.chain(reverse) {
            if let ([before, after], Some(slot)) = (step, own.get_mut(*player)) {
                *slot += (after - before) / 2.0;
            }
        }
        for ((sum, squares), value) in sums.iter_mut().zip(own) {
            *sum += value;
            *squares += value * value;
        }
    }
    let n = orders as f64;
    let error = |(sum, squares): &(f64, f64)| match orders {
        0 | 1 => 0.0,
        _ => ((squares / n - (sum / n).powi(2)).max(0.0) / (n - 1.0)).sqrt() as f32, // no NaN: finite scores
    };
    Ok(Shares {
        none: *none as f32,
        all: *all as f32,
        errors: sums.iter().map(error).collect(),
        values: sums.into_iter().map(|(sum, _)| (sum / n) as f32).collect(),
        scored: some.len(),
    })
}
