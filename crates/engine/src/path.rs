//! The gradient of an objective, integrated along the straight path from baselines to the values of an input.
//!
//! At each site `s` with value `x` and baseline `x'`: `(x - x') * sum_i w_i * d objective / d s`, taken where
//! every site stands at `x' + a_i (x - x')`, all sites at the same `a_i`. The nodes `a_i` and weights `w_i` are
//! those of a quadrature rule.

use serde::{Deserialize, Serialize};
use std::num::NonZeroUsize;

use burn::tensor::{Tensor, TensorData};
use mmlens_core::{
    AnalysisError, AnyTensor, Baseline, Copies, HookError, Inputs, Memory, Objective, Part, Plan, Point,
    Site, SiteSpec, State, Subject, Trace, kind,
};

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

/// A path and how it is cut into nodes.
#[derive(Debug, Clone)]
pub struct PathIntegral {
    /// The sites that move, all together.
    pub ends: Vec<End>,
    /// Where the nodes lie.
    pub rule: Rule,
    /// How many there are.
    pub steps: NonZeroUsize,
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
    sum: Option<Tensor<2>>,
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
        let stage = Stage { subject, inputs, state, objective };
        let rows = stage.rows(&moving, method, &self.memory)?;
        let mut plan = stage.plan(1)?;
        for m in &moving {
            plan = plan.set(m.at, m.baseline.clone())?;
        }
        let bare = subject.run(inputs, plan)?;
        let nodes = self.rule.nodes(self.steps.get());
        let mut scored = Vec::with_capacity(nodes.len());
        for range in batches(nodes.len(), rows) {
            let chunk = of_range(&nodes, range)?;
            let scores = stage.walk(&mut moving, chunk)?;
            scored.extend(chunk.iter().copied().zip(scores));
            progress.advance(chunk.len())?;
        }
        Ok(Path {
            along: moving.into_iter().map(Moving::finish).collect::<Result<_, _>>()?,
            at_input,
            at_baseline: score(&bare)?,
            nodes: scored,
        })
    }
}

/// What all passes of a walk share.
struct Stage<'a> {
    subject: &'a dyn Subject,
    inputs: &'a Inputs,
    state: Option<State>,
    objective: &'a Objective,
}

impl Stage<'_> {
    /// How many nodes share a pass.
    fn rows(
        &self,
        moving: &[Moving],
        method: &'static str,
        memory: &Memory,
    ) -> Result<NonZeroUsize, AnalysisError> {
        let sizes: usize = moving.iter().map(|m| m.dims.iter().product::<usize>()).sum();
        let state = self.state.as_ref().map_or(0, |state| state.hidden.dims().iter().product());
        // Where a site begins, how far it goes, its baseline, and the sum so far.
        let kept = 4 * (4 * sizes + state) as u64;
        let mut plan = self.plan(1)?;
        for m in moving {
            plan = plan.set(m.at, m.baseline.clone())?.grad(m.at)?;
        }
        let pictures = own_pictures(moving);
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

    /// One forward and backward pass over a batch of nodes; adds the weighted gradients, gives the scores.
    fn walk(&self, moving: &mut [Moving], chunk: &[Node]) -> Result<Vec<f32>, AnalysisError> {
        let rows = chunk.len();
        let inputs =
            if own_pictures(moving) { self.inputs.repeat_pictures(rows)? } else { self.inputs.repeat(rows) };
        let mut plan = self.plan(rows)?;
        for m in moving.iter() {
            plan = plan.set(m.at, m.stand(chunk)?)?.grad(m.at)?;
        }
        let trace = self.subject.run(&inputs, plan)?;
        for m in moving.iter_mut() {
            m.gather(trace.grad(m.at)?, chunk)?;
        }
        let scores = trace.scores()?;
        if scores.len() != rows {
            return Err(HookError::Values { dims: vec![rows], given: scores.len() }.into());
        }
        Ok(scores.to_vec())
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
        Ok(Self { at, spec: spec.clone(), dims: value.dims(), baseline, from, difference, sum: None })
    }

    /// The site's value at every node, one copy after the other.
    fn stand(&self, chunk: &[Node]) -> Result<AnyTensor, HookError> {
        let places = chunk
            .iter()
            .map(|n| self.from.clone() + self.difference.clone().mul_scalar(n.at as f32))
            .collect();
        unfolded(Tensor::cat(places, 0), &self.dims_of(chunk.len()))
    }

    fn gather(&mut self, grad: &AnyTensor, chunk: &[Node]) -> Result<(), HookError> {
        let (rows, width) = (chunk.len(), self.dims.iter().product());
        let grad: Tensor<2> = reshaped(grad.clone(), [rows, width])?;
        let weights: Vec<f32> = chunk.iter().map(|n| n.weight as f32).collect();
        let weights = Tensor::<2>::from_data(TensorData::new(weights, [rows, 1]), &grad.device());
        let part = (grad * weights).sum_dim(0);
        self.sum = Some(match self.sum.take() {
            Some(sum) => sum + part,
            None => part,
        });
        Ok(())
    }

    fn finish(self) -> Result<Along, HookError> {
        let sum = self.sum.ok_or(HookError::NoGradient(self.at))?;
        let sum = sum.reshape(self.difference.dims());
        let values = AnyTensor::new(sum * self.difference).to_values()?;
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
