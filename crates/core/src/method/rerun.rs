//! A finding, made again.

use std::path::{Path, PathBuf};

use mmlens_finding::{
    ClipRecord, DataRecord, Difference, Finding, InputRecord, PictureRecord, RecordingRecord, ReplyRecord,
    SampleRecord, Source, WordsRecord,
};
use mmlens_sound::{Sound, SoundError};
use serde_json::Value;

use super::answer::with_tensors;
use crate::{
    AnalysisError, Case, Clip, Given, Method, On, Picture, Reply, Sample, SubjectError, Target, Words,
};

/// A finding made again, and in what it differs from the one that was there.
#[derive(Debug)]
pub struct Rerun {
    /// What was found now.
    pub finding: Finding,
    /// In what it differs, from how it was made to what it says. Nothing: the same bits.
    pub differences: Vec<Difference>,
}

/// Why a finding cannot be made again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RerunError {
    /// What made it is no method of the table.
    #[error("`{0}` is no method that can be run")]
    Method(String),
    /// It does not say what it was made from.
    #[error(
        "the finding does not say what `{method}` was run on: it was made by {version}, or from other findings"
    )]
    NoInput {
        /// Its method.
        method: String,
        /// The version that made it.
        version: String,
    },
    /// A data set that a program handed over.
    #[error(
        "`{method}` was run on {cases} cases of `{data}`, a data set that a program made: only there can it be made again"
    )]
    Data {
        /// Its method.
        method: String,
        /// The data set.
        data: String,
        /// Cases there were.
        cases: usize,
    },
    /// A picture, clip or recording that a program handed over.
    #[error("`{0}` was handed over by a program, so that there is no file to read it from: name one")]
    NoFile(String),
    /// More or fewer files than the finding is about.
    #[error("{found} {kind}{} named, and the finding is about {expected}", if *found == 1 { " was" } else { "s were" })]
    Files {
        /// `picture` or `recording`.
        kind: &'static str,
        /// So many were named.
        found: usize,
        /// So many are in the finding.
        expected: usize,
    },
    /// What is explained cannot be read.
    #[error("what was explained cannot be read: {0}")]
    Target(String),
    /// A picture cannot be read.
    #[error(transparent)]
    Subject(#[from] SubjectError),
    /// A recording cannot be read.
    #[error(transparent)]
    Sound(#[from] SoundError),
    /// The method failed.
    #[error(transparent)]
    Analysis(#[from] AnalysisError),
}

/// Files that are read in the place of those that a finding names, in their order; of a kind that has none, those of the finding are.
#[derive(Debug, Clone, Copy, Default)]
pub struct Moved<'a> {
    /// Its pictures.
    pub pictures: &'a [PathBuf],
    /// Its recordings. Of each the part is taken that the finding is about.
    pub recordings: &'a [PathBuf],
}

/// Makes a finding again on a subject: the same method with the same settings, on the same input, within the same memory.
///
/// Pictures and recordings that are not the same, another version, other weights, kernels or devices are told among the differences.
///
/// # Errors
/// [`RerunError`].
pub fn rerun<'m>(
    methods: impl IntoIterator<Item = &'m Method>,
    finding: &Finding,
    on: &On<'_>,
    moved: Moved<'_>,
) -> Result<Rerun, RerunError> {
    let made = &finding.provenance;
    let method = methods.into_iter().find(|method| method.card.id == made.method);
    let method = method.ok_or_else(|| RerunError::Method(made.method.clone()))?;
    let input = made
        .input
        .as_ref()
        .ok_or_else(|| RerunError::NoInput { method: made.method.clone(), version: made.version.clone() })?;
    if let Some(DataRecord { name, cases, .. }) = &input.data {
        return Err(RerunError::Data { method: made.method.clone(), data: name.clone(), cases: *cases });
    }
    let settings = Value::Object(made.settings.clone().into_iter().collect());
    let method = method.make(with_tensors(settings, finding)?)?;
    let given = given(input, moved)?;
    let memory = made.memory.map_or_else(|| on.memory(), crate::Memory::bytes);
    let mut again = method.run_given(&on.within(memory), &given)?;
    // Where files lie is no difference in what was found.
    again.provenance.model.clone_from(&made.model);
    let differences = finding.differences(&again);
    Ok(Rerun { finding: again, differences })
}

/// What a finding says that it was made from, read again.
fn given(input: &InputRecord, moved: Moved<'_>) -> Result<Given, RerunError> {
    let Moved { pictures, recordings } = moved;
    for (kind, found, expected) in [
        ("picture", pictures.len(), input.sample.pictures.len()),
        ("recording", recordings.len(), input.sample.recordings.len()),
    ] {
        if found > 0 && found != expected {
            return Err(RerunError::Files { kind, found, expected });
        }
    }
    let target: Target = serde_json::from_value(input.target.clone())
        .map_err(|error| RerunError::Target(error.to_string()))?;
    let sample = opened(&input.sample, moved)?;
    // Files of both samples are the same, as far as they were.
    let corrupted = input.corrupted.as_ref().map(|record| {
        let both = input.sample.pictures.iter().zip(&record.pictures);
        let seen = kept(pictures, both.map(|(own, other)| (&own.source, &other.source)));
        let both = input.sample.recordings.iter().zip(&record.recordings);
        let heard = kept(recordings, both.map(|(own, other)| (&own.source, &other.source)));
        let mut other = opened(record, Moved { pictures: &seen, recordings: &heard })?;
        // A picture of both is one picture, a recording of both one recording.
        let both = input.sample.pictures.iter().zip(&record.pictures).zip(&sample.pictures);
        for (slot, ((own, other), picture)) in other.pictures.iter_mut().zip(both) {
            if own == other {
                *slot = picture.clone();
            }
        }
        let both = input.sample.recordings.iter().zip(&record.recordings).zip(&sample.recordings);
        for (slot, ((own, other), sound)) in other.recordings.iter_mut().zip(both) {
            if own == other {
                *slot = sound.clone();
            }
        }
        Ok::<_, RerunError>(other)
    });
    Ok(Given { case: Case { sample, target }, corrupted: corrupted.transpose()?, many: None })
}

