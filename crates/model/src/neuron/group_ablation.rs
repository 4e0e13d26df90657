//! Group ablation: does the model need these neurons, more than others?
//!
//! # Idea
//! A group of neurons is taken out at all positions, set to zero or to its mean over the data set; so are `R` random groups that have as
//! many neurons of each layer, none of them of the group. With `f(i)` the objective of case `i`,
//!
//! ```text
//! change(g) = mean over cases of f(i; without g) - f(i)
//! p         = (1 + number of random groups r with abs change(r) >= abs change(group)) / (1 + R)
//! ```
//!
//! # In and out
//! In: [`ManyCases`], a data set, each case with what is explained of it. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `mean change` | concept | objective | of the group, and of the random groups in the mean |
//! | `p` | | probability | as above |
//! | `random` | step | objective | `change` of each random group |
//! | `change` | sample | objective | of the group, case by case |
//! | `objective` | sample | objective | with nothing taken out |
//! | `likeliest` | concept | ratio | where every case explains one token: the share of cases in which it is the likeliest, with all neurons, without the group, and without a random group in the mean |
//! | `group` | rank | text | the neurons, `layer.neuron` |
//! | `random groups` | step | text | those of each random group |
//!
//! # Settings
//! - `neurons`: the group, as `["2.17", "3.5"]` ([`NeuronAt`]; tables called `neurons` of other findings are read by [`NeuronAt::listed`]); if
//!   none are named, the `largest`, 10, by the mean of their absolute value over all rows, of equal ones the earlier, and no more than half
//!   of the neurons of a layer.
//! - `to`: `zero`, or `mean`, over all rows of the data set.
//! - `part`: the language model; where an encoder of its own reads the words, or there is none, the tower ([`Part`]).
//! - `random`: 20 groups; `seed`: 0; `rows`: 16 variants share a pass, or fewer, as memory allows.
//!
//! # Cost
//! `random + 2` passes for each case, in batches, each from the first layer of the group on, and one more where the likeliest token is
//! explained; one for each case beforehand for means, or where no neurons are named. Memory: 16 bytes for each neuron, and the passes.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for an empty group, a neuron named twice, no random groups. Running: [`AnalysisError::Input`] for an empty
//! data set, a part without neurons, cases explained in different units, or of several rows; [`AnalysisError::Setting`] for a neuron that there
//! is not, or a layer in which too few others are left for a random group; [`AnalysisError::Memory`]; [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - Zero may be far from anything the neuron ever holds, and harm by that: compare with `mean`.
//! - Random groups match layers alone: where the group fires more than others, a larger change may be due to that.
//! - Neurons stand in for one another: that nothing happens without a group does not mean that it does nothing.
//! - The smallest `p` is `1 / (random + 1)`.
//!
//! # Agreement
//! transformers' `llava-a` and `clip-a` with hooks on the output projections: changes of the group and of four random groups within 4e-6.
//! Identities tested: a group that holds zeros changes nothing; the mean of one case's constant neurons changes nothing; `p` counts as it says; a
//! data set twice changes no mean.
//!
//! # Reference
//! Huo et al.: MMNeuron. EMNLP 2024. <https://arxiv.org/abs/2406.11193> (groups set to zero); Morcos et al.: On the Importance of Single
//! Directions for Generalization. ICLR 2018. <https://arxiv.org/abs/1803.06959>; p by rank: Phipson, Smyth: Permutation P-values Should Never
//! Be Zero. 2010. <https://doi.org/10.2202/1544-6115.1585>.
//!
//! # Example
//! ```
//! use mmlens_core::{Analysis, Case, ManyCases, Sample, from_fn};
//! use mmlens_model::group_ablation::{GroupAblation, Settings};
//! let words = from_fn("words", 3, |i| Ok(Case::new(Sample::text(["ab", "cd", "ef"][i]))));
//! let toy = mmlens_testkit::Toy::curved(1);
//! let neurons = Some(vec!["1.3".to_owned().try_into()?, "1.5".to_owned().try_into()?]);
//! let finding = GroupAblation::new(Settings { neurons, ..Settings::default() })?.run(&toy, &ManyCases::over(words)?)?;
//! println!("{:?} p {:?}", finding.table("mean change")?.as_numbers(), finding.table("p")?.as_scalar());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;

