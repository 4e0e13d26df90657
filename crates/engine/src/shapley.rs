//! Shapley values: what each player of a game is worth, exactly, by Kernel SHAP, or by some orders.
//!
//! A game gives every [`Coalition`] `S` of `n` players a score `v(S)`. The value of a player is the mean, over all orders in which players
//! may come, of what it adds to those before it:
//!
//! ```text
//! phi_i = sum over S without i of |S|! (n - |S| - 1)! / n! (v(S + i) - v(S))
//! ```
//!
//! [`exact`] adds that up. [`kernel`] solves the least squares problem of which these values are the solution,
//!
//! ```text
//! min over phi of  sum over S of w(|S|) (v(S) - v(none) - sum of phi_i over S)^2,   w(s) = (n - 1) / (C(n, s) s (n - s)),
//! with  sum of phi_i = v(all) - v(none)
//! ```
//!
//! over some coalitions, and [`permutation`] takes the mean over some orders. Of the least squares problem these are taken: those of the smallest and largest sizes all, as far as the samples go, the others drawn.
//!
//! Shapley: A Value for n-Person Games. 1953. Lundberg, Lee: A Unified Approach to Interpreting Model Predictions. NeurIPS 2017,
//! <https://arxiv.org/abs/1705.07874>. Which coalitions are taken and how they are weighted is as in the `KernelExplainer` of `shap` 0.51,
//! without its selection of features; a pair of complements is never split there or here, but for `shap`'s last. The errors are ours.

use std::collections::BTreeMap;

use mmlens_core::{AnalysisError, HookError, Seed};

use crate::Coalition;
use crate::cholesky::Cholesky;

pub use permutations::{permutation, permuted};

/// The most players that are enumerated: a million coalitions.
pub const MOST_PLAYERS: usize = 20;
/// Coalitions that are scored at once when all are.
const CHUNK: u64 = 1 << 14;

/// What each player of a game is worth.
#[derive(Debug, Clone, PartialEq)]
pub struct Shares {
    /// The score without any player.
    pub none: f32,
    /// The score with all.
    pub all: f32,
    /// For each player its value; they add up to `all - none`.
    pub values: Vec<f32>,
    /// For each value its standard error from the coalitions drawn: zero where all were taken.
    pub errors: Vec<f32>,
    /// Coalitions that were scored, each counted once.
    pub scored: usize,
}

/// Why a game has no values.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ShapleyError {
    /// More players than can be enumerated.
    #[error("{0} players, of whom at most {MOST_PLAYERS} are enumerated; sample coalitions instead")]
    Players(usize),
    /// Too few coalitions to tell the players apart, and how far off they are.
    #[error(
        "{samples} coalitions are too few to tell {players} players apart; take at least {least}, or more where that fails"
    )]
    Samples {
        /// How many were asked for.
        samples: usize,
        /// Players.
        players: usize,
        /// How many may be enough.
        least: usize,
    },
    /// Another number of scores than coalitions.
    #[error("{found} scores for {expected} coalitions")]
    Scores {
        /// Scores.
        found: usize,
        /// Coalitions.
        expected: usize,
    },
    /// A score that is no number.
    #[error("the score of {coalition} is {found}")]
    NotFinite {
        /// Whose.
        coalition: String,
        /// What it is.
        found: f32,
    },
}

impl From<ShapleyError> for AnalysisError {
    fn from(error: ShapleyError) -> Self {
        let method = "Shapley values";
        match error {
            ShapleyError::Players(players) => Self::Setting {
                method,
                setting: "players",
                found: players.to_string(),
                expected: "at most 20 are enumerated",
            },
            ShapleyError::Samples { ref samples, .. } => {
                let found = format!("{samples} ({error})");
                Self::Setting {
                    method,
                    setting: "samples",
                    found,
                    expected: "enough to tell the players apart",
                }
            }
            ShapleyError::Scores { found, expected } => {
                HookError::Values { dims: vec![expected], given: found }.into()
            }
            ShapleyError::NotFinite { coalition, found } => {
                Self::NotFinite { method: method.to_owned(), table: "score".to_owned(), at: coalition, found }
            }
        }
    }
}

