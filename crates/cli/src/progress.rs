//! How far long work has come, shown on a terminal only.

use std::ops::ControlFlow;

use indicatif::{ProgressBar, ProgressStyle};
use mmlens::core::Watch;

/// A bar on standard error; nothing where that is no terminal.
pub(crate) struct Bar(ProgressBar);

impl Bar {
    pub(crate) fn new() -> Self {
        let bar = ProgressBar::no_length();
        if let Ok(style) = ProgressStyle::with_template("{msg:24} {wide_bar:.dim} {pos}/{len}") {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// Clears the line.
    pub(crate) fn done(&self) {
        self.0.finish_and_clear();
    }
}

impl Watch for Bar {
    fn step(&self, method: &'static str, done: usize, total: usize) -> ControlFlow<()> {
        self.0.set_length(total as u64);
        self.0.set_message(method);
        self.0.set_position(done as u64);
        ControlFlow::Continue(())
    }
}
