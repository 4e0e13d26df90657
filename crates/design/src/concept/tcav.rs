//! TCAV: does the answer depend on a concept, given by examples, more than on directions of no meaning?
//!
//! # Idea
//! A linear classifier tells activations `h` of examples of a concept from those of random examples; its normal, brought to length one, is the concept's direction `v`. Of a case with the objective `f`
//! the sensitivity is the slope along it, and a score is the share of cases in which it is above zero:
//!
//! ```text
//! S(x) = grad_h f(x) . v        score = share of cases with S > 0        magnitude = sum of S > 0 / sum of abs S
//! ```
//!
//! In each run other random examples are drawn, and a *random concept*, which is as many of the others. The scores of the concept are compared with those of the random concepts over all runs (Welch, two-sided), and
//! `p` is multiplied by the number of concepts (Bonferroni).
//!
//! # In and out
//! In: [`ManyCases`] with labels: those of concepts, `random`, and `explained`, which are the cases with what is explained of each. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `score` | concept | ratio | the mean over runs, of each concept and of `random concepts` |
//! | `p` | concept | probability | of a difference that large by chance, Bonferroni's |
//! | `p by rank` | concept | probability | `(1 + random concepts whose score lies as far from their mean as the concept's) / (1 + runs)` |
//! | `magnitude` | concept | ratio | the mean over runs |
//! | `accuracy` | concept | ratio | of the classifiers, of examples held out, half of them of the concept: the mean over runs |
//! | `sensitivity` | concept, sample | gradient | `S`, the mean over runs |
//! | `agreement` | concept | cosine | of the directions of two runs, the mean over all pairs: near one if they are one direction |
//! | `scores`, `accuracies` | concept, step | ratio | run by run |
//! | `examples` | concept | count | groups of examples that a direction is learned from, and those held out |
//! | `objective` | sample | objective | of each explained case |
//!
//! # Settings
//! - `site`: `text.blocks.0.resid_post`; `positions`: the last. A site without positions of a prompt takes `all`.
//! - `rows`: `mean`, the mean over the positions of a case is an example; `each`, every position is one; `flat`, all positions behind one another are one, which takes as many positions in every case. A slope is that
//!   of moving all positions along `v`; of `flat` each along its own part.
//! - `concepts`: labels; none for all but the other two. `random`: `random`. `explained`: `explained`; it may be a concept.
//! - `relative`: no. Whether a concept is told from examples of the other concepts, which take turns, instead of random ones; of two concepts directions are opposite.
//! - `runs`: 20; `held_out`: 0.33 of the groups, as in the reference; `c`: 1, the inverse strength of the classifier's penalty; `steps`: 1000, `tolerance`: 1e-8; `seed`: 0.
//!
//! # Cost
//! One pass for each example, which ends at the site; one with gradients for each explained case, and one more where the likeliest token is explained. Then `runs x (concepts + 1)` classifiers.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for counts and numbers that cannot be, two labels that are one. Running: [`AnalysisError::Input`] for cases without labels, a label that no case has, fewer than two groups of a
//! concept or four of random examples, examples that do not differ, cases explained in different units, positions that differ in number (`flat`); [`AnalysisError::Memory`]; [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - Runs share the concept's examples and the explained cases, so that `p` is smaller than that of independent runs: examples of nothing in particular may be significant, and with more runs every difference becomes so. `p by rank` takes
//!   the concept for one draw among the random ones; its least value is `1 / (1 + runs)`. A caution comes where either is above 0.05.
//! - A direction that tells examples apart may be that of what goes with the concept (the ground, a size): give random examples that differ in nothing else.
//! - A score says how often, not how much: a slope of rounding counts as one. See `magnitude` and `sensitivity`.
//! - A slope is what the smallest step does, not what taking the concept away would.
//!
//! # Agreement
//! captum 0.9.0 (`TCAV`, `CAV` with scikit-learn's `LogisticRegression`) and scipy 1.17.1 (`ttest_ind`) on activations and gradients of transformers, `llava-a` and `gpt2-a`, with the same draws: the same scores; accuracies differ by at most
//! 3e-8, `p` by 1.1e-8, magnitudes by 1.6e-7, and sensitivities by 3e-7 (1.2e-6 of the largest). Identities tested: a score is a share of the explained cases, and the mean of runs; of ten times what is explained scores are the
//! same and slopes ten times as large; two concepts told from each other have opposite directions; one position is the same as a mean, each or all of it.
//!
//! # Reference
//! Kim, Wattenberg, Gilmer, Cai, Wexler, Viegas, Sayres: Interpretability Beyond Feature Attribution: Quantitative Testing with Concept Activation Vectors (TCAV). ICML 2018. <https://arxiv.org/abs/1711.11279>. There the classifier is a linear SVM by
//! stochastic steps and the test Student's; here it is logistic regression, whose result follows from the examples alone, and variances may differ.
//!
//! # Example
//! ```
//! use mmlens_core::{Analysis, Annotated, Case, ManyCases, Sample, from_fn};
//! use mmlens_design::tcav::{Settings, Tcav};
//! let text = |i: usize| format!("{}{}", ["a", "c", "c"][i % 3], ["d", "e", "f", "g"][i % 4]);
//! let words = from_fn("words", 24, move |i| Ok(Case::new(Sample::text(text(i)))));
//! let labels = (0..24).map(|i| [0, 1, 2][i % 3]).collect();
//! let words = Annotated::new(words, ["with a", "random", "explained"], labels)?;
//! let settings = Settings { site: "text.blocks.1.resid_post".parse()?, runs: 5, ..Settings::default() };
//! let finding = Tcav::new(settings)?.run(&mmlens_testkit::Toy::curved(1), &ManyCases::over(words)?)?;
//! println!("{:?} p {:?}", finding.table("score")?.as_numbers(), finding.table("p")?.as_numbers());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::BTreeMap;

