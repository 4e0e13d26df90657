//! Sparse linear head: how few features can an answer be read from, by a linear function?
//!
//! # Idea
//! With `h` the features at a site, each scaled to mean 0 and deviation 1 over the rows learned from, the elastic net makes least
//!
//! ```text
//! mean over i of -ln softmax(w h_i + b)[c_i]  +  lambda (alpha |w|_1 + (1 - alpha) / 2 |w|^2)
//! ```
//!
//! for a path of `lambda` from the least one at which no weight is needed downwards, each search beginning where the last one ended. Of the path the sparsest head is kept that is about as good as the best, on rows
//! set apart for that; how good it is, other rows say.
//!
//! # In and out
//! In: [`Examples`], or a data set with labels ([`Fit::learn`]). Out: a [`Head`], which is a method of single cases, how the searches ended, and a finding:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `scores` | concept | ratio | of held-out rows: `accuracy`; `least penalty`, of the last head of the path; `random features`, of a head on as many features drawn by chance, the mean over draws; `majority`, the share of the class most frequent among the rows learned from |
//! | `stability` | concept | ratio | over pairs of heads at the penalty that is kept, learned from `draws` other draws of the rows (of each class as many as it has, with replacement): `same answer`, how often two say the same of held-out rows; `by chance`, how often two would that know nothing of one another; `same features`, of those that either uses the share that both use |
//! | `used` | concept | count | weights that are not zero of each vector, and of all features those that any of them uses (`features`) |
//! | `weights` | concept, feature | logit | of each vector, for a feature that rises by one deviation |
//! | `lambda`, `nonzeros` | step | none, count | along the path: the penalty, and weights that are not zero |
//! | `path` | concept, step | ratio | along the path: accuracies on the rows `learned from`, those it is `chosen by`, and those `held out` |
//! | `rows` | concept | count | learned from, chosen by, held out; the step of the path that is kept |
//!
//! Of a case a [`Head`] gives `probabilities` (token or sample, concept), of each class; `contributions` (token or sample, concept, feature) in logits, of each feature that is used, against its mean over the rows learned
//! from; and `base` (concept), the logits of a row at all means: with the contributions they are the logits.
//!
//! # Settings
//! - `site`: `text.blocks.0.resid_post`; `positions`: the last. `held_out`: 0.2 of the groups; `chosen_by`: 0.2 of those that are left.
//! - `alpha`: 0.99, `lambdas`: 30, down to `least`: 0.001 of the largest (glm_saga: 100 of them).
//! - `within`: 0.02, how much less accurate than the best a head may be that is kept; or `nonzeros`: none, the most weights that are not zero, per vector in the mean, in its place.
//! - `steps`: 1000, `tolerance`: 1e-6, of each search. `draws`: 3 sets of random features, and 3 draws of the rows.
//!
//! # Cost
//! One pass for each case, which ends at the site. Then `lambdas + 2 draws` searches of `2 x rows x width x classes` operations for each round. Memory: the rows, in single precision and twice in double precision. A [`Head`] takes one pass.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for counts and numbers that cannot be. Fitting: [`AnalysisError::Input`] for fewer than two classes or three groups, a class that no row is learned from has, rows of another site, features
//! that do not vary with the class; [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - Of features that say the same one is kept and the others are not: that a feature has no weight does not mean that it says nothing. `stability` says how many would be others with other rows.
//! - Labels are those of your cases. Where they are the model's own answers, `accuracy` is the head's fidelity to the model.
//! - It says what can be read, not what the model reads.
//! - The accuracy that a head is chosen by flatters it; look at `scores`.
//!
//! # Agreement
//! scikit-learn 1.9.1, `LogisticRegression` (saga, elastic net, tolerance 1e-12) along a path of twelve penalties, with our tolerance at 1e-8: weights of two classes differ by at most 4.9e-8 and of
//! three by 2.1e-6 (at the least penalty, where the minimum is flattest); weights that are not zero are as many, and accuracies the same, at every penalty. Identities tested: conditions of optimality hold to the tolerance; at the largest penalty no
//! weight is needed; contributions and base are the logits; what is saved and loaded gives the same bits.
//!
//! # Reference
//! Wong, Santurkar, Madry: Leveraging Sparse Linear Layers for Debuggable Deep Networks. ICML 2021. <https://arxiv.org/abs/2105.04857> (glm_saga, which descends by stochastic steps; here coordinates take turns, and the end is checked). On multimodal models:
//! Liang et al.: MultiViz. ICLR 2023. <https://arxiv.org/abs/2207.00056>.
//!
//! # Example
//! ```
//! use mmlens_core::{Annotated, Case, Fit, On, Sample, Seed, from_fn};
//! use mmlens_design::sparse_head::{Settings, SparseHead};
//! let toy = mmlens_testkit::Toy::curved(1);
//! let of = |i: usize| format!("{}b{}", if i % 2 == 0 { "a" } else { "c" }, ["d", "e", "f"][i % 3]);
//! let data = from_fn("words", 30, |i| Ok(Case::new(Sample::text(of(i)))));
//! let data = Annotated::new(data, ["a", "c"], (0..30).map(|i| i % 2).collect())?;
//! let head = SparseHead::new(Settings { site: "text.blocks.1.resid_post".parse()?, lambdas: 8, ..Settings::default() })?;
//! let learned = head.learn(&On::new(&toy), &data, Seed(1))?;
//! println!("{:?} {:?}", learned.finding.table("scores")?.as_numbers(), learned.finding.table("used")?.as_numbers());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::path::Path;

