//! Gradient times input: which pixels or words does this answer come from, if it were a straight line from nothing to here?
//!
//! # Idea
//! For an objective `f`, an input `x` and a baseline `x'` that stands for "not there", the tangent at `x` followed back to the baseline:
//!
//! ```text
//! a_i = (x_i - x'_i) * d f / d x_i ( x ),      sum of a_i = f(x) - f(x')   if f is a straight line between the two
//! ```
//!
//! It is [`integrated_gradients`](crate::integrated_gradients) with the end of the path in the place of all of it, and does not add up
//! where `f` bends: how far it misses is told. From zero, the default, it is the product of the input with its gradient.
//!
//! # In and out
//! In: a [`Case`] of one row. Out, for every site `S`:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `S/picture` | row, column, or patch | objective | pixels: summed over channels, on the original picture |
//! | `S/tokens` | token or patch | objective | sites with positions: summed over everything else |
//! | `by site` | concept | objective | the sum over each site |
//! | `objective`, `objective at baseline` | | objective | `f(x)` and `f(x')` |
//! | `completeness gap` | | objective | sum of all contributions minus `f(x) - f(x')` |
//! | `relative completeness gap` | | ratio | that gap over `f(x) - f(x')`, without sign |
//! | `S` | those of the site, without the batch | objective | the contribution of every coordinate; aside |
//! | `cautions` | rank | text | contributions that are zero or rounding, that miss what they should add up to by more than `gap`; a saturated probability |
//!
//! Where a site holds several pictures, each has its own tables, as in integrated gradients. Of a subject that compares two towers (CLIP, SigLIP)
//! the baseline of each tower is taken while the other keeps what it was given, and what is told of baselines has an axis more.
//!
//! # Settings
//! - `along`: sites and their baselines; by default where pictures and words enter, each from zero (for pixels, which are normalised, the mean colour of the
//!   processor).
//! - `sites`: these, each from zero; alone, without `along`.
//! - `gap`: 0.5. A tangent misses nearly always; more than half of the change is spoken of.
//!
//! # Cost
//! Two forward passes, then one forward and backward pass; of two towers two more forward and one more backward. As many again for every token of an answer that is explained by itself.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for no site, a site twice, `sites` beside `along`, a gap that is no share. Running: as integrated gradients.
//!
//! # When it misleads
//! - Where an answer is saturated its gradient is small exactly where much has gone into it (Sundararajan, Taly, Yan 2017): the gap is wide then.
//! - Zero is a value like others: an input that is zero contributes nothing whatever is made of it. Pixels of the processor's mean colour are zero.
//! - It can look like the input, since it is a product with it (Adebayo et al. 2018, "Sanity Checks for Saliency Maps").
//! - A norm forgets the length of what it is given, so that contributions of a stream behind it add up to nearly nothing at the stream itself (Euler's theorem: a
//!   function of degree zero has no slope along its own input).
//!
//! # Agreement
//! captum 0.9's `InputXGradient` on `llava-a` (pixels and embeddings) and `vit-a` (pixels): largest difference relative to the largest value 3.5e-6 (pixels), 8.2e-7 (embeddings), 8.0e-7 (`vit-a`).
//! Identities tested: on an affine subject it is integrated gradients, from any baseline, and adds up; nothing where input and baseline are equal.
//!
//! # Reference
//! Shrikumar, Greenside, Shcherbina, Kundaje: Not Just a Black Box: Learning Important Features Through Propagating Activation Differences. 2016.
//! <https://arxiv.org/abs/1605.01713>. Baselines other than zero are ours: Taylor's first term.
//!
//! # Example
//! ```no_run
//! use mmlens_core::{Analysis, Case};
//! use mmlens_model::GradientTimesInput;
//! # fn explain(subject: &dyn mmlens_core::Subject, case: &Case) -> Result<(), mmlens_core::AnalysisError> {
//! let finding = GradientTimesInput::default().run(subject, case)?;
//! println!("{:?}", finding.table("by site")?.as_numbers());
//! # Ok(())
//! # }
//! ```

use std::num::NonZeroUsize;

use mmlens_core::finding::Caution;
use mmlens_core::{
    Analysis, AnalysisError, Answer, Baseline, Capability, Card, Case, Cost, HookError, Inputs, Leaf,
    Objective, On, Site, caution,
};
use mmlens_engine::{End, Node, Nodes, Path, PathIntegral, Progress, Spoken, one_row};
use serde::{Deserialize, Serialize};

use crate::check::{ends_named, entered, input, setting};
use crate::contributions::{beginnings, moved, relative_gap, settled, shown};

/// What this method is.
pub const CARD: Card = Card {
    id: "gradient-times-input",
    short: "gxi",
    name: "Gradient times input",
    question: "Which pixels or words does this answer come from, if it were a straight line from nothing to here?",
    citation: "Shrikumar et al.: Not Just a Black Box: Learning Important Features Through Propagating Activation Differences. 2016. https://arxiv.org/abs/1605.01713",
    leaf: Leaf::Architecture,
    cost: "2 forward + 1 x (forward + backward)",
    needs: &[Capability::Gradients],
    misleads: &[
        "It adds up only where the answer is a straight line from the baseline.",
        "An input that is zero contributes nothing.",
        "A product with the input looks like the input.",
    ],
    first: false,
};

