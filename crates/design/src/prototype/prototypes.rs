//! Prototype head: this looks like that, said with patches that were really there.
//!
//! # Idea
//! Of the patches of the cases learned from a few stand for each class. With `x` the state of a patch at a site, `p` that of a prototype, and `s^2` the mean squared distance of a patch from the mean patch
//!
//! ```text
//! d^2           = |x - p|^2 / s^2
//! similarity    = ln((d^2 + 1) / (d^2 + epsilon))             of a patch
//! activation_j  = max over the patches of a case              of prototype j
//! logits        = w activation + b
//! ```
//!
//! A prototype is a patch, and so it is shown as what it is: a piece of a picture that was learned from. Of patches drawn from the cases of a class those are kept whose activation tells the class best (Welch's `t` over the
//! other cases), and that are not activated like one that is kept already.
//!
//! # In and out
//! In: [`Bags`], or a data set with labels ([`Fit::learn`]). Out: [`Prototypes`], which are a method of single cases, how the search for weights ended, and a finding:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `scores` | concept | ratio | of held-out cases: `accuracy`; `random patches`, of as many patches of the same classes drawn by chance, the mean over draws; `mean patch`, of a linear head on the mean of all patches; `majority`, the share of the class most frequent among those learned from |
//! | `stability` | concept | ratio | over pairs of heads, of `draws` others whose candidates are drawn anew: `same answer`, how often two say the same of held-out cases; `by chance`, how often two would that know nothing of one another; `same features`, of the prototypes of either the share that both have |
//! | `prototypes` | feature | text | where each is from: the case and the place of the patch |
//! | `distinctive` | feature | none | Welch's `t` of its activation, of cases of its class against others, its own left out |
//! | `purity`, `by chance` | feature | ratio | of the `top` held-out cases that it is most active in, the share that is of its class; the share of the class among all held out |
//! | `weights` | concept, feature | logit | of each vector, for an activation that is larger by one |
//! | `rows` | concept | count | cases learned from and held out, patches, prototypes |
//! | `patches` | feature, rank, row, column, channel | none | pixels (0 to 255) around each, where its case shows a picture ([`crop`]); aside |
//!
//! Of a case: `probabilities` (concept); `activation` (feature); `contributions` (concept, feature) in logits, against the mean activation over the cases learned from; `base` (concept), the logits at all means: with the contributions
//! they are the logits; and `like NAME` (token) for each prototype, the similarity of every patch.
//!
//! # Settings
//! - `site`: `text.blocks.0.resid_post`; `positions`: pictures, or any others, which are patches then.
//! - `per_class`: 3 prototypes; `candidates`: 200 patches drawn for each class (things that cover few patches take many); `apart`: 0.9, the highest correlation of activations of two prototypes of a class.
//! - `epsilon`: 1e-4, as in ProtoPNet. `c`: 1, the inverse strength of the penalty on weights, of activations scaled to deviation 1.
//! - `held_out`: 0.2 of the groups; `top`: 5; `draws`: 3 sets of random patches, and 3 of other candidates; `side`: 32 pixels of a crop; `steps`: 1000, `tolerance`: 1e-6 of the search.
//!
//! # Cost
//! One pass for each case, which ends at the site. Then `(draws + 1) x classes x candidates x patches x width` operations, and `2 draws + 2` searches. Memory: the patches, in single and in double precision. [`Prototypes`] take one pass.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for counts and numbers that cannot be. Fitting: [`AnalysisError::Input`] for fewer than two classes or groups, a class with fewer than three cases to learn from, patches that are all alike;
//! [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - A patch's state holds what its blocks mixed into it: a prototype may stand for the scene, and not for what its square shows (Hoffmann et al. 2021). Early sites hold more of the square.
//! - What looks alike to the model need not look alike to people: look at `purity`, and at the crops.
//! - It says how this head decides, not how the model does. Where random patches do as well, which they are says little, and of many candidates that do as well it is chance which they are (`same features` of `stability`: of few drawn among many patches next to none).
//!
//! # Agreement
//! NumPy, SciPy and scikit-learn 1.9.1 (lbfgs, tolerance 1e-12), cases of six patches in two and three classes, with our tolerance at 1e-9: the same patches, `t` 1.8e-7 apart, weights 1.1e-7, shares the same. Identities
//! tested: contributions and base are the logits; an activation is the highest of its map; a prototype is as like itself as can be; what is saved and loaded gives the same bits.
//! On 60 scenes of one thing (red, green or blue; `shapes-llava`, 12 held out, 1000 candidates): 1.000 right at the patches' embeddings and behind blocks 0 to 2 of the tower (random patches 0.19 to 0.67), 0.58 where pictures
//! enter the decoder, though a linear head on the mean patch is right in all of them there: what a state holds need not decide how near it lies.
//!
//! # Reference
//! Chen, Li, Tao, Barnett, Su, Rudin: This Looks Like That: Deep Learning for Interpretable Image Recognition. NeurIPS 2019. <https://arxiv.org/abs/1806.10574>. There prototypes are learned with the network, and pushed to the nearest patch now and
//! then; here the network stays, and prototypes are patches from the start. Distances are divided by `s^2`, since the similarity has a scale of its own; in the cases learned from a prototype is not compared with itself.
//! Hoffmann, Fanconi, Rade, Kohler: This Looks Like That... Does it? 2021. <https://arxiv.org/abs/2105.02968>.
//!
//! # Example
//! ```
//! use mmlens_core::{Annotated, Case, Fit, On, Sample, Seed, from_fn};
//! use mmlens_design::prototypes::{PrototypeHead, Settings};
//! use mmlens_engine::Positions;
//! let toy = mmlens_testkit::Toy::curved(1);
//! let of = |i: usize| format!("{}b{}", if i % 2 == 0 { "a" } else { "c" }, ["d", "e", "f"][i % 3]);
//! let data = from_fn("words", 30, |i| Ok(Case::new(Sample::text(of(i)))));
//! let data = Annotated::new(data, ["a", "c"], (0..30).map(|i| i % 2).collect())?;
//! let settings = Settings { site: "text.blocks.0.resid_post".parse()?, positions: Positions::All, ..Settings::default() };
//! let learned = PrototypeHead::new(settings)?.learn(&On::new(&toy), &data, Seed(1))?;
//! println!("{:?} {:?}", learned.finding.table("scores")?.as_numbers(), learned.finding.table("prototypes")?.as_texts());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use mmlens_core::check::{above_zero, at_least_one, input, share};
use mmlens_core::finding::{Axis, Caution, CautionKind, Finding, Labelled, Role, Unit, correlation};
use mmlens_core::{
    Analysis, AnalysisError, Card, Cases, Examples, Fit, Leaf, Outcome, Part, Point, Seed, Site, Source,
    Split, Watch, learned_from, step,
};
use mmlens_engine::{
    Classed, Limits, Logistic, Positions, Scale, Shows, Welch, crop, drawn_order, examples_seen,
};
use serde::{Deserialize, Serialize};

