//! What a bottleneck says of its concepts, and what correcting them does, as tables.

use mmlens_core::finding::{Axis, Caution, CautionKind, Labelled, Role, Unit};
use mmlens_core::{AnalysisError, Seed};
use mmlens_engine::{Logistic, drawn_order};

use super::{Concept, PostHocBottleneck, says, scores, some};
use crate::learned::{FEW, named, share};
use crate::surrogate::sparse_head::{Tried, with_vector};

/// Which items of a seed the other rows of interventions are.
const OTHERS: u64 = 1 << 35;

/// That a head on margins is better than one on what they stand for.
pub(super) fn leaks((own, by_truth): (f64, f64), held: usize) -> Option<Caution> {
    // Two standard errors of the difference of shares that differ in every row.
    let error = 2.0 * ((own - by_truth).abs() / held.max(1) as f64).sqrt();
    (own - by_truth > error).then(|| {
        let text = format!("the bottleneck is right in {own:.3} of the rows held out, and a head on the true concepts in {by_truth:.3}: margins tell more than the concepts they are called by");
        Caution::new(CautionKind::Other, (own - by_truth) as f32, text)
    })
}

/// That concepts are told no better than by who guesses: a half of the rows, and two standard errors. Of few rows nothing is said of single
/// concepts.
pub(super) fn untold(concepts: &Labelled, held: usize) -> Option<Caution> {
    let guess = 0.5 + 1.0 / (held.max(1) as f64).sqrt();
    let accuracies = concepts.as_numbers().unwrap_or_default();
    let low = accuracies.iter().enumerate().filter(|(_, own)| f64::from(**own) <= guess);
    let names: Vec<String> = low.filter_map(|(at, _)| concepts.axes().first()?.label(at)).collect();
    (!names.is_empty() && held >= FEW).then(|| {
        let text = format!(
            "{} of {} concepts are told in no more than {guess:.3} of held-out rows, as who guesses may be: {}. Their margins are not what they are called by",
            names.len(),
            accuracies.len(),
            some(&names)
        );
        Caution::new(CautionKind::Chance, names.len() as f32, text)
    })
}

impl PostHocBottleneck {
    /// Accuracies with the truth of ever more concepts put in, and with that of other rows.
    pub(super) fn interventions(
        &self,
        (concepts, head, chosen): (&[Concept], &Logistic, &Tried),
        held: &[(usize, &[f64])],
        (label, seed): (&dyn Fn(usize) -> usize, Seed),
    ) -> Result<Vec<Labelled>, AnalysisError> {
        let weight = |at: usize| -> f64 {
            chosen.model.weights.iter().filter_map(|own| own.get(at)).map(|w| w.abs()).sum()
        };
        let mut order = chosen.features();
        order.sort_by(|a, b| weight(*b).total_cmp(&weight(*a)).then(a.cmp(b)));
        let measured: Vec<Vec<f64>> =
            held.iter().map(|(_, row)| concepts.iter().map(|own| own.margin(row)).collect()).collect();
        let accuracy = |count: usize, truth_of: &dyn Fn(usize) -> usize| {
            share(held.iter().zip(&measured).enumerate().map(|(at, ((row, _), margins))| {
                let mut margins = margins.clone();
                for concept in order.iter().take(count) {
                    if let (Some(slot), Some(own)) = (margins.get_mut(*concept), concepts.get(*concept)) {
                        *slot = own.means[usize::from(own.has.get(truth_of(at)).copied().unwrap_or(false))];
                    }
                }
                says(&scores(head, &margins)) == label(*row)
            }))
        };
        let row_of = |at: usize| held.get(at).map_or(0, |(row, _)| *row);
        let steps = 0..=order.len();
        let mut values: Vec<f64> = steps.clone().map(|count| accuracy(count, &row_of)).collect();
        let draws = self.settings.draws;
        let orders: Vec<Vec<usize>> =
            (0..draws as u64).map(|draw| drawn_order(held.len(), seed.at(OTHERS + draw))).collect();
        values.extend(steps.clone().map(|count| {
            let each = orders
                .iter()
                .map(|order| accuracy(count, &|at| row_of(order.get(at).copied().unwrap_or(at))));
            each.sum::<f64>() / draws.max(1) as f64
        }));
        let which = Axis::names(Role::Concept, ["truth", "another row's"]);
        let axes = vec![which, Axis::count(Role::Step, order.len() + 1)];
        let names =
            order.iter().filter_map(|at| concepts.get(*at)).map(|own| own.name.clone()).collect::<Vec<_>>();
        let mut tables = vec![Labelled::numbers(
            "interventions",
            Unit::Ratio,
            axes,
            values.into_iter().map(|own| own as f32).collect(),
        )?];
        if !names.is_empty() {
            tables.push(Labelled::texts("order", vec![Axis::count(Role::Step, names.len())], names)?.aside());
        }
        Ok(tables)
    }
}

/// How well concepts are told, which of them the head uses, and from which rows all that is.
pub(super) fn tables_of(
    (classes, concepts): (&[String], &[Concept]),
    (chosen, kept, left_out): (&Tried, usize, usize),
    held: &[(usize, &[f64])],
    [learned, by, out]: [usize; 3],
) -> Result<Vec<Labelled>, AnalysisError> {
    let right = |own: &Concept| {
        let side = |which: bool| -> Option<f64> {
            let rows = held.iter().filter(|(row, _)| own.has.get(*row) == Some(&which));
            let right: Vec<bool> = rows.map(|(_, row)| (own.margin(row) > 0.0) == which).collect();
            (!right.is_empty()).then(|| share(right))
        };
        let sides: Vec<f64> = [side(false), side(true)].into_iter().flatten().collect();
        sides.iter().sum::<f64>() / sides.len().max(1) as f64
    };
    let accuracies: Vec<(&str, f64)> = concepts.iter().map(|own| (own.name.as_str(), right(own))).collect();
    let used: Vec<(&str, f64)> = with_vector(classes)
        .zip(&chosen.model.weights)
        .map(|(class, own)| (class, own.iter().filter(|weight| **weight != 0.0).count() as f64))
        .chain([("all concepts", chosen.features().len() as f64)])
        .collect();
    let rows = [
        ("learned from", learned as f64),
        ("chosen by", by as f64),
        ("held out", out as f64),
        ("step", kept as f64),
        ("left out", left_out as f64),
    ];
    let vectors = Axis::names(Role::Concept, with_vector(classes));
    let features = Axis::names(Role::Feature, concepts.iter().map(|own| own.name.as_str()));
    let weights = chosen.model.weights.concat().into_iter().map(|own| own as f32).collect();
    Ok(vec![
        named("concepts", Unit::Ratio, &accuracies)?,
        named("used", Unit::Count, &used)?,
        Labelled::numbers("weights", Unit::Logit, vec![vectors, features], weights)?.aside(),
        named("rows", Unit::Count, &rows)?.aside(),
    ])
}