use mmlens_core::check::{above_zero, at_least_one, input, setting, share};
use mmlens_core::finding::{Axis, Caution, Labelled, Role, Unit};
use mmlens_core::{
    AnalysisError, Card, Ended, Examples, Fit, Leaf, Outcome, Part, Point, Seed, Site, Source, Split, Watch,
    held_out, learned_from, step,
};
use mmlens_engine::{
    Classed, ElasticNet, Limits, Logistic, Penalty, Positions, Scale, drawn_order, examples_of, vectors,
};
use serde::{Deserialize, Serialize};

use crate::learned::{accuracy, few_rows, most_frequent, named, no_better, said, stopped};
use crate::stability::{Again, Model, drawn, stability};

mod head;

pub use head::{Head, Learned};

/// What this method is.
pub const CARD: Card = Card {
    id: "sparse-head",
    short: "sparse-head",
    name: "Sparse linear head (elastic net)",
    question: "How few features can an answer be read from, by a linear function?",
    citation: "Wong, Santurkar, Madry: Leveraging Sparse Linear Layers for Debuggable Deep Networks. ICML 2021. https://arxiv.org/abs/2105.04857",
    leaf: Leaf::Architecture,
    cost: "1 forward for each case; of what was learned 1 forward",
    needs: &[],
    misleads: &[
        "Of features that say the same one is kept.",
        "It says what can be read, not what the model reads.",
        "The accuracy that a head is chosen by flatters it.",
    ],
    first: false,
};

/// Which items of a seed decide what a head is chosen by, and the random features.
const CHOSEN_BY: u64 = 1 << 32;
const RANDOM: u64 = 1 << 33;

