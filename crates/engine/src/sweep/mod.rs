//! Thousands of passes that differ in one edit each, at the price of a few.
//!
//! A [`Sweep`] lists variants of one case: for each, what is changed and where ([`Edit`]). Its planner
//!
//! - runs the case once unedited, keeping the state at every block boundary where some variant departs;
//! - resumes every variant at the block of its earliest edit, so that neither the tower nor the blocks before are
//!   computed again; only a change of token vectors (`text.embed`) sees the pictures once in every pass;
//! - of a subject that [goes on](Subject::goes_on), computes no position before the first that a variant changes: keys and
//!   values of those are the unedited pass's;
//! - packs variants that depart at the same block along the batch axis, as many as a memory budget holds ([`On::within`](mmlens_core::On::within));
//! - hands such packs to several devices, if there are ([`Sweep::run_over`]).
//!
//! What comes back is the [`Metric`] of every variant and of the unedited case, labelled by the axes swept.

mod data;
mod edit;
mod entry;
mod metric;
mod spread;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;

use mmlens_core::finding::{Axis, Labelled, TableError};
use mmlens_core::{
    AnalysisError, Copies, HookError, Inputs, Memory, Output, Part, Place, Plan, Point, Selector, Site,
    State, Subject, SubjectError, Trace, caught,
};

pub use data::{DataError, DataSwept, sweep_data};
pub use edit::{Edit, Reference};
pub use metric::{Metric, OutputFn};

use entry::{Entry, Start, base_plan, of_copy, row_axis};

use crate::Progress;

/// Variants of one case and what is measured of each.
#[derive(Debug, Clone)]
pub struct Sweep {
    axes: Vec<Axis>,
    variants: Vec<Vec<Edit>>,
    metrics: Vec<Metric>,
}

impl Sweep {
    /// One variant for every point of a grid, in row-major order; `edits` is given the point.
    ///
    /// ```
    /// use mmlens_core::finding::{Axis, Role};
    /// use mmlens_core::{Objective, Part, Point, Site};
    /// use mmlens_engine::{Edit, Metric, Sweep};
    /// let axes = vec![Axis::count(Role::Layer, 12), Axis::count(Role::Head, 8)];
    /// let every_head = Sweep::over(axes, |at| {
    ///     vec![Edit::zero(Site::block(Part::Text, at[0], Point::Z)).heads([at[1]])]
    /// });
    /// assert_eq!(every_head.len(), 96);
    /// ```
    pub fn over(axes: Vec<Axis>, mut edits: impl FnMut(&[usize]) -> Vec<Edit>) -> Self {
        let lens: Vec<usize> = axes.iter().map(Axis::len).collect();
        let point = |mut rest: usize| {
            let mut point = vec![0; lens.len()];
            for (slot, len) in point.iter_mut().zip(&lens).rev() {
                *slot = rest % len.max(&1);
                rest /= len.max(&1);
            }
            point
        };
        let variants = (0..lens.iter().product()).map(|i| edits(&point(i))).collect();
        Self { axes, variants, metrics: Vec::new() }
    }

    /// Also measures this.
    #[must_use]
    pub fn measure(mut self, metric: impl Into<Metric>) -> Self {
        self.metrics.push(metric.into());
        self
    }

    /// Number of variants.
    pub fn len(&self) -> usize {
        self.variants.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.variants.is_empty()
    }

    /// The axes swept.
    pub fn axes(&self) -> &[Axis] {
        &self.axes
    }

    /// Variants listed in row-major order of the axes.
    ///
    /// # Errors
    /// [`HookError::Values`] if they are not as many as the axes have points.
    pub fn of(axes: Vec<Axis>, variants: Vec<Vec<Edit>>) -> Result<Self, HookError> {
        let dims: Vec<usize> = axes.iter().map(Axis::len).collect();
        if dims.iter().product::<usize>() != variants.len() {
            return Err(HookError::Values { dims, given: variants.len() });
        }
        Ok(Self { axes, variants, metrics: Vec::new() })
    }

