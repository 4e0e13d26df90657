//! Token ablation over cases: do tokens of an object, of the background, of registers matter throughout a data set, more than random ones?
//!
//! # Idea
//! Every case is ablated as [`token_ablation`] does, with random sets of its own. Of `N` cases in which a set holds a
//! position, with changes `c_i` of the set and `r_ij` of its `R` random sets,
//!
//! ```text
//! change = mean over i of c_i              control mean = mean over i and j of r_ij          excess = change - control mean
//! p      = (1 + number of j with |mean over i of r_ij| >= |change|) / (R + 1)
//! ```
//!
//! The `j`th random sets of all cases together are one random choice throughout the data set, so that `p` is about the data set, not
//! about cases.
//!
//! # In and out
//! In: [`ManyCases`], each of one row; regions of pictures that the data set knows of are its sets `masked` and `unmasked`. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `change`, `control mean`, `excess` | set | objective | as above; 0 of a set that holds nothing in any case |
//! | `control deviation` | set | objective | standard deviation of `mean over i of r_ij` over `j` (`R - 1` in the denominator) |
//! | `p` | set | ratio | as above; 1 of a set that holds nothing in any case |
//! | `cases` | set | count | `N` |
//! | `significant` | set | ratio | the share of these cases whose own `p` is at most 0.05 |
//! | `size` | set | count | positions in it, in the mean over these cases |
//! | `changes` | sample, set | objective | `c_i` of every case; 0 where the set holds nothing |
//!
//! # Settings
//! Those of [`token_ablation`](super::token_ablation::Settings), with other sets by default: `masked`, `unmasked` where the data set knows of
//! regions in its first case; else `pictures`, `question`, `markers`. The seed of case `i` is `seed.at(i)`.
//!
//! What is explained is what a case says; of a dual encoder, where it says nothing, the cosine of picture and caption.
//!
//! # Cost
//! For each case that of [`token_ablation`].
//!
//! # Errors
//! As [`token_ablation`]; [`AnalysisError::Input`] for a data set without cases, cases whose objectives have
//! different units, or sets of regions where a case has none.
//!
//! # When it misleads
//! - A mean over cases hides those in which the set raises the objective; `changes` has them one by one.
//! - Cases weigh alike, whatever the size of their sets: `excess` of large and of small objects are averaged.
//! - Random sets are scattered, objects are not.
//!
//! # Agreement
//! No oracle: a mean over what [`token_ablation`] finds, which has one. Identities tested: over one case all is what that finds of it; the same
//! case many times has its change, and random sets that differ less. On `shapes-llava` the masked object matters in every setting tried, and
//! the background less than random sets.
//!
//! # Reference
//! Neo, Ong, Torr, Geva, Krueger, Barez: Towards Interpreting Visual Information Processing in Vision-Language Models. ICLR 2025.
//! <https://arxiv.org/abs/2410.07149>, who report how often an answer is lost over a data set. The mean change and its `p` are ours.
//!
//! # Example
//! ```
//! use mmlens_core::{Analysis, Case, ManyCases, Objective, Sample, Target, from_fn};
//! use mmlens_model::TokenAblationOverCases;
//! use mmlens_model::token_ablation::{TokenSet, Tokens};
//! use mmlens_model::token_ablation_over_cases::Settings;
//! let target = Target::Objective(Objective::logit(3));
//! let case = move |i: usize| Ok(Case { sample: Sample::text("ab".repeat(i + 2)), target: target.clone() });
//! let set = TokenSet { name: "first".to_owned(), tokens: Tokens::At(vec![0]) };
//! let method = TokenAblationOverCases::new(Settings { sets: Some(vec![set]), ..Settings::default() })?;
//! let finding = method.run(&mmlens_testkit::Toy::curved(1), &ManyCases::over(from_fn("words", 3, case))?)?;
//! println!("{:?}", finding.table("excess")?.as_numbers());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::num::NonZeroUsize;

use mmlens_core::finding::{Axis, Caution, CautionKind, Labelled, Role, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Answer, Capability, Card, Case, Cost, HookError, Leaf, ManyCases, Objective, On,
    Part, Seed, Site, Subject, Target, Unwatched, kind,
};
use mmlens_engine::Progress;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::token_ablation::{self, Ablated, Effects, Replace, TokenSet, Tokens, few};
use crate::check::{input, passes_of_reading};

/// What this method is.
pub const CARD: Card = Card {
    id: "token-ablation-over-cases",
    short: "ablation-often",
    name: "Ablation of token sets over cases",
    question: "Do tokens of an object, of the background, of registers matter throughout a data set, more than random ones?",
    citation: "Neo, Ong, Torr, Geva, Krueger, Barez: Towards Interpreting Visual Information Processing in Vision-Language Models. ICLR 2025. https://arxiv.org/abs/2410.07149",
    leaf: Leaf::Token,
    cost: "cases x (2 forward + sets x (1 + controls) forward from the block on, in batches)",
    needs: &[Capability::AnyBlocks, Capability::Answer],
    misleads: &[
        "A mean hides cases in which the set raises the objective.",
        "Cases weigh alike, whatever the size of their sets.",
        "Random sets are scattered, objects are not.",
    ],
    first: false,
};

