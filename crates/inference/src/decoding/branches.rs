//! Several branches that step together: one session, whose logits are what a rule makes of theirs.

use std::fmt;
use std::sync::Arc;

use burn::tensor::Tensor;
use mmlens_core::{
    AnyTensor, HookError, Inputs, Part, Plan, Point, Session, SessionError, Site, Subject, SubjectError,
    Trace,
};
use mmlens_engine::{Fold, Unembedding};

use super::rule::{RowScores, Rule};

/// A pass of a branch.
#[derive(Debug, Clone, Copy)]
pub struct Pass<'a> {
    /// Whether it reads the prompt; else it has one position, behind what was read.
    pub prompt: bool,
    /// Which row of the prompt each of its rows goes on from.
    pub rows: &'a [usize],
}

/// What is read and changed in the passes of a branch.
pub type PassPlan = Arc<dyn Fn(Pass<'_>) -> Result<Plan, HookError> + Send + Sync>;

/// A branch: the model over some inputs, with a cache of its own, its passes changed by a plan if there is one.
#[derive(Clone)]
pub struct Branch {
    /// The prompts, a row for each of those of the other branches.
    pub inputs: Inputs,
    /// What is changed.
    pub plan: Option<PassPlan>,
}

impl Branch {
    /// The model as it is.
    pub fn plain(inputs: Inputs) -> Self {
        Self { inputs, plan: None }
    }

    /// What is planned for a pass.
    ///
    /// # Errors
    /// Whatever the plan reports.
    pub fn planned(&self, pass: Pass<'_>) -> Result<Plan, HookError> {
        self.plan.as_ref().map_or_else(|| Ok(Plan::new()), |plan| plan(pass))
    }
}

/// How a state of the stream becomes logits.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ReadOut {
    /// Through the last norm and the head, as the last state does.
    Norm,
    /// Through the head alone.
    Head(Unembedding),
}

/// Branches that end early: the model's own stream before some blocks, read out.
#[derive(Debug, Clone)]
pub struct Early {
    /// Before which blocks.
    pub blocks: Vec<usize>,
    /// How.
    pub read_out: ReadOut,
}

impl Early {
    fn sites(&self) -> impl Iterator<Item = Site> + '_ {
        self.blocks.iter().map(|block| Site::block(Part::Text, *block, Point::ResidPre))
    }
}

/// The model's own branch, others, and what is made of them.
#[derive(Clone)]
pub struct Contrast {
    /// The model's own.
    pub own: Branch,
    /// Others with caches of their own.
    pub beside: Vec<Branch>,
    /// Others that end early.
    pub early: Option<Early>,
    /// What is made of them.
    pub rule: Rule,
}

impl fmt::Debug for Contrast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { own, beside, early, rule } = self;
        f.debug_struct("Contrast")
            .field("rows", &own.inputs.rows())
            .field("changed", &own.plan.is_some())
            .field("beside", &beside.len())
            .field("early", early)
            .field("rule", rule)
            .finish()
    }
}

impl Contrast {
    /// Sessions that it takes.
    #[must_use]
    pub fn sessions(&self) -> usize {
        1 + self.beside.len()
    }

    /// What the model's own branch has in a pass: what is changed, and the stream read where others end early.
    ///
    /// # Errors
    /// Whatever the plan reports.
    pub fn own_plan(&self, pass: Pass<'_>) -> Result<Plan, HookError> {
        let plan = self.own.planned(pass)?;
        self.early.iter().flat_map(Early::sites).try_fold(plan, Plan::read)
    }
}

/// What was said at one step, and the scores of all rows.
#[derive(Clone)]
struct Scored {
    rows: Vec<RowScores>,
    logits: AnyTensor,
}

impl Scored {
    fn new(like: &AnyTensor, rows: Vec<RowScores>) -> Result<Self, HookError> {
        let vocab = rows.first().map_or(0, |row| row.scores.len());
        let values = rows.iter().flat_map(|row| row.scores.iter().copied()).collect();
        Ok(Self { logits: like.shaped(values, &[rows.len(), vocab])?, rows })
    }
}

/// A [`Session`] of several: every step, branch, step back and choice of rows is one of all of them, and the logits are what a
/// [`Rule`] makes of theirs. Tokens that cannot come stand at [`MASKED`](mmlens_core::MASKED).
///
/// A plan of a step is the model's own branch's, behind what the contrast changes there.
///
/// # Cost
/// A pass for each session at every step; on the host the logits of every branch and row, and of every step that can be taken back.
pub struct Branches<'a> {
    subject: &'a dyn Subject,
    contrast: Arc<Contrast>,
    own: Box<dyn Session + 'a>,
    beside: Vec<Box<dyn Session + 'a>>,
    /// Which row of the prompt each row goes on from.
    rows: Vec<usize>,
    room: Option<Vec<usize>>,
    now: Scored,
    before: Vec<Scored>,
    begun: Option<Trace>,
}

