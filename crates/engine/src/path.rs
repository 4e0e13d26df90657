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

use crate::panels::{self, Found, Refined, Until};
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
        let seen = |end: &&Self| !compares || !matches!(end.site.part(), Part::Encoder | Part::Text);
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
    /// In 32 equal panels of five equal places, both ends among them, weighed by Boole's rule; those are halved that miss most of the
    /// change between their ends, until what all panels miss, without signs, is no more than a share of the change along the path, or the
    /// budget is spent. Gradients at all places are held until their weights are known, in no more than half of the memory; where they are
    /// too large for that, they are made again then.
    Adaptive {
        /// That share.
        gap: f64,
        /// The most places that are looked at, the ends of the path among them.
        budget: NonZeroUsize,
    },
    /// One place alone, with its weight: at the input itself (`at` 1) a straight line stands for the path.
    One(Node),
}

impl Nodes {
    /// The fewest places that panels need.
    pub const LEAST: usize = panels::LEAST;

    /// The most places that are looked at.
    pub const fn most(self) -> usize {
        match self {
            Self::Fixed { steps, .. } => steps.get(),
            Self::Adaptive { budget, .. } => budget.get(),
            Self::One(_) => 1,
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
    /// Every node with its objective.
    pub nodes: Vec<(Node, f32)>,
    /// What the panels of an adaptive path miss of the change between their ends, all without signs.
    pub missed: Option<f64>,
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
        let sizes = moving.iter().map(|m| m.dims.iter().product::<usize>()).sum();
        let (most, held) = (self.nodes.most(), self.holds(sizes));
        let adaptive = matches!(self.nodes, Nodes::Adaptive { .. });
        let rows = stage.rows(if held && adaptive { most } else { 0 }, method, &self.memory)?;
        let mut plan = stage.plan(1)?;
        for m in &moving {
            plan = plan.set(m.at, m.baseline.clone())?;
        }
        let at_baseline = score(&subject.run(inputs, plan)?)?;
        let (nodes, sums, missed) = match self.nodes {
            Nodes::Fixed { rule, .. } => {
                let (nodes, sums) = stage.fixed(&rule.nodes(most), rows, progress)?;
                (nodes, sums, None)
            }
            Nodes::One(node) => {
                let (nodes, sums) = stage.fixed(&[node], rows, progress)?;
                (nodes, sums, None)
            }
            Nodes::Adaptive { gap, .. } => {
                let until = Until { gap, places: most };
                let refined = panels::refine(until, |places| stage.look(places, held, rows, progress))?;
                let Refined { nodes, missed } = refined.ok_or(no_node(most))?;
                let (mut scored, mut sums) = (Vec::with_capacity(nodes.len()), None);
                for (node, found) in nodes {
                    scored.push((node, found.score));
                    if let Some(grads) = found.parts {
                        add(&mut sums, grads.into_iter().map(|grad| grad.mul_scalar(node.weight as f32)));
                    }
                }
                if !held {
                    let nodes: Vec<Node> = scored.iter().map(|(node, _)| *node).collect();
                    sums = stage.fixed(&nodes, rows, progress)?.1;
                }
                (scored, sums, Some(missed))
            }
        };
        let along = moving.into_iter().zip(sums.ok_or(no_node(most))?);
        let along = along.map(|(moving, sum)| moving.finish(sum)).collect::<Result<_, _>>()?;
        // What was not needed of the budget is done, too.
        let times = if held { 1 } else { 2 };
        match times * most.saturating_sub(nodes.len()) {
            0 => {}
            spared => progress.advance(spared)?,
        }
        Ok(Path { along, at_input, at_baseline, nodes, missed })
    }

    /// How many rows of which gradients are taken a walk needs at most, and how many bytes of gradients it holds beside its passes.
    ///
    /// # Errors
    /// [`HookError::NoSuchSite`].
    pub fn cost(&self, subject: &dyn Subject, inputs: &Inputs) -> Result<(usize, u64), HookError> {
        let sites: Vec<Site> = self.ends.iter().map(|end| end.site).collect();
        let (most, sizes) = (self.nodes.most(), numbers(subject, inputs, &sites)?);
        Ok(match (self.nodes, self.holds(sizes)) {
            (Nodes::Fixed { .. } | Nodes::One(_), _) => (most, 0),
            (Nodes::Adaptive { .. }, true) => (most, 4 * (most * sizes) as u64),
            (Nodes::Adaptive { .. }, false) => (2 * most, 0),
        })
    }

    /// Whether gradients of so many numbers are held at every place: in no more than half of the memory.
    fn holds(&self, sizes: usize) -> bool {
        match self.nodes {
            Nodes::Fixed { .. } | Nodes::One(_) => true,
            Nodes::Adaptive { budget, .. } => {
                let bytes = 4_u64.saturating_mul((sizes as u64).saturating_mul(budget.get() as u64));
                bytes <= self.memory.left() / 2
            }
        }
    }
}

/// Adds the weighted gradients of some nodes to those of others, site by site.
fn add(sums: &mut Option<Vec<Tensor<2>>>, more: impl Iterator<Item = Tensor<2>>) {
    *sums = Some(match sums.take() {
        Some(sums) => sums.into_iter().zip(more).map(|(sum, part)| sum + part).collect(),
        None => more.collect(),
    });
}

fn no_node(nodes: usize) -> HookError {
    HookError::Values { dims: vec![nodes], given: 0 }
}

/// Nodes with their objective, and at each site the sum of the gradients as they weigh.
type Weighed = (Vec<(Node, f32)>, Option<Vec<Tensor<2>>>);

/// What all passes of a walk share.
struct Stage<'a> {
    subject: &'a dyn Subject,
    inputs: &'a Inputs,
    state: Option<State>,
    objective: &'a Objective,
    moving: &'a [Moving],
}

