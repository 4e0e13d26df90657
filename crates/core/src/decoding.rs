//! The session of any subject that can go on from what it has read.

use std::fmt;

use burn::tensor::{Int, Tensor, TensorData};

use crate::{
    AnyTensor, HookError, Inputs, Output, Plan, Run, Session, SessionError, Subject, SubjectError, Trace,
    among_threads,
};

/// What a subject goes on with behind a prompt: keys and values of the positions so far, and what else the next token needs.
///
/// With it, [`Decoding`] is the subject's [`Session`]. A clone shares its tensors.
pub trait Decode: Clone + Send {
    /// One pass over one more token of each row, behind those before: the logits of what follows, `[row, 1, vocab]`; `None` if
    /// the run ended it before.
    ///
    /// # Errors
    /// Whatever a site reports, or a token the subject cannot take.
    fn go_on(&mut self, tokens: &[u32], run: &mut Run) -> Result<Option<AnyTensor>, SubjectError>;

    /// Forgets all but the prompt and the first `steps` tokens behind it, also what a pass that broke off has left. Gives
    /// whether these are whole.
    fn cut(&mut self, steps: usize) -> bool;

    /// Goes on with these rows, which exist, in this order; one may be named several times.
    fn keep(&mut self, rows: &[usize]);
}

/// The logits before a step, and which of their rows are left, if not all in their order.
#[derive(Debug, Clone)]
struct Before {
    logits: AnyTensor,
    rows: Option<Vec<usize>>,
}

/// A [`Session`] of a subject that brings a [`Decode`].
#[derive(Clone)]
pub struct Decoding<'a, D> {
    subject: &'a dyn Subject,
    state: D,
    logits: AnyTensor,
    /// One for each step that can be taken back.
    before: Vec<Before>,
    steps: usize,
    written: Vec<Vec<u32>>,
    room: Option<Vec<usize>>,
    begun: Option<Trace>,
    lost: bool,
}

impl<D> fmt::Debug for Decoding<'_, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { written, room, .. } = self;
        let name = self.subject.name();
        f.debug_struct("Decoding")
            .field("subject", &name)
            .field("written", written)
            .field("room", room)
            .finish()
    }
}

/// A plan for a pass of a session, checked; it runs to the output.
fn started(subject: &dyn Subject, plan: Plan) -> Result<Run, HookError> {
    match plan.not_while_generating() {
        Some(what) => Err(HookError::Generating(what)),
        None => Run::start(plan.to_output(), subject.name(), subject.sites()),
    }
}

fn no_logits() -> HookError {
    HookError::NoOutput("generation".to_owned())
}

/// The last logits, `[row, vocab]`, of a pass over so many rows.
fn last(trace: &Trace, rows: usize) -> Result<AnyTensor, HookError> {
    let logits: Tensor<3> = trace.output().logits.clone().ok_or_else(no_logits)?.rank_of("the logits")?;
    let [found, asked, vocab] = logits.dims();
    if [found, asked] != [rows, 1] || vocab == 0 {
        return Err(HookError::Unwanted { found: vec![found, asked, vocab], positions: 1, tokens: None });
    }
    Ok(logits.reshape([rows, vocab]).into())
}

/// Rows of a table, `[row, vocab]`.
fn chosen(table: &AnyTensor, rows: &[usize]) -> Result<AnyTensor, HookError> {
    let table: Tensor<2> = table.clone().rank_of("the logits")?;
    let index: Vec<i64> = rows.iter().map(|row| *row as i64).collect();
    let data = TensorData::new(index, [rows.len()]);
    let device = table.device().without_autodiff();
    Ok(table.select(0, Tensor::<1, Int>::from_data(data, &device)).into())
}

fn picked<T: Clone>(list: &[T], rows: &[usize]) -> Vec<T> {
    rows.iter().filter_map(|row| list.get(*row).cloned()).collect()
}

