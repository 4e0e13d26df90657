//! Activation probability entropy (LAPE): which neurons are active for a few of several groups alone?
//!
//! # Idea
//! Groups are classes of cases (languages, domains, colours), or modalities of positions. With `p[u, k]` the share of the rows of group
//! `k` at which neuron `u` is above zero,
//!
//! ```text
//! q[u, k] = p[u, k] / sum over k of p[u, k]        entropy[u] = - sum over k of q ln q
//! ```
//!
//! A neuron is left out where no `p[u, k]` is above the bar, the `round(filter n)`-th smallest of all `n` values of `p`. Of the
//! others those with the smallest entropy are *specific*, `round(share x neurons)` of them, and at least one; of equal ones the earlier. A
//! specific neuron belongs to every group for which its `p` is above the `round(member n)`-th smallest of all. (Halves are rounded to even.)
//!
//! # In and out
//! In: [`ManyCases`], a data set with labels, or one whose positions are of several modalities. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `entropy` | layer, neuron | nat | 0 for one group alone (or for none), `ln` of their number for all alike |
//! | `rates` | layer, neuron, concept | ratio | `p`, by group |
//! | `specific` | layer, concept | count | specific neurons that belong to each group |
//! | `members` | layer, neuron, concept | ratio | 1 where a specific neuron belongs to a group |
//! | `neurons` | rank | text | specific neurons, `layer.neuron: groups`, by their entropy |
//! | `threshold` | | nat | the largest entropy of a specific neuron |
//! | `found`, `shuffled mean` | | count | specific neurons; neurons with an entropy no larger, above the bar, where groups are shuffled |
//! | `shuffled` | step | count | the latter for each shuffle |
//! | `rows` | concept | count | rows of each group |
//!
//! # Settings
//! - `groups`: `labels`, the class of each case; `modalities`, what each position carries.
//! - `part`: the language model; where an encoder of its own reads the words, or there is none, the tower ([`Part`]).
//! - `point`: `mlp.gate` of a gated MLP, and `mlp.post` of others: where the activation function gives more than zero ([`Point`]).
//! - `layers`: all, or some by number ([`Indices`]); `positions`: `all` ([`Positions`]).
//! - `filter`, `member`: 0.95; `share`: 0.01. As published.
//! - `shuffles`: 10; `seed`: 0. Classes are shuffled among cases, modalities among the positions of each case.
//!
//! # Cost
//! One pass for each case (more where not all layers fit at once), which ends at the last of the layers. Memory for each neuron:
//! `8 (shuffles + 1)` bytes for every group.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for shares that are not between 0 and 1. Running: [`AnalysisError::Input`] for a data set without
//! labels, fewer than two groups, a class without cases, a part or point without neurons; [`AnalysisError::Setting`] for a layer past the
//! end; [`AnalysisError::Memory`]; [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - A share of the neurons is specific by definition, whatever the groups: compare `found` with `shuffled`. A caution comes where chance
//!   gives half as many.
//! - Groups that differ in length, in topic or in one frequent token are told apart by that.
//! - Above zero is not much: a rate says nothing of how strongly a neuron fires, and after GELU or SiLU small values matter, too.
//! - Few rows make rates of 0, and entropies of 0 with them.
//!
//! # Agreement
//! The authors' procedure in torch (kthvalue, topk) on transformers' activations of `llava-a` (gated) and `clip-a` (not): rates,
//! entropies and specific neurons equal. Identities tested: renaming groups changes nothing but names; a group that is there twice
//! halves no rate; entropies lie between 0 and `ln` of the number of groups. Of neurons that
//! were planted to be for one colour in the third or the last block of `shapes-llava` (five seeds, three strengths), with bounds set for six colours at one position (`filter` and `member` 0.6,
//! `share` 0.05), 13 of 15 are found: all 6 of the last block, 7 of 9 of the third. With the default bounds at that position ten neurons are listed, and the same 6.
//!
//! # Reference
//! Tang et al.: Language-Specific Neurons. ACL 2024. <https://arxiv.org/abs/2402.16438>; Huo et al.: MMNeuron: Discovering Neuron-Level
//! Domain-Specific Interpretation in Multimodal Large Language Model. EMNLP 2024. <https://arxiv.org/abs/2406.11193>. There a neuron that
//! was left out may be specific where too few others are left; here it is not. Shuffled groups are ours.
//!
//! # Example
//! ```
//! use mmlens_core::{Analysis, Annotated, Case, ManyCases, Sample, from_fn};
//! use mmlens_model::lape::{Lape, Settings};
//! let words = from_fn("words", 8, |i| Ok(Case::new(Sample::text(["ab", "cd"][i % 2].repeat(1 + i / 2)))));
//! let words = Annotated::new(words, ["a", "c"], (0..8).map(|i| i % 2).collect())?;
//! let toy = mmlens_testkit::Toy::curved(1);
//! let finding = Lape::new(Settings { share: 0.2, ..Settings::default() })?.run(&toy, &ManyCases::over(words)?)?;
//! println!("{:?}", finding.table("neurons")?.as_texts());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use mmlens_core::finding::{Axis, Caution, CautionKind, Labelled, Modality, Role, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Answer, Capability, Card, Cases, Cost, HookError, Leaf, ManyCases, Need, On,
    Part, Point, Seed, kind,
};
use mmlens_engine::{Held, Indices, Neurons, Positions, Progress, Shows, shuffled};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::groups::labels_of;
use crate::check::{at_most, input, part_with_neurons, setting};