/// What is taken away, and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Of which part; `None` for the language model, or where an encoder of its own reads the words, or there is none, the tower.
    pub part: Option<Part>,
    /// Which sets, each by itself; `None` for the regions that the data set knows of, or where it knows none, kinds of positions.
    pub sets: Option<Vec<TokenSet>>,
    /// What stands in their place.
    pub replace: Replace,
    /// Before which block.
    pub from: usize,
    /// How many random sets for each, in each case.
    pub controls: usize,
    /// The seed of the random sets.
    pub seed: Seed,
    /// How many variants share a pass at most.
    pub rows: usize,
}

impl Default for Settings {
    fn default() -> Self {
        let token_ablation::Settings { part, replace, from, controls, seed, rows, .. } =
            token_ablation::Settings::default();
        Self { part, sets: None, replace, from, controls, seed, rows }
    }
}

impl Settings {
    fn of_a_case(&self, sets: Vec<TokenSet>) -> token_ablation::Settings {
        let Self { part, replace, from, controls, seed, rows, .. } = self.clone();
        token_ablation::Settings { part, sets, replace, from, controls, seed, rows }
    }
}

/// Ablation over cases with checked settings.
#[derive(Debug, Clone)]
pub struct TokenAblationOverCases {
    settings: Settings,
    rows: NonZeroUsize,
}

/// What is gathered.
#[derive(Default)]
struct Gathered {
    /// Of each set: its effects in every case, `None` where it holds nothing, and its sizes.
    effects: Vec<Vec<Option<Effects>>>,
    sizes: Vec<usize>,
    unit: Option<Unit>,
    found: Option<(Part, Vec<Site>)>,
}

impl Analysis for TokenAblationOverCases {
    type Input = ManyCases;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        let sets = settings.sets.clone().unwrap_or_else(|| token_ablation::Settings::default().sets);
        let rows = settings.of_a_case(sets).check(&CARD)?;
        Ok(Self { settings, rows })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, cases: &ManyCases) -> Result<Cost, AnalysisError> {
        let settings = self.settings.of_a_case(self.sets(cases)?);
        let (mut rows, mut cost) = (0, Cost::rows(0));
        for index in 0..cases.len() {
            let case = explained(on.subject(), cases.data().case(index)?);
            let inputs = on.encode(&case.sample)?;
            let read = passes_of_reading(on.subject(), &on.form(&case, &inputs)?);
            rows += case.settling() + read + 2 + settings.variants(&CARD, on, &inputs)?;
            let own =
                Cost::rows(rows).at_once(self.rows.get(), on.row(&case, &inputs, &[])?, on.memory().budget());
            cost = Cost { bytes: own.bytes.max(cost.bytes), ..own };
        }
        Ok(cost)
    }

    fn answer(&self, on: &On<'_>, cases: &ManyCases) -> Result<Answer, AnalysisError> {
        let sets = self.sets(cases)?;
        let settings = self.settings.of_a_case(sets.clone());
        let mut progress = Progress::new(on.watch(), CARD.id, cases.len());
        let mut all = Gathered {
            effects: vec![Vec::new(); sets.len()],
            sizes: vec![0; sets.len()],
            ..Gathered::default()
        };
        for index in 0..cases.len() {
            let case = explained(on.subject(), cases.data().case(index)?);
            let masks = cases.data().masks(index)?;
            let seed = self.settings.seed.at(index as u64);
            let quiet = |count| Progress::new(&Unwatched, CARD.id, count);
            let found = Ablated::of((&CARD, &settings, self.rows), on, &case, (&masks, seed), quiet)?;
            all.take(&found)?;
            progress.advance(1)?;
        }
        let none = || input(&CARD, "at least one case", format!("`{}` has none", cases.data().name()));
        let (part, sites) = all.found.clone().ok_or_else(none)?;
        let cautions = [few(self.settings.controls), all.seldom(&sets)];
        let answer =
            Answer::new(all.tables(&sets, self.settings.controls)?, sites).seeded(self.settings.seed);
        Ok(answer
            .cautioned(cautions.into_iter().flatten())
            .settled("part", json!(part))
            .settled("sets", json!(sets)))
    }
}

impl TokenAblationOverCases {
    /// The sets that are asked for, or those that the data set offers.
    fn sets(&self, cases: &ManyCases) -> Result<Vec<TokenSet>, AnalysisError> {
        if let Some(sets) = &self.settings.sets {
            return Ok(sets.clone());
        }
        let known = !cases.is_empty() && !cases.data().masks(0)?.is_empty();
        let named = |name: &str, tokens| TokenSet { name: name.to_owned(), tokens };
        Ok(match known {
            true => vec![named("masked", Tokens::Masked(None)), named("unmasked", Tokens::Unmasked)],
            false => token_ablation::Settings::default().sets,
        })
    }
}

