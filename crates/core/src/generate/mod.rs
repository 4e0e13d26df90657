//! Writing answers on a [`Session`](crate::Session): the one loop for every subject.

mod beams;
mod draw;
mod rules;

use std::collections::BTreeMap;
use std::fmt;

use burn::tensor::{Tensor, activation::softmax};
use mmlens_finding::finite;

use crate::{AnyTensor, HookError, Inputs, Plan, Plans, Session, Subject, SubjectError, Trace};

pub use beams::Beams;
pub use rules::{Rule, Rules, Text};

/// How an answer is generated.
///
/// What a checkpoint says of the scores of the next token (a penalty for repetition, tokens that must not come, a least
/// length) holds for every way of choosing one, before it is chosen; what it says of how long an answer is and how tokens
/// are drawn does not, since that is said here.
#[derive(Debug, Clone, PartialEq)]
pub struct Generation {
    /// At most so many tokens. A model whose positions were learned stops at the last of them: [`Generated::last_position`].
    pub max_new: usize,
    /// How the next token is chosen.
    pub sampling: Sampling,
    /// Whether an end token ends it.
    pub stop_at_end: bool,
}

/// How the next token is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sampling {
    /// The one with the highest score; of equal ones that with the lowest id.
    Greedy,
    /// Drawn from the distribution at a temperature, restricted to the smallest set of tokens that holds `top_p` of it.
    Draw {
        /// Divides the logits; above 0.
        temperature: f32,
        /// In (0, 1].
        top_p: f32,
        /// Decides every draw.
        seed: crate::Seed,
    },
    /// The best of several answers that are written side by side.
    Beams(Beams),
}

impl Default for Generation {
    fn default() -> Self {
        Self { max_new: 64, sampling: Sampling::Greedy, stop_at_end: true }
    }
}

/// What was generated for one row.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Generated {
    /// The new token ids, the end token included where one came.
    pub tokens: Vec<u32>,
    /// The probability the model itself gave each of them: the softmax of its logits, before what the checkpoint or a
    /// temperature makes of them. Of a session that weighs several ([`Generator::through`]), that of what it says.
    pub probabilities: Vec<f32>,
    /// The text, special tokens left out.
    pub text: String,
    /// Whether an end token came.
    pub ended: bool,
    /// Whether it stops short of [`Generation::max_new`] since the model has no further position.
    pub last_position: bool,
    /// What a search by beams found it best by: the sum of its tokens' log-probabilities, as the checkpoint's settings leave them,
    /// divided by its length to the power of the penalty. `None` without a search.
    pub score: Option<f32>,
}

/// A token that is about to be chosen.
#[derive(Debug, Clone, Copy)]
pub struct Upcoming<'a> {
    /// The answer it belongs to: its prompt, or with [`Plans::copies`] its continuation.
    pub row: usize,
    /// Its number in the answer, from 0.
    pub step: usize,
    /// The prompt with its padding, and the answer so far.
    pub text: &'a [u32],
}

/// A change of scores: it is given the token that is about to be chosen, and the score of every token of the vocabulary. Greedy
/// decoding and drawing score by logits, a search by beams by log-probabilities.
pub type ScoresFn<'a> = dyn FnMut(Upcoming<'_>, &mut [f32]) -> Result<(), SubjectError> + 'a;

/// Begins a session on a prompt, whose first pass carries out a plan.
type BeginFn<'a> = dyn FnOnce(&Inputs, Plan) -> Result<Box<dyn Session + 'a>, SubjectError> + 'a;

/// Writes answers: what [`Subject::generate`] does, with plans by step and scores in the hands of the caller.
///
/// Rows that have ended are given up and cost nothing from then on. So the rows of a step are those of the answers that have a token at
/// that step, in their order, and a plan that changes some rows by their number ([`Region::rows`](crate::Region::rows)) changes
/// those of them that are left. What one of its closures is given, or a value that it sets or adds row by row, holds the rows
/// that are left alone.
///
/// ```no_run
/// # fn go(subject: &dyn mmlens_core::Subject, inputs: &mmlens_core::Inputs) -> Result<(), mmlens_core::SubjectError> {
/// use mmlens_core::{Generation, Generator, Plan, Plans, Steps};
/// let plans = Plans::new().during(Steps::Every, Plan::new().read("text.final_norm")?);
/// let never_seven = |_: mmlens_core::Upcoming<'_>, scores: &mut [f32]| {
///     scores[7] = f32::NEG_INFINITY;
///     Ok(())
/// };
/// let how = Generation::default();
/// let (answers, traces) = Generator::new(&how).plans(&plans).scores(never_seven).write(subject, inputs)?;
/// # Ok(())
/// # }
/// ```
pub struct Generator<'a> {
    how: &'a Generation,
    plans: Plans,
    scores: Option<Box<ScoresFn<'a>>>,
    begin: Option<Box<BeginFn<'a>>>,
}

