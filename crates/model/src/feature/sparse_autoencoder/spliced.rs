//! What the model says with the reconstruction in the place of what it holds.

use std::collections::BTreeSet;
use std::sync::Arc;

use mmlens_core::burn::tensor::Device;
use mmlens_core::{
    AnalysisError, AnyTensor, AxisName, Cases, Change, HookError, Inputs, On, Part, Plan, Point, Region,
    Site, SiteSpec, Subject, step,
};
use mmlens_engine::{Dictionary, Positions, WithDictionary, rows_of};

use super::CARD;
use crate::check::input;

/// How far what is said lies from what the model says, in nats: the mean over cases of the divergence of the one from the other at the last
/// position of the output, with the reconstruction, the mean and zero in the place of what the site holds.
pub(super) struct Loss {
    pub(super) reconstruction: f64,
    pub(super) mean: f64,
    pub(super) zero: f64,
    pub(super) cases: usize,
}

/// The loss over some cases; nothing for a model that has no logits.
pub(super) fn loss(
    on: &On<'_>,
    (data, some): (&dyn Cases, &[usize]),
    dictionary: &Arc<Dictionary>,
    (site, positions): (Site, &Positions),
    mean: &[f64],
) -> Result<Option<Loss>, AnalysisError> {
    let says = |spec: &SiteSpec| spec.site.point() == Point::Logits;
    if some.is_empty() || !on.subject().sites().iter().any(says) {
        return Ok(None);
    }
    let subject = WithDictionary::new(on.subject(), dictionary.clone(), Some(site), None)
        .map_err(|error| input(&CARD, "a site that can have a dictionary", error.to_string()))?;
    let spec = SiteSpec::among(subject.sites(), site)?.clone();
    let mean = {
        let rows = |(axis, length): &(AxisName, Option<usize>)| match axis {
            AxisName::Batch | AxisName::Image | AxisName::Pos => 1,
            _ => length.unwrap_or(1),
        };
        let dims: Vec<usize> = spec.axes.iter().map(rows).collect();
        AnyTensor::from_values(mean.iter().map(|x| *x as f32).collect(), &dims, &Device::default())?
    };
    let mut sums = [0.0; 3];
    for (done, case) in some.iter().enumerate() {
        let inputs = on.subject().encode(&data.case(*case)?.sample)?;
        let region = region((on, &spec), &inputs, positions)?;
        let own = said(&subject, &inputs, Plan::new())?;
        let edits =
            [(subject.error(), Change::Zero), (site, Change::Set(mean.clone())), (site, Change::Zero)];
        for (sum, (place, change)) in sums.iter_mut().zip(edits) {
            let other = said(&subject, &inputs, Plan::new().change(place, region.clone(), change)?)?;
            *sum += own.iter().zip(&other).map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
        }
        step(on.watch(), CARD.id, done + 1, some.len())?;
    }
    let [reconstruction, mean, zero] = sums.map(|sum| sum / some.len() as f64);
    Ok(Some(Loss { reconstruction, mean, zero, cases: some.len() }))
}

/// The positions of a site at which rows are learned from.
fn region(
    (on, spec): (&On<'_>, &SiteSpec),
    inputs: &Inputs,
    positions: &Positions,
) -> Result<Region, AnalysisError> {
    // Of a tower that hears, what is padded is no row.
    let heard = spec.tower() == Some(Part::Audio);
    let at = match (positions, spec.axis(AxisName::Pos)) {
        (_, None) => return Ok(Region::all()),
        (Positions::All, _) if !heard => return Ok(Region::all()),
        (_, Some(at)) => at,
    };
    let held = rows_of((on, CARD.id), inputs, spec.site, positions)?;
    let length = on.subject().dims(inputs, spec.site)?.get(at).copied().unwrap_or(1).max(1);
    let places: BTreeSet<usize> = held.places.iter().map(|place| place % length).collect();
    Ok(Region::all().positions(places))
}

/// The logarithm of the probability of each token, or class, at the last position of the output.
fn said(subject: &dyn Subject, inputs: &Inputs, plan: Plan) -> Result<Vec<f64>, AnalysisError> {
    let trace = subject.run(inputs, plan.to_output())?;
    let logits = trace.output().logits.as_ref();
    let logits = logits.ok_or_else(|| HookError::NoOutput("what is recovered of it".to_owned()))?;
    let (dims, values) = (logits.dims(), logits.finite_values("logits")?);
    let vocab = dims.last().copied().unwrap_or(1);
    let last = values.get(values.len().saturating_sub(vocab)..).unwrap_or_default();
    // no NaN: all are finite
    let most = last.iter().copied().map(f64::from).fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = last.iter().map(|x| (f64::from(*x) - most).exp()).sum();
    Ok(last.iter().map(|x| f64::from(*x) - most - sum.ln()).collect())
}
