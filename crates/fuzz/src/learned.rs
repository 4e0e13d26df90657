//! What was learned, here or elsewhere: fits of every kind, and dictionaries as SAELens keeps them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use mmlens::FITS;
use mmlens_core::{Analysis, Case, Fitted, Fitting, Given, On};
use mmlens_engine::{Dictionary, vectors};
use mmlens_model::linear_probe::{Learned, Probe};

use crate::checkpoint::{first_taken, sample};
use crate::{Outcome, Room};

/// The model that the fits among the seeds were learned of.
const MODEL: &str = "llava-a";

/// Probes that tell two and three classes apart. Those of the other kinds are among the seeds that are kept.
pub(crate) fn fit_seeds(room: &Room) -> anyhow::Result<Vec<Vec<u8>>> {
    let path = room.path().join("fitted.safetensors");
    let saved = |classes: usize| {
        let learned = Learned {
            classes: ["red", "green", "blue"].iter().take(classes).map(ToString::to_string).collect(),
            weights: vec![vec![0.5, -1.0, 2.0, 0.25]; vectors(classes)],
            intercepts: vec![0.125; vectors(classes)],
            ..Learned::default()
        };
        Probe::new(learned)?.save(&path)?;
        Ok(fs::read(&path)?)
    };
    [2, 3].into_iter().map(saved).collect()
}

/// Loads a fit of whatever kind, holds it to what it saves, and runs it.
pub(crate) fn fit_once(room: &Room, bytes: &[u8]) -> anyhow::Result<Outcome> {
    let path = room.file("fitted.safetensors", bytes)?;
    let fitted = match Fitting::load(FITS, &path) {
        Ok(fitted) => fitted,
        Err(error) => return Ok(Outcome::Refused(error.to_string())),
    };
    let saved = fitted.bytes()?;
    let again = Fitting::load(FITS, room.file("again.safetensors", &saved)?)?.bytes()?;
    assert!(again == saved, "a fit that was read and saved reads differently");
    fitted.exported()?;
    let subject = room.subject(MODEL)?;
    let given = Given::new(Case::new(sample(room.takes(MODEL, first_taken)?)?))?;
    // Of a fit of another model it is the model that does not suit, or the sample; it says so in its own words.
    Ok(match fitted.run_given(&On::new(subject), &given) {
        Ok(_) => Outcome::Accepted,
        Err(error) => Outcome::Refused(format!("{}: {error}", path.display())),
    })
}

/// The files of a dictionary's folder.
const FILES: [&str; 2] = ["cfg.json", "sae_weights.safetensors"];

/// Dictionaries that SAELens wrote, one of each architecture, sorted.
fn dictionaries() -> anyhow::Result<Vec<PathBuf>> {
    let folder = mmlens_testkit::fixtures().join("methods/saelens");
    let list = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    let mut found = list.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    found.retain(|path| path.is_dir());
    found.sort();
    anyhow::ensure!(!found.is_empty() && found.len() < 16, "{} dictionaries", found.len());
    Ok(found)
}

/// Every file of every dictionary, behind a byte that says which.
pub(crate) fn dictionary_seeds(_: &Room) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut all = Vec::new();
    for (at, folder) in dictionaries()?.iter().enumerate() {
        for (which, name) in FILES.iter().enumerate() {
            all.push([vec![(2 * at + which) as u8], fs::read(folder.join(name))?].concat());
        }
    }
    Ok(all)
}

/// Opens a dictionary with one file replaced, and holds it to what it writes.
pub(crate) fn dictionary_once(room: &Room, bytes: &[u8]) -> anyhow::Result<Outcome> {
    let Some((which, contents)) = bytes.split_first() else { return Ok(Outcome::Accepted) };
    let (which, all) = (usize::from(*which), dictionaries()?);
    let from = all.get(which / 2 % all.len()).context("a dictionary")?;
    let folder = room.path().join("dictionary");
    fs::create_dir_all(&folder)?;
    for (at, name) in FILES.iter().enumerate() {
        let bytes = if at == which % 2 { contents.to_vec() } else { fs::read(from.join(name))? };
        fs::write(folder.join(name), bytes)?;
    }
    let dictionary = match Dictionary::open(&folder) {
        Ok(dictionary) => dictionary,
        Err(error) => return Ok(Outcome::Refused(error.to_string())),
    };
    let saved = dictionary.files()?;
    rewritten(&folder, &saved)?;
    let again = Dictionary::open(&folder).map_err(anyhow::Error::from)?;
    assert!(again.files()? == saved, "a dictionary that was read and saved reads differently");
    Ok(Outcome::Accepted)
}

fn rewritten(folder: &Path, files: &[(&'static str, Vec<u8>)]) -> anyhow::Result<()> {
    Ok(files.iter().try_for_each(|(name, bytes)| fs::write(folder.join(name), bytes))?)
}
