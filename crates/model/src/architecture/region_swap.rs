//! Region swap: which few patches, taken from another picture, change the answer to what is said of that picture?
//!
//! # Idea
//! What a model says of a picture is `c`, of another picture `c'`; of an answer of several tokens these are the first at which both answers part. A cell is the state of one patch. The value of a cell of the first is replaced by that of a cell of the
//! second, always the one that makes `c'` likeliest, given those that were swapped before:
//!
//! ```text
//! (i, j)_k = argmax over cells i that are left, and cells j, of ln p(c' | i_1 <- j_1, ..., i_(k-1) <- j_(k-1), i <- j)
//! ```
//!
//! until as many are swapped as were asked for. With `towards` = `objective` the objective `f` takes the place of `ln p(c')`, and is moved to where it is for the other picture: of a caption how well it
//! fits, of a neuron what it holds, of an answer that is the same for both how likely it is. How few it takes until `c'` is what the model says, and which, is a counterfactual: had the picture been so here, the answer would have been the other.
//!
//! # In and out
//! In: a [`Pair`]: the case that is explained (`clean`) and the sample that cells are taken from, with as many positions and its pictures at the same ones. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `swapped` | token | log-probability | by how much `ln p(c')` (or `f`) changed when the cell was swapped; 0 for those that were not |
//! | `alone` | token | log-probability | by how much it changes by the cell alone (by its best, where any may be taken) |
//! | `path` | concept, step | log-probability | `ln p(c')` (or `f`) behind so many swaps, from 0 on: in this order (`greedy`), and in the mean of orders drawn by chance (`random`) |
//! | `flipped` | concept, step | ratio | whether `c'` is the likeliest then, 1 or 0; and in which share of the orders drawn. Towards an answer |
//! | `needed` | | count | after how many swaps it first was; only where it was |
//! | `answers` | concept | text | `c` and `c'`. Towards an answer |
//! | `way`, `of the other` | concept, step; | ratio, objective | `(f - f of this) / (f of the other - f of this)`, and `f` of the other. Towards an objective |
//! | `swaps` | step | text | what was swapped for what |
//! | `cell`, `taken from` | step | count | positions of both; aside |
//! | `cautions` | rank | text | an answer that no order turns, or that any order turns as soon; samples that differ in words too |
//!
//! # Settings
//! - `part`: by default the language model, `text`, if pictures have positions there, else the tower.
//! - `layer`: 0. Cells are `resid_pre` of this block. At block 0 of a tower a cell holds what is seen in its patch, and of a decoder what the tower made of it; further behind, a cell holds more and more
//!   of all others.
//! - `positions`: `pictures`, and any set of positions ([`Positions`]), which must be there in both.
//! - `towards`: `answer`, what is said of the other picture; or `objective`.
//! - `from`: `same` takes a cell from the same place of the other picture; `any` tries all of them, as the paper does, with as many times more passes as there are cells.
//! - `steps`: 8 swaps, or as many as there are cells.
//! - `random`: 8 orders drawn by chance beside it (0 for none); `seed`: 0, of these.
//! - `rows`: 32 variants share a pass, or fewer, as memory allows.
//!
//! # Cost
//! Of `n` cells about `n` passes a step, `n^2` with `any`, and `random x steps`, each from the block on and, in a language model, from the first cell on. The path is walked to its end, so that the cost does not
//! depend on the answer.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for no steps, no rows, too many orders. Running: [`AnalysisError::Input`] for samples of which the same is said (towards an answer), whose objective is the same (towards one), or that hold the same in all cells, prompts of different length or with pictures at other
//! positions, an objective that is no token or class, no picture, a position that is not there; [`AnalysisError::Setting`] for a layer past the end; [`AnalysisError::Memory`], [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - Greedy is not least: another set of cells may do it with fewer.
//! - A cell is where a state lies, and not what lies there: behind the first blocks of a tower a cell of the background may carry the object (see [`sinks`](crate::sinks)).
//! - A composite of two pictures is nothing that the model has seen. Compare with `random`: where orders drawn by chance turn the answer as soon, the cells say nothing.
//! - It depends on the other picture as much as on the one explained: ask with several.
//!
//! # Agreement
//! Hooks in transformers on `llava-a` (entering blocks 0 and 1 of its decoder) and `vit-a` (entering block 1), from the same place and from any: the same cells in the same order, and log-probabilities
//! 9.4e-6 apart at most. Identities tested: all cells swapped at the entrance are the other picture, in whichever order; what cells bring adds up to what all do; any place is at least as good as the
//! same; the same for any `rows`. On 12 pairs of scenes that differ in the colour of one thing, `shapes-llava` is turned by 4 patches or fewer in all of them, all 48 of which show what was changed;
//! 4 patches drawn by chance turn 4 % of them.
//!
//! # Reference
//! Goyal, Wu, Ernst, Batra, Parikh, Lee: Counterfactual Visual Explanations. ICML 2019. <https://arxiv.org/abs/1904.07451>. There cells are those of a convolution's map, taken from any place, and the search ends with
//! the flip; orders drawn by chance are ours.
//!
//! # Example
//! ```no_run
//! use mmlens_core::{Analysis, Pair};
//! use mmlens_model::{RegionSwap, region_swap::Settings};
//! # fn explain(subject: &dyn mmlens_core::Subject, pair: &Pair) -> Result<(), mmlens_core::AnalysisError> {
//! let finding = RegionSwap::new(Settings { steps: 4, ..Settings::default() })?.run(subject, pair)?;
//! println!("{:?}", finding.table("swaps")?.as_texts());
//! # Ok(())
//! # }
//! ```

