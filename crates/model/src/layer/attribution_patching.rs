//! Which states, heads and neurons carry the answer, found in two passes instead of one for each?
//!
//! # Idea
//! Patching the value `a` of a node of the clean run into the corrupted one changes the objective `f`. To first order,
//! the change is a product with one gradient, which a single backward pass gives for every node:
//!
//! ```text
//! score(node) = (a_clean - a_corrupted) . df/da
//! ```
//!
//! The gradient is taken at the corrupted run, so that the score stands for putting the clean value into it; or at the
//! clean run, where it stands for what is lost with the corrupted value; or as the mean over places between both, which
//! does not trust a single point.
//!
//! # In and out
//! In: a [`Pair`]; the objective is settled by the clean case. Out, for every point `P` such as `attn.z`:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `P` | layer, token | objective | the score of all that `P` holds at a position |
//! | `P/heads` | layer, head | objective | of a head, over the positions; for points that have heads |
//! | `P/heads and tokens` | layer, head, token | objective | of a head at a position |
//! | `P/neurons` | layer, neuron | objective | of a neuron, over the positions; for points that have neurons |
//! | `clean`, `corrupted` | | objective | `f` of both runs |
//! | `corrupted tokens` | token | | what the corrupted prompt has at each position |
//!
//! Tokens are those of the clean prompt; of a tower its class token and patches, picture by picture and tile by tile.
//!
//! # Settings
//! - `part`: by default the language model, `text`, and the tower where there is none or an encoder of its own reads the words; or a
//!   tower or an encoder of questions, by its name.
//! - `points`: the stream, what attention and MLP add, heads (`attn.z`) and neurons (`mlp.post`); any points of a block
//!   whose axes begin with batch and position. A head scores the same at `attn.z` as at `attn.result`.
//! - `between`: [`Between::Corrupted`], as activation patching has it; [`Between::Clean`]; [`Between::Path`], integrated
//!   gradients: what the part is fed with moves from the corrupted to the clean prompt. Where it is a tower the words stay those of the
//!   corrupted one, so that a path ends at the clean run if the pair differs in its pictures alone.
//! - `positions`: all. With some of them, scores of heads and neurons are sums over these, so that one position gives the
//!   score of every neuron there. Of a tower they are those of its own sequence, in every picture: all, [`Positions::Pictures`] (its patches),
//!   [`Positions::Last`] (its class token) or some by number.
//! - `layers`: all, or some by number ([`Indices`]). Of a tower those that an answer is read from: a LLaVA does not read the last of its.
//! - `rows`: 8 places of a path share a pass, or fewer, as memory allows; one of a tower that packs its pictures into one sequence.
//!
//! # Cost
//! Two forward passes and one backward, for all nodes; along a path `steps` forward and backward passes from the part
//! on more. Peak memory: the values of both runs and the gradients at all points asked for, beside what the backward pass
//! keeps. What would take more than the memory it may take ([`On::within`](mmlens_core::On::within)) is done a part of the layers at a time, with as many
//! passes for each part.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for no points, a point twice or outside blocks, no rows. Running:
//! [`AnalysisError::Input`] for prompts of different length or with pictures at different positions, several rows, a position
//! past the end or of words in a tower, a tower without a picture, a point whose axes are others; [`AnalysisError::Subject`] for a point the subject does not have or
//! no gradient reaches; [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - It is a first-order guess; a caution (`gap`) says so where the scores of the stream before the first layer, all positions together, miss more than three quarters of `clean - corrupted`, which
//!   they would add up to if it were none. Where the objective is curved between both runs, as in the stream of early layers and behind
//!   saturated softmaxes, it may be far off, even in sign (Kramár et al. 2024, "AtP*: An efficient and scalable method for
//!   localizing LLM behaviour to components"). Check the largest scores by activation patching.
//! - Effects of both signs cancel in sums over positions and coordinates.
//! - Effects hold for this pair of prompts (Zhang, Nanda 2024, "Towards Best Practices of Activation Patching").
//!
//! # Agreement
//! Direct computation in torch 2.15 on `llava-a`, another picture, gradients at either run and along a path of 5 places:
//! largest difference relative to the largest score 1.5e-6; in its tower 3.4e-6. Identities tested: on a straight subject the scores are the
//! effects of activation patching; the heads of a layer sum to `attn_out`; neurons sum to `mlp_out`; at a tower scores are the gradient times the difference, summed by hand; the same for
//! any `rows`.
//!
//! # Reference
//! Nanda: Attribution Patching: Activation Patching At Industrial Scale. 2023.
//! <https://www.neelnanda.io/mechanistic-interpretability/attribution-patching>; Syed, Rager, Conmy: Attribution
//! Patching Outperforms Automated Circuit Discovery. BlackboxNLP 2024. <https://arxiv.org/abs/2310.10348>. The path:
//! Hanna, Pezzelle, Belinkov: Have Faith in Faithfulness. COLM 2024. <https://arxiv.org/abs/2403.17806>. There the sign
//! is that of a loss; here a positive score speaks for the clean answer.
//!
//! # Example
//! ```no_run
//! use mmlens_core::{Analysis, Pair};
//! use mmlens_model::{AttributionPatching, attribution_patching::Settings};
//! # fn explain(subject: &dyn mmlens_core::Subject, pair: &Pair) -> Result<(), mmlens_core::AnalysisError> {
//! let finding = AttributionPatching::new(Settings::default())?.run(subject, pair)?;
//! println!("{:?}", finding.table("attn.z/heads")?.as_numbers());
//! # Ok(())
//! # }
//! ```

