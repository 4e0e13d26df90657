//! Seeing how far long work has come, and stopping it.

use std::ops::ControlFlow;

use crate::AnalysisError;

/// Sees how far a long piece of work has come, and may stop it.
pub trait Watch: Sync {
    /// Called after each step; `Break` cancels.
    fn step(&self, method: &'static str, done: usize, total: usize) -> ControlFlow<()>;
}

/// Watches nothing.
#[derive(Debug, Clone, Copy)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn step(&self, _: &'static str, _: usize, _: usize) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// Reports a step, and turns a break into an error.
///
/// # Errors
/// [`AnalysisError::Cancelled`].
pub fn step(watch: &dyn Watch, method: &'static str, done: usize, total: usize) -> Result<(), AnalysisError> {
    match watch.step(method, done, total) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(AnalysisError::Cancelled { method, done, total }),
    }
}
