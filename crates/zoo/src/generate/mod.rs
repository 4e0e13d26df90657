//! Token by token: greedy or drawn from a seed, on a key-value cache, by the rules of the checkpoint.

mod draw;
mod rules;

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{Tensor, activation::softmax};
use mmlens_core::finding::finite;
use mmlens_core::{
    AnyTensor, Generated, Generation, HookError, Inputs, Output, Plans, Run, Subject, SubjectError, Trace,
    among_threads,
};

use crate::ZooError;
use crate::checkpoint::GenerationConfig;
use draw::{check, choose};
pub(crate) use rules::Text;
use rules::{Lengths, Rules};

/// What decoding needs to know besides the network.
pub(crate) struct Decoding<'a> {
    pub(crate) how: &'a Generation,
    /// What the checkpoint says, and the folder it says it in.
    pub(crate) config: &'a GenerationConfig,
    pub(crate) folder: &'a Path,
    pub(crate) vocab: usize,
    /// What rows that have ended are fed.
    pub(crate) pad: u32,
    /// Positions there are, where they were learned.
    pub(crate) positions: Option<usize>,
}

/// Plans under way: what each step is to do, and what the steps so far brought back.
pub(crate) struct Steps<'a> {
    subject: &'a dyn Subject,
    plans: &'a Plans,
    /// What the first step is over.
    prompt: Option<Inputs>,
    taken: usize,
    traces: BTreeMap<usize, Trace>,
}

impl<'a> Steps<'a> {
    /// Plans that generation can carry out, for inputs that belong together.
    pub(crate) fn new(
        subject: &'a dyn Subject,
        plans: &'a Plans,
        inputs: &Inputs,
    ) -> Result<Self, SubjectError> {
        inputs.check()?;
        plans.check(None)?;
        let first = plans.at(0).unwrap_or_default();
        subject.fits(inputs, &Run::start(first, subject.name(), subject.sites())?)?;
        let prompt = plans.at(0).is_some().then(|| inputs.clone());
        Ok(Self { subject, plans, prompt, taken: 0, traces: BTreeMap::new() })
    }

    /// The next step: a pass that carries out its plan, and gives logits.
    pub(crate) fn step<E: From<HookError> + From<SubjectError> + Send>(
        &mut self,
        pass: impl FnOnce(&mut Run) -> Result<Option<Tensor<3>>, E> + Send,
    ) -> Result<Tensor<3>, E> {
        let (step, device) = (self.taken, self.subject.device());
        self.taken += 1;
        let ended = || HookError::NoOutput("generation".to_owned());
        let Some(plan) = self.plans.at(step) else {
            let (subject, mut idle) = (self.subject, Run::idle());
            return Ok(among_threads(&device, || idle.guarded(subject, pass))?.ok_or_else(ended)?);
        };
        let (subject, mut logits) = (self.subject, None);
        let mut run = Run::start(plan, subject.name(), subject.sites())?;
        if let Some(prompt) = self.prompt.take().filter(|_| step == 0) {
            run = run.over(&prompt);
        }
        let pass = |run: &mut Run| {
            let found = pass(run)?.ok_or_else(ended)?;
            logits = Some(found.clone());
            Ok::<_, E>(Output::of_logits(found))
        };
        let trace = among_threads(&device, || run.carry_out(subject, pass))?;
        self.traces.insert(step, trace);
        Ok(logits.ok_or_else(ended)?)
    }

    /// What the steps brought back; refused if one that was asked for by number never came.
    pub(crate) fn finish(self) -> Result<BTreeMap<usize, Trace>, HookError> {
        self.plans.check(Some(self.taken))?;
        Ok(self.traces)
    }
}

/// Each row of logits, `[batch, 1, vocab]`, so many times over, one after the other.
pub(crate) fn forked(logits: Tensor<3>, copies: usize) -> Tensor<3> {
    let [rows, asked, vocab] = logits.dims();
    logits.unsqueeze_dim::<4>(1).expand([rows, copies, asked, vocab]).reshape([rows * copies, asked, vocab])
}

/// Texts that are continued, one for each row.
pub(crate) struct Continued<'a> {
    decoding: Decoding<'a>,
    rules: Rules,
    texts: Vec<Text>,
    rows: Vec<Generated>,
    /// The most tokens a row may have, if its positions end before.
    room: Vec<Option<usize>>,
}

