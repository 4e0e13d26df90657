//! The gradient of an objective, integrated along the straight path from baselines to the values of an input.
//!
//! At each site `s` with value `x` and baseline `x'`: `(x - x') * sum_i w_i * d objective / d s`, taken where
//! every site stands at `x' + a_i (x - x')`, all sites at the same `a_i`. The nodes `a_i` and weights `w_i` are
//! those of a quadrature rule, or of panels that are halved where they miss most of the change between their ends.

use serde::{Deserialize, Serialize};
use std::num::NonZeroUsize;

use burn::tensor::{Tensor, TensorData};
use mmlens_core::{
    AnalysisError, AnyTensor, Baseline, Copies, HookError, Inputs, Memory, Objective, Part, Plan, Point,
    Site, SiteSpec, State, Subject, Trace, kind,
};

use crate::panels::{self, Panel, Span, Until};
use crate::{Node, Progress, Rule, batches, folded, numbers, of_range, reshaped, score, unfolded};

/// A site and the value its path begins at.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// Where.
    pub site: Site,
    /// The value that stands for "not there".
    pub baseline: Baseline,
}

impl End {
    /// A path at a site from a baseline.
    pub fn new(site: Site, baseline: Baseline) -> Self {
        Self { site, baseline }
    }

    /// Ends that move along one path. Of a subject that compares two towers those of each tower move alone, while the other
    /// tower keeps what it was given: between both baselines lies a pair that may fit better than any true one, so that on the
    /// way there a word that fits would count against its picture.
    pub fn paths(subject: &dyn Subject, ends: &[Self]) -> Vec<Vec<Self>> {
        let compares = kind::compares(subject);
        let seen = |end: &&Self| !compares || matches!(end.site.part(), Part::Vision | Part::Connector);
        let (seen, read): (Vec<&Self>, Vec<&Self>) = ends.iter().partition(seen);
        [seen, read]
            .into_iter()
            .filter(|path| !path.is_empty())
            .map(|path| path.into_iter().cloned().collect())
            .collect()
    }
}

/// Where the nodes of a path lie.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Nodes {
    /// Where a rule puts so many.
    Fixed {
        /// Which rule.
        rule: Rule,
        /// How many nodes.
        steps: NonZeroUsize,
    },
    /// In 16 equal panels of five Gauss-Legendre nodes, those halved that miss most of the change between their ends, until what all
    /// panels miss, without signs, is no more than a share of the change along the path, or the budget is spent. What panels hold
    /// takes no more than a quarter of the memory: where they are large, the budget is smaller.
    Adaptive {
        /// That share.
        gap: f64,
        /// The most places that the objective is looked at, but for the ends of the path: nodes, those of panels that are halved
        /// later among them, and the ends of the first panels.
        budget: NonZeroUsize,
    },
}

impl Nodes {
    /// The fewest places that panels need: the nodes of the first ones, and the ends between them.
    pub const LEAST: usize = panels::FIRST * panels::NODES + panels::FIRST - 1;

    /// The most places that are looked at.
    pub const fn most(self) -> usize {
        match self {
            Self::Fixed { steps, .. } => steps.get(),
            Self::Adaptive { budget, .. } => budget.get(),
        }
    }

    /// The most places that gradients are taken at.
    pub const fn most_gradients(self) -> usize {
        match self {
            Self::Fixed { steps, .. } => steps.get(),
            Self::Adaptive { budget, .. } => budget.get().saturating_sub(panels::FIRST - 1),
        }
    }
}

/// A path and how it is cut into nodes.
#[derive(Debug, Clone)]
pub struct PathIntegral {
    /// The sites that move, all together.
    pub ends: Vec<End>,
    /// Where the nodes lie.
    pub nodes: Nodes,
    /// How many share a pass, and what the passes may take.
    pub memory: Memory,
}

/// What each coordinate of a site contributed.
#[derive(Debug, Clone)]
pub struct Along {
    /// The site, with its axes.
    pub spec: SiteSpec,
    /// Its shape.
    pub dims: Vec<usize>,
    /// The contributions, row-major.
    pub values: Vec<f32>,
}

impl Along {
    /// The contributions together.
    pub fn total(&self) -> f64 {
        self.values.iter().map(|v| f64::from(*v)).sum()
    }
}

