//! Sparse autoencoder: which few directions, of very many, is each activation made of?
//!
//! # Idea
//! An activation `x` is put together of few of many directions, each found by itself:
//!
//! ```text
//! pre = (x - b_dec) W_enc + b_enc,   f = the k largest of max(pre, 0), 0 elsewhere,   x^ = f W_dec + b_dec
//! loss = sum |x^ - x|^2 / (B V) + a s sum |f' W_dec - (x - x^)|^2 / (B V)
//! ```
//!
//! over batches of `B` rows, with `V` the mean of `|x - mean|^2` over all rows learned from. Rows are learned from in units of `sqrt(V)`, and biases are
//! told in those of `x`. Of so many steps that `growing` says, only `1 + (k - 1) step / steps` of the largest are kept (rounded down), so that a strong direction is
//! found by one feature before others can share it. `f'` are the largest `width / 2` (at least one) of the dead
//! features, those that were active in none of the last `dead_after` rows; they learn what the others miss, which is held fixed there. `s` is the number
//! of dead features over `width / 2`, 1 at most. Rows of `W_dec` have length 1: the gradient along them is left out, and they are scaled to it after each step.
//! At the start they are drawn evenly from the sphere, `W_enc` is `W_dec` transposed, `b_enc` zero and `b_dec` the mean. Adam, with 0.9, 0.999 and 1e-8.
//!
//! # In and out
//! In: [`Examples`], whose classes are not looked at, a data set ([`Fit::learn`]), or recorded activations. A share of the groups is held out; rows of one
//! case are of one group. Out: an [`Autoencoder`], which is a method of single cases and holds the [`Dictionary`]; how the search ended, and a finding:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `unexplained variance` | concept | ratio | of held-out rows: `sum |x^ - x|^2 / sum |x - mean|^2`, with the mean of the rows learned from: of the `dictionary`; of as many `principal components` as features may be active, around that mean; of `random directions`, as many as the dictionary has, drawn like those at the start, with `b_enc` zero and `b_dec` the mean |
//! | `active features` | concept | count | the mean number of features above zero in a held-out row; `k` |
//! | `dead features` | concept | ratio | the share of features above zero in no row of all, learned from or held out |
//! | `loss recovered` | concept | ratio | `1 - D(x^) / D(0)` and `1 - D(x^) / D(mean)`, where these are above zero |
//! | `loss` | concept | nat | `D` of each: the mean over held-out cases (32 at most, the first) of `sum p ln(p / q)` at the last position of the output, `p` of the model and `q` of the model with `x^`, the mean or zero in the place of `x` at the positions learned from. Of data sets on a model with logits |
//! | `density` | feature | ratio | the share of all rows in which each is above zero |
//! | `unexplained variance by pass` | step | ratio | of held-out rows, after each pass |
//! | `rows` | concept | count | learned from, held out, steps |
//!
//! Of a case an [`Autoencoder`] gives the `strongest` (16) features, those with the largest activation at any position, of equal ones the first:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `activations` | feature, token | activation | of each, at each position |
//! | `largest` | feature | activation | the largest of these |
//! | `where` | feature | text | what the first position with that shows |
//! | `density` | feature | ratio | the share of these positions at which it is above zero |
//! | `of random directions` | rank | activation | the largest activations of as many directions drawn from the sphere as there are features, less the mean of these positions, if of each position as many are kept as features are active there |
//! | `active features` | token | count | how many are above zero |
//!
//! # Settings
//! - `site`: `text.blocks.0.resid_post`. Any site whose rows have a fixed length. `positions`: all.
//! - `features`: 8 times the width. `k`: 16. Dictionaries of large models have more: multimodal-sae (Zhang et al. 2024) has 32 times the width of 4096, and 32 active.
//!   Here memory and time go with `features`, small data leave most of very many dead, and of the 96 and 128 dimensions of the models that ship 32 active features would be a third
//!   and a quarter, no longer few. Set both for a large model.
//! - `rate`: `8e-4 / sqrt(features / 2^14)`, 3e-3 at most: four times the rule of the paper, whose data have no end; small data have few steps, and leave the search at twice the
//!   unexplained variance with less. `batch`: 256 rows. `auxiliary`: 1/32, the paper's `a`.
//! - `dead_after`: as many rows as one pass has. The paper's ten million are more than small data sets have.
//! - `growing`: 0.5, the share of all steps of all `passes` after which `k` features are kept; 0 for the paper's way.
//! - `passes`: 50 over the rows at most; `tolerance`: 1e-3. Converged is a search when what a pass with all `k` leaves unexplained of the held-out rows differs by less than this share
//!   from what the pass before left; the gradient that [`Ended`] tells is the largest of the last step.
//! - `held_out`: 0.1 of the groups.
//!
//! # Cost
//! One pass for each case, which ends at the site; four to the end for each case of the loss. A step takes `2 x batch x width x features` operations, and
//! `40 x width x features` bytes are moved. Memory: the rows (of a store a batch), `24 x width x features` bytes, and `8 x width^2` for the principal
//! components. A search that is kept takes `72 x width x features` bytes on disk; of files above 4 GiB it begins anew. On the CPU, in f32, whatever the device of the model.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`]. Fitting: [`AnalysisError::Input`] for fewer than two groups, rows that do not differ, a search that does not stay
//! finite; [`AnalysisError::Memory`] for more rows than the budget holds (record them into a store); [`AnalysisError::Cancelled`]. One that is given a file to keep itself in goes on from there, to the same bits.
//!
//! # When it misleads
//! - A feature that can be read is not one that the model uses: change it ([`WithDictionary`](mmlens_engine::WithDictionary)) and see.
//! - Another seed finds other features (Paulo, Belrose 2025, "Sparse Autoencoders Trained on the Same Data Learn Different Features").
//! - Directions of a random model look interpretable too (Heap, Lawson, Farnik, Aitchison 2025): compare with random directions.
//! - A little that is unexplained can be what matters: look at the loss.
//!
//! # Agreement
//! PyTorch 2.15, the same formula with automatic differentiation in double precision: parameters after 15 steps, with dead features and without, with `growing` 0,
//! to 2e-7 (tested to 2e-4, since Adam divides by the size of a gradient). With one feature a row the gradient of the first step is nothing but rounding, so that there is no oracle of `growing`: that settings that say
//! the same of every step learn the same bits is tested in its place, and that units of rows decide nothing. What SAELens 6.54 saves reads back (standard, top-k, JumpReLU), with the same features and reconstructions to 1e-5.
//! Identities tested: no row has more than `k` features, rows of `W_dec` have length 1, and what is told of held-out rows is what is worked out by hand; a search that was cut off ends in the same bits; with nothing edited a model with a dictionary is the same to the last bit. A direction
//! that is added to rows drawn by chance is found as a feature (five seeds, three strengths; cosines of 0.87 to 0.999, where the best feature has 0.20 to 0.28 with nothing planted).
//!
//! # Reference
//! Gao, Dupré la Tour, Tillman, Goh, Troll, Radford, Sutskever, Leike, Wu: Scaling and Evaluating Sparse Autoencoders. ICLR 2025.
//! <https://arxiv.org/abs/2406.04093>. Here `b_dec` begins at the mean, not the geometric median, the rate stays and is four times as high, the number of active features grows, and weights are not averaged.
//!
//! # Example
//! ```
//! use mmlens_core::{Case, Fit, On, Sample, Seed, from_fn};
//! use mmlens_model::{SparseAutoencoder, sparse_autoencoder::Settings};
//! let toy = mmlens_testkit::Toy::curved(1);
//! let of = |i: usize| format!("{}b{}", ["a", "c"][i % 2], ["d", "e", "f"][i % 3]);
//! let data = from_fn("words", 24, |i| Ok(Case::new(Sample::text(of(i)))));
//! let settings = Settings { k: 2, passes: 4, ..Settings::default() };
//! let learned = SparseAutoencoder::new(settings)?.learn(&On::new(&toy), &data, Seed(1))?;
//! println!("{}: {:?}", learned.ended, learned.finding.table("unexplained variance")?.as_numbers());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod fitted;
mod listed;
mod measures;
mod spliced;
mod training;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use mmlens_core::finding::{Axis, Caution, CautionKind, Labelled, Provenance, Role, Unit};
use mmlens_core::{
    AnalysisError, Card, Cases, Ended, Examples, Fit, Leaf, On, Order, Outcome, Part, Point, Rows, Seed,
    Site, Source, Split, Watch, found, learned_from, step,
};
use mmlens_engine::dictionary::Of;
use mmlens_engine::{Dictionary, Positions, gathered};
use mmlens_files::sha256;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::check::{above_zero, at_least_one, input, not_below_zero, setting, share};
use measures::{Principal, active, covariance, mean, principal, random, trace, unexplained};
use spliced::{Loss, loss};
use training::{Rule, Training, grown};

