//! Times of a piece of work, and what came of it.

use std::time::Instant;

use anyhow::Result;
use serde_json::{Value, json};

/// How often work is done.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    /// Before it counts.
    pub(crate) warm: usize,
    /// While it counts.
    pub(crate) repetitions: usize,
}

impl Times {
    /// Each time in milliseconds, and the numbers that `result` takes from the last outcome, which do not count.
    pub(crate) fn measure<T>(
        self,
        work: impl Fn() -> Result<T>,
        result: impl Fn(T) -> Result<Vec<f32>>,
    ) -> Result<Value> {
        for _ in 0..self.warm {
            work()?;
        }
        let mut times = Vec::with_capacity(self.repetitions);
        let mut last = None;
        for _ in 0..self.repetitions {
            drop(last.take());
            let start = Instant::now();
            let outcome = work()?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
            last = Some(outcome);
        }
        let result = last.map(result).transpose()?.unwrap_or_default();
        Ok(json!({ "times": times, "result": result }))
    }
}
