//! The files that the program reads itself, as the fuzzer reads them.

use std::path::Path;

use anyhow::{Context, Result};
use clap::{CommandFactory, FromArgMatches, Parser};

use crate::commands::{Cli, explain_of};
use crate::job;

/// The options of a job file, as `mmlens explain --job FILE` takes them.
///
/// # Errors
/// What is wrong with the file, or with the options that it gives.
pub fn job(file: &Path) -> Result<()> {
    let mut words: Vec<_> = ["mmlens", "explain", "--job"].map(Into::into).to_vec();
    words.extend([file.into(), "--out=out".into()]);
    let (words, job) = job::expanded(words, &Cli::command())?;
    let read = Cli::command().try_get_matches_from(words);
    match read.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(_) => Ok(()),
        Err(error) => Err(job.and_then(|job| job.at(&error)).map_or_else(|| error.into(), Into::into)),
    }
}

/// The cases of a file, as `mmlens explain --cases FILE` takes them: at most so many are read whole, and what each one says that
/// cannot be read is told. How many there are.
///
/// # Errors
/// What is wrong with the file itself.
pub fn cases(file: &Path, most: usize) -> Result<(usize, Vec<String>)> {
    let mut words: Vec<std::ffi::OsString> =
        ["mmlens", "explain", "--out=out", "--cases"].map(Into::into).to_vec();
    words.push(file.into());
    let listed = explain_of(Cli::try_parse_from(words)?).context("no command of cases")?.listed(file)?;
    let count = listed.len();
    let mut refused = Vec::new();
    for case in listed.into_iter().take(most) {
        let read = || -> Result<()> {
            case.task()?;
            case.known()?;
            case.masks()?;
            case.persons()?;
            case.concepts();
            Ok(())
        };
        refused.extend(read().err().map(|error| format!("{error:#}")));
    }
    Ok((count, refused))
}