impl<'a> Continued<'a> {
    /// Texts to be continued, all of one length, `copies` times each.
    ///
    /// # Errors
    /// [`SubjectError::Generation`] for settings that cannot be or are not supported.
    pub(crate) fn new(
        subject: &dyn Subject,
        decoding: Decoding<'a>,
        prompts: Vec<Text>,
        copies: usize,
    ) -> Result<Self, SubjectError> {
        let cannot = |error: ZooError| SubjectError::Generation {
            subject: subject.name().to_owned(),
            reason: error.to_string(),
        };
        check(&decoding.how.sampling).map_err(cannot)?;
        let prompt = prompts.first().map_or(0, |text| text.ids.len());
        let lengths = Lengths { prompt, longest: prompt.saturating_add(decoding.how.max_new) };
        let rules = Rules::read(decoding.config, decoding.folder, decoding.vocab, lengths).map_err(cannot)?;
        let texts: Vec<Text> =
            prompts.into_iter().flat_map(|text| std::iter::repeat_n(text, copies)).collect();
        // The last token of an answer takes no position.
        let room = |text: &Text| decoding.positions.map(|all| (all + 1).saturating_sub(prompt - text.pad));
        let (room, rows) = (texts.iter().map(room).collect(), vec![Generated::default(); texts.len()]);
        Ok(Self { decoding, rules, texts, rows, room })
    }

    /// Continues every text, whose last logits, `[batch, 1, vocab]`, are `first`; `go_on` takes one token for each row, and
    /// the positions of padding it begins with, and gives the next logits.
    ///
    /// A row that has ended is fed padding until all have; what it would say is not kept.
    ///
    /// # Errors
    /// Whatever `go_on` reports; logits that are no numbers ([`HookError::NotFinite`]); scores of which none can be drawn.
    pub(crate) fn write(
        mut self,
        first: Tensor<3>,
        mut go_on: impl FnMut(&[Vec<u32>], &[usize]) -> Result<Tensor<3>, ZooError>,
    ) -> Result<Vec<Generated>, ZooError> {
        let most = self.decoding.how.max_new;
        let mut pads: Vec<usize> = self.texts.iter().map(|text| text.pad).collect();
        let mut logits = first;
        for step in 0..most {
            let next = self.choose(logits, step)?;
            if step + 1 == most || (0..self.rows.len()).all(|row| self.over(row)) {
                break;
            }
            for (row, pad) in pads.iter_mut().enumerate() {
                // Past its end a row takes no further positions, of which there may be none.
                *pad += usize::from(self.over(row) && self.room[row].is_some());
            }
            logits = go_on(&next, &pads)?;
        }
        Ok(self.rows)
    }

    fn over(&self, row: usize) -> bool {
        self.rows[row].ended || self.rows[row].last_position
    }

    /// The next token of each row that goes on; padding for the others.
    fn choose(&mut self, logits: Tensor<3>, step: usize) -> Result<Vec<Vec<u32>>, ZooError> {
        let Decoding { how, config, pad, .. } = &self.decoding;
        let vocab = logits.dims()[2];
        let probabilities = AnyTensor::new(softmax(logits.clone(), 2)).to_values()?;
        let dims = logits.dims();
        let mut values = AnyTensor::new(logits).to_values()?;
        let mut next = Vec::with_capacity(self.rows.len());
        let given = values.chunks_mut(vocab).zip(probabilities.chunks(vocab));
        for (row, (state, (scores, shares))) in self.rows.iter_mut().zip(given).enumerate() {
            if state.ended || state.last_position {
                next.push(vec![*pad]);
                continue;
            }
            let wrong = |error| {
                HookError::not_finite(format!("text.logits of token {step}"), &dims, row * vocab, error)
            };
            finite(scores).map_err(wrong)?;
            if !self.rules.is_empty() {
                self.rules.apply(&self.texts[row], scores);
            }
            let token = choose(&how.sampling, scores, row, step)?;
            let share = shares.get(token as usize).ok_or(ZooError::Token { id: token, vocab })?;
            state.probabilities.push(*share);
            state.tokens.push(token);
            self.texts[row].ids.push(token);
            state.ended = how.stop_at_end && config.eos.contains(&token);
            let written = state.tokens.len();
            state.last_position =
                !state.ended && written < how.max_new && self.room[row].is_some_and(|room| written >= room);
            next.push(vec![token]);
        }
        Ok(next)
    }
}
