//! Causal mediation: through which units does a change of the input change the answer?
//!
//! # Idea
//! `x` is the clean sample, `x'` the corrupted one, `f` the objective of the clean case, `m` what some units hold. With `f(x; m(y))` the objective of `x` where the units hold what they hold in `y`:
//!
//! ```text
//! TE  = f(x') - f(x)                  the change of the input, by all ways
//! NIE = f(x; m(x')) - f(x)            what goes through the units alone
//! NDE = f(x'; m(x)) - f(x)            what goes past them
//! TE - NDE = f(x') - f(x'; m(x))      what is lost without them (the total indirect effect)
//! interaction = TE - NDE - NIE        0 where both ways add up
//! ```
//!
//! # In and out
//! In: a [`Pair`]; the objective is settled by the clean case. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `nie` | layer, head or neuron | the objective's | NIE of each unit |
//! | `nde` | as above | as above | NDE of each |
//! | `total` | | as above | TE |
//! | `clean`, `corrupted` | | as above | `f(x)`, `f(x')` |
//! | `joint` | concept, metric | as above | NIE, NDE, interaction, and beside them the sum of the NIE of each, of sets that are put in together: `chosen`, `all`, and `random`, the mean of random sets of as many |
//! | `random` | step | as above | NIE of each random set |
//! | `p` | | probability | (1 + random sets of no smaller absolute NIE than the chosen) / (1 + random sets) |
//! | `chosen` | rank | text | the units of the largest absolute NIE, `layer.unit` |
//! | `interaction` | as `nie` | as above | aside |
//! | `mediated` | as `nie` | ratio | aside: NIE over TE; left out where TE is too small |
//!
//! Of whole layers there is no axis of units. Where there are fewer than four units there is nothing to draw, and no `random`, `p` and `chosen`.
//!
//! # Settings
//! - `units`: `heads` (what each gives, `attn.z`), `neurons` (`mlp.post`), or whole layers at a point, `{"layers": "attn_out"}`.
//! - `part`: the language model; where an encoder of its own reads the words, or there is none, the tower.
//! - `layers`: all; `which`: all heads or neurons of each, or some by number.
//! - `positions`: at all of them together; others only in the language model.
//! - `joint`: 5 units are chosen, or a quarter of all where that is less; `random`: 20 sets of as many of the other units; `seed`: 0.
//! - `rows`: 32 variants share a pass, or fewer, as memory allows.
//!
//! # Cost
//! Six passes, of fewer than four units four, and two for each unit and for each set, from the layer of the units on. Memory: what the units hold in both runs, and the passes.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for counts of zero, a point outside blocks. Running: [`AnalysisError::Input`] for prompts of different length or with pictures at different positions, several rows, an objective that both
//! samples answer alike, a part without such units, positions of a tower; [`AnalysisError::Setting`] for a layer or unit past the end; [`AnalysisError::Memory`]; [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - The `chosen` are chosen by the same numbers that say how large their effect is: the random sets are not, so that `p` flatters. Choose on some pairs, read on others.
//! - Units that stand in for one another have no NIE each and a large one together; units in a row pass on one effect, and the sum of theirs counts it twice: compare `joint` with the sum.
//! - Values of two runs that no input gives together lie off what the model has seen (Zhang, Nanda: Towards Best Practices of Activation Patching. ICLR 2024. <https://arxiv.org/abs/2309.16042>).
//! - With an interaction, NIE and the total indirect effect differ, and which of them is "the" effect of a unit is a choice (Pearl 2001). Both are here: TE less NDE is the second.
//!
//! # Agreement
//! Hooks in transformers 5.23 on `llava-a` and `gpt2-a` (`oracles/causal.py`): heads, neurons of a layer at the last position and layers, with the chosen and the random sets, absolute, within 2e-5. Identities tested: the stream as it enters
//! the first layer has NIE = TE and NDE = 0; units that nothing reads have NIE = 0 and NDE = TE; with the samples exchanged, NIE is what NDE was less TE; in a model without norms and activation functions
//! nothing interacts, and effects of units of one layer add up. Tested on counterfactual pairs of the shapes world: all that a new colour changes comes to the last position through heads. Largest difference found: 4.8e-6.
//!
//! # Reference
//! Vig, Gehrmann, Belinkov, Qian, Nevo, Singer, Shieber: Investigating Gender Bias in Language Models Using Causal Mediation Analysis. NeurIPS 2020. <https://arxiv.org/abs/2004.12265>; definitions: Pearl: Direct and
//! Indirect Effects. UAI 2001. Departure: effects are differences, where Vig et al. divide by the clean value less one.
//!
//! # Example
//! ```
//! use mmlens_core::{Analysis, Case, Pair, Sample};
//! use mmlens_design::{CausalMediation, causal_mediation::Settings};
//! let pair = Pair { clean: Case::new(Sample::text("abc")), corrupted: Sample::text("abd") };
//! let finding = CausalMediation::new(Settings::default())?.run(&mmlens_testkit::Toy::curved(1), &pair)?;
//! println!("{:?} of {:?}", finding.table("nie")?.as_numbers(), finding.table("total")?.as_scalar());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use mmlens_core::check::{at_least_one, input, setting};
use mmlens_core::finding::{Axis, Caution, CautionKind, Labelled, Role, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Answer, AxisName, Capability, Card, Copies, Cost, HookError, Inputs, Leaf, On,
    Pair, Part, Plan, Point, Region, Seed, Site, SiteSpec, Subject, Trace, caution, kind,
};
use mmlens_engine::{
    Edit, Indices, Measured, Metric, OpenPair, Positions, Progress, Sweep, distribution, drawn_order, held,
    one_row, score,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::design::narrow;

/// What this method is.
pub const CARD: Card = Card {
    id: "causal-mediation",
    short: "mediation",
    name: "Causal mediation",
    question: "Through which units does a change of the input change the answer?",
    citation: "Vig, Gehrmann, Belinkov, Qian, Nevo, Singer, Shieber: Investigating Gender Bias in Language Models Using Causal Mediation Analysis. NeurIPS 2020. https://arxiv.org/abs/2004.12265",
    leaf: Leaf::Architecture,
    cost: "6 forward, and 2 for each unit and each set of units, from their layer on",
    needs: &[Capability::AnyBlocks],
    misleads: &[
        "Units are chosen by the numbers that say how much they matter.",
        "Effects of units do not add up: they stand in for one another, and pass on what others gave.",
        "Values of two runs together are none that an input gives.",
    ],
    first: false,
};

/// From this p on random sets are said to do as much.
const BY_CHANCE: f64 = 0.05;
/// So many random sets are needed for a p of 0.05.
const ENOUGH: usize = 19;
/// A sum of effects that misses what units carry together by more than this share of the total effect is told.
const APART: f64 = 0.1;

/// What is a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnitsOf {
    /// What a head gives.
    #[default]
    Heads,
    /// A neuron of an MLP.
    Neurons,
    /// All that a layer holds at a point.
    Layers(Point),
}