use std::num::NonZeroUsize;

use mmlens_core::finding::{Axis, Labels, Role, TokenLabel, top};
use mmlens_core::{
    Analysis, AnalysisError, Answer, AnyTensor, Capability, Card, Copies, Cost, HookError, Inputs, Leaf,
    LogitSelection, Objective, On, Pair, Part, Plan, Point, Position, Region, Seed, Site, Subject, Trace,
};
use mmlens_engine::{Edit, Measured, OpenPair, Positions, Progress, Sweep, drawn_order, score};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::check::{at_least_one, at_most, input, setting};
use crate::sequence::Sequence;

mod found;

use found::{Aim, Answers, Found, Said};

/// What this method is.
pub const CARD: Card = Card {
    id: "region-swap",
    short: "swap",
    name: "Region swap",
    question: "Which few patches, taken from another picture, change the answer to what is said of that picture?",
    citation: "Goyal, Wu, Ernst, Batra, Parikh, Lee: Counterfactual Visual Explanations. ICML 2019. https://arxiv.org/abs/1904.07451",
    leaf: Leaf::Architecture,
    cost: "steps x patches forward from a block on, in batches, without the tower; with any place patches^2",
    needs: &[Capability::AnyBlocks, Capability::Perception],
    misleads: &[
        "Greedy is not least: another set of patches may do it with fewer.",
        "A composite of two pictures is nothing that the model has seen: compare with random orders.",
        "It depends on the other picture as much as on the one explained.",
    ],
    first: false,
};

/// Where a cell may be taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum From {
    /// The same place of the other picture.
    #[default]
    Same,
    /// Any place of it.
    Any,
}

/// What swaps are to bring about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Towards {
    /// That the model says what it says of the other picture.
    #[default]
    Answer,
    /// That the objective is what it is for the other picture.
    Objective,
}

/// What is swapped.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Of which part; `None` for the language model, if pictures have positions there, else the tower.
    pub part: Option<Part>,
    /// Before which of its blocks.
    pub layer: usize,
    /// Which positions are cells.
    pub positions: Positions,
    /// What swaps are to bring about.
    pub towards: Towards,
    /// Where a cell may be taken from.
    pub from: From,
    /// How many are swapped.
    pub steps: usize,
    /// How many orders are drawn by chance.
    pub random: usize,
    /// Of these.
    pub seed: Seed,
    /// How many variants share a pass.
    pub rows: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            part: None,
            layer: 0,
            positions: Positions::Pictures,
            towards: Towards::Answer,
            from: From::Same,
            steps: 8,
            random: 8,
            seed: Seed(0),
            rows: 32,
        }
    }
}

/// Region swap with checked settings.
#[derive(Debug, Clone)]
pub struct RegionSwap {
    settings: Settings,
    steps: NonZeroUsize,
    rows: NonZeroUsize,
}

/// The cells of a sequence, each by itself.
struct Cells {
    site: Site,
    regions: Vec<Region>,
    /// Of each the picture, or row, and the position.
    places: Vec<(usize, usize)>,
    axis: Axis,
}

/// One cell, by its number, that takes what another cell of the other picture holds.
type Swap = (usize, usize);

impl Cells {
    /// What another run holds in each.
    fn held(&self, trace: &Trace) -> Result<Vec<AnyTensor>, HookError> {
        let state = trace.get(self.site)?;
        self.places.iter().map(|(of, at)| state.part(0, *of, 1)?.part(1, *at, 1)).collect()
    }