impl fmt::Debug for Generator<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { how, plans, scores, begin } = self;
        let (changed, through) = (scores.is_some(), begin.is_some());
        let mut all = f.debug_struct("Generator");
        all.field("how", how)
            .field("plans", plans)
            .field("scores", &changed)
            .field("through", &through)
            .finish()
    }
}

/// What all ways of choosing need.
struct Writing<'a, 's> {
    how: &'a Generation,
    rules: Rules,
    scores: Option<Box<ScoresFn<'a>>>,
    session: Box<dyn Session + 's>,
    /// The steps so far, the prompt's included, and what those with a plan brought back.
    taken: usize,
    traces: BTreeMap<usize, Trace>,
}

impl<'a> Generator<'a> {
    /// One answer to every prompt, without plans.
    pub fn new(how: &'a Generation) -> Self {
        Self { how, plans: Plans::new(), scores: None, begin: None }
    }

    /// Carries out plans by step, and writes as many continuations of every prompt as they say: the continuations of the first
    /// prompt, then those of the second, and so on.
    #[must_use]
    pub fn plans(mut self, plans: &Plans) -> Self {
        self.plans = plans.clone();
        self
    }

    /// Changes the scores of every token before it is chosen, after the checkpoint's own settings. A score of minus infinity
    /// forbids a token.
    #[must_use]
    pub fn scores(
        mut self,
        change: impl FnMut(Upcoming<'_>, &mut [f32]) -> Result<(), SubjectError> + 'a,
    ) -> Self {
        self.scores = Some(Box::new(change));
        self
    }

    /// Writes through a session that somebody else begins, in place of [`Subject::begin`]: a branch of one that has read the prompt
    /// already, or one that weighs several branches against one another. It has a row for each prompt.
    #[must_use]
    pub fn through(
        mut self,
        begin: impl FnOnce(&Inputs, Plan) -> Result<Box<dyn Session + 'a>, SubjectError> + 'a,
    ) -> Self {
        self.begin = Some(Box::new(begin));
        self
    }

    /// Writes an answer for every row and continuation, and gives the traces of those steps that have a plan, by step.
    ///
    /// # Errors
    /// [`SubjectError::Unsupported`] for a model that does not generate; [`SubjectError::Generation`] for settings that cannot be,
    /// or a checkpoint that asks for what is not offered; [`HookError::NotFinite`] for logits that are no numbers; whatever
    /// a plan or the change of scores reports. With a search by beams, continuations and plans that name rows are refused.
    pub fn write<S: Subject + ?Sized>(
        self,
        subject: &S,
        inputs: &Inputs,
    ) -> Result<(Vec<Generated>, BTreeMap<usize, Trace>), SubjectError> {
        let Self { how, plans, scores, begin } = self;
        let cannot = |reason: String| SubjectError::Generation { subject: subject.name().to_owned(), reason };
        inputs.some()?;
        plans.check(None)?;
        draw::check(&how.sampling).map_err(|error| cannot(error.to_string()))?;
        let rules = subject.rules(inputs)?;
        if rules.texts.len() != inputs.rows() {
            let reason = format!("{} texts for {} rows", rules.texts.len(), inputs.rows());
            return Err(SubjectError::Batch { reason });
        }
        let beams = match how.sampling {
            Sampling::Beams(beams) => Some(beams),
            Sampling::Greedy | Sampling::Draw { .. } => None,
        };
        match (beams, &rules.beams) {
            (None, Some(reason)) => return Err(cannot(reason.clone())),
            (Some(_), _) if plans.continuations() > 1 => {
                return Err(cannot("a search by beams has no continuations beside the best".to_owned()));
            }
            (Some(_), _) if plans.names_rows() => {
                let reason = "a plan names rows, which a search by beams reorders from step to step";
                return Err(cannot(reason.to_owned()));
            }
            _ => {}
        }
        let first = plans.at(0);
        let planned = first.is_some();
        let first = first.unwrap_or_default();
        let mut session: Box<dyn Session + '_> = match begin {
            Some(begin) => begin(inputs, first)?,
            None => subject.begin(inputs, first)?,
        };
        if session.rows() != inputs.rows() {
            let reason = format!("a session of {} rows for {} prompts", session.rows(), inputs.rows());
            return Err(SubjectError::Batch { reason });
        }
        let begun = session.begun().filter(|_| planned);
        let traces = begun.map(|trace| (0, trace)).into_iter().collect();
        let mut writing = Writing { how, rules, scores, session, taken: 1, traces };
        let mut rows = match beams {
            Some(beams) => writing.search(&beams, &plans)?,
            None => writing.go_on(&plans, |error| cannot(error.to_string()))?,
        };
        plans.check(Some(writing.taken))?;
        for row in &mut rows {
            row.text = subject.decode(&row.tokens)?;
        }
        Ok((rows, writing.traces))
    }
}

/// An answer on its way.
struct Answer {
    text: Text,
    made: Generated,
    /// The most tokens it may have, if its positions end before.
    room: Option<usize>,
}