pub use fitted::{Autoencoder, Learned};

/// What this method is.
pub const CARD: Card = Card {
    id: "sparse-autoencoder",
    short: "sae",
    name: "Sparse autoencoder (TopK)",
    question: "Which few directions, of very many, is each activation made of?",
    citation: "Gao et al.: Scaling and Evaluating Sparse Autoencoders. ICLR 2025. https://arxiv.org/abs/2406.04093",
    leaf: Leaf::Feature,
    cost: "1 forward for each case, 4 for each of the loss; of a fitted one 1 forward",
    needs: &[],
    misleads: &[
        "A feature that can be read is not one that the model uses.",
        "Another seed finds other features.",
        "Directions of a random model look interpretable too.",
        "A little that is unexplained can be what matters.",
    ],
    first: false,
};

/// How a dictionary is learned.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What is read.
    pub site: Site,
    /// At which positions.
    pub positions: Positions,
    /// How many features; if it is left open, 8 times the width.
    pub features: Option<usize>,
    /// How many of them may be active in a row.
    pub k: usize,
    /// The rate of Adam; if it is left open, by the number of features.
    pub rate: Option<f64>,
    /// The share of all steps over which the number of features that may be active grows from one to `k`.
    pub growing: f64,
    /// Rows of a step.
    pub batch: usize,
    /// The weight of what dead features learn.
    pub auxiliary: f64,
    /// Rows after which a feature is dead; if it is left open, those of one pass.
    pub dead_after: Option<u64>,
    /// Passes over the rows at most.
    pub passes: usize,
    /// The gain of a pass at which the search has converged.
    pub tolerance: f64,
    /// The share of the groups that is held out.
    pub held_out: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            site: Site::block(Part::Text, 0, Point::ResidPost),
            positions: Positions::All,
            features: None,
            k: 16,
            rate: None,
            growing: 0.5,
            batch: 256,
            auxiliary: 1.0 / 32.0,
            dead_after: None,
            passes: 50,
            tolerance: 1e-3,
            held_out: 0.1,
        }
    }
}

