//! Decision tree: which rules, over things that have names, would give the answers that the model gives?
//!
//! # Idea
//! A tree is grown on what is known of cases, with the model's own answers as classes (CART: each node is split where the Gini impurity falls most). It is no explanation of what the model does, but of what it says: how far it
//! goes, its fidelity says, the share of cases held out in which it gives the model's answer.
//!
//! # In and out
//! In: [`ManyCases`]. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `fidelity` | concept | ratio | of cases held out, how often the tree gives the model's answer; that on the cases `learned from`; `majority`, of who always says the answer most frequent among these; `shuffled`, of trees grown on features of other cases, the mean over draws |
//! | `stability` | concept | ratio | over pairs of the tree and `shuffles` others, grown on draws of the same cases (of each answer as many as it has, with replacement): `same answer`, how often two say the same of cases held out; `by chance`, how often two would that know nothing of one another; `same features`, of those that either splits by the share that both do |
//! | `tree` | rank | text | its rules, a line each; behind a leaf's answer how many of its cases have it |
//! | `importance` | feature | ratio | how much splits by each feature lower the impurity, as a share of all |
//! | `answers` | sample | text | the model's, or the labels |
//! | `said` | sample | text | the tree's |
//! | `held out` | sample | none | 1 for a case that was held out |
//! | `counts` | concept | count | cases learned from, held out; leaves; answers that differ |
//!
//! # Settings
//! - `features`: `concepts`, whether each thing that cases name is in a case ([`Cases::concepts`]); `rows`, the activations at `site`, in the mean over `positions`.
//! - `answers`: `own`, what the model writes, of at most `max_new` (4) tokens, without what is no letter or digit at its ends; `labels`, those of the cases.
//! - `depth`: 4; `least`: 5, the fewest cases of a leaf. `held_out`: 0.25 of the groups. `shuffles`: 3 trees on features of other cases, and 3 on draws of the own ones. `seed`: 0.
//!
//! # Cost
//! An answer for each case, and for `rows` one pass more. Then `features x cases x log cases` for each level of `2 shuffles + 1` trees.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for counts and a share that cannot be. Running: [`AnalysisError::Input`] for a model that does not generate, where `answers` are its `own`; for an empty data set, cases that name no concepts, or have no labels, a single group; [`AnalysisError::Memory`];
//! [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - A faithful tree says what the model's answers go with, not what it looks at: where colour and shape go together in your data, it may split by either.
//! - Another sample of cases gives another tree of the same fidelity: `stability` says how much of it is another.
//! - Answers that are nearly all alike make any tree faithful: compare with `majority`.
//!
//! # Agreement
//! scikit-learn 1.9.1, `DecisionTreeClassifier` on drawn rows without equally good splits, three depths: the same splits, thresholds and answers; importances differ by at most 2.8e-16. On rows of yes and no, where many splits are as good,
//! the tree is one of those that scikit-learn draws, and the first of a direct search in fractions. Identities tested: answers that follow from one concept are found with fidelity one.
//!
//! # Reference
//! Breiman, Friedman, Olshen, Stone: Classification and Regression Trees. 1984. In the place of a model: Craven, Shavlik: Extracting Tree-Structured Representations of Trained Networks. NIPS 1995.
//! <https://papers.nips.cc/paper/1152-extracting-tree-structured-representations-of-trained-networks>, which also makes up new inputs; here only your cases are asked about.
//!
//! # Example
//! ```
//! use mmlens_core::{Analysis, Annotated, Case, ManyCases, Sample, from_fn};
//! use mmlens_design::decision_tree::{Answers, DecisionTree, Features, Settings};
//! let words = from_fn("words", 24, |i| Ok(Case::new(Sample::text(format!("{}b", ["a", "c"][i % 2])))));
//! let words = Annotated::new(words, ["with a", "with c"], (0..24).map(|i| i % 2).collect())?;
//! let settings = Settings { features: Features::Rows, answers: Answers::Labels, site: "text.blocks.1.resid_post".parse()?, ..Settings::default() };
//! let finding = DecisionTree::new(settings)?.run(&mmlens_testkit::Toy::curved(1), &ManyCases::over(words)?)?;
//! println!("{:?} {:?}", finding.table("fidelity")?.as_numbers(), finding.table("tree")?.as_texts());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::BTreeSet;

