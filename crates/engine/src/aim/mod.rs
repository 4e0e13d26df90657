//! What of an answer is explained: all of it, a phrase, a token, one token rather than another, a class, how well a caption fits.
//!
//! An [`Aim`] is what a user says; [`Aim::settle`] has the subject answer, finds in the answer what is meant, and makes a case of it.
//! A language model is explained by the log-probability of its whole answer, a classifier by the logit of its likeliest class, a
//! dual encoder by how well the caption fits, unless the aim says otherwise.

mod answer;
mod caption;
mod choice;
mod likely;
mod phrase;

use std::ops::Range;

use mmlens_core::finding::{Caution, TokenLabel};
use mmlens_core::{
    Case, Generated, Generation, HookError, Inputs, Measure, On, Sample, Subject, SubjectError, kind,
};
use serde::Serialize;

pub use caption::{Compared, Likeness};
pub use likely::{Likely, likely};

/// The token looked for, the phrase, or all of an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Sought {
    /// All of the answer.
    #[default]
    Answer,
    /// A phrase of it.
    Span(String),
    /// A token of it, by its text or its id; of a classifier any class, of a masked word any token.
    Token(String),
}

/// What of an answer is to be explained.
///
/// ```no_run
/// # fn go(subject: &dyn mmlens_core::Subject, sample: mmlens_core::Sample) -> Result<(), Box<dyn std::error::Error>> {
/// use mmlens_core::On;
/// use mmlens_engine::Aim;
/// let settled = Aim::default().span("red").versus("blue").settle(&On::new(subject), sample)?;
/// println!("{}: {}", settled.answer, settled.explained);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Aim {
    sought: Sought,
    versus: Option<String>,
    measure: Option<Measure>,
    max_new: Option<usize>,
    each: Option<bool>,
}

/// Tokens of an answer, at most so many of which are explained one by one if nobody says: each costs a gradient method as
/// much as the whole.
pub const FEW: usize = 16;

impl Aim {
    /// A phrase of the answer.
    #[must_use]
    pub fn span(self, phrase: impl Into<String>) -> Self {
        Self { sought: Sought::Span(phrase.into()), ..self }
    }

    /// A token of the answer, or a class: its text or its id.
    #[must_use]
    pub fn token(self, token: impl Into<String>) -> Self {
        Self { sought: Sought::Token(token.into()), ..self }
    }

    /// Rather than another phrase, token, class or caption in its place: the difference is explained where the two part.
    #[must_use]
    pub fn versus(self, other: impl Into<String>) -> Self {
        Self { versus: Some(other.into()), ..self }
    }

    /// By its logit, log-probability or probability; without it log-probabilities of words, logits of classes.
    #[must_use]
    pub fn measured(self, measure: Measure) -> Self {
        Self { measure: Some(measure), ..self }
    }

    /// An answer of at most so many tokens; without it 64, or fewer where the checkpoint says so.
    #[must_use]
    pub fn at_most(self, tokens: usize) -> Self {
        Self { max_new: Some(tokens), ..self }
    }

    /// Whether each token of what is explained is explained by itself too; without it up to [`FEW`] of them are.
    #[must_use]
    pub fn each(self, each: bool) -> Self {
        Self { each: Some(each), ..self }
    }

    /// What is looked for.
    pub fn sought(&self) -> &Sought {
        &self.sought
    }

    /// Has the subject answer, and settles what is explained. What a sample holds as its answer is not generated again.
    ///
    /// # Errors
    /// [`AimError`].
    ///
    /// # Cost
    /// The answer, generated once; for an answer that the sample holds one pass and the answer that the model gives by itself.
    pub fn settle(&self, on: &On<'_>, sample: Sample) -> Result<Settled, AimError> {
        let subject = on.subject();
        if sample.reply.is_some() {
            return answer::given(self, on, sample);
        }
        if kind::compares(subject) {
            return caption::settle(self, on, sample);
        }
        let inputs = on.encode(&sample)?;
        if let Some(places) = masks(subject, &inputs)? {
            return choice::masked(self, on, sample, &places);
        }
        if kind::classifies(subject) {
            return choice::class(self, on, sample);
        }
        answer::generated(self, on, sample)
    }
}

/// Why an aim cannot be settled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AimError {
    /// A token or phrase that the answer does not have.
    #[error(
        "`{found}` is not in the answer `{answer}`; to explain it all the same, give an answer that has it"
    )]
    Unsaid {
        /// What was looked for.
        found: String,
        /// The answer.
        answer: String,
    },
    /// A text that is not one token.
    #[error("`{found}`: {reason}")]
    Token {
        /// The text.
        found: String,
        /// Why not.
        reason: String,
    },
    /// Something that parts nowhere from what is explained, or before it.
    #[error("`{versus}` in the place of `{explained}`: {reason}")]
    Versus {
        /// What was to be contrasted.
        versus: String,
        /// With what.
        explained: String,
        /// Why not.
        reason: String,
    },
    /// What means nothing to a kind of model.
    #[error("{what} mean nothing to `{model}`, {kind}")]
    Kind {
        /// What was given.
        what: &'static str,
        /// The subject.
        model: String,
        /// What it is.
        kind: &'static str,
    },
    /// More than one picture where one caption is explained.
    #[error("{found} pictures were given; the similarity of one picture and one caption is explained")]
    OnePicture {
        /// So many.
        found: usize,
    },
    /// A text without a missing word.
    #[error("`{model}` says which word is missing from a text: give one with `{mask}` in it")]
    NoMask {
        /// The subject.
        model: String,
        /// What stands for a missing word.
        mask: String,
    },
    /// A checkpoint whose greatest length the prompt has already.
    #[error(
        "the prompt has {prompt} positions, and `{model}` says in its files that prompt and answer have no more (`max_length`); \
         say how many tokens the answer may have (`--max-new`)"
    )]
    NoRoom {
        /// The subject.
        model: String,
        /// Positions.
        prompt: usize,
    },
    /// An answer of nothing.
    #[error("`{model}` says nothing")]
    Nothing {
        /// The subject.
        model: String,
    },
    /// What the subject reports.
    #[error(transparent)]
    Subject(#[from] SubjectError),
}

