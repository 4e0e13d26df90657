//! Intervals by drawing groups again (the bootstrap; Efron 1979).

use mmlens_core::Seed;
use mmlens_engine::drawn_index;

use super::{Figure, Scorer, sum};

/// How often groups are drawn.
pub const DRAWS: usize = 1000;
/// The share of draws below the interval, and above it.
const TAIL: f64 = 0.025;

/// A group: its counts by task.
type Group = Vec<(usize, Vec<f64>)>;

/// The figures of some parts, each of some tasks. As many groups as there are, are drawn with replacement, [`DRAWS`] times; an interval
/// goes from the smallest figure that at least 2.5 % of the draws do not exceed to the smallest that 97.5 % do not. Draws in which a
/// figure is a quotient of zeros are left out of its interval.
pub(super) fn figures(
    scorer: &dyn Scorer,
    groups: &[Group],
    tasks: usize,
    parts: &[(String, Vec<usize>)],
    seed: Seed,
) -> Vec<Vec<Figure>> {
    let own = of_parts(scorer, groups.iter(), tasks, parts);
    let mut drawn: Vec<Vec<Vec<f64>>> =
        own.iter().map(|figures| vec![Vec::with_capacity(DRAWS); figures.len()]).collect();
    // Of fewer than two groups every draw is the same.
    let draws = if groups.len() < 2 { 0 } else { DRAWS };
    for draw in 0..draws {
        let seed = seed.at(draw as u64);
        let some = (0..groups.len()).filter_map(|i| groups.get(drawn_index(seed.at(i as u64), groups.len())));
        for (all, figures) in drawn.iter_mut().zip(of_parts(scorer, some, tasks, parts)) {
            for (all, figure) in all.iter_mut().zip(figures) {
                all.extend(figure);
            }
        }
    }
    let names = scorer.figures();
    let figure = |((name, value), mut drawn): ((&&str, Option<f64>), Vec<f64>)| {
        drawn.sort_by(f64::total_cmp);
        let at =
            |share: f64| drawn.get(((share * drawn.len() as f64).ceil() as usize).saturating_sub(1)).copied();
        Figure {
            name: (*name).to_owned(),
            value,
            error: value.and(deviation(&drawn)),
            interval: value.and(at(TAIL).zip(at(1.0 - TAIL))).map(|(low, high)| [low, high]),
        }
    };
    let of_part = |(own, drawn): (Vec<Option<f64>>, Vec<Vec<f64>>)| {
        names.iter().zip(own).zip(drawn).map(figure).collect()
    };
    own.into_iter().zip(drawn).map(of_part).collect()
}

fn deviation(drawn: &[f64]) -> Option<f64> {
    let count = drawn.len() as f64;
    let mean = drawn.iter().sum::<f64>() / count;
    let squares: f64 = drawn.iter().map(|value| (value - mean).powi(2)).sum();
    (drawn.len() > 1).then(|| (squares / (count - 1.0)).sqrt())
}

fn of_parts<'a>(
    scorer: &dyn Scorer,
    groups: impl Iterator<Item = &'a Group>,
    tasks: usize,
    parts: &[(String, Vec<usize>)],
) -> Vec<Vec<Option<f64>>> {
    let mut sums = vec![Vec::new(); tasks];
    for (task, counts) in groups.flatten() {
        let Some(all) = sums.get_mut(*task) else { continue };
        *all = sum([all.as_slice(), counts.as_slice()].into_iter());
    }
    let part = |(_, some): &(String, Vec<usize>)| {
        let some: Vec<&[f64]> = some
            .iter()
            .filter_map(|at| sums.get(*at))
            .filter(|counts| !counts.is_empty())
            .map(Vec::as_slice)
            .collect();
        match some.as_slice() {
            // A task of which no group was drawn.
            [] => vec![None; scorer.figures().len()],
            [one] => scorer.values(one),
            some => scorer.together(some),
        }
    };
    parts.iter().map(part).collect()
}
