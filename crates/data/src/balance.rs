//! Draws of questions, balanced so that the wording gives as little away as can be.

use std::collections::BTreeSet;

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

/// How many draws [`several`] makes to avoid asking the same twice.
const FRESH_DRAWS: usize = 16;
/// How often what is counted is drawn not to be there.
const ZERO_RATE: f64 = 0.25;
/// How often a "no" about two properties at once is drawn among the near misses.
const NEAR_RATE: f64 = 0.75;

/// `n` questions, each of a kind drawn by weight among those that `ask` has one of. Kinds without a positive,
/// finite weight are not asked; if none is left, there are no questions. The same question comes twice only if
/// sixteen further draws find no other.
pub(crate) fn several<K: Copy + PartialEq, Q: PartialEq, R: Rng + ?Sized>(
    n: usize,
    rng: &mut R,
    weights: &[(K, f32)],
    ask: impl Fn(K, &mut R) -> Option<Q>,
) -> Vec<Q> {
    let mut open: Vec<(K, f32)> =
        weights.iter().copied().filter(|&(_, weight)| weight > 0.0 && weight.is_finite()).collect();
    let mut questions: Vec<Q> = Vec::with_capacity(n);
    let mut stale = 0;
    while questions.len() < n {
        let Ok(&(kind, _)) = open.choose_weighted(rng, |&(_, weight)| weight) else { break };
        let Some(question) = ask(kind, rng) else {
            open.retain(|&(other, _)| other != kind);
            continue;
        };
        if stale < FRESH_DRAWS && questions.contains(&question) {
            stale += 1;
            continue;
        }
        stale = 0;
        questions.push(question);
    }
    questions
}

/// What is to be counted among things: there is none of it once in four, and else, evenly drawn, any number that
/// occurs.
pub(crate) fn counted<T, F: Copy, R: Rng + ?Sized>(
    things: &[T],
    filters: Vec<F>,
    admits: impl Fn(F, &T) -> bool,
    rng: &mut R,
) -> Option<F> {
    let count = |filter: F| things.iter().filter(|thing| admits(filter, thing)).count();
    let counts: Vec<usize> = filters.iter().map(|&filter| count(filter)).collect();
    let occurring: BTreeSet<usize> = counts.iter().copied().filter(|&count| count > 0).collect();
    let occurring: Vec<usize> = occurring.into_iter().collect();
    let none = rng.random_bool(ZERO_RATE);
    let wanted = if none { 0 } else { occurring.choose(rng).copied().unwrap_or(0) };
    let fitting = filters.into_iter().zip(counts).filter(|&(_, count)| count == wanted);
    let fitting: Vec<F> = fitting.map(|(filter, _)| filter).collect();
    fitting.choose(rng).copied()
}

/// What is to be asked after among things: it is there as often as not. `filters` are those of the first way to
/// ask, of the second, and of the third, by two properties at once; of those of the third that are not there,
/// three in four or more are near misses: one of the properties is there.
pub(crate) fn sought<T, F: Copy, R: Rng + ?Sized>(
    things: &[T],
    filters: impl FnOnce(i32) -> Vec<F>,
    admits: impl Fn(F, &T) -> bool,
    nearly: impl Fn(F, &T) -> bool,
    rng: &mut R,
) -> Option<F> {
    let yes = rng.random_bool(0.5);
    let way = rng.random_range(0..3);
    let near = rng.random_bool(NEAR_RATE);
    let mut filters = filters(way);
    // A scene without things, made by taking its only one away, has no question answered by yes.
    let yes = yes && !things.is_empty();
    filters.retain(|&filter| things.iter().any(|thing| admits(filter, thing)) == yes);
    if way == 2 && !yes && near {
        let is_near = |filter: &F| things.iter().any(|thing| nearly(*filter, thing));
        let misses: Vec<F> = filters.iter().copied().filter(is_near).collect();
        if !misses.is_empty() {
            filters = misses;
        }
    }
    filters.choose(rng).copied()
}
