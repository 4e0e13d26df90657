//! What is explained of an answer: all of it, a phrase, a token, or what stands there rather than something else.

use std::ops::Range;

use mmlens_core::finding::fixed;
use mmlens_core::{
    AnyTensor, Case, Generated, Generation, HookError, Inputs, Measure, Objective, On, Plan, Position, Reply,
    Sample, Subject, SubjectError, Target, caution,
};

use super::phrase::Text;
use super::{Aim, AimError, FEW, Given, Said, Settled, Sought, cut_short, spoken, token};
use crate::distribution::{log_probabilities, rank};

/// What the model says by itself.
fn said(aim: &Aim, subject: &dyn Subject, inputs: &Inputs) -> Result<Generated, AimError> {
    let usual = Generation::default();
    // However long the checkpoint lets answers be, one token is explained.
    let own = subject.longest_answer(inputs).map_or(usual.max_new, |most| most.clamp(1, usual.max_new));
    let how = Generation { max_new: aim.max_new.unwrap_or(own), ..usual };
    let answer = subject.generate(inputs, &how)?.into_iter().next();
    answer.ok_or_else(|| AimError::Nothing { model: subject.name().to_owned() })
}

/// An answer that the model gives.
pub(super) fn generated(aim: &Aim, on: &On<'_>, sample: Sample) -> Result<Settled, AimError> {
    let subject = on.subject();
    let inputs = on.encode(&sample)?;
    let answer = said(aim, subject, &inputs)?;
    let tokens = spoken(subject, &answer);
    let mut ids = answer.tokens.clone();
    // That it ends there is no part of it, unless nothing else is.
    if answer.ended && ids.len() > 1 {
        ids.pop();
    }
    let mut notes: Vec<String> = cut_short(&inputs, &answer).into_iter().collect();
    if answer.last_position && ids.len() > 1 {
        ids.pop();
        notes.push(
            "the last token of the answer takes no position, and is no part of what is explained".to_owned(),
        );
    }
    let text = Text::of(subject, &ids)?;
    if let Some(note) = cut_off(&answer) {
        notes.push(note);
    }
    let mut span = found(aim, subject, &ids, &text, &mut notes)?;
    if span.end > 1
        && let Some(reason) = unanswered(on, &sample, &ids)
    {
        if aim.sought != Sought::Answer {
            return Err(SubjectError::Sample { subject: subject.name().to_owned(), reason }.into());
        }
        notes.push(format!("the first token of the answer is explained, and not all of it: {reason}"));
        span = 0..1;
    }
    let parts = Parts { ids: &ids, text: &text, tokens: &tokens, span };
    let made = parts.made(aim, on, &sample)?;
    notes.extend(given_before(&made));
    Ok(Settled {
        prompt: on.encode(&made.case.sample)?.map().tokens.clone(),
        case: made.case,
        text: made.text,
        id: made.id,
        explained: made.explained,
        answer: answer.text.trim().to_owned(),
        tokens,
        span: made.span,
        given: None,
        ended: answer.ended,
        last_position: answer.last_position,
        notes,
        cautions: Vec::new(),
    })
}

/// That an answer ends because it may not be longer.
fn cut_off(answer: &Generated) -> Option<String> {
    let tokens = many(answer.tokens.len());
    let cut = !answer.ended && !answer.last_position;
    cut.then(|| format!("the answer was cut off after {tokens}, which is the most it may have"))
}

/// That the tokens before those explained stand as they are: methods hide and move words of the prompt.
fn given_before(made: &Made) -> Option<String> {
    let before = made.span.start;
    (before > 0).then(|| {
        let (tokens, stand) = if before == 1 { ("token", "stands") } else { ("tokens", "stand") };
        format!(
            "{before} {tokens} of the answer before what is explained {stand} as given: integrated gradients do not move them, and occlusion \
             hides them only with `among` = `all`"
        )
    })
}

/// Why a subject does not take its own answer behind the words; `None` if it does.
fn unanswered(on: &On<'_>, sample: &Sample, ids: &[u32]) -> Option<String> {
    match on.encode(&sample.clone().answered(Reply::Tokens(ids.to_vec()))) {
        Err(SubjectError::Sample { reason, .. }) => Some(reason),
        _ => None,
    }
}