/// An integrated path.
#[derive(Debug, Clone)]
pub struct Path {
    /// One for each site, in the order they were given.
    pub along: Vec<Along>,
    /// The objective of the input as it is.
    pub at_input: f32,
    /// The objective where every site stands at its baseline.
    pub at_baseline: f32,
    /// Every node that counts, with its objective.
    pub nodes: Vec<(Node, f32)>,
    /// What the panels of an adaptive path miss of the change between their ends, all without signs.
    pub missed: Option<f64>,
    /// How many places the objective was looked at, but for the ends of the path.
    pub looked: usize,
}

impl Path {
    /// The objective of the input minus that of the baselines: what the contributions should sum to.
    pub fn change(&self) -> f64 {
        f64::from(self.at_input) - f64::from(self.at_baseline)
    }

    /// The contributions of all sites together.
    pub fn total(&self) -> f64 {
        self.along.iter().map(Along::total).sum()
    }

    /// By how much the contributions miss the change: above zero where they are too large.
    pub fn gap(&self) -> f64 {
        self.total() - self.change()
    }
}

/// A site on the path while it is walked.
struct Moving {
    /// Where it is set: what enters block 0 is set at the block, so that a pass can begin there.
    at: Site,
    spec: SiteSpec,
    dims: Vec<usize>,
    baseline: AnyTensor,
    from: Tensor<2>,
    difference: Tensor<2>,
}

/// Nodes that were measured together: the objective at each, and at each site the sum of the gradients as they weigh.
struct Measured {
    scores: Vec<f32>,
    sums: Vec<Tensor<2>>,
}

impl PathIntegral {
    /// What a walk reads of the unedited pass.
    pub fn reads(&self, subject: &dyn Subject, objective: &Objective) -> Vec<Site> {
        let start = entry(subject, &self.ends, objective)
            .map(|block| Site::block(Part::Text, block, Point::ResidPre));
        self.ends.iter().map(|end| end.site).chain(start).collect()
    }

    /// That the unedited pass, and what is kept of it, fit into its memory.
    ///
    /// # Errors
    /// [`AnalysisError::Memory`]; [`HookError::NoSuchSite`].
    pub fn hold(
        &self,
        subject: &dyn Subject,
        (inputs, objective): (&Inputs, &Objective),
        method: &'static str,
    ) -> Result<(), AnalysisError> {
        let mut plan = Plan::new().objective(objective);
        for site in self.reads(subject, objective) {
            plan = plan.read(site)?;
        }
        // What is read, where it begins, how far it goes, and its baseline.
        let sites: Vec<Site> = self.ends.iter().map(|end| end.site).collect();
        let kept = 4 * 4 * numbers(subject, inputs, &sites)? as u64;
        self.memory.hold(method, kept, subject.need(inputs, &plan, Copies::ONE)?)
    }

