//! Many cases: the pictures or recordings of a folder, or a file with one case on a line.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result};
use mmlens::core::{Clip, Mask, PersonMap, Picture, Reply, Sample, SubjectError};
use mmlens::files::{read_text, sha256};
use serde::Deserialize;
use serde_json::{Value, json};

use super::aim::{AimArgs, CorruptionArgs};
use super::one::Task;
use crate::audio::sounds;
use crate::input::{QuestionArgs, pictures, words};
use crate::refusal::Refusal;

/// Endings of pictures in a folder.
const PICTURES: [&str; 6] = ["png", "jpg", "jpeg", "webp", "bmp", "gif"];
/// Endings of recordings in a folder.
const RECORDINGS: [&str; 5] = ["wav", "flac", "mp3", "ogg", "oga"];

/// A case that is not read yet.
pub(crate) struct Listed {
    /// What its folder is called.
    pub(crate) name: String,
    line: Line,
    /// The folder its paths are in.
    base: PathBuf,
    aim: AimArgs,
    corruption: CorruptionArgs,
}

/// A line of a file of cases. What it leaves open is as the options say.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: Option<String>,
    /// What the case is of, for what learns from cases.
    label: Option<String>,
    /// Cases of one group are learned from together, or not at all.
    group: Option<String>,
    /// What it shows, by name.
    #[serde(default)]
    concepts: Vec<String>,
    #[serde(default)]
    image: OneOrMany<PathBuf>,
    #[serde(default)]
    video: OneOrMany<PathBuf>,
    fps: Option<f64>,
    #[serde(default)]
    audio: OneOrMany<PathBuf>,
    from: Option<f64>,
    to: Option<f64>,
    ask: Option<String>,
    prompt: Option<String>,
    #[serde(default)]
    text: OneOrMany<String>,
    answer: Option<String>,
    span: Option<String>,
    target: Option<String>,
    versus: Option<String>,
    #[serde(default)]
    corrupted_image: OneOrMany<PathBuf>,
    #[serde(default)]
    corrupted_audio: OneOrMany<PathBuf>,
    corrupted_ask: Option<String>,
    corrupted_prompt: Option<String>,
    corrupted_text: Option<String>,
    /// Pictures of what is known to matter, and which of their levels of grey do.
    #[serde(default)]
    mask: OneOrMany<PathBuf>,
    #[serde(default)]
    mask_levels: Vec<u8>,
    /// Pictures that are bright where a person looked.
    #[serde(default)]
    person: OneOrMany<PathBuf>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "expected a text or a list of texts")]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl<T: Clone> OneOrMany<T> {
    fn all(&self) -> Vec<T> {
        match self {
            Self::One(one) => vec![one.clone()],
            Self::Many(many) => many.clone(),
        }
    }
}

/// The cases of a folder of pictures or recordings, in the order of their names, or of a file of lines; words that a line does not have are those of
/// the options.
pub(crate) fn read(
    path: &Path,
    question: &QuestionArgs,
    (aim, corruption): (&AimArgs, &CorruptionArgs),
) -> Result<Vec<Listed>> {
    let lines = if path.is_dir() { of_folder(path)? } else { of_file(path)? };
    listed(path, lines, question, (aim, corruption))
}

/// Cases to learn from: as for [`read`], or a folder of folders of pictures or recordings, each called as what these are of.
pub(crate) fn to_learn_from(path: &Path, question: &QuestionArgs) -> Result<Vec<Listed>> {
    let folders = if path.is_dir() { folders(path)? } else { Vec::new() };
    let lines = match (path.is_dir(), folders.as_slice()) {
        (true, [_, ..]) => {
            let mut all = Vec::new();
            for folder in folders {
                let label = folder.file_name().map(|name| name.to_string_lossy().into_owned());
                for (place, name, line) in of_folder(&folder)? {
                    let name = format!("{}-{name}", label.as_deref().unwrap_or_default());
                    all.push((place, name, Line { label: label.clone(), ..line }));
                }
            }
            all
        }
        (true, []) => of_folder(path)?,
        (false, _) => of_file(path)?,
    };
    listed(path, lines, question, (&AimArgs::default(), &CorruptionArgs::default()))
}