impl Answer {
    /// Takes a token that the model gave a probability; says whether another may follow.
    fn take(&mut self, (token, share): (u32, f32), how: &Generation, ends: &[u32]) -> bool {
        self.made.tokens.push(token);
        self.made.probabilities.push(share);
        self.text.ids.push(token);
        self.made.ended = how.stop_at_end && ends.contains(&token);
        let written = self.made.tokens.len();
        self.made.last_position =
            !self.made.ended && written < how.max_new && self.room.is_some_and(|room| written >= room);
        !self.made.ended && !self.made.last_position
    }
}

/// The model's logits of one row, and their softmax.
struct Said {
    scores: Vec<f32>,
    shares: Vec<f32>,
}

impl Said {
    fn share(&self, token: u32) -> Result<f32, HookError> {
        let (index, len) = (token as usize, self.shares.len());
        self.shares.get(index).copied().ok_or(HookError::Objective { what: "token", index, len })
    }
}

impl Writing<'_, '_> {
    /// Answers to every prompt, each as often as the plans say, token by token.
    fn go_on(
        &mut self,
        plans: &Plans,
        cannot: impl Fn(draw::ChoiceError) -> SubjectError,
    ) -> Result<Vec<Generated>, SubjectError> {
        let copies = plans.continuations();
        let prompts: Vec<usize> =
            (0..self.session.rows()).flat_map(|row| std::iter::repeat_n(row, copies)).collect();
        self.session.keep(&prompts)?;
        let room = self.most();
        let texts = prompts.iter().zip(&room).filter_map(|(row, room)| {
            let text = self.rules.texts.get(*row)?.clone();
            Some(Answer { text, made: Generated::default(), room: *room })
        });
        let mut answers: Vec<Answer> = texts.collect();
        let mut living: Vec<usize> = (0..answers.len()).collect();
        for step in 0..self.how.max_new {
            let said = self.said(&living, step)?;
            let (mut next, mut left, mut kept) = (Vec::new(), Vec::new(), Vec::new());
            for (at, (row, mut said)) in living.iter().copied().zip(said).enumerate() {
                let Some(answer) = answers.get_mut(row) else { continue };
                self.changed((row, step), &answer.text, &mut said.scores)?;
                let token = draw::choose(&self.how.sampling, &said.scores, row, step).map_err(&cannot)?;
                let share = said.share(token)?;
                if answer.take((token, share), self.how, &self.rules.ends) {
                    next.push(token);
                    left.push(row);
                    kept.push(at);
                }
            }
            if step + 1 == self.how.max_new || left.is_empty() {
                break;
            }
            self.session.keep(&kept)?;
            let plan = plans.at(step + 1).map(|plan| plan.of_rows(&left, answers.len()));
            self.step(&next, plan)?;
            living = left;
        }
        Ok(answers.into_iter().map(|answer| answer.made).collect())
    }

    /// The most tokens every row may have, where positions end: the last of them takes none.
    fn most(&self) -> Vec<Option<usize>> {
        match self.session.room() {
            Some(room) => room.iter().map(|room| Some(room + 1)).collect(),
            None => vec![None; self.session.rows()],
        }
    }

    /// The next step, which cannot be taken back.
    fn step(&mut self, tokens: &[u32], plan: Option<Plan>) -> Result<(), SubjectError> {
        let planned = plan.is_some();
        self.session.settle();
        let trace = self.session.step(tokens, plan.unwrap_or_default())?;
        if planned {
            self.traces.insert(self.taken, trace);
        }
        self.taken += 1;
        Ok(())
    }

    /// What the model says of the next token of every row of the session; `rows` is what they are called.
    fn said(&self, rows: &[usize], step: usize) -> Result<Vec<Said>, HookError> {
        let logits: Tensor<2> = self.session.logits().clone().rank_of("the logits")?;
        let vocab = logits.dims()[1];
        let shares = AnyTensor::new(softmax(logits.clone(), 1)).to_values()?;
        let scores = AnyTensor::new(logits).to_values()?;
        let said = scores.chunks(vocab).zip(shares.chunks(vocab)).zip(rows);
        said.map(|((scores, shares), row)| {
            finite(scores).map_err(|error| {
                let dims = [row + 1, 1, vocab];
                HookError::not_finite(format!("text.logits of token {step}"), &dims, row * vocab, error)
            })?;
            Ok(Said { scores: scores.to_vec(), shares: shares.to_vec() })
        })
        .collect()
    }

    /// Changes scores as the checkpoint says, and then as the caller does.
    fn changed(
        &mut self,
        (row, step): (usize, usize),
        text: &Text,
        scores: &mut [f32],
    ) -> Result<(), SubjectError> {
        self.rules.apply(text, self.how.max_new, scores);
        let Some(change) = &mut self.scores else { return Ok(()) };
        change(Upcoming { row, step, text: &text.ids }, scores)?;
        match scores.iter().position(|score| score.is_nan()) {
            Some(at) => {
                let what = format!("changed scores of token {step}");
                Err(HookError::NotFinite { what, at: vec![row, at], found: f32::NAN }.into())
            }
            None => Ok(()),
        }
    }
}