use mmlens_core::check::{above_zero, at_least_one, input, setting, share};
use mmlens_core::finding::Unit;
use mmlens_core::{
    Analysis, AnalysisError, Answer, Capability, Card, Case, Cases, Copies, Cost, HookError, Leaf, ManyCases,
    On, Part, Plan, Point, Seed, Site,
};
use mmlens_engine::{
    Classed, Limits, Logistic, Positions, Progress, dot, drawn_order, row_count, row_width, rows_in, rows_of,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

mod found;

use found::{Direction, Found, Tested};

/// What this method is.
pub const CARD: Card = Card {
    id: "concept-activation-vectors",
    short: "tcav",
    name: "TCAV: testing with concept activation vectors",
    question: "Does the answer depend on a concept, given by examples, more than on directions of no meaning?",
    citation: "Kim, Wattenberg, Gilmer, Cai, Wexler, Viegas, Sayres: Interpretability Beyond Feature Attribution: Quantitative Testing with Concept Activation Vectors (TCAV). ICML 2018. https://arxiv.org/abs/1711.11279",
    leaf: Leaf::Architecture,
    cost: "1 forward for each example; 1 forward with gradients for each explained case",
    needs: &[Capability::Gradients, Capability::Answer],
    misleads: &[
        "Runs share their examples: with more of them every difference becomes significant.",
        "A direction may be that of what goes with the concept.",
        "A score says how often, not how much.",
    ],
    first: false,
};

/// Which items of a run's seed the orders of a concept's examples, and in which the others take turns, are.
const OWN: u64 = 1;
const OTHERS: u64 = 1 << 32;

/// What of a case is an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RowsOf {
    /// The mean over its positions.
    #[default]
    Mean,
    /// Each of its positions.
    Each,
    /// All of its positions, one behind the other.
    Flat,
}

/// What is tested.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where activations are read and gradients taken.
    pub site: Site,
    /// At which positions.
    pub positions: Positions,
    /// What of a case is an example.
    pub rows: RowsOf,
    /// Labels of concepts; none for all but the other two.
    pub concepts: Vec<String>,
    /// The label of random examples.
    pub random: String,
    /// The label of cases that are explained.
    pub explained: String,
    /// Whether a concept is told from examples of the others instead of random ones.
    pub relative: bool,
    /// How many draws of random examples.
    pub runs: usize,
    /// The share of the groups that is held out.
    pub held_out: f64,
    /// The inverse strength of a classifier's penalty.
    pub c: f64,
    /// The most steps of a search.
    pub steps: usize,
    /// The gradient at which a search has converged.
    pub tolerance: f64,
    /// Of all draws.
    pub seed: Seed,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            site: Site::block(Part::Text, 0, Point::ResidPost),
            positions: Positions::Last,
            rows: RowsOf::Mean,
            concepts: Vec::new(),
            random: "random".to_owned(),
            explained: "explained".to_owned(),
            relative: false,
            runs: 20,
            held_out: 0.33,
            c: 1.0,
            steps: 1000,
            tolerance: 1e-8,
            seed: Seed(0),
        }
    }
}