impl UnitsOf {
    const fn point(self) -> Point {
        match self {
            Self::Heads => Point::Z,
            Self::Neurons => Point::MlpPost,
            Self::Layers(point) => point,
        }
    }

    const fn axis(self) -> Option<(AxisName, Role)> {
        match self {
            Self::Heads => Some((AxisName::Head, Role::Head)),
            Self::Neurons => Some((AxisName::Neuron, Role::Neuron)),
            Self::Layers(_) => None,
        }
    }
}

/// Which units mediate.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What is a unit.
    pub units: UnitsOf,
    /// Of which part; `None` for the language model, or where an encoder of its own reads the words, or there is none, the tower.
    pub part: Option<Part>,
    /// Of which layers.
    pub layers: Indices,
    /// Which heads or neurons of each layer.
    pub which: Indices,
    /// At which positions, together.
    pub positions: Positions,
    /// How many units are put in together.
    pub joint: usize,
    /// How many random sets of as many.
    pub random: usize,
    /// The seed of random sets.
    pub seed: Seed,
    /// How many variants share a pass.
    pub rows: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            units: UnitsOf::Heads,
            part: None,
            layers: Indices::All,
            which: Indices::All,
            positions: Positions::All,
            joint: 5,
            random: 20,
            seed: Seed(0),
            rows: 32,
        }
    }
}

