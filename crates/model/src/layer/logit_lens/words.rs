//! States read as words, or as classes.

use std::collections::BTreeMap;

use mmlens_core::finding::{Axis, Labelled, Labels, Role, TokenLabel, Unit};
use mmlens_core::kind::Space;
use mmlens_core::{
    AnalysisError, Answer, AnyTensor, Card, Case, HookError, Inputs, Objective, On, Part, Subject,
};
use mmlens_engine::distribution::{divergence, entropy, largest, log_probabilities, rank};
use mmlens_engine::one_row;

use super::streams::{Held, Streams};
use super::{LogitLens, read};
use crate::check::input;

pub(super) fn answer(
    lens: &LogitLens,
    on: &On<'_>,
    case: &Case,
    of: (Part, Space),
) -> Result<Answer, AnalysisError> {
    let subject = on.subject();
    let (inputs, objective) = on.open(case)?;
    one_row(lens.card().id, &inputs)?;
    let streams = Streams::of(lens.card(), subject, &inputs, of, &lens.settings)?;
    let targets = Targets::of(lens.card(), &inputs, &objective, &streams)?;
    let limits = lens.limits(on, &streams, &inputs)?;
    let mut seen = Seen::new(streams.sites.len(), streams.count());
    streams.each((on, &inputs), &limits, |held| look(lens, subject, &streams, held, &targets, &mut seen))?;
    let axis = streams.groups.first().map(|group| group.axis.clone());
    let axis = axis.ok_or_else(|| input(lens.card(), "a picture or a prompt", "there is none"))?;
    let tables = seen.tables(subject, (axis, &targets), &streams.depths())?;
    Ok(Answer::new(tables, streams.sites).explaining(&objective))
}

/// What some states say at every layer.
fn look(
    lens: &LogitLens,
    subject: &dyn Subject,
    streams: &Streams,
    held: &Held<'_>,
    targets: &Targets,
    seen: &mut Seen,
) -> Result<(), AnalysisError> {
    let mut last: Vec<Vec<f64>> = Vec::new();
    // The last layer first: it is what the others are compared with.
    for (layer, site) in streams.sites.iter().enumerate().rev() {
        let said = |states: AnyTensor| -> Result<(Vec<Vec<f64>>, usize), AnalysisError> {
            let logits = read(lens.card(), subject, streams.part, states)?;
            let vocabulary = logits.dims().last().copied().unwrap_or(0);
            let values = logits.finite_values(format!("the lens at `{site}`"))?;
            Ok((values.chunks(vocabulary.max(1)).map(log_probabilities).collect(), vocabulary))
        };
        let states = held.at(*site)?;
        // As they are, where translators stand before what is read out.
        let (bare, translated) = match &lens.tuned {
            Some((_, translators)) => (Some(said(states.clone())?.0), translators.translated(*site, states)?),
            None => (None, states),
        };
        let (logs, vocabulary) = said(translated)?;
        let reference = if last.is_empty() { &logs } else { &last };
        for (i, (logs, reference)) in logs.iter().zip(reference).enumerate() {
            let best = largest(logs, lens.top.get()).into_iter().map(|(id, log)| (id as u32, log));
            let own = |token: usize| {
                let outside = HookError::Objective { what: "token", index: token, len: vocabulary };
                match (logs.get(token), rank(logs, token)) {
                    (Some(own), Some(rank)) => Ok((*own, rank)),
                    _ => Err(outside),
                }
            };
            let reading = Reading {
                best: best.collect(),
                target: targets.at(held.first + i).map(own).transpose()?,
                entropy: entropy(logs),
                divergence: divergence(reference, logs),
                bare: bare.as_ref().and_then(|bare| bare.get(i)).map(|bare| divergence(reference, bare)),
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
    /// Of the token looked for at this place: its log-probability and its rank.
    target: Option<(f64, usize)>,
    entropy: f64,
    divergence: f64,
    /// The same without translators, if there are any.
    bare: Option<f64>,
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
        (axis, targets): (Axis, &Targets),
        depths: &Axis,
    ) -> Result<Vec<Labelled>, AnalysisError> {
        let sought = vec![depths.clone(), targets.axis(&axis)];
        let found = || self.readings.iter().filter_map(|reading| reading.target);
        let places = vec![depths.clone(), axis];
        let ranks = self.readings.iter().map(|r| r.best.len()).max().unwrap_or(0);
        let ranked = [places.clone(), vec![Axis::count(Role::Rank, ranks)]].concat();
        let best = || self.readings.iter().flat_map(|r| &r.best);
        let each = |value: &dyn Fn(&Reading) -> f64| self.readings.iter().map(|r| value(r) as f32).collect();
        let mut tables = vec![
            Labelled::numbers(
                "target",
                Unit::Probability,
                sought.clone(),
                found().map(|(log, _)| log.exp() as f32).collect(),
            )?,
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
                sought.clone(),
                found().map(|(log, _)| log as f32).collect(),
            )?
            .aside(),
            Labelled::numbers(
                "target rank",
                Unit::Count,
                sought,
                found().map(|(_, rank)| rank as f32).collect(),
            )?
            .aside(),
            Labelled::numbers("entropy", Unit::Nat, places.clone(), each(&|r| r.entropy))?.aside(),
            Labelled::numbers("divergence", Unit::Nat, places.clone(), each(&|r| r.divergence))?.aside(),
        ];
        let bare: Option<Vec<f32>> = self.readings.iter().map(|r| r.bare.map(|bare| bare as f32)).collect();
        if let Some(bare) = bare {
            let name = "divergence of the logit lens";
            tables.push(Labelled::numbers(name, Unit::Nat, places, bare)?.aside());
        }
        Ok(tables)
    }
}

/// The token that is looked for at every place.
enum Targets {
    /// The same at all of them.
    Everywhere(usize),
    /// The tokens of a phrase, each where it is decided: places in their order, and what the tokens are.
    Spoken(BTreeMap<usize, usize>, Vec<TokenLabel>),
}

impl Targets {
    fn of(
        card: &Card,
        inputs: &Inputs,
        objective: &Objective,
        streams: &Streams,
    ) -> Result<Self, AnalysisError> {
        let found = || format!("this one is the {objective}");
        if let Some(token) = objective.token() {
            return Ok(Self::Everywhere(token as usize));
        }
        let Objective::Span { from, tokens, .. } = objective else {
            return Err(input(card, "an objective that names tokens", found()));
        };
        let (map, pad) = (inputs.map(), inputs.pads.first().copied().unwrap_or(0));
        let (mut at, mut labels) = (BTreeMap::new(), Vec::new());
        for (position, token) in (*from..).zip(tokens) {
            let place = streams.place(position.saturating_sub(1));
            let label = position.checked_sub(pad).and_then(|own| map.tokens.get(own));
            if let (Some(place), Some(label)) = (place, label) {
                at.insert(place, *token as usize);
                labels.push(label.clone());
            }
        }
        match labels.is_empty() {
            true => {
                Err(input(card, "places that decide the tokens explained among those looked at", found()))
            }
            false => Ok(Self::Spoken(at, labels)),
        }
    }

    /// The token looked for at a place.
    fn at(&self, place: usize) -> Option<usize> {
        match self {
            Self::Everywhere(token) => Some(*token),
            Self::Spoken(at, _) => at.get(&place).copied(),
        }
    }

    /// What is found of them stands along this axis, behind that of layers.
    fn axis(&self, places: &Axis) -> Axis {
        match self {
            Self::Everywhere(_) => places.clone(),
            Self::Spoken(_, tokens) => Axis::new(Role::Answer, Labels::Tokens(tokens.clone())),
        }
    }
}
