//! What methods that learn do alike: parts of a file read back, rows labelled, accuracies and their baselines.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use mmlens_core::check::{input, setting};
use mmlens_core::finding::{Axis, Caution, CautionKind, Labelled, Role, TableError, Unit};
use mmlens_core::{AnalysisError, Card, Ended, Inputs, On, Parts, Site};
use mmlens_engine::distribution::largest;
use mmlens_engine::{Classed, Held, Logistic, Positions, label, rows_of};
use mmlens_files::Doubles;
use serde::de::DeserializeOwned;

/// Fewer rows held out than this are few.
pub(crate) const FEW: usize = 20;

/// That searches stopped before they converged, and what helps: more steps, where one took all it may; else rounding left no step that goes
/// down, and what was reached is the end.
pub(crate) fn stopped(what: &str, searches: impl IntoIterator<Item = Ended>, most: usize) -> Option<Caution> {
    let stopped: Vec<Ended> = searches.into_iter().filter(|ended| !ended.converged()).collect();
    let gradients = stopped.iter().map(|ended| ended.at().1);
    let gradient = gradients.max_by(f64::total_cmp)?; // no NaN: searches refuse a value that is none
    let remedy = match stopped.iter().any(|ended| ended.at().0 >= most) {
        true => "allow more `steps`",
        false => "rounding left no step that goes further, and a larger `tolerance` takes that for the end",
    };
    let count = stopped.len();
    let text = format!(
        "{count} {what} stopped before they converged, with gradients of up to {gradient:.1e}: {remedy}"
    );
    Some(Caution::new(CautionKind::NotConverged, count as f32, text))
}

/// The parts of a file, each of which is taken once.
pub(crate) struct Taken {
    card: &'static Card,
    tensors: BTreeMap<String, Doubles>,
}

impl Taken {
    /// What is said about the parts, and the parts.
    pub(crate) fn of<A: DeserializeOwned>(
        card: &'static Card,
        parts: Parts,
    ) -> Result<(A, Self), AnalysisError> {
        let Parts { tensors, about } = parts;
        let about = mmlens_files::parse_json(about.as_bytes())
            .map_err(|error| AnalysisError::Settings { method: card.id, reason: error.to_string() })?;
        Ok((about, Self { card, tensors }))
    }

    fn wrong(&self, reason: String) -> AnalysisError {
        AnalysisError::Settings { method: self.card.id, reason }
    }

    fn tensor(&mut self, name: &str, rank: usize) -> Result<Doubles, AnalysisError> {
        let tensor = self.tensors.remove(name);
        let tensor = tensor.ok_or_else(|| self.wrong(format!("there is no tensor `{name}`")))?;
        match tensor.shape.len() == rank {
            true => Ok(tensor),
            false => Err(self.wrong(format!("`{name}` is {:?}, expected {rank} axes", tensor.shape))),
        }
    }

    /// A vector.
    pub(crate) fn vector(&mut self, name: &str) -> Result<Vec<f64>, AnalysisError> {
        Ok(self.tensor(name, 1)?.values)
    }

    /// Rows of one length.
    pub(crate) fn rows(&mut self, name: &str) -> Result<Vec<Vec<f64>>, AnalysisError> {
        let tensor = self.tensor(name, 2)?;
        let width = tensor.shape.last().copied().unwrap_or(0);
        Ok(tensor.values.chunks(width.max(1)).map(<[f64]>::to_vec).collect())
    }

    /// That nothing is left.
    pub(crate) fn done(self) -> Result<(), AnalysisError> {
        match self.tensors.keys().next() {
            Some(name) => Err(self.wrong(format!("a tensor `{name}` has no meaning"))),
            None => Ok(()),
        }
    }
}

/// Rows of one length as a part of a file.
pub(crate) fn of_rows(rows: &[Vec<f64>]) -> Doubles {
    Doubles { shape: vec![rows.len(), rows.first().map_or(0, Vec::len)], values: rows.concat() }
}

/// A vector as a part of a file.
pub(crate) fn of_vector(values: &[f64]) -> Doubles {
    Doubles { shape: vec![values.len()], values: values.to_vec() }
}

