//! Tuned lens: what would the model say, at every position, if it stopped at this layer, in the basis of the last?
//!
//! # Idea
//! The logit lens reads an early state `h_l[n]` as if it stood behind the last block, though it is written in another basis. Here an affine map
//! for each depth is learned that translates it, so that what is read out comes as near as it can to what the last layer says:
//!
//! ```text
//! q_l[n]  = softmax( U( h_l[n] + A_l h_l[n] + b_l ) )            U: what lies behind the last block, norm and unembedding
//! loss_l  = mean over positions n of  D( p_L[n] || q_l[n] ),     D(p || q) = sum p (ln p - ln q)
//! ```
//!
//! `A` and `b` begin at zero, where it is the logit lens. What is learned adds nothing that a state does not hold: it shows from when on the answer could be
//! read, not what the model reads.
//!
//! # In and out
//! To learn: a data set of cases of one row, which pass through the model as they are needed. Out, the finding about the fit:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `divergence` | layer, concept | nat | mean over all positions held out of `D(p_L \|\| q_l)`: of the `logit lens`, of the `tuned lens`, and of a `constant`, the mean of what the last layer said of the positions learned from |
//! | `loss by step` | step, layer | nat | `loss_l` over the positions of each step, before it |
//! | `positions` | concept | count | `learned from`: of the cases passed, each once; `seen`: as often as they were; `held out` |
//!
//! The layers are before block 0 and behind every block but the last. What was learned is a [`Lens`], a method of single cases. Its tables are those of the
//! [logit lens](super::logit_lens), and beside them `divergence of the logit lens` (layer, token, nat): what the same states say without translators.
//!
//! # Settings
//! - `part`: that of the answer, as of the logit lens: the text of a language model, the tower of a classifier.
//! - `positions`: all; or those of pictures, of words, the last, or some by number. Of a tower: all, those of pictures, or some by number.
//! - `bias_only`: false. With it only `b` is learned, as many numbers as a state has.
//! - `steps`: 250, as published; `batch`: 8 cases for each, all their positions. Published are 2^18 tokens for each step: take more where there is time.
//! - `rate`: 1, as published, times `1 - momentum`, falling linearly to zero over the steps; `momentum`: 0.9, Nesterov's; `weight_decay`: 1e-3,
//!   added to the gradient; `clip`: 1, the norm that the gradient of all translators together is cut to before that, or `null`. All as published.
//! - `held_out`: 0.2 of the groups of cases, by the seed ([`Subset::split`]).
//! - `rows`: 32 states are read out at a time, or fewer, as memory allows.
//!
//! Cases come in an order that the seed draws, anew each time that all have come: in round `r` sorted by `seed.at(2^32).at(r).at(case)`. With a file to keep what it has, the search writes it every ten
//! steps and goes on from there, to the same bits.
//!
//! # Cost
//! `1 + steps x batch` passes, and one for each case held out; for each position and depth an unembedding forward and backward (held out: two forward).
//! Memory beside a pass: translators, momentum and gradients, `12 layers d (d + 1)` bytes. A file of what was learned has 8 bytes for each number, and at most
//! 4 GiB: of a state of 4096 numbers 31 layers, or all with `bias_only`.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for no steps, cases or rows, a rate, momentum, decay, norm or share that cannot be. Learning:
//! [`AnalysisError::Input`] for a subject without gradients, a part that says no distribution of its states (CLIP), cases of several rows, fewer than
//! two groups, a kept file of another fit; [`AnalysisError::Memory`]; [`AnalysisError::Subject`]; [`AnalysisError::Cancelled`]. Of a lens: [`AnalysisError::Input`] for a
//! part of another depth or width, and whatever the logit lens reports.
//!
//! # When it misleads
//! - It says what could be said from here by an affine map, and not what the model does with it: later layers need not read it so (Belrose et al. 2023,
//!   section 4, test that by interventions).
//! - On other inputs than it was tuned on a translator may invent an answer; the constant shows how much of it is just how often words come.
//! - Few positions and a wide state let it memorise: read the divergence held out, and its caution.
//! - At image positions the last layer itself says little that was trained; a lens near it is near that.
//!
//! What misled us: `docs/layer.md`.
//!
//! # Agreement
//! torch on `llava-a` (RMS norm) and `gpt2-a` (words alone, layer norm): autograd through transformers' own norm and head, `torch.optim.SGD`, the same cases in the same order; largest differences in
//! `oracles/fixtures/methods/why.json`. Identities tested: without a step it is the logit lens to the last bit; where the read-out is linear the loss is convex, and the
//! search comes to the minimum that L-BFGS finds; cut off and gone on from a file it gives the same bits.
//!
//! # Reference
//! Belrose, Furman, Smith, Halawi, Ostrovsky, McKinney, Biderman, Steinhardt: Eliciting Latent Predictions from Transformers with the Tuned Lens. 2023.
//! <https://arxiv.org/abs/2303.08112>. The residual form, the clipping and the schedule are those of the authors' program, not of the paper, where `A` stands for
//! what is `I + A` here. Held out cases, the constant and positions of pictures are ours.
//!
//! # Example
//! ```
//! use mmlens_core::{Analysis, Case, Fit, On, Sample, Seed, from_fn};
//! use mmlens_model::{TunedLens, tuned_lens::Settings};
//! # let toy = mmlens_testkit::Toy::curved(1);
//! let data = from_fn("words", 12, |i| Ok(Case::new(Sample::text("abcdefg".repeat(2)[i % 7..].to_owned()))));
//! let fit = TunedLens::new(Settings { steps: 4, ..Settings::default() })?;
//! let learned = fit.learn(&On::new(&toy), &data, Seed(1))?;
//! println!("{:?}", learned.finding.table("divergence")?.as_numbers());
//! let finding = learned.fitted.run(&toy, &Case::new(Sample::text("abc")))?;
//! println!("{:?}", finding.table("words")?.get_text(&[0, 0, 0]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod lens;
mod training;
mod translators;

