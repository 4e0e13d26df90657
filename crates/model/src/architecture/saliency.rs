//! Saliency: where would the smallest change of a pixel or a word change this answer most?
//!
//! # Idea
//! For an objective `f` and an input `x`, the slope at each coordinate `i`, and of what belongs together (the channels of a pixel, the
//! vector of a word) the steepest:
//!
//! ```text
//! g_i = d f / d x_i                      s_p = max over i in p of |g_i|
//! ```
//!
//! `x` may be the value of any [`Site`], or of several at once: one backward pass gives all slopes. A slope says how fast the answer would change, and
//! nothing of how much of it is there because of this pixel: for that see [`gradient_times_input`](super::gradient_times_input) and
//! [`integrated_gradients`](crate::integrated_gradients).
//!
//! # In and out
//! In: a [`Case`] of one row. Out, for every site `S`:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `S/picture` | row, column, or patch | gradient | pixels: pooled over channels, on the original picture |
//! | `S/tokens` | token or patch | gradient | sites with positions: pooled over everything else |
//! | `by site` | concept | gradient | the length of the gradient at each site |
//! | `objective` | | objective | `f(x)` |
//! | `S` | those of the site, without the batch | gradient | the slope of every coordinate, with its sign; aside |
//! | `cautions` | rank | text | a gradient that is zero throughout, a probability that is saturated |
//!
//! Pixels are those that the tower is given, normalised: a slope is the change of the objective per unit of these. Several pictures have tables of their own,
//! `S/0/picture`, as in [`integrated_gradients`](crate::integrated_gradients); a site with neither pixels nor positions has `S` alone, in the front.
//! Slopes of the tokens of an answer ([`each`](mmlens_core::Target::Answer)) add up before they are pooled, not behind.
//!
//! # Settings
//! - `sites`: where slopes are taken; by default where pictures and words enter, as far as the sample has them.
//! - `pool`: [`Pool::Max`], as in the paper: the largest magnitude of what belongs together. [`Pool::Norm`] is its Euclidean length, common for words;
//!   [`Pool::Sum`] keeps signs, which cancel.
//!
//! # Cost
//! One forward and one backward pass; one more of each for every token of an answer that is explained by itself.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for no site, or a site twice. Running: [`AnalysisError::Subject`] for a site the subject does not have or that
//! does not reach the objective; [`AnalysisError::Input`] for a case of several rows, or a sample of neither pictures nor words;
//! [`AnalysisError::Memory`], [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - Where the answer is saturated its slope is nearly zero at exactly what decides it (Shrikumar et al. 2017, "Learning Important Features Through
//!   Propagating Activation Differences"): take a logit, not a probability near one, which is spoken of.
//! - Slopes of deep networks change from one input to the next that nobody can tell apart (Smilkov et al. 2017): shake it with
//!   [`smooth_grad`](crate::smooth_grad), `of` = `saliency`.
//! - It has no sign and adds up to nothing: of two places the one with more saliency is more sensitive, not more important.
//! - Edges of a picture are salient to models with random weights as well (Adebayo et al. 2018, "Sanity Checks for Saliency Maps").
//!
//! # Agreement
//! captum 0.9's `Saliency` on `llava-a` (pixels and embeddings) and `vit-a` (pixels): the largest difference relative to the largest value is
//! 3.4e-6 (pixels), 1.3e-6 (embeddings), 1.1e-6 (`vit-a`). Identities tested: on an affine subject it does not depend on the input; twice the objective has twice the saliency; several sites at once give what each
//! gives alone.
//!
//! # Reference
//! Simonyan, Vedaldi, Zisserman: Deep Inside Convolutional Networks: Visualising Image Classification Models and Saliency Maps. ICLR Workshop 2014.
//! <https://arxiv.org/abs/1312.6034>. For words: Li, Chen, Hovy, Jurafsky: Visualizing and Understanding Neural Models in NLP. NAACL 2016.
//! <https://arxiv.org/abs/1506.01066>, who take the mean magnitude of a vector.
//!
//! # Example
//! ```no_run
//! use mmlens_core::{Analysis, Case};
//! use mmlens_model::Saliency;
//! # fn explain(subject: &dyn mmlens_core::Subject, case: &Case) -> Result<(), mmlens_core::AnalysisError> {
//! let finding = Saliency::default().run(subject, case)?;
//! println!("{:?}", finding.table("vision.pixels/picture")?.largest(3)?);
//! # Ok(())
//! # }
//! ```

use std::collections::BTreeSet;

use mmlens_core::finding::{Axis, Labelled, Role, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Answer, Capability, Card, Case, Copies, Cost, HookError, Inputs, Leaf,
    Objective, On, Plan, Site, SiteSpec, caution,
};
use mmlens_engine::{Pool, Progress, Spoken, label, numbers, one_row};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::check::{entered, input, setting};

/// What this method is.
pub const CARD: Card = Card {
    id: "saliency",
    short: "saliency",
    name: "Saliency",
    question: "Where would the smallest change of a pixel or a word change this answer most?",
    citation: "Simonyan, Vedaldi, Zisserman: Deep Inside Convolutional Networks. ICLR Workshop 2014. https://arxiv.org/abs/1312.6034",
    leaf: Leaf::Architecture,
    cost: "1 forward + 1 backward",
    needs: &[Capability::Gradients],
    misleads: &[
        "Where an answer is saturated, what decides it has no slope.",
        "Slopes change from one input to the next that nobody can tell apart.",
        "It has no sign, and adds up to nothing.",
    ],
    first: false,
};

