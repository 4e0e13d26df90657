//! Logit lens: what would the model say, at every position, if it stopped at this layer?
//!
//! # Idea
//! With `h_l[n]` the residual stream at position `n` after layer `l`, `N` the last norm and `W_U` the
//! unembedding,
//!
//! ```text
//! p_l[n] = softmax( W_U N( h_l[n] ) )
//! ```
//!
//! read as if no layer followed. At image positions it says which words a patch stands for.
//!
//! # In and out
//! In: a [`Case`] of one row, whose objective names the target token. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `target` | layer, token | probability | of the target token |
//! | `words` | layer, token, rank | | the most likely words |
//! | `probabilities` | layer, token, rank | probability | theirs |
//! | `log probabilities` | layer, token, rank | log probability | the same, where probabilities vanish |
//! | `target log probability` | layer, token | log probability | of the target token |
//! | `target rank` | layer, token | count | how many tokens are more likely than the target |
//! | `entropy` | layer, token | nat | of `p_l[n]` |
//! | `divergence` | layer, token | nat | Kullback-Leibler `D(p_L[n] \|\| p_l[n])`: what `p_l[n]` misses of what the last layer says there |
//!
//! `D(p || q) = sum p (ln p - ln q)` is the divergence of `p` from `q`; the other way round it has other values.
//!
//! The layer axis begins before block 0. At the last layer the lens is the model's own output.
//!
//! # Settings
//! - `top`: 5 words.
//! - `positions`: all; or those of pictures, of words, the last, or some by number.
//! - `rows`: 32 states are unembedded at a time, or fewer, as memory allows.
//!
//! # Cost
//! One forward pass that keeps the stream, and `(layers + 1) x positions` products with the unembedding. Peak
//! memory: the streams at the positions looked at, and `rows x vocabulary` eight times over. Where the streams are more than
//! the memory it may take ([`On::within`](mmlens_core::On::within)), those of some positions are kept at a time, with a pass for each part.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for no words or no rows. Running: [`AnalysisError::Input`] for an
//! objective without a token, a position past the end, no positions, a case of several rows, a subject without
//! blocks; [`AnalysisError::Subject`] for a target outside the vocabulary or a subject without an unembedding;
//! [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - Early layers write in another basis than the unembedding reads; a word there may be an accident of the
//!   basis (Belrose et al. 2023, "Eliciting Latent Predictions from Transformers with the Tuned Lens").
//! - What is readable need not be used, and what is used need not be readable.
//! - At image positions the model was never trained to predict a word; read trends over patches, not single
//!   words (Neo et al. 2025, "Towards Interpreting Visual Information Processing in Vision-Language Models").
//!
//! # Agreement
//! Direct computation in torch 2.15 on `llava-a` at every layer and position: top words and ranks equal;
//! largest difference relative to the largest value 9.4e-7 for log-probabilities, 6.6e-7 for entropy, 7.2e-7
//! for divergence. Identities tested: the last layer is the model's output; entropy between 0 and the logarithm
//! of the vocabulary; divergence zero at the last layer.
//!
//! # Reference
//! nostalgebraist: interpreting GPT: the logit lens. 2020.
//! <https://www.lesswrong.com/posts/AcKRB8wDpdaN6v6ru/interpreting-gpt-the-logit-lens>. On image positions:
//! Neo, Ong, Torr, Geva, Krueger, Barez, ICLR 2025. <https://arxiv.org/abs/2410.07149>.
//!
//! # Example
//! ```no_run
//! use mmlens_core::{Analysis, Case};
//! use mmlens_engine::Positions;
//! use mmlens_model::{LogitLens, logit_lens::Settings};
//! # fn explain(subject: &dyn mmlens_core::Subject, case: &Case) -> Result<(), mmlens_core::AnalysisError> {
//! let lens = LogitLens::new(Settings { positions: Positions::Pictures, ..Settings::default() })?;
//! let finding = lens.run(subject, case)?;
//! println!("{:?}", finding.table("words")?.get_text(&[0, 0, 0]));
//! # Ok(())
//! # }
//! ```

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use mmlens_core::finding::{Axis, Labelled, Role, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Answer, AnyTensor, Ask, Capability, Card, Case, Copies, Cost, HookError, Inputs,
    Leaf, Need, Objective, On, Part, Plan, Point, Site, Subject, SubjectError, TokenMap, Wanted,
};
use mmlens_engine::distribution::{divergence, entropy, largest, log_probabilities, rank};
use mmlens_engine::{Positions, Progress, batches, label, numbers, of_range, one_row, states_at};
use serde::{Deserialize, Serialize};

