//! What a model answers to an item.

use mmlens_core::{
    AnyTensor, Case, Generation, HookError, On, Picture, Plan, Position, Reply, Sample, Subject,
    SubjectError, Words, kind,
};
use mmlens_engine::aim::Compared;

use super::{BenchError, By, Settings};
use crate::benchmark::{Answer, Fits, Item};

/// The most tokens of a question: a pass takes time with their square. A model with fewer positions refuses earlier.
const MOST_TOKENS: usize = 1 << 13;

/// An answer, and whether it was cut off.
pub(super) struct Answered {
    pub(super) answer: Answer,
    pub(super) cut: bool,
}

/// What is asked: the question, its choices with their letters, each on a line, and what stands behind every question.
pub(super) fn asked(item: &Item, settings: &Settings) -> String {
    let mut text = item.question.clone().unwrap_or_else(|| settings.ask.clone());
    for (letter, choice) in &item.choices {
        text.push_str(&format!("\n{letter}. {choice}"));
    }
    text.push_str(&settings.suffix);
    text
}

/// The question about the pictures.
pub(super) fn sample(item: &Item, pictures: &[Picture], settings: &Settings) -> Sample {
    Sample::new(pictures.to_vec(), Words::Question(asked(item, settings)))
}

/// The same pictures, each of its mean colour.
pub(super) fn blank(item: &Item, pictures: &[Picture]) -> Result<Vec<Picture>, BenchError> {
    let blank = pictures.iter().map(Picture::mean_colour).collect::<Result<_, _>>();
    blank.map_err(|source| BenchError::Item { item: item.id.clone(), source })
}

pub(super) fn answered(
    subject: &dyn Subject,
    item: &Item,
    pictures: &[Picture],
    settings: &Settings,
) -> Result<Answered, BenchError> {
    let wrong = |source| BenchError::Item { item: item.id.clone(), source };
    let whole = |answer| Answered { answer, cut: false };
    if settings.scorer.of_pairs() {
        let fits = fits(subject, item, pictures, settings).map_err(wrong)?;
        return Ok(whole(Answer { fits, ..Answer::default() }));
    }
    if kind::compares(subject) && !item.choices.is_empty() {
        let texts = item.choices.iter().map(|(_, choice)| choice.clone()).collect();
        let sample = Sample::new(pictures.to_vec(), Words::Texts(texts));
        let best = subject
            .encode(&sample)
            .and_then(|inputs| Compared::of(subject, &inputs)?.best().map_err(Into::into));
        let letter = item.choices.get(best.map_err(wrong)? as usize).map(|(letter, _)| letter.clone());
        return Ok(whole(Answer::text(letter.unwrap_or_default())));
    }
    let tokens = subject.tokens(&asked(item, settings)).map_err(wrong)?.len();
    if tokens > MOST_TOKENS {
        return Err(BenchError::Long { item: item.id.clone(), tokens, most: MOST_TOKENS });
    }
    let inputs = subject.encode(&sample(item, pictures, settings)).map_err(wrong)?;
    if settings.by == By::Logit {
        let words =
            [first_tokens(subject, "yes").map_err(wrong)?, first_tokens(subject, "no").map_err(wrong)?];
        let trace = subject.run(&inputs, Plan::new().to_output()).map_err(wrong)?;
        let logits =
            trace.output().at(Position::Last).map(AnyTensor::new).and_then(|logits| logits.to_values());
        let logits = logits.map_err(|error| wrong(error.into()))?;
        let yes_no = [largest(subject, &words, 0, &logits)?, largest(subject, &words, 1, &logits)?];
        let text = if yes_no[0] > yes_no[1] { "yes" } else { "no" };
        return Ok(whole(Answer { yes_no: Some(yes_no), ..Answer::text(text) }));
    }
    let how = Generation { max_new: settings.max_new, ..Generation::default() };
    let said = subject.generate(&inputs, &how).map_err(wrong)?.into_iter().next();
    let said = said.ok_or_else(|| wrong(HookError::NoOutput("an answer".to_owned()).into()))?;
    Ok(Answered { answer: Answer::text(said.text.trim()), cut: !said.ended && !said.last_position })
}

/// How a word may begin an answer: small or large, with a space before it or without.
fn first_tokens(subject: &dyn Subject, word: &str) -> Result<Vec<u32>, SubjectError> {
    let (first, rest) = word.split_at(1);
    let large = format!("{}{rest}", first.to_uppercase());
    let mut tokens = Vec::new();
    for text in [word, &large] {
        for text in [text.to_owned(), format!(" {text}")] {
            tokens.extend(subject.tokens(&text)?.first());
        }
    }
    Ok(tokens)
}

/// The largest logit of the first tokens of one of two words, those left out that begin the other too.
fn largest(
    subject: &dyn Subject,
    words: &[Vec<u32>; 2],
    which: usize,
    logits: &[f32],
) -> Result<f32, BenchError> {
    let own = words[which].iter().filter(|token| !words[1 - which].contains(token));
    let own = own.filter_map(|token| logits.get(*token as usize).copied());
    // no NaN: logits that are no numbers are refused where they are read
    own.fold(None, |most: Option<f32>, logit| Some(most.map_or(logit, |most| most.max(logit)))).ok_or_else(
        || BenchError::YesNo {
            subject: subject.name().to_owned(),
            word: if which == 0 { "yes" } else { "no" },
        },
    )
}

/// How well each caption and its foil fit: both in one pass of a dual encoder, else the log-probability of each as an answer to what is
/// asked.
fn fits(
    subject: &dyn Subject,
    item: &Item,
    pictures: &[Picture],
    settings: &Settings,
) -> Result<Vec<Fits>, SubjectError> {
    let mut all = Vec::with_capacity(item.foils.len());
    for (caption, foil) in item.captions.iter().zip(&item.foils) {
        if kind::compares(subject) {
            let texts = Words::Texts(vec![caption.clone(), foil.clone()]);
            let compared = Compared::of(subject, &subject.encode(&Sample::new(pictures.to_vec(), texts))?)?;
            let [caption, foil] = compared.picture(0) else {
                return Err(HookError::NoOutput("two texts compared with a picture".to_owned()).into());
            };
            all.push(Fits { caption: caption.logit, foil: foil.logit, tokens: None });
            continue;
        }
        let likely = |text: &str| -> Result<(f32, usize), SubjectError> {
            let sample = sample(item, pictures, settings).answered(Reply::Text(text.to_owned()));
            let (inputs, objective) = On::new(subject).open(&Case::answer(sample))?;
            let trace = subject.run(&inputs, Plan::new().objective(&objective))?;
            let score = trace.scores()?.first().copied().ok_or(HookError::NoObjective)?;
            Ok((score, inputs.map().reply().len()))
        };
        let (caption, foil) = (likely(caption)?, likely(foil)?);
        all.push(Fits { caption: caption.0, foil: foil.0, tokens: Some([caption.1, foil.1]) });
    }
    Ok(all)
}
