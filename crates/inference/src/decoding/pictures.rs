//! Inputs whose pictures and recordings are noised, or gone.

use std::sync::Arc;

use mmlens_core::{Entries, HookError, Inputs, Part, Seed, SubjectError, TokenMap};

/// Steps of the diffusion.
pub(super) const STEPS: usize = 1000;

/// How much of a signal is kept after a step of the diffusion, counted from 0: the root of the product of `1 - beta` up to it, with
/// `beta = sigmoid(x) (5e-3 - 1e-5) + 1e-5` and `x` from -6 to 6 in 1000 even steps.
#[must_use]
pub fn kept_of_signal(step: usize) -> f64 {
    let beta = |at: usize| {
        let x = -6.0 + 12.0 * at as f64 / (STEPS - 1) as f64;
        1.0 / (1.0 + (-x).exp()) * (5e-3 - 1e-5) + 1e-5
    };
    (0..=step).map(|at| 1.0 - beta(at)).product::<f64>().sqrt()
}

/// The same with noised pictures and recordings: `kept x + sqrt(1 - kept^2) n` at every number that a tower is given. The noise of
/// number `j` of a row's picture `i` is [`Seed::normal`] of `seed.at(i).at(j)`, whatever else is in the batch; recordings are counted behind
/// the row's pictures.
///
/// # Errors
/// [`SubjectError::Batch`] for inputs without pictures and recordings, or numbers that are not as many for each of them.
pub fn noised(inputs: &Inputs, kept: f64, seed: Seed) -> Result<Inputs, SubjectError> {
    let fail = |reason: &str| SubjectError::Batch { reason: reason.to_owned() };
    let mut made = Vec::new();
    for tower in inputs.towers() {
        let Some(own) = inputs.entries(tower) else { continue };
        let Some(given) = own.values.as_ref() else { continue };
        let mut values = given.to_values()?;
        let width = match own.grids.is_empty() {
            true => values.len() / own.len().max(1),
            false => given.dims().iter().skip(1).product(),
        };
        let lengths: Vec<usize> = match own.grids.is_empty() {
            true => vec![width; own.len()],
            false => own.grids.iter().map(|grid| grid.patches() * width).collect(),
        };
        if lengths.iter().sum::<usize>() != values.len() {
            return Err(fail("the pixels are no whole number for each picture"));
        }
        let number = |entry: usize| {
            let of_row = |(row, entries): (usize, &Vec<usize>)| {
                let before = if tower == Part::Audio { inputs.seen.of_row(row).len() } else { 0 };
                entries.iter().position(|other| *other == entry).map(|own| before + own)
            };
            own.of_rows.iter().enumerate().find_map(of_row).unwrap_or(entry)
        };
        let spread = (1.0 - kept * kept).max(0.0).sqrt(); // no NaN: a share of the signal
        let mut rest = values.as_mut_slice();
        for (entry, length) in lengths.into_iter().enumerate() {
            let (own, others) = rest.split_at_mut(length);
            let seed = seed.at(number(entry) as u64);
            for (at, value) in own.iter_mut().enumerate() {
                *value = (kept * f64::from(*value) + spread * seed.at(at as u64).normal()) as f32;
            }
            rest = others;
        }
        made.push((tower, given.filled(values)?));
    }
    if made.is_empty() {
        return Err(fail("there are no pictures to noise"));
    }
    inputs.clone().with(|batch| {
        for (tower, values) in made {
            if let Some(own) = batch.entries_mut(tower) {
                own.values = Some(values);
            }
        }
    })
}

/// The same words without pictures, clips and recordings: the positions that show them are left out, with what the model puts in their places.
/// Rows are padded anew on the left with `pad`.
///
/// # Errors
/// [`SubjectError::Batch`] for a row of nothing but pictures.
pub fn without_pictures(inputs: &Inputs, pad: u32) -> Result<Inputs, SubjectError> {
    let (mut rows, mut maps) = (Vec::new(), Vec::new());
    for ((ids, pad), map) in inputs.ids.iter().zip(&inputs.pads).zip(&inputs.maps) {
        // What stands behind the labels was written, and is kept.
        let shows = |at: &usize| map.tokens.get(*at).is_some_and(|token| token.modality.is_perceived());
        let kept: Vec<usize> = (0..ids.len().saturating_sub(*pad)).filter(|at| !shows(at)).collect();
        let missing = |at: usize| HookError::Objective { what: "position", index: at, len: ids.len() };
        let own: Vec<u32> = kept
            .iter()
            .map(|at| ids.get(pad + at).copied().ok_or_else(|| missing(pad + at)))
            .collect::<Result<_, HookError>>()?;
        let answer = map.answer.map(|answer| kept.iter().filter(|at| **at < answer).count());
        let tokens = kept.iter().filter_map(|at| map.tokens.get(*at).cloned()).collect();
        maps.push(Arc::new(TokenMap { tokens, text: map.text.clone(), answer, ..TokenMap::default() }));
        rows.push(own);
    }
    let longest = rows.iter().map(Vec::len).max().unwrap_or(0); // no NaN: whole numbers
    inputs.clone().with(|batch| {
        batch.pads = rows.iter().map(|row| longest - row.len()).collect();
        batch.ids = rows.into_iter().map(|row| [vec![pad; longest - row.len()], row].concat()).collect();
        batch.maps = maps;
        (batch.seen, batch.heard) = (Entries::default(), Entries::default());
    })
}

/// The positions of a row that show pictures or clips or play recordings, counted with its padding.
pub(super) fn shown(inputs: &Inputs, row: usize) -> Vec<usize> {
    let pad = inputs.pads.get(row).copied().unwrap_or(0);
    let tokens = inputs.maps.get(row).map(|map| map.tokens.as_slice()).unwrap_or_default();
    let own = tokens.iter().enumerate().filter(|(_, token)| token.modality.is_perceived());
    own.map(|(at, _)| pad + at).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::kept_of_signal;

    #[test]
    fn noise_grows_from_nearly_none() {
        // beta of the first step: sigmoid(-6) = 0.0024726, times 4.99e-3 and 1e-5 more is 2.2338e-5.
        assert!((kept_of_signal(0) - (1.0 - 2.233_84e-5_f64).sqrt()).abs() < 1e-9);
        let all: Vec<f64> = (0..1000).map(kept_of_signal).collect();
        assert!(all.windows(2).all(|pair| pair[1] < pair[0]) && all[999] > 0.0);
    }
}