impl Stage<'_> {
    /// How many nodes share a pass, beside gradients of so many others.
    fn rows(
        &self,
        held: usize,
        method: &'static str,
        memory: &Memory,
    ) -> Result<NonZeroUsize, AnalysisError> {
        let sizes: usize = self.moving.iter().map(|m| m.dims.iter().product::<usize>()).sum();
        let state = self.state.as_ref().map_or(0, |state| state.hidden.dims().iter().product());
        // Where a site begins, how far it goes, its baseline, and the sum so far.
        let kept = 4 * ((4 + held) * sizes + state) as u64;
        let mut plan = self.plan(1)?;
        for m in self.moving {
            plan = plan.set(m.at, m.baseline.clone())?.grad(m.at)?;
        }
        let entries = own_entries(self.moving);
        memory.rows(method, kept, |times| {
            let need = self.subject.need(self.inputs, &plan, Copies { times, entries })?;
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

    /// The objective at nodes, and the sums of the gradients as they weigh; no sums of no nodes.
    fn fixed(
        &self,
        nodes: &[Node],
        rows: NonZeroUsize,
        progress: &mut Progress<'_>,
    ) -> Result<Weighed, AnalysisError> {
        let (mut scored, mut sums) = (Vec::with_capacity(nodes.len()), None);
        for range in batches(nodes.len(), rows) {
            let chunk = of_range(nodes, range)?;
            let (trace, scores) = self.pass(chunk)?;
            let parts: Vec<Tensor<2>> =
                self.moving.iter().map(|m| m.gathered(trace.grad(m.at)?, chunk)).collect::<Result<_, _>>()?;
            add(&mut sums, parts.into_iter());
            scored.extend(chunk.iter().copied().zip(scores));
            progress.advance(chunk.len())?;
        }
        Ok((scored, sums))
    }

    /// The objective at places, how fast it changes along the path, and its gradients if they are held.
    fn look(
        &self,
        places: &[f64],
        held: bool,
        rows: NonZeroUsize,
        progress: &mut Progress<'_>,
    ) -> Result<Vec<Found<Option<Vec<Tensor<2>>>>>, AnalysisError> {
        let nodes: Vec<Node> = places.iter().map(|at| Node { at: *at, weight: 1.0 }).collect();
        let mut found = Vec::with_capacity(nodes.len());
        for range in batches(nodes.len(), rows) {
            let chunk = of_range(&nodes, range)?;
            let (trace, scores) = self.pass(chunk)?;
            for (row, score) in scores.into_iter().enumerate() {
                let (mut slope, mut parts) = (0.0, Vec::with_capacity(self.moving.len()));
                for m in self.moving {
                    let own = m.row(trace.grad(m.at)?, chunk.len(), row)?;
                    slope += m.contributed(own.clone())?.iter().map(|v| f64::from(*v)).sum::<f64>();
                    parts.extend(held.then_some(own));
                }
                found.push(Found { score, slope, parts: held.then_some(parts) });
            }
            progress.advance(chunk.len())?;
        }
        Ok(found)
    }

    /// One forward and backward pass over a batch of nodes, and the objective at each.
    fn pass(&self, nodes: &[Node]) -> Result<(Trace, Vec<f32>), AnalysisError> {
        let rows = nodes.len();
        let own = own_entries(self.moving);
        let inputs = if own { self.inputs.repeat_entries(rows)? } else { self.inputs.repeat(rows) };
        let mut plan = self.plan(rows)?;
        for m in self.moving {
            plan = plan.set(m.at, m.stand(nodes)?)?.grad(m.at)?;
        }
        let trace = self.subject.run(&inputs, plan)?;
        let scores = trace.scores()?.to_vec();
        if scores.len() != rows {
            return Err(HookError::Values { dims: vec![rows], given: scores.len() }.into());
        }
        Ok((trace, scores))
    }
}

/// Whether every node has pictures and recordings of its own.
fn own_entries(moving: &[Moving]) -> bool {
    moving.iter().any(|m| !matches!(m.at.part(), Part::Encoder | Part::Text))
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

    /// The gradients of a pass, weighted and summed.
    fn gathered(&self, grad: &AnyTensor, nodes: &[Node]) -> Result<Tensor<2>, HookError> {
        let (rows, width) = (nodes.len(), self.dims.iter().product());
        let grad: Tensor<2> = reshaped(grad.clone(), [rows, width])?;
        let weights: Vec<f32> = nodes.iter().map(|n| n.weight as f32).collect();
        let weights = Tensor::<2>::from_data(TensorData::new(weights, [rows, 1]), &grad.device());
        Ok((grad * weights).sum_dim(0))
    }

    /// The gradient of one node of a pass of several.
    fn row(&self, grad: &AnyTensor, rows: usize, row: usize) -> Result<Tensor<2>, HookError> {
        let width = self.dims.iter().product();
        let grad: Tensor<2> = reshaped(grad.clone(), [rows, width])?;
        Ok(grad.narrow(0, row, 1))
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
