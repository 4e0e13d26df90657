//! Whether a model that was just opened is whole: one pass of a few positions in which every site is looked at.
//!
//! Every published site must be reached, with its shape and finite numbers; attention weights sum to one and are the
//! softmax of their scores; the stream is the sum of what was written to it ([`Integrity`]). Pictures are cut down to a few
//! patches, so that the cost is that of reading the weights once. What it cannot see: whether the model computes what its
//! publisher meant, for which there is [`crate::certify`].

use std::sync::{Arc, Mutex, PoisonError};

use mmlens_core::{
    AnyTensor, Batch, Breach, Entries, HookError, Inputs, Integrity, Output, Plan, Run, Site, SiteSpec,
    Subject, SubjectError,
};

use crate::ZooError;

/// A subject of this crate, which can look itself over.
pub trait SelfCheck: Subject {
    /// Runs the least pass that shows every site and looks at all of them.
    ///
    /// # Errors
    /// [`ZooError::SelfCheck`] with the site and by how much it is off; whatever the pass reports.
    ///
    /// # Cost
    /// One forward pass of a few positions, with every optional site computed; each part's weights are read once.
    fn self_check(&self) -> Result<(), ZooError>;
}

/// What is published of a model, and what is looked at in its place: the same model cut down to small pictures.
pub struct Looked<'a> {
    /// The sites that are published.
    pub published: &'a [SiteSpec],
    /// The sites of the pass.
    pub sites: &'a [SiteSpec],
    /// The precision of the pass.
    pub dtype: &'a str,
}

/// Looks at every site of a pass.
///
/// # Errors
/// [`ZooError::SelfCheck`]; whatever the pass reports.
pub fn self_check(
    looked: &Looked<'_>,
    forward: impl FnOnce(&mut Run) -> Result<Output, ZooError>,
) -> Result<(), ZooError> {
    let names = |specs: &[SiteSpec]| specs.iter().map(|spec| spec.site).collect::<Vec<Site>>();
    let (published, sites) = (names(looked.published), names(looked.sites));
    if let Some(site) = published.iter().find(|site| !sites.contains(site)) {
        return Err(Breach::from(HookError::NeverReached(*site)).into());
    }
    if let Some(site) = sites.iter().find(|site| !published.contains(site)) {
        return Err(Breach::from(HookError::Unpublished(*site)).into());
    }
    let integrity = Arc::new(Mutex::new(Integrity::new(looked.dtype)));
    let found: Arc<Mutex<Option<Breach>>> = Arc::default();
    let mut plan = Plan::new();
    for site in sites {
        let (integrity, found) = (integrity.clone(), found.clone());
        plan = plan.edit(site, move |value| {
            let seen = integrity.lock().unwrap_or_else(PoisonError::into_inner).see(site, &value);
            seen.map(|()| value).map_err(|breach| {
                let reason = breach.to_string();
                found.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(breach);
                HookError::Edit { site, reason }
            })
        })?;
    }
    let mut run = Run::start(plan, "the model", looked.sites)?;
    let passed = forward(&mut run);
    if let Some(breach) = found.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(breach.into());
    }
    let broken = |hook: HookError| ZooError::from(Breach::from(hook));
    let output = passed.map_err(|error| match error {
        ZooError::Hook(hook) => broken(hook),
        other => other,
    })?;
    let trace = run.finish(output).map_err(broken)?;
    answered(trace.output())
}

/// The similarities of dual encoders lie at no site.
fn answered(output: &Output) -> Result<(), ZooError> {
    let Some(pairs) = &output.pairs else { return Ok(()) };
    match pairs.logits.to_values()?.iter().find(|v| !v.is_finite()) {
        Some(found) => Err(Breach::Output { found: *found }.into()),
        None => Ok(()),
    }
}

/// Looks at every site of a pass of a subject over inputs, as they are.
///
/// # Errors
/// [`ZooError::SelfCheck`]; [`ZooError::Subject`] for whatever else the pass reports.
///
/// # Cost
/// One forward pass over the inputs, with every optional site computed.
pub fn self_check_subject(subject: &dyn Subject, inputs: &Inputs) -> Result<(), ZooError> {
    let dtype = subject.dtype();
    let published = subject.sites();
    let looked = Looked { published, sites: published, dtype: &dtype };
    self_check(&looked, |run| Ok(subject.forward(inputs, run)?))
}

/// Inputs of one row: a few words, and between them `count` positions of a picture, which have the first of the tokens that
/// are no words.
pub(crate) fn small_inputs(
    vocab: usize,
    (visual, count): (&[u32], usize),
    pixels: Option<AnyTensor>,
) -> Result<Inputs, SubjectError> {
    let words = (0..vocab as u32).filter(|id| !visual.contains(id));
    let mut ids: Vec<u32> = words.take(3).collect();
    if let Some(token) = visual.first() {
        let at = ids.len().min(1);
        ids.splice(at..at, std::iter::repeat_n(*token, count));
    }
    Inputs::new(Batch {
        ids: vec![ids],
        pads: vec![0],
        tails: vec![0],
        maps: vec![Arc::default()],
        seen: Entries {
            of_rows: vec![if pixels.is_some() { vec![0] } else { Vec::new() }],
            values: pixels,
            ..Entries::default()
        },
        ..Batch::default()
    })
}

/// Pixels that are not all alike, within the range of normalised ones.
pub(crate) fn pattern(dims: &[usize], device: &burn::tensor::Device) -> Result<AnyTensor, HookError> {
    let values = (0..dims.iter().product::<usize>()).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0);
    AnyTensor::from_values(values.collect(), dims, device)
}
