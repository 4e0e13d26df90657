//! The strongest features of a case, and where they are.

use mmlens_core::finding::{Axis, Caution, CautionKind, Labelled, Role, Unit};
use mmlens_core::{AnalysisError, Answer, Card, Inputs, Seed, Site};
use mmlens_engine::{Held, dictionary::top_places, label};
use rayon::prelude::*;

use super::training::unit;
use crate::check::input;

/// What a site holds of a case, and the features of that.
pub(crate) struct Found<'a> {
    pub(crate) held: &'a Held,
    pub(crate) features: usize,
    /// `[rows, features]`.
    pub(crate) values: &'a [f32],
}

/// The item of a seed that draws directions to compare with.
const SEED: Seed = Seed(0x5AE);

/// The features that are strongest anywhere, the strongest first and of equal ones the first, at every row; beside them what directions
/// drawn at random would have.
pub(crate) fn listed(
    (card, site): (&Card, Site),
    inputs: &Inputs,
    found: &Found<'_>,
    strongest: usize,
) -> Result<Answer, AnalysisError> {
    let Found { held, features, values } = found;
    let rows = held.places.len();
    let mut largest = vec![0.0_f32; *features];
    for row in values.chunks_exact(*features) {
        // no NaN: above zero
        largest.iter_mut().zip(row).filter(|(to, x)| *x > to).for_each(|(to, x)| *to = *x);
    }
    let mut order: Vec<usize> =
        (0..*features).filter(|at| largest.get(*at).is_some_and(|x| *x > 0.0)).collect();
    let size = |at: &usize| largest.get(*at).copied().unwrap_or_default();
    order.sort_by(|a, b| size(b).total_cmp(&size(a)).then(a.cmp(b)));
    order.truncate(strongest);
    if order.is_empty() {
        return Err(input(card, "a feature that is active somewhere", format!("none is at `{site}`")));
    }
    let at = |row: usize, feature: usize| values.get(row * features + feature).copied().unwrap_or_default();
    let axis = || Axis::names(Role::Feature, order.iter().map(ToString::to_string));
    let places = match held.prompt {
        true => label::token_axis_at(inputs.map(), &held.places),
        false => Axis::names(Role::Token, held.shows.iter().map(ToString::to_string)),
    };
    let all = order.iter().flat_map(|feature| (0..rows).map(|row| at(row, *feature))).collect();
    let shown = order.iter().map(|feature| {
        let most = (0..rows).find(|row| at(*row, *feature) == size(feature));
        most.and_then(|row| held.shows.get(row)).map(ToString::to_string).unwrap_or_default()
    });
    let density =
        order.iter().map(|of| (0..rows).filter(|row| at(*row, *of) > 0.0).count() as f32 / rows as f32);
    let active: Vec<usize> =
        values.chunks_exact(*features).map(|row| row.iter().filter(|x| **x > 0.0).count()).collect();
    let random = of_random(held, *features, &active);
    let mut of_random = random;
    of_random.sort_by(|a, b| b.total_cmp(a));
    of_random.truncate(order.len());
    let top = order.first().map(size).unwrap_or_default();
    let chance = of_random.first().copied().unwrap_or_default();
    let caution = (rows > 1 && top <= chance).then(|| {
        let text = format!(
            "the strongest feature has {top:.3}, and the strongest of as many directions drawn at random {chance:.3}: \
             features of this strength need not mean anything here"
        );
        Caution::new(CautionKind::NoBetter, top - chance, text)
    });
    let largest = order.iter().map(size).collect();
    let tables = vec![
        Labelled::numbers("activations", Unit::Activation, vec![axis(), places.clone()], all)?,
        Labelled::numbers("largest", Unit::Activation, vec![axis()], largest)?,
        Labelled::texts("where", vec![axis()], shown.collect())?.aside(),
        Labelled::numbers("density", Unit::Ratio, vec![axis()], density.collect())?.aside(),
        Labelled::numbers(
            "of random directions",
            Unit::Activation,
            vec![Axis::count(Role::Rank, of_random.len())],
            of_random,
        )?
        .aside(),
        Labelled::numbers(
            "active features",
            Unit::Count,
            vec![places],
            active.iter().map(|count| *count as f32).collect(),
        )?
        .aside(),
    ];
    Ok(Answer::new(tables, [site]).seeded(SEED).cautioned(caution))
}

/// The largest that each of as many directions drawn evenly from the sphere has of any row, less the mean of the rows, where of each row
/// as many are kept as features are active in it.
fn of_random(held: &Held, features: usize, active: &[usize]) -> Vec<f32> {
    let (rows, width) = (held.places.len(), held.width);
    let mut mean = vec![0.0_f64; width];
    for row in held.values.chunks_exact(width) {
        mean.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x) / rows as f64);
    }
    let directions: Vec<Vec<f32>> =
        (0..features).into_par_iter().map(|at| unit(width, SEED.at(at as u64))).collect();
    let each: Vec<Vec<(usize, f32)>> = held
        .values
        .par_chunks_exact(width)
        .zip(active.par_iter())
        .map(|(row, count)| {
            let along = directions.iter().map(|direction| {
                let parts = direction.iter().zip(row).zip(&mean);
                parts.map(|((d, x), mean)| f64::from(*d) * (f64::from(*x) - mean)).sum::<f64>() as f32
            });
            let along: Vec<f32> = along.collect();
            let kept = top_places(&along, *count).into_iter();
            kept.filter_map(|at| Some((at, *along.get(at)?))).filter(|(_, much)| *much > 0.0).collect()
        })
        .collect();
    let mut largest = vec![0.0_f32; features];
    for (at, much) in each.into_iter().flatten() {
        if let Some(to) = largest.get_mut(at).filter(|to| **to < much) {
            *to = much;
        }
    }
    largest
}