impl From<HookError> for AimError {
    fn from(error: HookError) -> Self {
        Self::Subject(error.into())
    }
}

/// An answer, and what of it is explained.
#[derive(Debug, Clone)]
pub struct Settled {
    /// The case that methods are run on: the sample with as much of the answer as they need, and what is explained of it.
    pub case: Case,
    /// What each position of the prompt is, the answer's behind it as far as the case has it.
    pub prompt: Vec<TokenLabel>,
    /// What is explained, as it stands in the answer: a phrase, a token, a class, a caption.
    pub text: String,
    /// The token or class, or the number of the caption, if it is one.
    pub id: Option<u32>,
    /// What is explained, in words, with its value.
    pub explained: String,
    /// The whole answer.
    pub answer: String,
    /// The tokens of the answer, the likeliest classes, or all captions.
    pub tokens: Vec<Said>,
    /// Which of the tokens are explained; of classes and captions none.
    pub span: Range<usize>,
    /// Of an answer that was given: its log-probability, and what the model says by itself.
    pub given: Option<Given>,
    /// Whether an end token came, or nothing can follow.
    pub ended: bool,
    /// Whether the answer stops short at the model's last position.
    pub last_position: bool,
    /// What is to be known of the answer: that it was cut short, that more of it cannot be explained.
    pub notes: Vec<String>,
    /// What speaks against taking an explanation of this at its word.
    pub cautions: Vec<Caution>,
}

/// A token of an answer, a class or a caption.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Said {
    /// Its id; of captions its number.
    pub id: u32,
    /// Its text.
    pub text: String,
    /// What the model itself gave it, before what the checkpoint or a temperature makes of that.
    pub probability: f32,
}

/// An answer that was given, as the model finds it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Given {
    /// Of all its tokens, one behind the other.
    pub log_probability: f32,
    /// What the model says by itself.
    pub own_answer: String,
}

/// The tokens of an answer.
pub fn spoken(subject: &dyn Subject, answer: &Generated) -> Vec<Said> {
    let pairs = answer.tokens.iter().zip(&answer.probabilities);
    pairs.map(|(&id, &probability)| Said { id, text: subject.token(id), probability }).collect()
}

/// That an answer stops where the model's positions end.
pub fn cut_short(inputs: &Inputs, answer: &Generated) -> Option<String> {
    let (prompt, tokens) = (inputs.positions(), answer.tokens.len());
    answer.last_position.then(|| {
        format!(
            "the answer stops after {tokens} tokens at the model's last position ({prompt} of its positions are the prompt's)"
        )
    })
}

/// The most tokens of an answer, if nobody says: 64, or fewer where the checkpoint says so.
///
/// # Errors
/// [`AimError::NoRoom`] where it says that there are none.
pub fn usual(subject: &dyn Subject, inputs: &Inputs) -> Result<usize, AimError> {
    let usual = Generation::default().max_new;
    match subject.longest_answer(inputs) {
        Some(0) => Err(AimError::NoRoom { model: subject.name().to_owned(), prompt: inputs.positions() }),
        longest => Ok(longest.map_or(usual, |longest| longest.min(usual))),
    }
}

/// Where what stands for a missing word stands in the only row, of a model that says which word is missing; `None` of other models.
///
/// # Errors
/// [`AimError::NoMask`] where nothing is missing, or rows are several.
pub fn masks(subject: &dyn Subject, inputs: &Inputs) -> Result<Option<Vec<usize>>, AimError> {
    let Some(mask) = subject.mask() else { return Ok(None) };
    let [ids] = inputs.ids.as_slice() else { return Err(no_mask(subject, mask)) };
    let places: Vec<usize> =
        ids.iter().enumerate().filter(|(_, id)| **id == mask).map(|(at, _)| at).collect();
    if places.is_empty() { Err(no_mask(subject, mask)) } else { Ok(Some(places)) }
}

fn no_mask(subject: &dyn Subject, mask: u32) -> AimError {
    AimError::NoMask { model: subject.name().to_owned(), mask: subject.token(mask) }
}

/// The token that is meant: an id, or a text that is exactly one token.
///
/// # Errors
/// [`AimError::Token`].
pub fn token(subject: &dyn Subject, text: &str) -> Result<u32, AimError> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let refuse = |reason: String| AimError::Token { found: text.to_owned(), reason };
    let ids = subject.tokens(text)?;
    let [id] = ids.as_slice() else {
        let parts: Vec<String> = ids.iter().map(|id| format!("`{}`", subject.token(*id))).collect();
        return Err(refuse(format!("a target is one token, this is {}: {}", ids.len(), parts.join(" "))));
    };
    // A word that the vocabulary lacks becomes its token for the unknown.
    if subject.decode(&[*id])?.trim().to_lowercase() != text.trim().to_lowercase() {
        return Err(refuse(format!("the model has no such token; it would read `{}`", subject.token(*id))));
    }
    Ok(*id)
}
