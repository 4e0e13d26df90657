//! The cases of a folder or a file, as a data set.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use mmlens::core::{Case, Cases, Mask, PersonMap, SubjectError};
use mmlens::files::sha256;
use serde_json::json;

use super::cases::{Listed, to_learn_from};
use crate::input::QuestionArgs;

/// The cases of a folder or a file, as a data set. Classes are in the order of their names, groups in that of their first case.
pub(crate) struct CaseData {
    name: String,
    cases: Vec<Listed>,
    classes: Vec<String>,
    groups: BTreeMap<String, u64>,
}

impl CaseData {
    /// Reads which cases there are; their pictures are read when each is asked for.
    pub(crate) fn read(path: &Path, question: &QuestionArgs) -> Result<Self> {
        let cases = to_learn_from(path, question)?;
        let mut classes: Vec<String> =
            cases.iter().filter_map(|case| case.label().map(str::to_owned)).collect();
        classes.sort();
        classes.dedup();
        let mut groups = BTreeMap::new();
        for case in &cases {
            if let Some(group) = case.group() {
                // Past the numbers of cases, each of which is a group of its own where none is named.
                let next = (cases.len() + groups.len()) as u64;
                groups.entry(group.to_owned()).or_insert(next);
            }
        }
        let name =
            path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into());
        Ok(Self { name, cases, classes, groups })
    }

    /// The files and folders of all pictures and clips.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        self.cases.iter().flat_map(Listed::files).collect()
    }

    /// Of the classes and groups of all cases, for a store that holds the rest.
    pub(crate) fn labels(&self) -> Result<String> {
        let known: Result<Vec<_>, SubjectError> =
            (0..self.len()).map(|at| Ok((self.label(at)?, self.group(at)?))).collect();
        Ok(sha256(json!([self.classes, known?]).to_string()))
    }

    fn listed(&self, index: usize) -> Result<&Listed, SubjectError> {
        let past = || SubjectError::NoCase { data: self.name.clone(), index, len: self.cases.len() };
        self.cases.get(index).ok_or_else(past)
    }
}

impl Cases for CaseData {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> usize {
        self.cases.len()
    }

    fn case(&self, index: usize) -> Result<Case, SubjectError> {
        let listed = self.listed(index)?;
        let sample = listed.sample().map_err(|error| SubjectError::Sample {
            subject: self.name.clone(),
            reason: format!("{}: {error:#}", listed.name),
        })?;
        // An answer that was given is what is asked about.
        Ok(if sample.reply.is_some() { Case::answer(sample) } else { Case::new(sample) })
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn label(&self, index: usize) -> Result<Option<usize>, SubjectError> {
        let label = self.listed(index)?.label();
        Ok(label.and_then(|label| self.classes.iter().position(|class| class == label)))
    }

    fn concepts(&self, index: usize) -> Result<Vec<String>, SubjectError> {
        Ok(self.listed(index)?.concepts())
    }

    fn masks(&self, index: usize) -> Result<Vec<Mask>, SubjectError> {
        self.listed(index)?.masks()
    }

    fn persons(&self, index: usize) -> Result<Vec<PersonMap>, SubjectError> {
        self.listed(index)?.persons()
    }

    fn group(&self, index: usize) -> Result<Option<u64>, SubjectError> {
        Ok(self.listed(index)?.group().and_then(|group| self.groups.get(group).copied()))
    }
}
