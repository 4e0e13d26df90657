//! How far long work has come, shown on a terminal only, and how it is stopped.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use mmlens::core::Watch;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Whether somebody asked the program to stop.
static STOPPED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// The exit code of a program that was asked to stop, as shells have it.
pub(crate) const CUT_OFF: u8 = 130;

/// Asked to stop (Ctrl-C, or the system's request to end), the program ends with its next step; asked once more, at once.
pub(crate) fn stoppable() -> Result<()> {
    for signal in [SIGINT, SIGTERM] {
        // What is registered first is done first: the second request finds the first one noted.
        flag::register_conditional_shutdown(signal, CUT_OFF.into(), STOPPED.clone())?;
        flag::register(signal, STOPPED.clone())?;
    }
    Ok(())
}

/// Whether somebody asked the program to stop.
pub(crate) fn stopped() -> bool {
    STOPPED.load(Ordering::SeqCst)
}

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
        if stopped() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}
