//! Token by token: greedy or drawn from a seed, on a key-value cache.

use std::collections::BTreeMap;

use burn::tensor::{Tensor, activation::softmax};
use mmlens_core::{
    AnyTensor, Generation, HookError, Inputs, Output, Plans, Run, Sampling, Subject, SubjectError, Trace,
    among_threads,
};

use crate::ZooError;

/// What decoding needs to know besides the network.
pub(crate) struct Decoding<'a> {
    pub(crate) how: &'a Generation,
    pub(crate) eos: &'a [u32],
    pub(crate) pad: u32,
    pub(crate) pads: &'a [usize],
}

/// One row's continuation.
pub(crate) struct Continuation {
    pub(crate) tokens: Vec<u32>,
    pub(crate) probabilities: Vec<f32>,
    pub(crate) ended: bool,
}

/// Plans under way: what each step is to do, and what the steps so far brought back.
pub(crate) struct Steps<'a> {
    subject: &'a dyn Subject,
    plans: &'a Plans,
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
        Ok(Self { subject, plans, taken: 0, traces: BTreeMap::new() })
    }

    /// The next step: a pass that carries out its plan, and gives logits.
    pub(crate) fn step<E: From<HookError> + Send>(
        &mut self,
        pass: impl FnOnce(&mut Run) -> Result<Option<Tensor<3>>, E> + Send,
    ) -> Result<Tensor<3>, E> {
        let (step, device) = (self.taken, self.subject.device());
        self.taken += 1;
        let ended = || HookError::NoOutput("generation".to_owned());
        let Some(plan) = self.plans.at(step) else {
            return Ok(among_threads(&device, || pass(&mut Run::idle()))?.ok_or_else(ended)?);
        };
        let mut run = Run::start(plan, self.subject.name(), self.subject.sites())?;
        let logits = among_threads(&device, || pass(&mut run))?.ok_or_else(ended)?;
        self.traces.insert(step, run.finish(Output::of_logits(logits.clone()))?);
        Ok(logits)
    }

    /// What the steps brought back; refused if one that was asked for by number never came.
    pub(crate) fn finish(self) -> Result<BTreeMap<usize, Trace>, HookError> {
        self.plans.check(Some(self.taken))?;
        Ok(self.traces)
    }
}

/// Continues every row of a prompt whose last logits, `[batch, 1, vocab]`, are `first`; `go_on` takes one token for
/// each row and gives the next logits.
///
/// A row that has ended is fed padding until all have; what it would say is not kept.
pub(crate) fn generate(
    decoding: &Decoding<'_>,
    first: Tensor<3>,
    mut go_on: impl FnMut(&[Vec<u32>]) -> Result<Tensor<3>, ZooError>,
) -> Result<Vec<Continuation>, ZooError> {
    check(&decoding.how.sampling)?;
    let rows = decoding.pads.len();
    let mut out: Vec<Continuation> = (0..rows)
        .map(|_| Continuation { tokens: Vec::new(), probabilities: Vec::new(), ended: false })
        .collect();
    let mut logits = first;
    for step in 0..decoding.how.max_new {
        let vocab = logits.dims()[2];
        let probabilities = AnyTensor::new(softmax(logits.clone(), 2)).to_values()?;
        let values = AnyTensor::new(logits).to_values()?;
        let mut next = Vec::with_capacity(rows);
        for (row, (state, (scores, shares))) in
            out.iter_mut().zip(values.chunks(vocab).zip(probabilities.chunks(vocab))).enumerate()
        {
            if state.ended {
                next.push(vec![decoding.pad]);
                continue;
            }
            let token = choose(&decoding.how.sampling, scores, row, step);
            state.probabilities.push(shares.get(token as usize).copied().unwrap_or(0.0));
            state.tokens.push(token);
            state.ended = decoding.how.stop_at_end && decoding.eos.contains(&token);
            next.push(vec![token]);
        }
        if out.iter().all(|row| row.ended) || step + 1 == decoding.how.max_new {
            break;
        }
        logits = go_on(&next)?;
    }
    Ok(out)
}

fn check(sampling: &Sampling) -> Result<(), ZooError> {
    let Sampling::Draw { temperature, top_p, .. } = sampling else { return Ok(()) };
    let bad = |field: &str, found: f32, expected: &str| {
        Err(ZooError::Value {
            field: field.to_owned(),
            found: found.to_string(),
            expected: expected.to_owned(),
        })
    };
    if !(temperature.is_finite() && *temperature > 0.0) {
        return bad("temperature", *temperature, "a number above 0 (use greedy decoding for 0)");
    }
    if !(*top_p > 0.0 && *top_p <= 1.0) {
        return bad("top_p", *top_p, "a share above 0 and at most 1");
    }
    Ok(())
}

/// The next token. Ties go to the lowest id; the draw of row `r` at step `s` depends on the seed, `r` and `s` alone.
fn choose(sampling: &Sampling, scores: &[f32], row: usize, step: usize) -> u32 {
    let top = || {
        scores
            .iter()
            .enumerate()
            .fold((0, f32::NEG_INFINITY), |best, (i, s)| if *s > best.1 { (i, *s) } else { best })
    };
    let Sampling::Draw { temperature, top_p, seed } = sampling else { return top().0 as u32 };
    let highest = top().1;
    let mut shares: Vec<(usize, f64)> =
        scores.iter().map(|s| f64::from((s - highest) / temperature).exp()).enumerate().collect();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let total: f64 = shares.iter().map(|(_, s)| s).sum();
    let (mut kept, mut sum) = (0, 0.0);
    for (_, share) in &shares {
        kept += 1;
        sum += share;
        if sum >= f64::from(*top_p) * total {
            break;
        }
    }
    let mut left = f64::from(seed.at(row as u64).at(step as u64).unit()) * sum;
    for (token, share) in shares.iter().take(kept) {
        left -= share;
        if left < 0.0 {
            return *token as u32;
        }
    }
    shares.get(kept.saturating_sub(1)).map_or(0, |(token, _)| *token as u32)
}
