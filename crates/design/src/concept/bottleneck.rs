//! Post-hoc concept bottleneck: can answers be told from concepts alone, and do they change as they should when a concept is corrected?
//!
//! # Idea
//! For each concept that cases name, a linear classifier tells rows `h` that have it from those that have not; its margin is the distance from where it changes its mind. A sparse head reads classes from margins alone:
//!
//! ```text
//! m_j = (w_j h + b_j) / |w_j|        p(c | h) = softmax(u m + a)[c]
//! ```
//!
//! The head is that of [`sparse_head`]: a path of penalties, chosen by rows of its own, scored on others. An *intervention* puts in the place of a margin the mean margin of rows that have the concept, or have it not, as the
//! truth is. The *hybrid* adds to the head a linear function of `h` itself, learned with the head fixed: what concepts leave out.
//!
//! # In and out
//! In: [`Described`] rows, or a data set with labels that names concepts ([`Fit::learn`]). Out: a [`Bottleneck`], which is a method of single cases, how the search ended, and a finding:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `scores` | concept | ratio | of held-out rows: `accuracy`; `hybrid`; `all features`, of logistic regression on `h`; `true concepts`, of a head on what rows really have; `random concepts`, of a head on as many directions drawn by chance, the mean over draws; `majority` |
//! | `stability` | concept | ratio | over pairs of heads on the same margins, learned from other draws of the rows, as of a [`sparse_head`]: `same answer`, `by chance`, and `same features`, the concepts that both use |
//! | `concepts` | concept | ratio | of held-out rows, how often each concept's classifier is right: the mean of rows that have it and of those that have not, so that guessing gives a half |
//! | `used` | concept | count | weights that are not zero of each vector of the head, and concepts that any of them uses |
//! | `interventions` | concept, step | ratio | accuracies with the `truth` of the first so many of the concepts used put in, those of the largest weights first; and with `another row's` truth, the mean over draws |
//! | `order` | step | text | the concept that is put in at each step but the first |
//! | `weights` | concept, feature | logit | of each vector, for a margin that rises by one deviation |
//! | `rows` | concept | count | learned from, chosen by, held out; the step of the path that is kept; concepts left out, for too few rows |
//!
//! Of a case a [`Bottleneck`] gives `probabilities` (token or sample, concept), `margins` (token or sample, feature), `contributions` (token or sample, concept, feature) in logits, of each concept that is used, against its mean, and `base`
//! (concept): together they are the logits, and with `rest` (token or sample, concept) those of the hybrid. [`Bottleneck::knowing`] makes an intervention: concepts that are known to be there or not. `margins` stay as they were measured; everything else follows what is known.
//!
//! # Settings
//! - `site`: `text.blocks.0.resid_post`; `positions`: the last. `concepts`: none, for all that at least `least` (10) of the rows learned from have, and as many have not; those that are named must.
//! - `c`: 1, the inverse strength of the penalty of a concept's classifier and of `all features`, on rows of deviation 1. `hybrid`: no. `rest`: 0.1, the penalty on squares of what is added.
//! - `alpha`, `lambdas`, `within`, `nonzeros`, `held_out`, `chosen_by`, `steps`, `tolerance`, `draws`: as of a sparse head, whose defaults they have.
//!
//! # Cost
//! One pass for each case, which ends at the site. Then `concepts + 1` classifiers of the width, and `lambdas x (draws + 2) + draws` heads of as many features as there are concepts. A [`Bottleneck`] takes one pass.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for counts and numbers that cannot be, a concept named twice. Fitting: [`AnalysisError::Input`] for recorded activations, cases without labels or that name no concepts, a concept that is named and too few rows have or lack,
//! fewer than two classes or three groups, concepts that do not vary with the class; [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - Margins hold more than the concept (leakage): a head may read the class from how far a row lies on the side of a concept that has nothing to do with it. A caution comes where the head is better than one on `true concepts`.
//! - A concept that goes with another is not told from it: correcting it may change nothing, or the wrong thing.
//! - Interventions say what this head does, not what the model would.
//! - Concepts that few rows have are learned badly, and left out below `least`.
//!
//! # Agreement
//! scikit-learn 1.9.1 (`LogisticRegression`, for classifiers with lbfgs and for the head with saga) and steps of Newton in numpy (for what the hybrid adds) on drawn rows, two and three classes, with our tolerance at 1e-9: directions, offsets and mean
//! margins differ by at most 5.6e-8, weights of the head by 5.1e-8, what the hybrid adds by 1e-8; accuracies and interventions are the same. Identities tested: contributions, base and rest are the logits; knowing
//! nothing changes nothing; what is saved and loaded gives the same bits.
//!
//! # Reference
//! Yuksekgonul, Wang, Zou: Post-hoc Concept Bottleneck Models. ICLR 2023. <https://arxiv.org/abs/2205.15480>. There concepts are learned by linear SVMs and the head by stochastic steps; here by logistic regression and by coordinates, so that the same rows give the same bottleneck.
//! Interventions: Koh et al.: Concept Bottleneck Models. ICML 2020. <https://arxiv.org/abs/2007.04612>.
//!
//! # Example
//! ```
//! use mmlens_core::{Examples, Fit, Seed, Unwatched};
//! use mmlens_design::bottleneck::{Described, PostHocBottleneck, Settings};
//! let value = |i: usize| [(i % 2) as f32, (i / 2 % 2) as f32, (i * i % 7) as f32];
//! let labels: Vec<usize> = (0..80).map(|i| i % 2 & i / 2 % 2).collect();
//! let rows = Examples::new("drawn", (0..80).flat_map(value).collect(), vec!["no".into(), "yes".into()], labels)?;
//! let has = (0..80).map(|i| [("red", i % 2 == 1), ("round", i / 2 % 2 == 1)]).map(|row| row.into_iter().filter(|(_, has)| *has).map(|(name, _)| name.to_owned()).collect());
//! let learned = PostHocBottleneck::new(Settings::default())?.fit(&Described::new(rows, has.collect())?, Seed(1), &Unwatched)?;
//! println!("{:?} {:?}", learned.finding.table("scores")?.as_numbers(), learned.finding.table("interventions")?.as_numbers());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::BTreeSet;
use std::path::Path;