/// Causal mediation with checked settings.
#[derive(Debug, Clone)]
pub struct CausalMediation {
    settings: Settings,
    rows: NonZeroUsize,
}

/// The units of a subject, layer after layer.
struct Units {
    part: Part,
    sites: Vec<Site>,
    layers: Vec<usize>,
    blocks: usize,
    /// Those of a layer, by number; one, of whole layers.
    which: Vec<usize>,
    /// How many a layer has.
    all: usize,
    kind: UnitsOf,
    region: Region,
}

impl Units {
    fn len(&self) -> usize {
        self.layers.len() * self.which.len()
    }

    /// The layer and the number of a unit.
    fn place(&self, unit: usize) -> Option<(usize, usize)> {
        let width = self.which.len().max(1);
        Some((unit / width, *self.which.get(unit % width)?))
    }

    fn name(&self, unit: usize) -> Option<String> {
        let (at, own) = self.place(unit)?;
        let layer = self.layers.get(at)?;
        Some(match self.kind {
            UnitsOf::Layers(_) => layer.to_string(),
            _ => format!("{layer}.{own}"),
        })
    }

    fn axes(&self) -> Vec<Axis> {
        let layer = Indices::axis(Role::Layer, &self.layers, self.blocks);
        let units = self.kind.axis().map(|(_, role)| Indices::axis(role, &self.which, self.all));
        [layer].into_iter().chain(units).collect()
    }

    /// What puts in what some units hold in another run.
    fn edits(&self, some: &[usize], from: &Trace) -> Result<Vec<Edit>, HookError> {
        let mut layers: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (at, own) in some.iter().filter_map(|unit| self.place(*unit)) {
            layers.entry(at).or_default().push(own);
        }
        let one = |(at, own): (usize, Vec<usize>)| {
            let site = *self.sites.get(at).ok_or(HookError::NoObjective)?;
            let region = match self.kind.axis() {
                Some((axis, _)) => self.region.clone().of(axis, own),
                None => self.region.clone(),
            };
            Ok(Edit::patch(site, from)?.within(region))
        };
        layers.into_iter().map(one).collect()
    }
}

/// NIE and NDE of a variant.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Effects {
    nie: f64,
    nde: f64,
}