    /// Runs every variant of one case: a single row of input.
    ///
    /// # Errors
    /// [`SubjectError::Batch`] for inputs of several rows, [`HookError::NoObjective`] if nothing is measured,
    /// [`HookError::NotFinite`] for a measure that is no number (but for [`Metric::Output`]), whatever a pass reports, and [`AnalysisError::Cancelled`].
    pub fn run(
        &self,
        subject: &dyn Subject,
        inputs: &Inputs,
        memory: &Memory,
        progress: &mut Progress<'_>,
    ) -> Result<Swept, AnalysisError> {
        let order = Order::new(self, subject, inputs, memory, progress.method())?;
        let mut found = Found::none(self);
        for stage in &order.stages {
            let prepared = Prepared::new(&order, subject, inputs, stage)?;
            found.begin(&prepared);
            for task in prepared.tasks()? {
                found.enter(&task, prepared.measure(&task)?);
                progress.advance(task.variants.len())?;
            }
        }
        Ok(found.of(self))
    }

    /// Variants by where they depart from the unedited pass.
    fn groups(&self, subject: &dyn Subject) -> Result<BTreeMap<Entry, Vec<usize>>, HookError> {
        let mut groups: BTreeMap<Entry, Vec<usize>> = BTreeMap::new();
        for (variant, edits) in self.variants.iter().enumerate() {
            let mut touched = BTreeSet::new();
            let mut packs = edits.iter().all(Edit::by_row);
            for edit in edits {
                for site in edit.places().resolve(subject.name(), subject.sites())? {
                    touched.insert(site);
                    packs &= subject.sites().iter().any(|spec| spec.site == site && row_axis(spec).is_some());
                }
            }
            let entry =
                if packs { Entry::of(&touched, subject.sites(), subject.edited()) } else { Entry::Alone };
            groups.entry(entry).or_default().push(variant);
        }
        Ok(groups)
    }
}

/// A sweep in the order in which it is run.
struct Order<'a> {
    sweep: &'a Sweep,
    memory: &'a Memory,
    method: &'static str,
    groups: BTreeMap<Entry, Vec<usize>>,
    /// For each variant the first position that it changes.
    firsts: Vec<usize>,
    /// At least one.
    stages: Vec<Stage>,
}

/// Groups of variants whose states are held at once, after one unedited pass.
#[derive(Debug, Default)]
struct Stage {
    entries: Vec<Entry>,
    /// The block from which on keys and values are held, for variants that change late positions.
    known: Option<usize>,
}

impl Stage {
    fn plan(&self, subject: &dyn Subject, metrics: &[Metric]) -> Result<Plan, HookError> {
        let mut plan = metric::wanting(base_plan(self.entries.iter())?, metrics);
        if let Some(first) = self.known {
            for (key, value) in read_by_attention(subject, first) {
                plan = plan.read(key)?.read(value)?;
            }
        }
        Ok(plan)
    }
}

impl<'a> Order<'a> {
    fn new(
        sweep: &'a Sweep,
        subject: &dyn Subject,
        inputs: &Inputs,
        memory: &'a Memory,
        method: &'static str,
    ) -> Result<Self, AnalysisError> {
        if inputs.rows() != 1 {
            let reason = format!("a sweep takes one case at a time, not {} rows", inputs.rows());
            return Err(SubjectError::Batch { reason }.into());
        }
        if sweep.metrics.is_empty() {
            return Err(HookError::NoObjective.into());
        }
        let (groups, firsts) = (sweep.groups(subject)?, firsts(sweep, subject, inputs));
        let mut order = Self { sweep, memory, method, groups, firsts, stages: Vec::new() };
        let mut stage = Stage::default();
        for entry in order.groups.keys() {
            let mut more = Stage { entries: [stage.entries.as_slice(), &[*entry]].concat(), known: None };
            more.known = order.late(&more.entries);
            if stage.entries.is_empty() || order.held(subject, inputs, &more)? {
                stage = more;
                continue;
            }
            order.stages.push(std::mem::replace(
                &mut stage,
                Stage { entries: vec![*entry], known: order.late(&[*entry]) },
            ));
        }
        order.stages.push(stage);
        for at in 0..order.stages.len() {
            let Some(stage) = order.stages.get(at) else { continue };
            // Without keys and values all positions are computed for every variant.
            if stage.known.is_some() && !order.held(subject, inputs, stage)? {
                let bare = Stage { entries: stage.entries.clone(), known: None };
                order.stages.splice(at..=at, [bare]);
            }
        }
        Ok(order)
    }