use crate::learned::{
    few_rows, most_frequent, named, no_better, said as said_of, share as share_of, stopped,
};
use crate::stability::{Again, Model, stability};
use crate::surrogate::sparse_head::with_vector;

mod model;
mod seen;

pub use model::{Learned, Prototypes};
use seen::{Bag, Chosen, Seen, similarity};

/// What this method is.
pub const CARD: Card = Card {
    id: "prototype-head",
    short: "prototypes",
    name: "Prototype head",
    question: "Which patches of which pictures does a case look like, and is that enough to tell its class?",
    citation: "Chen, Li, Tao, Barnett, Su, Rudin: This Looks Like That: Deep Learning for Interpretable Image Recognition. NeurIPS 2019. https://arxiv.org/abs/1806.10574",
    leaf: Leaf::Architecture,
    cost: "1 forward for each case; of what was learned 1 forward",
    needs: &[],
    misleads: &[
        "A prototype may stand for the scene, and not for what its square shows.",
        "What looks alike to the model need not look alike to people.",
        "It says how this head decides, not how the model does.",
    ],
    first: false,
};

/// Which items of a seed the candidates of a class, and the random patches, are.
const CANDIDATES: u64 = 1 << 36;
const RANDOM: u64 = 1 << 37;
const OTHERS: u64 = 1 << 38;
/// A mean squared distance that is no larger a share of the mean square is rounding.
const ROUNDING: f64 = 1e-20;
/// The largest `t` that is told: where nothing varies within, there is none.
const MOST: f64 = 1e6;