/// Files that were named for what both samples have of one origin; none, unless that holds of all of them.
fn kept<'a>(named: &[PathBuf], both: impl Iterator<Item = (&'a Source, &'a Source)>) -> Vec<PathBuf> {
    let both: Vec<bool> = both.map(|(own, other)| origin(own) == origin(other)).collect();
    let same = |(at, path): (usize, &PathBuf)| both.get(at).copied()?.then(|| path.clone());
    named.iter().enumerate().map(same).collect::<Option<Vec<_>>>().unwrap_or_default()
}

fn origin(source: &Source) -> &Source {
    if let Source::MeanColourOf(of) | Source::SilenceOf(of) = source { origin(of) } else { source }
}

fn opened(record: &SampleRecord, moved: Moved<'_>) -> Result<Sample, RerunError> {
    let words = match &record.words {
        WordsRecord::Question(text) => Words::Question(text.clone()),
        WordsRecord::Prompt(text) => Words::Prompt(text.clone()),
        WordsRecord::Texts(texts) => Words::Texts(texts.clone()),
        WordsRecord::Nothing => Words::Nothing,
    };
    let read =
        |(at, own): (usize, &PictureRecord)| picture(own, moved.pictures.get(at).map(PathBuf::as_path));
    let pictures = record.pictures.iter().enumerate().map(read).collect::<Result<_, _>>()?;
    let clips = record.clips.iter().map(clip).collect::<Result<_, _>>()?;
    let heard = |(at, own): (usize, &RecordingRecord)| {
        heard_again(own, moved.recordings.get(at).map(PathBuf::as_path))
    };
    let recordings = record.recordings.iter().enumerate().map(heard).collect::<Result<_, _>>()?;
    let reply = record.reply.as_ref().map(|reply| match reply {
        ReplyRecord::Text(text) => Reply::Text(text.clone()),
        ReplyRecord::Tokens(tokens) => Reply::Tokens(tokens.clone()),
    });
    Ok(Sample { pictures, clips, recordings, words, reply })
}

fn picture(record: &PictureRecord, instead: Option<&Path>) -> Result<Picture, RerunError> {
    fn read(source: &Source, name: &str, instead: Option<&Path>) -> Result<Picture, RerunError> {
        Ok(match (source, instead) {
            (Source::MeanColourOf(of), _) => read(of, name, instead)?.mean_colour()?,
            (_, Some(path)) => Picture::open(path)?,
            (Source::File(path), None) => Picture::open(path)?,
            (Source::Memory | Source::SilenceOf(_), None) => return Err(RerunError::NoFile(name.to_owned())),
        })
    }
    let read = read(&record.source, &record.name, instead)?;
    Ok(Picture { name: record.name.clone(), ..read })
}

fn clip(record: &ClipRecord) -> Result<Clip, RerunError> {
    fn read(source: &Source, record: &ClipRecord) -> Result<Clip, RerunError> {
        Ok(match source {
            Source::MeanColourOf(of) => read(of, record)?.mean_colour()?,
            Source::File(path) => Clip::open(path, record.fps)?,
            Source::Memory | Source::SilenceOf(_) => return Err(RerunError::NoFile(record.name.clone())),
        })
    }
    Ok(Clip { name: record.name.clone(), ..read(&record.source, record)? })
}

/// A recording from where a finding says that it came from, or from a file `instead`, in the same part and at the same rate. Whether it sounds
/// the same, its hash tells.
///
/// # Errors
/// [`RerunError::NoFile`] for one that a program handed over, [`RerunError::Sound`] for a file that cannot be read.
pub fn heard_again(record: &RecordingRecord, instead: Option<&Path>) -> Result<Sound, RerunError> {
    let path = match &record.source {
        Source::SilenceOf(of) => of.file(),
        source => source.file(),
    };
    let path = instead.or(path.map(Path::new)).ok_or_else(|| RerunError::NoFile(record.name.clone()))?;
    heard_in(&Sound::open(path)?, record)
}

/// The recording of a finding in a sound that is the whole of it: the same part, at the same rate, silent if it was.
///
/// # Errors
/// [`RerunError::Sound`] for a part that is not in the sound, or a rate that is not taken.
pub fn heard_in(whole: &Sound, record: &RecordingRecord) -> Result<Sound, RerunError> {
    let part = match record.part {
        Some([from, to]) => whole.between(from, to)?,
        None => whole.clone(),
    };
    let own = part.at(record.rate)?;
    let own = if matches!(record.source, Source::SilenceOf(_)) { own.silence() } else { own };
    Ok(own.named(record.name.clone()))
}