/// Values from the scores of all coalitions.
///
/// ```
/// use mmlens_engine::shapley::{ShapleyError, exact};
/// // Two of three players are needed: each is worth a third.
/// let found = exact(3, |some| Ok::<_, ShapleyError>(some.iter().map(|s| if s.size() >= 2 { 1.0 } else { 0.0 }).collect()))?;
/// assert!(found.values.iter().all(|value| (value - 1.0 / 3.0).abs() < 1e-6));
/// # Ok::<(), ShapleyError>(())
/// ```
///
/// # Errors
/// [`ShapleyError::Players`] for more than [`MOST_PLAYERS`], [`ShapleyError::Scores`], [`ShapleyError::NotFinite`]; whatever scoring
/// reports.
///
/// # Cost
/// `2^n` scores, asked for in chunks.
pub fn exact<E: From<ShapleyError>>(
    players: usize,
    mut score: impl FnMut(&[Coalition]) -> Result<Vec<f32>, E>,
) -> Result<Shares, E> {
    if players > MOST_PLAYERS {
        return Err(ShapleyError::Players(players).into());
    }
    let count = 1_u64 << players;
    let mut scores: Vec<f64> = Vec::with_capacity(count as usize);
    for from in (0..count).step_by(CHUNK as usize) {
        let some: Vec<Coalition> =
            (from..count.min(from + CHUNK)).map(|number| Coalition::numbered(players, number)).collect();
        scores.extend(scored(&some, &mut score)?);
    }
    // |S|! (n - |S| - 1)! / n! = 1 / (n C(n - 1, |S|))
    let weights: Vec<f64> =
        (0..players).map(|size| 1.0 / (players as f64 * choose(players - 1, size))).collect();
    let at = |number: u64| scores.get(number as usize).copied().unwrap_or(f64::NAN);
    let value = |player: usize| -> f64 {
        let without = (0..count).filter(|number| number >> player & 1 == 0);
        let added = |number: u64| {
            let weight = weights.get(number.count_ones() as usize).copied().unwrap_or(f64::NAN);
            weight * (at(number | 1 << player) - at(number))
        };
        without.map(added).sum()
    };
    let values = (0..players).map(|player| value(player) as f32).collect();
    let (none, all) = (at(0) as f32, at(count - 1) as f32);
    Ok(Shares { none, all, values, errors: vec![0.0; players], scored: count as usize })
}

/// How many scores [`kernel`] asks for. Draws that repeat bring nothing new, so that it may be fewer than `samples + 2`.
///
/// # Cost
/// The draws, and no score.
#[must_use]
pub fn coalitions(players: usize, samples: usize, seed: Seed) -> usize {
    2 + if players < 2 { 0 } else { Taken::of(players, samples, seed).rows.len() }
}

/// Values from the scores of some coalitions (Kernel SHAP). `samples` counts those beside none and all; from `2^n - 2` on all are taken and
/// the values are exact.
///
/// The standard errors are a jackknife over what was drawn, a pair of complements counting as one draw.
///
/// # Errors
/// [`ShapleyError::Samples`] for too few coalitions, [`ShapleyError::Scores`], [`ShapleyError::NotFinite`]; whatever scoring reports.
///
/// # Cost
/// `samples + 2` scores, asked for at once; then `samples n^2` and `n^3` operations, and the coalitions in memory, a bit for each player.
pub fn kernel<E: From<ShapleyError>>(
    players: usize,
    samples: usize,
    seed: Seed,
    mut score: impl FnMut(&[Coalition]) -> Result<Vec<f32>, E>,
) -> Result<Shares, E> {
    let taken = if players < 2 { Taken::default() } else { Taken::of(players, samples, seed) };
    let mut some = vec![Coalition::none(players), Coalition::all(players)];
    some.extend(taken.rows.iter().map(|row| row.coalition.clone()));
    let scores = scored(&some, &mut score)?;
    let [none, all, ..] = *scores.as_slice() else {
        return Err(ShapleyError::Scores { found: scores.len(), expected: some.len() }.into());
    };
    let few = || ShapleyError::Samples { samples, players, least: 4 * players };
    let (values, errors) = match players {
        0 => (Vec::new(), Vec::new()),
        1 => (vec![all - none], vec![0.0]),
        _ => {
            let gains: Vec<f64> = scores.iter().skip(2).map(|score| score - none).collect();
            solved(players, &taken, &gains, all - none).ok_or_else(few)?
        }
    };
    let narrow = |all: Vec<f64>| all.into_iter().map(|value| value as f32).collect();
    Ok(Shares {
        none: none as f32,
        all: all as f32,
        values: narrow(values),
        errors: narrow(errors),
        scored: some.len(),
    })
}