/// Where, and from which baselines.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The sites, each with its baseline; `None` for where pictures and words enter, from zero.
    pub along: Option<Vec<End>>,
    /// The sites, each from zero; alone, without `along`.
    pub sites: Option<Vec<Site>>,
    /// What contributions may miss of the change from the baseline before it is spoken of, as a share.
    pub gap: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { along: None, sites: None, gap: 0.5 }
    }
}

/// Gradient times input with checked settings.
#[derive(Debug, Clone, Default)]
pub struct GradientTimesInput {
    settings: Settings,
}

impl GradientTimesInput {
    fn paths(
        &self,
        on: &On<'_>,
        inputs: &Inputs,
        objective: &Objective,
    ) -> Result<Vec<PathIntegral>, AnalysisError> {
        let from_zero = |sites: Vec<Site>| -> Vec<End> {
            sites.into_iter().map(|site| End::new(site, Baseline::Zero)).collect()
        };
        let along = match (&self.settings.along, &self.settings.sites) {
            (Some(along), _) => along.clone(),
            (None, Some(sites)) => from_zero(sites.clone()),
            (None, None) => from_zero(entered(on.subject(), inputs, objective)),
        };
        if along.is_empty() {
            return Err(input(
                &CARD,
                "a picture or words that the subject publishes",
                "the sample has neither",
            ));
        }
        let (nodes, memory) =
            (Nodes::One(Node { at: 1.0, weight: 1.0 }), on.memory().at_most(NonZeroUsize::MIN));
        let path = |ends| PathIntegral { ends, nodes, memory };
        Ok(End::paths(on.subject(), &along).into_iter().map(path).collect())
    }

    /// What speaks against the contributions of a path.
    fn caution(&self, objective: &Objective, path: &Path) -> Option<Caution> {
        let moved = moved(path);
        let values: Vec<f32> = path.along.iter().flat_map(|along| along.values.iter().copied()).collect();
        let what = format!("contributions along `{moved}`");
        let nothing = caution::rounding(&values, (objective.unit(), path.at_input), &what);
        let (of, hint) = (
            format!(" along `{moved}`"),
            ": the answer is no straight line from there; integrated gradients follow its bends",
        );
        nothing.or_else(|| caution::gap(f64::from(relative_gap(path)), self.settings.gap, &of, hint))
    }
}

impl Analysis for GradientTimesInput {
    type Input = Case;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        ends_named(&CARD, settings.along.as_deref(), settings.sites.as_deref())?;
        if !settings.gap.is_finite() || settings.gap < 0.0 {
            return Err(setting(&CARD, "gap", settings.gap, "it is a share of the change, 0 or above"));
        }
        Ok(Self { settings })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        let inputs = on.encode(&case.sample)?;
        let objective = on.form(case, &inputs)?;
        let paths = self.paths(on, &inputs, &objective)?;
        let sites: Vec<Site> = paths.iter().flat_map(|path| &path.ends).map(|end| end.site).collect();
        let times = 1 + on.each(case, &objective).len();
        let cost =
            Cost::rows(case.settling() + times * (1 + 2 * paths.len())).with_gradients(times * paths.len());
        Ok(cost.at_once(1, on.row(case, &inputs, &sites)?, on.memory().budget()))
    }

    fn reads(&self, on: &On<'_>, case: &Case) -> Result<Vec<Site>, AnalysisError> {
        let inputs = on.encode(&case.sample)?;
        let objective = on.form(case, &inputs)?;
        let paths = self.paths(on, &inputs, &objective)?;
        Ok(paths.iter().flat_map(|path| path.reads(on.subject(), &objective)).collect())
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let subject = on.subject();
        let (inputs, objective) = on.open(case)?;
        let map = one_row(CARD.id, &inputs)?;
        let paths = self.paths(on, &inputs, &objective)?;
        let read: Vec<Site> = paths.iter().flat_map(|path| path.reads(subject, &objective)).collect();
        paths.iter().try_for_each(|path| path.hold(subject, (&inputs, &objective), CARD.id))?;
        let spoken = Spoken::of(on, case, &inputs, &objective)?;
        let total = paths.len() * (1 + spoken.objectives().len());
        let mut progress = Progress::new(on.watch(), CARD.id, total);
        let mut walk = |objective: &Objective| -> Result<Vec<Path>, AnalysisError> {
            let whole = on.unedited(case, (&inputs, objective), &read)?;
            paths.iter().map(|path| path.walk(subject, (&inputs, objective), &whole, &mut progress)).collect()
        };
        let unit = objective.unit();
        let walked = walk(&objective)?;
        let each = spoken.objectives().iter().map(|own| shown(&walk(own)?, unit, map, Vec::new()));
        let each: Vec<_> = each.collect();
        let tables = spoken.with_each(std::iter::once(shown(&walked, unit, map, Vec::new())).chain(each))?;
        let sites: Vec<Site> =
            walked.iter().flat_map(|path| &path.along).map(|along| along.spec.site).collect();
        let at_input = walked.first().map_or(Err(HookError::NoObjective), |path| Ok(path.at_input))?;
        let bent = walked.iter().filter_map(|path| self.caution(&objective, path));
        let cautions = caution::saturated(&objective, at_input).into_iter().chain(bent);
        let answer = Answer::new(tables, sites).explaining(&objective).against(beginnings(&paths, map));
        settled(&CARD, answer.cautioned(cautions), &paths)
    }
}
