//! Two prompts of equal length, a clean and a corrupted one, and gradients at one of them or on the way between.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;

use burn::tensor::{Tensor, TensorData};
use mmlens_core::{
    AnalysisError, AnyTensor, Copies, HookError, Inputs, Memory, Objective, Part, Plan, Point, Site, State,
    Subject, Trace,
};

use crate::{Node, Progress, Stacked, batches, folded, held, numbers, of_range, reshaped, unfolded};

/// Where between a corrupted and a clean prompt gradients are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Between {
    /// At the corrupted one.
    #[default]
    Corrupted,
    /// At the clean one.
    Clean,
    /// Their mean over places on the straight line from the corrupted to the clean prompt, in what the language model (or
    /// another part that is looked at) is fed with: `k / steps` for `k` from 0 to `steps - 1`. The corrupted prompt is one of them, the clean one is not
    /// (Hanna et al. 2024).
    Path {
        /// How many places.
        steps: NonZeroUsize,
    },
}

impl Between {
    /// The places, 0 being the corrupted prompt, with their weights.
    pub fn nodes(self) -> Vec<Node> {
        match self {
            Self::Corrupted => vec![Node { at: 0.0, weight: 1.0 }],
            Self::Clean => vec![Node { at: 1.0, weight: 1.0 }],
            Self::Path { steps } => {
                let steps = steps.get();
                (0..steps).map(|k| Node { at: k as f64 / steps as f64, weight: 1.0 / steps as f64 }).collect()
            }
        }
    }
}

impl fmt::Display for Between {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Corrupted => f.write_str("at the corrupted sample"),
            Self::Clean => f.write_str("at the clean sample"),
            Self::Path { steps } => write!(f, "over {steps} places from the corrupted to the clean sample"),
        }
    }
}

/// What both prompts are, and where they are looked at.
#[derive(Debug, Clone, Copy)]
pub struct Prompts<'a> {
    /// The part whose sites are read and differentiated.
    pub part: Part,
    /// The prompt whose answer is explained.
    pub clean: &'a Inputs,
    /// The one that leads to another answer, of as many positions.
    pub corrupted: &'a Inputs,
}

/// Both prompts, run.
pub struct Contrast<'a> {
    /// The clean run.
    pub clean: Trace,
    /// The corrupted run.
    pub corrupted: Trace,
    subject: &'a dyn Subject,
    prompts: Prompts<'a>,
    objective: Objective,
    between: Between,
}

impl fmt::Debug for Contrast<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a contrast of {} positions, gradients {}", self.prompts.clean.positions(), self.between)
    }
}

/// What a part of a subject is fed with: what enters its first block, and what is added between later ones.
pub fn feeds(subject: &dyn Subject, part: Part) -> Vec<Site> {
    let first = Site::block(part, 0, Point::ResidPre);
    // Of a connector these are what it makes for the language model.
    let added = |site: &Site| site.part() == part && site.point() == Point::Deepstack;
    let fed = |site: &Site| *site == first || (part == Part::Text && added(site));
    subject.sites().iter().map(|spec| spec.site).filter(fed).collect()
}

impl<'a> Contrast<'a> {
    /// Runs both, reading what feeds the part and `read`. Where gradients are wanted at one of the prompts, they
    /// are taken at `grad` in the same pass.
    ///
    /// # Errors
    /// Whatever a pass reports, [`AnalysisError::Memory`], [`AnalysisError::Cancelled`].
    ///
    /// # Cost
    /// Two forward passes and at most one backward; two steps of `progress`.
    pub fn run(
        subject: &'a dyn Subject,
        prompts: Prompts<'a>,
        objective: &Objective,
        (read, grad): (&[Site], &[Site]),
        between: Between,
        memory: &Memory,
        progress: &mut Progress<'_>,
    ) -> Result<Self, AnalysisError> {
        let mut reading = Plan::new().objective(objective);
        for site in feeds(subject, prompts.part).iter().chain(read) {
            reading = reading.read(*site)?;
        }
        let mut one = |inputs: &Inputs, here: bool, kept: u64| -> Result<Trace, AnalysisError> {
            let mut plan = reading.clone();
            for site in grad.iter().filter(|_| here) {
                plan = plan.grad(*site)?;
            }
            memory.hold(progress.method(), kept, subject.need(inputs, &plan, Copies::ONE)?)?;
            let trace = subject.run(inputs, plan)?;
            progress.advance(1)?;
            Ok(trace)
        };
        let clean = one(prompts.clean, between == Between::Clean, 0)?;
        let corrupted = one(prompts.corrupted, between == Between::Corrupted, held(&clean))?;
        Ok(Self { clean, corrupted, subject, prompts, objective: objective.clone(), between })
    }