use mmlens_core::check::{above_zero, at_least_one, input, setting};
use mmlens_core::finding::{Caution, CautionKind, Unit};
use mmlens_core::{
    AnalysisError, Card, Ended, Examples, Fit, Leaf, Outcome, Part, Point, Seed, Site, Source, Watch,
    learned_from, step,
};
use mmlens_engine::{
    Classed, ElasticNet, Limits, Logistic, Penalty, Positions, Scale, direction, dot, examples_seen,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::learned::{accuracy, few_rows, likeliest, most_frequent, named, no_better, share, stopped};
use crate::surrogate::sparse_head::{self, SparseHead};

mod model;
mod tables;

pub use model::{Bottleneck, Learned};
use tables::{leaks, tables_of, untold};

/// What this method is.
pub const CARD: Card = Card {
    id: "post-hoc-bottleneck",
    short: "bottleneck",
    name: "Post-hoc concept bottleneck, with interventions",
    question: "Can answers be told from concepts alone, and do they change as they should when a concept is corrected?",
    citation: "Yuksekgonul, Wang, Zou: Post-hoc Concept Bottleneck Models. ICLR 2023. https://arxiv.org/abs/2205.15480",
    leaf: Leaf::Architecture,
    cost: "1 forward for each case; of what was learned 1 forward",
    needs: &[],
    misleads: &[
        "Margins hold more than the concept they are called by.",
        "A concept that goes with another is not told from it.",
        "Interventions say what this head does, not what the model would.",
    ],
    first: false,
};

/// So many concepts are named where many are left out.
const NAMED: usize = 12;
/// Which items of a seed the random directions are.
const RANDOM: u64 = 1 << 34;

/// Rows with their classes, and the concepts that each of them has.
#[derive(Debug, Clone)]
pub struct Described {
    rows: Examples,
    has: Vec<BTreeSet<String>>,
}

impl Described {
    /// Of each row the names of its concepts.
    ///
    /// # Errors
    /// [`AnalysisError::Input`] for more or fewer than rows, or if no row has a concept.
    pub fn new(rows: Examples, has: Vec<BTreeSet<String>>) -> Result<Self, AnalysisError> {
        if has.len() != rows.len() {
            let found = format!("there are {} for {} rows", has.len(), rows.len());
            return Err(input(&CARD, "the concepts of each row", found));
        }
        if has.iter().all(BTreeSet::is_empty) {
            let found = format!("no case of `{}` names one", rows.data());
            return Err(input(&CARD, "cases that name the concepts they show", found));
        }
        Ok(Self { rows, has })
    }

    fn names(&self) -> BTreeSet<&str> {
        self.has.iter().flatten().map(String::as_str).collect()
    }

    fn column(&self, name: &str) -> Vec<bool> {
        self.has.iter().map(|own| own.contains(name)).collect()
    }

    /// SHA-256 of what rows have, in hexadecimal digits.
    fn hash(&self) -> String {
        mmlens_files::sha256(json!(self.has).to_string())
    }
}

/// How a bottleneck is learned.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What is read.
    pub site: Site,
    /// At which positions.
    pub positions: Positions,
    /// The concepts; none for all that rows have often enough.
    pub concepts: Vec<String>,
    /// The fewest rows learned from that have a concept, and that have it not.
    pub least: usize,
    /// The inverse strength of the penalty of a concept's classifier.
    pub c: f64,
    /// Whether what concepts leave out is added.
    pub hybrid: bool,
    /// The penalty on squares of what is added.
    pub rest: f64,
    /// The share of the head's penalty that is on magnitudes.
    pub alpha: f64,
    /// How many penalties.
    pub lambdas: usize,
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
    /// How many sets of random directions, of other rows, and how many draws of the rows.
    pub draws: usize,
}

