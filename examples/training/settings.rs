//! How a training runs, and one step of it computed in parts side by side.

use anyhow::{Result, anyhow};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use mmlens::data::shapes::World;

#[derive(Args)]
pub(crate) struct Settings {
    /// Steps in all.
    #[arg(long, default_value_t = 5000)]
    pub(crate) steps: usize,
    /// Share of the steps over which the rate falls.
    #[arg(long, default_value_t = 0.3)]
    fall: f64,
    /// The highest learning rate.
    #[arg(long, default_value_t = 1.5e-3)]
    rate: f64,
    /// Pictures a step.
    #[arg(long, default_value_t = 32)]
    pictures: usize,
    /// Parts a step is computed in, side by side.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Steps between two saves.
    #[arg(long, default_value_t = 250)]
    save: usize,
    /// Decides weights and scenes, and what is said of them.
    #[arg(long, default_value_t = 7)]
    pub(crate) seed: u64,
    /// Trains without the planted co-occurrences.
    #[arg(long)]
    unbiased: bool,
    /// Pictures that are scored at every save, in four parts.
    #[arg(long, default_value_t = 256)]
    scored: usize,
}

impl Settings {
    pub(crate) fn world(&self) -> World {
        World::new(self.seed).with_bias(self.biased())
    }

    /// Whether what is learned from has the planted co-occurrences.
    pub(crate) fn biased(&self) -> bool {
        !self.unbiased
    }

    /// The learning rate: up over 200 steps, then constant, then down to nothing.
    pub(crate) fn rate(&self, step: usize) -> f64 {
        let warm = ((step + 1) as f64 / 200.0).min(1.0);
        let left = self.steps.saturating_sub(step) as f64 / (self.fall * self.steps as f64).max(1.0);
        self.rate * warm * left.min(1.0)
    }

    /// What a training that is gone on with must have in common with the one before; the number of steps, and with it where
    /// the rate falls, may be prolonged.
    pub(crate) fn lasting(&self) -> String {
        let Self { rate, pictures, threads, seed, unbiased, .. } = self;
        format!("rate {rate}, pictures {pictures}, threads {threads}, seed {seed}, unbiased {unbiased}")
    }

    /// The parts of what is scored: the first scene of each, and their number.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (u64, usize)> {
        let share = self.scored.div_ceil(4);
        (0..4).map(move |part| (part * share as u64, share))
    }

    /// Whether the state is saved after so many steps.
    pub(crate) fn saves(&self, done: usize) -> bool {
        done.is_multiple_of(self.save) || done == self.steps
    }

    /// Computes the parts of a step, each from its first scene and its number of scenes.
    pub(crate) fn side_by_side<T: Send>(
        &self,
        step: usize,
        part: impl Fn(u64, usize) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let share = self.pictures.div_ceil(self.threads.max(1));
        std::thread::scope(|scope| {
            let part = &part;
            let start = |t: usize| ((step * self.threads + t) * share) as u64;
            let handles: Vec<_> =
                (0..self.threads).map(|t| scope.spawn(move || part(start(t), share))).collect();
            let joined = handles.into_iter();
            joined
                .map(|h| h.join().unwrap_or_else(|_| Err(anyhow!("a part of step {step} failed"))))
                .collect()
        })
    }

    pub(crate) fn bar(&self, done: usize) -> Result<ProgressBar> {
        let bar = ProgressBar::new(self.steps as u64).with_position(done as u64);
        bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} {per_sec} {eta} left  {msg}")?);
        Ok(bar)
    }
}