/// TCAV with checked settings.
#[derive(Debug, Clone)]
pub struct Tcav {
    settings: Settings,
}

/// Which cases are examples of what, and which are explained.
struct Chosen {
    /// The names of concepts.
    names: Vec<String>,
    /// The cases of each of them.
    concepts: Vec<Vec<usize>>,
    random: Vec<usize>,
    explained: Vec<usize>,
}

/// Examples of one label: rows of each of its groups.
struct Examples {
    groups: Vec<Vec<Vec<f64>>>,
}

impl Examples {
    /// Of some groups, by number, all rows.
    fn rows<'a>(&'a self, groups: &'a [usize]) -> impl Iterator<Item = &'a [f64]> {
        groups.iter().filter_map(|group| self.groups.get(*group)).flatten().map(Vec::as_slice)
    }
}

impl Tcav {
    fn chosen(&self, data: &dyn Cases) -> Result<Chosen, AnalysisError> {
        let Settings { concepts, random, explained, .. } = &self.settings;
        let mut of: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for case in 0..data.len() {
            if let Some(label) = data.label(case)? {
                of.entry(label).or_default().push(case);
            }
        }
        let classes = data.classes();
        let named = |name: &str| {
            let class = classes.iter().position(|class| class == name);
            class.and_then(|class| of.get(&class)).cloned().ok_or_else(|| {
                let known: Vec<String> = classes.iter().map(|class| format!("`{class}`")).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                let found =
                    format!("none of `{}` is labelled `{name}`: labels there are {known}", data.name());
                input(&CARD, "cases of every label that is named", found)
            })
        };
        let (random_cases, explained_cases) = (named(random)?, named(explained)?);
        let names: Vec<String> = match concepts.is_empty() {
            false => concepts.clone(),
            true => classes.iter().filter(|class| *class != random && *class != explained).cloned().collect(),
        };
        if names.is_empty() {
            let found = format!("all cases of `{}` are `{random}` or `{explained}`", data.name());
            return Err(input(&CARD, "examples of a concept", found));
        }
        if self.settings.relative && names.len() < 2 {
            let found = format!("`{}` is the only one", names.join(", "));
            return Err(input(&CARD, "two concepts that are told apart", found));
        }
        let concepts = names.iter().map(|name| named(name)).collect::<Result<_, _>>()?;
        Ok(Chosen { names, concepts, random: random_cases, explained: explained_cases })
    }

    /// What a case gives to learn from.
    fn examples_of(
        &self,
        on: &On<'_>,
        data: &dyn Cases,
        index: usize,
    ) -> Result<Vec<Vec<f64>>, AnalysisError> {
        let Settings { site, positions, rows, .. } = &self.settings;
        let Case { sample, .. } = data.case(index)?;
        let held = rows_of((on, CARD.id), &on.subject().encode(&sample)?, *site, positions)?;
        let wide = |row: &[f32]| row.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>();
        Ok(match rows {
            RowsOf::Each => held.rows().map(wide).collect(),
            RowsOf::Flat => vec![wide(&held.values)],
            RowsOf::Mean => vec![held.mean()],
        })
    }

