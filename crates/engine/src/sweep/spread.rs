//! One sweep on several devices: the packs of variants are handed to whoever is free.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use mmlens_core::{AnalysisError, Inputs, Memory, Panicked, Place, Subject, SubjectError, caught};

use super::order::{Order, Stage};
use super::pass::{Found, Prepared};
use super::{Sweep, Swept};
use crate::Progress;

impl Sweep {
    /// Runs every variant of one case on several copies of a model at once, each on a device of its own and given the
    /// case as it encoded it. Packs are cut as for the first copy and handed out one by one, so that a slow device holds
    /// nobody up; what comes back is what [`Sweep::run`] gives, in the same order, up to the rounding of the devices.
    ///
    /// A value that an edit brings along is copied to each device, through the host.
    ///
    /// # Errors
    /// As [`Sweep::run`]; [`SubjectError::Batch`] for no copies, or copies of another model or another case;
    /// [`SubjectError::Broken`] for a device that broke off. The first error ends the work of all.
    ///
    /// # Cost
    /// On each device one pass without edits, and its share of the packs. Each takes the whole of the memory budget.
    pub fn run_over<'a>(
        &'a self,
        copies: &[(&'a dyn Subject, &'a Inputs)],
        memory: &Memory,
        progress: &mut Progress<'_>,
    ) -> Result<Swept, AnalysisError> {
        let (subject, inputs) = alike(copies)?;
        let order = Order::new((&self.variants, &self.metrics), subject, inputs, memory, progress.method())?;
        let shared = Mutex::new((Found::none(&self.metrics, self.len()), progress));
        for stage in &order.stages {
            self.stage_over(copies, &order, stage, &shared)?;
        }
        let found = shared.into_inner().unwrap_or_else(PoisonError::into_inner).0;
        Ok(Swept { axes: self.axes.clone(), measured: found.of(&self.metrics) })
    }

    fn stage_over<'a>(
        &'a self,
        copies: &[(&'a dyn Subject, &'a Inputs)],
        order: &Order<'a>,
        stage: &Stage,
        shared: &Mutex<(Found, &mut Progress<'_>)>,
    ) -> Result<(), AnalysisError> {
        let (subject, inputs) = alike(copies)?;
        let first = Prepared::new(order, subject, inputs, stage)?;
        let tasks = first.tasks()?;
        let next = AtomicUsize::new(0);
        let locked = || shared.lock().unwrap_or_else(PoisonError::into_inner);
        locked().0.begin(&first);
        let failed = Mutex::new(None);
        let work = |prepared: &Prepared<'_>| -> Result<(), AnalysisError> {
            while let Some(task) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
                let measured = prepared.measure(task)?;
                let mut shared = locked();
                shared.0.enter(task, measured);
                shared.1.advance(task.variants.len())?;
            }
            Ok(())
        };
        // The first error stops whoever asks for the next pack.
        let stop = |error: AnalysisError| {
            next.store(tasks.len(), Ordering::Relaxed);
            failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        };
        std::thread::scope(|scope| {
            for (place, (subject, inputs)) in copies.iter().enumerate() {
                let (subject, inputs) = (*subject, *inputs);
                let (work, stop, first) = (&work, &stop, &first);
                scope.spawn(move || {
                    let done = caught(|| match place {
                        0 => work(first),
                        _ => Prepared::new(order, subject, inputs, stage).and_then(|own| work(&own)),
                    });
                    let broken = |panic: Panicked| {
                        Err(SubjectError::broken(subject, Place::Outside, panic.message).into())
                    };
                    done.unwrap_or_else(broken).unwrap_or_else(stop);
                });
            }
        });
        failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }
}

/// The first copy, if all are of one model and one case.
fn alike<'a>(
    copies: &[(&'a dyn Subject, &'a Inputs)],
) -> Result<(&'a dyn Subject, &'a Inputs), SubjectError> {
    let wrong = |reason: String| SubjectError::Batch { reason };
    let Some((first, others)) = copies.split_first() else {
        return Err(wrong("a sweep over no devices".to_owned()));
    };
    let hash = first.0.weights_hash();
    for (place, (subject, inputs)) in others.iter().enumerate() {
        let place = place + 1;
        if subject.weights_hash() != hash || subject.alterations() != first.0.alterations() {
            return Err(wrong(format!(
                "copy {place} is `{}` ({}), copy 0 is `{}` ({hash})",
                subject.name(),
                subject.weights_hash(),
                first.0.name(),
            )));
        }
        if inputs.ids != first.1.ids
            || inputs.seen.len() != first.1.seen.len()
            || inputs.heard.len() != first.1.heard.len()
            || inputs.logits_at != first.1.logits_at
        {
            return Err(wrong(format!("copy {place} is given another case than copy 0")));
        }
    }
    Ok(*first)
}
