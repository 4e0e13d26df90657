//! Rows of cases: what sites hold of them, to learn from and to compare.

use mmlens_core::finding::Provenance;
use mmlens_core::{
    AnalysisError, AnyTensor, AxisName, Case, Cases, Examples, HookError, Inputs, On, Part, Plan, Selector,
    Site, SiteSpec, Source, Subject, kind,
};

use crate::label::tower_of;
use crate::shows::{crosses, of_tower};
use crate::{Positions, Progress, Shows, one_row};

/// What a site holds of one case: the values of some rows, and what each of them shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    /// Rows, one after the other.
    pub values: Vec<f32>,
    /// Numbers of a row.
    pub width: usize,
    /// Which rows of the site they are.
    pub places: Vec<usize>,
    /// What each of them shows.
    pub shows: Vec<Shows>,
    /// Whether they are positions of a prompt.
    pub prompt: bool,
}

impl Held {
    /// The rows, one after the other.
    pub fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks(self.width.max(1))
    }

    /// The mean of the rows; zeros, of none.
    #[must_use]
    pub fn mean(&self) -> Vec<f64> {
        let mut mean = vec![0.0; self.width];
        for row in self.rows() {
            mean.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
        }
        let count = self.places.len().max(1) as f64;
        mean.iter_mut().for_each(|sum| *sum /= count);
        mean
    }
}

/// What a site holds of one case, at some positions: one pass, which ends there.
///
/// # Errors
/// As [`rows_at`].
pub fn rows_of(
    (on, method): (&On<'_>, &'static str),
    inputs: &Inputs,
    site: Site,
    positions: &Positions,
) -> Result<Held, AnalysisError> {
    let mut held = rows_at((on, method), inputs, &[(site, positions.clone())])?;
    held.pop().ok_or_else(|| HookError::NotRead(site).into())
}

/// What sites hold of one case, each at some positions: one pass, which ends at the last of them.
///
/// A site `[batch, pos, ...]` has a row for each of the positions. A tower has one for each of its places, of all pictures: all of
/// them are taken ([`Positions::All`]), or those that show a patch ([`Positions::Pictures`]); padding behind a recording is no place. Other
/// sites have one for each prompt or picture, and all are taken.
///
/// # Errors
/// [`AnalysisError::Input`] for positions that the case does not have, or of a site without positions of a prompt, and for a site of
/// which a length depends on the input; whatever encoding or the pass reports, [`HookError::NotFinite`].
pub fn rows_at(
    (on, method): (&On<'_>, &'static str),
    inputs: &Inputs,
    asked: &[(Site, Positions)],
) -> Result<Vec<Held>, AnalysisError> {
    let subject = on.subject();
    let (mut rows, mut plan) = (Vec::with_capacity(asked.len()), Plan::new());
    for (site, positions) in asked {
        rows.push((
            Rows::of(method, subject, published(subject, *site)?)?.suit(method, positions)?,
            positions,
        ));
        plan = plan.read(*site)?;
    }
    let trace = subject.run(&inputs.clone().reading(asked.iter().map(|(site, _)| *site)), plan)?;
    let held = |(rows, positions): (Rows<'_>, &Positions)| {
        rows.held(method, inputs, trace.get(rows.spec.site)?, positions)
    };
    rows.into_iter().map(held).collect()
}

/// What a value as long as a site, such as the gradient there, holds of one case at some positions; as [`rows_of`] of what the site holds.
///
/// # Errors
/// As [`rows_at`], but for the pass.
pub fn rows_in(
    (on, method): (&On<'_>, &'static str),
    inputs: &Inputs,
    (site, value): (Site, &AnyTensor),
    positions: &Positions,
) -> Result<Held, AnalysisError> {
    let subject = on.subject();
    let rows = Rows::of(method, subject, published(subject, site)?)?.suit(method, positions)?;
    rows.held(method, inputs, value, positions)
}

/// Numbers of a row of a site, and whether it has such positions.
///
/// # Errors
/// [`HookError::NoSuchSite`]; [`AnalysisError::Input`] for a site of which a length depends on the input.
pub fn row_width(
    (on, method): (&On<'_>, &'static str),
    site: Site,
    positions: &Positions,
) -> Result<(usize, bool), AnalysisError> {
    let rows = Rows::of(method, on.subject(), published(on.subject(), site)?)?;
    Ok((rows.width, rows.suits(positions)))
}

