//! What to read, change and differentiate in one pass.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::strip::ScanFn;
use crate::{
    AnyTensor, AxisName, Content, HookError, LogitSelection, Objective, Selector, Site, Splice, Strip,
};

/// An edit or gradient edit written by the user.
pub type ChangeFn = Arc<dyn Fn(AnyTensor) -> Result<AnyTensor, HookError> + Send + Sync>;

/// How a value is changed.
#[derive(Clone)]
#[non_exhaustive]
pub enum Change {
    /// To zero.
    Zero,
    /// Multiplied by a number.
    Scale(f32),
    /// By adding a value; each of its lengths equals the site's or is 1.
    Add(AnyTensor),
    /// Replaced by a value; each of its lengths equals the site's or is 1.
    Set(AnyTensor),
    /// Replaced by its own mean over the batch of this pass and its positions: words by the mean of words, patches by that of
    /// patches ([`Content`]). Padding is left out and stays, and so do, at `text.embed`, positions whose vectors image features
    /// replace. Pixels become the mean colour of their picture. For the mean over a reference set see [`Change::Fill`].
    Mean,
    /// Every position replaced by a value for what it carries; each of its lengths equals the site's or is 1. Padding stays.
    Fill(BTreeMap<Content, AnyTensor>),
    /// To minus infinity: for attention scores, nothing is attended to there.
    Mask,
    /// The same, but a position keeps its edge to itself, so that no query is left with nothing.
    MaskOthers,
    /// By a closure, which must keep the shape.
    With(ChangeFn),
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero => write!(f, "zero"),
            Self::Scale(by) => write!(f, "scale by {by}"),
            Self::Add(x) => write!(f, "add {:?}", x.dims()),
            Self::Set(x) => write!(f, "set {:?}", x.dims()),
            Self::Mean => write!(f, "mean"),
            Self::Fill(given) => write!(f, "fill {:?}", given.keys().collect::<Vec<_>>()),
            Self::Mask => write!(f, "mask"),
            Self::MaskOthers => write!(f, "mask others"),
            Self::With(_) => write!(f, "closure"),
        }
    }
}

/// The part of a site an edit touches: for each named axis the indices, for the others everything.
///
/// ```
/// use mmlens_core::{AxisName, Region};
/// let two_heads_late = Region::all().of(AxisName::Head, [0, 3]).of(AxisName::Pos, 5..9);
/// assert!(!two_heads_late.is_all());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Region {
    pub(crate) chosen: BTreeMap<AxisName, Vec<usize>>,
}

impl Region {
    /// The whole site.
    pub fn all() -> Self {
        Self::default()
    }

    /// Narrowed to some indices of an axis. Naming an axis twice keeps the last.
    #[must_use]
    pub fn of(mut self, axis: AxisName, indices: impl IntoIterator<Item = usize>) -> Self {
        self.chosen.insert(axis, indices.into_iter().collect());
        self
    }

    /// Narrowed to some heads.
    #[must_use]
    pub fn heads(self, indices: impl IntoIterator<Item = usize>) -> Self {
        self.of(AxisName::Head, indices)
    }

    /// Narrowed to some positions of the sequence.
    #[must_use]
    pub fn positions(self, indices: impl IntoIterator<Item = usize>) -> Self {
        self.of(AxisName::Pos, indices)
    }

    /// Narrowed to some neurons.
    #[must_use]
    pub fn neurons(self, indices: impl IntoIterator<Item = usize>) -> Self {
        self.of(AxisName::Neuron, indices)
    }

    /// Narrowed to some rows of the batch.
    #[must_use]
    pub fn rows(self, indices: impl IntoIterator<Item = usize>) -> Self {
        self.of(AxisName::Batch, indices)
    }

    /// The indices an axis is narrowed to, if it is.
    pub fn indices(&self, axis: AxisName) -> Option<&[usize]> {
        self.chosen.get(&axis).map(Vec::as_slice)
    }

    /// Whether it is the whole site.
    pub fn is_all(&self) -> bool {
        self.chosen.is_empty()
    }

    /// The same with all of an axis.
    #[must_use]
    pub(crate) fn without(&self, axis: AxisName) -> Self {
        let mut own = self.clone();
        own.chosen.remove(&axis);
        own
    }
}

/// `[head=1,3,pos=0..4]`: three and more in a row are a range. Nothing, of the whole site.
impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let axes: Vec<String> = self.chosen.iter().map(|(axis, indices)| listed(*axis, indices)).collect();
        if axes.is_empty() { Ok(()) } else { write!(f, "[{}]", axes.join(",")) }
    }
}

