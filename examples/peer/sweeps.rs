//! Many changes of one case, each by itself: states put in from another run, heads set to zero.

use std::path::Path;

use anyhow::{Context, Result};
use mmlens::engine::{Edit, Metric, Progress, Sweep};
use mmlens::model::{ActivationPatching, activation_patching};
use mmlens::prelude::*;
use serde_json::Value;

use crate::timed::Times;
use crate::{open, sample};

/// The stream before every block at every position of the clean run, put into the run of another picture: the logit of the clean
/// run's top token.
pub(crate) fn patch(folder: &Path, model: &str, times: Times) -> Result<Value> {
    let subject = open(folder, model)?;
    let pair = Pair {
        clean: Case::new(sample(folder, model, "clean")?),
        corrupted: sample(folder, model, "other")?,
    };
    let method = ActivationPatching::new(activation_patching::Settings::default())?;
    let work = || Ok(method.run(subject.as_ref(), &pair)?);
    times.measure(work, |finding| {
        let patched = finding.table("resid_pre/patched")?;
        Ok(patched.as_numbers().context("no numbers")?.to_vec())
    })
}

/// Every head of the language model set to zero at all positions: the logit of the top token.
pub(crate) fn heads(folder: &Path, model: &str, times: Times) -> Result<Value> {
    let subject = open(folder, model)?;
    let case = Case::new(sample(folder, model, "clean")?);
    let text = subject.anatomy().iter().find(|part| part.part == Part::Text).context("no language model")?;
    let axes = vec![Axis::count(Role::Layer, text.blocks), Axis::count(Role::Head, text.heads)];
    let work = || {
        let (inputs, objective) = case.open(subject.as_ref())?;
        let sweep = Sweep::over(axes.clone(), |at| {
            let at = |axis: usize| at.get(axis).copied().unwrap_or(0);
            vec![Edit::zero(Site::block(Part::Text, at(0), Point::Z)).heads([at(1)])]
        });
        let sweep = sweep.measure(Metric::from(objective));
        let mut progress = Progress::new(&Unwatched, "zero every head", sweep.len());
        Ok(sweep.run(subject.as_ref(), &inputs, &Memory::default(), &mut progress)?)
    };
    times.measure(work, |swept| Ok(swept.measured.first().context("nothing measured")?.values.clone()))
}