/// How many rows of a site these positions are, told before a pass; at most, where a tower merges its patches.
///
/// # Errors
/// As [`rows_at`].
pub fn row_count(
    (on, method): (&On<'_>, &'static str),
    inputs: &Inputs,
    site: Site,
    positions: &Positions,
) -> Result<usize, AnalysisError> {
    let rows = Rows::of(method, on.subject(), published(on.subject(), site)?)?.suit(method, positions)?;
    if rows.prompt {
        return Ok(positions.chosen(method, one_row(method, inputs)?)?.len());
    }
    let dims = on.subject().dims(inputs, site)?;
    if rows.tower && tower_of(rows.spec, inputs.map()) == Part::Audio {
        return Ok(rows.placed(method, inputs, &dims, positions)?.0.len());
    }
    Ok(dims.iter().take(rows.lead).product())
}

/// Which rows of a site these positions are and what each of them shows, told before a pass: of a site that stands before any merging
/// of patches.
///
/// # Errors
/// As [`rows_at`].
pub fn rows_shown(
    (on, method): (&On<'_>, &'static str),
    inputs: &Inputs,
    site: Site,
    positions: &Positions,
) -> Result<(Vec<usize>, Vec<Shows>), AnalysisError> {
    let rows = Rows::of(method, on.subject(), published(on.subject(), site)?)?.suit(method, positions)?;
    rows.placed(method, inputs, &on.subject().dims(inputs, site)?, positions)
}

/// A site as a subject publishes it.
///
/// # Errors
/// [`HookError`] for one that it does not have, with the nearest name.
pub fn published(subject: &dyn Subject, site: Site) -> Result<&SiteSpec, HookError> {
    Selector::from(site).resolve(subject.name(), subject.sites())?;
    SiteSpec::among(subject.sites(), site)
}

/// What the rows of a site are.
#[derive(Clone, Copy)]
struct Rows<'a> {
    spec: &'a SiteSpec,
    /// How many axes number them.
    lead: usize,
    /// Whether these are positions of a prompt.
    prompt: bool,
    /// Whether these are places of a tower.
    tower: bool,
    width: usize,
}

impl<'a> Rows<'a> {
    fn of(method: &'static str, subject: &dyn Subject, spec: &'a SiteSpec) -> Result<Self, AnalysisError> {
        let names: Vec<AxisName> = spec.axes.iter().map(|(axis, _)| *axis).collect();
        // Where an encoder of its own reads the words, those of the language model are the answer's.
        let answer = spec.site.part() == Part::Text && kind::reads_apart(subject);
        let (lead, prompt, tower) = match names.as_slice() {
            [AxisName::Batch, AxisName::Pos, ..] => (2, !crosses(spec) && !answer, false),
            [first, AxisName::Pos, ..] if first.tower().is_some() => (2, false, true),
            [AxisName::Pos, ..] => (1, false, true),
            _ => (1, false, false),
        };
        let width: Option<usize> = spec.axes.iter().skip(lead).map(|(_, length)| *length).product();
        let width = width.ok_or_else(|| {
            let found = format!("`{}` has {}", spec.site, spec.describe());
            AnalysisError::Input { method, needs: "rows whose length is fixed".into(), found }
        })?;
        Ok(Self { spec, lead, prompt, tower, width })
    }

    /// Whether the site has such positions.
    fn suits(&self, positions: &Positions) -> bool {
        let perceived = matches!(positions, Positions::Pictures | Positions::Recordings);
        self.prompt || *positions == Positions::All || (self.tower && perceived)
    }

    fn suit(self, method: &'static str, positions: &Positions) -> Result<Self, AnalysisError> {
        if self.suits(positions) {
            return Ok(self);
        }
        let needs = "all rows of a site that has no positions of a prompt".into();
        let found = format!("`{positions}` was asked for of {}", self.spec.describe());
        Err(AnalysisError::Input { method, needs, found })
    }