impl Default for Settings {
    fn default() -> Self {
        let head = sparse_head::Settings::default();
        Self {
            site: Site::block(Part::Text, 0, Point::ResidPost),
            positions: Positions::Last,
            concepts: Vec::new(),
            least: 10,
            c: 1.0,
            hybrid: false,
            rest: 0.1,
            alpha: head.alpha,
            lambdas: head.lambdas,
            within: head.within,
            nonzeros: head.nonzeros,
            held_out: head.held_out,
            chosen_by: head.chosen_by,
            steps: head.steps,
            tolerance: head.tolerance,
            draws: head.draws,
        }
    }
}

/// What learns a bottleneck, with checked settings.
#[derive(Debug, Clone)]
pub struct PostHocBottleneck {
    settings: Settings,
    head: SparseHead,
}

/// A concept as a direction of length one, and how far from zero it changes its mind.
struct Concept {
    name: String,
    direction: Vec<f64>,
    offset: f64,
    has: Vec<bool>,
    /// Mean margins of rows learned from, of those that have it not, and of those that have it.
    means: [f64; 2],
    ended: Ended,
}

impl Concept {
    fn margin(&self, row: &[f64]) -> f64 {
        dot(&self.direction, row) + self.offset
    }
}

impl Fit for PostHocBottleneck {
    type From = Described;
    type Settings = Settings;
    type Fitted = Bottleneck;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        let Settings { alpha, lambdas, within, nonzeros, held_out, chosen_by, .. } = settings;
        let Settings { steps, tolerance, draws, .. } = settings;
        for (name, count) in
            [("least", settings.least), ("lambdas", lambdas), ("steps", steps), ("draws", draws)]
        {
            at_least_one(&CARD, name, count)?;
        }
        if let Some(count) = nonzeros {
            at_least_one(&CARD, "nonzeros", count)?;
        }
        for (name, value) in [("c", settings.c), ("rest", settings.rest), ("tolerance", tolerance)] {
            above_zero(&CARD, name, value)?;
        }
        for (name, value) in [("within", within), ("held_out", held_out), ("chosen_by", chosen_by)] {
            mmlens_core::check::share(&CARD, name, value)?;
        }
        if !(alpha > 0.0 && alpha <= 1.0) {
            return Err(setting(&CARD, "alpha", alpha, "it must be above 0, and at most 1"));
        }
        let mut seen = BTreeSet::new();
        if let Some(name) = settings.concepts.iter().find(|name| !seen.insert(name.as_str())) {
            return Err(setting(&CARD, "concepts", format!("`{name}` twice"), "a concept is named once"));
        }
        let head = sparse_head::Settings {
            site: settings.site,
            alpha,
            lambdas,
            within,
            nonzeros,
            held_out,
            chosen_by,
            steps,
            tolerance,
            draws,
            ..sparse_head::Settings::default()
        };
        Ok(Self { head: SparseHead::of(&CARD, head), settings })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn fit(
        &self,
        from: &Described,
        seed: Seed,
        watch: &dyn Watch,
    ) -> Result<Outcome<Bottleneck>, AnalysisError> {
        let Settings { site, lambdas, draws, .. } = self.settings;
        let rows = &from.rows;
        let [learned, _, held] = self.head.apart(rows, seed)?;
        let wide: Vec<Vec<f64>> =
            rows.rows().map(|row| row.iter().map(|x| f64::from(*x)).collect()).collect();
        let scale = Scale::of_rows(rows.width(), || {
            learned.iter().filter_map(|row| wide.get(*row)).map(Vec::as_slice)
        });
        let (names, missing) = self.names(from, &learned)?;
        let left_out = missing.len();
        let total = names.len() + lambdas + draws + 3;
        let mut done = 0;
        let mut advance = || {
            done += 1;
            step(watch, CARD.id, done, total)
        };
        let of = |chosen: &[usize], labels: &dyn Fn(usize) -> usize, classes: usize| Classed {
            values: chosen
                .iter()
                .filter_map(|row| wide.get(*row))
                .flat_map(|row| scale.of(row).collect::<Vec<_>>())
                .collect(),
            width: rows.width(),
            labels: chosen.iter().map(|row| labels(*row)).collect(),
            classes,
        };
        let label = |row: usize| rows.labels().get(row).copied().unwrap_or_default();
        let classes = rows.classes().len();

        let mut concepts = Vec::with_capacity(names.len());
        for name in names {
            let has = from.column(&name);
            let two = of(&learned, &|row| usize::from(has.get(row).copied().unwrap_or(false)), 2);
            concepts.push(self.concept((name, has), (&two, &scale), (&wide, &learned))?);
            advance()?;
        }
        let margins = |row: &[f64]| concepts.iter().map(|own| own.margin(row)).collect::<Vec<_>>();
        let over = |each: &dyn Fn(usize, &[f64]) -> Vec<f64>| -> Result<Examples, AnalysisError> {
            let values =
                wide.iter().enumerate().flat_map(|(at, row)| each(at, row)).map(|x| x as f32).collect();
            Examples::new(rows.data(), values, rows.classes().to_vec(), rows.labels().to_vec())?
                .grouped(rows.groups().to_vec())
        };
        let parts = self.head.parts(&over(&|_, row| margins(row))?, seed)?;
        let path = self.head.path(&parts, &mut |_| advance())?;
        let kept = self.head.kept(&path);
        let Some(chosen) = path.get(kept) else {
            return Err(input(&CARD, "at least one penalty", "there was none"));
        };

        let truth = |row: usize| {
            concepts
                .iter()
                .map(|own| f64::from(u8::from(own.has.get(row).copied().unwrap_or(false))))
                .collect()
        };
        let by_truth = self.head.best(&over(&|row, _| truth(row))?, seed)?;
        let mut by_chance = 0.0;
        for draw in 0..draws as u64 {
            let own = seed.at(RANDOM + draw);
            let drawn: Vec<Vec<f64>> =
                (0..concepts.len() as u64).map(|at| direction(rows.width(), own.at(at))).collect();
            let drawn = over(&|_, row| {
                let row: Vec<f64> = scale.of(row).collect();
                drawn.iter().map(|own| dot(own, &row)).collect()
            })?;
            // The rows are apart as for all others: directions alone are drawn.
            by_chance += self.head.best(&drawn, seed)? / draws as f64;
            advance()?;
        }
        let (stable, unstable) = self.head.stability("the head", &parts, chosen, seed)?;
        advance()?;
        let kept_rows = of(&learned, &label, classes);
        let held_rows = of(&held, &label, classes);
        let limits = Limits { steps: self.settings.steps, gradient: self.settings.tolerance };
        let (dense, _) = Logistic::fit(CARD.id, &kept_rows, self.settings.c, limits, &mut |_| Ok(()))?;
        let by_all = accuracy(&dense, &held_rows);
        advance()?;

        let head = parts.scale.undone(chosen.model.clone());
        let offsets = |chosen: &[usize]| -> Vec<f64> {
            chosen
                .iter()
                .filter_map(|row| wide.get(*row))
                .flat_map(|row| scores(&head, &margins(row)))
                .collect()
        };
        let given = offsets(&learned);
        let net = ElasticNet::new(&kept_rows, &given);
        let none = Logistic {
            weights: vec![vec![0.0; rows.width()]; head.weights.len()],
            intercepts: vec![0.0; head.weights.len()],
        };
        let penalty = Penalty { lambda: self.settings.rest, alpha: 0.0 };
        let (rest, rest_ended) = net.fit(CARD.id, penalty, limits, &none, &mut |_| Ok(()))?;
        let both = held_rows.values.chunks_exact(rows.width()).zip(
            offsets(&held).chunks_exact(head.weights.len().max(1)).map(<[f64]>::to_vec).collect::<Vec<_>>(),
        );
        let hybrid = share(both.zip(&held_rows.labels).map(|((row, own), class)| {
            let sum: Vec<f64> = scores(&rest, row).iter().zip(&own).map(|(rest, own)| rest + own).collect();
            says(&sum) == *class
        }));
        advance()?;

        let [_, _, own] = chosen.accuracies;
        let most = most_frequent(&parts.learned.labels);
        let majority = share(parts.held.labels.iter().map(|label| *label == most));
        let scored = [
            ("accuracy", own),
            ("hybrid", hybrid),
            ("all features", by_all),
            ("true concepts", by_truth),
            ("random concepts", by_chance),
            ("majority", majority),
        ];
        let mut tables = vec![named("scores", Unit::Ratio, &scored)?, stable];
        let held_wide: Vec<(usize, &[f64])> =
            held.iter().filter_map(|row| Some((*row, wide.get(*row)?.as_slice()))).collect();
        tables.extend(tables_of(
            (rows.classes(), &concepts),
            (chosen, kept, left_out),
            &held_wide,
            [learned.len(), parts.chosen_by.labels.len(), held.len()],
        )?);
        tables.extend(self.interventions((&concepts, &head, chosen), &held_wide, (&label, seed))?);
        let mut said: Vec<Caution> = few_rows(held.len()).into_iter().collect();
        said.extend(no_better("the bottleneck", own, "who looks at nothing", majority));
        said.extend(no_better("the bottleneck", own, "one of as many directions drawn by chance", by_chance));
        said.extend(leaks((own, by_truth), held.len()));
        said.extend(
            tables.iter().find(|table| table.name() == "concepts").and_then(|own| untold(own, held.len())),
        );
        said.extend(unstable);
        if left_out > 0 {
            said.push(Caution::new(CautionKind::FewRows, left_out as f32, self.left_out(&missing)));
        }
        let searches = [chosen.ended, rest_ended].into_iter().chain(concepts.iter().map(|own| own.ended));
        said.extend(stopped("searches", searches, self.settings.steps));
        tables.extend(Caution::tables(&said)?);

        let ended = chosen.ended;
        let rest = scale.undone(rest);
        let rest = if self.settings.hybrid {
            rest
        } else {
            Logistic { weights: Vec::new(), intercepts: Vec::new() }
        };
        let learned = Learned {
            site,
            positions: self.settings.positions.clone(),
            classes: rows.classes().to_vec(),
            concepts: concepts.iter().map(|own| own.name.clone()).collect(),
            directions: concepts.iter().map(|own| own.direction.clone()).collect(),
            offsets: concepts.iter().map(|own| own.offset).collect(),
            lacking: concepts.iter().map(|own| own.means[0]).collect(),
            having: concepts.iter().map(|own| own.means[1]).collect(),
            weights: head.weights,
            intercepts: head.intercepts,
            means: parts.scale.means.clone(),
            rest: rest.weights,
            rest_intercepts: rest.intercepts,
            known: Default::default(),
        };
        let made = learned_from((&CARD, &self.settings), (rows, site), seed)?;
        let made = made.with_setting("described", json!(from.hash()));
        Outcome::of(learned, ended, (made, tables))
    }