    /// The gradient of the objective at some sites of the part, as long as a site is for one prompt: at one of both, or the mean on the
    /// way. What else the pass is over, as the words beside a tower, is that of the corrupted prompt (of the clean one with [`Between::Clean`]). What was taken when both were run is not taken again.
    ///
    /// # Errors
    /// [`HookError::NoGradient`], whatever else a pass reports, [`AnalysisError::Memory`] where not even one place fits, and
    /// [`AnalysisError::Cancelled`].
    ///
    /// # Cost
    /// A forward and a backward pass from the part on for every place, as many of them side by side as `memory` allows,
    /// each a step of `progress`; none for what is there.
    pub fn gradients(
        &self,
        sites: &[Site],
        memory: &Memory,
        progress: &mut Progress<'_>,
    ) -> Result<BTreeMap<Site, AnyTensor>, AnalysisError> {
        let taken = match self.between {
            Between::Corrupted => Some(&self.corrupted),
            Between::Clean => Some(&self.clean),
            Between::Path { .. } => None,
        };
        if let Some(trace) = taken
            && sites.iter().all(|site| trace.grad(*site).is_ok())
        {
            return Ok(sites
                .iter()
                .map(|site| Ok((*site, trace.grad(*site)?.clone())))
                .collect::<Result<_, HookError>>()?);
        }
        let lines: Vec<Line> = feeds(self.subject, self.prompts.part)
            .into_iter()
            .map(|site| Line::new(site, self.clean.get(site)?, self.corrupted.get(site)?))
            .collect::<Result<_, HookError>>()?;
        let fed = if self.between == Between::Clean { self.prompts.clean } else { self.prompts.corrupted };
        let nodes = self.between.nodes();
        let stacked = Stacked::of(fed, self.prompts.part);
        let rows = {
            let ends: usize = lines.iter().map(|line| line.dims.iter().product::<usize>()).sum();
            let plan = self.planned(&lines, sites, nodes.get(..1).unwrap_or(&[]))?;
            // Beside both runs, where lines begin and how far they go; the sums so far.
            let sums: usize = numbers(self.subject, fed, sites)?;
            let kept = held(&self.clean) + held(&self.corrupted) + 4 * (2 * ends + sums) as u64;
            stacked.within(*memory).rows(progress.method(), kept, |times| {
                let need = self.subject.need(fed, &plan, stacked.copies(times))?;
                // Where every place stands, one by one; its gradient, weighted.
                Ok(need.and(2 * times * ends + times * sums))
            })?
        };
        let mut sums: BTreeMap<Site, (Vec<usize>, Tensor<2>)> = BTreeMap::new();
        for range in batches(nodes.len(), rows) {
            let chunk = of_range(&nodes, range)?;
            let plan = self.planned(&lines, sites, chunk)?;
            let trace = self.subject.run(&stacked.inputs(fed, chunk.len())?, plan)?;
            for site in sites {
                let grad = trace.grad(*site)?;
                let part = weighted(grad.clone(), chunk)?;
                let sum = match sums.remove(site) {
                    Some((dims, sum)) => (dims, sum + part),
                    None => (of_one(grad.dims(), chunk.len()), part),
                };
                sums.insert(*site, sum);
            }
            progress.advance(chunk.len())?;
        }
        let whole = sums.into_iter().map(|(site, (dims, sum))| Ok((site, unfolded(sum, &dims)?)));
        Ok(whole.collect::<Result<_, HookError>>()?)
    }

    /// A pass at some places, for gradients at some sites.
    fn planned(&self, lines: &[Line], sites: &[Site], chunk: &[Node]) -> Result<Plan, HookError> {
        let mut plan = Plan::new().objective(&self.objective);
        for line in lines {
            let hidden = line.stand(chunk)?;
            plan = match line.site.point() {
                Point::ResidPre => plan.resume(State { site: line.site, hidden }),
                _ => plan.set(line.site, hidden)?,
            };
        }
        for site in sites {
            plan = plan.grad(*site)?;
        }
        Ok(plan)
    }
}

/// What a site holds on the way from one prompt to the other.
struct Line {
    site: Site,
    dims: Vec<usize>,
    from: Tensor<2>,
    difference: Tensor<2>,
}

impl Line {
    fn new(site: Site, clean: &AnyTensor, corrupted: &AnyTensor) -> Result<Self, HookError> {
        let (dims, given) = (corrupted.dims(), clean.dims());
        if dims != given {
            return Err(HookError::Operand { site, holds: dims, given, verb: "compared" });
        }
        let from = folded(corrupted.clone())?;
        let difference = folded(clean.clone())? - from.clone();
        Ok(Self { site, dims, from, difference })
    }

    fn stand(&self, chunk: &[Node]) -> Result<AnyTensor, HookError> {
        let place = |node: &Node| self.from.clone() + self.difference.clone().mul_scalar(node.at as f32);
        let mut dims = self.dims.clone();
        if let Some(first) = dims.first_mut() {
            *first *= chunk.len();
        }
        unfolded(Tensor::cat(chunk.iter().map(place).collect(), 0), &dims)
    }
}

/// The lengths of one of so many copies.
fn of_one(mut dims: Vec<usize>, copies: usize) -> Vec<usize> {
    if let Some(first) = dims.first_mut() {
        *first /= copies.max(1);
    }
    dims
}

/// The copies of a gradient, weighted and summed.
fn weighted(grad: AnyTensor, chunk: &[Node]) -> Result<Tensor<2>, HookError> {
    let width = grad.dims().iter().product::<usize>() / chunk.len().max(1);
    let grad: Tensor<2> = reshaped(grad, [chunk.len(), width])?;
    let weights: Vec<f32> = chunk.iter().map(|node| node.weight as f32).collect();
    let weights = Tensor::<2>::from_data(TensorData::new(weights, [chunk.len(), 1]), &grad.device());
    Ok((grad * weights).sum_dim(0))
}
