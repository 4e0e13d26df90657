//! States read as words, or as classes.

use mmlens_core::finding::{Axis, Labelled, Role, Unit};
use mmlens_core::kind::Space;
use mmlens_core::{AnalysisError, Answer, Case, HookError, Objective, On, Part, Subject};
use mmlens_engine::distribution::{divergence, entropy, largest, log_probabilities, rank};
use mmlens_engine::{label, one_row};

use super::streams::{Held, Streams};
use super::{CARD, LogitLens, read};
use crate::check::input;

pub(super) fn answer(
    lens: &LogitLens,
    on: &On<'_>,
    case: &Case,
    of: (Part, Space),
) -> Result<Answer, AnalysisError> {
    let subject = on.subject();
    let (inputs, objective) = on.open(case)?;
    one_row(CARD.id, &inputs)?;
    let target = target(&objective)?;
    let streams = Streams::of(subject, &inputs, of, &lens.settings.positions)?;
    let limits = lens.limits(on, &streams, &inputs)?;
    let mut seen = Seen::new(streams.sites.len(), streams.count());
    streams.each((on, &inputs), &limits, |held| look(lens, subject, &streams, held, target, &mut seen))?;
    let axis = streams.groups.first().map(|group| group.axis.clone());
    let axis = axis.ok_or_else(|| input(&CARD, "a picture or a prompt", "there is none"))?;
    let tables = seen.tables(subject, axis, streams.sites.len() - 1)?;
    Ok(Answer::new(tables, streams.sites).explaining(&objective))
}

/// What some states say at every layer.
fn look(
    lens: &LogitLens,
    subject: &dyn Subject,
    streams: &Streams,
    held: &Held<'_>,
    target: usize,
    seen: &mut Seen,
) -> Result<(), AnalysisError> {
    let mut last: Vec<Vec<f64>> = Vec::new();
    // The last layer first: it is what the others are compared with.
    for (layer, site) in streams.sites.iter().enumerate().rev() {
        let logits = read(subject, streams.part, held.at(*site)?)?;
        let vocabulary = logits.dims().last().copied().unwrap_or(0);
        let outside = HookError::Objective { what: "token", index: target, len: vocabulary };
        if target >= vocabulary {
            return Err(outside.into());
        }
        let what = format!("the lens at `{site}`");
        let logs: Vec<Vec<f64>> =
            logits.finite_values(what)?.chunks(vocabulary.max(1)).map(log_probabilities).collect();
        let reference = if last.is_empty() { &logs } else { &last };
        for (i, (logs, reference)) in logs.iter().zip(reference).enumerate() {
            let best = largest(logs, lens.top.get()).into_iter().map(|(id, log)| (id as u32, log));
            let (Some(own), Some(rank)) = (logs.get(target), rank(logs, target)) else {
                return Err(outside.into());
            };
            let reading = Reading {
                best: best.collect(),
                target: *own,
                rank,
                entropy: entropy(logs),
                divergence: divergence(reference, logs),
            };
            seen.put(layer, held.first + i, reading);
        }
        if last.is_empty() {
            last = logs;
        }
    }
    Ok(())
}

/// What one state says.
#[derive(Debug, Clone, Default)]
struct Reading {
    best: Vec<(u32, f64)>,
    target: f64,
    rank: usize,
    entropy: f64,
    divergence: f64,
}

/// What all states say, layer by layer.
struct Seen {
    positions: usize,
    readings: Vec<Reading>,
}

impl Seen {
    fn new(layers: usize, positions: usize) -> Self {
        Self { positions, readings: vec![Reading::default(); layers * positions] }
    }

    fn put(&mut self, layer: usize, place: usize, reading: Reading) {
        if let Some(slot) = self.readings.get_mut(layer * self.positions + place) {
            *slot = reading;
        }
    }

    fn tables(
        &self,
        subject: &dyn Subject,
        axis: Axis,
        blocks: usize,
    ) -> Result<Vec<Labelled>, AnalysisError> {
        let places = vec![label::depth_axis(blocks), axis];
        let ranks = self.readings.iter().map(|r| r.best.len()).max().unwrap_or(0);
        let ranked = [places.clone(), vec![Axis::count(Role::Rank, ranks)]].concat();
        let best = || self.readings.iter().flat_map(|r| &r.best);
        let each = |value: &dyn Fn(&Reading) -> f64| self.readings.iter().map(|r| value(r) as f32).collect();
        Ok(vec![
            Labelled::numbers("target", Unit::Probability, places.clone(), each(&|r| r.target.exp()))?,
            Labelled::texts("words", ranked.clone(), best().map(|(id, _)| subject.token(*id)).collect())?,
            Labelled::numbers(
                "probabilities",
                Unit::Probability,
                ranked.clone(),
                best().map(|(_, log)| log.exp() as f32).collect(),
            )?,
            // The same in another unit, and what is said of whole distributions.
            Labelled::numbers(
                "log probabilities",
                Unit::LogProbability,
                ranked,
                best().map(|(_, log)| *log as f32).collect(),
            )?
            .aside(),
            Labelled::numbers(
                "target log probability",
                Unit::LogProbability,
                places.clone(),
                each(&|r| r.target),
            )?
            .aside(),
            Labelled::numbers("target rank", Unit::Count, places.clone(), each(&|r| r.rank as f64))?.aside(),
            Labelled::numbers("entropy", Unit::Nat, places.clone(), each(&|r| r.entropy))?.aside(),
            Labelled::numbers("divergence", Unit::Nat, places, each(&|r| r.divergence))?.aside(),
        ])
    }
}

fn target(objective: &Objective) -> Result<usize, AnalysisError> {
    objective.token().map(|token| token as usize).ok_or_else(|| {
        input(&CARD, "an objective that names a token", format!("this one is the {objective}"))
    })
}
