//! Answers that are drawn, of a prompt that is read once.

use mmlens_core::{
    AnalysisError, Card, Copies, Cost, Generated, Generation, Generator, HookError, Inputs, On, Plan, Sample,
    Sampling, Seed,
};
use mmlens_engine::Progress;
use serde::{Deserialize, Serialize};

use mmlens_core::check::{at_least_one, at_most, input, setting, within};

/// How answers are drawn.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Draws {
    /// How many.
    pub samples: usize,
    /// What divides the logits.
    pub temperature: f32,
    /// The share of the probability that is drawn from.
    pub top_p: f32,
    /// The most tokens of an answer.
    pub max_new: usize,
    /// Of every draw: answer `i` is drawn by `seed.at(i)`.
    pub seed: Seed,
}

impl Default for Draws {
    fn default() -> Self {
        Self { samples: 10, temperature: 1.0, top_p: 1.0, max_new: 32, seed: Seed(0) }
    }
}

/// More answers cut off than this share are cautioned of.
pub(super) const CUT: f64 = 0.1;

impl Draws {
    pub(super) fn checked(&self, card: &Card) -> Result<(), AnalysisError> {
        at_most(card, "draws.samples", self.samples)?;
        if self.samples < 2 {
            return Err(setting(card, "draws.samples", self.samples, "it must be at least 2"));
        }
        at_least_one(card, "draws.max_new", self.max_new)?;
        within(
            card,
            "draws.temperature",
            self.temperature,
            [f32::MIN_POSITIVE, f32::MAX],
            "it must be above 0",
        )?;
        let share = "it must be above 0 and at most 1";
        within(card, "draws.top_p", self.top_p, [f32::MIN_POSITIVE, 1.0], share)
    }

    fn prompt(card: &Card, on: &On<'_>, sample: &Sample) -> Result<Inputs, AnalysisError> {
        let inputs = on.encode(&Sample { reply: None, ..sample.clone() })?;
        match inputs.rows() {
            1 => Ok(inputs),
            rows => Err(input(card, "a single prompt", format!("there are {rows}"))),
        }
    }

    /// A prompt that is read once, and a step for each token but the first of every answer.
    pub(super) fn cost(
        &self,
        card: &Card,
        on: &On<'_>,
        sample: &Sample,
        greedy: bool,
    ) -> Result<Cost, AnalysisError> {
        let inputs = Self::prompt(card, on, sample)?;
        let need = on.subject().need(&inputs, &Plan::new().to_output(), Copies::ONE)?;
        let answers = self.samples + usize::from(greedy);
        Ok(Cost::rows(1 + answers * (self.max_new - 1)).taking(need.bytes, on.memory().budget()))
    }

    /// The answers; with `greedy` the greedy one is the last.
    pub(super) fn answers(
        &self,
        card: &Card,
        on: &On<'_>,
        sample: &Sample,
        greedy: bool,
    ) -> Result<Vec<Generated>, AnalysisError> {
        let (subject, inputs) = (on.subject(), Self::prompt(card, on, sample)?.last_logits());
        let need = subject.need(&inputs, &Plan::new().to_output(), Copies::ONE)?;
        on.memory().hold(card.id, 0, need)?;
        let stem = subject.begin(&inputs, Plan::new())?;
        let draw = |at: usize| Sampling::Draw {
            temperature: self.temperature,
            top_p: self.top_p,
            seed: self.seed.at(at as u64),
        };
        let mut ways: Vec<Sampling> = (0..self.samples).map(draw).collect();
        ways.extend(greedy.then_some(Sampling::Greedy));
        let mut progress = Progress::new(on.watch(), card.id, ways.len());
        let mut answers = Vec::with_capacity(ways.len());
        for sampling in ways {
            let how = Generation { max_new: self.max_new, sampling, stop_at_end: true };
            let branch = stem.fork();
            let (said, _) = Generator::new(&how).through(move |_, _| Ok(branch)).write(subject, &inputs)?;
            let said = said.into_iter().next().ok_or_else(|| HookError::NoOutput("an answer".to_owned()))?;
            answers.push(said);
            progress.advance(1)?;
        }
        Ok(answers)
    }
}

/// The mean log-probability of the tokens of an answer, as the model itself has them.
pub(super) fn mean_log(answer: &Generated) -> f64 {
    let sum: f64 =
        answer.probabilities.iter().map(|share| f64::from(*share).max(f64::MIN_POSITIVE).ln()).sum(); // no NaN: shares of finite logits
    sum / answer.probabilities.len().max(1) as f64 // no NaN: whole numbers
}

/// Which share of answers was cut off by the most tokens.
pub(super) fn cut(answers: &[Generated]) -> f64 {
    let cut = answers.iter().filter(|answer| !answer.ended && !answer.last_position).count();
    cut as f64 / answers.len().max(1) as f64 // no NaN: whole numbers
}
