//! Two models on one input: both explained in the same way, and their maps side by side.

use std::path::PathBuf;

use anyhow::Result;
use mmlens::core::Subject;
use mmlens::files::Target;
use serde::Serialize;

use super::one::Task;
use super::{Explain, told};
use crate::commands::compare::{self, Compare};
use crate::input::suited;
use crate::model::ModelArgs;
use crate::place::Placed;
use crate::print;
use crate::progress::Bar;
use crate::refusal::Refusal;

/// Names within the folder that is written.
const FOLDERS: [&str; 2] = ["first", "second"];
const PAGE: &str = "compare.html";
const FINDING: &str = "compare.safetensors";

#[derive(Serialize)]
struct Told {
    first: told::Told,
    second: told::Told,
    compared: compare::Told,
}

impl Explain {
    pub(super) fn side_by_side(&self, other: &str) -> Result<()> {
        if self.dry_run {
            return Err(Refusal::DryBeside.into());
        }
        if self.beside_cases.is_some() {
            return Err(Refusal::BesideCases.into());
        }
        let other = self.model.other(other);
        // Both are opened before either is explained: what cannot be opened is told at once.
        let subjects = [self.edits.of(self.model.open()?)?, self.edits.of(other.open()?)?];
        let [one, two] = &subjects;
        let (task, placed) = (self.task()?, self.methods()?);
        for subject in &subjects {
            suited(subject, &task.sample.words)?;
        }
        let places = (self.out.join(PAGE), self.out.join(FINDING));
        let folders = [self.model.folder()?, other.folder()?].into_iter().flatten();
        let read: Vec<PathBuf> =
            task.inputs.iter().cloned().chain(self.edits.inputs()).chain(folders).collect();
        // What an earlier run compared is not beside what this one explains.
        for place in [&places.0, &places.1].into_iter().filter(|place| place.exists()) {
            Target::new(place)?.apart_from(read.iter().cloned())?;
            mmlens::files::remove(place)?;
        }
        let explained = |subject, model, folder| self.explained((subject, model), (&task, &placed), folder);
        let first = explained(one, &self.model, FOLDERS[0])?;
        let second = explained(two, &other, FOLDERS[1])?;
        let findings: Vec<PathBuf> = [&first, &second]
            .iter()
            .flat_map(|told| told.findings.iter().map(|own| own.finding.clone()))
            .collect();
        let compare = Compare::of(findings, places);
        let told = Told { first, second, compared: compare.compared(false)? };
        if self.json { print::json(&told) } else { told.compared.print() }
    }

    fn explained(
        &self,
        (subject, model): (&dyn Subject, &ModelArgs),
        (task, placed): (&Task, &Placed),
        folder: &str,
    ) -> Result<told::Told> {
        let bar = Bar::new();
        let work = self.work((subject, model), placed, &bar);
        let told = work.explain(task, &self.out.join(folder), !self.json)?;
        bar.done();
        if !self.json {
            told.print()?;
            print::line("")?;
        }
        Ok(told)
    }
}