use std::num::NonZeroUsize;

use mmlens_core::finding::{Axis, Caution, Labelled, Role, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Answer, AxisName, Capability, Card, Cost, HookError, Leaf, Need, Objective, On,
    Pair, Part, Plan, Point, Site, SiteSpec, Subject, caution, kind,
};
use mmlens_engine::{
    Between, Contrast, Indices, OpenPair, Positions, Progress, Prompts, Spoken, Stacked, batches, feeds,
    numbers, of_range, score, summed,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::check::{at_least_one, blocks_read, input, part_with_blocks, points_of_blocks};
use crate::sequence::Sequence;

/// What this method is.
pub const CARD: Card = Card {
    id: "attribution-patching",
    short: "attribution",
    name: "Attribution patching",
    question: "Which states, heads and neurons carry the answer, found in two passes instead of one for each?",
    citation: "Syed, Rager, Conmy: Attribution Patching Outperforms Automated Circuit Discovery. BlackboxNLP 2024. https://arxiv.org/abs/2310.10348",
    leaf: Leaf::Layer,
    cost: "2 forward + 1 backward; along a path, steps x (forward + backward) more",
    needs: &[Capability::AnyBlocks, Capability::Gradients],
    misleads: &[
        "It is a first-order guess: where the objective is curved between both runs it may be far off, even in sign.",
        "Effects of both signs cancel in sums over positions and coordinates.",
        "Effects hold for this pair of prompts.",
    ],
    first: true,
};

/// What is scored.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Of which part; `None` for the language model, or where an encoder of its own reads the words, or there is none, the tower.
    pub part: Option<Part>,
    /// Which values of a block.
    pub points: Vec<Point>,
    /// Where gradients are taken.
    pub between: Between,
    /// At which positions.
    pub positions: Positions,
    /// Of which layers.
    pub layers: Indices,
    /// How many places of a path share a pass.
    pub rows: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            part: None,
            points: vec![Point::ResidPre, Point::AttnOut, Point::Z, Point::MlpOut, Point::MlpPost],
            between: Between::default(),
            positions: Positions::All,
            layers: Indices::All,
            rows: 8,
        }
    }
}

/// Attribution patching with checked settings.
#[derive(Debug, Clone)]
pub struct AttributionPatching {
    settings: Settings,
    rows: NonZeroUsize,
}

impl AttributionPatching {
    fn part(&self, subject: &dyn Subject) -> Part {
        part_with_blocks(subject, self.settings.part)
    }

    fn sites(&self, part: Part, layers: &[usize]) -> Vec<Site> {
        let of_layer = |layer: &usize| {
            let layer = *layer;
            self.settings.points.iter().map(move |point| Site::block(part, layer, *point))
        };
        layers.iter().flat_map(of_layer).collect()
    }

    /// The layers whose values are scored.
    fn layers(&self, subject: &dyn Subject) -> Result<Vec<usize>, AnalysisError> {
        self.settings.layers.chosen(CARD.id, "layers", blocks_read(subject, self.part(subject)))
    }

    /// How many layers are held at once.
    fn held(&self, on: &On<'_>, opened: &OpenPair, layers: &[usize]) -> Result<NonZeroUsize, AnalysisError> {
        let memory = on.memory().at_most(self.rows);
        let most = at_least_one(&CARD, "layers", layers.len())?;
        memory.most(CARD.id, 0, most, |count| self.need(on, opened, of_range(layers, 0..count)?, 1))
    }