/// Dual encoders say no token: how well picture and caption fit is what there is to explain.
fn explained(subject: &dyn Subject, case: Case) -> Case {
    match case.target {
        Target::Top if kind::compares(subject) => {
            Case { target: Target::Objective(Objective::Cosine), ..case }
        }
        _ => case,
    }
}

impl Gathered {
    fn take(&mut self, found: &Ablated) -> Result<(), AnalysisError> {
        let whole = found.measured.first().ok_or(HookError::NoObjective)?;
        let unit = found.objective.unit();
        if self.unit.is_some_and(|own| own != unit) {
            let said = format!("one is measured in {unit}, those before in another");
            return Err(input(&CARD, "cases whose objectives have one unit", said));
        }
        self.unit = Some(unit);
        self.found = Some((found.part, found.sites.clone()));
        let effects = found.effects(whole).into_iter().zip(&found.sets);
        for ((all, size), (own, set)) in self.effects.iter_mut().zip(&mut self.sizes).zip(effects) {
            *size += set.len();
            all.push((!set.is_empty()).then_some(own));
        }
        Ok(())
    }

    fn tables(&self, sets: &[TokenSet], controls: usize) -> Result<Vec<Labelled>, AnalysisError> {
        let unit = self.unit.unwrap_or(Unit::None);
        let axis = Axis::names(Role::Concept, sets.iter().map(|set| set.name.clone()));
        let own = |at: &Vec<Option<Effects>>| at.iter().flatten().cloned().collect::<Vec<Effects>>();
        let all: Vec<Vec<Effects>> = self.effects.iter().map(own).collect();
        // The jth random sets of all cases together, as if they were a set.
        let joined: Vec<Effects> = all
            .iter()
            .map(|cases| {
                let mean = |of: &dyn Fn(&Effects) -> f64| {
                    cases.iter().map(of).sum::<f64>() / cases.len().max(1) as f64
                };
                let control =
                    |j: usize| mean(&|own: &Effects| own.controls.get(j).copied().unwrap_or_default());
                Effects { change: mean(&|own| own.change), controls: (0..controls).map(control).collect() }
            })
            .collect();
        let table = |name: &str, unit, values: Vec<f64>| {
            Labelled::numbers(
                name,
                unit,
                vec![axis.clone()],
                values.into_iter().map(|value| value as f32).collect(),
            )
        };
        let of = |of: &dyn Fn(&Effects) -> f64| joined.iter().map(of).collect::<Vec<f64>>();
        let share = |cases: &Vec<Effects>| {
            cases.iter().filter(|own| own.p() <= 0.05).count() as f64 / cases.len().max(1) as f64
        };
        let sizes = self.sizes.iter().zip(&all).map(|(sum, cases)| *sum as f64 / cases.len().max(1) as f64);
        let cases = self.effects.first().map_or(0, Vec::len);
        let change = |case: usize| {
            self.effects
                .iter()
                .map(move |set| set.get(case).and_then(Option::as_ref).map_or(0.0, |own| own.change as f32))
        };
        Ok(vec![
            table("change", unit, of(&|own| own.change))?,
            table("control mean", unit, of(&Effects::mean))?,
            table("excess", unit, of(&|own| own.change - own.mean()))?,
            table("control deviation", unit, of(&Effects::deviation))?,
            table("p", Unit::Ratio, of(&Effects::p))?,
            table("cases", Unit::Count, all.iter().map(|cases| cases.len() as f64).collect())?,
            table("significant", Unit::Ratio, all.iter().map(share).collect())?,
            table("size", Unit::Count, sizes.collect())?,
            Labelled::numbers(
                "changes",
                unit,
                vec![Axis::count(Role::Sample, cases), axis.clone()],
                (0..cases).flat_map(change).collect(),
            )?
            .aside(),
        ])
    }

    /// Sets that hold nothing in some cases.
    fn seldom(&self, sets: &[TokenSet]) -> Option<Caution> {
        let cases = self.effects.first().map_or(0, Vec::len);
        let of = |(set, all): (&TokenSet, &Vec<Option<Effects>>)| {
            let some = all.iter().flatten().count();
            (some < cases)
                .then(|| (some, format!("`{}` holds a position in {some} of {cases} cases", set.name)))
        };
        let said: Vec<(usize, String)> = sets.iter().zip(&self.effects).filter_map(of).collect();
        let least = said.iter().map(|(some, _)| *some).min()?;
        let text = said.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("; ");
        Some(Caution::new(CautionKind::FewRows, least as f32, format!("{text}: means are over these")))
    }
}
