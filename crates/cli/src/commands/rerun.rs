//! `mmlens rerun`: a finding, made again.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use mmlens::METHODS;
use mmlens::core::{Alteration, Altered, Moved, On, rerun};
use mmlens::engine::dictionary::dictionary_of;
use mmlens::files::Target;
use mmlens::finding::{Difference, Finding};
use serde::Serialize;

use crate::edits::with_dictionary;
use crate::model::{OpenArgs, folder_of};
use crate::print;
use crate::progress::Bar;

/// Makes a finding again from what it says of itself, and says in what the two differ.
///
/// The same method runs with the same settings on the same input, within the same memory. On the same processor it gives the same
/// bits. Pictures and recordings are read from where they were; `--image` and `--audio` name them where they lie now, in the order of the
/// finding.
///
/// The exit status is 0 if what was found is the same, bit by bit, 1 if it is not, and 2 if it cannot be made again.
#[derive(Debug, Args)]
pub(crate) struct Rerun {
    /// The finding, as `mmlens explain` wrote it.
    #[arg(value_name = "FINDING")]
    finding: PathBuf,
    /// The model, where it is not to be looked for under the name that the finding gives.
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// A picture, in the place of the one that the finding names; repeat it for each.
    #[arg(long = "image", value_name = "FILE")]
    images: Vec<PathBuf>,
    /// A recording, in the place of the one that the finding names, of which the same part is taken; repeat it for each.
    #[arg(long, value_name = "FILE")]
    audio: Vec<PathBuf>,
    #[command(flatten)]
    open: OpenArgs,
    /// Where the new finding is written; without it nowhere.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Prints what differs as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Told {
    finding: PathBuf,
    method: String,
    /// Whether what was found is the same, bit by bit.
    same: bool,
    /// What differs in how it was made.
    made: Vec<String>,
    /// What differs in what it says.
    said: Vec<String>,
}

impl Rerun {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let finding = Finding::load(&self.finding)?;
        let model = self.model.as_ref().or(finding.provenance.model.as_ref()).map(String::as_str);
        let out = self.out.as_ref().map(|out| self.target(out, &finding, model)).transpose()?;
        let mut subject = self.open.subject(model)?;
        let alterations = &finding.provenance.alterations;
        for (site, folder, hash) in alterations.iter().filter_map(|alteration| dictionary_of(alteration)) {
            subject = with_dictionary(subject, (Some(site), &folder), Some(hash))?;
        }
        // A model that was altered is altered alike.
        let edits = alterations.iter().filter(|alteration| dictionary_of(alteration).is_none());
        let edits = edits.map(|edit| {
            Alteration::parse(edit).with_context(|| format!("the model had `{}`", print::visible(edit)))
        });
        let subject = Altered::new(subject, edits.collect::<Result<Vec<_>>>()?)?;
        let bar = Bar::new();
        let on = On::new(&subject).watched(&bar);
        let moved = Moved { pictures: &self.images, recordings: &self.audio };
        let again = rerun(METHODS, &finding, &on, moved);
        bar.done();
        let again = again.with_context(|| self.finding.display().to_string())?;
        if let Some(out) = out {
            let bytes = again.finding.to_bytes()?;
            out.write(|file| file.write_all(&bytes))?;
        }
        let (made, said): (Vec<_>, Vec<_>) = again
            .differences
            .iter()
            .partition(|difference| matches!(difference, Difference::Provenance { .. }));
        let told = |some: Vec<&Difference>| some.into_iter().map(ToString::to_string).collect();
        let told = Told {
            finding: self.finding.clone(),
            method: finding.provenance.method.clone(),
            same: said.is_empty(),
            made: told(made),
            said: told(said),
        };
        if self.json {
            print::json(&told)?;
        } else {
            for line in told.made.iter().chain(&told.said) {
                print::line(print::visible(line))?;
            }
            let verdict = if told.same { "the same, bit by bit" } else { "not the same" };
            print::line(format!("{}: {verdict}", print::visible(&told.method)))?;
        }
        Ok(if told.same { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Where the new finding goes: it is none of the files that are read.
    fn target(&self, out: &Path, finding: &Finding, model: Option<&str>) -> Result<Target> {
        let samples = finding.provenance.input.iter();
        let samples = samples.flat_map(|input| [Some(&input.sample), input.corrupted.as_ref()]).flatten();
        let sources = samples.flat_map(|sample| {
            let pictures = sample.pictures.iter().map(|picture| &picture.source);
            let recordings = sample.recordings.iter().map(|own| &own.source);
            pictures.chain(sample.clips.iter().map(|clip| &clip.source)).chain(recordings)
        });
        let read = sources.filter_map(|source| source.file().map(PathBuf::from));
        let read = read.chain([self.finding.clone()]).chain(self.images.iter().chain(&self.audio).cloned());
        Ok(Target::new(out)?.apart_from(read.chain(folder_of(model)?))?)
    }
}