/// What learns a sparse autoencoder, with checked settings.
#[derive(Debug, Clone)]
pub struct SparseAutoencoder {
    settings: Settings,
}

impl Fit for SparseAutoencoder {
    type From = Examples;
    type Settings = Settings;
    type Fitted = Autoencoder;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        let Settings { k, batch, passes, features, .. } = settings;
        for (name, count) in [("k", k), ("batch", batch), ("passes", passes)] {
            at_least_one(&CARD, name, count)?;
        }
        if let Some(features) = features.filter(|features| *features < k) {
            return Err(setting(&CARD, "features", features, "there must be `k` at least"));
        }
        for (name, value) in [("rate", settings.rate.unwrap_or(1.0)), ("tolerance", settings.tolerance)] {
            above_zero(&CARD, name, value)?;
        }
        if !(0.0..=1.0).contains(&settings.growing) {
            return Err(setting(&CARD, "growing", settings.growing, "it must lie between 0 and 1"));
        }
        not_below_zero(&CARD, "auxiliary", settings.auxiliary)?;
        share(&CARD, "held_out", settings.held_out)?;
        Ok(Self { settings })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn fit(
        &self,
        from: &Examples,
        seed: Seed,
        watch: &dyn Watch,
    ) -> Result<Outcome<Autoencoder>, AnalysisError> {
        self.outcome(self.search(from, seed, (watch, None))?, None)
    }

