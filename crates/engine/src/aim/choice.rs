//! What is explained where one of several is chosen: a class, or a token in the place of a mask.

use mmlens_core::{Case, Inputs, Measure, On, Position, Sample, Subject, Target, caution};

use super::answer::rather;
use super::likely::{best, rows};
use super::{Aim, AimError, Likely, Said, Settled, Sought, token};
use crate::distribution::{log_probabilities, rank};

/// So many classes are told.
const TOLD: usize = 5;

/// A class of the first row.
pub(super) fn class(aim: &Aim, on: &On<'_>, sample: Sample) -> Result<Settled, AimError> {
    let subject = on.subject();
    let inputs = on.encode(&sample)?;
    let nothing = || AimError::Nothing { model: subject.name().to_owned() };
    let own = rows(subject, &inputs)?.into_iter().next().ok_or_else(nothing)?;
    let answer = best(subject, &own, 1)?.into_iter().next().ok_or_else(nothing)?.text;
    settled(aim, on, (sample, inputs), &own, (Position::Last, answer, "class"))
}

/// A token in the place of the first mask.
pub(super) fn masked(aim: &Aim, on: &On<'_>, sample: Sample, places: &[usize]) -> Result<Settled, AimError> {
    let subject = on.subject();
    let inputs = on.encode(&sample)?;
    let all = rows(subject, &inputs.clone().all_logits())?;
    let nothing = || AimError::Nothing { model: subject.name().to_owned() };
    let mut answer = Vec::with_capacity(places.len());
    for place in places {
        let row = all.get(*place).ok_or_else(nothing)?;
        answer.extend(best(subject, row, 1)?.first().map(|token| token.id));
    }
    let at = *places.first().ok_or_else(nothing)?;
    let (own, answer) = (all.get(at).ok_or_else(nothing)?, subject.decode(&answer)?);
    settled(aim, on, (sample, inputs), own, (Position::At(at), answer, "id"))
}

fn settled(
    aim: &Aim,
    on: &On<'_>,
    (sample, inputs): (Sample, Inputs),
    logits: &[f32],
    (at, answer, called): (Position, String, &str),
) -> Result<Settled, AimError> {
    let subject = on.subject();
    let likely = best(subject, logits, TOLD)?;
    let id = match &aim.sought {
        Sought::Token(text) => token(subject, text)?,
        Sought::Answer => {
            let first = likely.first().map(|class| class.id);
            first.ok_or_else(|| AimError::Nothing { model: subject.name().to_owned() })?
        }
        Sought::Span(_) => return Err(kind(subject, "phrases of an answer")),
    };
    let own = likely.iter().find(|class| class.id == id);
    let share = own.map_or_else(String::new, |class| format!(", probability {:.3}", class.probability));
    // Logits of words move together; of a few classes they are what the model says.
    let usual = if let Position::At(_) = at { Measure::LogProbability } else { Measure::Logit };
    let (text, measure) = (subject.token(id), aim.measure.unwrap_or(usual));
    let place = if let Position::At(at) = at { format!(" at position {at}") } else { String::new() };
    let (objective, explained) = match &aim.versus {
        None => {
            let explained = format!("the {measure} of `{text}` ({called} {id}{share}){place}");
            (measure.of(at, id), explained)
        }
        Some(versus) => {
            let other = token(subject, versus)?;
            if other == id {
                let (versus, explained) = (versus.clone(), text);
                return Err(AimError::Versus { versus, explained, reason: "it is the same".to_owned() });
            }
            let against = subject.token(other);
            let explained =
                format!("the {measure} of `{text}` ({called} {id}{share}) less that of `{against}`{place}");
            (rather(measure, at, id, other), explained)
        }
    };
    Ok(Settled {
        case: Case { sample, target: Target::Objective(objective) },
        prompt: inputs.map().tokens.clone(),
        text,
        id: Some(id),
        explained,
        answer,
        tokens: likely.into_iter().map(said).collect(),
        span: 0..0,
        given: None,
        ended: true,
        last_position: false,
        notes: Vec::new(),
        cautions: rank(&log_probabilities(logits), id as usize)
            .and_then(|rank| caution::unlikely(&subject.token(id), rank))
            .into_iter()
            .collect(),
    })
}

fn said(class: Likely) -> Said {
    Said { id: class.id, text: class.text, probability: class.probability }
}

fn kind(subject: &dyn Subject, what: &'static str) -> AimError {
    AimError::Kind { what, model: subject.name().to_owned(), kind: "which chooses one of several" }
}
