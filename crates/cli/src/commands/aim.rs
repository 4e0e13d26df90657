//! What is explained: the first token of an answer, a class, or how well a caption fits.

use anyhow::{Context, Result};
use mmlens::core::{
    AnyTensor, Ask, Case, Generated, Generation, Inputs, Measure, Objective, On, Plan, Reply, Sample,
    Subject, Target, Words, kind, top_token,
};
use mmlens::finding::TokenLabel;
use serde::Serialize;

use crate::classes::{Class, classes};
use crate::commands::ask::{Token, answer, note_of, tokens};
use crate::input::{masks, target};
use crate::pairs::Compared;
use crate::refusal::Refusal;

/// A token, or one of the captions by its number; without one an answer that was given.
#[derive(Serialize)]
pub(crate) struct Aim {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<u32>,
    pub(crate) text: String,
}

/// An answer and what of it is explained.
pub(crate) struct Settled {
    /// The sample, of several captions the one that is explained.
    pub(crate) sample: Sample,
    pub(crate) target: Target,
    pub(crate) prompt: Vec<TokenLabel>,
    pub(crate) aim: Aim,
    /// That in words.
    pub(crate) explained: String,
    pub(crate) answer: String,
    /// Of an answer that was given: its log-probability, and what the model says by itself.
    pub(crate) given: Option<Given>,
    /// Whether an end token came.
    pub(crate) ended: bool,
    /// That the answer stops where the model's positions end.
    pub(crate) note: Option<String>,
    /// The tokens of the answer, the likeliest classes, or all captions.
    pub(crate) tokens: Vec<Token>,
}

/// An answer that was given, as the model finds it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Given {
    pub(crate) log_probability: f32,
    /// What the model says by itself.
    pub(crate) own_answer: String,
}

/// Asks the subject, and settles what is explained: `wanted`, or the token that it says first, or the caption that
/// fits best, or all of an answer that the sample holds.
pub(crate) fn settle(on: &On<'_>, sample: Sample, wanted: Option<&str>) -> Result<Settled> {
    let subject = on.subject();
    if sample.reply.is_some() {
        return given(on, sample);
    }
    if kind::compares(subject) {
        return caption(on, sample, wanted);
    }
    let inputs = on.encode(&sample)?;
    if let Some(masks) = masks(subject, &inputs)? {
        return mask(subject, sample, inputs, &masks, wanted);
    }
    let wanted = wanted.map(|text| target(subject, text)).transpose()?;
    if kind::classifies(subject) {
        let id = wanted.map_or_else(|| top_token(subject, &inputs), Ok)?;
        return class(subject, sample, &inputs, id);
    }
    let answer = said(subject, &inputs)?;
    let tokens = tokens(subject, &answer);
    // What comes first need not have the highest logit: the checkpoint has a say.
    let first = wanted.or(tokens.first().map(|token| token.id));
    let id = first.map_or_else(|| top_token(subject, &inputs), Ok)?;
    let likely = tokens.first().filter(|token| token.id == id);
    let likely = likely.map_or_else(String::new, |token| format!(", probability {:.3}", token.probability));
    let text = subject.token(id);
    Ok(Settled {
        sample,
        target: Target::Token(id),
        prompt: inputs.map().tokens.clone(),
        explained: format!("the logit of `{text}` (id {id}{likely})"),
        aim: Aim { id: Some(id), text },
        answer: answer.text.trim().to_owned(),
        given: None,
        ended: answer.ended,
        note: note_of(&inputs, &answer),
        tokens,
    })
}

/// What the model says by itself, however long the checkpoint lets answers be.
fn said(subject: &dyn Subject, inputs: &Inputs) -> Result<Generated> {
    let usual = Generation::default();
    let max_new = subject.longest_answer(inputs).map_or(usual.max_new, |most| most.clamp(1, usual.max_new));
    answer(subject, inputs, &Generation { max_new, ..usual })
}

/// All of an answer that was given.
fn given(on: &On<'_>, sample: Sample) -> Result<Settled> {
    let subject = on.subject();
    let case = Case::answer(sample);
    let (inputs, objective) = on.open(&case)?;
    let (reply, ids) = (inputs.map().reply(), inputs.ids.concat());
    let spoken: Vec<(usize, u32)> = reply.filter_map(|at| Some((at, *ids.get(at)?))).collect();
    let each = |(at, token): &(usize, u32)| Measure::Probability.of(Ask::At(at.saturating_sub(1)), *token);
    let plan = spoken.iter().fold(Plan::new().objective(objective), |plan, one| plan.also(&each(one)));
    let trace = subject.run(&inputs, plan)?;
    let mut tokens = Vec::with_capacity(spoken.len());
    for one in &spoken {
        let probability = AnyTensor::new(each(one).score(trace.output())?).to_values()?;
        let probability = probability.first().copied().context("no row was scored")?;
        tokens.push(Token { id: one.1, text: subject.token(one.1), probability });
    }
    let whole = trace.scores()?.first().copied().context("no row was scored")?;
    // As it was written: special tokens are a part of it.
    let answer = match &case.sample.reply {
        Some(Reply::Text(text)) => text.clone(),
        _ => subject.decode(&spoken.iter().map(|(_, id)| *id).collect::<Vec<_>>())?,
    };
    let asked = Sample { reply: None, ..case.sample.clone() };
    let asked = on.encode(&asked)?;
    let own_answer = said(subject, &asked)?.text.trim().to_owned();
    let told = if whole > -5e-4 { format!("{whole:.2e}") } else { format!("{whole:.3}") };
    let many = if tokens.len() == 1 { "1 token".to_owned() } else { format!("{} tokens", tokens.len()) };
    Ok(Settled {
        sample: case.sample,
        target: case.target,
        prompt: inputs.map().tokens.clone(),
        explained: format!("the log-probability of the given answer ({many}): {told}"),
        aim: Aim { id: None, text: answer.clone() },
        answer,
        given: Some(Given { log_probability: whole, own_answer }),
        ended: false,
        note: None,
        tokens,
    })
}

