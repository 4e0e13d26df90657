//! Kernel SHAP: what is each part of the picture and each word worth to this answer, and how much of it does each modality carry?
//!
//! # Idea
//! The parts of a sample are players of a game. A coalition `S` of them scores `v(S)`: the objective of a pass in which every other part is
//! absent. The share of part `i` of `n` is the mean, over all orders in which parts may come, of what it adds to those before it:
//!
//! ```text
//! phi_i = sum over S without i of |S|! (n - |S| - 1)! / n! (v(S + i) - v(S)),      sum of phi_i = v(all) - v(none)
//! ```
//!
//! Pictures and words are players of one game, so that what both do together is split between them. By modality `M` the part of
//! `sum of |phi_i|` that lies in `M` is reported (MM-SHAP).
//!
//! # In and out
//! In: a [`Case`] of one row. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `picture` | row, column; patch | objective | the share of every part of the picture, on the original |
//! | `tokens` | token | objective | the share of every word or token |
//! | `by modality` | concept | ratio | of all shares' magnitudes that of `picture` and of `words`; zero where no share is |
//! | `objective` | | objective | `v(all)` |
//! | `objective of nothing` | | objective | `v(none)` |
//! | `efficiency gap` | | objective | the sum of all shares less `v(all) - v(none)`: rounding |
//! | `picture error`, `tokens error` | as the shares | objective | standard errors from the coalitions drawn; zero where all were taken |
//!
//! Several pictures have tables of their own, `picture/0`, `picture/1`, as in [`occlusion`](super::occlusion); `by modality` is there if
//! the sample has parts of both kinds.
//!
//! # Settings
//! - `picture`: how pictures are cut, by default [`Cover::Grid`] of 4 x 4 cells; [`Cover::Patches`], [`Cover::Slic`], [`Cover::Whole`].
//!   Windows that overlap are no players. `None` leaves pictures as they are.
//! - `pixels`: what stands in the place of absent pixels, by default the picture's own mean colour, as in occlusion.
//! - `words`: what stands in the place of absent words, by default zero at `text.blocks.0.resid_pre`; `None` leaves words as they are.
//! - `each`: [`Each::Word`] (default: fewer players, and what a reader takes for one), [`Each::Token`], [`Each::All`].
//! - `among`: which positions are words, by default the question: markers of a template carry the format, not the evidence. The last position of
//!   the prompt is no part of it, nor are tokens of spaces alone where words are players: they stay in every coalition.
//! - `samples`: 512 coalitions beside all and none, some for each of the 16 cells and a few words. Where there are no more than
//!   that, all are taken and shares are exact.
//! - `seed`: of the draws, 0.
//! - `rows`: 16 coalitions share a pass.
//!
//! # Cost
//! `min(2^n, samples + 2)` forward passes, and two more; coalitions that lack words alone do not run the tower. No gradients. Peak memory
//! grows with `rows`; the numbers do not depend on it beyond rounding. Least squares takes `samples n^2` operations on the host.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for nothing that can be absent, a grid of nothing, windows, no rows. Running: as occlusion, and
//! [`AnalysisError::Setting`] for too few samples to tell the parts apart.
//!
//! # When it misleads
//! - A coalition is a picture with holes and a sentence with gaps, which the model has never seen (Sundararajan, Najmi 2020, "The Many
//!   Shapley Values for Model Explanation"); what stands there instead decides the shares.
//! - Shares of parts that only count together, or stand for each other, are split evenly: a small share is no proof that a part is not used
//!   (Kumar et al. 2020, "Problems with Shapley-value-based explanations as feature importance measures").
//! - `by modality` depends on how finely each is cut: magnitudes of many small parts that cancel add up. Compare models and samples under
//!   the same settings alone (Parcalabescu, Frank 2023).
//! - With few samples the errors are large; look at `picture error` before a ranking.
//!
//! # Agreement
//! `shap` 0.51's `ExactExplainer`, and a mean over all orders in torch, on `llava-a`, of four cells and three words: largest difference
//! relative to the largest share 4.5e-6. Identities tested: enumerated or drawn, shares add up to what all parts change; a part that
//! changes nothing has no share, and leaves the others theirs; shares of an affine subject are its drops; one part alone has all; pictures
//! in tiles and in patches too.
//!
//! # Reference
//! Lundberg, Lee: A Unified Approach to Interpreting Model Predictions. NeurIPS 2017. <https://arxiv.org/abs/1705.07874>. By modality:
//! Parcalabescu, Frank: MM-SHAP. ACL 2023. <https://arxiv.org/abs/2212.08158>; they permute tokens and patches and set pixels to zero after
//! normalisation, we take Kernel SHAP's coalitions and the mean colour. How coalitions are drawn is said in
//! [`shapley`].
//!
//! # Example
//! ```no_run
//! use mmlens_core::{Analysis, Case};
//! use mmlens_model::{KernelShap, kernel_shap::{Cover, Settings}};
//! # fn explain(subject: &dyn mmlens_core::Subject, case: &Case) -> Result<(), mmlens_core::AnalysisError> {
//! let picture = Some(Cover::Grid { rows: 2, cols: 2 });
//! let finding = KernelShap::new(Settings { picture, samples: 256, ..Settings::default() })?.run(subject, case)?;
//! println!("{:?}", finding.table("by modality")?.as_numbers());
//! # Ok(())
//! # }
//! ```