/// How a head is learned.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What is read.
    pub site: Site,
    /// At which positions.
    pub positions: Positions,
    /// The share of the penalty that is on magnitudes.
    pub alpha: f64,
    /// How many penalties.
    pub lambdas: usize,
    /// The least of them, as a share of the largest.
    pub least: f64,
    /// How much less accurate than the best a head may be that is kept.
    pub within: f64,
    /// The most weights per vector that are not zero, in the place of `within`.
    pub nonzeros: Option<usize>,
    /// The share of the groups that is held out.
    pub held_out: f64,
    /// The share of the groups left that a head is chosen by.
    pub chosen_by: f64,
    /// The most rounds of a search.
    pub steps: usize,
    /// By how much a condition of optimality may be missed.
    pub tolerance: f64,
    /// How many sets of random features, and how many draws of the rows.
    pub draws: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            site: Site::block(Part::Text, 0, Point::ResidPost),
            positions: Positions::Last,
            alpha: 0.99,
            lambdas: 30,
            least: 1e-3,
            within: 0.02,
            nonzeros: None,
            held_out: 0.2,
            chosen_by: 0.2,
            steps: 1000,
            tolerance: 1e-6,
            draws: 3,
        }
    }
}

/// What learns a sparse head, with checked settings.
#[derive(Debug, Clone)]
pub struct SparseHead {
    settings: Settings,
    /// The method that errors are of.
    card: &'static Card,
}

/// Rows by what they are for, all scaled.
pub(crate) struct Parts {
    pub(crate) learned: Classed,
    pub(crate) chosen_by: Classed,
    pub(crate) held: Classed,
    pub(crate) scale: Scale,
}

/// A head of the path.
pub(crate) struct Tried {
    pub(crate) lambda: f64,
    pub(crate) model: Logistic,
    pub(crate) ended: Ended,
    /// On the rows learned from, chosen by, held out.
    pub(crate) accuracies: [f64; 3],
}

impl Tried {
    fn nonzeros(&self) -> usize {
        self.model.weights.iter().flatten().filter(|weight| **weight != 0.0).count()
    }

    /// Features that any vector uses.
    pub(crate) fn features(&self) -> Vec<usize> {
        used(&self.model).collect()
    }
}

impl Fit for SparseHead {
    type From = Examples;
    type Settings = Settings;
    type Fitted = Head;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        for (name, count) in
            [("lambdas", settings.lambdas), ("steps", settings.steps), ("draws", settings.draws)]
        {
            at_least_one(&CARD, name, count)?;
        }
        if let Some(count) = settings.nonzeros {
            at_least_one(&CARD, "nonzeros", count)?;
        }
        above_zero(&CARD, "tolerance", settings.tolerance)?;
        for (name, value) in [
            ("least", settings.least),
            ("within", settings.within),
            ("held_out", settings.held_out),
            ("chosen_by", settings.chosen_by),
        ] {
            share(&CARD, name, value)?;
        }
        if !(settings.alpha > 0.0 && settings.alpha <= 1.0) {
            return Err(setting(&CARD, "alpha", settings.alpha, "it must be above 0, and at most 1"));
        }
        Ok(Self { settings, card: &CARD })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn fit(&self, from: &Examples, seed: Seed, watch: &dyn Watch) -> Result<Outcome<Head>, AnalysisError> {
        let Settings { site, lambdas, draws, .. } = self.settings;
        let parts = self.parts(from, seed)?;
        let total = lambdas + draws + 1;
        let path = self.path(&parts, &mut |done| step(watch, CARD.id, done, total))?;
        let kept = self.kept(&path);
        let (Some(chosen), Some(last)) = (path.get(kept), path.last()) else {
            return Err(input(&CARD, "at least one penalty", "there was none"));
        };
        let mut random = 0.0;
        for draw in 0..draws {
            let order = drawn_order(from.width(), seed.at(RANDOM + draw as u64));
            let features: Vec<usize> = order.into_iter().take(chosen.features().len()).collect();
            let (learned, held) = (only(&parts.learned, &features), only(&parts.held, &features));
            random += self.search(&learned, chosen.lambda).map(|(model, _)| accuracy(&model, &held))?
                / draws as f64;
            step(watch, CARD.id, lambdas + draw + 1, total)?;
        }
        let (stable, unstable) = self.stability("the head", &parts, chosen, seed)?;
        step(watch, CARD.id, total, total)?;
        let most = most_frequent(&parts.learned.labels);
        let majority = crate::learned::share(parts.held.labels.iter().map(|label| *label == most));
        let [_, _, own] = chosen.accuracies;
        let scores = [
            ("accuracy", own),
            ("least penalty", last.accuracies[2]),
            ("random features", random),
            ("majority", majority),
        ];
        let mut tables = vec![named("scores", Unit::Ratio, &scores)?, stable];
        tables.extend(tables_of(from.classes(), &path, kept, &parts)?);
        let mut said: Vec<Caution> = few_rows(parts.held.labels.len()).into_iter().collect();
        said.extend(no_better("the head", own, "who looks at nothing", majority));
        if !chosen.features().is_empty() {
            said.extend(no_better("the head", own, "one on as many features drawn by chance", random));
        }
        said.extend(unstable);
        said.extend(stopped(
            "searches of the path",
            path.iter().map(|tried| tried.ended),
            self.settings.steps,
        ));
        tables.extend(Caution::tables(&said)?);
        let ended = chosen.ended;
        let Logistic { weights, intercepts } = parts.scale.undone(chosen.model.clone());
        let learned = Learned {
            site,
            positions: self.settings.positions.clone(),
            classes: from.classes().to_vec(),
            weights,
            intercepts,
            means: parts.scale.means.clone(),
        };
        let made = learned_from((&CARD, &self.settings), (from, site), seed)?;
        Outcome::of(learned, ended, (made, tables))
    }

