//! Expected gradients: which pixels or words does this answer come from, compared with what other samples have in their place?
//!
//! # Idea
//! [`integrated_gradients`](crate::integrated_gradients) need one baseline, and each gives another answer. Other samples `x'` of a
//! background `D` stand for "something else here" without any choice of a colour: over all of them, and all places of the paths from them,
//!
//! ```text
//! a_i = mean over k of (x_i - x'_k,i) * d f / d x_i ( x'_k + t_k (x - x'_k) ),      x'_k drawn from D,  t_k drawn evenly from 0 to 1
//! ```
//!
//! so that all contributions together tend to `f(x)` less the mean of `f` over the background. Every site takes the same sample and the same
//! place in a draw.
//!
//! # In and out
//! In: a [`CaseAmong`]: a [`Case`](mmlens_core::Case) of one row, and the data set that it is compared with, if there is one. Out, for every site `S`:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `S/picture` | row, column, or patch | objective | pixels: summed over channels, on the original picture |
//! | `S/tokens` | token or patch | objective | sites with positions: summed over everything else |
//! | `by site` | concept | objective | the sum over each site |
//! | `objective` | | objective | `f(x)` |
//! | `objective at baseline` | | objective | the mean of `f` over the samples drawn |
//! | `completeness gap` | | objective | sum of all contributions minus `f(x)` and that mean: what the draws miss |
//! | `relative completeness gap` | | ratio | that gap over the change, without sign |
//! | `noise` | | ratio | standard errors of places and positions over their contributions, both as the root of the mean square: what of the map is chance |
//! | `... error` | as those | as those | standard errors of the means over draws; aside, of two draws or more |
//! | `S` | those of the site, without the batch | objective | the contribution of every coordinate; aside |
//! | `cautions` | rank | text | contributions that are zero or rounding; both ends barely differ or the wrong way round; draws that do not settle the map |
//!
//! Where a site holds several pictures, each has its own tables, as in integrated gradients. Of a subject that compares two towers (CLIP, SigLIP)
//! each moves alone, and what is told of baselines has an axis more.
//!
//! # Settings
//! - `pictures`: files, or folders whose files are taken in the order of their names: each in the place of the sample's pictures, beside the sample's words.
//! - `recordings`: as `pictures`, each in the place of the sample's recordings; take some that are as long.
//! - `texts`: each in the place of the sample's words, beside its pictures and recordings.
//! - The samples of a data set that a program hands over come behind those. There must be one sample in all.
//! - `sites`: where values are exchanged; by default the pixels, or where words enter of a sample without pictures. A background sample must have a value of the
//!   same shape there: pixels of the same size, as many tokens.
//! - `samples`: 50 draws. Errors fall with the root of their number.
//! - `seed`: of the draws, 0. Draw `k` depends on `seed` and `k` alone.
//!
//! # Cost
//! One pass, one for every background sample that is drawn (as far as the last site), and `samples` times two forward and one backward pass. As many again for
//! every token of an answer that is explained by itself. Held are the values of one background sample at a time, and two doubles for every number found.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for no samples, no site, a site twice. Running: [`AnalysisError::Input`] without a background, or for one whose values have
//! another shape (it names the sample and both shapes), pictures or words for a sample that has none, a case of several rows;
//! [`AnalysisError::Subject`] for a picture that cannot be read, a site the subject does not have or that does not reach the objective;
//! [`AnalysisError::Memory`], [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - The background is part of the question: what it has as well cannot be found (of red circles among red squares the colour is no reason). Take it from what
//!   the sample could have been.
//! - Halfway between two pictures lies a double exposure that the model has never seen (Kapishnikov et al. 2021, "Guided Integrated Gradients").
//! - Few draws leave much to chance: look at the errors before a ranking. Noise of more than a half is spoken of.
//! - Words are exchanged position by position: where a background sample says the same at another position, it counts as different.
//!
//! # Agreement
//! captum 0.9's `InputBaselineXGradient`, of which its `GradientShap` is the mean, with the same draws, on `llava-a` (pixels; pixels and embeddings) and `vit-a` (pixels):
//! largest difference relative to the largest value 2.3e-6. Identities tested: on an affine subject contributions add up, whatever is drawn; a background of
//! the sample itself brings nothing; a background of zeros tends to integrated gradients.
//!
//! # Reference
//! Erion, Janizek, Sturmfels, Lundberg, Lee: Improving performance of deep learning models with axiomatic attribution priors and expected gradients. Nature Machine
//! Intelligence 2021. <https://arxiv.org/abs/1906.10670>. The same without noise as Gradient SHAP: Lundberg, Lee: A Unified Approach to Interpreting Model Predictions.
//! NeurIPS 2017.
//!
//! # Example
//! ```no_run
//! use mmlens_core::{Analysis, Case};
//! use mmlens_model::{ExpectedGradients, expected_gradients::Settings};
//! # fn explain(subject: &dyn mmlens_core::Subject, case: &Case) -> Result<(), mmlens_core::AnalysisError> {
//! let settings = Settings { pictures: vec!["backgrounds".into()], samples: 100, ..Settings::default() };
//! let finding = ExpectedGradients::new(settings)?.run(subject, &case.clone().into())?;
//! println!("{:?}", finding.table("vision.pixels/picture")?.largest(3)?);
//! # Ok(())
//! # }
//! ```

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use mmlens_core::finding::{Caution, Labelled, TableError, Unit};
use mmlens_core::sound::Sound;
use mmlens_core::{
    Analysis, AnalysisError, Answer, AnyTensor, Baseline, Capability, Card, CaseAmong, Copies, Cost,
    HookError, Inputs, Leaf, Objective, On, Picture, Plan, Sample, Seed, Site, SubjectError, Words, caution,
};
use mmlens_engine::{End, Node, Nodes, Path, PathIntegral, Progress, Spoken, numbers, one_row};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::check::{at_least_one, ends_named, entered, input};
use crate::contributions::{moved, over_change, over_paths, shown};
use crate::moments::Moments;

