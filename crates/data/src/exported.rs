//! Scenes as files, for programs in other languages: a line of JSON for each, and what belongs to it beside.

use std::path::{Path, PathBuf};

use image::ImageError;
use mmlens_files::{Target, WriteError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::drawn::progress_bar;

/// What can go wrong with files of scenes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// A folder could not be made.
    #[error("cannot make the folder {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A picture could not be encoded.
    #[error("cannot encode the picture {}: {source}", path.display())]
    Picture {
        /// The picture.
        path: PathBuf,
        /// Why.
        source: ImageError,
    },
    /// The folder holds other scenes.
    #[error("{}, line {line}: another scene than the one to be written; export into a folder of its own", path.display())]
    Another {
        /// The file of records.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// The file of records could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Records {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line of the file of records is not a record.
    #[error("{}, line {line}: not a record of a scene: {source}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// Why.
        source: mmlens_files::JsonError,
    },
}

/// The file of records in a folder.
const RECORDS: &str = "samples.jsonl";
/// The most bytes of a file of records: a hundred thousand scenes have some 300 MB.
const MOST_RECORDS: u64 = 1 << 32;

/// Writes records, a line each, and first of each what belongs to it. If there are records already, they must be the same.
/// The folders are made.
///
/// # Errors
/// As the exports of the worlds.
pub(crate) fn write_records<S, R: Serialize + DeserializeOwned + PartialEq>(
    (folder, folders): (&Path, &[&str]),
    what: &str,
    samples: impl ExactSizeIterator<Item = S>,
    record: impl Fn(&S) -> R,
    beside: impl Fn(&S, &R) -> Result<(), ExportError>,
) -> Result<(), ExportError> {
    for path in folders.iter().map(|name| folder.join(name)) {
        std::fs::create_dir_all(&path).map_err(|source| ExportError::Folder { path, source })?;
    }
    let path = folder.join(RECORDS);
    let before: Vec<R> = if path.exists() { read_records(folder)? } else { Vec::new() };
    let bar = progress_bar(what, samples.len() as u64);
    let mut refused = Ok(());
    let written = Target::new(&path)?.write(|lines| {
        for (index, sample) in samples.enumerate() {
            let record = record(&sample);
            if before.get(index).is_some_and(|known| *known != record) {
                refused = Err(ExportError::Another { path: path.clone(), line: index + 1 });
            } else {
                refused = beside(&sample, &record);
            }
            if refused.is_err() {
                return Err(std::io::ErrorKind::Interrupted.into());
            }
            serde_json::to_writer(&mut *lines, &record)?;
            lines.write_all(b"\n")?;
            bar.inc(1);
        }
        Ok(())
    });
    bar.finish_and_clear();
    refused?;
    Ok(written?)
}

/// Reads the records of an exported folder.
///
/// # Errors
/// [`ExportError::Records`] if the file cannot be read, [`ExportError::Malformed`] with the number of the first line that is not a
/// record.
pub(crate) fn read_records<R: DeserializeOwned>(folder: &Path) -> Result<Vec<R>, ExportError> {
    let path = folder.join(RECORDS);
    let failed = |source| ExportError::Records { path: path.clone(), source };
    let text = mmlens_files::read_text(&path, MOST_RECORDS).map_err(failed)?;
    let lines = text.lines().enumerate().map(|(index, line)| {
        mmlens_files::parse_json(line.as_bytes()).map_err(|source| ExportError::Malformed {
            path: path.clone(),
            line: index + 1,
            source,
        })
    });
    lines.collect()
}