    fn learn_from(
        &self,
        from: &Source<'_>,
        seed: Seed,
        keep: Option<&Path>,
    ) -> Result<Outcome<Autoencoder>, AnalysisError> {
        match from {
            Source::Cases(on, data) => self.over(on, *data, seed, keep),
            Source::Recorded(recorded, watch) => {
                let rows = recorded.rows(self.settings.site)?;
                self.outcome(self.search(rows.as_ref(), seed, (*watch, keep))?, None)
            }
        }
    }
}

/// The items of a seed that decide what is held out, the first directions, the order of each pass, and what is compared with.
const SPLIT: u64 = 0;
const START: u64 = 1;
const COMPARED: u64 = 2;
const COMPONENTS: u64 = 3;
const ORDER: u64 = 1 << 32;
/// The rate of Adam for 2^14 features, and for few at most.
const RATE: f64 = 8e-4;
const MOST_RATE: f64 = 3e-3;
/// Steps after which a search that is kept is kept again.
const KEPT_AFTER: u64 = 500;
/// Cases of the loss at most.
const CASES: usize = 32;
/// More dead features than this are told.
const DEAD: f64 = 0.1;

/// What a search has found.
struct Searched {
    dictionary: Dictionary,
    ended: Ended,
    out: Vec<bool>,
    mean: Vec<f64>,
    tables: Vec<Labelled>,
    cautions: Vec<Caution>,
    made: Provenance,
}

impl SparseAutoencoder {
    fn over(
        &self,
        on: &On<'_>,
        data: &dyn Cases,
        seed: Seed,
        keep: Option<&Path>,
    ) -> Result<Outcome<Autoencoder>, AnalysisError> {
        let Settings { site, positions, .. } = &self.settings;
        let rows = gathered((on, CARD.id), data, *site, positions)?;
        let searched = self.search(&rows, seed, (on.watch(), keep))?;
        let out = rows.cases().iter().zip(&searched.out).filter(|(_, out)| **out).map(|(case, _)| *case);
        let cases: Vec<usize> = out.collect::<BTreeSet<usize>>().into_iter().take(CASES).collect();
        let dictionary = Arc::new(searched.dictionary.clone());
        let lost = loss(on, (data, &cases), &dictionary, (*site, positions), &searched.mean)?;
        self.outcome(searched, lost)
    }