    /// What a cell is called.
    fn name(&self, cell: usize) -> String {
        let unnamed = || self.places.get(cell).map_or_else(String::new, |(_, at)| format!("position {at}"));
        match &self.axis.labels {
            Labels::Patches(all) => all.get(cell).map_or_else(unnamed, ToString::to_string),
            Labels::Tokens(all) => match all.get(cell).map(|token| (token.place(), &token.text)) {
                Some((Some(place), _)) => place,
                Some((None, text)) => format!("`{text}`"),
                None => unnamed(),
            },
            _ => unnamed(),
        }
    }
}

/// What swaps are made of: cells, and what the other picture holds in each.
#[derive(Clone)]
struct Made {
    site: Site,
    regions: Vec<Region>,
    pieces: Vec<AnyTensor>,
}

impl Made {
    fn edits(&self, swaps: &[Swap]) -> Vec<Edit> {
        let one = |(cell, other): &Swap| {
            let (region, piece) = (self.regions.get(*cell)?, self.pieces.get(*other)?);
            Some(Edit::set(self.site, piece.clone()).within(region.clone()))
        };
        swaps.iter().filter_map(one).collect()
    }
}

/// A swap with what came of it.
struct Step {
    swap: Swap,
    change: f64,
    said: Said,
}

impl RegionSwap {
    fn cells(&self, subject: &dyn Subject, inputs: &Inputs) -> Result<Cells, AnalysisError> {
        let Settings { part, layer, positions, .. } = &self.settings;
        let shows = |token: &TokenLabel| token.modality.is_perceived();
        let among_words = inputs.maps.iter().any(|map| map.tokens.iter().any(shows));
        let tower = inputs.towers().next();
        let part = part.unwrap_or(if among_words { Part::Text } else { tower.unwrap_or(Part::Vision) });
        let blocks = mmlens_core::kind::blocks(subject, part);
        Capability::Blocks(part).check(&CARD, subject)?;
        if *layer >= blocks {
            let found = format!("{layer}, of {blocks} of `{}`", part.name());
            return Err(setting(&CARD, "layer", found, "layers are counted from 0"));
        }
        if tower.is_none() {
            return Err(input(&CARD, "a picture or recording", "the sample has none"));
        }
        let site = Site::block(part, *layer, Point::ResidPre);
        let sequence = Sequence::of(&CARD, subject, inputs, site)?;
        let chosen = match positions {
            // In a prompt without pictures what is perceived are recordings.
            Positions::Pictures if part == Part::Text => {
                sequence.chosen(&Positions::perceived(sequence.map()))?
            }
            positions => sequence.chosen(positions)?,
        };
        let regions = sequence.regions(&chosen);
        let each = chosen.len().max(1);
        let places = (0..regions.len()).filter_map(|at| Some((at / each, *chosen.get(at % each)?))).collect();
        Ok(Cells { site, regions, places, axis: sequence.axis(&chosen) })
    }

    fn steps(&self, cells: usize) -> usize {
        self.steps.get().min(cells)
    }

    /// How many cells each may be taken from.
    fn sources(&self, cells: usize) -> usize {
        if self.settings.from == From::Any { cells } else { 1 }
    }

    /// Swaps of an order drawn by chance.
    fn drawn(&self, draw: usize, cells: usize) -> Vec<Swap> {
        let seed = self.settings.seed.at(draw as u64);
        let order = drawn_order(cells, seed);
        let others = if self.settings.from == From::Any {
            drawn_order(cells, seed.at(cells as u64))
        } else {
            order.clone()
        };
        order.into_iter().zip(others).take(self.steps(cells)).collect()
    }

    /// Every swap of a cell that is left.
    fn candidates(&self, cells: usize, taken: &[Swap]) -> Vec<Swap> {
        let left = (0..cells).filter(|cell| taken.iter().all(|(other, _)| other != cell));
        let of = |cell: usize| {
            let others = if self.settings.from == From::Any { 0..cells } else { cell..cell + 1 };
            others.map(move |other| (cell, other))
        };
        left.flat_map(of).collect()
    }
}

/// What a run held at a site, and the value of its objective.
fn scored(
    on: &On<'_>,
    inputs: &Inputs,
    (objective, site): (&Objective, Site),
) -> Result<(Trace, f32), AnalysisError> {
    let plan = Plan::new().read(site)?.objective(objective);
    on.memory().hold(CARD.id, 0, on.subject().need(inputs, &plan, Copies::ONE)?)?;
    let trace = on.subject().run(inputs, plan)?;
    let score = score(&trace)?;
    Ok((trace, score))
}