    /// Whether what a stage holds takes no more than half of the budget, so that variants have the other half.
    fn held(&self, subject: &dyn Subject, inputs: &Inputs, stage: &Stage) -> Result<bool, HookError> {
        let plan = stage.plan(subject, &self.sweep.metrics)?;
        let with = subject.need(inputs, &plan, Copies::ONE)?;
        let bare = metric::wanting(Plan::new(), &self.sweep.metrics);
        let without = subject.need(inputs, &bare, Copies::ONE)?;
        Ok(with.bytes.saturating_sub(without.bytes) <= self.memory.left() / 2)
    }

    /// The first block at which a variant departs that changes late positions alone.
    fn late(&self, entries: &[Entry]) -> Option<usize> {
        let late = |entry: &Entry| match entry {
            Entry::Block(Part::Text, block) => {
                let mut members = self.groups.get(entry).into_iter().flatten();
                members.any(|variant| self.first(*variant) > 0).then_some(*block)
            }
            _ => None,
        };
        entries.iter().filter_map(late).min()
    }

    fn first(&self, variant: usize) -> usize {
        self.firsts.get(variant).copied().unwrap_or(0)
    }
}

/// A stage about to run on one subject: the case has passed unedited, and its states are kept.
struct Prepared<'a> {
    order: &'a Order<'a>,
    sweep: &'a Sweep,
    subject: &'a dyn Subject,
    inputs: &'a Inputs,
    stage: &'a Stage,
    base: Trace,
    /// For each metric.
    unedited: Vec<f32>,
}

/// Variants that share a pass.
struct Task {
    entry: Entry,
    /// The first position that one of them changes.
    from: usize,
    variants: Vec<usize>,
}

impl<'a> Prepared<'a> {
    fn new(
        order: &'a Order<'a>,
        subject: &'a dyn Subject,
        inputs: &'a Inputs,
        stage: &'a Stage,
    ) -> Result<Self, AnalysisError> {
        let sweep = order.sweep;
        let plan = stage.plan(subject, &sweep.metrics)?;
        order.memory.hold(order.method, 0, subject.need(inputs, &plan, Copies::ONE)?)?;
        let base = subject.run(inputs, plan)?;
        let unedited = measured(sweep, subject, base.output(), base.output(), 1)?.concat();
        Ok(Self { order, sweep, subject, inputs, stage, base, unedited })
    }

    /// How many variants of a group share a pass.
    fn rows(&self, entry: Entry, members: &[usize]) -> Result<NonZeroUsize, AnalysisError> {
        // The states the groups resume from stay for as long as the stage runs.
        let kept = crate::held(&self.base);
        let start = Start::new(entry, self.inputs, &self.base)?;
        let (_, plan) = start.copies(1)?;
        let mut plan = metric::wanting(plan, &self.sweep.metrics);
        let edits = members.iter().filter_map(|variant| self.sweep.variants.get(*variant)).flatten();
        // Every place that one of them touches.
        let places: BTreeMap<&Selector, &Edit> = edits.map(|edit| (edit.places(), edit)).collect();
        for edit in places.into_values() {
            plan = edit.planned(plan, self.subject.sites(), entry, (1, 0), self.inputs, 0)?;
        }
        let need =
            |times| self.subject.need(self.inputs, &plan, Copies { times, pictures: start.own_pictures });
        let memory = match entry {
            Entry::Alone => self.order.memory.at_most(NonZeroUsize::MIN),
            _ => *self.order.memory,
        };
        memory.rows(self.order.method, kept, need)
    }