use crate::check::{at_least_one, input};

/// What this method is.
pub const CARD: Card = Card {
    id: "logit-lens",
    short: "logit-lens",
    name: "Logit lens",
    question: "What would the model say, at every position, if it stopped at this layer?",
    citation: "nostalgebraist: interpreting GPT: the logit lens. 2020. https://www.lesswrong.com/posts/AcKRB8wDpdaN6v6ru/interpreting-gpt-the-logit-lens",
    leaf: Leaf::Layer,
    cost: "1 forward, (layers + 1) x positions unembeddings",
    needs: &[Capability::OwnWords, Capability::Blocks(Part::Text), Capability::Unembedding],
    misleads: &[
        "Early layers write in another basis than the unembedding reads.",
        "What is readable need not be used.",
        "At image positions the model was never trained to predict a word.",
    ],
    first: true,
};

/// What the lens shows.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How many words at every place.
    pub top: usize,
    /// Where it looks.
    pub positions: Positions,
    /// How many states are unembedded at a time.
    pub rows: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { top: 5, positions: Positions::All, rows: 32 }
    }
}

/// The logit lens with checked settings.
#[derive(Debug, Clone)]
pub struct LogitLens {
    settings: Settings,
    top: NonZeroUsize,
    rows: NonZeroUsize,
}

impl Analysis for LogitLens {
    type Input = Case;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        let top = at_least_one(&CARD, "top", settings.top)?;
        let rows = at_least_one(&CARD, "rows", settings.rows)?;
        Ok(Self { settings, top, rows })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        let inputs = on.encode(&case.sample)?;
        let positions = self.settings.positions.chosen(CARD.id, one_row(CARD.id, &inputs)?)?.len();
        let room = self.room(on, &inputs, &streams(on.subject()), positions)?;
        let cost = Cost::rows(case.settling() + positions.div_ceil(room.held.get()));
        Ok(cost.at_once(1, on.row(case, &inputs, &[])?, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let subject = on.subject();
        let (inputs, objective) = on.open(case)?;
        let map = one_row(CARD.id, &inputs)?;
        let target = target(&objective)?;
        let positions = self.settings.positions.chosen(CARD.id, map)?;
        let streams = streams(subject);
        let room = self.room(on, &inputs, &streams, positions.len())?;
        let mut progress = Progress::new(on.watch(), CARD.id, positions.len());
        let mut seen = Seen::new(streams.len(), positions.len());
        for held in batches(positions.len(), room.held) {
            let some = of_range(&positions, held.clone())?;
            let states = states_of(subject, &inputs, &streams, some)?;
            for range in batches(some.len(), room.rows) {
                self.look(subject, &states, &streams, (held.start, range.clone()), target, &mut seen)?;
                progress.advance(range.len())?;
            }
        }
        let tables = seen.tables(subject, map, &positions, streams.len() - 1)?;
        Ok(Answer::new(tables, streams).explaining(&objective))
    }
}

/// How much is held at a time.
struct Room {
    /// Positions whose streams are held.
    held: NonZeroUsize,
    /// Positions that are unembedded.
    rows: NonZeroUsize,
}

impl LogitLens {
    fn room(
        &self,
        on: &On<'_>,
        inputs: &Inputs,
        streams: &[Site],
        positions: usize,
    ) -> Result<Room, AnalysisError> {
        let (subject, memory) = (on.subject(), on.memory().at_most(self.rows));
        let stream = numbers(subject, inputs, streams.get(..1).unwrap_or(&[]))?;
        let width = stream / inputs.positions().max(1);
        let logits = Site::of(Part::Text, Point::Logits);
        let vocabulary = numbers(subject, inputs, &[logits]).unwrap_or(0);
        let floor = Need { bytes: 0, at: logits };
        // What every place says: a reading, its words, and the tables made of them.
        let said = streams.len() * positions * (24 + 16 * self.top.get());
        // Logits of a state on the device and the host, as logarithms in double precision, those of the last layer, and their
        // order.
        let unembedded = |rows: usize| floor.and(8 * rows * vocabulary + 4 * vocabulary + said);
        let pass = subject.need(inputs, &passing(streams, &[], &Kept::default())?, Copies::ONE)?;
        let most = NonZeroUsize::new(positions).unwrap_or(NonZeroUsize::MIN);
        let held = memory.most(CARD.id, 0, most, |count| {
            let (pass, look) = (pass.and(said), unembedded(1));
            let more = if pass.bytes > look.bytes { pass } else { look };
            Ok(more.and(streams.len() * count * width))
        })?;
        let kept = 4 * (streams.len() * held.get() * width) as u64;
        let rows = memory.rows(CARD.id, kept, |rows| Ok(unembedded(rows)))?;
        Ok(Room { held, rows })
    }