    /// Walks the path, all ends together ([`End::paths`] says which belong on one), from an unedited pass in which what it
    /// [reads](Self::reads) was read: one pass for the baselines, and a forward and backward pass for every batch of nodes. Passes begin at the first block that has a site, if all sites lie in the language model.
    ///
    /// # Errors
    /// [`HookError::NoSuchSite`] and [`HookError::NoGradient`], the latter also for a site behind which another
    /// site of the path is set: its value does not reach the objective. [`AnalysisError::Memory`] where not even one node fits
    /// into its memory. [`AnalysisError::Cancelled`].
    pub fn walk(
        &self,
        subject: &dyn Subject,
        (inputs, objective): (&Inputs, &Objective),
        whole: &Trace,
        progress: &mut Progress<'_>,
    ) -> Result<Path, AnalysisError> {
        let entry = entry(subject, &self.ends, objective);
        let method = progress.method();
        let at_input = score(whole)?;
        let state = entry.map(|block| whole.state(Part::Text, block)).transpose()?;
        let mut moving = Vec::with_capacity(self.ends.len());
        for end in &self.ends {
            moving.push(Moving::new(subject, inputs, end, whole.get(end.site)?, entry)?);
        }
        let stage = Stage { subject, inputs, state, objective, moving: &moving };
        // Whether it fits is known before the first pass.
        let (most, enough) = match self.nodes {
            Nodes::Fixed { .. } => (0, 0),
            Nodes::Adaptive { budget, .. } => self.panels(&moving, budget.get()),
        };
        let rows = stage.rows(most, method, &self.memory)?;
        let begun = progress.done();
        let bare = {
            let mut plan = stage.plan(1)?;
            for m in &moving {
                plan = plan.set(m.at, m.baseline.clone())?;
            }
            score(&subject.run(inputs, plan)?)?
        };
        let (nodes, sums, missed) = match self.nodes {
            Nodes::Fixed { rule, steps } => {
                let nodes = rule.nodes(steps.get());
                let mut measured = stage.measure(std::slice::from_ref(&nodes), rows, progress)?;
                let Measured { scores, sums } = measured.pop().ok_or(no_node(steps.get()))?;
                (nodes.into_iter().zip(scores).collect(), sums, None)
            }
            Nodes::Adaptive { gap, budget } => {
                let until = Until { gap, nodes: enough };
                let panels = stage.panels([bare, at_input], until, rows, progress)?;
                let missed = panels::missed(&panels);
                let mut sums: Option<Vec<Tensor<2>>> = None;
                let mut nodes = Vec::new();
                for panel in panels {
                    nodes.extend(panel.span.nodes().into_iter().zip(panel.scores));
                    add(&mut sums, panel.sums);
                }
                (nodes, sums.ok_or(no_node(budget.get()))?, Some(missed))
            }
        };
        let looked = progress.done() - begun;
        // What was not needed of the budget is done, too.
        match self.nodes.most().saturating_sub(looked) {
            0 => {}
            spared => progress.advance(spared)?,
        }
        let along = moving.into_iter().zip(sums).map(|(moving, sum)| moving.finish(sum));
        Ok(Path {
            along: along.collect::<Result<_, _>>()?,
            at_input,
            at_baseline: bare,
            nodes,
            missed,
            looked,
        })
    }

    /// How many panels are held at most, and how many nodes that comes to.
    fn panels(&self, moving: &[Moving], budget: usize) -> (usize, usize) {
        let (first, each) = (panels::FIRST, 2 * panels::NODES);
        let size = 4 * moving.iter().map(|m| m.dims.iter().product::<usize>()).sum::<usize>() as u64;
        let fit = usize::try_from(self.memory.left() / 4 / size.max(1)).unwrap_or(usize::MAX);
        // To halve a panel costs the nodes of two, and there is one more.
        let halved = (budget.saturating_sub(Nodes::LEAST) / each).min(fit.saturating_sub(first));
        (first + halved, first * panels::NODES + halved * each)
    }
}

/// Adds the sums of some nodes to those of others.
fn add(sums: &mut Option<Vec<Tensor<2>>>, more: Vec<Tensor<2>>) {
    *sums = Some(match sums.take() {
        Some(sums) => sums.into_iter().zip(more).map(|(sum, part)| sum + part).collect(),
        None => more,
    });
}

fn no_node(nodes: usize) -> HookError {
    HookError::Values { dims: vec![nodes], given: 0 }
}

/// What all passes of a walk share.
struct Stage<'a> {
    subject: &'a dyn Subject,
    inputs: &'a Inputs,
    state: Option<State>,
    objective: &'a Objective,
    moving: &'a [Moving],
}