/// What a run held at a site, and the likeliest token at each of some positions.
fn said(
    on: &On<'_>,
    inputs: &Inputs,
    (asked, site): (&[Position], Site),
) -> Result<(Trace, Vec<u32>), AnalysisError> {
    let all = asked.iter().map(|at| LogitSelection::at(*at));
    let all = all.reduce(|all, own| all.and(&own)).ok_or(HookError::NoObjective)?;
    let plan = Plan::new().select_logits(all).read(site)?;
    on.memory().hold(CARD.id, 0, on.subject().need(inputs, &plan, Copies::ONE)?)?;
    let trace = on.subject().run(inputs, plan)?;
    let likeliest = |at: &Position| {
        let logits = AnyTensor::new(trace.output().at(*at)?).to_values()?;
        let told =
            top(&logits).map_err(|error| HookError::not_finite("text.logits", &[logits.len()], 0, error))?;
        told.map(|token| token as u32).ok_or_else(|| HookError::NoOutput("top token".to_owned()))
    };
    let tops = asked.iter().map(likeliest).collect::<Result<_, _>>()?;
    Ok((trace, tops))
}

impl Analysis for RegionSwap {
    type Input = Pair;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        let steps = at_least_one(&CARD, "steps", settings.steps)?;
        at_most(&CARD, "random", settings.random)?;
        let rows = at_least_one(&CARD, "rows", settings.rows)?;
        Ok(Self { settings, steps, rows })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, pair: &Pair) -> Result<Cost, AnalysisError> {
        let inputs = on.encode(&pair.clean.sample)?;
        let cells = self.cells(on.subject(), &inputs)?.regions.len();
        let (steps, sources) = (self.steps(cells), self.sources(cells));
        // Both by themselves, an unedited pass for each sweep, and of each step those that are left.
        let swept: usize = (0..steps).map(|done| 1 + (cells - done) * sources).sum();
        let cost = Cost::rows(pair.clean.settling() + 2 + swept + self.settings.random * steps);
        Ok(cost.at_once(self.rows.get(), on.row(&pair.clean, &inputs, &[])?, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, pair: &Pair) -> Result<Answer, AnalysisError> {
        let subject = on.subject();
        let OpenPair { clean, corrupted: other, objective } = OpenPair::new(&CARD, on, pair)?;
        let cells = self.cells(subject, &clean)?;
        let (aim, held, trace) = self.aim(on, (&clean, &other), (&objective, cells.site))?;
        let pieces = cells.held(&trace)?;
        let values =
            |pieces: &[AnyTensor]| pieces.iter().map(AnyTensor::to_values).collect::<Result<Vec<_>, _>>();
        if values(&pieces)? == values(&cells.held(&held)?)? {
            let found = format!("both hold the same at `{}`", cells.site);
            return Err(input(&CARD, "two samples that differ in what is swapped", found));
        }
        let kept: usize = trace.get(cells.site)?.dims().iter().product();
        drop((held, trace));
        let memory = on.memory().at_most(self.rows).less(8 * kept as u64);
        let made = Made { site: cells.site, regions: cells.regions.clone(), pieces };
        let (count, random) = (cells.regions.len(), self.settings.random);
        let (steps, sources) = (self.steps(count), self.sources(count));
        let metrics = aim.metrics();
        let swept: usize = (0..steps).map(|done| (count - done) * sources).sum();
        let mut progress = Progress::new(on.watch(), CARD.id, swept + random * steps);
        let drawn: Vec<Vec<Swap>> = (0..random).map(|draw| self.drawn(draw, count)).collect();
        let mut measure = |variants: Vec<Vec<Swap>>| -> Result<(Said, Vec<Said>), AnalysisError> {
            let (axis, made) = (Axis::count(Role::Sample, variants.len()), made.clone());
            let sweep = Sweep::over(vec![axis], move |point| {
                let variant = point.first().and_then(|at| variants.get(*at));
                variant.map_or_else(Vec::new, |swaps| made.edits(swaps))
            });
            let sweep = metrics.iter().fold(sweep, |sweep, metric| sweep.measure(metric.clone()));
            let measured = sweep.run(subject, &clean, &memory, &mut progress)?.measured;
            let of = |pick: &dyn Fn(&Measured) -> Option<f32>| {
                let value = measured.first().and_then(pick).ok_or(HookError::NoObjective)?;
                Ok::<Said, HookError>(Said { value, rank: measured.get(1).and_then(pick) })
            };
            let each = (0..measured.first().map_or(0, |own| own.values.len()))
                .map(|at| of(&|own| own.values.get(at).copied()));
            Ok((of(&|own| Some(own.unedited))?, each.collect::<Result<_, _>>()?))
        };
        let (mut path, mut taken): (Vec<Step>, Vec<Swap>) = (Vec::new(), Vec::new());
        let (mut alone, mut of_random) = (Vec::new(), Vec::new());
        let (mut start, mut before) = (None, 0.0);
        for step in 0..steps {
            let candidates = self.candidates(count, &taken);
            let with = |swap: &Swap| taken.iter().copied().chain([*swap]).collect::<Vec<Swap>>();
            let mut variants: Vec<Vec<Swap>> = candidates.iter().map(with).collect();
            if step == 0 {
                // What is drawn by chance depends on nothing that is found.
                let behind = |order: &Vec<Swap>, n: usize| order.iter().take(n).copied().collect();
                variants.extend(
                    drawn
                        .iter()
                        .flat_map(|order| (1..=order.len()).map(|n| behind(order, n)).collect::<Vec<_>>()),
                );
            }
            let (unedited, all) = measure(variants)?;
            if step == 0 {
                (start, before) = (Some(unedited), f64::from(unedited.value));
                let change = |said: &Said| f64::from(said.value) - before;
                let mut best: Vec<Option<f64>> = vec![None; count];
                for (said, (cell, _)) in all.iter().zip(&candidates) {
                    if let Some(best) = best.get_mut(*cell) {
                        let further = best.is_none_or(|best| aim.towards * change(said) > aim.towards * best);
                        *best = if further { Some(change(said)) } else { *best };
                    }
                }
                alone = best.into_iter().map(Option::unwrap_or_default).collect();
                of_random = all.iter().skip(candidates.len()).copied().collect();
            }
            let mut best: Option<(Said, Swap)> = None;
            for (said, swap) in all.iter().zip(&candidates) {
                // Of equals the first.
                if best.is_none_or(|(most, _)| aim.further(said.value, most.value)) {
                    best = Some((*said, *swap));
                }
            }
            let Some((said, swap)) = best else { break };
            path.push(Step { swap, change: f64::from(said.value) - before, said });
            (before, taken) = (f64::from(said.value), [taken, vec![swap]].concat());
        }
        let start = start.ok_or(HookError::NoObjective)?;
        let found = Found { aim, path, alone, start, random: of_random, drawn: random };
        let tables = found.tables(&cells)?;
        let cautions = found.cautions((count, pair.clean.sample.words != pair.corrupted.words));
        let answer =
            Answer::new(tables, [cells.site]).explaining(&found.aim.measure).against(pair.difference());
        let answer = if random > 0 { answer.seeded(self.settings.seed) } else { answer };
        Ok(answer.cautioned(cautions).settled("part", json!(cells.site.part())))
    }
}

impl RegionSwap {
    /// What swaps are to bring about, and what both runs hold at a site.
    fn aim(
        &self,
        on: &On<'_>,
        (clean, other): (&Inputs, &Inputs),
        (objective, site): (&Objective, Site),
    ) -> Result<(Aim, Trace, Trace), AnalysisError> {
        match self.settings.towards {
            Towards::Objective => {
                let [(held, here), (trace, there)] =
                    [scored(on, clean, (objective, site))?, scored(on, other, (objective, site))?];
                if here == there {
                    let found = format!("the {objective} is {here} for both");
                    return Err(input(&CARD, "two samples that the objective tells apart", found));
                }
                let towards = if there > here { 1.0 } else { -1.0 };
                let aim = Aim { measure: objective.clone(), towards, there: Some(there), answers: None };
                Ok((aim, held, trace))
            }
            Towards::Answer => {
                let asked = objective.read_at();
                if asked.is_empty() {
                    let needs =
                        "an answer that is made of tokens, or a class; `towards` = `objective` does with any";
                    return Err(input(&CARD, needs, format!("this one is the {objective}")));
                }
                let (held, own) = said(on, clean, (&asked, site))?;
                let (trace, others) = said(on, other, (&asked, site))?;
                // Up to there both answers are the same.
                let mut parted = asked.iter().zip(own.iter().zip(&others));
                let Some((at, (answer, target))) = parted.find(|(_, (own, other))| own != other) else {
                    let texts: Vec<String> = own.iter().map(|token| on.subject().token(*token)).collect();
                    let needs = "two samples of which the model says different things; `towards` = `objective` does with any";
                    return Err(input(&CARD, needs, format!("of both it says `{}`", texts.concat())));
                };
                let answers = Answers {
                    at: *at,
                    target: *target,
                    texts: [answer, target].map(|token| on.subject().token(*token)),
                };
                let measure = Objective::LogProbability { at: *at, token: *target };
                Ok((Aim { measure, towards: 1.0, there: None, answers: Some(answers) }, held, trace))
            }
        }
    }
}