use std::path::Path;
use std::sync::Arc;

use mmlens_core::finding::{Axis, Caution, CautionKind, Labelled, Provenance, Role, Unit};
use mmlens_core::{
    AnalysisError, AnyTensor, Capability, Card, Cases, Ended, Fit, Leaf, ManyCases, On, Outcome, Part, Point,
    Seed, Site, Source, Subject, Subset, Watch, fields, found, kind, step,
};
use mmlens_engine::Positions;
use mmlens_engine::distribution::{divergence, log_probabilities};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::logit_lens::read;
use crate::check::{PARTS, above_zero, at_least_one, input, not_below_zero, setting, share};
use training::Search;

pub use lens::{Learned, Lens};
pub use translators::Translators;

/// What this method is.
pub const CARD: Card = Card {
    id: "tuned-lens",
    short: "tuned",
    name: "Tuned lens",
    question: "What would the model say, at every position, if it stopped at this layer, in the basis of the last?",
    citation: "Belrose et al.: Eliciting Latent Predictions from Transformers with the Tuned Lens. 2023. https://arxiv.org/abs/2303.08112",
    leaf: Leaf::Layer,
    cost: "steps x cases of a step forward, layers x positions unembeddings with gradients; of a fitted lens 1 forward, twice the unembeddings of the logit lens",
    needs: &[Capability::AnyDistribution, Capability::OwnWords],
    misleads: &[
        "What can be translated is not what later layers read.",
        "On other inputs than it was tuned on it may invent an answer.",
        "At image positions the last layer itself was never trained to say a word.",
    ],
    first: false,
};

/// How a lens is tuned.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Whose stream is read; `None` for the part that the answer is given by.
    pub part: Option<Part>,
    /// At which positions.
    pub positions: Positions,
    /// Whether only a vector is learned for each depth.
    pub bias_only: bool,
    /// How many steps are taken.
    pub steps: usize,
    /// How many cases share one.
    pub batch: usize,
    /// The rate at the beginning, in units of `1 - momentum`.
    pub rate: f32,
    /// Nesterov's momentum.
    pub momentum: f32,
    /// What translators shrink by.
    pub weight_decay: f32,
    /// The largest norm of the gradient; `None` for any.
    pub clip: Option<f32>,
    /// The share of the groups that is held out.
    pub held_out: f64,
    /// How many states are read out at a time.
    pub rows: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            part: None,
            positions: Positions::All,
            bias_only: false,
            steps: 250,
            batch: 8,
            rate: 1.0,
            momentum: 0.9,
            weight_decay: 1e-3,
            clip: Some(1.0),
            held_out: 0.2,
            rows: 32,
        }
    }
}

impl Settings {
    /// Whether matrices are learned too.
    fn weights(&self) -> bool {
        !self.bias_only
    }

    /// The rate of a step, when so many were taken.
    fn rate_at(&self, taken: usize) -> f64 {
        let left = self.steps.saturating_sub(taken) as f64 / self.steps.max(1) as f64;
        f64::from(self.rate) * (1.0 - f64::from(self.momentum)) * left
    }
}

/// What tunes a lens, with checked settings.
#[derive(Debug, Clone)]
pub struct TunedLens {
    settings: Settings,
}

/// A data set, and the model whose lens is tuned on it.
#[derive(Clone)]
pub struct Taught {
    /// The model.
    pub subject: Arc<dyn Subject>,
    /// The cases.
    pub data: ManyCases,
}