/// The folders in a folder, in the order of their names, those apart that are hidden.
fn folders(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry.with_context(|| folder.display().to_string())?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if path.is_dir() && !hidden {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn listed(
    path: &Path,
    lines: Vec<Found>,
    question: &QuestionArgs,
    (aim, corruption): (&AimArgs, &CorruptionArgs),
) -> Result<Vec<Listed>> {
    let base = if path.is_dir() { Path::new("") } else { path.parent().unwrap_or(Path::new("")) };
    let (mut seen, mut all) = (BTreeSet::new(), Vec::with_capacity(lines.len()));
    for (place, name, mut line) in lines {
        let refuse = |reason: String| Refusal::Case { place: place.clone(), reason };
        let mut parts = Path::new(&name).components();
        let plain =
            matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == &*name);
        if !plain {
            return Err(refuse(format!("`{name}` is no name for a folder")).into());
        }
        if !seen.insert(name.clone()) {
            return Err(refuse(format!("`{name}` is the name of two cases")).into());
        }
        let asked = [line.ask.is_some(), line.prompt.is_some(), !line.text.all().is_empty()];
        if asked.iter().filter(|given| **given).count() > 1 {
            return Err(refuse(
                "`ask`, `prompt` and `text` are three ways to say one thing: one of them".to_owned(),
            )
            .into());
        }
        if (line.from.is_some() || line.to.is_some()) && line.audio.all().is_empty() {
            let said = "`from` and `to` are of recordings, and there is no `audio`";
            return Err(refuse(said.to_owned()).into());
        }
        let corrupted = [
            !line.corrupted_image.all().is_empty(),
            !line.corrupted_audio.all().is_empty(),
            line.corrupted_ask.is_some(),
            line.corrupted_prompt.is_some(),
            line.corrupted_text.is_some(),
        ];
        if corrupted.iter().filter(|given| **given).count() > 1 {
            let said = "`corrupted_image`, `corrupted_audio`, `corrupted_ask`, `corrupted_prompt` and `corrupted_text` each say what is compared: one of them";
            return Err(refuse(said.to_owned()).into());
        }
        if line.span.is_some() && line.target.is_some() {
            return Err(
                refuse("`span` and `target` say both what is explained: one of them".to_owned()).into()
            );
        }
        if line.ask.is_none() && line.prompt.is_none() && line.text.all().is_empty() {
            let (ask, prompt, text) = question.said();
            (line.ask, line.prompt, line.text) = (ask, prompt, OneOrMany::Many(text));
        }
        all.push(Listed {
            name,
            line,
            base: base.to_owned(),
            aim: aim.clone(),
            corruption: corruption.clone(),
        });
    }
    if all.is_empty() {
        let reason = if path.is_dir() { "there is no picture and no recording" } else { "there is no line" };
        return Err(Refusal::Case { place: path.display().to_string(), reason: reason.to_owned() }.into());
    }
    Ok(all)
}

/// Where a case stands, what it is called, and what it is.
type Found = (String, String, Line);

fn of_folder(folder: &Path) -> Result<Vec<Found>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry.with_context(|| folder.display().to_string())?.path();
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
        let among = |endings: &[&str]| ending.as_deref().is_some_and(|ending| endings.contains(&ending));
        if path.is_file() && (among(&PICTURES) || among(&RECORDINGS)) {
            files.push((path, among(&RECORDINGS)));
        }
    }
    files.sort();
    let case = |(path, heard): (PathBuf, bool)| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let (place, file) = (path.display().to_string(), OneOrMany::One(path));
        let line = match heard {
            true => Line { audio: file, ..Line::default() },
            false => Line { image: file, ..Line::default() },
        };
        (place, name, line)
    };
    Ok(files.into_iter().map(case).collect())
}

/// The most bytes of a file of cases: a million of lines or more.
const MOST_CASES: u64 = 1 << 28;

fn of_file(path: &Path) -> Result<Vec<Found>> {
    let text = read_text(path, MOST_CASES).with_context(|| path.display().to_string())?;
    // As some editors begin a file.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut all = Vec::new();
    for (number, text) in text.lines().enumerate().filter(|(_, text)| !text.trim().is_empty()) {
        let place = format!("{}, line {}", path.display(), number + 1);
        let line: Line = serde_json::from_str(text)
            .map_err(|error| Refusal::Case { place: place.clone(), reason: error.to_string() })?;
        let name = line.id.clone().unwrap_or_else(|| format!("{:06}", number + 1));
        all.push((place, name, line));
    }
    Ok(all)
}

impl Listed {
    pub(crate) fn has_mask(&self) -> bool {
        !self.line.mask.all().is_empty()
    }

    pub(crate) fn has_person(&self) -> bool {
        !self.line.person.all().is_empty()
    }

    /// What it is of, if it says so.
    pub(crate) fn label(&self) -> Option<&str> {
        self.line.label.as_deref()
    }

    /// What it is learned from together with, if it says so.
    pub(crate) fn group(&self) -> Option<&str> {
        self.line.group.as_deref()
    }

    /// What it shows, by name, each once.
    pub(crate) fn concepts(&self) -> Vec<String> {
        let mut seen = BTreeSet::new();
        self.line.concepts.iter().filter(|name| seen.insert(name.as_str())).cloned().collect()
    }