/// What this method is.
pub const CARD: Card = Card {
    id: "expected-gradients",
    short: "expected",
    name: "Expected gradients",
    question: "Which pixels or words does this answer come from, compared with what other samples have in their place?",
    citation: "Erion et al.: Improving performance of deep learning models with axiomatic attribution priors and expected gradients. Nature Machine Intelligence 2021. https://arxiv.org/abs/1906.10670",
    leaf: Leaf::Architecture,
    cost: "1 + backgrounds forward + samples x (2 forward + backward)",
    needs: &[Capability::Gradients],
    misleads: &[
        "What the background has as well cannot be found.",
        "Between two pictures lies a double exposure that the model has never seen.",
        "Few draws leave much to chance.",
    ],
    first: false,
};

/// What stands in the background, and how often it is drawn from.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Files, or folders of them: each in the place of the sample's pictures.
    pub pictures: Vec<PathBuf>,
    /// Files, or folders of them: each in the place of the sample's recordings.
    pub recordings: Vec<PathBuf>,
    /// Each in the place of the sample's words.
    pub texts: Vec<String>,
    /// Where values are exchanged; `None` for the pixels, or where words enter of a sample without pictures.
    pub sites: Option<Vec<Site>>,
    /// Draws.
    pub samples: usize,
    /// Of the draws.
    pub seed: Seed,
}

impl Default for Settings {
    fn default() -> Self {
        let (pictures, recordings, texts) = (Vec::new(), Vec::new(), Vec::new());
        Self { pictures, recordings, texts, sites: None, samples: 50, seed: Seed(0) }
    }
}

/// Expected gradients with checked settings.
#[derive(Debug, Clone)]
pub struct ExpectedGradients {
    settings: Settings,
    samples: NonZeroUsize,
}

/// Samples that are compared with, each made when it is drawn.
struct Background<'a> {
    own: &'a CaseAmong,
    /// Each as what it is opened.
    files: Vec<(Kind, PathBuf)>,
    texts: &'a [String],
}

#[derive(Clone, Copy)]
enum Kind {
    Picture,
    Recording,
}