impl Fit for TunedLens {
    type From = Taught;
    type Settings = Settings;
    type Fitted = Lens;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        for (name, count) in [("steps", settings.steps), ("batch", settings.batch), ("rows", settings.rows)] {
            at_least_one(&CARD, name, count)?;
        }
        for (name, value) in [("rate", Some(settings.rate)), ("clip", settings.clip)] {
            value.map_or(Ok(()), |value| above_zero(&CARD, name, value))?;
        }
        if !(0.0..1.0).contains(&settings.momentum) {
            return Err(setting(&CARD, "momentum", settings.momentum, "it must be at least 0 and below 1"));
        }
        not_below_zero(&CARD, "weight_decay", settings.weight_decay)?;
        share(&CARD, "held_out", settings.held_out)?;
        Ok(Self { settings })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn fit(&self, from: &Taught, seed: Seed, watch: &dyn Watch) -> Result<Outcome<Lens>, AnalysisError> {
        self.tuned(&On::new(&from.subject).watched(watch), from.data.data(), seed, None)
    }

    fn learn_from(
        &self,
        from: &Source<'_>,
        seed: Seed,
        keep: Option<&Path>,
    ) -> Result<Outcome<Lens>, AnalysisError> {
        let (on, data) = from.cases(CARD.id)?;
        self.tuned(on, data, seed, keep)
    }
}

impl TunedLens {
    /// Tunes a lens on cases that pass through the model as they are needed; with a file it keeps there what it has, and goes on from it.
    fn tuned(
        &self,
        on: &On<'_>,
        data: &dyn Cases,
        seed: Seed,
        keep: Option<&Path>,
    ) -> Result<Outcome<Lens>, AnalysisError> {
        let subject = on.subject();
        CARD.allows(subject)?;
        Capability::Gradients.check(&CARD, subject)?;
        let part = self.part(subject);
        let space = lens::distribution(&CARD, on, part)?;
        let (kept, out) = Subset::split(data, self.settings.held_out, seed)?;
        let made = self.made(on, data, (part, seed))?;
        let mut search = Search::new(on, &self.settings, (part, space), &kept.case(0)?)?;
        let about = json!({ "settings": made.settings, "weights": made.weights_hash, "alterations": made.alterations, "seed": seed });
        if let Some(path) = keep {
            search.resume(path, &about)?;
        }
        search.run(&kept, seed, (keep, &about))?;
        let translators = search.translators();
        let of_out = HeldOut::of(&search, (on, part), &translators, &out)?;
        step(on.watch(), CARD.id, self.settings.steps + 1, self.settings.steps + 1)?;
        let (mut tables, cautions) = tables((subject, part), &search, &of_out)?;
        tables.extend(Caution::tables(&cautions)?);
        let ended = Ended::Stopped { steps: search.seen.steps, gradient: search.seen.gradient };
        let learned = Learned {
            part,
            positions: self.settings.positions.clone(),
            rows: self.settings.rows,
            weights: subject.weights_hash(),
            ..Learned::default()
        };
        let finding = found(made.with_setting("ended", json!(ended)), tables)?;
        Ok(Outcome { fitted: Lens::with(learned, translators)?, ended, finding })
    }

    /// The part that the answer is given by.
    fn part(&self, subject: &dyn Subject) -> Part {
        let says = |part: &Part| Capability::Distribution(*part).lacking(subject).is_none();
        let first = PARTS.into_iter().find(says);
        self.settings.part.or(first).unwrap_or(Part::Text)
    }