use mmlens_core::finding::{Axis, Caution, CautionKind, Labelled, Role, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Answer, AnyTensor, AxisName, Capability, Card, Case, Cases, Copies, Cost,
    HookError, Leaf, ManyCases, Need, Objective, On, Part, Plan, Point, Region, Seed, Site, SiteSpec,
    caution, device,
};
use mmlens_engine::{
    Edit, Indices, Metric, NeuronAt, Neurons, Positions, Progress, Sweep, distribution, shuffled,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::check::{at_least_one, input, part_with_neurons, setting};

/// What this method is.
pub const CARD: Card = Card {
    id: "group-ablation",
    short: "group-ablation",
    name: "Ablation of a group of neurons",
    question: "Does the model need these neurons, more than others?",
    citation: "Huo et al.: MMNeuron: Discovering Neuron-Level Domain-Specific Interpretation in Multimodal Large Language Model. EMNLP 2024. https://arxiv.org/abs/2406.11193",
    leaf: Leaf::Neuron,
    cost: "(random groups + 2) forward for each case, in batches, and 1 for means",
    needs: &[Capability::Neurons],
    misleads: &[
        "Zero may be far from anything the neuron ever holds: compare with the mean.",
        "Random groups match layers alone, not how much neurons fire.",
        "Neurons stand in for one another.",
    ],
    first: false,
};

/// From this p on random groups are said to do as much.
const BY_CHANCE: f64 = 0.05;

/// What neurons are set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum To {
    /// Zero.
    #[default]
    Zero,
    /// Their mean over the data set.
    Mean,
}

/// What is taken out.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The group; `None` for the neurons that hold most.
    pub neurons: Option<Vec<NeuronAt>>,
    /// How many, where none are named.
    pub largest: usize,
    /// What they are set to.
    pub to: To,
    /// Of which part; `None` for the language model, or where an encoder of its own reads the words, or there is none, the tower.
    pub part: Option<Part>,
    /// How many random groups.
    pub random: usize,
    /// The seed of random groups.
    pub seed: Seed,
    /// How many variants share a pass.
    pub rows: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { neurons: None, largest: 10, to: To::Zero, part: None, random: 20, seed: Seed(0), rows: 16 }
    }
}

/// Group ablation with checked settings.
#[derive(Debug, Clone)]
pub struct GroupAblation {
    settings: Settings,
    rows: NonZeroUsize,
}

/// What neurons hold over a data set.
struct Held {
    mean: Vec<f64>,
    magnitude: Vec<f64>,
}

impl GroupAblation {
    fn neurons(&self, on: &On<'_>) -> Result<(Part, Neurons), AnalysisError> {
        let part = part_with_neurons(&CARD, on.subject(), (self.settings.part, Point::MlpPost))?;
        let at = (part, Point::MlpPost);
        Ok((part, Neurons::of((on, CARD.id), at, &Indices::All, &Positions::All)?))
    }

    /// Whether what neurons hold is needed beforehand.
    fn looks(&self) -> bool {
        self.settings.neurons.is_none() || self.settings.to == To::Mean
    }

    fn held(
        &self,
        on: &On<'_>,
        data: &dyn Cases,
        neurons: &Neurons,
        progress: &mut Progress<'_>,
    ) -> Result<Held, AnalysisError> {
        let (count, width) = (neurons.len(), neurons.width());
        let (mut held, mut rows) = (Held { mean: vec![0.0; count], magnitude: vec![0.0; count] }, 0_u64);
        let all = (0..neurons.layers().len(), kept(neurons));
        neurons.scan((on, CARD.id), data, all, progress, &mut |_, layer, own| {
            rows += if layer == 0 { own.places.len() as u64 } else { 0 };
            for row in own.rows() {
                let sums = held.mean.iter_mut().zip(&mut held.magnitude).skip(layer * width);
                for (value, (mean, magnitude)) in row.iter().zip(sums) {
                    *mean += f64::from(*value);
                    *magnitude += f64::from(value.abs());
                }
            }
            Ok(())
        })?;
        let each = held.mean.iter_mut().chain(&mut held.magnitude);
        each.for_each(|sum| *sum /= rows.max(1) as f64);
        Ok(held)
    }