/// The scores of some coalitions, each a finite number.
fn scored<E: From<ShapleyError>>(
    some: &[Coalition],
    score: &mut impl FnMut(&[Coalition]) -> Result<Vec<f32>, E>,
) -> Result<Vec<f64>, E> {
    let found = score(some)?;
    if found.len() != some.len() {
        return Err(ShapleyError::Scores { found: found.len(), expected: some.len() }.into());
    }
    if let Some((coalition, found)) = some.iter().zip(&found).find(|(_, score)| !score.is_finite()) {
        return Err(ShapleyError::NotFinite { coalition: coalition.to_string(), found: *found }.into());
    }
    Ok(found.into_iter().map(f64::from).collect())
}

/// Of `n` things, in how many ways `k` are chosen.
fn choose(n: usize, k: usize) -> f64 {
    (0..k.min(n - k.min(n))).fold(1.0, |all, i| all * (n - i) as f64 / (i + 1) as f64).round()
}

/// A coalition of the least squares problem.
#[derive(Debug)]
struct Row {
    coalition: Coalition,
    weight: f64,
}

/// The coalitions of the least squares problem: first those of sizes of which all are taken, then draws.
#[derive(Debug, Default)]
struct Taken {
    rows: Vec<Row>,
    /// Of each draw that differs, its rows (a pair of complements, or one) and how often it came.
    draws: Vec<(std::ops::Range<usize>, usize)>,
}

impl Taken {
    /// At least two players.
    fn of(players: usize, samples: usize, seed: Seed) -> Self {
        let most = if players <= 30 { (1_usize << players) - 2 } else { usize::MAX };
        let samples = samples.min(most);
        // Sizes up to half of the players, each together with its complement, but for exactly half.
        let (sizes, paired) = (players / 2, (players - 1) / 2);
        let mut shares: Vec<f64> = (1..=sizes)
            .map(|size| {
                (players - 1) as f64 / (size * (players - size)) as f64
                    * if size <= paired { 2.0 } else { 1.0 }
            })
            .collect();
        let whole: f64 = shares.iter().sum();
        shares.iter_mut().for_each(|share| *share /= whole);
        let mut taken = Self::default();
        let (mut full, mut left, mut rest) = (0, samples as f64, 1.0);
        for (size, share) in (1..).zip(&shares) {
            let pair = size <= paired;
            let count = choose(players, size) * if pair { 2.0 } else { 1.0 };
            // As many samples as this size would be given suffice for all of it.
            if left * share / rest < count * (1.0 - 1e-8) {
                break;
            }
            full += 1;
            left -= count;
            rest -= share;
            taken.every(players, size, pair, share / count);
        }
        let share: f64 = shares.iter().skip(full).sum();
        if full < sizes {
            taken.draw(players, (full + 1, paired), &shares, left as usize, share, seed);
        }
        taken
    }

    /// All coalitions of a size, and their complements.
    fn every(&mut self, players: usize, size: usize, pair: bool, weight: f64) {
        let mut chosen: Vec<usize> = (0..size).collect();
        loop {
            let coalition = Coalition::of(players, chosen.iter().copied());
            self.push(coalition, pair, weight);
            // The next in lexicographic order: the last that can move on does, and those behind it follow.
            let movable = |(at, player): (usize, &usize)| *player < players - size + at;
            let Some(at) = chosen.iter().enumerate().rposition(movable) else { return };
            let from = chosen.get(at).map_or(0, |player| player + 1);
            chosen.iter_mut().skip(at).zip(from..).for_each(|(slot, player)| *slot = player);
        }
    }

    fn push(&mut self, coalition: Coalition, pair: bool, weight: f64) -> std::ops::Range<usize> {
        let from = self.rows.len();
        let others = pair.then(|| coalition.others());
        self.rows.push(Row { coalition, weight });
        self.rows.extend(others.map(|coalition| Row { coalition, weight }));
        from..self.rows.len()
    }