/// What this method is.
pub const CARD: Card = Card {
    id: "lape",
    short: "lape",
    name: "Activation probability entropy",
    question: "Which neurons are active for a few of several groups alone?",
    citation: "Tang et al.: Language-Specific Neurons: The Key to Multilingual Capabilities in Large Language Models. ACL 2024. https://arxiv.org/abs/2402.16438",
    leaf: Leaf::Neuron,
    cost: "1 forward for each case",
    needs: &[Capability::Neurons],
    misleads: &[
        "A share of the neurons is specific by definition: compare with shuffled groups.",
        "Groups that differ in length or in one frequent token are told apart by that.",
        "Above zero is not much: a rate says nothing of how strongly a neuron fires.",
    ],
    first: false,
};

/// Chance is cautioned of from this share of what is found.
const BY_CHANCE: f64 = 0.5;
/// Groups of fewer rows are cautioned of.
const LEAST_ROWS: u64 = 30;

/// What groups are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Groups {
    /// The classes of cases.
    #[default]
    Labels,
    /// The modalities of positions.
    Modalities,
}

/// How neurons are chosen.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What groups are.
    pub groups: Groups,
    /// Of which part; `None` for the language model, or where an encoder of its own reads the words, or there is none, the tower.
    pub part: Option<Part>,
    /// Where neurons are read; `None` for the gate of a gated MLP, and what the activation function gives of others.
    pub point: Option<Point>,
    /// In which layers.
    pub layers: Indices,
    /// At which positions.
    pub positions: Positions,
    /// The share of all rates that lie below the bar that a neuron must pass in some group.
    pub filter: f64,
    /// The share of the neurons that are specific.
    pub share: f64,
    /// The share of all rates that lie below the bar at which a neuron belongs to a group.
    pub member: f64,
    /// How often groups are shuffled.
    pub shuffles: usize,
    /// The seed of what is shuffled.
    pub seed: Seed,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            groups: Groups::Labels,
            part: None,
            point: None,
            layers: Indices::All,
            positions: Positions::All,
            filter: 0.95,
            share: 0.01,
            member: 0.95,
            shuffles: 10,
            seed: Seed(0),
        }
    }
}

/// LAPE with checked settings.
#[derive(Debug, Clone)]
pub struct Lape {
    settings: Settings,
}

const MODALITIES: [Modality; 5] =
    [Modality::Text, Modality::Image, Modality::Audio, Modality::Video, Modality::Special];

impl Lape {
    fn neurons(&self, on: &On<'_>) -> Result<((Part, Point), Neurons), AnalysisError> {
        let Settings { part, point, layers, positions, .. } = &self.settings;
        let part = part_with_neurons(&CARD, on.subject(), (*part, point.unwrap_or(Point::MlpPost)))?;
        let gated = kind::publishes(on.subject(), part, Point::MlpGate);
        let point = point.unwrap_or(if gated { Point::MlpGate } else { Point::MlpPost });
        Ok(((part, point), Neurons::of((on, CARD.id), (part, point), layers, positions)?))
    }

