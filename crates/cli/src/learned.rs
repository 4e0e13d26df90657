//! What came of a fit, as it is told and found again.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use mmlens::files::{parse_json, read};
use mmlens::finding::Finding;
use serde::{Deserialize, Serialize};

use crate::{print, tables};

/// The most bytes of what is told.
const MOST: u64 = 1 << 20;

/// What came of a fit.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Told {
    /// What learned.
    pub(crate) method: String,
    /// The file of what was learned.
    pub(crate) fitted: PathBuf,
    /// The finding about it.
    pub(crate) finding: PathBuf,
    /// Whether the search for the minimum came to its end.
    pub(crate) converged: bool,
    /// How it ended, in words.
    pub(crate) ended: String,
    /// What speaks against it.
    pub(crate) cautions: Vec<String>,
}

impl Told {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let named = || path.display().to_string();
        parse_json(&read(path, MOST).with_context(named)?).with_context(named)
    }

    pub(crate) fn print(&self) -> Result<()> {
        let visible = |path: &Path| print::visible(&path.display().to_string());
        print::line(format!("{}: {}", self.method, self.ended))?;
        for caution in &self.cautions {
            print::note(&print::visible(caution));
        }
        answer(&Finding::load(&self.finding)?, &self.finding)?;
        print::line("")?;
        print::line(format!("learned  {}", visible(&self.fitted)))?;
        print::line(format!("finding  {}", visible(&self.finding)))
    }
}

/// Prints the tables of an answer.
pub(crate) fn answer(finding: &Finding, file: &Path) -> Result<()> {
    for table in finding.answer() {
        print::line("")?;
        let (file, name) = (print::visible(&file.display().to_string()), print::visible(table.name()));
        tables::table(
            table,
            finding.tables(),
            &format!("all of them: mmlens show {file} '{name}' --csv FILE"),
        )?;
    }
    Ok(())
}