impl CausalMediation {
    fn units(&self, subject: &dyn Subject, inputs: &Inputs) -> Result<Units, AnalysisError> {
        let Settings { units: kind, part, layers, which, positions, .. } = &self.settings;
        let words = Capability::OwnWords.lacking(subject).is_none();
        let fits =
            |part: &Part| kind::publishes(subject, *part, kind.point()) && (*part != Part::Text || words);
        let part = part.or_else(|| [Part::Text, Part::Vision, Part::Audio].into_iter().find(fits));
        let named = |part: &Part| kind::publishes(subject, *part, kind.point());
        let part = part.filter(named).ok_or_else(|| {
            let found = format!("none that was looked at publishes `{}`", kind.point().name());
            input(&CARD, "a part with such units", found)
        })?;
        let blocks = kind::blocks(subject, part);
        let layers = layers.chosen(CARD.id, "layers", blocks)?;
        let sites: Vec<Site> = layers.iter().map(|layer| Site::block(part, *layer, kind.point())).collect();
        let mut all = 1;
        if let Some((axis, _)) = kind.axis() {
            let mut counts = Vec::new();
            for site in &sites {
                let at = SiteSpec::among(subject.sites(), *site)?.axis(axis);
                let count = at.and_then(|at| subject.dims(inputs, *site).ok()?.get(at).copied());
                let none =
                    || input(&CARD, "a part with such units", format!("`{site}` has no {}", axis.name()));
                counts.push(count.ok_or_else(none)?);
            }
            all = counts.first().copied().unwrap_or(0);
            if let Some(other) = counts.iter().find(|own| **own != all) {
                let found = format!("one has {all}, another {other}");
                return Err(input(&CARD, "layers of equally many units", found));
            }
        }
        let which = which.chosen(CARD.id, "which", all)?;
        let region = match positions {
            Positions::All => Region::all(),
            _ if part.entrance().is_some() => {
                let found = format!("`{positions}` of its part `{}`", part.name());
                return Err(input(&CARD, "all positions of a tower", found));
            }
            other => Region::all().positions(other.chosen(CARD.id, one_row(CARD.id, inputs)?)?),
        };
        Ok(Units { part, sites, layers, blocks, which, all, kind: *kind, region })
    }

    /// How many units are put in together; none where there are too few to draw others.
    fn chosen(&self, units: usize) -> usize {
        if units < 4 { 0 } else { self.settings.joint.min(units / 4) }
    }

    /// Variants of each run.
    fn variants(&self, units: usize) -> usize {
        let sets = if self.chosen(units) > 0 { 1 + self.settings.random } else { 0 };
        units + 1 + sets
    }

    /// A pass that reads what the units hold.
    fn read(
        &self,
        on: &On<'_>,
        inputs: &Inputs,
        opened: &OpenPair,
        sites: &[Site],
        kept: u64,
    ) -> Result<(Trace, f32), AnalysisError> {
        let plan = Plan::new().objective(&opened.objective);
        let plan = sites.iter().try_fold(plan, |plan, site| plan.read(*site))?;
        on.memory().hold(CARD.id, kept, on.subject().need(inputs, &plan, Copies::ONE)?)?;
        let trace = on.subject().run(inputs, plan)?;
        let value = score(&trace)?;
        Ok((trace, value))
    }
}