/// Where slopes are taken, and what becomes of those that belong together.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where; `None` for where pictures and words enter.
    pub sites: Option<Vec<Site>>,
    /// How the values of a pixel or position become one.
    pub pool: Pool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { sites: None, pool: Pool::Max }
    }
}

/// Saliency with checked settings.
#[derive(Debug, Clone, Default)]
pub struct Saliency {
    settings: Settings,
}

impl Saliency {
    fn sites(&self, on: &On<'_>, inputs: &Inputs, objective: &Objective) -> Result<Vec<Site>, AnalysisError> {
        let sites = self.settings.sites.clone().unwrap_or_else(|| entered(on.subject(), inputs, objective));
        let none = || input(&CARD, "a picture or words that the subject publishes", "the sample has neither");
        if sites.is_empty() { Err(none()) } else { Ok(sites) }
    }
}

/// The slopes at a site.
struct Slopes {
    spec: SiteSpec,
    dims: Vec<usize>,
    values: Vec<f32>,
}

impl Slopes {
    /// Its length, as a vector.
    fn length(&self) -> f32 {
        let squares: f64 = self.values.iter().map(|slope| f64::from(*slope).powi(2)).sum();
        squares.sqrt() as f32
    }
}

impl Analysis for Saliency {
    type Input = Case;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        let sites = settings.sites.as_deref();
        if sites.is_some_and(<[Site]>::is_empty) {
            return Err(setting(&CARD, "sites", "no site", "a slope is taken somewhere"));
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = sites.unwrap_or_default().iter().find(|site| !seen.insert(**site)) {
            return Err(setting(&CARD, "sites", format!("`{twice}` twice"), "a site is named once"));
        }
        Ok(Self { settings })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        let inputs = on.encode(&case.sample)?;
        let objective = on.form(case, &inputs)?;
        let sites = self.sites(on, &inputs, &objective)?;
        let times = 1 + on.each(case, &objective).len();
        let cost = Cost::rows(case.settling() + times).with_gradients(times);
        Ok(cost.at_once(1, on.row(case, &inputs, &sites)?, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let subject = on.subject();
        let (inputs, objective) = on.open(case)?;
        let map = one_row(CARD.id, &inputs)?;
        let sites = self.sites(on, &inputs, &objective)?;
        let spoken = Spoken::of(on, case, &inputs, &objective)?;
        let mut progress = Progress::new(on.watch(), CARD.id, 1 + spoken.objectives().len());
        let mut slopes = |objective: &Objective| -> Result<(f32, Vec<Slopes>), AnalysisError> {
            let mut plan = Plan::new().objective(objective);
            for site in &sites {
                plan = plan.grad(*site)?;
            }
            let kept = 4 * numbers(subject, &inputs, &sites)? as u64;
            on.memory().hold(CARD.id, kept, subject.need(&inputs, &plan, Copies::ONE)?)?;
            let trace = subject.run(&inputs, plan)?;
            let value = *trace.scores()?.first().ok_or(HookError::NoObjective)?;
            let each = sites.iter().map(|site| {
                let (spec, slope) = (SiteSpec::among(subject.sites(), *site)?.clone(), trace.grad(*site)?);
                Ok(Slopes { spec, dims: slope.dims(), values: slope.to_values()? })
            });
            let each = each.collect::<Result<_, HookError>>()?;
            progress.advance(1)?;
            Ok((value, each))
        };
        let shown = |(value, slopes): &(f32, Vec<Slopes>)| -> Result<Vec<Labelled>, AnalysisError> {
            let mut tables = Vec::new();
            for own in slopes {
                let name = own.spec.site.to_string();
                tables.extend(label::pooled(
                    self.settings.pool,
                    (&name, Unit::Gradient),
                    (&own.spec, &own.dims),
                    &own.values,
                    map,
                )?);
            }
            let (mut tables, single): (Vec<_>, Vec<_>) =
                tables.into_iter().partition(|table| !table.is_aside());
            let names = Axis::names(Role::Concept, sites.iter().map(ToString::to_string));
            let lengths = slopes.iter().map(Slopes::length).collect();
            tables.push(Labelled::numbers("by site", Unit::Gradient, vec![names], lengths)?);
            tables.push(Labelled::scalar("objective", objective.unit(), *value));
            tables.extend(single);
            Ok(tables)
        };
        let whole = slopes(&objective)?;
        let of_token = |objective: &Objective| shown(&slopes(objective)?);
        let each: Vec<Vec<Labelled>> = spoken.objectives().iter().map(of_token).collect::<Result<_, _>>()?;
        let tables = spoken.with_each(std::iter::once(shown(&whole)).chain(each.into_iter().map(Ok)))?;
        let (value, slopes) = whole;
        let zero = slopes
            .iter()
            .filter_map(|own| caution::nothing(&own.values, &format!("slopes at `{}`", own.spec.site)));
        let cautions = caution::saturated(&objective, value).into_iter().chain(zero);
        let answer = Answer::new(tables, sites.clone()).explaining(&objective).cautioned(cautions);
        Ok(answer.settled("sites", json!(sites)))
    }
}
