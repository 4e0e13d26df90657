//! Two models on one input: both explained in the same way, and their maps side by side.

use std::path::{Path, PathBuf};

use anyhow::Result;
use mmlens::core::Subject;
use serde::Serialize;

use super::{Explain, told};
use crate::commands::compare::{self, Compare};
use crate::input::suited;
use crate::model::ModelArgs;
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
        let asked = self.question.sample()?;
        for subject in &subjects {
            suited(subject, &asked.words)?;
        }
        let places = (self.out.join(PAGE), self.out.join(FINDING));
        // What an earlier run compared is not beside what this one explains.
        for place in [&places.0, &places.1] {
            mmlens::files::remove(place)?;
        }
        let [first, second] = [(one, &self.model, FOLDERS[0]), (two, &other, FOLDERS[1])]
            .map(|(subject, model, folder)| self.explained((subject, model), &self.out.join(folder)));
        let (first, second) = (first?, second?);
        let findings: Vec<PathBuf> = [&first, &second]
            .iter()
            .flat_map(|told| told.findings.iter().map(|own| own.finding.clone()))
            .collect();
        // What is explained of each, in words: a finding may hold tokens alone.
        let answers: Vec<String> = [&first, &second]
            .iter()
            .flat_map(|told| told.findings.iter().map(|_| told.explained.text.trim().to_owned()))
            .collect();
        let compare = Compare::of(findings, places);
        let told = Told { first, second, compared: compare.compared(&answers)? };
        if self.json { print::json(&told) } else { told.compared.print() }
    }

    fn explained(&self, (subject, model): (&dyn Subject, &ModelArgs), out: &Path) -> Result<told::Told> {
        let (task, placed) = (self.task()?, self.methods()?);
        let bar = Bar::new();
        let told = self.work((subject, model), &placed, &bar).explain(&task, out, !self.json)?;
        bar.done();
        if !self.json {
            told.print()?;
            print::line("")?;
        }
        Ok(told)
    }
}