    fn tasks(&self) -> Result<Vec<Task>, AnalysisError> {
        let mut tasks = Vec::new();
        for entry in &self.stage.entries {
            let members = self.order.groups.get(entry).map_or(&[][..], Vec::as_slice);
            let rows = self.rows(*entry, members)?;
            let first = |variant: &usize| match entry {
                Entry::Block(Part::Text, _) if self.stage.known.is_some() => self.order.first(*variant),
                _ => 0,
            };
            // Those that change late positions first; a pack computes what the earliest of it needs.
            let mut members = members.to_vec();
            members.sort_by_key(|variant| std::cmp::Reverse(first(variant)));
            let near = self.inputs.positions().div_ceil(8);
            let mut own: Vec<Task> = Vec::new();
            for variant in members {
                let from = first(&variant);
                match own.last_mut() {
                    Some(task)
                        if task.variants.len() < rows.get()
                            && task.variants.first().map_or(0, first).saturating_sub(from) <= near =>
                    {
                        task.from = from;
                        task.variants.push(variant);
                    }
                    _ => own.push(Task { entry: *entry, from, variants: vec![variant] }),
                }
            }
            tasks.extend(own);
        }
        Ok(tasks)
    }

    /// For each metric its value for every variant of a task: one pass.
    fn measure(&self, task: &Task) -> Result<Vec<Vec<f32>>, AnalysisError> {
        let behind = |error: &AnalysisError| {
            matches!(error, AnalysisError::Subject(SubjectError::Hook(HookError::ResumesBehind { .. })))
        };
        match self.pass(task, task.entry) {
            // A tower of which several depths are read does not resume behind the first of them. It says so before its
            // first block, so that asking costs an embedding; the pass then begins with the pictures.
            Err(error) if behind(&error) => self.pass(task, Entry::Pictures),
            measured => measured,
        }
    }

    /// Copies of the case at a block, of the positions from one on.
    fn behind(&self, block: usize, from: usize, times: usize) -> Result<(Inputs, Plan), HookError> {
        let State { site, hidden } = self.base.state(Part::Text, block)?;
        let length = self.inputs.positions().saturating_sub(from);
        let state = State { site, hidden: hidden.part(1, from, length)?.repeat_rows(times)? };
        let known = |site| self.base.get(site)?.part(1, 0, from);
        let past = read_by_attention(self.subject, block).map(|(k, v)| Ok((known(k)?, known(v)?)));
        let past: Result<Vec<_>, HookError> = past.collect();
        Ok((self.inputs.repeat(times), Plan::new().resume_behind(state, past?)))
    }

    fn pass(&self, task: &Task, entry: Entry) -> Result<Vec<Vec<f32>>, AnalysisError> {
        let some = &task.variants;
        let (packed, mut plan) = match (entry, task.from) {
            (Entry::Block(Part::Text, block), from @ 1..) => self.behind(block, from, some.len())?,
            _ => Start::new(entry, self.inputs, &self.base)?.copies(some.len())?,
        };
        for (copy, variant) in some.iter().enumerate() {
            for edit in self.sweep.variants.get(*variant).into_iter().flatten() {
                plan = edit.planned(
                    plan,
                    self.subject.sites(),
                    entry,
                    (some.len(), copy),
                    self.inputs,
                    task.from,
                )?;
            }
        }
        let trace = self.subject.run(&packed, metric::wanting(plan, &self.sweep.metrics))?;
        measured(self.sweep, self.subject, trace.output(), self.base.output(), some.len())
    }
}

/// For each metric its value for every row. Functions of users may panic.
fn measured(
    sweep: &Sweep,
    subject: &dyn Subject,
    output: &Output,
    base: &Output,
    rows: usize,
) -> Result<Vec<Vec<f32>>, AnalysisError> {
    let measured = caught(|| metric::rows(&sweep.metrics, output, base, rows));
    Ok(measured.map_err(|panic| SubjectError::broken(subject, Place::Metric, panic.message))??)
}