use mmlens_core::check::{at_least_one, input, setting, share as a_share};
use mmlens_core::finding::{Axis, Caution, Labelled, Role, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Answer, Capability, Card, Cases, Copies, Cost, Generation, HookError, Leaf,
    ManyCases, On, Part, Plan, Point, Sample, Seed, Site, held_out,
};
use mmlens_engine::{Matrix, Positions, Progress, drawn_order, rows_of};
use serde::{Deserialize, Serialize};

use super::cart::{Grown, Tree};
use super::sparse_head::feature_axis;
use crate::learned::{few_rows, most_frequent, named, no_better, share};
use crate::stability::{Again, Model, drawn, stability};

/// What this method is.
pub const CARD: Card = Card {
    id: "decision-tree",
    short: "tree",
    name: "Decision tree in the place of a model",
    question: "Which rules, over things that have names, would give the answers that the model gives?",
    citation: "Craven, Shavlik: Extracting Tree-Structured Representations of Trained Networks. NIPS 1995. https://papers.nips.cc/paper/1152-extracting-tree-structured-representations-of-trained-networks",
    leaf: Leaf::Architecture,
    cost: "1 answer for each case",
    needs: &[],
    misleads: &[
        "It says what answers go with, not what the model looks at.",
        "Another sample of cases gives another tree.",
        "Answers that are nearly all alike make any tree faithful.",
    ],
    first: false,
};

/// What a tree is grown on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Features {
    /// Whether things are in a case.
    #[default]
    Concepts,
    /// Activations.
    Rows,
}

/// Whose answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answers {
    /// The model's.
    #[default]
    Own,
    /// The labels of the cases.
    Labels,
}

/// What a tree is grown on, and how far.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What it is grown on.
    pub features: Features,
    /// Where activations are read.
    pub site: Site,
    /// At which positions.
    pub positions: Positions,
    /// Whose answers.
    pub answers: Answers,
    /// The most tokens of an answer.
    pub max_new: usize,
    /// How deep it is at most.
    pub depth: usize,
    /// The fewest cases of a leaf.
    pub least: usize,
    /// The share of the groups that is held out.
    pub held_out: f64,
    /// How many trees on features of other cases, and on draws of the own ones.
    pub shuffles: usize,
    /// Of all draws.
    pub seed: Seed,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            features: Features::Concepts,
            site: Site::block(Part::Text, 0, Point::ResidPost),
            positions: Positions::Last,
            answers: Answers::Own,
            max_new: 4,
            depth: 4,
            least: 5,
            held_out: 0.25,
            shuffles: 3,
            seed: Seed(0),
        }
    }
}

/// The deepest tree: deeper ones nobody reads.
const DEEPEST: usize = 32;
/// Which items of the seed the orders of shuffles are.
const SHUFFLED: u64 = 1 << 32;

/// A decision tree with checked settings.
#[derive(Debug, Clone)]
pub struct DecisionTree {
    settings: Settings,
}

impl DecisionTree {
    /// That there is a model that answers, where its own answers are asked for.
    fn allows(&self, on: &On<'_>) -> Result<(), AnalysisError> {
        match self.settings.answers {
            Answers::Own => Capability::Generation.check(&CARD, on.subject()),
            Answers::Labels => Ok(()),
        }
    }

    fn sample(data: &dyn Cases, index: usize) -> Result<Sample, AnalysisError> {
        Ok(Sample { reply: None, ..data.case(index)?.sample })
    }

    /// What the model says of a case, or what it is labelled.
    fn answer_of(&self, on: &On<'_>, data: &dyn Cases, index: usize) -> Result<String, AnalysisError> {
        if self.settings.answers == Answers::Labels {
            let label = data.label(index)?.and_then(|label| data.classes().get(label).cloned());
            return label.ok_or_else(|| {
                input(&CARD, "a label for every case", format!("case {index} of `{}` has none", data.name()))
            });
        }
        let inputs = on.subject().encode(&Self::sample(data, index)?)?;
        let need = on.subject().need(&inputs, &Plan::new().to_output(), Copies::ONE)?;
        on.memory().hold(CARD.id, 0, need)?;
        let how = Generation { max_new: self.settings.max_new, ..Generation::default() };
        let said = on.subject().generate(&inputs, &how)?.into_iter().next();
        let said = said.ok_or_else(|| HookError::NoOutput("an answer".to_owned()))?;
        Ok(said.text.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase())
    }