impl Background<'_> {
    fn len(&self) -> usize {
        self.files.len() + self.texts.len() + self.own.among.as_ref().map_or(0, mmlens_core::ManyCases::len)
    }

    fn name(&self, at: usize) -> String {
        let behind = at.checked_sub(self.files.len());
        match (self.files.get(at), behind.and_then(|at| self.texts.get(at))) {
            (Some((_, path)), _) => format!("`{}`", path.display()),
            (None, Some(text)) => format!("“{text}”"),
            (None, None) => format!("case {} of the data set", behind.unwrap_or(0) - self.texts.len()),
        }
    }

    fn sample(&self, at: usize) -> Result<Sample, AnalysisError> {
        let own = &self.own.case.sample;
        match self.files.get(at) {
            Some((Kind::Picture, _)) if own.pictures.is_empty() => {
                return Err(input(&CARD, "pictures that `pictures` can stand for", "the sample has none"));
            }
            Some((Kind::Recording, _)) if own.recordings.is_empty() => {
                return Err(input(
                    &CARD,
                    "recordings that `recordings` can stand for",
                    "the sample has none",
                ));
            }
            Some((Kind::Picture, path)) => {
                let other = Picture::open(path)?;
                return Ok(Sample { pictures: vec![other; own.pictures.len()], ..own.clone() });
            }
            Some((Kind::Recording, path)) => {
                let unread = |error: mmlens_core::sound::SoundError| {
                    input(&CARD, "a recording that can be read", error.to_string())
                };
                let other = Sound::open(path).map_err(unread)?;
                return Ok(Sample { recordings: vec![other; own.recordings.len()], ..own.clone() });
            }
            None => {}
        }
        let behind = at - self.files.len();
        if let Some(text) = self.texts.get(behind) {
            let text = text.clone();
            let words = match &own.words {
                Words::Question(_) => Words::Question(text),
                Words::Prompt(_) => Words::Prompt(text),
                Words::Texts(texts) => Words::Texts(vec![text; texts.len()]),
                Words::Nothing => {
                    return Err(input(&CARD, "words that `texts` can stand for", "the sample has none"));
                }
            };
            return Ok(Sample { words, ..own.clone() });
        }
        let none = || SubjectError::NoCase { data: "background".to_owned(), index: at, len: self.len() };
        let many = self.own.among.as_ref().ok_or_else(none)?;
        Ok(many.data().case(behind - self.texts.len())?.sample)
    }
}

/// Files, and those of folders in the order of their names.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, SubjectError> {
    let mut all = Vec::new();
    for path in paths {
        if !path.is_dir() {
            all.push(path.clone());
            continue;
        }
        let said = |error: std::io::Error| SubjectError::Picture {
            path: path.display().to_string(),
            reason: error.to_string(),
        };
        let mut own = Vec::new();
        for entry in std::fs::read_dir(path).map_err(said)? {
            own.push(entry.map_err(said)?.path());
        }
        own.sort();
        all.extend(own);
    }
    Ok(all)
}

impl ExpectedGradients {
    fn background<'a>(&'a self, own: &'a CaseAmong) -> Result<Background<'a>, AnalysisError> {
        let pictures = files(&self.settings.pictures)?.into_iter().map(|path| (Kind::Picture, path));
        let recordings = files(&self.settings.recordings)?.into_iter().map(|path| (Kind::Recording, path));
        let found =
            Background { own, files: pictures.chain(recordings).collect(), texts: &self.settings.texts };
        let none = "none was given: `pictures`, `recordings` or `texts` name some, or a program hands over a data set";
        if found.len() == 0 { Err(input(&CARD, "other samples to compare with", none)) } else { Ok(found) }
    }

    /// How many draws take each sample, and at which places of its path.
    fn draws(&self, of: usize) -> BTreeMap<usize, Vec<f64>> {
        let mut draws: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
        for k in 0..self.samples.get() {
            let seed = self.settings.seed.at(k as u64);
            let chosen = (f64::from(seed.at(0).unit()) * of as f64) as usize;
            draws.entry(chosen.min(of - 1)).or_default().push(f64::from(seed.at(1).unit()));
        }
        draws
    }

    fn sites(&self, on: &On<'_>, inputs: &Inputs, objective: &Objective) -> Result<Vec<Site>, AnalysisError> {
        let first = || entered(on.subject(), inputs, objective).into_iter().take(1).collect();
        let sites: Vec<Site> = self.settings.sites.clone().unwrap_or_else(first);
        let none = || input(&CARD, "a picture or words that the subject publishes", "the sample has neither");
        if sites.is_empty() { Err(none()) } else { Ok(sites) }
    }

    /// Paths from one background sample, or for what can be told without: from zero.
    fn paths(&self, on: &On<'_>, ends: &[End], at: f64) -> Vec<PathIntegral> {
        let (nodes, memory) = (Nodes::One(Node { at, weight: 1.0 }), on.memory().at_most(NonZeroUsize::MIN));
        let path = |ends| PathIntegral { ends, nodes, memory };
        End::paths(on.subject(), ends).into_iter().map(path).collect()
    }
}

fn from_zero(sites: &[Site]) -> Vec<End> {
    sites.iter().map(|site| End::new(*site, Baseline::Zero)).collect()
}