    /// The group, each neuron by its number among all, in the order in which it was named.
    fn group(&self, neurons: &Neurons, held: Option<&Held>) -> Result<Vec<usize>, AnalysisError> {
        let width = neurons.width();
        match (&self.settings.neurons, held) {
            (Some(named), _) => {
                let one = |at: &NeuronAt| {
                    let layer = neurons.layers().iter().position(|layer| *layer == at.layer);
                    match layer.filter(|_| at.neuron < width) {
                        Some(layer) => Ok(layer * width + at.neuron),
                        None => {
                            let found = format!("{at}, of {} layers of {width}", neurons.layers().len());
                            Err(setting(&CARD, "neurons", found, "neurons that there are"))
                        }
                    }
                };
                named.iter().map(one).collect()
            }
            (None, Some(held)) => {
                let mut left = vec![width / 2; neurons.layers().len()];
                let order = distribution::largest(&held.magnitude, held.magnitude.len()).into_iter();
                // As many others of each layer are for random groups.
                let room = |unit: &usize| match left.get_mut(unit / width.max(1)) {
                    Some(left) if *left > 0 => {
                        *left -= 1;
                        true
                    }
                    _ => false,
                };
                Ok(order.map(|(unit, _)| unit).filter(room).take(self.settings.largest).collect())
            }
            (None, None) => Err(setting(&CARD, "neurons", "none", "there must be one")),
        }
    }

    /// Groups that have as many neurons of each layer, none of them of the group.
    fn random(&self, neurons: &Neurons, group: &[usize]) -> Result<Vec<Vec<usize>>, AnalysisError> {
        let width = neurons.width().max(1);
        let own: BTreeSet<usize> = group.iter().copied().collect();
        let mut layers: BTreeMap<usize, usize> = BTreeMap::new();
        group.iter().for_each(|unit| *layers.entry(unit / width).or_default() += 1);
        if let Some((layer, count)) = layers.iter().find(|(_, count)| 2 * **count > width) {
            let found = format!("{count} of the {width} neurons of layer {layer}");
            return Err(setting(&CARD, "neurons", found, "a random group needs as many others"));
        }
        let draw = |at: usize| {
            let seed = self.settings.seed.at(at as u64);
            let of_layer = |(layer, count): (&usize, &usize)| {
                let order = shuffled(width, seed.at(*layer as u64)).into_iter();
                let others = order.map(|neuron| layer * width + neuron).filter(|unit| !own.contains(unit));
                others.take(*count).collect::<Vec<_>>()
            };
            layers.iter().flat_map(of_layer).collect()
        };
        Ok((0..self.settings.random).map(draw).collect())
    }

    /// What takes a group out.
    fn edits(
        &self,
        on: &On<'_>,
        neurons: &Neurons,
        group: &[usize],
        held: Option<&Held>,
    ) -> Result<Vec<Edit>, AnalysisError> {
        let width = neurons.width().max(1);
        let mut layers: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        group.iter().for_each(|unit| layers.entry(unit / width).or_default().push(unit % width));
        let mut edits = Vec::new();
        for (layer, own) in layers {
            let site = *neurons.sites().get(layer).ok_or(HookError::NoObjective)?;
            let edit = match (self.settings.to, held) {
                (To::Mean, Some(held)) => {
                    let means = held.mean.iter().skip(layer * width).take(width).map(|mean| *mean as f32);
                    let mut dims = vec![1; SiteSpec::among(on.subject().sites(), site)?.rank()];
                    if let Some(last) = dims.last_mut() {
                        *last = width;
                    }
                    Edit::set(site, AnyTensor::from_values(means.collect(), &dims, &device::host())?)
                }
                _ => Edit::zero(site),
            };
            edits.push(edit.within(Region::all().of(AxisName::Neuron, own)));
        }
        Ok(edits)
    }
}

/// Bytes of what neurons hold over a data set.
fn kept(neurons: &Neurons) -> u64 {
    16 * neurons.len() as u64
}

/// What is measured of a case: what is explained, and how many tokens are likelier, where that is one token.
fn metrics(objective: &Objective) -> Vec<Metric> {
    let mut metrics = vec![Metric::from(objective)];
    let single = match objective {
        Objective::Logit { .. } | Objective::LogProbability { .. } | Objective::Probability { .. } => true,
        Objective::Span { tokens, .. } => tokens.len() == 1,
        _ => false,
    };
    if let (true, Some(at), Some(token)) = (single, objective.at(), objective.token()) {
        metrics.push(Metric::Rank { at, token });
    }
    metrics
}