    /// What is known of every case, and what each feature is called.
    fn features(
        &self,
        on: &On<'_>,
        data: &dyn Cases,
        progress: &mut Progress<'_>,
    ) -> Result<(Matrix, Vec<String>), AnalysisError> {
        let Settings { site, positions, features, .. } = &self.settings;
        if *features == Features::Concepts {
            let all: Vec<BTreeSet<String>> = (0..data.len())
                .map(|index| Ok(data.concepts(index)?.into_iter().collect()))
                .collect::<Result<_, AnalysisError>>()?;
            let names: BTreeSet<String> = all.iter().flatten().cloned().collect();
            if names.is_empty() {
                let found = format!("no case of `{}` names one", data.name());
                return Err(input(&CARD, "cases that name the concepts they show", found));
            }
            let has = |own: &BTreeSet<String>| {
                names.iter().map(|name| f64::from(u8::from(own.contains(name)))).collect::<Vec<_>>()
            };
            let values = all.iter().flat_map(has).collect();
            progress.advance(data.len())?;
            return Ok((Matrix::new(values, names.len())?, names.into_iter().collect()));
        }
        let (mut values, mut width) = (Vec::new(), 0);
        for index in 0..data.len() {
            let inputs = on.subject().encode(&Self::sample(data, index)?)?;
            let held = rows_of((on, CARD.id), &inputs, *site, positions)?;
            values.extend(held.mean());
            width = held.width;
            let (need, budget) = (8 * values.len() as u64, on.memory().left());
            if need > budget {
                return Err(AnalysisError::Memory { method: CARD.id, need, at: *site, budget });
            }
            progress.advance(1)?;
        }
        let names = (0..width).map(|at| format!("feature {at}")).collect();
        Ok((Matrix::new(values, width)?, names))
    }

    fn grown(&self) -> Grown {
        Grown { depth: self.settings.depth, least: self.settings.least }
    }
}