impl Analysis for CausalMediation {
    type Input = Pair;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        at_least_one(&CARD, "joint", settings.joint)?;
        at_least_one(&CARD, "random", settings.random)?;
        let point = settings.units.point();
        if !point.in_block() {
            return Err(setting(
                &CARD,
                "units",
                format!("`{}`", point.name()),
                "a point must lie in a block",
            ));
        }
        let rows = at_least_one(&CARD, "rows", settings.rows)?;
        Ok(Self { settings, rows })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, pair: &Pair) -> Result<Cost, AnalysisError> {
        let inputs = on.encode(&pair.clean.sample)?;
        let units = self.units(on.subject(), &inputs)?;
        // Both runs are read, and begun once more for the units and once for the sets.
        let runs = if self.chosen(units.len()) > 0 { 6 } else { 4 };
        let rows = pair.clean.settling() + runs + 2 * self.variants(units.len());
        let row = on.row(&pair.clean, &inputs, &[])?;
        Ok(Cost::rows(rows).at_once(self.rows.get(), row, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, pair: &Pair) -> Result<Answer, AnalysisError> {
        let subject = on.subject();
        let opened = OpenPair::new(&CARD, on, pair)?;
        let units = self.units(subject, &opened.clean)?;
        let n = units.len();
        let mut progress = Progress::new(on.watch(), CARD.id, 2 * self.variants(n));
        let (clean, at_clean) = self.read(on, &opened.clean, &opened, &units.sites, 0)?;
        let (other, at_corrupted) = self.read(on, &opened.corrupted, &opened, &units.sites, held(&clean))?;
        let total = f64::from(at_corrupted) - f64::from(at_clean);
        if total == 0.0 {
            let found = format!(
                "the {} is {at_clean} for the clean and {at_corrupted} for the corrupted one",
                opened.objective
            );
            return Err(input(&CARD, "two samples that the objective tells apart", found));
        }
        let memory = on.memory().at_most(self.rows).less(held(&clean) + held(&other));
        // Of the clean run with what units hold in the other, and the other way round.
        let mut sweep = |sets: &[Vec<usize>]| -> Result<Vec<Effects>, AnalysisError> {
            let mut run = |inputs: &Inputs, from: &Trace| -> Result<Vec<f64>, AnalysisError> {
                let edits = sets.iter().map(|set| units.edits(set, from)).collect::<Result<Vec<_>, _>>()?;
                let sweep = Sweep::of(vec![Axis::count(Role::Sample, edits.len())], edits)?;
                let sweep = sweep.measure(Metric::from(&opened.objective));
                let found = sweep.run(subject, inputs, &memory, &mut progress)?.measured;
                let Measured { values, .. } = found.into_iter().next().ok_or(HookError::NoObjective)?;
                Ok(values.into_iter().map(f64::from).collect())
            };
            let (indirect, direct) = (run(&opened.clean, &other)?, run(&opened.corrupted, &clean)?);
            let one = |(nie, nde): (f64, f64)| Effects {
                nie: nie - f64::from(at_clean),
                nde: nde - f64::from(at_clean),
            };
            Ok(indirect.into_iter().zip(direct).map(one).collect())
        };
        let mut sets: Vec<Vec<usize>> = (0..n).map(|unit| vec![unit]).collect();
        sets.push((0..n).collect());
        let mut each = sweep(&sets)?;
        let all = each.pop().ok_or(HookError::NoObjective)?;
        let count = self.chosen(n);
        let sizes: Vec<f64> = each.iter().map(|own| own.nie.abs()).collect();
        let chosen: Vec<usize> =
            distribution::largest(&sizes, count).into_iter().map(|(unit, _)| unit).collect();
        let mut sets = Vec::new();
        if count > 0 {
            sets.push(chosen.clone());
            for draw in 0..self.settings.random {
                let order = drawn_order(n, self.settings.seed.at(draw as u64));
                sets.push(order.into_iter().filter(|unit| !chosen.contains(unit)).take(count).collect());
            }
        }
        let joint = if sets.is_empty() { Vec::new() } else { sweep(&sets)? };
        let found = Found { total, each, all, chosen, joint, sets };
        let (tables, cautions) = found.tables(&units, &opened, [at_clean, at_corrupted])?;
        let answer = Answer::new(tables, units.sites.clone())
            .explaining(&opened.objective)
            .against(pair.difference())
            .cautioned(cautions)
            .settled("part", json!(units.part));
        Ok(answer.seeded(self.settings.seed))
    }
}

/// Effects of every unit, and of sets.
struct Found {
    total: f64,
    each: Vec<Effects>,
    all: Effects,
    chosen: Vec<usize>,
    /// Of the chosen, then of random sets.
    joint: Vec<Effects>,
    sets: Vec<Vec<usize>>,
}

impl Found {
    /// NIE, NDE, interaction, and the sum of the NIE of each, of a set.
    fn row(&self, effects: Effects, set: &[usize]) -> [f64; 4] {
        let sum = set.iter().filter_map(|unit| self.each.get(*unit)).map(|own| own.nie).sum();
        [effects.nie, effects.nde, self.total - effects.nde - effects.nie, sum]
    }

    fn tables(
        &self,
        units: &Units,
        opened: &OpenPair,
        [at_clean, at_corrupted]: [f32; 2],
    ) -> Result<(Vec<Labelled>, Vec<Caution>), AnalysisError> {
        let (unit, axes) = (opened.objective.unit(), units.axes());
        let of = |value: &dyn Fn(&Effects) -> f64| narrow(self.each.iter().map(value));
        let nie = of(&|own| own.nie);
        let mut tables = vec![
            Labelled::numbers("nie", unit, axes.clone(), nie.clone())?,
            Labelled::numbers("nde", unit, axes.clone(), of(&|own| own.nde))?,
            Labelled::scalar("total", unit, self.total as f32),
            Labelled::scalar("clean", unit, at_clean),
            Labelled::scalar("corrupted", unit, at_corrupted),
        ];
        let mut cautions: Vec<Caution> = opened.caution(at_clean, at_corrupted).into_iter().collect();
        cautions.extend(caution::rounding(&nie, (unit, at_clean), "indirect effects"));
        let every: Vec<usize> = (0..self.each.len()).collect();
        let (mut names, mut rows) = (vec!["all"], vec![self.row(self.all, &every)]);
        if let (Some((own, random)), Some(set)) = (self.joint.split_first(), self.sets.first()) {
            let row = self.row(*own, set);
            names.insert(0, "chosen");
            rows.insert(0, row);
            let others = random.iter().zip(self.sets.iter().skip(1)).map(|(own, set)| self.row(*own, set));
            let others: Vec<[f64; 4]> = others.collect();
            let mean = |at: usize| others.iter().map(|row| row[at]).sum::<f64>() / others.len() as f64;
            names.push("random");
            rows.push([0, 1, 2, 3].map(mean));
            let beyond = random.iter().filter(|other| other.nie.abs() >= own.nie.abs()).count();
            let p = (1 + beyond) as f64 / (1 + random.len()) as f64;
            if random.len() < ENOUGH {
                let text = format!(
                    "{} random sets: p cannot fall below {:.3} with so few",
                    random.len(),
                    1.0 / (1 + random.len()) as f64
                );
                cautions.push(Caution::new(CautionKind::FewRows, random.len() as f32, text));
            }
            if p > BY_CHANCE && beyond > 0 {
                let text = format!(
                    "{beyond} of {} random sets of as many units carry as much as the chosen: p is {p:.3}",
                    random.len()
                );
                cautions.push(Caution::new(CautionKind::Chance, p as f32, text));
            }
            let apart = row[3] - row[0];
            if apart.abs() > APART * self.total.abs() {
                let text = format!(
                    "the chosen units carry {:.3} together, and {:.3} is the sum of what each carries: their effects do not add up",
                    row[0], row[3]
                );
                cautions.push(Caution::new(CautionKind::Gap, (apart / self.total).abs() as f32, text));
            }
            let values = narrow(random.iter().map(|own| own.nie));
            let steps = Axis::count(Role::Step, random.len());
            tables.push(Labelled::numbers("random", unit, vec![steps], values)?);
            tables.push(Labelled::scalar("p", Unit::Probability, p as f32));
            let chosen: Vec<String> = self.chosen.iter().filter_map(|own| units.name(*own)).collect();
            let rank = Axis::count(Role::Rank, chosen.len());
            tables.push(Labelled::texts("chosen", vec![rank], chosen)?);
        }
        let metrics = Axis::names(Role::Metric, ["NIE", "NDE", "interaction", "sum of NIE"]);
        let joint = vec![Axis::names(Role::Concept, names), metrics];
        let joint = Labelled::numbers("joint", unit, joint, narrow(rows.into_iter().flatten()))?;
        tables.insert(5, joint);
        let interaction = of(&|own| self.total - own.nde - own.nie);
        tables.push(Labelled::numbers("interaction", unit, axes.clone(), interaction)?.aside());
        let size = f64::from(at_clean.abs().max(at_corrupted.abs())); // no NaN: finite scores
        if self.total.abs() >= caution::least_difference(unit, size) {
            let shares = of(&|own| own.nie / self.total);
            tables.push(Labelled::numbers("mediated", Unit::Ratio, axes, shares)?.aside());
        }
        Ok((tables, cautions))
    }
}