    /// What some layers take, with so many places between both runs in a pass.
    fn need(&self, on: &On<'_>, opened: &OpenPair, layers: &[usize], rows: usize) -> Result<Need, HookError> {
        let subject = on.subject();
        let part = self.part(subject);
        let numbers = |sites: &[Site]| numbers(subject, &opened.clean, sites);
        let fed = numbers(&feeds(subject, part))?;
        let mut plan = Plan::new().objective(&opened.objective);
        let some = self.sites(part, layers);
        for site in &some {
            plan = plan.read(*site)?.grad(*site)?;
        }
        let own = numbers(&some)?;
        let on_the_way = if let Between::Path { .. } = self.settings.between { 2 * fed + 2 * own } else { 0 };
        // The other run, and what feeds both; on the host three of one site.
        let host = some
            .iter()
            .map(|site| numbers(&[*site]))
            // no NaN: whole numbers
            .try_fold(0, |most, own| Ok::<_, HookError>(own?.max(most)))?;
        Ok(subject
            .need(&opened.corrupted, &plan, Stacked::of(&opened.corrupted, part).copies(rows))?
            .and(own + 2 * fed + on_the_way + 4 * host))
    }
}

impl Analysis for AttributionPatching {
    type Input = Pair;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        points_of_blocks(&CARD, &settings.points)?;
        let rows = at_least_one(&CARD, "rows", settings.rows)?;
        Ok(Self { settings, rows })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, pair: &Pair) -> Result<Cost, AnalysisError> {
        let opened = OpenPair::new(&CARD, on, pair)?;
        Sequence::of_part(&CARD, on.subject(), &opened.clean, self.part(on.subject()))?;
        let layers = self.layers(on.subject())?;
        let held = self.held(on, &opened, &layers)?;
        let parts = layers.len().div_ceil(held.get());
        let nodes = self.settings.between.nodes().len();
        let path = if let Between::Path { .. } = self.settings.between { nodes } else { 0 };
        let widest = of_range(&layers, 0..layers.len().div_ceil(parts.max(1)))?;
        let need = self.need(on, &opened, widest, nodes.clamp(1, self.rows.get()))?;
        let times = 1 + on.each(&pair.clean, &opened.objective).len();
        let cost = Cost::rows(pair.clean.settling() + times * parts * (2 + path))
            .with_gradients(times * parts * nodes.max(1));
        Ok(cost.taking(need.bytes, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, pair: &Pair) -> Result<Answer, AnalysisError> {
        let opened = OpenPair::new(&CARD, on, pair)?;
        let (objective, part) = (&opened.objective, self.part(on.subject()));
        let sequence = Sequence::of_part(&CARD, on.subject(), &opened.clean, part)?;
        self.settings.points.iter().try_for_each(|point| spec(on.subject(), part, *point).map(drop))?;
        let spoken = Spoken::of(on, &pair.clean, &opened.clean, objective)?;
        let layers = self.layers(on.subject())?;
        let steps = if let Between::Path { steps } = self.settings.between { steps.get() } else { 0 };
        let passes = layers.len().div_ceil(self.held(on, &opened, &layers)?.get()) * (2 + steps);
        let mut progress = Progress::new(on.watch(), CARD.id, passes * (1 + spoken.objectives().len()));
        let mut ends = None;
        let mut shown = |objective: &Objective| -> Result<Vec<Labelled>, AnalysisError> {
            let scored = self.scored(on, &opened, &sequence, objective, &mut progress)?;
            ends.get_or_insert(scored.ends);
            self.tables(on.subject(), &opened, &sequence, scored)
        };
        let mut tables =
            spoken.with_each(std::iter::once(objective).chain(spoken.objectives()).map(&mut shown))?;
        let none = || input(&CARD, "a part with blocks that an answer is read from", "this one has none");
        let (at_clean, at_corrupted) = ends.ok_or_else(none)?;
        tables.push(opened.other_tokens()?);
        let cautions = opened.caution(at_clean, at_corrupted);
        // Of a difference that barely is one no share says anything.
        let missed = match cautions {
            Some(_) => None,
            None => self.missed(on.subject(), &tables, f64::from(at_clean) - f64::from(at_corrupted)),
        };
        let answer = Answer::new(tables, self.sites(part, &layers)).settled("part", json!(part));
        let answer = answer.explaining(objective).against(pair.difference());
        Ok(answer.cautioned(cautions).cautioned(missed))
    }
}

impl AttributionPatching {
    /// That the stream of a language model, of which all positions together carry the whole difference, is given another: what a gradient
    /// says then is not what patching would find.
    fn missed(&self, subject: &dyn Subject, tables: &[Labelled], apart: f64) -> Option<Caution> {
        let part = self.part(subject);
        let beside = kind::has(subject, Site::block(part, 0, Point::CrossPattern));
        if self.settings.positions != Positions::All || part != Part::Text || beside {
            return None;
        }
        let stream = tables.iter().find(|table| table.name() == Point::ResidPre.name())?;
        let positions = stream.shape().iter().skip(1).product::<usize>();
        let first = stream.as_numbers()?.iter().take(positions).map(|value| f64::from(*value)).sum::<f64>();
        let hint = match self.settings.between {
            Between::Path { .. } => "; take more `steps`",
            _ => "; take `between` = {\"path\": {\"steps\": 32}}, or activation patching",
        };
        let missed = (first - apart).abs() / apart.abs();
        caution::gap(missed, MISSED, " of the stream before the first of these layers", hint)
    }
}

/// So much of the difference gradients may miss before it is spoken of.
const MISSED: f64 = 0.75;

/// What was found of one objective.
struct Scored {
    /// For every point.
    points: Vec<Scores>,
    /// Which positions were scored.
    positions: Vec<usize>,
    /// The objective of the clean and of the corrupted run.
    ends: (f32, f32),
}

impl AttributionPatching {
    fn scored(
        &self,
        on: &On<'_>,
        opened: &OpenPair,
        sequence: &Sequence<'_>,
        objective: &Objective,
        progress: &mut Progress<'_>,
    ) -> Result<Scored, AnalysisError> {
        let (subject, part) = (on.subject(), self.part(on.subject()));
        let Settings { points, between, positions, .. } = &self.settings;
        let positions = sequence.chosen(positions)?;
        let rows = sequence.rows(&positions);
        let (layers, memory) = (self.layers(subject)?, on.memory().at_most(self.rows));
        let specs: Vec<&SiteSpec> =
            points.iter().map(|point| spec(subject, part, *point)).collect::<Result<_, _>>()?;
        let held = self.held(on, opened, &layers)?;
        let prompts = Prompts { part, clean: &opened.clean, corrupted: &opened.corrupted };
        let mut scores: Vec<Scores> = points.iter().map(|_| Scores::default()).collect();
        let mut ends = None;
        for some in batches(layers.len(), held) {
            let some = of_range(&layers, some)?;
            let sites = self.sites(part, some);
            let read = (sites.as_slice(), sites.as_slice());
            let runs = Contrast::run(subject, prompts, objective, read, *between, &memory, progress)?;
            let grads = runs.gradients(&sites, &memory, progress)?;
            for ((point, spec), scores) in points.iter().zip(&specs).zip(&mut scores) {
                for layer in some {
                    let site = Site::block(part, *layer, *point);
                    let grad = grads.get(&site).ok_or(HookError::NoGradient(site))?;
                    let (clean, corrupted) = (runs.clean.get(site)?, runs.corrupted.get(site)?);
                    for other in [corrupted, grad] {
                        if other.dims() != clean.dims() {
                            let (holds, given) = (clean.dims(), other.dims());
                            return Err(HookError::Operand { site, holds, given, verb: "compared" }.into());
                        }
                    }
                    let apart = clean.to_values()?.into_iter().zip(corrupted.to_values()?);
                    let values: Vec<f32> = apart
                        .zip(grad.to_values()?)
                        .map(|((left, right), grad)| (left - right) * grad)
                        .collect();
                    scores.add(spec, &values, &clean.dims(), &rows)?;
                }
            }
            ends = Some((score(&runs.clean)?, score(&runs.corrupted)?));
        }
        let none = || input(&CARD, "a part with blocks that an answer is read from", "this one has none");
        Ok(Scored { points: scores, positions, ends: ends.ok_or_else(none)? })
    }

    fn tables(
        &self,
        subject: &dyn Subject,
        opened: &OpenPair,
        sequence: &Sequence<'_>,
        scored: Scored,
    ) -> Result<Vec<Labelled>, AnalysisError> {
        let points = &self.settings.points;
        let (unit, layers) = (opened.objective.unit(), self.layers(subject)?);
        let part = self.part(subject);
        let layers = Indices::axis(Role::Layer, &layers, blocks_read(subject, part));
        let tokens = sequence.axis(&scored.positions);
        let mut tables = Vec::new();
        for (point, scores) in points.iter().zip(scored.points) {
            tables.extend(scores.tables(point.name(), unit, &layers, &tokens)?);
        }
        let (clean, corrupted) = scored.ends;
        tables.push(Labelled::scalar("clean", unit, clean));
        tables.push(Labelled::scalar("corrupted", unit, corrupted));
        // What the page shows: the stream, heads, and what MLPs add; the rest is the same in parts.
        let mut stream = Vec::new();
        for point in points {
            if spec(subject, part, *point)?.axis(AxisName::DModel).is_some() {
                stream.push(point.name());
            }
        }
        let shown = |table: &Labelled| {
            let name = table.name();
            table.as_scalar().is_some() || name.ends_with("/heads") || stream.contains(&name)
        };
        Ok(tables.into_iter().map(|table| if shown(&table) { table } else { table.aside() }).collect())
    }
}

fn spec(subject: &dyn Subject, part: Part, point: Point) -> Result<&SiteSpec, AnalysisError> {
    // Any block: a place of one's own may be in one of them alone.
    let own = |spec: &&SiteSpec| {
        let site = spec.site;
        site.part() == part && site.point() == point && site.block_index().is_some()
    };
    let spec = subject.sites().iter().find(own).ok_or_else(|| {
        let asked = Site::block(part, 0, point).to_string();
        HookError::NoSuchSite { subject: subject.name().to_owned(), asked, nearest: None }
    })?;
    let site = spec.site;
    match spec.axes.as_slice() {
        [(AxisName::Batch | AxisName::Image, _), (AxisName::Pos, _), ..] => Ok(spec),
        _ => {
            let found = format!("`{site}` has {}", spec.describe());
            Err(input(&CARD, "points whose axes begin with batch and position", found))
        }
    }
}

/// Scores of one point, layer after layer.
#[derive(Default)]
struct Scores {
    tokens: Vec<f32>,
    /// How many heads, then layer, head.
    heads: Option<(usize, Vec<f32>)>,
    /// Layer, head, token.
    each: Vec<f32>,
    /// How many neurons, then layer, neuron.
    neurons: Option<(usize, Vec<f32>)>,
}

impl Scores {
    /// `values` are of one layer, row-major, `[1, pos, ...]`, or `[image, pos, ...]`; `rows` of them are kept, counted through pictures.
    fn add(
        &mut self,
        spec: &SiteSpec,
        values: &[f32],
        dims: &[usize],
        rows: &[usize],
    ) -> Result<(), HookError> {
        let wide: usize = dims.iter().skip(2).product();
        let kept: Vec<f32> = rows
            .iter()
            .flat_map(|at| values.get(at * wide..(at + 1) * wide).unwrap_or_default().iter().copied())
            .collect();
        let shape = [&[1, rows.len()], dims.get(2..).unwrap_or_default()].concat();
        self.tokens.extend(summed(&kept, &shape, &[1])?);
        let over = |axis| spec.axis(axis).map(|at| (shape.get(at).copied().unwrap_or(0), at));
        if let Some((heads, at)) = over(AxisName::Head) {
            self.heads.get_or_insert((heads, Vec::new())).1.extend(summed(&kept, &shape, &[at])?);
            let each = summed(&kept, &shape, &[1, at])?;
            self.each.extend((0..heads).flat_map(|head| each.iter().skip(head).step_by(heads).copied()));
        }
        if let Some((neurons, at)) = over(AxisName::Neuron) {
            self.neurons.get_or_insert((neurons, Vec::new())).1.extend(summed(&kept, &shape, &[at])?);
        }
        Ok(())
    }

    fn tables(
        self,
        name: &str,
        unit: Unit,
        layer: &Axis,
        tokens: &Axis,
    ) -> Result<Vec<Labelled>, AnalysisError> {
        let (layer, token) = (layer.clone(), tokens.clone());
        let mut tables =
            vec![Labelled::numbers(name, unit, vec![layer.clone(), token.clone()], self.tokens)?];
        if let Some((heads, values)) = self.heads {
            let head = Axis::count(Role::Head, heads);
            let axes = vec![layer.clone(), head.clone()];
            tables.push(Labelled::numbers(format!("{name}/heads"), unit, axes, values)?);
            let axes = vec![layer.clone(), head, token];
            tables.push(Labelled::numbers(format!("{name}/heads and tokens"), unit, axes, self.each)?);
        }
        if let Some((neurons, values)) = self.neurons {
            let axes = vec![layer, Axis::count(Role::Neuron, neurons)];
            tables.push(Labelled::numbers(format!("{name}/neurons"), unit, axes, values)?);
        }
        Ok(tables)
    }
}