impl Analysis for DecisionTree {
    type Input = ManyCases;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        for (name, count) in [
            ("max_new", settings.max_new),
            ("depth", settings.depth),
            ("least", settings.least),
            ("shuffles", settings.shuffles),
        ] {
            at_least_one(&CARD, name, count)?;
        }
        if settings.depth > DEEPEST {
            return Err(setting(&CARD, "depth", settings.depth, "it must be at most 32"));
        }
        a_share(&CARD, "held_out", settings.held_out)?;
        Ok(Self { settings })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, many: &ManyCases) -> Result<Cost, AnalysisError> {
        self.allows(on)?;
        let mut bytes = 0;
        for index in 0..many.len() {
            let inputs = on.encode(&Self::sample(many.data(), index)?)?;
            let need = on.subject().need(&inputs, &Plan::new().to_output(), Copies::ONE)?;
            bytes = u64::max(bytes, need.bytes); // no NaN: whole numbers
        }
        let own = if self.settings.answers == Answers::Own { self.settings.max_new } else { 0 };
        let read = usize::from(self.settings.features == Features::Rows);
        Ok(Cost::rows(many.len() * (own + read)).taking(bytes, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, many: &ManyCases) -> Result<Answer, AnalysisError> {
        let Settings { held_out: out, seed, shuffles, .. } = self.settings;
        let data = many.data();
        self.allows(on)?;
        if many.is_empty() {
            return Err(input(&CARD, "at least one case", format!("`{}` has none", data.name())));
        }
        let apart = held_out(&mmlens_core::groups(data)?, out, seed);
        let apart = apart.ok_or_else(|| input(&CARD, "at least two groups", "there is one"))?;
        let mut progress = Progress::new(on.watch(), CARD.id, 2 * many.len() + 2 * shuffles + 1);
        let (rows, names) = self.features(on, data, &mut progress)?;
        let mut answers = Vec::with_capacity(many.len());
        for index in 0..many.len() {
            answers.push(self.answer_of(on, data, index)?);
            progress.advance(1)?;
        }
        let classes: Vec<String> = answers.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect();
        let labels: Vec<usize> =
            answers.iter().map(|own| classes.binary_search(own).unwrap_or_default()).collect();
        let part = |which: bool| -> Vec<usize> {
            apart.iter().enumerate().filter(|(_, out)| **out == which).map(|(at, _)| at).collect()
        };
        let (kept, held) = (part(false), part(true));
        let of = |cases: &[usize]| -> Vec<usize> {
            cases.iter().filter_map(|case| labels.get(*case).copied()).collect()
        };
        let (kept_labels, held_labels) = (of(&kept), of(&held));
        let grow = |rows: &Matrix| Tree::of(&rows.chosen(&kept), &kept_labels, classes.len(), self.grown());
        let faithful = |tree: &Tree, rows: &Matrix, cases: &[usize], labels: &[usize]| {
            share(cases.iter().zip(labels).map(|(case, label)| tree.says(rows.row(*case)) == *label))
        };
        let tree = grow(&rows);
        progress.advance(1)?;
        let mut by_chance = 0.0;
        for draw in 0..shuffles {
            let others = rows.chosen(&drawn_order(rows.len(), seed.at(SHUFFLED + draw as u64)));
            by_chance += faithful(&grow(&others), &others, &held, &held_labels) / shuffles as f64;
            progress.advance(1)?;
        }
        let of_tree = |tree: &Tree| {
            let importance = tree.importance(rows.width()).into_iter().enumerate();
            Model {
                said: held.iter().map(|case| tree.says(rows.row(*case))).collect(),
                used: importance.filter(|(_, own)| *own > 0.0).map(|(at, _)| at).collect(),
            }
        };
        let mut models = vec![of_tree(&tree)];
        for draw in 0..shuffles as u64 {
            let drawn = drawn(&kept_labels, classes.len(), draw, seed);
            let cases: Vec<usize> = drawn.iter().filter_map(|at| kept.get(*at).copied()).collect();
            models.push(of_tree(&Tree::of(&rows.chosen(&cases), &of(&cases), classes.len(), self.grown())));
            progress.advance(1)?;
        }
        let (stable, unstable) = stability(&Again::Rows("the tree"), &models)?;
        let most = most_frequent(&kept_labels);
        let majority = share(held_labels.iter().map(|label| *label == most));
        let own = faithful(&tree, &rows, &held, &held_labels);
        let fidelity = [
            ("held out", own),
            ("learned from", faithful(&tree, &rows, &kept, &kept_labels)),
            ("majority", majority),
            ("shuffled", by_chance),
        ];
        let concepts = self.settings.features == Features::Concepts;
        let is = |feature: usize, threshold: f64, above: bool| {
            let name = names.get(feature).map_or("", String::as_str);
            match (concepts, above) {
                (true, true) => name.to_owned(),
                (true, false) => format!("not {name}"),
                (false, true) => format!("{name} > {threshold:.4}"),
                (false, false) => format!("{name} <= {threshold:.4}"),
            }
        };
        let lines = tree.lines(&classes, &is);
        let said =
            (0..rows.len()).map(|case| classes.get(tree.says(rows.row(case))).cloned().unwrap_or_default());
        let counts = [
            ("learned from", kept.len() as f64),
            ("held out", held.len() as f64),
            ("leaves", tree.leaves() as f64),
            ("answers", classes.len() as f64),
        ];
        let sample = || vec![Axis::count(Role::Sample, rows.len())];
        let features = match concepts {
            true => Axis::names(Role::Feature, names.iter().map(String::as_str)),
            false => feature_axis(0..rows.width()),
        };
        let importance = tree.importance(rows.width()).into_iter().map(|own| own as f32).collect();
        let tables = vec![
            named("fidelity", Unit::Ratio, &fidelity)?,
            stable,
            Labelled::texts("tree", vec![Axis::count(Role::Rank, lines.len())], lines)?,
            Labelled::numbers("importance", Unit::Ratio, vec![features], importance)?,
            named("counts", Unit::Count, &counts)?.aside(),
            Labelled::texts("answers", sample(), answers.clone())?.aside(),
            Labelled::texts("said", sample(), said.collect())?.aside(),
            Labelled::numbers(
                "held out",
                Unit::None,
                sample(),
                apart.iter().map(|out| f32::from(u8::from(*out))).collect(),
            )?
            .aside(),
        ];
        let cautions: Vec<Caution> = few_rows(held.len())
            .into_iter()
            .chain(no_better("the tree", own, "who always says the most frequent answer", majority))
            .chain(no_better("the tree", own, "one on what is known of other cases", by_chance))
            .chain(unstable)
            .collect();
        let read = (!concepts).then_some(self.settings.site);
        let asked = (self.settings.answers == Answers::Own).then_some(Site::of(Part::Text, Point::Logits));
        let sites = read.into_iter().chain(asked);
        Ok(Answer::new(tables, sites).seeded(seed).cautioned(cautions))
    }
}