/// Patches with the case that each is of.
#[derive(Debug, Clone)]
pub struct Bags {
    rows: Examples,
    bags: Vec<usize>,
    places: Vec<String>,
}

impl Bags {
    /// Of each row the case, and where in it the row lies, in words. Rows of a case have one label and one group.
    ///
    /// # Errors
    /// [`AnalysisError::Input`] for more or fewer than rows, or for a case of several labels.
    pub fn new(rows: Examples, bags: Vec<usize>, places: Vec<String>) -> Result<Self, AnalysisError> {
        if bags.len() != rows.len() || places.len() != rows.len() {
            let found = format!("there are {} and {} for {} rows", bags.len(), places.len(), rows.len());
            return Err(input(&CARD, "the case and the place of each row", found));
        }
        let mut labels: BTreeMap<usize, (usize, u64)> = BTreeMap::new();
        for (bag, own) in bags.iter().zip(rows.labels().iter().copied().zip(rows.groups().iter().copied())) {
            if *labels.entry(*bag).or_insert(own) != own {
                let found = format!("case {bag} has several");
                return Err(input(&CARD, "one label and one group for each case", found));
            }
        }
        Ok(Self { rows, bags, places })
    }
}

/// How prototypes are found.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What is read.
    pub site: Site,
    /// Which positions are patches.
    pub positions: Positions,
    /// How many for each class.
    pub per_class: usize,
    /// How many patches are drawn for each class, of which they are chosen.
    pub candidates: usize,
    /// The highest correlation of activations of two of a class.
    pub apart: f64,
    /// What keeps the similarity of a patch with itself finite.
    pub epsilon: f64,
    /// The inverse strength of the penalty on weights.
    pub c: f64,
    /// The share of the groups that is held out.
    pub held_out: f64,
    /// In how many held-out cases purity is measured.
    pub top: usize,
    /// How many sets of random patches, and of other candidates.
    pub draws: usize,
    /// How many pixels a crop is high and wide.
    pub side: usize,
    /// The most rounds of a search.
    pub steps: usize,
    /// How small its gradient is in the end.
    pub tolerance: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            site: Site::block(Part::Text, 0, Point::ResidPost),
            positions: Positions::Pictures,
            per_class: 3,
            candidates: 200,
            apart: 0.9,
            epsilon: 1e-4,
            c: 1.0,
            held_out: 0.2,
            top: 5,
            draws: 3,
            side: 32,
            steps: 1000,
            tolerance: 1e-6,
        }
    }
}

/// What finds prototypes, with checked settings.
#[derive(Debug, Clone)]
pub struct PrototypeHead {
    settings: Settings,
}

/// A head on rows that are scaled, and as it is on the rows themselves.
struct Fitted {
    head: Logistic,
    means: Vec<f64>,
    ended: mmlens_core::Ended,
    /// Of the rows held out.
    said: Vec<usize>,
    accuracy: f64,
}