impl Stage<'_> {
    /// How many nodes share a pass, beside what so many panels hold.
    fn rows(
        &self,
        panels: usize,
        method: &'static str,
        memory: &Memory,
    ) -> Result<NonZeroUsize, AnalysisError> {
        let sizes: usize = self.moving.iter().map(|m| m.dims.iter().product::<usize>()).sum();
        let state = self.state.as_ref().map_or(0, |state| state.hidden.dims().iter().product());
        // Where a site begins, how far it goes, its baseline, and the sum so far, or that of every panel.
        let kept = 4 * ((4 + panels) * sizes + state) as u64;
        let mut plan = self.plan(1)?;
        for m in self.moving {
            plan = plan.set(m.at, m.baseline.clone())?.grad(m.at)?;
        }
        let pictures = own_pictures(self.moving);
        memory.rows(method, kept, |times| {
            let need = self.subject.need(self.inputs, &plan, Copies { times, pictures })?;
            // Where every node stands, one by one and together; its gradient, weighted.
            Ok(need.and(3 * times * sizes))
        })
    }

    fn plan(&self, rows: usize) -> Result<Plan, HookError> {
        let plan = Plan::new().objective(self.objective);
        Ok(match &self.state {
            None => plan,
            Some(State { site, hidden }) => {
                plan.resume(State { site: *site, hidden: hidden.repeat_rows(rows)? })
            }
        })
    }

    /// Panels from one end of the path to the other, with the objective at both.
    fn panels(
        &self,
        [first, last]: [f32; 2],
        until: Until,
        rows: NonZeroUsize,
        progress: &mut Progress<'_>,
    ) -> Result<Vec<Panel<Vec<Tensor<2>>>>, AnalysisError> {
        let mut places = vec![(0.0, first)];
        let cuts: Vec<Node> = Span::cuts().into_iter().map(|at| Node { at, weight: 0.0 }).collect();
        for range in batches(cuts.len(), rows) {
            let chunk = of_range(&cuts, range)?;
            let scores = self.pass(chunk, false)?.1;
            places.extend(chunk.iter().map(|node| node.at).zip(scores));
            progress.advance(chunk.len())?;
        }
        places.push((1.0, last));
        panels::refine(Span::between(&places), until, |spans| {
            let nodes: Vec<Vec<Node>> = spans.iter().map(Span::nodes).collect();
            let measured = self.measure(&nodes, rows, progress)?;
            let panel = |(span, Measured { scores, sums }): (Span, Measured)| {
                let given = scores.len();
                let scores = <[f32; panels::NODES]>::try_from(scores);
                let scores = scores.map_err(|_| HookError::Values { dims: vec![panels::NODES], given })?;
                let mut total = 0.0;
                for (m, sum) in self.moving.iter().zip(&sums) {
                    total += m.contributed(sum.clone())?.iter().map(|v| f64::from(*v)).sum::<f64>();
                }
                Ok(Panel { span, scores, sums, total })
            };
            spans.into_iter().zip(measured).map(panel).collect()
        })
    }

    /// Passes over the nodes of several groups, as many rows in each as fit.
    fn measure(
        &self,
        groups: &[Vec<Node>],
        rows: NonZeroUsize,
        progress: &mut Progress<'_>,
    ) -> Result<Vec<Measured>, AnalysisError> {
        let own =
            |(group, nodes): (usize, &Vec<Node>)| nodes.iter().map(|node| (group, *node)).collect::<Vec<_>>();
        let all: Vec<(usize, Node)> = groups.iter().enumerate().flat_map(own).collect();
        let mut measured: Vec<(Vec<f32>, Option<Vec<Tensor<2>>>)> = vec![(Vec::new(), None); groups.len()];
        for range in batches(all.len(), rows) {
            let of_pass = of_range(&all, range)?;
            let nodes: Vec<Node> = of_pass.iter().map(|(_, node)| *node).collect();
            let (trace, scores) = self.pass(&nodes, true)?;
            let mut from = 0;
            for part in of_pass.chunk_by(|a, b| a.0 == b.0) {
                let range = from..from + part.len();
                from = range.end;
                let [(group, _), ..] = part else { continue };
                let own = of_range(&nodes, range.clone())?;
                let sums = self.moving.iter().map(|m| m.gathered(trace.grad(m.at)?, own, range.start));
                let sums = sums.collect::<Result<_, _>>()?;
                let (told, sum) = measured.get_mut(*group).ok_or(no_node(groups.len()))?;
                told.extend_from_slice(of_range(&scores, range)?);
                add(sum, sums);
            }
            progress.advance(nodes.len())?;
        }
        let whole = |(scores, sums): (Vec<f32>, Option<Vec<Tensor<2>>>)| {
            Ok(Measured { scores, sums: sums.ok_or(no_node(1))? })
        };
        measured.into_iter().map(whole).collect()
    }

    /// One pass over a batch of nodes, with gradients or without, and the objective at each.
    fn pass(&self, nodes: &[Node], grad: bool) -> Result<(Trace, Vec<f32>), AnalysisError> {
        let rows = nodes.len();
        let own = own_pictures(self.moving);
        let inputs = if own { self.inputs.repeat_pictures(rows)? } else { self.inputs.repeat(rows) };
        let mut plan = self.plan(rows)?;
        for m in self.moving {
            plan = plan.set(m.at, m.stand(nodes)?)?;
            if grad {
                plan = plan.grad(m.at)?;
            }
        }
        let trace = self.subject.run(&inputs, plan)?;
        let scores = trace.scores()?.to_vec();
        if scores.len() != rows {
            return Err(HookError::Values { dims: vec![rows], given: scores.len() }.into());
        }
        Ok((trace, scores))
    }
}

