//! Attention weights seen as they pass, site by site, and what is gathered of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use mmlens_core::{AnalysisError, AnyTensor, Copies, HookError, Inputs, Memory, Plan, Site, Strip, Subject};

/// What `see` gathers of each site, in the order of the sites, in one pass that carries out a plan, too; `kept` bytes of it are held
/// beside the pass.
///
/// # Errors
/// [`AnalysisError::Memory`], [`HookError::NotRead`] for a site that the pass did not come to; whatever `see` or the pass reports.
pub(crate) fn scanned<T: Default + Send + 'static>(
    (subject, inputs): (&dyn Subject, &Inputs),
    mut plan: Plan,
    sites: &[Site],
    (memory, method): (&Memory, &'static str),
    kept: u64,
    see: impl Fn(&mut T, &Strip, &AnyTensor) -> Result<(), HookError> + Send + Sync + 'static,
) -> Result<Vec<T>, AnalysisError> {
    let (seen, see): (Arc<Mutex<BTreeMap<Site, T>>>, _) = (Arc::default(), Arc::new(see));
    for &site in sites {
        let (seen, see) = (seen.clone(), see.clone());
        plan = plan.scan(site, move |strip, weights| {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            see(seen.entry(site).or_default(), strip, weights)
        })?;
    }
    memory.hold(method, kept, subject.need(inputs, &plan, Copies::ONE)?)?;
    subject.run(inputs, plan)?;
    let mut seen = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
    let own = |site: &Site| seen.remove(site).ok_or(HookError::NotRead(*site));
    Ok(sites.iter().map(own).collect::<Result<_, _>>()?)
}
