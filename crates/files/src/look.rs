//! What a folder holds: a whole run, one that was cut off, or something else.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::run::{JOURNAL, MANIFEST, UNFINISHED, io, is_whole, read_manifest};
use crate::{Entry, Manifest, PARTIAL, RunError};

/// What a file of a folder, or the folder, is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// What a whole run wrote.
    Whole,
    /// What is left of a run that was cut off, or was changed since.
    Cut,
    /// Nothing of a run.
    Foreign,
}

/// What a folder holds.
#[derive(Debug, Clone, PartialEq)]
pub struct RunState {
    /// [`State::Whole`] if every file of the manifest is what it says; [`State::Foreign`] without a manifest or traces
    /// of a run.
    pub state: State,
    /// The manifest, where there is one.
    pub manifest: Option<Manifest>,
    /// Whether a run into this folder is under way or was cut off. What a whole run wrote before stays whole until the new
    /// one is.
    pub unfinished: bool,
    /// Every file and folder in it, and those of the manifest that are missing.
    pub files: BTreeMap<String, State>,
}

/// Tells what is whole in a folder from what a run that was killed left there and from what belongs to somebody else.
///
/// # Errors
/// [`RunError::Io`] for a folder that cannot be read, [`RunError::Broken`] for a `manifest.json` of something else.
///
/// # Cost
/// Every file of the manifest is read, for its hash.
pub fn look(folder: impl AsRef<Path>) -> Result<RunState, RunError> {
    let folder = folder.as_ref();
    let manifest = read_manifest(folder)?;
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(io(folder))? {
        let name = entry.map_err(io(folder))?.file_name().to_string_lossy().into_owned();
        let state = match name.as_str() {
            MANIFEST => State::Whole,
            UNFINISHED => State::Cut,
            name if name.ends_with(PARTIAL) => State::Cut,
            _ => State::Foreign,
        };
        files.insert(name, state);
    }
    for entry in manifest.iter().flat_map(|manifest| &manifest.files) {
        let state = if is_whole(&folder.join(&entry.name), entry) { State::Whole } else { State::Cut };
        files.insert(entry.name.clone(), state);
    }
    let journal = folder.join(UNFINISHED).join(JOURNAL);
    let unfinished = journal.exists();
    let as_it_says = |entry: &Entry| files.get(&entry.name) == Some(&State::Whole);
    let state = match &manifest {
        Some(manifest) if manifest.files.iter().all(as_it_says) => State::Whole,
        None if !unfinished => State::Foreign,
        _ => State::Cut,
    };
    Ok(RunState { state, manifest, unfinished, files })
}