    /// The examples of some cases, by their groups.
    fn examples(
        &self,
        on: &On<'_>,
        data: &dyn Cases,
        (cases, groups): (&[usize], &[u64]),
        (held, progress): (&mut u64, &mut Progress<'_>),
    ) -> Result<Examples, AnalysisError> {
        let mut by_group: BTreeMap<u64, Vec<Vec<f64>>> = BTreeMap::new();
        for case in cases {
            let own = self.examples_of(on, data, *case)?;
            *held += own.iter().map(|row| 8 * row.len() as u64).sum::<u64>();
            let (need, budget) = (*held, on.memory().left());
            if need > budget {
                return Err(AnalysisError::Memory { method: CARD.id, need, at: self.settings.site, budget });
            }
            by_group.entry(groups.get(*case).copied().unwrap_or_default()).or_default().extend(own);
            progress.advance(1)?;
        }
        Ok(Examples { groups: by_group.into_values().collect() })
    }

    /// The slope of the objective along each coordinate of an example, and the objective.
    fn slope(
        &self,
        on: &On<'_>,
        data: &dyn Cases,
        index: usize,
    ) -> Result<(Vec<f64>, f32, Unit), AnalysisError> {
        let Settings { site, positions, rows, .. } = &self.settings;
        let subject = on.subject();
        let case = data.case(index)?;
        let (inputs, objective) = case.open(subject)?;
        let plan = Plan::new().objective(&objective).grad(*site)?;
        on.memory().hold(CARD.id, 0, subject.need(&inputs, &plan, Copies::ONE)?)?;
        let trace = subject.run(&inputs, plan)?;
        let value = *trace.scores()?.first().ok_or(HookError::NoObjective)?;
        let slopes = rows_in((on, CARD.id), &inputs, (*site, trace.grad(*site)?), positions)?;
        let slope = match rows {
            RowsOf::Flat => slopes.values.iter().map(|x| f64::from(*x)).collect(),
            // All positions move along one direction.
            RowsOf::Mean | RowsOf::Each => {
                let mut sum = vec![0.0; slopes.width];
                for row in slopes.rows() {
                    sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
                }
                sum
            }
        };
        Ok((slope, value, objective.unit()))
    }

    /// A direction from examples of a concept, by groups learned from and held out, and others.
    fn direction(
        &self,
        (own, own_groups): (&Examples, &[usize]),
        (others, other_groups): (&[&Examples], &[(usize, usize)]),
        name: &str,
    ) -> Result<Direction, AnalysisError> {
        let Settings { c, steps, tolerance, .. } = self.settings;
        let out = self.held_out(own_groups.len());
        let rows = |held: bool| -> Classed {
            let part = |at: usize| (at < out) == held;
            let own_groups: Vec<usize> =
                own_groups.iter().enumerate().filter(|(at, _)| part(*at)).map(|(_, group)| *group).collect();
            let mut rows = Classed { classes: 2, ..Classed::default() };
            let mut push = |row: &[f64], label: usize| {
                rows.width = row.len();
                rows.values.extend(row);
                rows.labels.push(label);
            };
            own.rows(&own_groups).for_each(|row| push(row, 1));
            for (_, (set, group)) in other_groups.iter().enumerate().filter(|(at, _)| part(*at)) {
                others.get(*set).into_iter().for_each(|set| set.rows(&[*group]).for_each(|row| push(row, 0)));
            }
            rows
        };
        let (kept, held) = (rows(false), rows(true));
        let limits = Limits { steps, gradient: tolerance };
        let (model, ended) = Logistic::fit(CARD.id, &kept, c, limits, &mut |_| Ok(()))?;
        let weights = model.weights.into_iter().next().unwrap_or_default();
        let length = dot(&weights, &weights).sqrt();
        if length == 0.0 || !length.is_finite() {
            let found = format!("those of {name} do not differ from the others");
            return Err(input(&CARD, "examples that can be told apart", found));
        }
        let intercept = model.intercepts.first().copied().unwrap_or_default();
        // Of each half by itself, so that it does not matter where one has more rows.
        let right = |label: usize| {
            let each = held.values.chunks_exact(held.width.max(1)).zip(&held.labels);
            let (mut right, mut all) = (0.0, 0.0_f64);
            for (row, _) in each.filter(|(_, own)| **own == label) {
                let above = dot(&weights, row) + intercept > 0.0;
                right += f64::from(u8::from(above == (label == 1)));
                all += 1.0;
            }
            right / all.max(1.0) // no NaN: a count
        };
        Ok(Direction {
            accuracy: (right(0) + right(1)) / 2.0,
            vector: weights.into_iter().map(|x| x / length).collect(),
            held_out: held.labels.len(),
            ended,
        })
    }

    /// Of so many groups, how many are held out.
    fn held_out(&self, groups: usize) -> usize {
        ((self.settings.held_out * groups as f64).round() as usize).clamp(1, groups.saturating_sub(1).max(1))
    }
}

impl Analysis for Tcav {
    type Input = ManyCases;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        at_least_one(&CARD, "runs", settings.runs)?;
        if settings.runs < 2 {
            return Err(setting(&CARD, "runs", settings.runs, "a test needs 2 or more"));
        }
        at_least_one(&CARD, "steps", settings.steps)?;
        above_zero(&CARD, "c", settings.c)?;
        above_zero(&CARD, "tolerance", settings.tolerance)?;
        share(&CARD, "held_out", settings.held_out)?;
        let Settings { concepts, random, explained, .. } = &settings;
        if random == explained {
            return Err(setting(
                &CARD,
                "random",
                format!("`{random}`"),
                "explained cases have another label",
            ));
        }
        if let Some(name) = concepts.iter().find(|name| *name == random) {
            return Err(setting(&CARD, "concepts", format!("`{name}`"), "random examples are no concept"));
        }
        let twice =
            concepts.iter().enumerate().find(|(at, name)| concepts.iter().take(*at).any(|n| n == *name));
        if let Some((_, name)) = twice {
            return Err(setting(&CARD, "concepts", format!("`{name}` twice"), "a concept is named once"));
        }
        Ok(Self { settings })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, many: &ManyCases) -> Result<Cost, AnalysisError> {
        let data = many.data();
        let chosen = self.chosen(data)?;
        let learned: usize = chosen.concepts.iter().chain([&chosen.random]).map(Vec::len).sum();
        let (mut settling, mut need) = (0, None);
        for case in &chosen.explained {
            let case = data.case(*case)?;
            settling += case.settling();
            if need.is_none() {
                need = Some(on.row(&case, &on.encode(&case.sample)?, &[self.settings.site])?);
            }
        }
        let need = need.ok_or_else(|| input(&CARD, "cases to explain", "there is none"))?;
        let Settings { site, positions, rows, .. } = &self.settings;
        let (width, _) = row_width((on, CARD.id), *site, positions)?;
        let mut kept = 0;
        for case in chosen.concepts.iter().chain([&chosen.random, &chosen.explained]).flatten() {
            let own = match rows {
                RowsOf::Mean => 1,
                RowsOf::Each | RowsOf::Flat => {
                    let inputs = on.encode(&data.case(*case)?.sample)?;
                    row_count((on, CARD.id), &inputs, *site, positions)?
                }
            };
            kept += 8 * (own * width) as u64;
        }
        let explained = chosen.explained.len();
        let cost = Cost::rows(learned + settling + explained).with_gradients(explained);
        Ok(cost.taking(need.bytes.saturating_add(kept), on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, many: &ManyCases) -> Result<Answer, AnalysisError> {
        let Settings { site, runs, seed, relative, .. } = self.settings;
        let data = many.data();
        let chosen = self.chosen(data)?;
        let groups = mmlens_core::groups(data)?;
        let learned: usize = chosen.concepts.iter().chain([&chosen.random]).map(Vec::len).sum();
        let total = learned + chosen.explained.len() + runs;
        let mut progress = Progress::new(on.watch(), CARD.id, total);
        let mut held = 0_u64;
        let mut of = |cases: &[usize], progress: &mut Progress<'_>| -> Result<Examples, AnalysisError> {
            self.examples(on, data, (cases, &groups), (&mut held, progress))
        };
        let concepts: Vec<Examples> =
            chosen.concepts.iter().map(|cases| of(cases, &mut progress)).collect::<Result<_, _>>()?;
        let random = of(&chosen.random, &mut progress)?;
        let (mut slopes, mut objectives, mut unit) = (Vec::new(), Vec::new(), None);
        for case in &chosen.explained {
            let (slope, value, own) = self.slope(on, data, *case)?;
            match unit {
                Some(first) if first != own => {
                    return Err(input(&CARD, "cases explained in one unit", format!("{own} beside {first}")));
                }
                _ => unit = Some(own),
            }
            slopes.push(slope);
            objectives.push(value);
            progress.advance(1)?;
        }
        let unit = unit.ok_or(HookError::NoObjective)?;
        self.same_width(&concepts, &random, &slopes)?;
        let size = self.size(&chosen, &concepts, &random)?;

        let mut tested: Vec<Tested> = (0..=concepts.len()).map(|_| Tested::default()).collect();
        for run in 0..runs {
            let seed = seed.at(run as u64);
            let order = drawn_order(random.groups.len(), seed);
            let drawn: Vec<usize> = order.iter().take(size).copied().collect();
            let others: Vec<usize> = order.iter().skip(size).take(size).copied().collect();
            let numbered = |groups: &[usize]| groups.iter().map(|group| (0, *group)).collect::<Vec<_>>();
            let orders: Vec<Vec<usize>> = concepts
                .iter()
                .zip(OWN..)
                .map(|(own, item)| drawn_order(own.groups.len(), seed.at(item)))
                .collect();
            for (at, (own, name)) in concepts.iter().zip(&chosen.names).enumerate() {
                let mine = orders.get(at).map(Vec::as_slice).unwrap_or_default();
                let mine = mine.get(..size).unwrap_or(mine);
                let direction = if relative {
                    let against = taking_turns(at, &orders, seed, size);
                    let sets: Vec<&Examples> = concepts.iter().collect();
                    self.direction((own, mine), (&sets, &against), &format!("`{name}`"))?
                } else {
                    self.direction((own, mine), (&[&random], &numbered(&drawn)), &format!("`{name}`"))?
                };
                if let Some(tested) = tested.get_mut(at) {
                    tested.add(direction, &slopes);
                }
            }
            let direction =
                self.direction((&random, &others), (&[&random], &numbered(&drawn)), "a random concept")?;
            if let Some(tested) = tested.last_mut() {
                tested.add(direction, &slopes);
            }
            progress.advance(1)?;
        }
        let (out, steps) = (self.held_out(size), self.settings.steps);
        let found = Found { names: chosen.names, tested, objectives, unit, size, out, steps };
        let (tables, cautions) = found.tables()?;
        let answer = Answer::new(tables, [site]).seeded(seed).cautioned(cautions);
        Ok(answer.settled("concepts", json!(found.names)))
    }
}

impl Tcav {
    /// That all examples, and all slopes, are of one length.
    fn same_width(
        &self,
        concepts: &[Examples],
        random: &Examples,
        slopes: &[Vec<f64>],
    ) -> Result<(), AnalysisError> {
        let examples = concepts.iter().chain([random]).flat_map(|set| set.groups.iter().flatten());
        let mut lengths = examples.chain(slopes).map(Vec::len);
        let first = lengths.next().unwrap_or_default();
        match lengths.find(|length| *length != first) {
            Some(other) => {
                let found =
                    format!("one example has {first} numbers and another {other}: `rows` may be `mean`");
                Err(input(&CARD, "as many positions in every case", found))
            }
            None => Ok(()),
        }
    }