    /// What groups there may be.
    fn names(&self, data: &dyn Cases) -> Vec<String> {
        match self.settings.groups {
            Groups::Labels => data.classes().to_vec(),
            Groups::Modalities => MODALITIES.iter().map(|own| own.name().to_owned()).collect(),
        }
    }

    fn bytes(&self, neurons: usize, groups: usize) -> u64 {
        (neurons * groups * 8 * (self.settings.shuffles + 1)) as u64
    }
}

impl Analysis for Lape {
    type Input = ManyCases;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        at_most(&CARD, "shuffles", settings.shuffles)?;
        let shares = [("filter", settings.filter), ("share", settings.share), ("member", settings.member)];
        match shares.into_iter().find(|(_, share)| !(*share > 0.0 && *share <= 1.0)) {
            Some((name, share)) => Err(setting(&CARD, name, share, "it must lie between 0 and 1")),
            None => Ok(Self { settings }),
        }
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, many: &ManyCases) -> Result<Cost, AnalysisError> {
        let (_, neurons) = self.neurons(on)?;
        let kept = self.bytes(neurons.len(), self.names(many.data()).len());
        neurons.cost((on, CARD.id), many.data(), &[(0..neurons.layers().len(), kept)])
    }

    fn answer(&self, on: &On<'_>, many: &ManyCases) -> Result<Answer, AnalysisError> {
        let Settings { groups, shuffles, seed, .. } = self.settings;
        let ((part, point), neurons) = self.neurons(on)?;
        let (data, names) = (many.data(), self.names(many.data()));
        let labels = match groups {
            Groups::Labels => labels_of(&CARD, data)?,
            Groups::Modalities => Vec::new(),
        };
        // The classes of cases as they are, then as each shuffle has them.
        let orders = (0..shuffles).map(|at| shuffled(labels.len(), seed.at(at as u64)));
        let mixed = orders.map(|order| order.iter().filter_map(|at| labels.get(*at).copied()).collect());
        let classes: Vec<Vec<usize>> = std::iter::once(labels.clone()).chain(mixed).collect();
        let (kept, at) = (self.bytes(neurons.len(), names.len()), neurons.sites().first().copied());
        let at = at.ok_or(HookError::NoOutput(CARD.id.to_owned()))?;
        on.memory().hold(CARD.id, 0, Need { bytes: kept, at })?;
        let mut counts = Counts::new(neurons.len(), names.len(), shuffles + 1);
        let mut progress = Progress::new(on.watch(), CARD.id, data.len());
        let all = (0..neurons.layers().len(), kept);
        neurons.scan((on, CARD.id), data, all, &mut progress, &mut |case, layer, held| {
            let first = layer * neurons.width();
            match groups {
                Groups::Labels => {
                    let own = classes.iter().map(|labels| labels.get(case).copied().unwrap_or_default());
                    counts.case(first, held, own);
                }
                Groups::Modalities => counts.positions(first, held, part, (case, seed)),
            }
            Ok(())
        })?;
        let tables = self.tables(&neurons, counts, names)?;
        let (tables, cautions) = tables;
        let answer = Answer::new(tables, neurons.sites().iter().copied()).seeded(seed).cautioned(cautions);
        Ok(answer.settled("part", json!(part)).settled("point", json!(point)))
    }
}

/// How often neurons are above zero, by group: as groups are, and shuffled.
struct Counts {
    units: usize,
    groups: usize,
    /// For each way to group, `[unit, group]`.
    active: Vec<Vec<u64>>,
    /// For each way to group, rows of each, as the first layer has them.
    rows: Vec<Vec<u64>>,
}

impl Counts {
    fn new(units: usize, groups: usize, ways: usize) -> Self {
        Self { units, groups, active: vec![vec![0; units * groups]; ways], rows: vec![vec![0; groups]; ways] }
    }

    /// The rows of a case, which is of one group in each way.
    fn case(&mut self, first: usize, held: &Held, own: impl Iterator<Item = usize>) {
        let mut active = vec![0_u64; held.width];
        for row in held.rows() {
            active.iter_mut().zip(row).for_each(|(count, value)| *count += u64::from(*value > 0.0));
        }
        for ((all, rows), group) in self.active.iter_mut().zip(&mut self.rows).zip(own) {
            let own = all.iter_mut().skip(first * self.groups + group).step_by(self.groups);
            own.zip(&active).for_each(|(count, more)| *count += more);
            if let (0, Some(rows)) = (first, rows.get_mut(group)) {
                *rows += held.places.len() as u64;
            }
        }
    }