impl<'a, D: Decode> Decoding<'a, D> {
    /// Reads a prompt, carrying out a plan. `room` is how many tokens may follow in each row, where positions end; `pass` is given
    /// the inputs, which ask for the last position, and gives the logits there, `[row, 1, vocab]`, and what the subject goes
    /// on with; `None` if the run ended it before.
    ///
    /// # Errors
    /// Inputs that do not belong together, a plan that cannot be carried out or asks for gradients or resumption, a pass that
    /// takes more memory than there is; whatever the pass says.
    pub fn begin(
        subject: &'a dyn Subject,
        inputs: &Inputs,
        plan: Plan,
        room: Option<Vec<usize>>,
        pass: impl FnOnce(&Inputs, &mut Run) -> Result<Option<(AnyTensor, D)>, SubjectError> + Send,
    ) -> Result<Self, SubjectError> {
        inputs.some()?;
        let prompt = inputs.clone().last_logits();
        let run = started(subject, plan)?.over(&prompt);
        subject.fits(&prompt, &run)?;
        let mut state = None;
        let pass = |run: &mut Run| {
            let (logits, own) = pass(&prompt, run)?.ok_or_else(no_logits)?;
            state = Some(own);
            Ok::<_, SubjectError>(Output::of_logits(logits))
        };
        let trace = among_threads(&subject.device(), || run.carry_out(subject, pass))?;
        let rows = inputs.rows();
        Ok(Self {
            subject,
            state: state.ok_or_else(no_logits)?,
            logits: last(&trace, rows)?,
            before: Vec::new(),
            steps: 0,
            written: vec![Vec::new(); rows],
            room,
            begun: Some(trace),
            lost: false,
        })
    }
}

impl<D: Decode> Session for Decoding<'_, D> {
    fn rows(&self) -> usize {
        self.written.len()
    }

    fn steps(&self) -> usize {
        self.steps
    }

    fn written(&self) -> &[Vec<u32>] {
        &self.written
    }

    fn room(&self) -> Option<&[usize]> {
        self.room.as_deref()
    }

    fn logits(&self) -> &AnyTensor {
        &self.logits
    }

    fn begun(&mut self) -> Option<Trace> {
        self.begun.take()
    }

    fn step(&mut self, tokens: &[u32], plan: Plan) -> Result<Trace, SubjectError> {
        let (subject, rows) = (self.subject, self.rows());
        if self.lost {
            return Err(SessionError::Lost.into());
        }
        if tokens.len() != rows {
            return Err(SessionError::Tokens { found: tokens.len(), rows }.into());
        }
        if let Some(row) = self.room.iter().flatten().position(|left| *left == 0) {
            return Err(SessionError::NoRoom { row }.into());
        }
        let run = started(subject, plan)?;
        let state = &mut self.state;
        let pass = |run: &mut Run| {
            let logits = state.go_on(tokens, run)?.ok_or_else(no_logits)?;
            Ok::<_, SubjectError>(Output::of_logits(logits))
        };
        let passed = among_threads(&subject.device(), || run.carry_out(subject, pass))
            .and_then(|trace| Ok((last(&trace, rows)?, trace)));
        let (logits, trace) = match passed {
            Ok(passed) => passed,
            Err(error) => {
                self.lost = !self.state.cut(self.steps);
                return Err(error);
            }
        };
        let logits = std::mem::replace(&mut self.logits, logits);
        self.before.push(Before { logits, rows: None });
        self.steps += 1;
        self.written.iter_mut().zip(tokens).for_each(|(row, token)| row.push(*token));
        self.room.iter_mut().flatten().for_each(|left| *left -= 1);
        Ok(trace)
    }

    fn fork<'b>(&self) -> Box<dyn Session + 'b>
    where
        Self: 'b,
    {
        Box::new(Self { begun: None, ..self.clone() })
    }

    fn back(&mut self, steps: usize) -> Result<(), SubjectError> {
        let taken = self.before.len();
        let at = taken.checked_sub(steps).ok_or(SessionError::Back { asked: steps, taken })?;
        let Some(before) = self.before.get(at) else { return Ok(()) };
        let logits = match &before.rows {
            Some(rows) => chosen(&before.logits, rows)?,
            None => before.logits.clone(),
        };
        let left = self.steps - steps;
        self.lost |= !self.state.cut(left);
        if self.lost {
            return Err(SessionError::Lost.into());
        }
        self.before.truncate(at);
        (self.logits, self.steps) = (logits, left);
        self.written.iter_mut().for_each(|row| row.truncate(left));
        self.room.iter_mut().flatten().for_each(|room| *room += steps);
        Ok(())
    }

    fn keep(&mut self, rows: &[usize]) -> Result<(), SubjectError> {
        let all = self.rows();
        if rows.is_empty() {
            return Err(SessionError::NoRows.into());
        }
        if let Some(&row) = rows.iter().find(|row| **row >= all) {
            return Err(SessionError::Row { row, rows: all }.into());
        }
        if rows.iter().copied().eq(0..all) {
            return Ok(());
        }
        self.logits = chosen(&self.logits, rows)?;
        self.state.keep(rows);
        for before in &mut self.before {
            before.rows = Some(before.rows.as_ref().map_or_else(|| rows.to_vec(), |own| picked(own, rows)));
        }
        self.written = picked(&self.written, rows);
        self.room = self.room.as_ref().map(|room| picked(room, rows));
        Ok(())
    }

    fn settle(&mut self) {
        self.before.clear();
    }
}