use std::collections::VecDeque;
use std::num::NonZeroUsize;

use mmlens_core::finding::{Axis, Labelled, Role, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Answer, Baseline, Card, Case, Copies, Cost, HookError, Inputs, Leaf, On, Plan,
    Seed, caution,
};
use mmlens_engine::shapley::{self, MOST_PLAYERS, Shares};
use mmlens_engine::{Coalition, Hiding, Positions, Progress, Spoken};
use serde::{Deserialize, Serialize};

use super::parts::{Called, PartSettings, Parts};
use crate::check::{at_least_one, setting};

pub use super::parts::{Cover, Each, Hide};

/// What this method is.
pub const CARD: Card = Card {
    id: "kernel-shap",
    short: "shap",
    name: "Kernel SHAP",
    question: "What is each part of the picture and each word worth to this answer?",
    citation: "Lundberg, Lee: A Unified Approach to Interpreting Model Predictions. NeurIPS 2017. https://arxiv.org/abs/1705.07874",
    leaf: Leaf::Token,
    cost: "2 + min(2^parts, samples + 2) forward, in batches",
    needs: &[],
    misleads: &[
        "Pictures with holes and sentences with gaps are something the model has never seen.",
        "Parts that only count together, or stand for each other, split their share.",
        "The balance of modalities depends on how finely each is cut.",
    ],
    first: false,
};

/// What the players are, and how many coalitions of them are scored.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How pictures are cut; `None` leaves them as they are, as does a sample without any.
    pub picture: Option<Cover>,
    /// What stands in the place of absent pixels.
    pub pixels: Baseline,
    /// What stands in the place of absent words; `None` leaves them as they are, as does a sample without any, and one whose words an
    /// encoder of its own reads.
    pub words: Option<Hide>,
    /// What of the words is one player.
    pub each: Each,
    /// Which positions are words.
    pub among: Positions,
    /// Coalitions beside all and none; where there are no more, all are taken.
    pub samples: usize,
    /// Of the draws.
    pub seed: Seed,
    /// How many coalitions share a pass.
    pub rows: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            picture: Some(Cover::Grid { rows: 4, cols: 4 }),
            pixels: Baseline::Mean,
            words: Some(Hide::Replace(Baseline::Zero)),
            each: Each::Word,
            among: Positions::Question,
            samples: 512,
            seed: Seed(0),
            rows: 16,
        }
    }
}

impl Settings {
    fn part_settings(&self) -> PartSettings<'_> {
        let Self { picture, pixels, words, each, among, .. } = self;
        PartSettings { card: &CARD, picture: *picture, pixels, words: words.as_ref(), each: *each, among }
    }

    /// Whether all coalitions of so many parts are scored.
    fn enumerates(&self, parts: usize) -> bool {
        parts <= MOST_PLAYERS && (1_usize << parts) <= self.samples.saturating_add(2)
    }
}

/// Kernel SHAP with checked settings.
#[derive(Debug, Clone)]
pub struct KernelShap {
    settings: Settings,
    rows: NonZeroUsize,
}

impl KernelShap {
    fn parts(&self, on: &On<'_>, case: &Case, inputs: &Inputs) -> Result<Parts, AnalysisError> {
        self.settings.part_settings().of(on.subject(), case, inputs)
    }
}