    /// The rows of a case, each of the group of its modality.
    fn positions(&mut self, first: usize, held: &Held, part: Part, (case, seed): (usize, Seed)) {
        let groups: Vec<usize> = held.shows.iter().map(|shows| modality(shows, part)).collect();
        for (way, (all, rows)) in self.active.iter_mut().zip(&mut self.rows).enumerate() {
            let order: Vec<usize> = match way.checked_sub(1) {
                None => (0..groups.len()).collect(),
                Some(shuffle) => shuffled(groups.len(), seed.at(shuffle as u64).at(case as u64)),
            };
            for (row, from) in held.rows().zip(order) {
                let group = groups.get(from).copied().unwrap_or_default();
                let own = all.iter_mut().skip(first * self.groups + group).step_by(self.groups);
                own.zip(row).for_each(|(count, value)| *count += u64::from(*value > 0.0));
                if let (0, Some(rows)) = (first, rows.get_mut(group)) {
                    *rows += 1;
                }
            }
        }
    }

    /// The same without groups that have no rows.
    fn without_empty(self, names: Vec<String>) -> (Self, Vec<String>) {
        let some: Vec<usize> = match self.rows.first() {
            Some(rows) => rows.iter().enumerate().filter(|(_, rows)| **rows > 0).map(|(at, _)| at).collect(),
            None => Vec::new(),
        };
        let pick = |all: &Vec<u64>| -> Vec<u64> {
            all.chunks(self.groups.max(1))
                .flat_map(|own| some.iter().filter_map(|at| own.get(*at).copied()))
                .collect()
        };
        let names = some.iter().filter_map(|at| names.get(*at).cloned()).collect();
        let (active, rows) = (self.active.iter().map(pick).collect(), self.rows.iter().map(pick).collect());
        (Self { units: self.units, groups: some.len(), active, rows }, names)
    }

    /// The share of the rows of each group at which each neuron is above zero, `[unit, group]`.
    fn rates(&self, way: usize) -> Option<Vec<f64>> {
        let (active, rows) = (self.active.get(way)?, self.rows.get(way)?);
        Some(
            active
                .iter()
                .zip(rows.iter().cycle())
                .map(|(active, rows)| *active as f64 / *rows as f64)
                .collect(),
        )
    }
}

/// Which of [`MODALITIES`] a row is of.
fn modality(shows: &Shows, part: Part) -> usize {
    let own = match shows {
        Shows::Token(token) => token.modality,
        Shows::Patch(_) => Modality::Image,
        Shows::Class => Modality::Special,
        Shows::Row(_) if part == Part::Vision => Modality::Image,
        Shows::Row(_) if part == Part::Audio => Modality::Audio,
        Shows::Row(_) => Modality::Text,
    };
    MODALITIES.iter().position(|modality| *modality == own).unwrap_or(MODALITIES.len() - 1)
}

/// The `round(share n)`-th smallest of values, the first at least.
fn bar(values: &[f64], share: f64) -> f64 {
    let place = ((values.len() as f64 * share).round_ties_even() as usize).clamp(1, values.len().max(1));
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp); // no NaN: rows of every group
    sorted.get(place - 1).copied().unwrap_or(f64::INFINITY)
}

fn entropy(rates: &[f64]) -> f64 {
    let sum: f64 = rates.iter().sum();
    let term = |rate: &f64| if *rate > 0.0 { -(rate / sum) * (rate / sum).ln() } else { 0.0 };
    rates.iter().map(term).sum()
}

