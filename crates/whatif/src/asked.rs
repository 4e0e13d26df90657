//! What a model says under a state.

use std::cell::RefCell;

use mmlens_core::{
    AnalysisError, Generated, Generation, Generator, HookError, Inputs, Plan, Sample, Subject, SubjectError,
    Watch, Words, kind, step,
};
use mmlens_engine::AimError;
use mmlens_engine::aim::{Compared, Likely, Said, masks, spoken, usual};
use mmlens_engine::distribution::{largest, log_probabilities};
use serde::Serialize;

use crate::refusal::{Of, Refusal};

/// What a model says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answered {
    /// What it chooses from: `tokens`, `classes`, `captions`, or `masked` tokens.
    pub of: &'static str,
    /// The answer, the likeliest class, caption or word in the place of the first mask.
    pub answer: String,
    /// The tokens of an answer that was written, with the probability of each.
    pub tokens: Vec<Said>,
    /// Whether an end token came, or nothing can follow.
    pub ended: bool,
    /// The likeliest first tokens, classes or captions, the likeliest first.
    pub likely: Vec<Likely>,
    /// What the model gives the answer of the first state.
    pub first: Scored,
    #[serde(skip)]
    pub(crate) logits: Vec<f32>,
    /// Natural logarithms of the probabilities that it chooses by, of all.
    #[serde(skip)]
    pub(crate) logs: Vec<f64>,
    #[serde(skip)]
    pub(crate) names: Vec<String>,
}

/// The answer of the first state, under another: each token judged by those before it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scored {
    /// The answer.
    pub answer: String,
    /// Of all its tokens together, in nats.
    pub log_probability: f64,
    /// Of each of them.
    pub tokens: Vec<Told>,
}

/// A token and its log-probability.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Told {
    /// Its id, the number of a class or caption.
    pub id: u32,
    /// Its text.
    pub text: String,
    /// In nats.
    pub log_probability: f64,
}

impl Answered {
    /// The name of a token, class or caption.
    pub(crate) fn name(&self, subject: &dyn Subject, id: u32) -> String {
        self.names.get(id as usize).cloned().unwrap_or_else(|| subject.token(id))
    }

    /// With so many of the likeliest.
    pub(crate) fn top(mut self, subject: &dyn Subject, most: usize) -> Self {
        let one = |(id, log): (usize, f64)| {
            let logit = self.logits.get(id).copied().unwrap_or_default();
            Likely {
                id: id as u32,
                text: self.name(subject, id as u32),
                probability: log.exp() as f32,
                logit,
            }
        };
        self.likely = largest(&self.logs, most).into_iter().map(one).collect();
        self
    }
}

/// Asks a subject; `first` is the answer of the first state, or none, if this is the first state.
pub(crate) fn ask(
    subject: &dyn Subject,
    sample: &Sample,
    inputs: &Inputs,
    first: Option<&Scored>,
    most: usize,
    watch: &dyn Watch,
) -> Result<Answered, Refusal> {
    let asked = match () {
        () if kind::compares(subject) => compared(subject, sample, inputs, first),
        () => match masks(subject, inputs).of("do", "ask")? {
            Some(places) => chosen(subject, inputs, first, places.first().copied()),
            None if kind::classifies(subject) => chosen(subject, inputs, first, None),
            None => return written(subject, inputs, first, most, watch),
        },
    };
    asked.of("do", "ask")
}

/// A model of language: it reads the prompt once, and writes its own answer and reads the first one from there.
fn written(
    subject: &dyn Subject,
    inputs: &Inputs,
    first: Option<&Scored>,
    most: usize,
    watch: &dyn Watch,
) -> Result<Answered, Refusal> {
    let told = "ask";
    step(watch, "what-if", 0, 1).of("do", told)?;
    let mut session = subject.begin(inputs, Plan::new()).of("do", told)?;
    let read =
        |logits: &mmlens_core::AnyTensor| logits.finite_values("the logits of the next token").of("do", told);
    let logits = read(session.logits())?;
    let how =
        Generation { max_new: usual(subject, inputs).of("do", told)?.min(most), ..Generation::default() };
    let stopped: RefCell<Option<AnalysisError>> = RefCell::new(None);
    let written = {
        let branch = session.fork();
        let mut count = 0;
        let watched = |_: mmlens_core::Upcoming<'_>, _: &mut [f32]| {
            count += 1;
            step(watch, "what-if", count, how.max_new).map_err(|error| {
                stopped.replace(Some(error));
                SubjectError::Unsupported { subject: subject.name().to_owned(), what: "going on".to_owned() }
            })
        };
        Generator::new(&how).scores(watched).through(move |_, _| Ok(branch)).write(subject, inputs)
    };
    if let Some(error) = stopped.into_inner() {
        return Err(error).of("do", told);
    }
    let none = || HookError::NoOutput("an answer".to_owned());
    let (mut answers, _) = written.of("do", told)?;
    let answer: Generated = if answers.is_empty() { Err(none()).of("do", told)? } else { answers.remove(0) };
    let scored: Vec<u32> = match first {
        Some(first) => first.tokens.iter().map(|token| token.id).collect(),
        None => {
            // That it ends there is no part of an answer, unless nothing else is.
            let cut = usize::from(answer.ended && answer.tokens.len() > 1);
            answer.tokens.iter().take(answer.tokens.len() - cut).copied().collect()
        }
    };
    let mut tokens = Vec::with_capacity(scored.len());
    let mut row = logits.clone();
    for (at, id) in scored.iter().copied().enumerate() {
        let (index, len) = (id as usize, row.len());
        let missing = HookError::Objective { what: "token", index, len };
        let log_probability = log_probabilities(&row).get(index).copied().ok_or(missing).of("do", told)?;
        tokens.push(Told { id, text: subject.token(id), log_probability });
        if at + 1 < scored.len() {
            step(watch, "what-if", at, scored.len()).of("do", told)?;
            session.step(&[id], Plan::new()).of("do", told)?;
            row = read(session.logits())?;
        }
    }
    let text = answer.text.trim().to_owned();
    Ok(Answered {
        of: "tokens",
        tokens: spoken(subject, &answer),
        ended: answer.ended,
        likely: Vec::new(),
        first: scored_as(first.map_or_else(|| text.clone(), |first| first.answer.clone()), tokens),
        answer: text,
        logs: log_probabilities(&logits),
        logits,
        names: Vec::new(),
    })
}