/// An answer that the sample holds.
pub(super) fn given(aim: &Aim, on: &On<'_>, sample: Sample) -> Result<Settled, AimError> {
    let subject = on.subject();
    let (inputs, objective) = on.open(&Case::answer(sample.clone()))?;
    let (reply, row) = (inputs.map().reply(), inputs.ids.concat());
    let spoken: Vec<(usize, u32)> = reply.filter_map(|at| Some((at, *row.get(at)?))).collect();
    let each =
        |(at, token): &(usize, u32)| Measure::Probability.of(Position::At(at.saturating_sub(1)), *token);
    let plan = spoken.iter().fold(Plan::new().objective(&objective), |plan, one| plan.also(&each(one)));
    let (mut ranks, plan) = (Vec::with_capacity(spoken.len()), plan.to_output());
    let trace = subject.run(&inputs, plan)?;
    let mut tokens = Vec::with_capacity(spoken.len());
    for one in &spoken {
        let values = AnyTensor::new(each(one).score(trace.output())?).to_values()?;
        let probability = values.first().copied().ok_or(HookError::NoObjective)?;
        tokens.push(Said { id: one.1, text: subject.token(one.1), probability });
        let logits = AnyTensor::new(trace.output().at(Position::At(one.0.saturating_sub(1)))?).to_values()?;
        ranks.push(rank(&log_probabilities(&logits), one.1 as usize));
    }
    let whole = trace.scores()?.first().copied().ok_or(HookError::NoObjective)?;
    let ids: Vec<u32> = spoken.iter().map(|(_, id)| *id).collect();
    // As it was written: special tokens are a part of it.
    let answer = match &sample.reply {
        Some(Reply::Text(text)) => text.clone(),
        _ => subject.decode(&ids)?,
    };
    let bare = Sample { reply: None, ..sample.clone() };
    let own = said(aim, subject, &on.encode(&bare)?)?.text;
    let text = Text::of(subject, &ids)?;
    let mut notes = Vec::new();
    // Behind a prompt that is taken as it is, a word begins with its space.
    let spaced = |text: &str| text.starts_with(char::is_whitespace);
    if spaced(&own) && !spaced(&text.whole) {
        notes.push(format!(
            "the model's own answer begins with a space, and the given one does not: `\u{20}{answer}` is another answer"
        ));
    }
    let own_answer = own.trim().to_owned();
    let span = found(aim, subject, &ids, &text, &mut notes)?;
    let parts = Parts { ids: &ids, text: &text, tokens: &tokens, span };
    let mut made = match (&aim.sought, &aim.versus) {
        (Sought::Answer, None) => {
            // All of it, as it was given.
            let (measure, each) = (aim.measure.unwrap_or_default(), parts.each(aim));
            let target = Target::Answer { from: 0, to: None, measure, each };
            let case = Case { sample, target };
            let value = match measure {
                Measure::LogProbability => whole,
                _ => parts.value(on, &case)?,
            };
            let explained =
                format!("the {measure} of the given answer ({}): {}", many(ids.len()), told(value));
            Made { case, text: answer.clone(), id: None, explained, span: 0..ids.len() }
        }
        _ => parts.made(aim, on, &bare)?,
    };
    // Of those explained the one that the model finds least likely among all tokens.
    let explained = ranks.get(made.span.clone()).unwrap_or_default().iter().zip(made.span.clone());
    let least = explained.filter_map(|(rank, at)| Some(((*rank)?, at))).max();
    let unlikely = least.and_then(|(rank, at)| caution::unlikely(&tokens.get(at)?.text, rank));
    if made.text.is_empty() {
        made.text.clone_from(&answer);
    }
    notes.extend(given_before(&made));
    Ok(Settled {
        prompt: on.encode(&made.case.sample)?.map().tokens.clone(),
        case: made.case,
        text: made.text,
        id: made.id,
        explained: made.explained,
        answer,
        tokens,
        span: made.span,
        given: Some(Given { log_probability: whole, own_answer }),
        ended: false,
        last_position: false,
        notes,
        cautions: unlikely.into_iter().collect(),
    })
}