/// That vectors are as many as there should be, of one length above zero, and finite.
pub(crate) fn whole(
    card: &Card,
    name: &'static str,
    rows: &[Vec<f64>],
    (count, width): (usize, usize),
) -> Result<(), AnalysisError> {
    if rows.len() != count || rows.iter().any(|row| row.len() != width) {
        let lengths: Vec<usize> = rows.iter().map(Vec::len).collect();
        let expected = "there must be as many vectors as it takes, all as long as what they are of";
        return Err(setting(card, name, format!("vectors of lengths {lengths:?}"), expected));
    }
    match rows.iter().flatten().find(|value| !value.is_finite()) {
        Some(value) => Err(setting(card, name, value, "all must be finite")),
        None => Ok(()),
    }
}

/// What a site holds of a case, in rows of the length that was learned from.
pub(crate) fn read(
    (on, card): (&On<'_>, &'static Card),
    inputs: &Inputs,
    (site, positions): (Site, &Positions),
    width: usize,
) -> Result<Held, AnalysisError> {
    let held = rows_of((on, card.id), inputs, site, positions)?;
    match held.width == width {
        true => Ok(held),
        false => {
            let found = format!("`{site}` has rows of {}", held.width);
            Err(input(card, format!("rows of {width} numbers"), found))
        }
    }
}

/// The rows of a case.
pub(crate) fn row_axis(inputs: &Inputs, held: &Held) -> Axis {
    match held.prompt {
        true => label::token_axis_at(inputs.map(), &held.places),
        false => Axis::count(Role::Sample, held.places.len()),
    }
}

/// Numbers by name.
pub(crate) fn named(name: &str, unit: Unit, said: &[(&str, f64)]) -> Result<Labelled, TableError> {
    let axis = Axis::names(Role::Concept, said.iter().map(|(name, _)| *name));
    Labelled::numbers(name, unit, vec![axis], said.iter().map(|(_, value)| *value as f32).collect())
}

/// The likeliest class of a row; of several, the first.
pub(crate) fn likeliest(logs: &[f64]) -> usize {
    largest(logs, 1).first().map_or(0, |(class, _)| *class)
}

/// The likeliest class of each row.
pub(crate) fn said(model: &Logistic, rows: &Classed) -> Vec<usize> {
    let each = rows.values.chunks_exact(rows.width.max(1));
    each.map(|row| likeliest(&model.log_probabilities(row))).collect()
}

/// The share of rows whose likeliest class is theirs.
pub(crate) fn accuracy(model: &Logistic, rows: &Classed) -> f64 {
    share(said(model, rows).iter().zip(&rows.labels).map(|(said, label)| said == label))
}

/// The share of items that are right.
pub(crate) fn share(right: impl IntoIterator<Item = bool>) -> f64 {
    let (mut all, mut count) = (0_usize, 0_usize);
    for right in right {
        all += 1;
        count += usize::from(right);
    }
    count as f64 / all.max(1) as f64
}

/// The class most frequent among some; of two that are as frequent, the first.
pub(crate) fn most_frequent(labels: &[usize]) -> usize {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    labels.iter().for_each(|label| *counts.entry(*label).or_default() += 1);
    counts.into_iter().max_by_key(|(class, count)| (*count, Reverse(*class))).map_or(0, |(class, _)| class)
}

/// That few rows are held out.
pub(crate) fn few_rows(held: usize) -> Option<Caution> {
    (held < FEW).then(|| {
        let text = format!("{held} rows are held out: an accuracy of so few says little");
        Caution::new(CautionKind::FewRows, held as f32, text)
    })
}

/// That what was learned is no better than a baseline; `what` it is, and `baseline` what it is compared with, in words.
pub(crate) fn no_better(what: &str, accuracy: f64, baseline: &str, least: f64) -> Option<Caution> {
    (accuracy <= least).then(|| {
        let text =
            format!("{what} is right in {accuracy:.3} of the rows held out, and {baseline} in {least:.3}");
        Caution::new(CautionKind::NoBetter, (accuracy - least) as f32, text)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn what_helps_a_search_depends_on_what_stopped_it() {
        let at = |steps| Ended::Stopped { steps, gradient: 0.5 };
        let done = Ended::Converged { steps: 9, gradient: 0.0 };
        let said = |all: &[Ended]| stopped("searches", all.iter().copied(), 10);
        assert_eq!(said(&[done, done]), None);
        // One took all ten steps, the other went no further.
        let both = said(&[done, at(3), at(10)]).unwrap();
        assert_eq!(both.number, 2.0);
        assert!(both.text.ends_with("with gradients of up to 5.0e-1: allow more `steps`"), "{}", both.text);
        let stuck = said(&[at(3)]).unwrap().text;
        assert!(stuck.starts_with("1 searches stopped") && stuck.contains("`tolerance`"), "{stuck}");
    }
}
