//! The passes of a stage: variants that share one are made when it is due, and dropped behind it.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use mmlens_core::{
    AnalysisError, Copies, HookError, Inputs, Output, Part, Place, Plan, Selector, State, Subject,
    SubjectError, Trace, caught,
};

use super::entry::{Entry, Start};
use super::lazy;
use super::metric::{self, Metric};
use super::order::{Order, Stage, read_by_attention};
use super::{Edit, Measured};

/// A stage about to run on one subject: the case has passed unedited, and its states are kept.
pub(super) struct Prepared<'a> {
    order: &'a Order<'a>,
    subject: &'a dyn Subject,
    inputs: &'a Inputs,
    stage: &'a Stage,
    base: Trace,
    /// For each metric.
    unedited: Vec<f32>,
}

/// Variants that share a pass.
pub(super) struct Task {
    entry: Entry,
    /// The first position that one of them changes.
    from: usize,
    pub(super) variants: Vec<usize>,
}

impl<'a> Prepared<'a> {
    pub(super) fn new(
        order: &'a Order<'a>,
        subject: &'a dyn Subject,
        inputs: &'a Inputs,
        stage: &'a Stage,
    ) -> Result<Self, AnalysisError> {
        let plan = stage.plan(subject, order.metrics)?;
        order.memory.hold(order.method, 0, subject.need(inputs, &plan, Copies::ONE)?)?;
        let base = subject.run(inputs, plan)?;
        let unedited = measured(order.metrics, subject, base.output(), base.output(), 1)?.concat();
        Ok(Self { order, subject, inputs, stage, base, unedited })
    }

    /// How many variants of a group share a pass.
    fn rows(&self, entry: Entry, members: &[usize]) -> Result<NonZeroUsize, AnalysisError> {
        // The states the groups resume from stay for as long as the stage runs.
        let kept = crate::held(&self.base);
        let start = Start::new(entry, self.inputs, &self.base)?;
        let (_, plan) = start.copies(1)?;
        let mut plan = metric::measuring(plan, self.order.metrics)?;
        // Every place that one of them touches.
        let mut places: BTreeMap<Selector, Edit> = BTreeMap::new();
        for edit in members.iter().flat_map(|variant| self.order.variants.edits(*variant)) {
            places.insert(edit.places().clone(), edit);
        }
        for edit in places.into_values() {
            plan = edit.planned(plan, self.subject.sites(), entry, (1, 0), self.inputs, 0)?;
        }
        // What towers are given is made beside the pass: what there was, what is put in, and which is.
        let given = |tower: Part| self.inputs.entries(tower).and_then(|own| own.values.as_ref());
        let sizes = self.inputs.towers().filter_map(given).map(|x| x.dims().iter().product::<usize>());
        let made = if entry == Entry::Shown { 3 * sizes.sum::<usize>() } else { 0 };
        let need = |times| {
            let copies = Copies { times, entries: start.own_entries };
            Ok(self.subject.need(self.inputs, &plan, copies)?.and(times * made))
        };
        let memory = match entry {
            Entry::Alone => self.order.memory.at_most(NonZeroUsize::MIN),
            _ => *self.order.memory,
        };
        memory.rows(self.order.method, kept, need)
    }

    pub(super) fn tasks(&self) -> Result<Vec<Task>, AnalysisError> {
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
    pub(super) fn measure(&self, task: &Task) -> Result<Vec<Vec<f32>>, AnalysisError> {
        let behind = |error: &AnalysisError| {
            matches!(error, AnalysisError::Subject(SubjectError::Hook(HookError::ResumesBehind { .. })))
        };
        match self.pass(task, task.entry) {
            // A tower of which several depths are read does not resume behind the first of them. It says so before its
            // first block, so that asking costs an embedding; the pass then begins with the pictures.
            Err(error) if behind(&error) => self.pass(task, Entry::Entries),
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
            (Entry::Shown, _) => {
                let shown: Result<Vec<_>, _> = some.iter().map(|v| self.order.variants.shown(*v)).collect();
                (lazy::showing(self.inputs, &shown?)?, Plan::new())
            }
            _ => Start::new(entry, self.inputs, &self.base)?.copies(some.len())?,
        };
        for (copy, variant) in some.iter().enumerate() {
            for edit in self.order.variants.edits(*variant) {
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
        let trace = self.subject.run(&packed, metric::measuring(plan, self.order.metrics)?)?;
        measured(self.order.metrics, self.subject, trace.output(), self.base.output(), some.len())
    }
}

/// For each metric its value for every row. Functions of users may panic.
fn measured(
    metrics: &[Metric],
    subject: &dyn Subject,
    output: &Output,
    base: &Output,
    rows: usize,
) -> Result<Vec<Vec<f32>>, AnalysisError> {
    let measured = caught(|| metric::rows(metrics, output, base, rows));
    Ok(measured.map_err(|panic| SubjectError::broken(subject, Place::Metric, panic.message))??)
}

/// For each metric the values of all variants, as they come in, NaN until then; and that without edits.
pub(super) struct Found {
    values: Vec<Vec<f32>>,
    unedited: Vec<f32>,
}

impl Found {
    pub(super) fn none(metrics: &[Metric], variants: usize) -> Self {
        Self { values: vec![vec![f32::NAN; variants]; metrics.len()], unedited: Vec::new() }
    }

    /// What the unedited pass of a stage gave; all stages give the same.
    pub(super) fn begin(&mut self, prepared: &Prepared<'_>) {
        if self.unedited.is_empty() {
            self.unedited.clone_from(&prepared.unedited);
        }
    }

    pub(super) fn enter(&mut self, task: &Task, measured: Vec<Vec<f32>>) {
        for (values, measured) in self.values.iter_mut().zip(measured) {
            for (variant, value) in task.variants.iter().zip(measured) {
                if let Some(slot) = values.get_mut(*variant) {
                    *slot = value;
                }
            }
        }
    }

    pub(super) fn of(self, metrics: &[Metric]) -> Vec<Measured> {
        let metrics = metrics.iter().zip(self.unedited).zip(self.values);
        metrics
            .map(|((metric, unedited), values)| Measured { metric: metric.clone(), unedited, values })
            .collect()
    }
}
