//! Cases of one target in one process, told line by line, so that who started it knows which case it died of.

use std::io::Write;

use clap::Args;
use mmlens_core::caught;
use mmlens_fuzz::{Outcome, Room, mutate};
use rlimit::{Resource, setrlimit};

/// Which cases.
#[derive(Args)]
pub(crate) struct Settings {
    /// The target.
    target: String,
    /// The seed of the run.
    #[arg(long)]
    seed: u64,
    /// The first case.
    #[arg(long)]
    first: u64,
    /// From one to the next.
    #[arg(long, default_value_t = 1)]
    step: u64,
    /// The case behind the last.
    #[arg(long)]
    end: u64,
}

impl Settings {
    /// Every line of the output is a word and a case: `at I` before it, `ok I`, `no I TEXT`, `panic I TEXT` after it.
    pub(crate) fn run(&self) -> anyhow::Result<bool> {
        let target = crate::find(&self.target)?;
        let limits = target.limits;
        // Written memory counts, reserved address space does not. What cannot be had aborts the process.
        setrlimit(Resource::DATA, limits.memory, limits.memory)?;
        let room = Room::new()?;
        let seeds = target.seeds(&room)?;
        let mut out = std::io::stdout().lock();
        let mut case = self.first;
        while case < self.end {
            writeln!(out, "at {case}")?;
            out.flush()?;
            let bytes = mutate(target.format, &seeds, self.seed, case, limits.input);
            let outcome = caught(|| target.once(&room, &bytes));
            match outcome {
                Ok(Ok(Outcome::Accepted)) => writeln!(out, "ok {case}")?,
                Ok(Ok(Outcome::Refused(text))) => {
                    let names = text.contains(&room.path().display().to_string());
                    let room = room.path().display().to_string();
                    let text = text.replace(&room, "ROOM");
                    let word = if names || !target.named { "no" } else { "nameless" };
                    writeln!(out, "{word} {case} {}", line(&text))?;
                }
                Ok(Err(error)) => return Err(error.context(format!("case {case}"))),
                Err(panicked) => writeln!(out, "panic {case} {}", line(&panicked.to_string()))?,
            }
            case += self.step;
        }
        out.flush()?;
        Ok(true)
    }
}

fn line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(600).collect()
}