fn listed(axis: AxisName, indices: &[usize]) -> String {
    let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
    for index in indices {
        match runs.last_mut() {
            Some(run) if run.end == *index => run.end += 1,
            _ => runs.push(*index..index + 1),
        }
    }
    let each = runs.into_iter().flat_map(|run| match run.len() {
        0..=2 => run.map(|index| index.to_string()).collect(),
        _ => vec![format!("{}..{}", run.start, run.end)],
    });
    format!("{}={}", axis.name(), each.collect::<Vec<String>>().join(","))
}

/// A state saved at a block boundary, from which a pass can go on.
#[derive(Debug, Clone)]
pub struct State {
    /// The `resid_pre` of the block it enters.
    pub site: Site,
    /// `[batch, pos, d_model]`.
    pub hidden: AnyTensor,
}

#[derive(Debug, Clone)]
pub(crate) enum Act {
    Read,
    Edit { region: Region, change: Change },
    Keep,
    Grad,
    GradEdit(GradFn),
    Scan(Scan),
}

/// A scan in a form that prints.
#[derive(Clone)]
pub(crate) struct Scan(pub(crate) ScanFn);

impl fmt::Debug for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("closure")
    }
}

/// A gradient edit in a form that prints.
#[derive(Clone)]
pub(crate) struct GradFn(pub(crate) ChangeFn);

impl fmt::Debug for GradFn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("closure")
    }
}

/// What to read, change and differentiate in one pass.
///
/// Nothing is attached to the model: a plan goes in, a [`Trace`](crate::Trace) comes out. Edits at one site apply
/// in the order given; reads see the value after them; gradients are taken at the value after edits.
/// A pass that reads or differentiates something ends once the last of it is there; one that does neither runs
/// to its output. Of the output a model need not compute more than an objective, or [`select_logits`](Plan::select_logits), looks at;
/// [`Plan::to_output`] asks for all of it.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    pub(crate) acts: Vec<(Selector, Act)>,
    pub(crate) objective: Option<Objective>,
    pub(crate) resume: Option<State>,
    pub(crate) output: bool,
    pub(crate) wanted: Option<LogitSelection>,
    pub(crate) past: Vec<(AnyTensor, AnyTensor)>,
    /// Edits of the subject itself, before those of the plan.
    pub(crate) standing: Vec<Stood>,
    /// Places that a decorator computes behind sites of the model.
    pub(crate) splices: Vec<Splice>,
}

/// An edit that stands, as one pass makes it.
#[derive(Debug, Clone)]
pub(crate) struct Stood {
    pub(crate) site: Site,
    pub(crate) region: Region,
    pub(crate) change: Change,
}

impl Plan {
    /// A plan that asks for nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// With places that a decorator computes behind a site of the model it holds; they are published beside its sites.
    #[must_use]
    pub fn splice(mut self, splices: impl IntoIterator<Item = Splice>) -> Self {
        self.splices.extend(splices);
        self
    }

    /// Reads every site a selector fits.
    ///
    /// # Errors
    /// [`HookError::Syntax`] if it does not parse. Whether the subject has such sites is checked when the pass starts.
    pub fn read<S>(mut self, places: S) -> Result<Self, HookError>
    where
        S: TryInto<Selector>,
        HookError: From<S::Error>,
    {
        self.acts.push((places.try_into()?, Act::Read));
        Ok(self)
    }

    /// Keeps what every site a selector fits holds after edits in the output ([`Output::kept`](crate::Output::kept)), so that objectives
    /// and metrics can look at it, and gradients flow through it. The sites of [`Plan::objective`] are kept by themselves.
    ///
    /// # Errors
    /// [`HookError::Syntax`] if it does not parse.
    pub fn keep<S>(mut self, places: S) -> Result<Self, HookError>
    where
        S: TryInto<Selector>,
        HookError: From<S::Error>,
    {
        self.acts.push((places.try_into()?, Act::Keep));
        Ok(self)
    }

    /// Changes a region of every site a selector fits.
    ///
    /// # Errors
    /// [`HookError::Syntax`] if the selector does not parse.
    pub fn change<S>(mut self, places: S, region: Region, change: Change) -> Result<Self, HookError>
    where
        S: TryInto<Selector>,
        HookError: From<S::Error>,
    {
        self.acts.push((places.try_into()?, Act::Edit { region, change }));
        Ok(self)
    }