/// What became of one group, or with none.
#[derive(Default, Clone)]
struct Sums {
    change: f64,
    likeliest: f64,
}

impl Analysis for GroupAblation {
    type Input = ManyCases;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        let rows = at_least_one(&CARD, "rows", settings.rows)?;
        at_least_one(&CARD, "random", settings.random)?;
        at_least_one(&CARD, "largest", settings.largest)?;
        if let Some(named) = &settings.neurons {
            let mut seen = BTreeSet::new();
            match named.iter().find(|own| !seen.insert(**own)) {
                Some(twice) => {
                    return Err(setting(
                        &CARD,
                        "neurons",
                        format!("{twice} twice"),
                        "a neuron is named once",
                    ));
                }
                None if named.is_empty() => {
                    return Err(setting(&CARD, "neurons", "none", "there must be one"));
                }
                None => {}
            }
        }
        Ok(Self { settings, rows })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, many: &ManyCases) -> Result<Cost, AnalysisError> {
        let (_, neurons) = self.neurons(on)?;
        let mut cost = match self.looks() {
            true => {
                neurons.cost((on, CARD.id), many.data(), &[(0..neurons.layers().len(), kept(&neurons))])?
            }
            false => Cost::default(),
        };
        if self.settings.neurons.is_some() {
            self.random(&neurons, &self.group(&neurons, None)?)?;
        }
        for case in 0..many.len() {
            let case = many.data().case(case)?;
            let inputs = on.subject().encode(&case.sample)?;
            let plan = Plan::new().objective(on.form(&case, &inputs)?);
            let row = on.subject().need(&inputs, &plan, Copies::ONE)?;
            cost.forward += (case.settling() + self.settings.random + 2) as u64;
            let most = row.bytes.saturating_mul(self.rows.get() as u64);
            cost.bytes = cost.bytes.max(most.min(on.memory().budget())); // no NaN: whole numbers
        }
        Ok(cost)
    }

    fn answer(&self, on: &On<'_>, many: &ManyCases) -> Result<Answer, AnalysisError> {
        let (part, neurons) = self.neurons(on)?;
        let (data, subject) = (many.data(), on.subject());
        let at = *neurons.sites().first().ok_or(HookError::NoObjective)?;
        if many.is_empty() {
            return Err(input(&CARD, "at least one case", "there is none"));
        }
        on.memory().hold(CARD.id, 0, Need { bytes: kept(&neurons), at })?;
        let groups = self.settings.random + 1;
        let looks = if self.looks() { data.len() } else { 0 };
        let mut progress = Progress::new(on.watch(), CARD.id, looks + groups * data.len());
        let held = if self.looks() { Some(self.held(on, data, &neurons, &mut progress)?) } else { None };
        let group = self.group(&neurons, held.as_ref())?;
        let others = self.random(&neurons, &group)?;
        let all = std::iter::once(&group).chain(&others);
        let edits: Vec<Vec<Edit>> =
            all.map(|own| self.edits(on, &neurons, own, held.as_ref())).collect::<Result<_, _>>()?;
        let memory = on.memory().at_most(self.rows).less(kept(&neurons));
        let (mut sums, mut changes, mut objectives) = (vec![Sums::default(); groups], Vec::new(), Vec::new());
        let (mut unit, mut likeliest, mut ranked) = (None, 0.0, 0);
        for case in 0..data.len() {
            let case: Case = data.case(case)?;
            let (inputs, objective) = case.open(subject)?;
            match unit {
                Some(first) if first != objective.unit() => {
                    let found = format!("{} beside {first}", objective.unit());
                    return Err(input(&CARD, "cases explained in one unit", found));
                }
                _ => unit = Some(objective.unit()),
            }
            let sweep = Sweep::of(vec![Axis::count(Role::Step, groups)], edits.clone())?;
            let sweep = metrics(&objective).into_iter().fold(sweep, Sweep::measure);
            let found = sweep.run(subject, &inputs, &memory, &mut progress)?.measured;
            let own = found.first().ok_or(HookError::NoObjective)?;
            objectives.push(own.unedited);
            for (at, (sum, value)) in sums.iter_mut().zip(&own.values).enumerate() {
                let change = f64::from(*value) - f64::from(own.unedited);
                sum.change += change / data.len() as f64;
                if at == 0 {
                    changes.push(change as f32);
                }
            }
            if let Some(ranks) = found.get(1) {
                let first = |rank: f32| if rank == 0.0 { 1.0 / data.len() as f64 } else { 0.0 };
                ranked += 1;
                likeliest += first(ranks.unedited);
                sums.iter_mut().zip(&ranks.values).for_each(|(sum, rank)| sum.likeliest += first(*rank));
            }
        }
        let unit = unit.ok_or(HookError::NoObjective)?;
        let likeliest = (ranked == data.len()).then_some(likeliest);
        let found = Found { neurons: &neurons, group, others, sums, changes, objectives, unit, likeliest };
        let (tables, cautions) = found.tables()?;
        let sites: BTreeSet<Site> = found
            .group
            .iter()
            .filter_map(|own| neurons.sites().get(own / neurons.width().max(1)).copied())
            .collect();
        let named: Vec<NeuronAt> = found.group.iter().map(|unit| neurons.named(*unit)).collect();
        let answer = Answer::new(tables, sites).seeded(self.settings.seed).cautioned(cautions);
        Ok(answer.settled("part", json!(part)).settled("neurons", json!(named)))
    }
}