/// Which tokens of an answer are looked for.
fn found(
    aim: &Aim,
    subject: &dyn Subject,
    ids: &[u32],
    text: &Text,
    notes: &mut Vec<String>,
) -> Result<Range<usize>, AimError> {
    let answer = || text.whole.trim().to_owned();
    match &aim.sought {
        Sought::Answer => Ok(0..ids.len()),
        Sought::Span(phrase) => {
            let unsaid = || AimError::Unsaid { found: phrase.clone(), answer: answer() };
            let (bytes, times) = text.find(phrase).ok_or_else(unsaid)?;
            if times > 1 {
                notes.push(format!("`{phrase}` stands {times} times in the answer; the first is explained"));
            }
            Ok(text.tokens(&bytes))
        }
        Sought::Token(wanted) => {
            let alike = |id: &u32| -> Result<bool, SubjectError> {
                Ok(subject.decode(&[*id])?.trim() == wanted.trim() || subject.token(*id) == *wanted)
            };
            let by_id: Option<u32> = wanted.parse().ok();
            let mut places = Vec::new();
            for (at, id) in ids.iter().enumerate() {
                if by_id == Some(*id) || alike(id)? {
                    places.push(at);
                }
            }
            if let [first, others @ ..] = places.as_slice() {
                if !others.is_empty() {
                    let times = places.len();
                    notes.push(format!(
                        "`{wanted}` stands {times} times in the answer; the first is explained"
                    ));
                }
                return Ok(*first..first + 1);
            }
            // A text that is no token is told what it is.
            token(subject, wanted)?;
            Err(AimError::Unsaid { found: wanted.clone(), answer: answer() })
        }
    }
}

/// An answer in its parts.
struct Parts<'a> {
    ids: &'a [u32],
    text: &'a Text,
    tokens: &'a [Said],
    /// The tokens that are explained.
    span: Range<usize>,
}

/// What is explained, settled.
struct Made {
    case: Case,
    text: String,
    id: Option<u32>,
    explained: String,
    span: Range<usize>,
}