    fn learn_from(
        &self,
        from: &Source<'_>,
        seed: Seed,
        _keep: Option<&Path>,
    ) -> Result<Outcome<Head>, AnalysisError> {
        let rows = examples_of((from, CARD.id), self.settings.site, &self.settings.positions)?;
        self.fit(&rows, seed, from.watch())
    }
}

impl SparseHead {
    /// A head as a part of another method.
    pub(crate) fn of(card: &'static Card, settings: Settings) -> Self {
        Self { settings, card }
    }

    fn limits(&self) -> Limits {
        Limits { steps: self.settings.steps, gradient: self.settings.tolerance }
    }

    /// The rows learned from, those that a head is chosen by, and those held out.
    pub(crate) fn apart(&self, from: &Examples, seed: Seed) -> Result<[Vec<usize>; 3], AnalysisError> {
        let Settings { site, held_out: share, chosen_by, .. } = self.settings;
        let split = Split::of(self.card, (from, site), share, seed)?;
        let left = split.rows(false);
        let groups: Vec<u64> = left.iter().filter_map(|row| from.groups().get(*row).copied()).collect();
        let apart = held_out(&groups, chosen_by, seed.at(CHOSEN_BY));
        let apart = apart.ok_or_else(|| input(self.card, "at least three groups", "there are two"))?;
        let part = |which: bool| -> Vec<usize> {
            left.iter().zip(&apart).filter(|(_, apart)| **apart == which).map(|(row, _)| *row).collect()
        };
        let (learned, by) = (part(false), part(true));
        let out = (0..from.len()).map(|row| learned.binary_search(&row).is_err()).collect();
        Split { out }.with_every_class(self.card, from)?;
        Ok([learned, by, split.rows(true)])
    }

    pub(crate) fn parts(&self, from: &Examples, seed: Seed) -> Result<Parts, AnalysisError> {
        let [learned, by, held] = self.apart(from, seed)?;
        let all: Vec<&[f32]> = from.rows().collect();
        let chosen =
            |rows: &[usize]| rows.iter().filter_map(|row| all.get(*row).copied()).collect::<Vec<_>>();
        let own = chosen(&learned);
        let scale = Scale::of_rows(from.width(), || own.iter().copied());
        let classed = |rows: &[usize]| Classed {
            values: chosen(rows).into_iter().flat_map(|row| scale.of(row).collect::<Vec<_>>()).collect(),
            width: from.width(),
            labels: rows.iter().filter_map(|row| from.labels().get(*row).copied()).collect(),
            classes: from.classes().len(),
        };
        let (learned, chosen_by, held) = (classed(&learned), classed(&by), classed(&held));
        Ok(Parts { learned, chosen_by, held, scale })
    }