    /// Finds directions, and measures how good they are.
    fn search(
        &self,
        rows: &dyn Rows,
        seed: Seed,
        (watch, keep): (&dyn Watch, Option<&Path>),
    ) -> Result<Searched, AnalysisError> {
        let Settings { site, k, batch, passes, .. } = self.settings;
        let width = rows.width();
        let features = self.settings.features.unwrap_or(8 * width);
        if features < k {
            return Err(setting(&CARD, "k", k, "there must be as many features at least"));
        }
        let split = Split::of(&CARD, (rows, site), self.settings.held_out, seed.at(SPLIT))?;
        let (own, held) = (split.rows(false), split.rows(true));
        let mean = mean(rows, &own)?;
        let spread = covariance(rows, &own, &mean)?;
        let variance = trace(&spread, width);
        if !(variance > 0.0 && variance.is_finite()) {
            return Err(input(&CARD, "rows that differ", format!("their variance is {variance}")));
        }
        let steps = own.len().div_ceil(batch) as u64;
        let total = passes * steps as usize;
        let growing = (self.settings.growing * total as f64) as u64;
        let by_features = (RATE / (features as f64 / 16384.0).sqrt()).min(MOST_RATE); // no NaN: a quotient of numbers above zero
        let rule = |step: u64| Rule {
            k: grown(k, step, growing),
            rate: self.settings.rate.unwrap_or(by_features),
            auxiliary: self.settings.auxiliary,
            auxiliary_k: (width / 2).max(1),
            dead_after: self.settings.dead_after.unwrap_or(own.len() as u64),
        };

        let made = learned_from((&CARD, &self.settings), (rows, site), seed)?;
        let of = sha256(json!([made.settings, made.seed, made.version]).to_string());
        let centre: Vec<f32> = mean.iter().map(|x| *x as f32).collect();
        let scale = variance.sqrt() as f32;
        let begun = match keep {
            Some(file) => Training::kept(file, &of, scale, (width, features))?,
            None => None,
        };
        let mut training = begun.unwrap_or_else(|| Training::new(&centre, scale, features, seed.at(START)));
        let of_model = Of {
            site: Some(site),
            model: Some(rows.provenance().subject).filter(|name| !name.is_empty()),
            weights: Some(rows.provenance().weights_hash).filter(|hash| !hash.is_empty()),
        };
        let converged = loop {
            // A search that was cut off behind the last step of a pass has not measured it.
            if (training.passes.len() as u64) < training.steps / steps {
                let dictionary = training.dictionary(k, of_model.clone())?;
                let left = unexplained((rows, &held), &mean, &dictionary)?;
                training.passes.push(left);
                if let Some(file) = keep {
                    training.keep(file, &of)?;
                }
            }
            if let [.., before, last] = training.passes.as_slice()
                && training.steps == training.passes.len() as u64 * steps
                && training.steps - steps >= growing
                && (before - last).abs() < self.settings.tolerance * before
            {
                break true;
            }
            if training.passes.len() >= passes {
                break false;
            }
            let (pass, from) = (training.steps / steps, training.steps % steps);
            let order = Order::new(own.len() as u64, seed.at(ORDER + pass));
            for at in from..steps {
                let places = (at * batch as u64)..own.len().min((at as usize + 1) * batch) as u64;
                let chosen: Vec<usize> =
                    places.filter_map(|place| own.get(order.at(place) as usize).copied()).collect();
                training.step(&rows.read(&chosen)?, &rule(training.steps))?;
                let watched = step(watch, CARD.id, training.steps as usize, total);
                if let Some(file) = keep.filter(|_| watched.is_err() || training.steps % KEPT_AFTER == 0) {
                    training.keep(file, &of)?;
                }
                watched?;
            }
        };

        let dictionary = training.dictionary(k, of_model)?;
        let left = training.passes.last().copied().unwrap_or(1.0);
        let components = principal(&spread, width, k.min(width), seed.at(COMPONENTS));
        let of_components =
            unexplained((rows, &held), &mean, &Principal { mean: &mean, directions: &components })?;
        let drawn = random(&mean, features, k, seed.at(COMPARED))?;
        let of_random = unexplained((rows, &held), &mean, &drawn)?;
        let watched = |_| step(watch, CARD.id, training.steps as usize, total);
        let [in_own, in_held] =
            [active(rows, &own, &dictionary, watched)?, active(rows, &held, &dictionary, watched)?];
        let both: Vec<u64> = in_own.iter().zip(&in_held).map(|(a, b)| a + b).collect();
        let dead = both.iter().filter(|count| **count == 0).count() as f64 / features as f64;
        let of_row = in_held.iter().sum::<u64>() as f64 / held.len() as f64;
        let ended = match (training.steps as usize, training.gradient) {
            (steps, gradient) if converged => Ended::Converged { steps, gradient },
            (steps, gradient) => Ended::Stopped { steps, gradient },
        };
        let by_pass = training.passes.iter().map(|left| *left as f32).collect();
        let density = both.iter().map(|count| (*count as f64 / rows.len() as f64) as f32).collect();
        let counts = [
            ("learned from", own.len() as f64),
            ("held out", held.len() as f64),
            ("steps", training.steps as f64),
        ];
        let against =
            [("dictionary", left), ("principal components", of_components), ("random directions", of_random)];
        let tables = vec![
            named("unexplained variance", Unit::Ratio, &against)?,
            named("active features", Unit::Count, &[("of a held-out row", of_row), ("k", k as f64)])?.aside(),
            named("dead features", Unit::Ratio, &[("share", dead)])?.aside(),
            Labelled::numbers("density", Unit::Ratio, vec![Axis::count(Role::Feature, features)], density)?
                .aside(),
            Labelled::numbers(
                "unexplained variance by pass",
                Unit::Ratio,
                vec![Axis::count(Role::Step, training.passes.len())],
                by_pass,
            )?
            .aside(),
            named("rows", Unit::Count, &counts)?.aside(),
        ];
        let made =
            made.with_setting("ended", json!(ended)).with_setting("dictionary", json!(dictionary.hash()));
        let cautions = cautions(&ended, (left, of_components.min(of_random)), dead); // no NaN: finite sums
        Ok(Searched { dictionary, ended, out: split.out, mean, tables, cautions, made })
    }