impl Analysis for KernelShap {
    type Input = Case;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        settings.part_settings().check()?;
        if let Some(Cover::Sliding { .. }) = settings.picture {
            return Err(setting(
                &CARD,
                "picture",
                "sliding windows",
                "parts that share no pixel are players",
            ));
        }
        at_least_one(&CARD, "samples", settings.samples)?;
        let rows = at_least_one(&CARD, "rows", settings.rows)?;
        Ok(Self { settings, rows })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        let inputs = on.encode(&case.sample)?;
        let parts = self.parts(on, case, &inputs)?;
        let players = parts.units.len();
        let coalitions = match self.settings.enumerates(players) {
            true => 1 << players,
            false => shapley::coalitions(players, self.settings.samples, self.settings.seed),
        };
        let cost = Cost::rows(case.settling() + 1 + parts.settling() + coalitions);
        Ok(cost.at_once(self.rows.get(), on.row(case, &inputs, &[])?, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let (inputs, objective) = on.open(case)?;
        let parts = self.parts(on, case, &inputs)?;
        let memory = on.memory().at_most(self.rows);
        let plan = Plan::new().objective(&objective);
        memory.hold(CARD.id, 0, on.subject().need(&inputs, &plan, Copies::ONE)?)?;
        let units = parts.units.clone();
        let hiding =
            Hiding::new(on.subject(), &case.sample, &inputs, units).map_err(|error| error.of(CARD.id))?;
        let players = hiding.units().len();
        let Settings { samples, seed, .. } = self.settings;
        let all = self.settings.enumerates(players);
        // How many are drawn is known when they are.
        let mut progress: Option<Progress<'_>> = None;
        let spoken = Spoken::of(on, case, &inputs, &objective)?;
        let metrics = spoken.beside(&objective);
        // What was measured of the tokens of an answer while the whole was: coalitions are the same for all.
        let mut beside: Vec<VecDeque<Vec<f32>>> = vec![VecDeque::new(); spoken.objectives().len()];
        let score = |some: &[Coalition]| {
            let total = if all { 1 << players } else { some.len() };
            let progress = progress.get_or_insert_with(|| Progress::new(on.watch(), CARD.id, total));
            let mut measured = hiding.measure(&metrics, some, &memory, progress)?.into_iter();
            let whole = measured.next().ok_or(HookError::NoObjective)?;
            beside.iter_mut().zip(measured).for_each(|(own, measured)| own.push_back(measured.values));
            Ok::<_, AnalysisError>(whole.values)
        };
        let shares: Shares = match all {
            true => shapley::exact(players, score)?,
            false => shapley::kernel(players, samples, seed, score)?,
        };
        let unit = objective.unit();
        let shown = |shares: &Shares| -> Result<Vec<Labelled>, AnalysisError> {
            let called = Called { picture: "picture", tokens: "tokens" };
            let mut tables = parts.tables(&called, unit, &shares.values)?;
            tables.extend(by_modality(&parts, &shares.values)?);
            Ok(tables)
        };
        let of_token = |mut measured: VecDeque<Vec<f32>>| {
            let again =
                |_: &[Coalition]| Ok::<_, AnalysisError>(measured.pop_front().ok_or(HookError::NoObjective)?);
            shown(&match all {
                true => shapley::exact(players, again)?,
                false => shapley::kernel(players, samples, seed, again)?,
            })
        };
        let mut tables =
            spoken.with_each(std::iter::once(shown(&shares)).chain(beside.into_iter().map(of_token)))?;
        let sum: f64 = shares.values.iter().map(|share| f64::from(*share)).sum();
        let gap = sum - (f64::from(shares.all) - f64::from(shares.none));
        tables.extend([
            Labelled::scalar("objective", unit, shares.all),
            Labelled::scalar("objective of nothing", unit, shares.none),
            Labelled::scalar("efficiency gap", unit, gap as f32),
        ]);
        let errors = parts.tables(
            &Called { picture: "picture error", tokens: "tokens error" },
            unit,
            &shares.errors,
        )?;
        tables.extend(errors.into_iter().map(Labelled::aside));
        let (with, without) = ((shares.all, "with all parts"), (shares.none, "without any"));
        let (pictures, words) = shares.values.split_at(parts.of_pictures().min(shares.values.len()));
        let rounding = |values: &[f32], what| caution::rounding(values, (unit, shares.all), what);
        let nothing = [rounding(pictures, "values of the picture"), rounding(words, "values of words")];
        let contrast = caution::contrast(&objective, with, without);
        let cautions = nothing.into_iter().flatten().chain(contrast);
        let answer = Answer::new(tables, parts.sites()).explaining(&objective).against(hiding.baseline());
        let answer = answer.cautioned(cautions);
        Ok(if all { answer } else { answer.seeded(seed) })
    }
}

/// Of all shares' magnitudes those of pictures and of words, where there are both.
fn by_modality(parts: &Parts, shares: &[f32]) -> Result<Option<Labelled>, AnalysisError> {
    let magnitude = |shares: &[f32]| shares.iter().map(|share| f64::from(share.abs())).sum::<f64>();
    let Some((pictures, words)) = shares.split_at_checked(parts.of_pictures()) else { return Ok(None) };
    if pictures.is_empty() || words.is_empty() {
        return Ok(None);
    }
    let [pictures, words] = [magnitude(pictures), magnitude(words)];
    let all = pictures + words;
    let of_all = |part: f64| if all == 0.0 { 0.0 } else { (part / all) as f32 };
    let axis = Axis::names(Role::Concept, ["picture", "words"]);
    let ratios = vec![of_all(pictures), of_all(words)];
    Ok(Some(Labelled::numbers("by modality", Unit::Ratio, vec![axis], ratios)?))
}