impl PrototypeHead {
    fn head(&self, learned: &Classed, held: &Classed) -> Result<Fitted, AnalysisError> {
        let scale = Scale::of_rows(learned.width, || learned.values.chunks_exact(learned.width.max(1)));
        let scaled = |rows: &Classed| Classed {
            values: rows
                .values
                .chunks_exact(rows.width.max(1))
                .flat_map(|row| scale.of(row).collect::<Vec<_>>())
                .collect(),
            ..rows.clone()
        };
        let limits = Limits { steps: self.settings.steps, gradient: self.settings.tolerance };
        let (head, ended) =
            Logistic::fit(CARD.id, &scaled(learned), self.settings.c, limits, &mut |_| Ok(()))?;
        let said = said_of(&head, &scaled(held));
        let accuracy = share_of(said.iter().zip(&held.labels).map(|(said, label)| said == label));
        Ok(Fitted { head: scale.undone(head), means: scale.means, ended, said, accuracy })
    }

    /// Patches of the cases of a class, in an order that is drawn.
    fn drawn(&self, seen: &Seen, class: usize, seed: Seed) -> Vec<usize> {
        let bags = seen.some(false).into_iter().filter(|bag| bag.label == class);
        let rows: Vec<usize> = bags.flat_map(|bag| bag.rows.iter().copied()).collect();
        drawn_order(rows.len(), seed).into_iter().filter_map(|at| rows.get(at).copied()).collect()
    }

    /// The patches that stand for a class.
    fn of_class(
        &self,
        seen: &Seen,
        (class, seed): (usize, Seed),
        each: &mut dyn FnMut() -> Result<(), AnalysisError>,
    ) -> Result<Vec<Chosen>, AnalysisError> {
        let learned = seen.some(false);
        let mut tried = Vec::new();
        for row in self
            .drawn(seen, class, seed.at(CANDIDATES + class as u64))
            .into_iter()
            .take(self.settings.candidates)
        {
            let activations: Vec<f64> = learned.iter().map(|bag| seen.activation(bag, row)).collect();
            // Its own case tells nothing of others.
            let side = |inside: bool| -> Vec<f64> {
                let bags = learned.iter().zip(&activations);
                bags.filter(|(bag, _)| (bag.label == class) == inside && !bag.rows.contains(&row))
                    .map(|(_, own)| *own)
                    .collect()
            };
            let told = Welch::of(&side(true), &side(false)).map_or(0.0, |told| told.t.clamp(-MOST, MOST)); // no NaN: finite activations
            tried.push((told, row, activations));
            each()?;
        }
        tried.sort_by(|(a, row, _), (b, other, _)| b.total_cmp(a).then(row.cmp(other)));
        let mut kept: Vec<(Chosen, Vec<f64>)> = Vec::new();
        for (distinctive, row, activations) in tried {
            let alike = |(_, own): &(Chosen, Vec<f64>)| {
                correlation(own, &activations).is_some_and(|alike| alike > self.settings.apart)
            };
            if kept.len() < self.settings.per_class && !kept.iter().any(alike) {
                kept.push((Chosen { row, class, distinctive }, activations));
            }
        }
        Ok(kept.into_iter().map(|(chosen, _)| chosen).collect())
    }

    fn seen(&self, from: &Bags, split: &Split) -> Result<Seen, AnalysisError> {
        let rows = &from.rows;
        let wide: Vec<Vec<f64>> =
            rows.rows().map(|row| row.iter().map(|x| f64::from(*x)).collect()).collect();
        let mut of_case: BTreeMap<usize, Bag> = BTreeMap::new();
        let known = from.bags.iter().zip(rows.labels()).zip(&split.out).enumerate();
        for (row, ((bag, label), out)) in known {
            let own = of_case.entry(*bag);
            own.or_insert_with(|| Bag { rows: Vec::new(), label: *label, out: *out }).rows.push(row);
        }
        let bags: Vec<Bag> = of_case.into_values().collect();
        for (class, name) in rows.classes().iter().enumerate() {
            let count = bags.iter().filter(|bag| bag.label == class && !bag.out).count();
            if count < 3 {
                let found = format!("`{name}` has {count}");
                return Err(input(&CARD, "at least three cases of each class to learn from", found));
            }
        }
        let inside: Vec<&Vec<f64>> = bags
            .iter()
            .filter(|bag| !bag.out)
            .flat_map(|bag| &bag.rows)
            .filter_map(|row| wide.get(*row))
            .collect();
        if bags.iter().any(|bag| bag.rows.len() < 2) {
            return Err(input(&CARD, "at least two patches in each case", "one has fewer"));
        }
        let n = inside.len().max(1) as f64;
        let mut mean = vec![0.0; rows.width()];
        for row in &inside {
            mean.iter_mut().zip(row.iter()).for_each(|(sum, x)| *sum += x / n);
        }
        let apart = |row: &&Vec<f64>| row.iter().zip(&mean).map(|(x, mean)| (x - mean).powi(2)).sum::<f64>();
        let scale = inside.iter().map(apart).sum::<f64>() / n;
        // What is left of numbers that are all the same is rounding.
        let size = inside.iter().map(|row| row.iter().map(|x| x * x).sum::<f64>()).sum::<f64>() / n;
        if !(scale > ROUNDING * size && scale.is_finite()) {
            return Err(input(
                &CARD,
                "patches that differ",
                format!("their mean squared distance from the mean is {scale}"),
            ));
        }
        Ok(Seen { wide, bags, scale: (scale, self.settings.epsilon), classes: rows.classes().len() })
    }
}