struct Found<'a> {
    neurons: &'a Neurons,
    group: Vec<usize>,
    others: Vec<Vec<usize>>,
    /// Of the group, then of each random one.
    sums: Vec<Sums>,
    changes: Vec<f32>,
    objectives: Vec<f32>,
    unit: Unit,
    likeliest: Option<f64>,
}

impl Found<'_> {
    fn tables(&self) -> Result<(Vec<Labelled>, Vec<Caution>), AnalysisError> {
        let Self { neurons, group, others, sums, changes, objectives, unit, likeliest } = self;
        let (own, random) = sums.split_first().ok_or(HookError::NoObjective)?;
        let of_random =
            |value: &dyn Fn(&Sums) -> f64| random.iter().map(value).sum::<f64>() / random.len().max(1) as f64;
        let as_large = random.iter().filter(|other| other.change.abs() >= own.change.abs()).count();
        let p = (1 + as_large) as f64 / (1 + random.len()) as f64;
        let listed = |group: &Vec<usize>| -> Vec<String> {
            group.iter().map(|unit| neurons.named(*unit).to_string()).collect()
        };
        let whom = Axis::names(Role::Concept, ["the group", "random groups"]);
        let mean = vec![own.change as f32, of_random(&|own| own.change) as f32];
        let sample = || vec![Axis::count(Role::Sample, changes.len())];
        let step = || vec![Axis::count(Role::Step, random.len())];
        let each = random.iter().map(|own| own.change as f32).collect();
        let mut tables = vec![
            Labelled::numbers("mean change", *unit, vec![whom], mean)?,
            Labelled::scalar("p", Unit::Probability, p as f32),
            Labelled::numbers("random", *unit, step(), each)?,
            Labelled::numbers("change", *unit, sample(), changes.clone())?,
            Labelled::numbers("objective", *unit, sample(), objectives.clone())?,
        ];
        if let Some(likeliest) = likeliest {
            let whom =
                Axis::names(Role::Concept, ["all neurons", "without the group", "without random groups"]);
            let values = [*likeliest, own.likeliest, of_random(&|own| own.likeliest)];
            let values = values.map(|value| value as f32).to_vec();
            tables.push(Labelled::numbers("likeliest", Unit::Ratio, vec![whom], values)?);
        }
        tables.push(Labelled::texts("group", vec![Axis::count(Role::Rank, group.len())], listed(group))?);
        let names = others.iter().map(|own| listed(own).join(" ")).collect();
        tables.push(Labelled::texts("random groups", step(), names)?.aside());
        let size = mmlens_core::finding::largest(objectives).unwrap_or(0.0) as f32;
        let rounding = caution::rounding(changes, (*unit, size), "changes");
        let chance = (rounding.is_none() && p > BY_CHANCE).then(|| {
            let text = format!(
                "{as_large} of {} random groups change as much or more (p = {p:.2}): that it is these neurons does not follow",
                random.len()
            );
            Caution::new(CautionKind::Chance, p as f32, text)
        });
        Ok((tables, rounding.into_iter().chain(chance).collect()))
    }
}
