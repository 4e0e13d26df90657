//! Answers of a subject with standing edits: every step has those that name no positions of the prompt.

use super::{Altered, Pass};
use crate::{Plan, Session, Subject, SubjectError, Trace, forward_session};

/// A session of the subject inside, whose steps have the edits.
pub(super) struct Answering<'a, S> {
    pub(super) subject: &'a Altered<S>,
    pub(super) inner: Box<dyn Session + 'a>,
    /// So much padding each row of the prompt begins with.
    pub(super) pads: Vec<usize>,
}

impl<S: Subject> Session for Answering<'_, S> {
    forward_session!(|own| own.inner; rows, steps, written, room, logits, begun, back, settle);

    fn step(&mut self, tokens: &[u32], plan: Plan) -> Result<Trace, SubjectError> {
        let local = self.subject.local(&Pass::Answer { pads: &self.pads })?;
        self.inner.step(tokens, plan.upon(local))
    }

    fn fork<'b>(&self) -> Box<dyn Session + 'b>
    where
        Self: 'b,
    {
        Box::new(Answering { subject: self.subject, inner: self.inner.fork(), pads: self.pads.clone() })
    }

    fn keep(&mut self, rows: &[usize]) -> Result<(), SubjectError> {
        self.inner.keep(rows)?;
        self.pads = rows.iter().filter_map(|row| self.pads.get(*row).copied()).collect();
        Ok(())
    }
}