    /// Changes every site a selector fits by a closure on the whole value.
    ///
    /// # Errors
    /// [`HookError::Syntax`] if the selector does not parse.
    pub fn edit<S>(
        self,
        places: S,
        change: impl Fn(AnyTensor) -> Result<AnyTensor, HookError> + Send + Sync + 'static,
    ) -> Result<Self, HookError>
    where
        S: TryInto<Selector>,
        HookError: From<S::Error>,
    {
        self.change(places, Region::all(), Change::With(Arc::new(change)))
    }

    /// Replaces the whole value of a site.
    ///
    /// # Errors
    /// [`HookError::Syntax`] if the selector does not parse.
    pub fn set<S>(self, places: S, value: impl Into<AnyTensor>) -> Result<Self, HookError>
    where
        S: TryInto<Selector>,
        HookError: From<S::Error>,
    {
        self.change(places, Region::all(), Change::Set(value.into()))
    }

    /// Cuts the attention edges from `keys` to `queries` in the given heads (all, if none are named): their scores
    /// become minus infinity, so that the remaining weights still sum to one.
    ///
    /// # Errors
    /// [`HookError::Syntax`] if the selector does not parse. A query left with no key is found during the pass.
    pub fn knock_out<S>(
        self,
        scores: S,
        heads: Option<Vec<usize>>,
        queries: impl IntoIterator<Item = usize>,
        keys: impl IntoIterator<Item = usize>,
    ) -> Result<Self, HookError>
    where
        S: TryInto<Selector>,
        HookError: From<S::Error>,
    {
        let mut region = Region::all().of(AxisName::Query, queries).of(AxisName::Key, keys);
        if let Some(heads) = heads {
            region = region.heads(heads);
        }
        self.change(scores, region, Change::Mask)
    }

    /// Sees attention scores or weights at every site a selector fits, after edits, some queries at a time and in their order, so
    /// that they need not be there at once. A subject that computes them at once gives them at once.
    ///
    /// # Errors
    /// [`HookError::Syntax`] if the selector does not parse. A site without queries and keys is refused when the pass starts.
    pub fn scan<S>(
        mut self,
        places: S,
        see: impl Fn(&Strip, &AnyTensor) -> Result<(), HookError> + Send + Sync + 'static,
    ) -> Result<Self, HookError>
    where
        S: TryInto<Selector>,
        HookError: From<S::Error>,
    {
        self.acts.push((places.try_into()?, Act::Scan(Scan(Arc::new(see)))));
        Ok(self)
    }

    /// Asks for the gradient of the objective at every site a selector fits, all in one backward pass.
    ///
    /// # Errors
    /// [`HookError::Syntax`] if the selector does not parse.
    pub fn grad<S>(mut self, places: S) -> Result<Self, HookError>
    where
        S: TryInto<Selector>,
        HookError: From<S::Error>,
    {
        self.acts.push((places.try_into()?, Act::Grad));
        Ok(self)
    }

    /// Changes the gradient that flows back through a site; sites before it see the changed gradient.
    /// The gradient recorded at the site itself is the one that arrived, before the change.
    ///
    /// # Errors
    /// [`HookError::Syntax`] if the selector does not parse.
    pub fn edit_grad<S>(
        mut self,
        places: S,
        change: impl Fn(AnyTensor) -> Result<AnyTensor, HookError> + Send + Sync + 'static,
    ) -> Result<Self, HookError>
    where
        S: TryInto<Selector>,
        HookError: From<S::Error>,
    {
        self.acts.push((places.try_into()?, Act::GradEdit(GradFn(Arc::new(change)))));
        Ok(self)
    }

    /// What the pass is about; its value comes back for every row of the batch. The trace need not hold more of the output
    /// than this value depends on.
    #[must_use]
    pub fn objective(mut self, objective: impl Into<Objective>) -> Self {
        self.objective = Some(objective.into());
        self
    }

