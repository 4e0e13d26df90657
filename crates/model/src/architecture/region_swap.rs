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

use mmlens_core::finding::{
    Axis, Caution, CautionKind, Labelled, Labels, Modality, Role, TokenLabel, Unit, top,
};
use mmlens_core::{
    Analysis, AnalysisError, Answer, AnyTensor, Capability, Card, Copies, Cost, HookError, Inputs, Leaf,
    LogitSelection, Objective, On, Pair, Part, Plan, Point, Position, Region, Seed, Site, Subject, Trace,
    caution,
};
use mmlens_engine::{Edit, Measured, Metric, OpenPair, Positions, Progress, Sweep, drawn_order, score};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::check::{at_least_one, at_most, input, setting};
use crate::sequence::Sequence;

/// What this method is.
pub const CARD: Card = Card {
    id: "region-swap",
    short: "swap",
    name: "Region swap",
    question: "Which few patches, taken from another picture, change the answer to what is said of that picture?",
    citation: "Goyal, Wu, Ernst, Batra, Parikh, Lee: Counterfactual Visual Explanations. ICML 2019. https://arxiv.org/abs/1904.07451",
    leaf: Leaf::Architecture,
    cost: "steps x patches forward from a block on, in batches, without the tower; with any place patches^2",
    needs: &[Capability::AnyBlocks, Capability::Pictures],
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
            Labels::Tokens(all) => match all.get(cell).map(|token| (token.patch, &token.text)) {
                Some((Some(patch), _)) => patch.to_string(),
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
        let shows = |token: &TokenLabel| matches!(token.modality, Modality::Image | Modality::Video);
        let among_words = inputs.maps.iter().any(|map| map.tokens.iter().any(shows));
        let part = part.unwrap_or(if among_words { Part::Text } else { Part::Vision });
        let blocks = mmlens_core::kind::blocks(subject, part);
        Capability::Blocks(part).check(&CARD, subject)?;
        if *layer >= blocks {
            let found = format!("{layer}, of {blocks} of `{}`", part.name());
            return Err(setting(&CARD, "layer", found, "layers are counted from 0"));
        }
        if inputs.pixels.is_none() {
            return Err(input(&CARD, "a picture", "the sample has none"));
        }
        let site = Site::block(part, *layer, Point::ResidPre);
        let sequence = Sequence::of(&CARD, subject, inputs, site)?;
        let chosen = sequence.chosen(positions)?;
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

/// What is measured behind swaps: what they are to move, and how many tokens are likelier than the other answer.
#[derive(Clone, Copy)]
struct Said {
    value: f32,
    rank: Option<f32>,
}

/// The answers of both samples, where they part.
struct Answers {
    at: Position,
    target: u32,
    texts: [String; 2],
}

/// What swaps are to bring about.
struct Aim {
    measure: Objective,
    /// Up or down.
    towards: f64,
    /// Its value for the other sample, where it is an objective.
    there: Option<f32>,
    answers: Option<Answers>,
}

impl Aim {
    fn metrics(&self) -> Vec<Metric> {
        let rank = self.answers.as_ref().map(|own| Metric::Rank { at: own.at, token: own.target });
        [Metric::from(&self.measure)].into_iter().chain(rank).collect()
    }

    fn further(&self, value: f32, than: f32) -> bool {
        self.towards * f64::from(value) > self.towards * f64::from(than)
    }
}

/// What came of all swaps.
struct Found {
    aim: Aim,
    path: Vec<Step>,
    alone: Vec<f64>,
    /// Without any.
    start: Said,
    /// The same for orders drawn by chance, one after the other.
    random: Vec<Said>,
    drawn: usize,
}

impl Found {
    /// After how many swaps the answer was the other one.
    fn needed(&self) -> Option<usize> {
        self.path.iter().position(|step| step.said.rank == Some(0.0)).map(|at| at + 1)
    }

    /// Behind so many swaps drawn by chance, the mean of some values.
    fn drawn(&self, swaps: usize, value: impl Fn(&Said) -> f64) -> f64 {
        let steps = self.path.len().max(1);
        let at = |draw: usize| draw * steps + swaps - 1;
        let own = (0..self.drawn).filter_map(|draw| Some(value(self.random.get(at(draw))?)));
        own.sum::<f64>() / self.drawn.max(1) as f64
    }

    /// In which share of the orders drawn the answer was the other one by then.
    fn flipped_by(&self, swaps: usize) -> f64 {
        let orders = self.random.chunks(self.path.len().max(1));
        let flipped = |own: &&[Said]| own.iter().take(swaps).any(|said| said.rank == Some(0.0));
        orders.filter(flipped).count() as f64 / self.drawn.max(1) as f64
    }

    /// How far it came on the way to the other sample, from 0 to 1.
    fn way(&self, value: f64) -> Option<f64> {
        let start = f64::from(self.start.value);
        Some((value - start) / (f64::from(self.aim.there?) - start))
    }

    /// Something of every step, from none on, of this order and in the mean of those drawn by chance.
    fn both(&self, value: impl Fn(&Said) -> f64) -> Vec<f32> {
        let start = value(&self.start) as f32;
        let mut all = vec![start];
        all.extend(self.path.iter().map(|step| value(&step.said) as f32));
        if self.drawn > 0 {
            all.push(start);
            all.extend((1..=self.path.len()).map(|swaps| self.drawn(swaps, &value) as f32));
        }
        all
    }

    fn tables(&self, cells: &Cells) -> Result<Vec<Labelled>, AnalysisError> {
        let unit = self.aim.measure.unit();
        let tokens = || vec![cells.axis.clone()];
        let mut swapped = vec![0.0; cells.regions.len()];
        for Step { swap: (cell, _), change, .. } in &self.path {
            if let Some(slot) = swapped.get_mut(*cell) {
                *slot = *change as f32;
            }
        }
        let alone = self.alone.iter().map(|change| *change as f32).collect();
        let mut tables = vec![
            Labelled::numbers("swapped", unit, tokens(), swapped)?,
            Labelled::numbers("alone", unit, tokens(), alone)?,
        ];
        let steps = self.path.len();
        let whom: &[&str] = if self.drawn > 0 { &["greedy", "random"] } else { &["greedy"] };
        let axes =
            || vec![Axis::names(Role::Concept, whom.iter().copied()), Axis::count(Role::Step, steps + 1)];
        tables.push(Labelled::numbers("path", unit, axes(), self.both(|said| f64::from(said.value)))?);
        if let Some(Answers { texts, .. }) = &self.aim.answers {
            let flipped = self.both(|said| f64::from(u8::from(said.rank == Some(0.0))));
            tables.push(Labelled::numbers("flipped", Unit::Ratio, axes(), flipped)?);
            tables.extend(self.needed().map(|swaps| Labelled::scalar("needed", Unit::Count, swaps as f32)));
            let names = Axis::names(Role::Concept, ["of this", "of the other"]);
            tables.push(Labelled::texts("answers", vec![names], texts.to_vec())?);
        }
        if let Some(there) = self.aim.there {
            let way = self.both(|said| self.way(f64::from(said.value)).unwrap_or_default());
            tables.push(Labelled::numbers("way", Unit::Ratio, axes(), way)?);
            tables.push(Labelled::scalar("of the other", unit, there));
        }
        let each = || vec![Axis::count(Role::Step, steps)];
        let name = |Step { swap: (cell, other), .. }: &Step| match cell == other {
            true => cells.name(*cell),
            false => format!("{} from {}", cells.name(*cell), cells.name(*other)),
        };
        tables.push(Labelled::texts("swaps", each(), self.path.iter().map(name).collect())?);
        let position = |cell: usize| cells.places.get(cell).map_or(0, |(_, at)| *at) as f32;
        let [to, from] = [|swap: Swap| swap.0, |swap: Swap| swap.1]
            .map(|end| self.path.iter().map(|step| position(end(step.swap))).collect::<Vec<f32>>());
        tables.push(Labelled::numbers("cell", Unit::Count, each(), to)?.aside());
        tables.push(Labelled::numbers("taken from", Unit::Count, each(), from)?.aside());
        Ok(tables)
    }

    fn cautions(&self, (count, words): (usize, bool)) -> Vec<Caution> {
        let steps = self.path.len();
        let mut said = Vec::new();
        match (self.needed(), &self.aim.answers) {
            (None, Some(Answers { texts: [_, wanted], .. })) => {
                let text = format!(
                    "with {steps} of {count} patches swapped the answer is not yet `{wanted}`: `steps` takes more"
                );
                said.push(Caution::new(CautionKind::NotConverged, steps as f32, text));
            }
            (Some(needed), _) if self.drawn > 0 => {
                let share = self.flipped_by(needed);
                if share >= 0.5 {
                    let percent = (100.0 * share).round();
                    let text = format!(
                        "{percent} % of {} orders drawn by chance turn the answer with {needed} or fewer patches too: which they are says little",
                        self.drawn
                    );
                    said.push(Caution::new(CautionKind::Chance, share as f32, text));
                }
            }
            _ => {}
        }
        if let (Some(greedy), true) =
            (self.path.last().and_then(|step| self.way(f64::from(step.said.value))), self.drawn > 0)
        {
            let random = self.drawn(steps, |said| self.way(f64::from(said.value)).unwrap_or_default());
            let share = random / greedy;
            if share >= 0.5 {
                let text = format!(
                    "{steps} patches drawn by chance come {:.0} % as far as those that were looked for: which they are says little",
                    100.0 * share
                );
                said.push(Caution::new(CautionKind::Chance, share as f32, text));
            }
        }
        if words {
            let text =
                "the samples differ in words too, which are not swapped: the other answer may owe to those";
            said.push(Caution::new(CautionKind::Other, 1.0, text));
        }
        let changes: Vec<f32> = self.alone.iter().map(|change| *change as f32).collect();
        let what = "what any one patch brings";
        said.extend(caution::rounding(&changes, (self.aim.measure.unit(), self.start.value), what));
        said
    }
}