    /// Which rows of the site such positions are, and what each of them shows; `dims` are the lengths of the site.
    fn placed(
        self,
        method: &'static str,
        inputs: &Inputs,
        dims: &[usize],
        positions: &Positions,
    ) -> Result<(Vec<usize>, Vec<Shows>), AnalysisError> {
        let Self { spec, lead, prompt, .. } = self;
        let (places, shows): (Vec<usize>, Vec<Shows>) = if prompt {
            let map = one_row(method, inputs)?;
            let places = positions.chosen(method, map)?;
            let shows = places.iter().filter_map(|at| map.tokens.get(*at).cloned().map(Shows::Token));
            (places.clone(), shows.collect())
        } else {
            let rows = dims.iter().take(lead).product::<usize>();
            let all = of_tower(spec, dims, rows, inputs.map());
            let patches = matches!(positions, Positions::Pictures | Positions::Recordings);
            all.into_iter().filter(|(_, row)| !patches || row.patch().is_some()).unzip()
        };
        if places.is_empty() {
            let found = format!("`{}` has none of `{positions}`", spec.site);
            return Err(AnalysisError::Input { method, needs: "at least one row".into(), found });
        }
        Ok((places, shows))
    }

    fn held(
        self,
        method: &'static str,
        inputs: &Inputs,
        value: &AnyTensor,
        positions: &Positions,
    ) -> Result<Held, AnalysisError> {
        let Self { spec, prompt, width, .. } = self;
        let (dims, values) = (value.dims(), value.finite_values(spec.site)?);
        let (places, shows) = self.placed(method, inputs, &dims, positions)?;
        let mut chosen = Vec::with_capacity(places.len() * width);
        for place in &places {
            let (from, given) = (place * width, values.len());
            let row = values.get(from..from + width);
            chosen.extend(row.ok_or(HookError::Values { dims: vec![place + 1, width], given })?);
        }
        Ok(Held { values: chosen, width, places, shows, prompt })
    }
}

/// Rows of a site that were gathered from the cases of a data set, in memory.
#[derive(Debug, Clone)]
pub struct Gathered {
    data: String,
    hash: String,
    made: Provenance,
    width: usize,
    values: Vec<f32>,
    /// The case of each row.
    cases: Vec<usize>,
    groups: Vec<u64>,
}

impl Gathered {
    /// The case that each row is of.
    #[must_use]
    pub fn cases(&self) -> &[usize] {
        &self.cases
    }
}

impl mmlens_core::Rows for Gathered {
    fn data(&self) -> &str {
        &self.data
    }

    fn provenance(&self) -> Provenance {
        self.made.clone()
    }

    fn hash(&self) -> Result<String, AnalysisError> {
        Ok(self.hash.clone())
    }

    fn len(&self) -> usize {
        self.cases.len()
    }

    fn width(&self) -> usize {
        self.width
    }

    fn groups(&self) -> Result<Vec<u64>, AnalysisError> {
        Ok(self.groups.clone())
    }

    fn read(&self, rows: &[usize]) -> Result<Vec<f32>, AnalysisError> {
        let mut values = Vec::with_capacity(rows.len() * self.width);
        for row in rows {
            let own = self.values.get(row * self.width..(row + 1) * self.width);
            values.extend(own.ok_or_else(|| AnalysisError::Input {
                method: "rows",
                needs: "rows that are there".into(),
                found: format!("row {row} was asked for of {}", self.cases.len()),
            })?);
        }
        Ok(values)
    }
}

/// What a site holds of every case of a data set, at some positions. Rows of one case are of its group; a case without a group is one of
/// its own.
///
/// # Errors
/// As [`rows_of`]; [`AnalysisError::Memory`] for more than the budget holds, [`AnalysisError::Cancelled`].
///
/// # Cost
/// One pass for each case. Memory: the rows, and one pass.
pub fn gathered(
    (on, method): (&On<'_>, &'static str),
    data: &dyn Cases,
    site: Site,
    positions: &Positions,
) -> Result<Gathered, AnalysisError> {
    let mut progress = Progress::new(on.watch(), method, data.len());
    let (mut values, mut cases, mut groups, mut width) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for (index, group) in mmlens_core::groups(data)?.into_iter().enumerate() {
        let Case { sample, .. } = data.case(index)?;
        let held = rows_of((on, method), &on.subject().encode(&sample)?, site, positions)?;
        cases.extend(std::iter::repeat_n(index, held.places.len()));
        groups.extend(std::iter::repeat_n(group, held.places.len()));
        values.extend(held.values);
        width = held.width;
        let (need, budget) = (4 * values.len() as u64, on.memory().left());
        if need > budget {
            return Err(AnalysisError::Memory { method, need, at: site, budget });
        }
        progress.advance(1)?;
    }
    if cases.is_empty() {
        let found = format!("`{}` has none", data.name());
        return Err(AnalysisError::Input { method, needs: "cases to learn from".into(), found });
    }
    let (data, hash) = (data.name().to_owned(), data.hash()?);
    Ok(Gathered { data, hash, made: made(on.subject(), method, site), width, values, cases, groups })
}