impl Fit for PrototypeHead {
    type From = Bags;
    type Settings = Settings;
    type Fitted = Prototypes;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        for (name, count) in [
            ("per_class", settings.per_class),
            ("candidates", settings.candidates),
            ("top", settings.top),
            ("draws", settings.draws),
            ("side", settings.side),
            ("steps", settings.steps),
        ] {
            at_least_one(&CARD, name, count)?;
            mmlens_core::check::at_most(&CARD, name, count)?;
        }
        for (name, value) in
            [("epsilon", settings.epsilon), ("c", settings.c), ("tolerance", settings.tolerance)]
        {
            above_zero(&CARD, name, value)?;
        }
        share(&CARD, "held_out", settings.held_out)?;
        if !(settings.apart > 0.0 && settings.apart <= 1.0) {
            let expected = "it must be above 0, and at most 1";
            return Err(mmlens_core::check::setting(&CARD, "apart", settings.apart, expected));
        }
        Ok(Self { settings })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn fit(&self, from: &Bags, seed: Seed, watch: &dyn Watch) -> Result<Outcome<Prototypes>, AnalysisError> {
        let Settings { site, candidates, draws, top, epsilon, .. } = self.settings;
        let rows = &from.rows;
        let split = Split::of(&CARD, (rows, site), self.settings.held_out, seed)?;
        split.with_every_class(&CARD, rows)?;
        let seen = self.seen(from, &split)?;
        let names = rows.classes();
        let (mut done, total) = (0, (draws + 1) * names.len() * candidates + draws + 2);
        let mut advance = |to: usize| {
            done = usize::max(done + 1, to); // no NaN: whole numbers
            step(watch, CARD.id, done, total)
        };
        let mut chosen = Vec::new();
        for class in 0..names.len() {
            chosen.extend(self.of_class(&seen, (class, seed), &mut || advance(0))?);
        }
        advance(names.len() * candidates)?;
        let (learned, held) = (seen.some(false), seen.some(true));
        let of = |bags: &[&Bag], chosen: &[Chosen]| seen.activations(bags, chosen);
        let told = of(&held, &chosen);
        let own = self.head(&of(&learned, &chosen), &told)?;
        let mut by_chance = 0.0;
        for draw in 0..draws as u64 {
            let random: Vec<Chosen> = (0..names.len())
                .flat_map(|class| {
                    let count = chosen.iter().filter(|own| own.class == class).count();
                    let drawn = self.drawn(&seen, class, seed.at(RANDOM + draw).at(class as u64));
                    drawn.into_iter().take(count).map(move |row| Chosen { row, class, distinctive: 0.0 })
                })
                .collect();
            by_chance += self.head(&of(&learned, &random), &of(&held, &random))?.accuracy / draws as f64;
            advance(0)?;
        }
        let mut models =
            vec![Model { said: own.said.clone(), used: chosen.iter().map(|own| own.row).collect() }];
        for draw in 0..draws as u64 {
            let mut others = Vec::new();
            for class in 0..names.len() {
                others.extend(self.of_class(&seen, (class, seed.at(OTHERS + draw)), &mut || advance(0))?);
            }
            let head = self.head(&of(&learned, &others), &of(&held, &others))?;
            models.push(Model { said: head.said, used: others.iter().map(|own| own.row).collect() });
        }
        let (stable, unstable) = stability(&Again::Candidates("the head"), &models)?;
        let mean = self.head(&seen.means(&learned), &seen.means(&held))?.accuracy;
        let learned_labels: Vec<usize> = learned.iter().map(|bag| bag.label).collect();
        let most = most_frequent(&learned_labels);
        let count = held.len().max(1) as f64;
        let majority = held.iter().filter(|bag| bag.label == most).count() as f64 / count;
        advance(total)?;

        let called = called(&chosen, names);
        let prototypes: Vec<String> = chosen.iter().map(|own| from.place(own.row)).collect();
        let purity: Vec<f64> = (0..chosen.len())
            .map(|at| purity(&told, (at, chosen.get(at).map_or(0, |own| own.class)), top))
            .collect();
        let chance = |own: &Chosen| held.iter().filter(|bag| bag.label == own.class).count() as f64 / count;
        let chances: Vec<f64> = chosen.iter().map(chance).collect();
        let scored = [
            ("accuracy", own.accuracy),
            ("random patches", by_chance),
            ("mean patch", mean),
            ("majority", majority),
        ];
        let features = || Axis::names(Role::Feature, called.iter().map(String::as_str));
        let each = |name: &str, unit, values: &[f64]| {
            Labelled::numbers(
                name,
                unit,
                vec![features()],
                values.iter().map(|value| *value as f32).collect(),
            )
        };
        let distinctive: Vec<f64> = chosen.iter().map(|own| own.distinctive).collect();
        let weights = own.head.weights.iter().flatten().map(|weight| *weight as f32).collect();
        let vectors = Axis::names(Role::Concept, with_vector(names));
        let counts = [learned.len(), held.len(), rows.len(), chosen.len()].map(|count| count as f32);
        let kinds = Axis::names(Role::Concept, ["learned from", "held out", "patches", "prototypes"]);
        let mut tables = vec![
            named("scores", Unit::Ratio, &scored)?,
            stable,
            Labelled::texts("prototypes", vec![features()], prototypes.clone())?,
            each("distinctive", Unit::None, &distinctive)?,
            each("purity", Unit::Ratio, &purity)?,
            each("by chance", Unit::Ratio, &chances)?,
            Labelled::numbers("weights", Unit::Logit, vec![vectors, features()], weights)?,
            Labelled::numbers("rows", Unit::Count, vec![kinds], counts.to_vec())?,
        ];
        let mut said: Vec<Caution> = few_rows(held.len()).into_iter().collect();
        said.extend(no_better("the prototype head", own.accuracy, "who looks at nothing", majority));
        said.extend(no_better(
            "the prototype head",
            own.accuracy,
            "one on patches drawn by chance",
            by_chance,
        ));
        said.extend(unstable);
        let impure = purity.iter().zip(&chances).filter(|(own, chance)| own <= chance).count();
        if impure > 0 {
            let text = format!(
                "{impure} of {} prototypes are no more active in held-out cases of their class than in others: what they show is not what tells it",
                chosen.len()
            );
            said.push(Caution::new(CautionKind::Chance, impure as f32 / chosen.len().max(1) as f32, text));
        }
        said.extend(stopped("searches", [own.ended], self.settings.steps));
        tables.extend(Caution::tables(&said)?);
        let learned = Learned {
            site,
            positions: self.settings.positions.clone(),
            classes: names.to_vec(),
            names: called,
            from: prototypes,
            states: chosen.iter().map(|own| seen.patch(own.row).to_vec()).collect(),
            scale: seen.scale.0,
            epsilon,
            weights: own.head.weights,
            intercepts: own.head.intercepts,
            means: own.means,
        };
        let made = learned_from((&CARD, &self.settings), (rows, site), seed)?;
        Outcome::of(learned, own.ended, (made, tables))
    }