impl Parts<'_> {
    /// Whether tokens are explained one by one.
    fn each(&self, aim: &Aim) -> bool {
        let many = self.span.len();
        many > 1 && aim.measure != Some(Measure::Probability) && aim.each.unwrap_or(many <= FEW)
    }

    /// The sample with the first tokens of the answer behind the words.
    fn behind(&self, sample: &Sample, count: usize) -> Sample {
        let reply = self.ids.get(..count).filter(|ids| !ids.is_empty());
        Sample { reply: reply.map(|ids| Reply::Tokens(ids.to_vec())), ..sample.clone() }
    }

    /// What is explained has this value.
    fn value(&self, on: &On<'_>, case: &Case) -> Result<f32, AimError> {
        let (inputs, objective) = on.open(case)?;
        let trace = on.unedited(case, (&inputs, &objective), &[])?;
        Ok(trace.scores()?.first().copied().ok_or(HookError::NoObjective)?)
    }

    fn made(&self, aim: &Aim, on: &On<'_>, sample: &Sample) -> Result<Made, AimError> {
        if let Some(versus) = &aim.versus {
            return self.contrasted(aim, on, sample, versus);
        }
        let measure = aim.measure.unwrap_or_default();
        let text = self.text.whole.get(self.text.bytes(&self.span)).unwrap_or_default().to_owned();
        let [one] = self.tokens.get(self.span.clone()).unwrap_or_default() else {
            let target = Target::Answer { from: self.span.start, to: None, measure, each: self.each(aim) };
            let case = Case { sample: self.behind(sample, self.span.end), target };
            let (value, many) = (self.value(on, &case)?, many(self.span.len()));
            let what = match self.span.len() == self.ids.len() {
                true => format!("the answer ({many})"),
                false => format!("`{text}` ({many} of the answer, from number {})", self.span.start + 1),
            };
            let explained = format!("the {measure} of {what}: {}", told(value));
            return Ok(Made { case, text, id: None, explained, span: self.span.clone() });
        };
        // What comes behind a token has no part in it.
        let case = Case {
            sample: self.behind(sample, self.span.start),
            target: Target::Objective(measure.of(Position::Last, one.id)),
        };
        let explained = format!(
            "the {measure} of `{}` (id {}, probability {:.3}): {}",
            one.text,
            one.id,
            one.probability,
            told(self.value(on, &case)?)
        );
        Ok(Made { case, text: one.text.clone(), id: Some(one.id), explained, span: self.span.clone() })
    }

    /// Where the answer and the same one with other words part: one token there rather than the other.
    fn contrasted(&self, aim: &Aim, on: &On<'_>, sample: &Sample, versus: &str) -> Result<Made, AimError> {
        let subject = on.subject();
        let bytes = self.text.bytes(&self.span);
        let explained = self.text.whole.get(bytes.clone()).unwrap_or_default().to_owned();
        let refuse = |reason: String| AimError::Versus {
            versus: versus.to_owned(),
            explained: explained.clone(),
            reason,
        };
        let (at, other) = match versus.parse() {
            Ok(id) => (self.span.start, id),
            Err(_) => {
                let read = |text: String| -> Result<Vec<u32>, AimError> {
                    let answered = Sample { reply: Some(Reply::Text(text)), ..sample.clone() };
                    let inputs = on.encode(&answered)?;
                    let row = inputs.ids.concat();
                    Ok(inputs.map().reply().filter_map(|at| row.get(at).copied()).collect())
                };
                // As the text of the answer itself is read, where that is not as the model wrote it: a space that the answer
                // begins with may be one that reading adds.
                let mut own = read(self.text.whole.clone())?;
                let spaces = self.text.whole.len() - self.text.whole.trim_start().len();
                let mut skipped = 0;
                if own != self.ids && spaces > 0 {
                    let without = read(self.text.whole.trim_start().to_owned())?;
                    if without == self.ids {
                        (own, skipped) = (without, spaces);
                    }
                }
                let written = self.text.with(&bytes, versus);
                let others = read(written.get(skipped..).unwrap_or(&written).to_owned())?;
                let parts = |own: &[u32]| own.iter().zip(&others).position(|(a, b)| a != b);
                let at =
                    parts(&own).ok_or_else(|| refuse("the two begin with the same tokens".to_owned()))?;
                if parts(self.ids) != Some(at) {
                    let reason = "the model would write the answer in other tokens than those it is read in";
                    return Err(refuse(reason.to_owned()));
                }
                (at, others.get(at).copied().ok_or(HookError::NoObjective)?)
            }
        };
        let own = self.tokens.get(at).ok_or_else(|| refuse(format!("the answer has no token {}", at + 1)))?;
        if own.id == other {
            return Err(refuse("it is the same token".to_owned()));
        }
        let objective = rather(aim.measure.unwrap_or_default(), Position::Last, own.id, other);
        let case = Case { sample: self.behind(sample, at), target: Target::Objective(objective) };
        let (value, other) = (told(self.value(on, &case)?), subject.token(other));
        let place = if self.span.len() > 1 || at > 0 {
            format!(", token {} of the answer", at + 1)
        } else {
            String::new()
        };
        let measure = aim.measure.unwrap_or_default();
        let explained = format!("the {measure} of `{}` less that of `{other}`{place}: {value}", own.text);
        Ok(Made { case, text: own.text.clone(), id: Some(own.id), explained, span: at..at + 1 })
    }
}

/// One token rather than another. Logarithms of probabilities differ as logits do.
pub(super) fn rather(measure: Measure, at: Position, token: u32, against: u32) -> Objective {
    match measure {
        Measure::Logit | Measure::LogProbability => Objective::LogitDifference { at, token, against },
        Measure::Probability => {
            Objective::Sum(vec![(1.0, measure.of(at, token)), (-1.0, measure.of(at, against))])
        }
    }
}

/// A value near zero with its size.
pub(super) fn told(value: f32) -> String {
    if value != 0.0 && value.abs() < 5e-4 { format!("{value:.2e}") } else { fixed(value, 3) }
}

fn many(tokens: usize) -> String {
    if tokens == 1 { "1 token".to_owned() } else { format!("{tokens} tokens") }
}