/// Whether every node has pictures of its own.
fn own_pictures(moving: &[Moving]) -> bool {
    moving.iter().any(|m| matches!(m.at.part(), Part::Vision | Part::Connector))
}

impl Moving {
    fn new(
        subject: &dyn Subject,
        inputs: &Inputs,
        end: &End,
        value: &AnyTensor,
        entry: Option<usize>,
    ) -> Result<Self, HookError> {
        let spec = SiteSpec::among(subject.sites(), end.site)?;
        let baseline = end.baseline.at(spec, value, inputs)?;
        let from = folded(baseline.clone())?;
        let difference = folded(value.clone())? - from.clone();
        let at = match entry {
            Some(_) if end.site == Site::of(Part::Text, Point::Input) => {
                Site::block(Part::Text, 0, Point::ResidPre)
            }
            _ => end.site,
        };
        Ok(Self { at, spec: spec.clone(), dims: value.dims(), baseline, from, difference })
    }

    /// The site's value at every node, one copy after the other.
    fn stand(&self, chunk: &[Node]) -> Result<AnyTensor, HookError> {
        let places = chunk
            .iter()
            .map(|n| self.from.clone() + self.difference.clone().mul_scalar(n.at as f32))
            .collect();
        unfolded(Tensor::cat(places, 0), &self.dims_of(chunk.len()))
    }

    /// Of the gradients of a pass those of some nodes, which begin at a row, as they weigh.
    fn gathered(&self, grad: &AnyTensor, nodes: &[Node], from: usize) -> Result<Tensor<2>, HookError> {
        let (rows, width) = (nodes.len(), self.dims.iter().product());
        let all = grad.dims().iter().product::<usize>() / width;
        let grad: Tensor<2> = reshaped(grad.clone(), [all, width])?;
        let grad = if rows == all { grad } else { grad.narrow(0, from, rows) };
        let weights: Vec<f32> = nodes.iter().map(|n| n.weight as f32).collect();
        let weights = Tensor::<2>::from_data(TensorData::new(weights, [rows, 1]), &grad.device());
        Ok((grad * weights).sum_dim(0))
    }

    /// The contributions that a sum of gradients comes to.
    fn contributed(&self, sum: Tensor<2>) -> Result<Vec<f32>, HookError> {
        let sum = sum.reshape(self.difference.dims());
        AnyTensor::new(sum * self.difference.clone()).to_values()
    }

    fn finish(self, sum: Tensor<2>) -> Result<Along, HookError> {
        let values = self.contributed(sum)?;
        Ok(Along { spec: self.spec, dims: self.dims, values })
    }

    fn dims_of(&self, rows: usize) -> Vec<usize> {
        let mut dims = self.dims.clone();
        if let Some(first) = dims.first_mut() {
            *first *= rows;
        }
        dims
    }
}

/// The first block of the language model with a site of the path or of the objective, if no site of them lies before it.
///
/// `text.input` counts as the `resid_pre` of block 0: what enters block 0 is what both are, unless an edit stands between them.
fn entry(subject: &dyn Subject, ends: &[End], objective: &Objective) -> Option<usize> {
    let apart = subject.edited().contains(&Site::block(Part::Text, 0, Point::ResidPre));
    let block = |site: Site| match (site.part(), site.point(), site.block_index()) {
        (Part::Text, Point::Input, _) => (!apart).then_some(0),
        (Part::Text, _, block) => block,
        _ => None,
    };
    let blocks: Option<Vec<usize>> = ends.iter().map(|end| block(end.site)).collect();
    let first = blocks?.into_iter().min()?;
    // What is looked at behind the blocks comes in any case; of what comes before, nothing is left to be looked at.
    let before =
        |site: &Site| site.part() < Part::Text || site.before_blocks() || site.block_index() < Some(first);
    let behind =
        |site: &Site| site.part() == Part::Text && site.block_index().is_none() && !site.before_blocks();
    if objective.sites().iter().any(|site| before(site) && !behind(site)) {
        return None;
    }
    let site = Site::block(Part::Text, first, Point::ResidPre);
    subject.sites().iter().any(|s| s.site == site).then_some(first)
}