    /// Heads for every penalty, the strongest first.
    pub(crate) fn path(
        &self,
        parts: &Parts,
        each: &mut dyn FnMut(usize) -> Result<(), AnalysisError>,
    ) -> Result<Vec<Tried>, AnalysisError> {
        let Settings { alpha, lambdas, least, .. } = self.settings;
        let net = ElasticNet::new(&parts.learned, &[]);
        let mut model = net.start(self.card.id, self.limits())?;
        let most = net.largest_lambda(alpha, &model);
        if most <= self.settings.tolerance {
            return Err(input(self.card, "features that vary with the class", "none does"));
        }
        let mut path = Vec::with_capacity(lambdas);
        for at in 0..lambdas {
            let share = at as f64 / (lambdas - 1).max(1) as f64;
            let lambda = most * least.powf(share);
            let (next, ended) =
                net.fit(self.card.id, Penalty { lambda, alpha }, self.limits(), &model, &mut |_| Ok(()))?;
            model = next.clone();
            let accuracies =
                [&parts.learned, &parts.chosen_by, &parts.held].map(|rows| accuracy(&model, rows));
            path.push(Tried { lambda, model: next, ended, accuracies });
            each(at + 1)?;
        }
        Ok(path)
    }

    /// How accurate, on the rows held out, the head is that is kept; where nothing varies with the class, one without weights.
    pub(crate) fn best(&self, from: &Examples, seed: Seed) -> Result<f64, AnalysisError> {
        let parts = self.parts(from, seed)?;
        let net = ElasticNet::new(&parts.learned, &[]);
        let start = net.start(self.card.id, self.limits())?;
        if net.largest_lambda(self.settings.alpha, &start) <= self.settings.tolerance {
            return Ok(accuracy(&start, &parts.held));
        }
        let path = self.path(&parts, &mut |_| Ok(()))?;
        Ok(path.get(self.kept(&path)).map_or(0.0, |tried| tried.accuracies[2]))
    }

    /// How far others at the same penalty, learned from other draws of the rows, say and use the same.
    pub(crate) fn stability(
        &self,
        what: &str,
        parts: &Parts,
        kept: &Tried,
        seed: Seed,
    ) -> Result<(Labelled, Vec<Caution>), AnalysisError> {
        let of = |model: &Logistic| Model { said: said(model, &parts.held), used: used(model).collect() };
        let mut models = vec![of(&kept.model)];
        for draw in 0..self.settings.draws as u64 {
            let rows = drawn(&parts.learned.labels, parts.learned.classes, draw, seed);
            models.push(of(&self.search(&chosen(&parts.learned, &rows), kept.lambda)?.0));
        }
        Ok(stability(&Again::Rows(what), &models)?)
    }

    fn search(&self, rows: &Classed, lambda: f64) -> Result<(Logistic, Ended), AnalysisError> {
        let net = ElasticNet::new(rows, &[]);
        let start = net.start(self.card.id, self.limits())?;
        let penalty = Penalty { lambda, alpha: self.settings.alpha };
        net.fit(self.card.id, penalty, self.limits(), &start, &mut |_| Ok(()))
    }

    /// Which head of the path is kept.
    pub(crate) fn kept(&self, path: &[Tried]) -> usize {
        if let Some(most) = self.settings.nonzeros {
            let fits = |tried: &Tried| tried.nonzeros() <= most * tried.model.weights.len();
            return path.iter().rposition(fits).unwrap_or(0);
        }
        let by: Vec<f64> = path.iter().map(|tried| tried.accuracies[1]).collect();
        let best = by.iter().copied().fold(0.0, f64::max); // no NaN: shares of rows
        by.iter().position(|own| *own >= best - self.settings.within).unwrap_or(0)
    }
}

