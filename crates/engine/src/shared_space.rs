//! The space that a dual encoder compares pictures and texts in: where texts, and cases, lie in it.

use std::num::NonZeroUsize;

use mmlens_core::{
    AnalysisError, Copies, HookError, Inputs, On, Part, Picture, Plan, Point, Sample, Site, Subject, Words,
};

use crate::{Matrix, Progress};

/// Where a part of a dual encoder ends: its vectors in the shared space, before they are brought to length one.
#[must_use]
pub const fn projected(part: Part) -> Site {
    Site::of(part, Point::Projected)
}

/// Where texts lie, a row each, as `text.projected` holds them. A dual encoder reads no text without a picture, so that one is lent.
///
/// # Errors
/// Whatever encoding or a pass reports; [`AnalysisError::Memory`], [`AnalysisError::Cancelled`].
///
/// # Cost
/// A row for each text, `rows` of them in a pass.
pub fn text_vectors(
    (on, method): (&On<'_>, &'static str),
    lent: &Picture,
    texts: &[String],
    rows: NonZeroUsize,
    progress: &mut Progress<'_>,
) -> Result<Matrix, AnalysisError> {
    let (subject, site) = (on.subject(), projected(Part::Text));
    let (mut all, mut width) = (Vec::new(), 0);
    for some in texts.chunks(rows.get()) {
        let inputs = text_inputs(subject, lent, some)?;
        let plan = Plan::new().read(site)?;
        on.memory().hold(method, 8 * all.len() as u64, subject.need(&inputs, &plan, Copies::ONE)?)?;
        let trace = subject.run(&inputs, plan)?;
        let value = trace.get(site)?;
        width = value.dims().last().copied().unwrap_or(0);
        all.extend(value.finite_values(site)?.into_iter().map(f64::from));
        progress.advance(some.len())?;
    }
    let found = Matrix::new(all, width)?;
    match found.len() == texts.len() {
        true => Ok(found),
        false => {
            Err(HookError::Values { dims: vec![texts.len(), width], given: found.values().len() }.into())
        }
    }
}

/// Some texts as a dual encoder takes them, with a picture that is lent.
///
/// # Errors
/// Whatever encoding reports.
pub fn text_inputs(subject: &dyn Subject, lent: &Picture, texts: &[String]) -> Result<Inputs, AnalysisError> {
    Ok(subject.encode(&Sample::new(vec![lent.clone()], Words::Texts(texts.to_vec())))?)
}

/// The first picture of a sample.
///
/// # Errors
/// [`AnalysisError::Input`] for a sample that has none.
pub fn first_picture(method: &'static str, sample: &Sample) -> Result<Picture, AnalysisError> {
    let none = || AnalysisError::Input {
        method,
        needs: "a picture".into(),
        found: "the sample has none".to_owned(),
    };
    sample.pictures.first().cloned().ok_or_else(none)
}