    fn made(
        &self,
        on: &On<'_>,
        data: &dyn Cases,
        (part, seed): (Part, Seed),
    ) -> Result<Provenance, AnalysisError> {
        let settings = Settings { part: Some(part), ..self.settings.clone() };
        let subject = on.subject();
        let known = json!({ "name": data.name(), "cases": data.len(), "sha256": data.hash()? });
        let made = Provenance {
            weights_hash: subject.weights_hash(),
            alterations: subject.alterations().to_vec(),
            settings: fields(CARD.id, &settings)?,
            sites: sites(subject, part).iter().map(ToString::to_string).collect(),
            seed: Some(seed.value()),
            dtype: subject.dtype(),
            device: subject.device(),
            kernels: subject.kernels(),
            memory: Some(on.memory().budget()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Provenance::new(CARD.id, subject.name())
        };
        Ok(made.with_setting("data", known))
    }
}

/// The depths that are translated.
fn sites(subject: &dyn Subject, part: Part) -> Vec<Site> {
    let behind = (0..kind::blocks(subject, part).saturating_sub(1))
        .map(|block| Site::block(part, block, Point::ResidPost));
    std::iter::once(Site::block(part, 0, Point::ResidPre)).chain(behind).collect()
}

/// What the lenses miss of what the last layer says at positions that nothing was learned from, summed over them, depth by depth.
#[derive(Default)]
struct HeldOut {
    positions: usize,
    /// Of the logit lens, of the tuned lens.
    lenses: Vec<[f64; 2]>,
    constant: f64,
}

impl HeldOut {
    fn of(
        search: &Search<'_>,
        (on, part): (&On<'_>, Part),
        translators: &Translators,
        out: &Subset<'_>,
    ) -> Result<Self, AnalysisError> {
        let sites = sites(on.subject(), part);
        let constant = search.constant()?;
        let mut all = Self { lenses: vec![[0.0; 2]; sites.len()], ..Self::default() };
        let rows_of = |x: AnyTensor, what: &str| -> Result<Vec<Vec<f32>>, AnalysisError> {
            let wide = x.dims().last().copied().unwrap_or(1).max(1);
            Ok(x.finite_values(what)?.chunks(wide).map(<[f32]>::to_vec).collect())
        };
        for index in 0..out.len() {
            let (lenses, missed) = (&mut all.lenses, &mut all.constant);
            let count = search.each(&out.case(index)?, |states, (target, _), depth| {
                let last: Vec<Vec<f64>> = rows_of(target.clone().into(), "the last layer")?
                    .iter()
                    .map(|row| row.iter().map(|log| f64::from(*log)).collect())
                    .collect();
                let Some(site) = sites.get(depth).copied() else { return Ok(()) };
                let states = AnyTensor::new(states);
                let both = [states.clone(), translators.translated(site, states)?];
                for (which, states) in both.into_iter().enumerate() {
                    let logits = rows_of(read(&CARD, on.subject(), part, states)?, "the lens")?;
                    let own =
                        last.iter().zip(&logits).map(|(last, own)| divergence(last, &log_probabilities(own)));
                    if let Some(slot) = lenses.get_mut(depth).and_then(|own| own.get_mut(which)) {
                        *slot += own.sum::<f64>();
                    }
                }
                if depth == 0 {
                    *missed += last.iter().map(|last| divergence(last, &constant)).sum::<f64>();
                }
                Ok(())
            })?;
            all.positions += count;
        }
        if all.positions == 0 {
            return Err(input(&CARD, "positions that are held out", "there are none"));
        }
        Ok(all)
    }
}

fn tables(
    (subject, part): (&dyn Subject, Part),
    search: &Search<'_>,
    out: &HeldOut,
) -> Result<(Vec<Labelled>, Vec<Caution>), AnalysisError> {
    let blocks = kind::blocks(subject, part);
    let behind = (0..blocks.saturating_sub(1)).map(|block| format!("after block {block}"));
    let layers = Axis::names(Role::Layer, std::iter::once("before block 0".to_owned()).chain(behind));
    let n = out.positions as f64;
    let means = out.lenses.iter().flat_map(|[logit, tuned]| [logit / n, tuned / n, out.constant / n]);
    let means: Vec<f32> = means.map(|mean| mean as f32).collect();
    let kinds = Axis::names(Role::Concept, ["logit lens", "tuned lens", "constant"]);
    let seen = &search.seen;
    let losses: Vec<f32> = seen.losses.iter().flatten().map(|loss| *loss as f32).collect();
    let by_step = vec![Axis::count(Role::Step, seen.losses.len()), layers.clone()];
    let counts = [("learned from", seen.different), ("seen", seen.positions), ("held out", out.positions)];
    let counted = Axis::names(Role::Concept, counts.map(|(name, _)| name));
    let tables = vec![
        Labelled::numbers("divergence", Unit::Nat, vec![layers, kinds], means)?,
        Labelled::numbers("loss by step", Unit::Nat, by_step, losses)?.aside(),
        Labelled::numbers("positions", Unit::Count, vec![counted], counts.map(|(_, n)| n as f32).to_vec())?
            .aside(),
    ];
    let width = search.translators().width();
    let few = (seen.different < width).then(|| {
        let text = format!(
            "{} positions were learned from, and a state has {width} numbers: what is learned of them need not hold of others",
            seen.different
        );
        Caution::new(CautionKind::FewRows, seen.different as f32, text)
    });
    let worse = out.lenses.iter().filter(|[logit, tuned]| tuned > logit).count();
    let worse = (worse > 0).then(|| {
        let text = format!(
            "at {worse} of {blocks} layers the tuned lens misses more of what the last one says than the logit lens, of cases held out"
        );
        Caution::new(CautionKind::Reversed, worse as f32, text)
    });
    Ok((tables, few.into_iter().chain(worse).collect()))
}