fn made(subject: &dyn Subject, method: &'static str, site: Site) -> Provenance {
    Provenance {
        weights_hash: subject.weights_hash(),
        alterations: subject.alterations().to_vec(),
        sites: vec![site.to_string()],
        dtype: subject.dtype(),
        device: subject.device(),
        kernels: subject.kernels(),
        ..Provenance::new(method, subject.name())
    }
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
    Ok(examples_seen((on, method), data, site, positions)?.0)
}

/// As [`examples`]; and the case that each row is of, and what it shows.
///
/// # Errors
/// As [`examples`].
pub fn examples_seen(
    (on, method): (&On<'_>, &'static str),
    data: &dyn Cases,
    site: Site,
    positions: &Positions,
) -> Result<(Examples, Vec<(usize, Shows)>), AnalysisError> {
    let class = |index: usize| {
        data.label(index)?.ok_or_else(|| AnalysisError::Input {
            method,
            needs: "a label for every case".into(),
            found: format!("case {index} of `{}` has none", data.name()),
        })
    };
    let classes = data.classes().to_vec();
    labelled((on, method), data, (site, positions), (classes, &class))
}

/// What there is to learn from at a site, with labels: rows that were recorded, or those of [`examples`].
///
/// # Errors
/// As [`examples`]; as [`Recorded::examples`](mmlens_core::Recorded::examples).
///
/// # Cost
/// As [`examples`]; of what was recorded none.
pub fn examples_of(
    (from, method): (&Source<'_>, &'static str),
    site: Site,
    positions: &Positions,
) -> Result<Examples, AnalysisError> {
    match from {
        Source::Cases(on, data) => examples((on, method), *data, site, positions),
        Source::Recorded(recorded, _) => recorded.examples(site),
    }
}

/// As [`examples`], of cases with labels or without, all of one class; and the case that each row is of, and what it shows.
///
/// # Errors
/// As [`rows_of`]; [`AnalysisError::Cancelled`].
pub fn observed(
    (on, method): (&On<'_>, &'static str),
    data: &dyn Cases,
    site: Site,
    positions: &Positions,
) -> Result<(Examples, Vec<(usize, Shows)>), AnalysisError> {
    labelled((on, method), data, (site, positions), (vec!["row".to_owned()], &|_| Ok(0)))
}

/// The class of a case.
type Class<'a> = &'a dyn Fn(usize) -> Result<usize, AnalysisError>;

fn labelled(
    (on, method): (&On<'_>, &'static str),
    data: &dyn Cases,
    (site, positions): (Site, &Positions),
    (classes, class): (Vec<String>, Class<'_>),
) -> Result<(Examples, Vec<(usize, Shows)>), AnalysisError> {
    let mut progress = Progress::new(on.watch(), method, data.len());
    let (mut values, mut labels, mut groups, mut kinds) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut seen = Vec::new();
    for (index, group) in mmlens_core::groups(data)?.into_iter().enumerate() {
        let Case { sample, .. } = data.case(index)?;
        let label = class(index)?;
        let held = rows_of((on, method), &on.subject().encode(&sample)?, site, positions)?;
        let rows = held.places.len();
        values.extend(held.values);
        labels.extend(std::iter::repeat_n(label, rows));
        groups.extend(std::iter::repeat_n(group, rows));
        kinds.extend(held.shows.iter().map(|row| Examples::kind(row.token(), group)));
        seen.extend(held.shows.into_iter().map(|shows| (index, shows)));
        progress.advance(1)?;
    }
    let made = made(on.subject(), method, site);
    let examples = Examples::new(data.name(), values, classes, labels)?;
    Ok((examples.grouped(groups)?.of_kinds(kinds)?.made(made), seen))
}