    fn learn_from(
        &self,
        from: &Source<'_>,
        seed: Seed,
        _keep: Option<&Path>,
    ) -> Result<Outcome<Bottleneck>, AnalysisError> {
        let Settings { site, positions, .. } = &self.settings;
        let (on, data) = from.cases(CARD.id)?;
        let (rows, seen) = examples_seen((on, CARD.id), data, *site, positions)?;
        let mut has = Vec::with_capacity(data.len());
        for index in 0..data.len() {
            has.push(data.concepts(index)?.into_iter().collect::<BTreeSet<_>>());
        }
        let has = seen.iter().map(|(case, _)| has.get(*case).cloned().unwrap_or_default()).collect();
        self.fit(&Described::new(rows, has)?, seed, on.watch())
    }
}

/// Concepts by name, the first few of many.
fn some(names: &[String]) -> String {
    let named: Vec<String> = names.iter().take(NAMED).map(|name| format!("`{name}`")).collect();
    let more = match names.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} others"),
    };
    named.join(", ") + &more
}

/// The score of each vector.
fn scores(model: &Logistic, row: &[f64]) -> Vec<f64> {
    model.weights.iter().zip(&model.intercepts).map(|(w, b)| dot(w, row) + b).collect()
}

/// The class that scores say.
fn says(scores: &[f64]) -> usize {
    match scores {
        [one] => usize::from(*one > 0.0),
        all => likeliest(all),
    }
}