    /// How many groups a direction is learned from and tested on, of each side: as many as there are of each concept, and of half of the random examples.
    fn size(
        &self,
        chosen: &Chosen,
        concepts: &[Examples],
        random: &Examples,
    ) -> Result<usize, AnalysisError> {
        let mut size = random.groups.len() / 2;
        if size < 2 {
            let found = format!("`{}` has {}", self.settings.random, random.groups.len());
            return Err(input(&CARD, "at least four groups of random examples", found));
        }
        for (name, examples) in chosen.names.iter().zip(concepts) {
            let own = examples.groups.len();
            if own < 2 {
                let found = format!("`{name}` has {own}");
                return Err(input(&CARD, "at least two groups of examples of each concept", found));
            }
            size = size.min(own); // no NaN: whole numbers
        }
        Ok(size)
    }
}

/// Groups of all concepts but one, so many: the others take turns, each in its own order, so that two concepts are told from each other by the same groups.
fn taking_turns(but: usize, orders: &[Vec<usize>], seed: Seed, size: usize) -> Vec<(usize, usize)> {
    let turns = drawn_order(orders.len(), seed.at(OTHERS + but as u64));
    let most = orders.iter().map(Vec::len).max().unwrap_or_default();
    let round = |at: usize| {
        let others = turns.iter().filter(move |set| **set != but);
        others.filter_map(move |set| Some((*set, *orders.get(*set)?.get(at)?)))
    };
    (0..most).flat_map(round).take(size).collect()
}