    /// What is known to matter in its first picture (of recordings alone in the spectrogram of the first, a pixel for each frame and filter), each mask called as its file without the ending.
    pub(crate) fn masks(&self) -> Result<Vec<Mask>, SubjectError> {
        let levels = self.line.mask_levels.as_slice();
        let marked = |level: u8| if levels.is_empty() { level > 0 } else { levels.contains(&level) };
        let of = |path: PathBuf| {
            let (size, values) = grey(&path)?;
            let inside = values.iter().map(|value| marked((value * 255.0).round() as u8)).collect();
            Ok(Mask { name: stem(&path), picture: 0, size, inside })
        };
        self.at(&self.line.mask.all()).into_iter().map(of).collect()
    }

    /// Where persons looked in its first picture.
    pub(crate) fn persons(&self) -> Result<Vec<PersonMap>, SubjectError> {
        let of = |path: PathBuf| {
            let (size, values) = grey(&path)?;
            Ok(PersonMap { name: stem(&path), picture: 0, size, values })
        };
        self.at(&self.line.person.all()).into_iter().map(of).collect()
    }

    /// Masks and maps of persons, as far as a record of the case needs them.
    pub(crate) fn known(&self) -> Result<Value, SubjectError> {
        let files = [self.line.mask.all(), self.line.person.all()].concat();
        let known = |path: PathBuf| {
            let (size, values) = grey(&path)?;
            Ok((stem(&path), sha256(json!([size, values]).to_string())))
        };
        let known: Vec<_> = self.at(&files).into_iter().map(known).collect::<Result<_, SubjectError>>()?;
        Ok(json!([self.line.mask_levels, known]))
    }

    fn at(&self, paths: &[PathBuf]) -> Vec<PathBuf> {
        paths.iter().map(|path| self.base.join(path)).collect()
    }

    /// The files and folders of its pictures, clips and recordings.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        self.at(&[self.line.image.all(), self.line.video.all(), self.line.audio.all()].concat())
    }

    /// The sample, its pictures and recordings read.
    pub(crate) fn sample(&self) -> Result<Sample> {
        let line = &self.line;
        let (images, videos) = (self.at(&line.image.all()), self.at(&line.video.all()));
        let clips = videos.iter().map(|path| Clip::open(path, line.fps)).collect::<Result<_, _>>()?;
        let words = words(line.ask.as_ref(), line.prompt.as_ref(), &line.text.all());
        let recordings = sounds(&self.at(&line.audio.all()), [line.from, line.to])?;
        let mut sample = Sample::new(pictures(&images)?, words).with_clips(clips).with_recordings(recordings);
        sample.reply = line.answer.clone().or_else(|| self.aim.answer.clone()).map(Reply::Text);
        Ok(sample)
    }

    /// The case, its pictures and recordings read.
    pub(crate) fn task(&self) -> Result<Task> {
        let Self { line, .. } = self;
        let (images, videos) = (self.at(&line.image.all()), self.at(&line.video.all()));
        let sample = self.sample()?;
        let (mut aim, mut corruption) = (self.aim.clone(), self.corruption.clone());
        let or = |own: &Option<String>, all: Option<String>| own.clone().or(all);
        if line.span.is_some() || line.target.is_some() {
            (aim.span, aim.target) = (line.span.clone(), line.target.clone());
        }
        (aim.versus, aim.answer) = (or(&line.versus, aim.versus), or(&line.answer, aim.answer));
        let own = [&line.corrupted_ask, &line.corrupted_prompt, &line.corrupted_text];
        let (image, audio) = (self.at(&line.corrupted_image.all()), self.at(&line.corrupted_audio.all()));
        if own.iter().any(|words| words.is_some()) || !image.is_empty() || !audio.is_empty() {
            corruption = CorruptionArgs {
                corrupted_image: image,
                corrupted_audio: audio,
                corrupted_ask: line.corrupted_ask.clone(),
                corrupted_prompt: line.corrupted_prompt.clone(),
                corrupted_text: line.corrupted_text.clone(),
            };
        }
        let frames = videos
            .iter()
            .flat_map(|path| Clip::files(path).unwrap_or_default().into_iter().chain([path.clone()]));
        let heard = self.at(&line.audio.all());
        let inputs = images.iter().cloned().chain(frames).chain(heard).chain(corruption.inputs()).collect();
        Ok(Task { sample, aim, corruption, inputs })
    }
}

/// Brightness of a picture, from 0 to 1 row by row, with its width and height.
fn grey(path: &Path) -> Result<([usize; 2], Vec<f32>), SubjectError> {
    let grey = Picture::open(path)?.image.to_luma32f();
    Ok(([grey.width() as usize, grey.height() as usize], grey.into_raw()))
}

fn stem(path: &Path) -> String {
    path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
