//! What was answered, on disk line by line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mmlens_core::Subject;
use mmlens_files::{Journal, parse_json, sha256, sha256_of};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::cases::named;
use super::{Bench, BenchError, Settings};
use crate::benchmark::{Answer, ReadError, Source};

/// What it is called.
const FILE: &str = "answers.jsonl";

/// All that decides what is answered: the first line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) data: String,
    pub(super) sha256: String,
    pub(super) map: BTreeMap<String, String>,
    pub(super) images: Option<PathBuf>,
    pub(super) settings: Settings,
    pub(super) methods: BTreeMap<String, Value>,
    pub(super) memory: u64,
    pub(super) subject: String,
    pub(super) weights: String,
    pub(super) alterations: Vec<String>,
    pub(super) device: String,
    pub(super) kernels: Option<String>,
    pub(super) version: String,
}

/// An item that was answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) item: usize,
    pub(super) id: String,
    pub(super) answer: Answer,
    /// Whether it was cut off after the most tokens.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) cut: bool,
    /// What was answered to a blank picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) blank: Option<Answer>,
}

impl Head {
    pub(super) fn of(bench: &Bench<'_>, subject: &dyn Subject) -> Result<Self, BenchError> {
        let sha256 = hash(bench.source)?;
        let mut methods = BTreeMap::new();
        for method in bench.methods {
            methods.insert(method.card().id.to_owned(), method.settings()?);
        }
        Ok(Self {
            data: named(bench.source, &sha256),
            sha256,
            map: bench.source.map.columns().clone(),
            images: bench.source.images.clone(),
            settings: bench.settings.clone(),
            methods,
            memory: bench.memory.budget(),
            subject: subject.name().to_owned(),
            weights: subject.weights_hash(),
            alterations: subject.alterations().to_vec(),
            device: subject.device(),
            kernels: subject.kernels(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        })
    }
}

/// The hash of the files of a data set: of a folder that of its texts, by their names.
fn hash(source: &Source) -> Result<String, ReadError> {
    let mut all = Vec::new();
    texts(&source.data, &mut all)?;
    if let Some(beside) = &source.beside {
        texts(beside, &mut all)?;
    }
    let mut hashes = Vec::with_capacity(all.len());
    for file in &all {
        let name = file.strip_prefix(&source.data).unwrap_or(file).display().to_string();
        // The name of a file alone is no part of what it holds.
        let name = if all.len() > 2 { name } else { String::new() };
        hashes.push(format!("{name} {}", sha256_of(file).map_err(ReadError::io(file))?));
    }
    Ok(match hashes.as_slice() {
        [one] => one.trim().to_owned(),
        many => sha256(many.join("\n")),
    })
}

/// A file, or the texts in a folder and its folders, in the order of their names.
fn texts(path: &Path, all: &mut Vec<PathBuf>) -> Result<(), ReadError> {
    if !path.is_dir() {
        all.push(path.to_owned());
        return Ok(());
    }
    let list = std::fs::read_dir(path).map_err(ReadError::io(path))?;
    let mut inner = list
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<Vec<_>>>()
        .map_err(ReadError::io(path))?;
    inner.sort();
    for path in inner {
        if path.is_dir() || path.extension().is_some_and(|ending| ending == "txt") {
            texts(&path, all)?;
        }
    }
    Ok(())
}

/// The journal, with what it has.
pub(super) struct Written {
    path: PathBuf,
    journal: Journal,
    pub(super) lines: Vec<Line>,
}

impl Written {
    /// Opens the journal of a folder, or begins it.
    pub(super) fn open(out: &Path, head: &Head) -> Result<Self, BenchError> {
        let path = out.join(FILE);
        let (mut journal, texts) = Journal::open(&path).map_err(BenchError::io(&path))?;
        let wrong = |line: usize, found: String, expected: &str| BenchError::Journal {
            path: path.clone(),
            line,
            found,
            expected: expected.to_owned(),
        };
        let mut lines = Vec::with_capacity(texts.len());
        match texts.split_first() {
            None => journal.append(&text(&path, head)?).map_err(BenchError::io(&path))?,
            Some((first, rest)) => {
                let found: Head =
                    parse_json(first.as_bytes()).map_err(|e| wrong(1, e.to_string(), "the head of a run"))?;
                if rest.is_empty() && found != *head {
                    // A run that ended before its first answer is no run.
                    journal.keep(0).map_err(BenchError::io(&path))?;
                    journal.append(&text(&path, head)?).map_err(BenchError::io(&path))?;
                } else if let Some((field, there, here)) = apart(&path, &found, head)? {
                    return Err(wrong(
                        1,
                        format!("a run with `{field}` = {there}"),
                        &format!("{here}; give another folder"),
                    ));
                }
                for (at, own) in rest.iter().enumerate() {
                    let line: Line =
                        parse_json(own.as_bytes()).map_err(|e| wrong(at + 2, e.to_string(), "an answer"))?;
                    if line.item != at {
                        return Err(wrong(at + 2, format!("item {}", line.item), &format!("item {at}")));
                    }
                    lines.push(line);
                }
            }
        }
        Ok(Self { path, journal, lines })
    }

    pub(super) fn append(&mut self, line: Line) -> Result<(), BenchError> {
        let text = text(&self.path, &line)?;
        self.journal.append(&text).map_err(BenchError::io(&self.path))?;
        self.lines.push(line);
        Ok(())
    }
}

fn text(path: &Path, value: &impl Serialize) -> Result<String, BenchError> {
    serde_json::to_string(value).map_err(|error| BenchError::io(path)(error.into()))
}

/// The first field in which two heads differ, and what it is in both.
fn apart(path: &Path, one: &Head, other: &Head) -> Result<Option<(String, Value, Value)>, BenchError> {
    let fields = |head: &Head| -> Result<Map<String, Value>, BenchError> {
        serde_json::from_str(&text(path, head)?).map_err(|error| BenchError::io(path)(error.into()))
    };
    let (one, mut other) = (fields(one)?, fields(other)?);
    let found = one.into_iter().find(|(name, value)| other.get(name) != Some(value));
    Ok(found.map(|(name, value)| {
        let there = other.remove(&name).unwrap_or_default();
        (name, value, there)
    }))
}