impl fmt::Debug for Branches<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let written = self.own.written();
        f.debug_struct("Branches")
            .field("subject", &self.subject.name())
            .field("contrast", &self.contrast)
            .field("written", &written)
            .finish()
    }
}

/// The least room of all.
fn room(own: &dyn Session, beside: &[Box<dyn Session + '_>]) -> Option<Vec<usize>> {
    let rooms = std::iter::once(own.room()).chain(beside.iter().map(|other| other.room())).flatten();
    // no NaN: whole numbers
    rooms.map(<[usize]>::to_vec).reduce(|a, b| a.into_iter().zip(b).map(|(a, b)| a.min(b)).collect())
}

/// Rows of a table of logits, all finite.
fn rows_of(logits: &AnyTensor, what: &str) -> Result<Vec<Vec<f32>>, HookError> {
    let vocab = logits.dims().last().copied().unwrap_or(0).max(1);
    Ok(logits.finite_values(what)?.chunks(vocab).map(<[f32]>::to_vec).collect())
}

impl<'a> Branches<'a> {
    /// Reads the prompts of all branches. The plan is the model's own branch's, for the pass over its prompt.
    ///
    /// # Errors
    /// Whatever beginning a session reports; [`SubjectError::Batch`] for branches with other numbers of rows.
    pub fn begin(
        subject: &'a dyn Subject,
        contrast: Arc<Contrast>,
        plan: Plan,
    ) -> Result<Self, SubjectError> {
        let rows: Vec<usize> = (0..contrast.own.inputs.rows()).collect();
        if let Some(other) = contrast.beside.iter().find(|other| other.inputs.rows() != rows.len()) {
            let reason = format!("a branch of {} rows beside one of {}", other.inputs.rows(), rows.len());
            return Err(SubjectError::Batch { reason });
        }
        let pass = Pass { prompt: true, rows: &rows };
        let mut own = subject.begin(&contrast.own.inputs, contrast.own_plan(pass)?.and(plan))?;
        let begin = |branch: &Branch| subject.begin(&branch.inputs, branch.planned(pass)?);
        let beside: Vec<_> = contrast.beside.iter().map(begin).collect::<Result<_, SubjectError>>()?;
        let begun = own.begun().ok_or(SessionError::Lost)?;
        let now = scored(subject, &contrast, own.as_ref(), &beside, &begun)?;
        let room = room(own.as_ref(), &beside);
        Ok(Self { subject, contrast, own, beside, rows, room, now, before: Vec::new(), begun: Some(begun) })
    }

    /// What the branches say of the next token of every row, and what is made of it.
    #[must_use]
    pub fn scores(&self) -> &[RowScores] {
        &self.now.rows
    }

    /// Takes the last step back in the model's own session and in the first of the others.
    fn undo(&mut self, others: usize) -> Result<(), SubjectError> {
        self.own.back(1)?;
        self.beside.iter_mut().take(others).try_for_each(|other| other.back(1))
    }
}

/// What is made of what all branches say after a pass of the model's own.
fn scored(
    subject: &dyn Subject,
    contrast: &Contrast,
    own: &dyn Session,
    beside: &[Box<dyn Session + '_>],
    trace: &Trace,
) -> Result<Scored, SubjectError> {
    let mut others = Vec::new();
    for (at, other) in beside.iter().enumerate() {
        others.push(rows_of(other.logits(), &format!("text.logits of branch {}", at + 1))?);
    }
    if let Some(early) = &contrast.early {
        for site in early.sites() {
            let x: Tensor<3> = trace.get(site)?.clone().rank_of(site)?;
            let [rows, positions, width] = x.dims();
            // Rows are padded on the left: the last position is the last of every row.
            let last = x.narrow(1, positions.saturating_sub(1), 1).reshape([rows, width]);
            let logits = match &early.read_out {
                ReadOut::Norm => subject.read_out(Part::Text, last.into())?,
                ReadOut::Head(unembedding) => {
                    let values = AnyTensor::new(last).to_values()?;
                    let row = |row: &[f32]| row.iter().map(|value| f64::from(*value)).collect();
                    let states: Vec<Vec<f64>> = values.chunks(width.max(1)).map(row).collect();
                    let values = unembedding.logits(&states, Fold::None)?;
                    own.logits().shaped(values, &[rows, unembedding.words()])?
                }
            };
            others.push(rows_of(&logits, &format!("logits of `{site}`"))?);
        }
    }
    let own_rows = rows_of(own.logits(), "text.logits")?;
    let mut scored = Vec::with_capacity(own_rows.len());
    for (row, own) in own_rows.into_iter().enumerate() {
        let mut said = Vec::with_capacity(others.len());
        for other in &others {
            let missing = HookError::Values { dims: vec![row + 1], given: other.len() };
            said.push(other.get(row).cloned().ok_or(missing)?);
        }
        scored.push(contrast.rule.score(own, said)?);
    }
    Ok(Scored::new(own.logits(), scored)?)
}

impl Session for Branches<'_> {
    fn rows(&self) -> usize {
        self.own.rows()
    }

    fn steps(&self) -> usize {
        self.own.steps()
    }

    fn written(&self) -> &[Vec<u32>] {
        self.own.written()
    }

    fn room(&self) -> Option<&[usize]> {
        self.room.as_deref()
    }

    fn logits(&self) -> &AnyTensor {
        &self.now.logits
    }

    fn begun(&mut self) -> Option<Trace> {
        self.begun.take()
    }

    fn step(&mut self, tokens: &[u32], plan: Plan) -> Result<Trace, SubjectError> {
        if let Some(row) = self.room.iter().flatten().position(|left| *left == 0) {
            return Err(SessionError::NoRoom { row }.into());
        }
        let rows = self.rows.clone();
        let pass = Pass { prompt: false, rows: &rows };
        let contrast = self.contrast.clone();
        let others = contrast.beside.iter().map(|branch| branch.planned(pass));
        let others: Vec<Plan> = others.collect::<Result<_, HookError>>()?;
        let trace = self.own.step(tokens, contrast.own_plan(pass)?.and(plan))?;
        for (at, plan) in others.into_iter().enumerate() {
            let Some(other) = self.beside.get_mut(at) else { continue };
            if let Err(error) = other.step(tokens, plan) {
                self.undo(at)?;
                return Err(error);
            }
        }
        let scored = match scored(self.subject, &contrast, self.own.as_ref(), &self.beside, &trace) {
            Ok(scored) => scored,
            Err(error) => {
                self.undo(self.beside.len())?;
                return Err(error);
            }
        };
        self.before.push(std::mem::replace(&mut self.now, scored));
        self.room = room(self.own.as_ref(), &self.beside);
        Ok(trace)
    }

    fn fork<'b>(&self) -> Box<dyn Session + 'b>
    where
        Self: 'b,
    {
        Box::new(Branches {
            subject: self.subject,
            contrast: self.contrast.clone(),
            own: self.own.fork(),
            beside: self.beside.iter().map(|other| other.fork()).collect(),
            rows: self.rows.clone(),
            room: self.room.clone(),
            now: self.now.clone(),
            before: self.before.clone(),
            begun: None,
        })
    }

    fn back(&mut self, steps: usize) -> Result<(), SubjectError> {
        let taken = self.before.len();
        let at = taken.checked_sub(steps).ok_or(SessionError::Back { asked: steps, taken })?;
        self.own.back(steps)?;
        self.beside.iter_mut().try_for_each(|other| other.back(steps))?;
        if let Some(before) = self.before.get(at) {
            self.now = before.clone();
        }
        self.before.truncate(at);
        self.room = room(self.own.as_ref(), &self.beside);
        Ok(())
    }

    fn keep(&mut self, rows: &[usize]) -> Result<(), SubjectError> {
        self.own.keep(rows)?;
        self.beside.iter_mut().try_for_each(|other| other.keep(rows))?;
        let kept = |scored: &Scored| {
            let own = rows.iter().filter_map(|row| scored.rows.get(*row).cloned()).collect();
            Scored::new(&scored.logits, own)
        };
        self.now = kept(&self.now)?;
        self.before = self.before.iter().map(kept).collect::<Result<_, HookError>>()?;
        self.rows = rows.iter().filter_map(|row| self.rows.get(*row).copied()).collect();
        self.room = room(self.own.as_ref(), &self.beside);
        Ok(())
    }

    fn settle(&mut self) {
        self.own.settle();
        self.beside.iter_mut().for_each(|other| other.settle());
        self.before.clear();
    }
}
