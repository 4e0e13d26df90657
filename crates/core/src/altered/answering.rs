//! Answers of a subject with standing edits: every step has those that name no positions of the prompt.

use super::{Altered, Pass};
use crate::{AnyTensor, Plan, Session, Subject, SubjectError, Trace};

/// A session of the subject inside, whose steps have the edits.
pub(super) struct Answering<'a, S> {
    pub(super) subject: &'a Altered<S>,
    pub(super) inner: Box<dyn Session + 'a>,
    /// So much padding each row of the prompt begins with.
    pub(super) pads: Vec<usize>,
}

impl<S: Subject> Session for Answering<'_, S> {
    fn rows(&self) -> usize {
        self.inner.rows()
    }

    fn steps(&self) -> usize {
        self.inner.steps()
    }

    fn written(&self) -> &[Vec<u32>] {
        self.inner.written()
    }

    fn room(&self) -> Option<&[usize]> {
        self.inner.room()
    }

    fn logits(&self) -> &AnyTensor {
        self.inner.logits()
    }

    fn begun(&mut self) -> Option<Trace> {
        self.inner.begun()
    }

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

    fn back(&mut self, steps: usize) -> Result<(), SubjectError> {
        self.inner.back(steps)
    }

    fn keep(&mut self, rows: &[usize]) -> Result<(), SubjectError> {
        self.inner.keep(rows)?;
        self.pads = rows.iter().filter_map(|row| self.pads.get(*row).copied()).collect();
        Ok(())
    }

    fn settle(&mut self) {
        self.inner.settle();
    }
}