impl PostHocBottleneck {
    /// The concepts, and those that are left out.
    fn names(
        &self,
        from: &Described,
        learned: &[usize],
    ) -> Result<(Vec<String>, Vec<String>), AnalysisError> {
        let Settings { concepts, least, .. } = &self.settings;
        let count = |name: &str| {
            let own = learned
                .iter()
                .filter(|row| from.has.get(**row).is_some_and(|own| own.contains(name)))
                .count();
            own.min(learned.len() - own)
        };
        if let Some((name, own)) =
            concepts.iter().map(|name| (name, count(name))).find(|(_, own)| own < least)
        {
            let needs =
                format!("{least} rows to learn from that have each concept, and {least} that have it not");
            let found = format!("{own} do of `{name}`");
            return Err(AnalysisError::Input { method: CARD.id, needs: needs.into(), found });
        }
        if !concepts.is_empty() {
            return Ok((concepts.clone(), Vec::new()));
        }
        let all = from.names();
        let (names, missing): (Vec<String>, Vec<String>) =
            all.iter().map(|name| (*name).to_owned()).partition(|name| count(name) >= *least);
        if names.is_empty() {
            let needs = format!("a concept that {least} rows to learn from have, and {least} have not");
            let found = format!("there is none among {}", all.len());
            return Err(AnalysisError::Input { method: CARD.id, needs: needs.into(), found });
        }
        Ok((names, missing))
    }

