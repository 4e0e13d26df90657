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
//! | `words` | layer, token, rank | | the most likely words |
//! | `probabilities` | layer, token, rank | probability | theirs |
//! | `log probabilities` | layer, token, rank | log probability | the same, where probabilities vanish |
//! | `target` | layer, token | probability | of the target token |
//! | `target log probability` | layer, token | log probability | of the target token |
//! | `target rank` | layer, token | count | how many tokens are more likely than the target |
//! | `entropy` | layer, token | nat | of `p_l[n]` |
//! | `divergence` | layer, token | nat | Kullback-Leibler `D(p_L[n] || p_l[n])`: what `p_l[n]` misses of what the last layer says there |
//!
//! `D(p || q) = sum p (ln p - ln q)` is the divergence of `p` from `q`; the other way round it has other values.
//!
//! The layer axis begins before block 0. At the last layer the lens is the model's own output.
//!
//! # Settings
//! - `top`: 5 words.
//! - `positions`: all; or those of pictures, of words, the last, or some by number.
//! - `rows`: 32 states are unembedded at a time.
//!
//! # Cost
//! One forward pass that reads the stream, and `(layers + 1) x positions` products with the unembedding. Peak
//! memory: the streams, and two times `rows x vocabulary`.
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

use std::num::NonZeroUsize;

use mmlens_core::finding::{Axis, Finding, Labelled, Role, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Card, Case, HookError, Objective, Part, Plan, Point, Site, Subject,
    SubjectError, TokenMap, Trace, Watch, found, provenance,
};
use mmlens_engine::distribution::{divergence, entropy, largest, log_probabilities, rank};
use mmlens_engine::states_at;
use mmlens_engine::{Positions, Progress, batches, label, of_range};
use serde_json::json;

use crate::check::{at_least_one, chosen, input, named, one_row, own_words};

/// What this method is.
pub const CARD: Card = Card {
    id: "logit-lens",
    name: "Logit lens",
    question: "What would the model say, at every position, if it stopped at this layer?",
    citation: "nostalgebraist: interpreting GPT: the logit lens. 2020. https://www.lesswrong.com/posts/AcKRB8wDpdaN6v6ru/interpreting-gpt-the-logit-lens",
    cost: "1 forward, (layers + 1) x positions unembeddings",
    needs: "the residual stream and an unembedding",
    misleads: &[
        "Early layers write in another basis than the unembedding reads.",
        "What is readable need not be used.",
        "At image positions the model was never trained to predict a word.",
    ],
};

/// What the lens shows.
#[derive(Debug, Clone)]
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
    top: NonZeroUsize,
    positions: Positions,
    rows: NonZeroUsize,
}

impl LogitLens {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`AnalysisError::Setting`] for no words or no rows.
    pub fn new(settings: Settings) -> Result<Self, AnalysisError> {
        let Settings { top, positions, rows } = settings;
        Ok(Self {
            top: at_least_one(&CARD, "top", top)?,
            positions,
            rows: at_least_one(&CARD, "rows", rows)?,
        })
    }
}

impl Analysis for LogitLens {
    type Input = Case;

    fn card(&self) -> &'static Card {
        &CARD
    }

    fn run_watched(
        &self,
        subject: &dyn Subject,
        case: &Case,
        watch: &dyn Watch,
    ) -> Result<Finding, AnalysisError> {
        let (inputs, objective) = case.open(subject)?;
        let map = one_row(&CARD, &inputs)?;
        own_words(&CARD, subject)?;
        let target = target(&objective)?;
        let positions = chosen(&CARD, &self.positions, map)?;
        let streams = streams(subject);
        if streams.is_empty() {
            return Err(input(&CARD, "a language model with blocks", "this subject has none"));
        }
        let mut plan = Plan::new();
        for site in &streams {
            plan = plan.read(*site)?;
        }
        let trace = subject.run(&inputs, plan)?;
        let mut progress = Progress::new(watch, CARD.id, positions.len());
        let mut seen = Seen::new(streams.len(), positions.len());
        for range in batches(positions.len(), self.rows) {
            let some = of_range(&positions, range.clone())?;
            self.look(subject, &trace, &streams, (range.start, some), target, &mut seen)?;
            progress.advance(some.len())?;
        }
        let tables = seen.tables(subject, map, &positions, streams.len() - 1)?;
        let settings = [
            ("top", json!(self.top)),
            ("positions", json!(self.positions.to_string())),
            ("rows", json!(self.rows)),
        ];
        let settings = named(settings);
        found(provenance(subject, &CARD, settings, &streams, Some(&objective)), tables)
    }
}

impl LogitLens {
    /// What some positions say at every layer; `first` is the place of the first of them among all.
    fn look(
        &self,
        subject: &dyn Subject,
        trace: &Trace,
        streams: &[Site],
        (first, positions): (usize, &[usize]),
        target: usize,
        seen: &mut Seen,
    ) -> Result<(), AnalysisError> {
        let mut last: Vec<Vec<f64>> = Vec::new();
        // The last layer first: it is what the others are compared with.
        for (layer, site) in streams.iter().enumerate().rev() {
            let logits = subject.unembed(states_at(trace.get(*site)?, positions)?).map_err(|e| match e {
                SubjectError::Unsupported { .. } => input(&CARD, "an unembedding", "this subject has none"),
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
            Labelled::texts("words", ranked.clone(), best().map(|(id, _)| subject.token(*id)).collect())?,
            Labelled::numbers(
                "probabilities",
                Unit::Probability,
                ranked.clone(),
                best().map(|(_, log)| log.exp() as f32).collect(),
            )?,
            Labelled::numbers(
                "log probabilities",
                Unit::LogProbability,
                ranked,
                best().map(|(_, log)| *log as f32).collect(),
            )?,
            Labelled::numbers("target", Unit::Probability, places.clone(), each(&|r| r.target.exp()))?,
            Labelled::numbers(
                "target log probability",
                Unit::LogProbability,
                places.clone(),
                each(&|r| r.target),
            )?,
            Labelled::numbers("target rank", Unit::Count, places.clone(), each(&|r| r.rank as f64))?,
            Labelled::numbers("entropy", Unit::Nat, places.clone(), each(&|r| r.entropy))?,
            Labelled::numbers("divergence", Unit::Nat, places, each(&|r| r.divergence))?,
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