    fn learn_from(
        &self,
        from: &Source<'_>,
        seed: Seed,
        _keep: Option<&Path>,
    ) -> Result<Outcome<Prototypes>, AnalysisError> {
        let Settings { site, positions, side, .. } = &self.settings;
        let (on, data) = from.cases(CARD.id)?;
        let (rows, seen) = examples_seen((on, CARD.id), data, *site, positions)?;
        let bags = seen.iter().map(|(case, _)| *case).collect();
        let places = seen.iter().map(|(_, shows)| shows.to_string()).collect();
        let from = Bags::new(rows, bags, places)?;
        let outcome = self.fit(&from, seed, on.watch())?;
        let places: BTreeMap<String, &(usize, Shows)> =
            seen.iter().enumerate().map(|(row, own)| (from.place(row), own)).collect();
        let crops = crops(
            data,
            &Analysis::settings(&outcome.fitted).names,
            (&Analysis::settings(&outcome.fitted).from, &places),
            *side,
        )?;
        let Some(crops) = crops else { return Ok(outcome) };
        let made = outcome.finding.provenance.clone();
        let tables = outcome.finding.into_tables().into_iter().chain([crops.aside()]).collect();
        Ok(Outcome { finding: Finding::new(made, tables)?, fitted: outcome.fitted, ended: outcome.ended })
    }
}