impl Analysis for ExpectedGradients {
    type Input = CaseAmong;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        ends_named(&CARD, None, settings.sites.as_deref())?;
        let samples = at_least_one(&CARD, "samples", settings.samples)?;
        Ok(Self { settings, samples })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, own: &CaseAmong) -> Result<Cost, AnalysisError> {
        let case = &own.case;
        let inputs = on.encode(&case.sample)?;
        let objective = on.form(case, &inputs)?;
        let sites = self.sites(on, &inputs, &objective)?;
        let drawn = self.draws(self.background(own)?.len()).len();
        let paths = self.paths(on, &from_zero(&sites), 1.0).len();
        let times = 1 + on.each(case, &objective).len();
        let walked = times * paths * self.samples.get();
        let cost = Cost::rows(case.settling() + times * (1 + drawn) + 2 * walked).with_gradients(walked);
        Ok(cost.at_once(1, on.row(case, &inputs, &sites)?, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, own: &CaseAmong) -> Result<Answer, AnalysisError> {
        let (subject, case) = (on.subject(), &own.case);
        let (inputs, objective) = on.open(case)?;
        let map = one_row(CARD.id, &inputs)?;
        let sites = self.sites(on, &inputs, &objective)?;
        let background = self.background(own)?;
        let draws = self.draws(background.len());
        let zero = self.paths(on, &from_zero(&sites), 1.0);
        let read: Vec<Site> = zero.iter().flat_map(|path| path.reads(subject, &objective)).collect();
        zero.iter().try_for_each(|path| path.hold(subject, (&inputs, &objective), CARD.id))?;
        let spoken = Spoken::of(on, case, &inputs, &objective)?;
        let total = zero.len() * self.samples.get() * (1 + spoken.objectives().len());
        let mut progress = Progress::new(on.watch(), CARD.id, total);
        let unit = objective.unit();
        // What is found in every draw; the last walk says what moved.
        let mut found = |objective: &Objective| -> Result<(Moments, Vec<Path>), AnalysisError> {
            let whole = on.unedited(case, (&inputs, objective), &read)?;
            let (mut moments, mut last): (Option<Moments>, Vec<Path>) = (None, Vec::new());
            for (sample, places) in &draws {
                let values = self.values(on, &background, *sample, (&sites, &whole))?;
                let ends =
                    sites.iter().zip(values).map(|(site, value)| End::new(*site, Baseline::Given(value)));
                let ends: Vec<End> = ends.collect();
                for at in places {
                    let walk =
                        |path: &PathIntegral| path.walk(subject, (&inputs, objective), &whole, &mut progress);
                    last = self.paths(on, &ends, *at).iter().map(walk).collect::<Result<_, _>>()?;
                    let tables = shown(&last, unit, map, Vec::new())?;
                    match &mut moments {
                        None => moments = Some(Moments::of(tables)),
                        Some(moments) => moments.add(&tables)?,
                    }
                }
            }
            Ok((moments.ok_or(HookError::NoObjective)?, last))
        };
        let (moments, last) = found(&objective)?;
        let each: Vec<_> = spoken.objectives().iter().map(|own| means(&found(own)?.0)).collect();
        let (mut whole, errors) = (means(&moments)?, moments.errors()?);
        let cautions = cautions(&objective, &whole, &errors, &last)?;
        if !errors.is_empty() {
            let ratio = |(size, error): (f64, f64)| {
                if error == 0.0 { 0.0 } else { error / size.max(f64::MIN_POSITIVE) }
            }; // no NaN: finite values
            let ratios =
                last.iter().map(|path| ratio(noise(path, &whole, &errors)).min(f64::from(f32::MAX)) as f32); // no NaN: as above
            whole.push(Labelled::numbers("noise", Unit::Ratio, over_paths(&last), ratios.collect())?);
        }
        let mut tables = spoken.with_each(std::iter::once(Ok(whole)).chain(each))?;
        tables.extend(errors.into_iter().filter(|table| !table.name().starts_with("relative")));
        let against =
            format!("{} of {} other samples, drawn {} times", draws.len(), background.len(), self.samples);
        let answer = Answer::new(tables, sites.clone()).explaining(&objective).against(against);
        Ok(answer.seeded(self.settings.seed).cautioned(cautions).settled("sites", json!(sites)))
    }
}

impl ExpectedGradients {
    /// What a background sample holds at the sites.
    fn values(
        &self,
        on: &On<'_>,
        background: &Background<'_>,
        at: usize,
        (sites, whole): (&[Site], &mmlens_core::Trace),
    ) -> Result<Vec<AnyTensor>, AnalysisError> {
        let subject = on.subject();
        let inputs = on.encode(&background.sample(at)?)?;
        one_row(CARD.id, &inputs)?;
        let mut plan = Plan::new();
        for site in sites {
            plan = plan.read(*site)?;
        }
        let kept = 4 * numbers(subject, &inputs, sites)? as u64;
        on.memory().hold(CARD.id, kept, subject.need(&inputs, &plan, Copies::ONE)?)?;
        let trace = subject.run(&inputs, plan)?;
        let value = |site: &Site| {
            let (value, own) = (trace.get(*site)?.clone(), whole.get(*site)?.dims());
            if value.dims() == own {
                return Ok(value);
            }
            let found =
                format!("{} has {:?} at `{site}`, and the sample {own:?}", background.name(at), value.dims());
            Err(input(&CARD, "other samples whose values have the shape of the sample's", found))
        };
        sites.iter().map(value).collect()
    }
}

/// The means of all draws. What is missed of the change is that of the means, and not the mean of what each draw misses.
fn means(moments: &Moments) -> Result<Vec<Labelled>, AnalysisError> {
    let mut tables = moments.means()?;
    let of = |name: &str| tables.iter().find(|table| table.name() == name).and_then(Labelled::as_numbers);
    let parts = ["objective", "objective at baseline", "completeness gap"].map(of);
    let [Some(objective), Some(baselines), Some(gaps)] = parts else {
        return Err(HookError::NoObjective.into());
    };
    let at = f64::from(objective.first().copied().unwrap_or(f32::NAN));
    let relative =
        baselines.iter().zip(gaps).map(|(end, gap)| over_change(f64::from(*gap), at - f64::from(*end)));
    let relative: Vec<f32> = relative.collect();
    for table in &mut tables {
        if table.name() == "relative completeness gap" {
            *table = Labelled::numbers(table.name(), Unit::Ratio, table.axes().to_vec(), relative.clone())?;
        }
    }
    Ok(tables)
}

/// Of the places and positions of a path the root of the mean square of their contributions, and of their standard errors.
fn noise(path: &Path, tables: &[Labelled], errors: &[Labelled]) -> (f64, f64) {
    let own = |table: &&Labelled| {
        let of_site =
            |site: String| table.name().strip_prefix(&site).is_some_and(|rest| rest.starts_with(['/', ' ']));
        path.along.iter().any(|along| of_site(along.spec.site.to_string()))
    };
    let size = |tables: Vec<&Labelled>| {
        let values = tables.into_iter().flat_map(|table| table.as_numbers().unwrap_or_default());
        let values: Vec<f64> = values.map(|value| f64::from(*value)).collect();
        (values.iter().map(|value| value * value).sum::<f64>() / values.len().max(1) as f64).sqrt()
    };
    let shown = tables.iter().filter(own).filter(|table| !table.is_aside()).collect();
    (size(shown), size(errors.iter().filter(own).collect()))
}

/// What speaks against what was found, path by path.
fn cautions(
    objective: &Objective,
    tables: &[Labelled],
    errors: &[Labelled],
    paths: &[Path],
) -> Result<Vec<Caution>, TableError> {
    let of = |tables: &[Labelled], name: &str| -> Vec<f32> {
        let own = tables.iter().find(|table| table.name() == name).and_then(Labelled::as_numbers);
        own.unwrap_or_default().to_vec()
    };
    let at = of(tables, "objective").first().copied().unwrap_or(f32::NAN);
    let ends = of(tables, "objective at baseline");
    let mut found: Vec<Caution> = caution::saturated(objective, at).into_iter().collect();
    for (path, end) in paths.iter().zip(ends) {
        let moved = moved(path);
        let names = path.along.iter().map(|along| along.spec.site.to_string());
        let values: Vec<f32> = names.flat_map(|name| of(tables, &name)).collect();
        let what = format!("contributions along `{moved}`");
        let (with, without) = ("with the input", format!("in the mean over the background of `{moved}`"));
        let one = caution::rounding(&values, (objective.unit(), at), &what)
            .or_else(|| caution::contrast(objective, (at, with), (end, &without)))
            .or_else(|| {
                let (size, error) = noise(path, tables, errors);
                caution::unsteady(size, Some(error), &format!("the size of {what}"))
            });
        found.extend(one);
    }
    Ok(found)
}
