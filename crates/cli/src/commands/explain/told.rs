//! What a run of `explain` tells.

use std::path::{Path, PathBuf};

use anyhow::Result;
use mmlens::core::memory;
use mmlens::engine::aim::{Given, Said};
use mmlens::finding::Caution;
use serde::Serialize;

use crate::caution::ToldCaution;
use crate::print;

#[derive(Serialize)]
pub(super) struct Told {
    pub(super) model: String,
    pub(super) alterations: Vec<String>,
    pub(super) question: String,
    pub(super) answer: String,
    #[serde(flatten)]
    pub(super) given: Option<Given>,
    pub(super) ended: bool,
    pub(super) last_position: bool,
    pub(super) tokens: Vec<Said>,
    pub(super) explained: Explained,
    pub(super) memory: Announced,
    pub(super) findings: Vec<Written>,
    /// What is to be known of the answer.
    pub(super) notes: Vec<String>,
    /// What speaks against taking findings at their word.
    pub(super) cautions: Vec<Cautioned>,
    pub(super) left_out: Vec<LeftOut>,
    pub(super) report: PathBuf,
}

/// A caution, and the method whose finding it is about; of the input itself none.
#[derive(Serialize)]
pub(super) struct Cautioned {
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'static str>,
    #[serde(flatten)]
    caution: ToldCaution,
}

impl Cautioned {
    pub(super) fn new(method: Option<&'static str>, caution: &Caution) -> Self {
        Self { method, caution: caution.into() }
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        match self.method {
            Some(method) => format!("{method}: {}", self.caution.text),
            None => self.caution.text.clone(),
        }
    }
}

/// What of the answer is explained.
#[derive(Serialize)]
pub(super) struct Explained {
    /// As it stands there.
    pub(super) text: String,
    /// Its token or class, or the number of the caption, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<u32>,
    /// The first of its tokens among those of the answer and the one behind the last, if it has tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tokens: Option<[usize; 2]>,
    /// What is measured of it, with its value.
    pub(super) what: String,
}

/// What is taken of memory beside the model, in bytes.
#[derive(Serialize)]
pub(super) struct Announced {
    /// What each method may take at once.
    pub(super) budget: u64,
    /// What a pass of the prompt takes at most by itself.
    pub(super) pass: u64,
}

impl Announced {
    pub(super) fn told(&self, unasked: bool) -> String {
        let from = if unasked { "the default; --memory" } else { "--memory" };
        let [budget, pass] = [self.budget, self.pass].map(memory::size);
        format!(
            "memory     up to {budget} for each method ({from}); a pass of this prompt takes up to {pass}"
        )
    }
}

/// What a method left on disk.
#[derive(Serialize)]
pub(super) struct Written {
    pub(super) method: &'static str,
    pub(super) finding: PathBuf,
    pub(super) heat_maps: Vec<HeatMap>,
    /// Whether it was computed before, by a run that was cut off.
    pub(super) kept: bool,
    pub(super) seconds: f64,
    /// What it was compared with, of methods that compare two runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) compares: Option<String>,
}

#[derive(Serialize)]
pub(super) struct HeatMap {
    pub(super) file: PathBuf,
    pub(super) image: String,
    pub(super) shows: String,
}

#[derive(Serialize)]
pub(super) struct LeftOut {
    pub(super) method: &'static str,
    pub(super) reason: String,
}

impl Told {
    /// For people.
    pub(super) fn print(&self) -> Result<()> {
        let comparing = || self.findings.iter().filter(|written| written.compares.is_some());
        if let Some(what) = comparing().find_map(|written| written.compares.as_deref()) {
            let by: Vec<&str> = comparing().map(|written| written.method).collect();
            print::line(format!("compared   with {} ({})", print::visible(what), by.join(", ")))?;
        }
        print::line("")?;
        let show = |path: &Path| print::visible(&path.display().to_string());
        let rows = self.findings.iter().map(|written| {
            let maps: Vec<String> = written.heat_maps.iter().map(|map| show(&map.file)).collect();
            let time = if written.kept { "kept".to_owned() } else { format!("{:.1} s", written.seconds) };
            [written.method.to_owned(), time, show(&written.finding), maps.join("  ")]
        });
        print::columns(&rows.collect::<Vec<_>>())?;
        print::line(format!("\nreport     {}", show(&self.report)))?;
        self.notes.iter().for_each(|note| print::note(note));
        self.cautions.iter().for_each(|caution| print::note(&caution.text()));
        for LeftOut { method, reason } in &self.left_out {
            print::note(&format!("{method} was left out: {}", print::visible(reason)));
        }
        Ok(())
    }
}