impl Bags {
    /// Where a row is from, in words.
    fn place(&self, row: usize) -> String {
        let bag = self.bags.get(row).copied().unwrap_or_default();
        format!("case {bag}, {}", self.places.get(row).map_or("", String::as_str))
    }
}

/// Each by its class, and its number there.
fn called(chosen: &[Chosen], classes: &[String]) -> Vec<String> {
    let number =
        |at: usize, class: usize| chosen.iter().take(at + 1).filter(|own| own.class == class).count();
    let name = |(at, own): (usize, &Chosen)| {
        let class = classes.get(own.class).map_or("", String::as_str);
        format!("{class} {}", number(at, own.class))
    };
    chosen.iter().enumerate().map(name).collect()
}

/// Of the cases that a prototype is most active in, the share that is of its class; of equals the first.
fn purity(held: &Classed, (at, class): (usize, usize), top: usize) -> f64 {
    let activations = held.values.chunks_exact(held.width.max(1)).filter_map(|row| row.get(at).copied());
    let mut order: Vec<(f64, usize)> = activations.zip(held.labels.iter().copied()).collect();
    order.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let some = order.iter().take(top);
    let count = some.len().max(1) as f64;
    some.filter(|(_, label)| *label == class).count() as f64 / count
}

/// The pictures of prototypes; none, where one of them shows no patch of a picture.
fn crops(
    data: &dyn Cases,
    names: &[String],
    (from, places): (&[String], &BTreeMap<String, &(usize, Shows)>),
    side: usize,
) -> Result<Option<Labelled>, AnalysisError> {
    let mut pixels = Vec::new();
    for place in from {
        let Some((case, shows)) = places.get(place) else { return Ok(None) };
        let Some(patch) = shows.patch().filter(|patch| patch.frame == 0) else { return Ok(None) };
        let sample = data.case(*case)?.sample;
        let Some(picture) = sample.pictures.get(patch.image) else { return Ok(None) };
        pixels.extend(crop(&picture.image, patch.bbox, side));
    }
    let axes = vec![
        Axis::names(Role::Feature, names.iter().map(String::as_str)),
        Axis::count(Role::Rank, 1),
        Axis::count(Role::Row, side),
        Axis::count(Role::Column, side),
        Axis::count(Role::Channel, 3),
    ];
    Ok(Some(Labelled::numbers("patches", Unit::None, axes, pixels)?))
}
