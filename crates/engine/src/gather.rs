//! Rows to learn from: what a site holds of every case of a data set.

use mmlens_core::finding::Provenance;
use mmlens_core::{
    AnalysisError, AxisName, Case, Cases, Examples, HookError, Inputs, On, Plan, Selector, Site, SiteSpec,
};

use crate::{Positions, Progress, one_row};

/// What a site holds of one case: the values of some rows, and the token of each, where it is a position of a prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    /// Rows, one after the other.
    pub values: Vec<f32>,
    /// Numbers of a row.
    pub width: usize,
    /// Which rows of the site they are.
    pub places: Vec<usize>,
    /// The tokens, for a site that has positions of a prompt.
    pub tokens: Option<Vec<Option<u32>>>,
}

/// What a site holds of one case, at some positions: one pass, which ends there.
///
/// A site `[batch, pos, ...]` has a row for each of the positions; others have one for each prompt, picture or place of a tower, and
/// all of them are taken: [`Positions::All`].
///
/// # Errors
/// [`AnalysisError::Input`] for positions that the case does not have, or of a site without positions of a prompt, and for a site of
/// which a length depends on the input; whatever encoding or the pass reports, [`HookError::NotFinite`].
pub fn rows_of(
    (on, method): (&On<'_>, &'static str),
    inputs: &Inputs,
    site: Site,
    positions: &Positions,
) -> Result<Held, AnalysisError> {
    let subject = on.subject();
    Selector::from(site).resolve(subject.name(), subject.sites())?;
    let spec = subject.sites().iter().find(|spec| spec.site == site);
    let spec = spec.ok_or(HookError::Unpublished(site))?;
    let (lead, prompt) = lead(method, spec)?;
    if !prompt && *positions != Positions::All {
        let needs = "all rows of a site that has no positions of a prompt".into();
        let found = format!("`{positions}` was asked for of {}", spec.describe());
        return Err(AnalysisError::Input { method, needs, found });
    }
    let trace = subject.run(inputs, Plan::new().read(site)?)?;
    let value = trace.get(site)?;
    let dims = value.dims();
    let (rows, width) =
        (dims.iter().take(lead).product::<usize>(), dims.iter().skip(lead).product::<usize>());
    let values = value.finite_values(site)?;
    let (places, tokens) = if prompt {
        let map = one_row(method, inputs)?;
        let places = positions.chosen(method, map)?;
        let tokens = places.iter().map(|at| map.tokens.get(*at).and_then(|token| token.id)).collect();
        (places, Some(tokens))
    } else {
        ((0..rows).collect::<Vec<_>>(), None)
    };
    let mut chosen = Vec::with_capacity(places.len() * width);
    for place in &places {
        let (from, given) = (place * width, values.len());
        let row = values.get(from..from + width);
        chosen.extend(row.ok_or(HookError::Values { dims: vec![place + 1, width], given })?);
    }
    Ok(Held { values: chosen, width, places, tokens })
}

/// How many axes number the rows of a site, and whether these are positions of a prompt.
fn lead(method: &'static str, spec: &SiteSpec) -> Result<(usize, bool), AnalysisError> {
    let names: Vec<AxisName> = spec.axes.iter().map(|(axis, _)| *axis).collect();
    let (lead, prompt) = match names.as_slice() {
        [AxisName::Batch, AxisName::Pos, ..] => (2, true),
        [AxisName::Image, AxisName::Pos, ..] => (2, false),
        _ => (1, false),
    };
    if spec.axes.iter().skip(lead).any(|(_, length)| length.is_none()) {
        let found = format!("`{}` has {}", spec.site, spec.describe());
        return Err(AnalysisError::Input { method, needs: "rows whose length is fixed".into(), found });
    }
    Ok((lead, prompt))
}

/// What a site holds of every case of a data set with labels, at some positions.
///
/// Rows of one case are of the case's class and group; a case without a group is one of its own. The kind of a row is its token,
/// where it has one, and else that of its group.
///
/// # Errors
/// As [`rows_of`], and [`AnalysisError::Input`] for a case without a label; [`AnalysisError::Cancelled`].
///
/// # Cost
/// One pass for each case. Memory: the rows, and one pass.
pub fn examples(
    (on, method): (&On<'_>, &'static str),
    data: &dyn Cases,
    site: Site,
    positions: &Positions,
) -> Result<Examples, AnalysisError> {
    let mut progress = Progress::new(on.watch(), method, data.len());
    let (mut values, mut labels, mut groups, mut kinds) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for index in 0..data.len() {
        let Case { sample, .. } = data.case(index)?;
        let label = data.label(index)?.ok_or_else(|| AnalysisError::Input {
            method,
            needs: "a label for every case".into(),
            found: format!("case {index} of `{}` has none", data.name()),
        })?;
        let group = data.group(index)?.unwrap_or(index as u64);
        let held = rows_of((on, method), &on.subject().encode(&sample)?, site, positions)?;
        let rows = held.places.len();
        values.extend(held.values);
        labels.extend(std::iter::repeat_n(label, rows));
        groups.extend(std::iter::repeat_n(group, rows));
        match held.tokens {
            Some(tokens) => kinds.extend(tokens.into_iter().map(|id| Examples::kind(id, group))),
            None => kinds.extend(std::iter::repeat_n(group, rows)),
        }
        progress.advance(1)?;
    }
    let subject = on.subject();
    let made = Provenance {
        weights_hash: subject.weights_hash(),
        alterations: subject.alterations().to_vec(),
        sites: vec![site.to_string()],
        dtype: subject.dtype(),
        device: subject.device(),
        kernels: subject.kernels(),
        ..Provenance::new(method, subject.name())
    };
    let examples = Examples::new(data.name(), values, data.classes().to_vec(), labels)?;
    Ok(examples.grouped(groups)?.of_kinds(kinds)?.made(made))
}
