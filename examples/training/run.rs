//! The loop of a training: steps in parts side by side, and from time to time what is saved and told.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use mmlens::serde_json::{Map, Value, json};

use super::{Grads, Log, Params, Settings, Trainer};

/// Steps between two messages.
const TOLD: usize = 25;

/// Where a training runs, and what it is gone on with.
pub(crate) struct Run<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) log: Log,
    /// The state it resumes from.
    pub(crate) state: &'a Path,
    /// What a training that is gone on with must have in common with the one before.
    pub(crate) lasting: &'a str,
}

impl Run<'_> {
    /// Trains to the last step. `learn` gives the losses, by the names of `told`, and gradients of so many scenes of a step, from one on; `each` comes
    /// behind every step; `saved` writes the weights, and says how good they are.
    pub(crate) fn go<const N: usize>(
        mut self,
        mut trainer: Trainer,
        told: [&str; N],
        learn: impl Fn(&Params, usize, (u64, usize)) -> Result<([f32; N], Grads)> + Sync,
        mut each: impl FnMut(&mut Trainer) -> Result<()>,
        saved: impl Fn(&Params) -> Result<Map<String, Value>>,
    ) -> Result<()> {
        let settings = self.settings;
        self.log.go_on(trainer.step)?;
        let bar = settings.bar(trainer.step)?;
        let mut started = Instant::now();
        while trainer.step < settings.steps {
            let step = trainer.step;
            let params = &trainer.params;
            let parts = settings.side_by_side(step, |start, count| learn(params, step, (start, count)))?;
            let (mut losses, mut grads) = ([0.0; N], Vec::new());
            let n = parts.len() as f32;
            for (loss, grad) in parts {
                losses.iter_mut().zip(loss).for_each(|(sum, loss)| *sum += loss / n);
                grads.push(grad);
            }
            let norm = trainer.update(settings.rate(step), grads)?;
            each(&mut trainer)?;
            bar.inc(1);
            if step.is_multiple_of(TOLD) {
                let message = told.iter().zip(losses).map(|(name, loss)| format!("{name} {loss:.3}"));
                bar.set_message(message.collect::<Vec<_>>().join(" "));
            }
            if settings.saves(trainer.step) {
                let mut line = saved(&trainer.params)?;
                line.extend(told.iter().zip(losses).map(|(name, loss)| ((*name).to_owned(), json!(loss))));
                for (name, value) in [
                    ("step", json!(trainer.step)),
                    ("seconds", json!(started.elapsed().as_secs())),
                    ("rate", json!(settings.rate(step))),
                    ("gradient", json!(norm)),
                ] {
                    line.insert(name.to_owned(), value);
                }
                let line = Value::Object(line);
                started = Instant::now();
                self.log.enter(&line)?;
                trainer.save(self.state, self.lasting)?;
                bar.println(line.to_string());
            }
        }
        bar.finish();
        Ok(())
    }
}