    /// Draws among the sizes from one on, until so many coalitions differ, or four times as many draws were made. Together they have the
    /// weight `share`.
    fn draw(
        &mut self,
        players: usize,
        (first, paired): (usize, usize),
        shares: &[f64],
        samples: usize,
        share: f64,
        seed: Seed,
    ) {
        // A draw of a paired size brings two coalitions.
        let halved = |(size, share): (usize, &f64)| (size, if size <= paired { share / 2.0 } else { *share });
        let odds: Vec<(usize, f64)> = (1..).zip(shares).skip(first - 1).map(halved).collect();
        let all: f64 = odds.iter().map(|(_, odds)| odds).sum();
        let mut known: BTreeMap<Coalition, usize> = BTreeMap::new();
        let mut left = samples;
        for draw in 0..4 * samples {
            let seed = seed.at(draw as u64);
            let mut at = f64::from(seed.at(0).unit()) * all;
            let size = odds.iter().find(|(_, odds)| {
                at -= odds;
                at < 0.0
            });
            let Some((size, _)) = size.or(odds.last()) else { return };
            let pair = *size <= paired;
            if left < if pair { 2 } else { 1 } {
                break;
            }
            let coalition = drawn(players, *size, seed);
            match known.get(&coalition).and_then(|known| self.draws.get_mut(*known)) {
                Some((_, count)) => *count += 1,
                None => {
                    known.insert(coalition.clone(), self.draws.len());
                    let rows = self.push(coalition, pair, 0.0);
                    left -= rows.len();
                    self.draws.push((rows, 1));
                }
            }
        }
        let counted: usize = self.draws.iter().map(|(rows, count)| rows.len() * count).sum();
        for (rows, count) in &self.draws {
            let own = self.rows.iter_mut().skip(rows.start).take(rows.len());
            own.for_each(|row| row.weight = share * *count as f64 / counted as f64);
        }
    }
}

/// So many of the players, all equally likely.
fn drawn(players: usize, size: usize, seed: Seed) -> Coalition {
    let mut order: Vec<usize> = (0..players).collect();
    for at in 0..size {
        let far = (f64::from(seed.at(1 + at as u64).unit()) * (players - at) as f64) as usize;
        order.swap(at, (at + far).min(players - 1));
    }
    Coalition::of(players, order.into_iter().take(size))
}

/// Values and their errors. The last player's value is what the others leave of `all`. `None` where the coalitions do not tell players
/// apart.
fn solved(players: usize, taken: &Taken, gains: &[f64], all: f64) -> Option<(Vec<f64>, Vec<f64>)> {
    let free = players - 1;
    let last = |coalition: &Coalition| f64::from(u8::from(coalition.has(free)));
    let row = |coalition: &Coalition| -> Vec<f64> {
        let last = last(coalition);
        (0..free).map(|player| f64::from(u8::from(coalition.has(player))) - last).collect()
    };
    let (mut square, mut right) = (vec![0.0; free * free], vec![0.0; free]);
    for (Row { coalition, weight }, gain) in taken.rows.iter().zip(gains) {
        let z = row(coalition);
        let rest = gain - last(coalition) * all;
        for ((line, right), z_i) in square.chunks_mut(free).zip(&mut right).zip(&z) {
            if *z_i != 0.0 {
                line.iter_mut().zip(&z).for_each(|(slot, z_j)| *slot += weight * z_i * z_j);
                *right += weight * z_i * rest;
            }
        }
    }
    let factor = Cholesky::of(square, free)?;
    let mut values = factor.solve(&right);
    values.push(all - values.iter().sum::<f64>());
    if values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let draws: usize = taken.draws.iter().map(|(_, count)| count).sum();
    if draws == 0 {
        return Some((values, vec![0.0; players]));
    }
    // How the values move if one draw is left out, less the mean of that: the deviations of a jackknife.
    let mut moved: Vec<(Vec<f64>, f64)> = Vec::with_capacity(taken.draws.len());
    for (rows, count) in &taken.draws {
        let own = || taken.rows.iter().zip(gains).skip(rows.start).take(rows.len());
        let (mut pull, mut held) = (vec![0.0; free], 0.0);
        for (Row { coalition, weight }, gain) in own() {
            let (z, weight) = (row(coalition), weight / *count as f64);
            let fitted: f64 = coalition.present().filter_map(|player| values.get(player)).sum();
            pull.iter_mut().zip(&z).for_each(|(pull, z)| *pull += weight * z * (gain - fitted));
            held += weight * z.iter().zip(factor.solve(&z)).map(|(z, solved)| z * solved).sum::<f64>();
        }
        if held >= 1.0 - 1e-9 {
            return None; // This draw alone decides some value.
        }
        let mut away: Vec<f64> = factor.solve(&pull).into_iter().map(|away| away / (1.0 - held)).collect();
        away.push(-away.iter().sum::<f64>());
        moved.push((away, *count as f64));
    }
    let many = draws as f64;
    if draws < 2 {
        return None;
    }
    let error = |player: usize| {
        let own = || moved.iter().map(|(away, count)| (away.get(player).copied().unwrap_or(0.0), *count));
        let mean = own().map(|(away, count)| count * away).sum::<f64>() / many;
        let spread: f64 = own().map(|(away, count)| count * (away - mean) * (away - mean)).sum();
        (spread * many / (many - 1.0)).sqrt()
    };
    Some((values, (0..players).map(error).collect()))
}

mod permutations;
#[cfg(test)]
mod tests;
