//! What is told of a training at every save, a line each; and a lock, so that one process at a time trains into a folder.

use std::path::Path;

use anyhow::{Context, Result};
use mmlens::files::Journal;
use serde_json::Value;

pub(crate) struct Log {
    journal: Journal,
    lines: Vec<String>,
}

impl Log {
    /// Makes the folder, and holds it for this process.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let path = folder.join("training.jsonl");
        let (journal, lines) = Journal::open(&path).with_context(|| path.display().to_string())?;
        Ok(Self { journal, lines })
    }

    /// Drops lines of later steps than the one that training goes on from: they are of a save that was cut off.
    pub(crate) fn go_on(&mut self, step: usize) -> Result<()> {
        let before = |line: &&String| {
            let line: Value = serde_json::from_str(line).unwrap_or_default();
            line["step"].as_u64().is_some_and(|own| own <= step as u64)
        };
        Ok(self.journal.keep(self.lines.iter().take_while(before).count())?)
    }

    pub(crate) fn enter(&mut self, line: &Value) -> Result<()> {
        Ok(self.journal.append(&line.to_string())?)
    }
}