    /// Another objective in the same pass, forward alone: its value is [`Objective::score`] of the output that comes back.
    ///
    /// ```
    /// # use mmlens_core::{Position, Inputs, Objective, Plan, Subject, SubjectError};
    /// # fn look(subject: &dyn Subject, inputs: &Inputs) -> Result<(), SubjectError> {
    /// let (one, other) = (Objective::logit(3), Objective::log_probability(3));
    /// let trace = subject.run(inputs, Plan::new().objective(one).also(&other))?;
    /// println!("{:?}, {}", trace.scores()?, other.score(trace.output())?);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn also(mut self, objective: &Objective) -> Self {
        self.acts.extend(objective.sites().into_iter().map(|site| (Selector::from(site), Act::Keep)));
        match objective.selected_logits() {
            Some(wanted) => self.select_logits(wanted),
            None => self.to_output(),
        }
    }

    /// Goes on from a saved state instead of from the input. Sites before it cannot be planned.
    #[must_use]
    pub fn resume(mut self, state: State) -> Self {
        (self.resume, self.past) = (Some(state), Vec::new());
        self
    }

    /// Goes on from a state of the last positions alone, behind others whose keys (as attention reads them: after rotary) and
    /// values are known, `[1, pos, kv head, d_head]` each, of the state's block and of every one after it. Sites then hold
    /// these positions alone, but for the keys of scores. For subjects that [go on](crate::Subject::resumes_from_suffix).
    #[must_use]
    pub fn resume_behind(mut self, state: State, past: Vec<(AnyTensor, AnyTensor)>) -> Self {
        (self.resume, self.past) = (Some(state), past);
        self
    }

    /// Runs to the output, of which these logits are needed, and those of an objective.
    #[must_use]
    pub fn select_logits(mut self, wanted: LogitSelection) -> Self {
        self.wanted = Some(match self.wanted.take() {
            Some(before) => before.and(&wanted),
            None => wanted,
        });
        self
    }

    /// Runs to the output even if the last site read lies before it, and keeps all of it.
    #[must_use]
    pub fn to_output(mut self) -> Self {
        self.output = true;
        self
    }
}

impl Plan {
    /// This plan and then another; the other's objective and place of resumption, where it has any.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.acts.extend(other.acts);
        self.standing.extend(other.standing);
        self.objective = other.objective.or(self.objective);
        if other.resume.is_some() {
            (self.resume, self.past) = (other.resume, other.past);
        }
        self.output |= other.output;
        match other.wanted {
            Some(wanted) => self.select_logits(wanted),
            None => self,
        }
    }

    /// This plan upon standing edits, which come before those that stand already.
    #[must_use]
    pub(crate) fn upon(mut self, standing: Vec<Stood>) -> Self {
        self.standing.splice(0..0, standing);
        self
    }

    /// How many positions before those of the pass are known.
    pub(crate) fn known(&self) -> usize {
        known(&self.past)
    }

    /// Of which logits the output is needed; `None` for all that the inputs ask for.
    pub(crate) fn selected_logits(&self) -> Option<LogitSelection> {
        if self.output {
            return None;
        }
        match (self.objective.as_ref(), self.wanted.clone()) {
            (None, wanted) => wanted,
            (Some(objective), None) => objective.selected_logits(),
            (Some(objective), Some(wanted)) => objective.selected_logits().map(|own| wanted.and(&own)),
        }
    }

    /// Whether an edit is of some rows of the batch.
    pub(crate) fn names_rows(&self) -> bool {
        let named = |act: &Act| matches!(act, Act::Edit { region, .. } if region.chosen.contains_key(&AxisName::Batch));
        self.acts.iter().any(|(_, act)| named(act))
    }

    /// The same for a batch of which these rows are left, of so many: an edit of a row finds it in its place among them, or is
    /// left out with it.
    #[must_use]
    pub(crate) fn of_rows(mut self, left: &[usize], of: usize) -> Self {
        if left.len() == of {
            return self;
        }
        let place = |row: &usize| match left.iter().position(|own| own == row) {
            None if *row >= of => Some(*row),
            place => place,
        };
        self.acts.retain_mut(|(_, act)| {
            let Act::Edit { region, .. } = act else { return true };
            let Some(rows) = region.chosen.get_mut(&AxisName::Batch) else { return true };
            *rows = rows.iter().filter_map(place).collect();
            !rows.is_empty()
        });
        self
    }

    /// What of it cannot be done while generating.
    pub(crate) fn not_while_generating(&self) -> Option<&'static str> {
        if self.resume.is_some() {
            return Some("resumption");
        }
        self.acts.iter().any(|(_, act)| matches!(act, Act::Grad | Act::GradEdit(_))).then_some("gradients")
    }
}

/// How many positions keys and values are known of.
pub(crate) fn known(past: &[(AnyTensor, AnyTensor)]) -> usize {
    past.first().and_then(|(keys, _)| keys.dims().get(1).copied()).unwrap_or(0)
}

impl From<std::convert::Infallible> for HookError {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}