/// For each metric the values of all variants, as they come in, NaN until then; and that without edits.
struct Found {
    values: Vec<Vec<f32>>,
    unedited: Vec<f32>,
}

impl Found {
    fn none(sweep: &Sweep) -> Self {
        Self { values: vec![vec![f32::NAN; sweep.len()]; sweep.metrics.len()], unedited: Vec::new() }
    }

    /// What the unedited pass of a stage gave; all stages give the same.
    fn begin(&mut self, prepared: &Prepared<'_>) {
        if self.unedited.is_empty() {
            self.unedited.clone_from(&prepared.unedited);
        }
    }

    fn enter(&mut self, task: &Task, measured: Vec<Vec<f32>>) {
        for (values, measured) in self.values.iter_mut().zip(measured) {
            for (variant, value) in task.variants.iter().zip(measured) {
                if let Some(slot) = values.get_mut(*variant) {
                    *slot = value;
                }
            }
        }
    }

    fn of(self, sweep: &Sweep) -> Swept {
        let metrics = sweep.metrics.iter().zip(self.unedited).zip(self.values);
        let measured =
            metrics.map(|((metric, unedited), values)| Measured { metric: metric.clone(), unedited, values });
        Swept { axes: sweep.axes.clone(), measured: measured.collect() }
    }
}

/// For each variant the first position that it changes, no later than what is measured; 0 where all must be computed.
fn firsts(sweep: &Sweep, subject: &dyn Subject, inputs: &Inputs) -> Vec<usize> {
    let padded = inputs.pads.iter().chain(&inputs.tails).any(|n| *n > 0);
    let latest = metric::latest(&sweep.metrics, inputs);
    let (true, false, Some(latest)) = (subject.goes_on(), padded, latest) else {
        return vec![0; sweep.len()];
    };
    let first = |edits: &Vec<Edit>| {
        let touched = |edit: &Edit| {
            let own = subject.sites().iter().filter(|spec| edit.places().matches(&spec.site));
            own.map(|spec| edit.first(spec)).min().unwrap_or(0)
        };
        edits.iter().map(touched).min().unwrap_or(0).min(latest)
    };
    sweep.variants.iter().map(first).collect()
}

/// The keys and values that attention reads in the decoder's blocks from one on.
fn read_by_attention(subject: &dyn Subject, first: usize) -> impl Iterator<Item = (Site, Site)> {
    let blocks = subject.anatomy().iter().find(|a| a.part == Part::Text).map_or(0, |a| a.blocks);
    (first..blocks).map(move |block| {
        let at = |point| Site::block(Part::Text, block, point);
        let turned = subject.sites().iter().any(|spec| spec.site == at(Point::KRot));
        (at(if turned { Point::KRot } else { Point::K }), at(Point::V))
    })
}

/// What a sweep measured.
#[derive(Debug, Clone)]
pub struct Swept {
    /// The axes swept.
    pub axes: Vec<Axis>,
    /// One for each metric, in the order asked.
    pub measured: Vec<Measured>,
}

/// One metric of every variant.
#[derive(Debug, Clone)]
pub struct Measured {
    /// What was measured.
    pub metric: Metric,
    /// Without any edit.
    pub unedited: f32,
    /// For every variant, in row-major order of the axes.
    pub values: Vec<f32>,
}

impl Swept {
    /// For each metric a table of its values over the axes swept, and the value without edits (`name/unedited`).
    ///
    /// # Errors
    /// [`TableError`] if the values do not fill the axes.
    pub fn tables(&self) -> Result<Vec<Labelled>, TableError> {
        let mut tables = Vec::new();
        for Measured { metric, unedited, values } in &self.measured {
            let (name, unit) = (metric.name(), metric.unit());
            tables.push(Labelled::numbers(name.clone(), unit, self.axes.clone(), values.clone())?);
            tables.push(Labelled::scalar(format!("{name}/unedited"), unit, *unedited));
        }
        Ok(tables)
    }
}