/// A class of the first row.
fn class(subject: &dyn Subject, sample: Sample, inputs: &Inputs, id: u32) -> Result<Settled> {
    let likely = classes(subject, inputs)?.into_iter().next().unwrap_or_default();
    let own = likely.iter().find(|class| class.id == id);
    let share = own.map_or_else(String::new, |class| format!(", probability {:.3}", class.probability));
    let text = subject.token(id);
    Ok(Settled {
        sample,
        target: Target::Token(id),
        prompt: inputs.map().tokens.clone(),
        explained: format!("the logit of `{text}` (class {id}{share})"),
        aim: Aim { id: Some(id), text },
        answer: likely.first().map_or_else(String::new, |class| class.text.clone()),
        given: None,
        ended: true,
        note: None,
        tokens: told(likely),
    })
}

/// A token in the place of the first mask.
fn mask(
    subject: &dyn Subject,
    sample: Sample,
    inputs: Inputs,
    masks: &[usize],
    wanted: Option<&str>,
) -> Result<Settled> {
    let wanted = wanted.map(|text| target(subject, text)).transpose()?;
    let prompt = inputs.map().tokens.clone();
    let mut all = classes(subject, &inputs.ask_all())?;
    let likeliest = |at: &usize| all.get(*at).and_then(|row| row.first());
    let answer: Vec<u32> = masks.iter().filter_map(likeliest).map(|class| class.id).collect();
    let at = *masks.first().context("no position is masked")?;
    let likely = if at < all.len() { all.swap_remove(at) } else { Vec::new() };
    let id = wanted.or_else(|| likely.first().map(|class| class.id));
    let id = id.context("nothing is said of the mask")?;
    let own = likely.iter().find(|class| class.id == id);
    let share = own.map_or_else(String::new, |class| format!(", probability {:.3}", class.probability));
    let text = subject.token(id);
    Ok(Settled {
        sample,
        target: Target::Objective(Objective::Logit { at: Ask::At(at), token: id }),
        prompt,
        explained: format!("the logit of `{text}` (id {id}{share}) at position {at}"),
        aim: Aim { id: Some(id), text },
        answer: subject.decode(&answer)?,
        given: None,
        ended: true,
        note: None,
        tokens: told(likely),
    })
}

fn told(classes: Vec<Class>) -> Vec<Token> {
    let token = |class: Class| Token { id: class.id, text: class.text, probability: class.probability };
    classes.into_iter().map(token).collect()
}

fn caption(on: &On<'_>, sample: Sample, wanted: Option<&str>) -> Result<Settled> {
    let subject = on.subject();
    if wanted.is_some() {
        return Err(Refusal::NoTokens { option: "target", model: subject.name().to_owned() }.into());
    }
    if sample.pictures.len() > 1 {
        return Err(Refusal::OnePicture { found: sample.pictures.len() }.into());
    }
    let inputs = on.encode(&sample)?;
    let compared = Compared::of(subject, &inputs)?;
    let texts = if let Words::Texts(texts) = &sample.words { texts.clone() } else { Vec::new() };
    let tokens: Vec<Token> = (0..)
        .zip(compared.picture(0).zip(&texts))
        .map(|(id, (fit, text))| Token { id, text: text.clone(), probability: fit.probability })
        .collect();
    let id = compared.best()?;
    let Token { text, probability, .. } = tokens.get(id as usize).context("no text was compared")?.clone();
    let logit = compared.picture(0).nth(id as usize).context("no text was compared")?.logit;
    let sample = Sample { words: Words::Texts(vec![text.clone()]), ..sample };
    Ok(Settled {
        prompt: on.encode(&sample)?.map().tokens.clone(),
        sample,
        target: Target::Objective(Objective::Similarity),
        explained: format!("the similarity with `{text}` (logit {logit:.3}, probability {probability:.3})"),
        answer: text.clone(),
        given: None,
        aim: Aim { id: Some(id), text },
        ended: true,
        note: None,
        tokens,
    })
}
