//! What a sweep runs: variants that are made when their pass is due.

use std::sync::Arc;

use burn::tensor::Tensor;
use mmlens_core::{AnalysisError, AnyTensor, Entries, HookError, Inputs, Part, SubjectError};

use super::Edit;

/// Variants of one case, known by their number, each made when it is needed.
pub(crate) trait Variants: Sync {
    /// How many there are.
    fn len(&self) -> usize;

    /// What one changes. It is asked for several times, to plan and to run, and must give the same each time.
    fn edits(&self, variant: usize) -> Vec<Edit>;

    /// Whether one gives towers something else than the case does.
    fn shows(&self, _variant: usize) -> bool {
        false
    }

    /// What one gives to towers: asked for once, when its pass is due.
    ///
    /// # Errors
    /// Whatever making them reports.
    fn shown(&self, _variant: usize) -> Result<Shown, AnalysisError> {
        Ok(Shown::default())
    }
}

/// What a variant gives to towers in the place of what the case does, for each tower that is given something else.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shown(pub(crate) Vec<Given>);

/// What a variant gives to one tower.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    pub(crate) tower: Part,
    /// Which entries of the tower's batch; of a tower that is given patches all of them, or none.
    pub(crate) entries: Vec<usize>,
    /// Their values, as many as entries along the first axis; of patches those of the whole case. `None` for no entry.
    pub(crate) values: Option<AnyTensor>,
}

/// Edits made by a function of the variant's number.
#[derive(Clone)]
pub(super) struct Made {
    len: usize,
    edits: Arc<dyn Fn(usize) -> Vec<Edit> + Send + Sync>,
}

impl Made {
    pub(super) fn new(len: usize, edits: impl Fn(usize) -> Vec<Edit> + Send + Sync + 'static) -> Self {
        Self { len, edits: Arc::new(edits) }
    }
}

impl Variants for Made {
    fn len(&self) -> usize {
        self.len
    }

    fn edits(&self, variant: usize) -> Vec<Edit> {
        (self.edits)(variant)
    }
}

impl std::fmt::Debug for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} variants", self.len)
    }
}

/// A case of one row, once for each of `shown`, with what these give in the places of its own. Entries that stay the same are shared by all
/// copies.
///
/// # Errors
/// [`HookError::Values`] if entries differ in shape.
pub(crate) fn showing(inputs: &Inputs, shown: &[Shown]) -> Result<Inputs, SubjectError> {
    let copies = inputs.repeat(shown.len());
    let mut changed = Vec::new();
    for tower in Part::TOWERS {
        let given: Vec<Option<&Given>> =
            shown.iter().map(|shown| shown.0.iter().find(|given| given.tower == tower)).collect();
        if let (Some(own), true) = (inputs.entries(tower), given.iter().any(Option::is_some)) {
            changed.push((tower, exchanged(own, inputs.rows(), &given, tower)?));
        }
    }
    copies.with(|batch| {
        for (tower, entries) in changed {
            if let Some(own) = batch.entries_mut(tower) {
                *own = entries;
            }
        }
    })
}

/// The entries of one tower, of copies of so many rows each.
fn exchanged(
    own: &Entries,
    rows: usize,
    given: &[Option<&Given>],
    tower: Part,
) -> Result<Entries, SubjectError> {
    let (patches, count) = (!own.grids.is_empty(), own.len());
    let mut of_rows: Vec<Vec<usize>> =
        given.iter().flat_map(|_| (0..rows).map(|row| own.of_row(row).to_vec())).collect();
    let other = |entry: &usize, given: &Option<&Given>| {
        patches || given.is_some_and(|given| given.entries.contains(entry))
    };
    // The case's own entries come first, if a copy shows one of them.
    let kept = given.iter().any(|given| own.of_rows.iter().flatten().any(|entry| !other(entry, given)));
    let mut stack: Vec<AnyTensor> = own.values.iter().filter(|_| kept).cloned().collect();
    let mut next = if kept { count } else { 0 };
    let mut sources: Vec<usize> = if kept { (0..count).collect() } else { Vec::new() };
    for (copy, given) in given.iter().enumerate() {
        let entries: Vec<usize> = match (patches, given) {
            (true, _) => (0..count).collect(),
            (false, Some(given)) => given.entries.clone(),
            (false, None) => Vec::new(),
        };
        match (given.and_then(|given| given.values.as_ref()), &own.values) {
            (Some(values), _) => stack.push(values.clone()),
            (None, Some(values)) if patches => stack.push(values.clone()),
            _ => {}
        }
        for own in of_rows.iter_mut().skip(copy * rows).take(rows) {
            for slot in own.iter_mut() {
                if let Some(at) = entries.iter().position(|entry| entry == slot) {
                    *slot = next + at;
                }
            }
        }
        next += entries.len();
        sources.extend(entries);
    }
    Ok(Entries {
        values: stacked(stack, tower)?,
        grids: sources.iter().filter_map(|entry| own.grids.get(*entry).copied()).collect(),
        means: sources.iter().filter_map(|entry| own.means.get(*entry).cloned()).collect(),
        of_rows,
    })
}

/// Values one after the other along their first axis.
fn stacked(all: Vec<AnyTensor>, tower: Part) -> Result<Option<AnyTensor>, HookError> {
    let Some(first) = all.first() else { return Ok(None) };
    if all.len() == 1 {
        return Ok(all.into_iter().next());
    }
    let dims = first.dims();
    if let Some(other) = all.iter().find(|x| x.dims().get(1..) != dims.get(1..)) {
        return Err(HookError::Values { dims, given: other.dims().iter().product() });
    }
    match dims.len() {
        2 => joined::<2>(all, tower),
        3 => joined::<3>(all, tower),
        4 => joined::<4>(all, tower),
        _ => joined::<5>(all, tower),
    }
    .map(Some)
}

fn joined<const D: usize>(all: Vec<AnyTensor>, tower: Part) -> Result<AnyTensor, HookError> {
    let place = format!("entries of `{}`", tower.name());
    let all: Result<Vec<_>, HookError> = all.into_iter().map(|x| x.rank_of::<D>(&place)).collect();
    Ok(Tensor::cat(all?, 0).into())
}