impl Lape {
    fn tables(
        &self,
        neurons: &Neurons,
        counts: Counts,
        names: Vec<String>,
    ) -> Result<(Vec<Labelled>, Vec<Caution>), AnalysisError> {
        let Settings { filter, share, member, shuffles, .. } = self.settings;
        let (counts, names) = counts.without_empty(names);
        if names.len() < 2 {
            let found = format!("there are {}: {}", names.len(), names.join(", "));
            return Err(input(&CARD, "rows of at least two groups", found));
        }
        let groups = names.len();
        let rates = counts.rates(0).unwrap_or_default();
        let entropies: Vec<f64> = rates.chunks(groups).map(entropy).collect();
        let passes = |rates: &[f64]| {
            let bar = bar(rates, filter);
            rates.chunks(groups).map(|own| own.iter().any(|rate| *rate > bar)).collect::<Vec<bool>>()
        };
        let count = ((entropies.len() as f64 * share).round_ties_even() as usize).max(1);
        let passing = passes(&rates);
        let mut specific: Vec<usize> =
            (0..entropies.len()).filter(|at| passing.get(*at) == Some(&true)).collect();
        let value = |at: &usize| entropies.get(*at).copied().unwrap_or(f64::INFINITY);
        specific.sort_by(|a, b| value(a).total_cmp(&value(b)).then(a.cmp(b))); // no NaN: sums of finite terms
        specific.truncate(count);
        let threshold = specific.last().map_or(0.0, value);
        let by_chance: Vec<f32> = (1..=shuffles)
            .filter_map(|way| counts.rates(way))
            .map(|rates| {
                let passing = passes(&rates);
                let low = rates
                    .chunks(groups)
                    .zip(passing)
                    .filter(|(own, passes)| *passes && entropy(own) <= threshold);
                low.count() as f32
            })
            .collect();
        let mean = by_chance.iter().map(|count| f64::from(*count)).sum::<f64>() / shuffles.max(1) as f64;

        let member = bar(&rates, member);
        let mut members = vec![0.0; rates.len()];
        let mut by_layer = vec![0.0; neurons.layers().len() * groups];
        let mut listed = Vec::new();
        for unit in &specific {
            let own =
                rates.iter().skip(unit * groups).take(groups).enumerate().filter(|(_, rate)| **rate > member);
            let own: Vec<usize> = own.map(|(group, _)| group).collect();
            for group in &own {
                if let Some(slot) = members.get_mut(unit * groups + group) {
                    *slot = 1.0;
                }
                if let Some(slot) = by_layer.get_mut(unit / neurons.width() * groups + group) {
                    *slot += 1.0;
                }
            }
            let own: Vec<&str> =
                own.iter().filter_map(|group| names.get(*group).map(String::as_str)).collect();
            listed.push(format!("{}: {}", neurons.named(*unit), own.join(", ")));
        }
        let [layer, neuron] = neurons.axes();
        let units = vec![layer.clone(), neuron];
        let group = Axis::names(Role::Concept, names.iter().cloned());
        let narrow = |values: &[f64]| values.iter().map(|value| *value as f32).collect::<Vec<f32>>();
        let by_group = [units.clone(), vec![group.clone()]].concat();
        let rows: Vec<u64> = counts.rows.first().cloned().unwrap_or_default();
        let found = specific.len();
        let tables = vec![
            Labelled::numbers("entropy", Unit::Nat, units, narrow(&entropies))?,
            Labelled::numbers("specific", Unit::Count, vec![layer, group.clone()], by_layer)?,
            Labelled::texts("neurons", vec![Axis::count(Role::Rank, listed.len())], listed)?,
            Labelled::scalar("found", Unit::Count, found as f32),
            Labelled::scalar("shuffled mean", Unit::Count, mean as f32),
            Labelled::scalar("threshold", Unit::Nat, threshold as f32),
            Labelled::numbers("rates", Unit::Ratio, by_group.clone(), narrow(&rates))?,
            Labelled::numbers(
                "rows",
                Unit::Count,
                vec![group],
                rows.iter().map(|rows| *rows as f32).collect(),
            )?,
            Labelled::numbers("members", Unit::Ratio, by_group, members)?.aside(),
            Labelled::numbers("shuffled", Unit::Count, vec![Axis::count(Role::Step, shuffles)], by_chance)?
                .aside(),
        ];
        let mut cautions = Vec::new();
        let chance = mean / found.max(1) as f64;
        if shuffles > 0 && chance >= BY_CHANCE {
            let text = format!(
                "with shuffled groups {mean:.1} neurons are as specific, and {found} were found: {:.0} % of them may be chance",
                100.0 * chance.min(1.0) // no NaN: both finite
            );
            cautions.push(Caution::new(CautionKind::Chance, chance as f32, text));
        }
        if let Some((least, name)) = rows.iter().zip(&names).min().filter(|(least, _)| **least < LEAST_ROWS) {
            let text = format!(
                "`{name}` has {least} rows: its rates are coarse, and zeros among them may be chance"
            );
            cautions.push(Caution::new(CautionKind::FewRows, *least as f32, text));
        }
        Ok((tables, cautions))
    }
}
