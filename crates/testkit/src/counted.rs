//! A subject that counts the rows that pass through it.

use std::sync::atomic::{AtomicU64, Ordering};

use mmlens_core::{
    Inputs, Output, Plan, Run, Session, Subject, SubjectError, Trace, forward_session, forward_subject,
};

/// Another subject, which counts the rows of its passes and of the steps of its sessions. It goes on from no suffix, so that a pass
/// counts whole.
pub(crate) struct Counted<'a> {
    subject: &'a dyn Subject,
    rows: AtomicU64,
}

impl<'a> Counted<'a> {
    pub(crate) fn new(subject: &'a dyn Subject) -> Self {
        Self { subject, rows: AtomicU64::new(0) }
    }

    /// Rows so far.
    pub(crate) fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    fn count(&self, rows: usize) {
        self.rows.fetch_add(rows as u64, Ordering::Relaxed);
    }
}

impl Subject for Counted<'_> {
    forward_subject!(|own| own.subject; name, weights_hash, alterations, dtype, device, kernels, edited, sites, anatomy, read_behind, weights, weight,
        encode, read_out, longest_answer, rules, decode, token, tokens, mask, pad);

    fn forward(&self, inputs: &Inputs, run: &mut Run) -> Result<Output, SubjectError> {
        self.count(inputs.rows());
        self.subject.forward(inputs, run)
    }

    fn begin(&self, inputs: &Inputs, plan: Plan) -> Result<Box<dyn Session + '_>, SubjectError> {
        self.count(inputs.rows());
        Ok(Box::new(Stepping { counted: self, inner: self.subject.begin(inputs, plan)? }))
    }
}

/// A session whose steps are counted.
struct Stepping<'a> {
    counted: &'a Counted<'a>,
    inner: Box<dyn Session + 'a>,
}

impl Session for Stepping<'_> {
    forward_session!(|own| own.inner; rows, steps, written, room, logits, begun, back, keep, settle);

    fn step(&mut self, tokens: &[u32], plan: Plan) -> Result<Trace, SubjectError> {
        self.counted.count(tokens.len());
        self.inner.step(tokens, plan)
    }

    fn fork<'b>(&self) -> Box<dyn Session + 'b>
    where
        Self: 'b,
    {
        Box::new(Stepping { counted: self.counted, inner: self.inner.fork() })
    }
}