    fn outcome(&self, searched: Searched, lost: Option<Loss>) -> Result<Outcome<Autoencoder>, AnalysisError> {
        let Searched { dictionary, ended, mut tables, mut cautions, made, .. } = searched;
        if let Some(Loss { reconstruction, mean, zero, cases }) = lost {
            let shares = [("against zero", zero), ("against the mean", mean)];
            let shares = shares.into_iter().filter(|(_, whole)| *whole > 0.0);
            let shares: Vec<(&str, f64)> =
                shares.map(|(name, whole)| (name, 1.0 - reconstruction / whole)).collect();
            if !shares.is_empty() {
                tables.insert(1, named("loss recovered", Unit::Ratio, &shares)?);
            }
            let each = [("reconstruction", reconstruction), ("mean", mean), ("zero", zero)];
            tables.push(named("loss", Unit::Nat, &each)?.aside());
            tables.push(named("cases of the loss", Unit::Count, &[("cases", cases as f64)])?.aside());
        }
        tables.extend(Caution::tables(&std::mem::take(&mut cautions))?);
        let finding = found(made, tables)?;
        let Settings { site, positions, .. } = self.settings.clone();
        Ok(Outcome { fitted: Autoencoder::of_dictionary(dictionary, site, positions), ended, finding })
    }
}

fn named(name: &str, unit: Unit, said: &[(&str, f64)]) -> Result<Labelled, AnalysisError> {
    let axis = Axis::names(Role::Concept, said.iter().map(|(name, _)| *name));
    let values = said.iter().map(|(_, value)| *value as f32).collect();
    Ok(Labelled::numbers(name, unit, vec![axis], values)?)
}

/// What speaks against a dictionary: that the search did not end, that what costs nothing explains as much, that many features are dead.
fn cautions(ended: &Ended, (left, other): (f64, f64), dead: f64) -> Vec<Caution> {
    let mut all = Vec::new();
    if !ended.converged() {
        let text = format!("the search {ended}: more `passes` would explain more");
        all.push(Caution::new(CautionKind::NotConverged, ended.at().0 as f32, text));
    }
    if left >= other {
        let text = format!(
            "the dictionary leaves {left:.3} of what varies unexplained, and principal components or random directions leave {other:.3}: \
             it has found nothing that these do not hold"
        );
        all.push(Caution::new(CautionKind::NoBetter, (other - left) as f32, text));
    }
    if dead > DEAD {
        let text = format!("{:.0} % of the features are active in no row", 100.0 * dead);
        all.push(Caution::new(CautionKind::DeadFeatures, dead as f32, text));
    }
    all
}