fn scored_as(answer: String, tokens: Vec<Told>) -> Scored {
    Scored { answer, log_probability: tokens.iter().map(|token| token.log_probability).sum(), tokens }
}

/// One of several, by its logits.
fn decided(
    subject: &dyn Subject,
    of: &'static str,
    (logits, logs, names): (Vec<f32>, Vec<f64>, Vec<String>),
    first: Option<&Scored>,
) -> Result<Answered, AimError> {
    let nothing = || AimError::Nothing { model: subject.name().to_owned() };
    let mut asked = Answered {
        of,
        answer: String::new(),
        tokens: Vec::new(),
        ended: true,
        likely: Vec::new(),
        first: scored_as(String::new(), Vec::new()),
        logits,
        logs,
        names,
    };
    let best = largest(&asked.logs, 1).first().map(|(id, _)| *id as u32).ok_or_else(nothing)?;
    asked.answer = asked.name(subject, best);
    let judged = first.and_then(|first| first.tokens.first()).map_or(best, |token| token.id);
    let log_probability = asked.logs.get(judged as usize).copied().ok_or_else(nothing)?;
    let text = asked.name(subject, judged);
    asked.first = scored_as(text.clone(), vec![Told { id: judged, text, log_probability }]);
    Ok(asked)
}

/// A classifier, or the first mask of a text.
fn chosen(
    subject: &dyn Subject,
    inputs: &Inputs,
    first: Option<&Scored>,
    mask: Option<usize>,
) -> Result<Answered, AimError> {
    let none = || HookError::NoOutput("classes".to_owned());
    let inputs = if mask.is_some() { inputs.clone().all_logits() } else { inputs.clone() };
    let trace = subject.run(&inputs, Plan::new().to_output())?;
    let logits = trace.output().logits.as_ref().ok_or_else(none)?;
    let width = logits.dims().last().copied().filter(|width| *width > 0).ok_or_else(none)?;
    let row = logits.finite_values("logits")?.chunks(width).nth(mask.unwrap_or(0)).map(<[f32]>::to_vec);
    let row = row.ok_or_else(none)?;
    let logs = log_probabilities(&row);
    decided(subject, if mask.is_some() { "masked" } else { "classes" }, (row, logs, Vec::new()), first)
}

/// Captions of the first picture.
fn compared(
    subject: &dyn Subject,
    sample: &Sample,
    inputs: &Inputs,
    first: Option<&Scored>,
) -> Result<Answered, AimError> {
    let Words::Texts(texts) = &sample.words else {
        return Err(AimError::Nothing { model: subject.name().to_owned() });
    };
    let compared = Compared::of(subject, inputs)?;
    let logits: Vec<f32> = compared.picture(0).iter().map(|fit| fit.logit).collect();
    // Of those that stand for themselves the logarithm of the logistic function.
    let alone = |logit: &f32| -> f64 {
        let x = f64::from(*logit);
        if x > 0.0 { -(-x).exp().ln_1p() } else { x - x.exp().ln_1p() }
    };
    let logs = if compared.apart { logits.iter().map(alone).collect() } else { log_probabilities(&logits) };
    decided(subject, "captions", (logits, logs, texts.clone()), first)
}

#[cfg(test)]
mod tests {
    use mmlens_core::{Generation, Sample, Subject, Unwatched};
    use mmlens_testkit::Toy;

    use super::ask;

    /// The answer is that of `generate`, bit by bit, and each of its tokens has the probability that it was written with.
    #[test]
    fn an_answer_is_read_as_it_was_written() {
        let (toy, sample) = (Toy::curved(1), Sample::text("abcd"));
        let inputs = toy.encode(&sample).unwrap();
        let how = Generation { max_new: 5, ..Generation::default() };
        let answer = toy.generate(&inputs, &how).unwrap().remove(0);
        let asked = ask(&toy, &sample, &inputs, None, 5, &Unwatched).unwrap();
        let said: Vec<(u32, f32)> = asked.tokens.iter().map(|t| (t.id, t.probability)).collect();
        let own: Vec<(u32, f32)> = answer.tokens.iter().copied().zip(answer.probabilities.clone()).collect();
        assert_eq!(said, own);
        assert_eq!(asked.first.tokens.len(), 5);
        for (token, share) in asked.first.tokens.iter().zip(&answer.probabilities) {
            assert!((token.log_probability.exp() - f64::from(*share)).abs() < 1e-6, "{token:?} {share}");
        }
    }
}