    /// What some positions say at every layer: a range of those whose states are held, of which `first` come before.
    fn look(
        &self,
        subject: &dyn Subject,
        states: &BTreeMap<Site, AnyTensor>,
        streams: &[Site],
        (first, range): (usize, Range<usize>),
        target: usize,
        seen: &mut Seen,
    ) -> Result<(), AnalysisError> {
        let first = first + range.start;
        let mut last: Vec<Vec<f64>> = Vec::new();
        // The last layer first: it is what the others are compared with.
        for (layer, site) in streams.iter().enumerate().rev() {
            let own = states.get(site).ok_or(HookError::NotRead(*site))?.rows(range.start, range.len())?;
            let logits = subject.unembed(own).map_err(|e| match e {
                SubjectError::Unsupported { what, .. } => {
                    input(&CARD, "an unembedding", format!("this subject does not offer {what}"))
                }
                other => other.into(),
            })?;
            let vocabulary = logits.dims().last().copied().unwrap_or(0);
            let outside = HookError::Objective { what: "token", index: target, len: vocabulary };
            if target >= vocabulary {
                return Err(outside.into());
            }
            let what = format!("the lens at `{site}`");
            let logs: Vec<Vec<f64>> =
                logits.finite_values(what)?.chunks(vocabulary.max(1)).map(log_probabilities).collect();
            let reference = if last.is_empty() { &logs } else { &last };
            for (i, (logs, reference)) in logs.iter().zip(reference).enumerate() {
                let best = largest(logs, self.top.get()).into_iter().map(|(id, log)| (id as u32, log));
                let (Some(own), Some(rank)) = (logs.get(target), rank(logs, target)) else {
                    return Err(outside.into());
                };
                let reading = Reading {
                    best: best.collect(),
                    target: *own,
                    rank,
                    entropy: entropy(logs),
                    divergence: divergence(reference, logs),
                };
                seen.put(layer, first + i, reading);
            }
            if last.is_empty() {
                last = logs;
            }
        }
        Ok(())
    }
}

/// States by the site where they stood.
type Kept = Arc<Mutex<BTreeMap<Site, AnyTensor>>>;

/// A pass in which the states of some positions are kept, and the others are not.
fn passing(streams: &[Site], positions: &[usize], kept: &Kept) -> Result<Plan, HookError> {
    // The last logit is as little of the output as there is.
    let mut plan = Plan::new().wanting(Wanted::tokens_at(Ask::Last, [0]));
    for &site in streams {
        let (kept, positions) = (kept.clone(), positions.to_vec());
        plan = plan.edit(site, move |x| {
            let states = states_at(&x, &positions)?;
            kept.lock().unwrap_or_else(PoisonError::into_inner).insert(site, states);
            Ok(x)
        })?;
    }
    Ok(plan)
}

/// The states of some positions at some sites, `[positions, d]`: one pass.
fn states_of(
    subject: &dyn Subject,
    inputs: &Inputs,
    streams: &[Site],
    positions: &[usize],
) -> Result<BTreeMap<Site, AnyTensor>, AnalysisError> {
    let kept = Kept::default();
    subject.run(inputs, passing(streams, positions, &kept)?)?;
    let states = std::mem::take(&mut *kept.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(states)
}

/// What one state says.
#[derive(Debug, Clone, Default)]
struct Reading {
    best: Vec<(u32, f64)>,
    target: f64,
    rank: usize,
    entropy: f64,
    divergence: f64,
}

/// What all states say, layer by layer.
struct Seen {
    positions: usize,
    readings: Vec<Reading>,
}

impl Seen {
    fn new(layers: usize, positions: usize) -> Self {
        Self { positions, readings: vec![Reading::default(); layers * positions] }
    }

    fn put(&mut self, layer: usize, place: usize, reading: Reading) {
        if let Some(slot) = self.readings.get_mut(layer * self.positions + place) {
            *slot = reading;
        }
    }

    fn tables(
        &self,
        subject: &dyn Subject,
        map: &TokenMap,
        positions: &[usize],
        blocks: usize,
    ) -> Result<Vec<Labelled>, AnalysisError> {
        let places = vec![label::depth_axis(blocks), label::token_axis_at(map, positions)];
        let ranks = self.readings.iter().map(|r| r.best.len()).max().unwrap_or(0);
        let ranked = [places.clone(), vec![Axis::count(Role::Rank, ranks)]].concat();
        let best = || self.readings.iter().flat_map(|r| &r.best);
        let each = |value: &dyn Fn(&Reading) -> f64| self.readings.iter().map(|r| value(r) as f32).collect();
        Ok(vec![
            Labelled::numbers("target", Unit::Probability, places.clone(), each(&|r| r.target.exp()))?,
            Labelled::texts("words", ranked.clone(), best().map(|(id, _)| subject.token(*id)).collect())?,
            Labelled::numbers(
                "probabilities",
                Unit::Probability,
                ranked.clone(),
                best().map(|(_, log)| log.exp() as f32).collect(),
            )?,
            // The same in another unit, and what is said of whole distributions.
            Labelled::numbers(
                "log probabilities",
                Unit::LogProbability,
                ranked,
                best().map(|(_, log)| *log as f32).collect(),
            )?
            .aside(),
            Labelled::numbers(
                "target log probability",
                Unit::LogProbability,
                places.clone(),
                each(&|r| r.target),
            )?
            .aside(),
            Labelled::numbers("target rank", Unit::Count, places.clone(), each(&|r| r.rank as f64))?.aside(),
            Labelled::numbers("entropy", Unit::Nat, places.clone(), each(&|r| r.entropy))?.aside(),
            Labelled::numbers("divergence", Unit::Nat, places, each(&|r| r.divergence))?.aside(),
        ])
    }
}

/// The stream before block 0 and after every block.
fn streams(subject: &dyn Subject) -> Vec<Site> {
    let after = |site: &Site| site.part() == Part::Text && site.point() == Point::ResidPost;
    let mut streams: Vec<Site> = subject.sites().iter().map(|spec| spec.site).filter(after).collect();
    if !streams.is_empty() {
        streams.insert(0, Site::block(Part::Text, 0, Point::ResidPre));
    }
    streams
}

fn target(objective: &Objective) -> Result<usize, AnalysisError> {
    objective.token().map(|token| token as usize).ok_or_else(|| {
        input(&CARD, "an objective that names a token", format!("this one is the {objective}"))
    })
}