/// Features that any vector uses.
fn used(model: &Logistic) -> impl Iterator<Item = usize> + '_ {
    let width = model.weights.first().map_or(0, Vec::len);
    let used = |at: &usize| model.weights.iter().any(|own| own.get(*at).is_some_and(|w| *w != 0.0));
    (0..width).filter(used)
}

/// Some rows, one as often as it is named.
fn chosen(from: &Classed, rows: &[usize]) -> Classed {
    let each = rows.iter().filter_map(|row| from.values.chunks_exact(from.width.max(1)).nth(*row));
    Classed {
        values: each.flatten().copied().collect(),
        labels: rows.iter().filter_map(|row| from.labels.get(*row).copied()).collect(),
        ..*from
    }
}

/// Some features of rows.
fn only(rows: &Classed, features: &[usize]) -> Classed {
    let each = rows.values.chunks_exact(rows.width.max(1));
    let some = |row: &[f64]| features.iter().filter_map(|at| row.get(*at).copied()).collect::<Vec<_>>();
    Classed { values: each.flat_map(some).collect(), width: features.len(), ..rows.clone() }
}

/// The classes that have a vector.
pub(crate) fn with_vector(classes: &[String]) -> impl Iterator<Item = &str> {
    classes.iter().skip(classes.len() - vectors(classes.len()).min(classes.len())).map(String::as_str)
}

/// Features by their numbers: what stands before them is the name of the axis.
pub(crate) fn feature_axis(features: impl IntoIterator<Item = usize>) -> Axis {
    Axis::names(Role::Feature, features.into_iter().map(|at| at.to_string()))
}

fn tables_of(
    classes: &[String],
    path: &[Tried],
    kept: usize,
    parts: &Parts,
) -> Result<Vec<Labelled>, AnalysisError> {
    let steps = || Axis::count(Role::Step, path.len());
    let Some(chosen) = path.get(kept) else { return Ok(Vec::new()) };
    let f32s = |values: Vec<f64>| values.into_iter().map(|value| value as f32).collect::<Vec<f32>>();
    let vectors = || Axis::names(Role::Concept, with_vector(classes));
    let used: Vec<(&str, f64)> = with_vector(classes)
        .zip(&chosen.model.weights)
        .map(|(class, own)| (class, own.iter().filter(|weight| **weight != 0.0).count() as f64))
        .chain([("all features", chosen.features().len() as f64)])
        .collect();
    let by: Vec<f64> =
        (0..3).flat_map(|which| path.iter().map(move |tried| tried.accuracies[which])).collect();
    let which = Axis::names(Role::Concept, ["learned from", "chosen by", "held out"]);
    let counts = [
        ("learned from", parts.learned.labels.len() as f64),
        ("chosen by", parts.chosen_by.labels.len() as f64),
        ("held out", parts.held.labels.len() as f64),
        ("step", kept as f64),
    ];
    let width = parts.learned.width;
    let weights = f32s(chosen.model.weights.concat());
    Ok(vec![
        named("used", Unit::Count, &used)?,
        Labelled::numbers("path", Unit::Ratio, vec![which, steps()], f32s(by))?,
        Labelled::numbers(
            "nonzeros",
            Unit::Count,
            vec![steps()],
            path.iter().map(|tried| tried.nonzeros() as f32).collect(),
        )?,
        Labelled::numbers(
            "lambda",
            Unit::None,
            vec![steps()],
            f32s(path.iter().map(|t| t.lambda).collect()),
        )?
        .aside(),
        Labelled::numbers("weights", Unit::Logit, vec![vectors(), feature_axis(0..width)], weights)?.aside(),
        named("rows", Unit::Count, &counts)?.aside(),
    ])
}
