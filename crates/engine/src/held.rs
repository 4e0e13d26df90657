//! How many numbers sites hold, and what a pass brought back.

use mmlens_core::{HookError, Inputs, Site, Subject, Trace};

/// Numbers that some sites hold together in a pass over these inputs.
///
/// # Errors
/// [`HookError::Unpublished`] for a site that is not published.
pub fn numbers(subject: &dyn Subject, inputs: &Inputs, sites: &[Site]) -> Result<usize, HookError> {
    sites.iter().map(|site| Ok(subject.dims(inputs, *site)?.iter().product::<usize>())).sum()
}

/// Bytes of what a pass brought back.
pub fn held(trace: &Trace) -> u64 {
    let values = trace.values().chain(trace.grads());
    values.map(|(_, x)| 4 * x.dims().iter().product::<usize>() as u64).sum()
}
