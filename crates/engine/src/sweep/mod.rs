//! Thousands of passes that differ in one edit each, at the price of a few.
//!
//! A [`Sweep`] lists variants of one case: for each, what is changed and where ([`Edit`]). Its planner
//!
//! - runs the case once unedited, keeping the state at every block boundary where some variant departs;
//! - resumes every variant at the block of its earliest edit, so that neither the tower nor the blocks before are
//!   computed again; only a change of token vectors (`text.embed`) sees the pictures once in every pass;
//! - of a subject that [resumes from a suffix](Subject::resumes_from_suffix), computes no position before the first that a variant changes: keys and
//!   values of those are the unedited pass's;
//! - makes variants when their pass is due, so that no more than one pack of them is there at once;
//! - packs variants that depart at the same block along the batch axis, as many as a memory budget holds ([`Memory`](mmlens_core::Memory));
//! - hands such packs to several devices, if there are ([`Sweep::run_over`]).
//!
//! What comes back is the [`Metric`] of every variant and of the unedited case, labelled by the axes swept.

mod data;
mod edit;
mod entry;
mod lazy;
mod metric;
mod order;
mod pass;
mod spread;

use mmlens_core::finding::{Axis, Labelled, TableError};
use mmlens_core::{AnalysisError, HookError, Inputs, Memory, Subject};

pub use data::{DataError, DataSwept, Prepare, sweep_data};
pub use edit::{Edit, Reference};
pub use metric::{Metric, OutputFn};

pub(crate) use lazy::{Given, Shown, Variants, showing};

use entry::{Entry, of_copy};
use lazy::Made;
use order::Order;
use pass::{Found, Prepared};

use crate::Progress;

/// Variants of one case and what is measured of each.
#[derive(Debug, Clone)]
pub struct Sweep {
    axes: Vec<Axis>,
    variants: Made,
    metrics: Vec<Metric>,
}

impl Sweep {
    /// One variant for every point of a grid, in row-major order; `edits` is given the point. It is asked for a variant when the sweep
    /// is planned and again when its pass is due, and must say the same each time: no more than one pack of variants is there at once.
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
    pub fn over(axes: Vec<Axis>, edits: impl Fn(&[usize]) -> Vec<Edit> + Send + Sync + 'static) -> Self {
        let lens: Vec<usize> = axes.iter().map(Axis::len).collect();
        let count = lens.iter().product();
        let point = move |mut rest: usize| {
            let mut point = vec![0; lens.len()];
            for (slot, len) in point.iter_mut().zip(&lens).rev() {
                *slot = rest % len.max(&1);
                rest /= len.max(&1);
            }
            point
        };
        Self { axes, variants: Made::new(count, move |i| edits(&point(i))), metrics: Vec::new() }
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
        self.len() == 0
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
        let made = Made::new(variants.len(), move |i| variants.get(i).cloned().unwrap_or_default());
        Ok(Self { axes, variants: made, metrics: Vec::new() })
    }

    /// Runs every variant of one case: a single row of input.
    ///
    /// # Errors
    /// [`SubjectError::Batch`](mmlens_core::SubjectError::Batch) for inputs of several rows, [`HookError::NoObjective`] if nothing is measured,
    /// [`HookError::NotFinite`] for a measure that is no number (but for [`Metric::Output`]), whatever a pass reports, and [`AnalysisError::Cancelled`].
    pub fn run(
        &self,
        subject: &dyn Subject,
        inputs: &Inputs,
        memory: &Memory,
        progress: &mut Progress<'_>,
    ) -> Result<Swept, AnalysisError> {
        let measured = run(&self.variants, &self.metrics, subject, inputs, memory, progress)?;
        Ok(Swept { axes: self.axes.clone(), measured })
    }
}

/// Every metric of every variant of one case, a single row of input; variants are made when their pass is due.
///
/// # Errors
/// As [`Sweep::run`].
pub(crate) fn run(
    variants: &dyn Variants,
    metrics: &[Metric],
    subject: &dyn Subject,
    inputs: &Inputs,
    memory: &Memory,
    progress: &mut Progress<'_>,
) -> Result<Vec<Measured>, AnalysisError> {
    let order = Order::new((variants, metrics), subject, inputs, memory, progress.method())?;
    let mut found = Found::none(metrics, variants.len());
    for stage in &order.stages {
        let prepared = Prepared::new(&order, subject, inputs, stage)?;
        found.begin(&prepared);
        for task in prepared.tasks()? {
            found.enter(&task, prepared.measure(&task)?);
            progress.advance(task.variants.len())?;
        }
    }
    Ok(found.of(metrics))
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