    /// Which concepts are left out, and why.
    fn left_out(&self, missing: &[String]) -> String {
        format!(
            "{} concepts are left out, {}: fewer than {} of the rows learned from have them, or lack them. A class that hangs on one of them is told by others, or not at all",
            missing.len(),
            some(missing),
            self.settings.least
        )
    }

    fn concept(
        &self,
        (name, has): (String, Vec<bool>),
        (two, scale): (&Classed, &Scale),
        (wide, learned): (&[Vec<f64>], &[usize]),
    ) -> Result<Concept, AnalysisError> {
        let Settings { c, steps, tolerance, .. } = self.settings;
        let (model, ended) =
            Logistic::fit(CARD.id, two, c, Limits { steps, gradient: tolerance }, &mut |_| Ok(()))?;
        let Logistic { weights, intercepts } = scale.undone(model);
        let (weights, intercept) = (weights.concat(), intercepts.first().copied().unwrap_or_default());
        let length = dot(&weights, &weights).sqrt();
        if length == 0.0 || !length.is_finite() {
            let found = format!("rows that have `{name}` do not differ from those that have it not");
            return Err(input(&CARD, "concepts that can be told", found));
        }
        let direction: Vec<f64> = weights.into_iter().map(|x| x / length).collect();
        let mut own = Concept { name, direction, offset: intercept / length, has, means: [0.0; 2], ended };
        let mut sums = [(0.0_f64, 0.0_f64); 2];
        for row in learned {
            let (Some(values), Some(has)) = (wide.get(*row), own.has.get(*row)) else { continue };
            let (sum, count) = &mut sums[usize::from(*has)];
            *sum += own.margin(values);
            *count += 1.0;
        }
        own.means = sums.map(|(sum, count)| sum / count.max(1.0)); // no NaN: a count
        Ok(own)
    }
}
