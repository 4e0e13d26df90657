//! `mmlens report`: one page of any findings.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use mmlens::METHODS;
use mmlens::core::sound::Sound;
use mmlens::core::{Clip, Picture, RerunError, Sample, Words, heard_again, heard_in, plain_names};
use mmlens::files::Target;
use mmlens::finding::{
    Axis, ClipRecord, Finding, Labelled, Labels, Modality, PatchLabel, PictureRecord, RecordingRecord,
    Source, TokenLabel, WordsRecord,
};
use mmlens::report::{Guide, Page};
use serde::Serialize;

use crate::audio::recording_on_page;
use crate::input::{frames_on_page, on_page};
use crate::refusal::Refusal;
use crate::{methods, print};

/// Puts findings on one page: of several runs, several models, about one picture or several.
///
/// Pictures and recordings are read from where they were and must be what they were, pixel by pixel and sample by sample. Findings of one method are numbered, and told
/// by their models and files. The page needs no network, and neither the model nor the findings.
#[derive(Debug, Args)]
pub(crate) struct Report {
    /// The findings, as `mmlens explain` wrote them.
    #[arg(value_name = "FINDING", required = true)]
    findings: Vec<PathBuf>,
    #[command(flatten)]
    pictures: PictureArgs,
    /// The page, none of the files that are read.
    #[arg(long, value_name = "PAGE")]
    out: PathBuf,
    /// Prints what is on the page as JSON.
    #[arg(long)]
    json: bool,
}

/// Which pictures are shown below findings that were made before.
#[derive(Debug, Default, Args)]
pub(super) struct PictureArgs {
    /// A picture where it lies now; repeat it for several, in any order: each is known by its pixels.
    #[arg(long = "image", value_name = "FILE")]
    images: Vec<PathBuf>,
    /// A recording where it lies now; repeat it for several, in any order: each is known by its samples.
    #[arg(long, value_name = "FILE")]
    audio: Vec<PathBuf>,
    /// Shows no pictures and recordings, and reads none.
    #[arg(long, conflicts_with_all = ["images", "audio"])]
    no_pictures: bool,
}

#[derive(Serialize)]
struct Told<'a> {
    report: &'a Path,
    findings: Vec<Listed<'a>>,
    pictures: Vec<Shown>,
}

#[derive(Serialize)]
struct Listed<'a> {
    finding: &'a Path,
    method: String,
    model: String,
}

#[derive(Clone, Serialize)]
pub(super) struct Shown {
    picture: String,
    /// The hash of its pixels; of a clip those of its frames.
    sha256: Vec<String>,
}

/// What findings are about, each picture, clip and recording once, with the number it has on the page.
#[derive(Default)]
struct Seen {
    shown: Vec<Shown>,
    /// Pictures that were named, by the hash of their pixels.
    named: BTreeMap<String, Picture>,
    /// Recordings that were named, or parts of them, by the hash of their samples.
    heard: BTreeMap<String, Sound>,
    /// Numbers that were given, of what is shown and of what is not.
    given: usize,
    /// Numbers by the hashes of what they are.
    numbers: BTreeMap<Vec<String>, usize>,
    /// Clips by their numbers, with the frames that are on the page.
    films: BTreeMap<usize, (Clip, BTreeSet<usize>)>,
}

impl Report {
    pub(crate) fn run(&self) -> Result<()> {
        let findings: Vec<Finding> = self.findings.iter().map(Finding::load).collect::<Result<_, _>>()?;
        let sources = findings.iter().flat_map(sources);
        let read = sources.chain(self.findings.iter().cloned()).chain(self.pictures.files());
        let target = Target::new(&self.out)?.apart_from(read)?;
        let listed = self.findings.iter().zip(&findings).map(|(file, finding)| Listed {
            finding: file,
            method: finding.provenance.method.clone(),
            model: finding.provenance.subject.clone(),
        });
        let listed: Vec<Listed<'_>> = listed.collect();
        let (page, pictures) = self.pictures.page(&self.findings, findings)?;
        let html = page.html()?;
        target.write(|out| out.write_all(html.as_bytes()))?;
        let told = Told { report: &self.out, findings: listed, pictures };
        if self.json {
            return print::json(&told);
        }
        let show = |path: &Path| print::visible(&path.display().to_string());
        let rows = told.findings.iter().map(|listed| {
            [show(listed.finding), print::visible(&listed.method), print::visible(&listed.model)]
        });
        print::columns(&rows.collect::<Vec<_>>())?;
        for picture in &told.pictures {
            print::line(format!("picture    {}", print::visible(&picture.picture)))?;
        }
        print::line(format!("report     {}", show(told.report)))
    }
}

impl PictureArgs {
    /// The files that were named.
    pub(super) fn files(&self) -> impl Iterator<Item = PathBuf> {
        self.images.iter().chain(&self.audio).cloned()
    }

    /// The page of findings, each of a file, and the pictures on it.
    pub(super) fn page(&self, files: &[PathBuf], findings: Vec<Finding>) -> Result<(Page, Vec<Shown>)> {
        let mut seen = Seen::default();
        self.name(&mut seen, &findings)?;
        let methods: Vec<String> = findings.iter().map(|finding| finding.provenance.method.clone()).collect();
        let mut page =
            Page { title: "Findings".to_owned(), question: question(&findings), ..Page::default() };
        for (at, (file, finding)) in files.iter().zip(findings).enumerate() {
            let finding = self.placed(file, finding, &mut seen, &mut page)?;
            let same = |methods: &[String]| {
                methods.iter().filter(|other| **other == finding.provenance.method).count()
            };
            let number = (same(&methods) > 1).then(|| same(methods.get(..=at).unwrap_or_default()));
            let apart = page.question.is_empty();
            page.findings.push(called(file, finding, (number, apart), &mut page.guides));
        }
        page.names = plain_names(&page.findings);
        Ok((page, seen.shown))
    }

    /// Reads the pictures and recordings that were named, each of which a finding must be about.
    fn name(&self, seen: &mut Seen, findings: &[Finding]) -> Result<()> {
        let wanted =
            || findings.iter().filter_map(|f| f.provenance.input.as_ref()).flat_map(|i| &i.sample.pictures);
        for image in &self.images {
            let picture = Picture::open(image)?;
            let hash = hash(&picture);
            if !wanted().any(|record| record.sha256 == hash) {
                let mut names: Vec<&str> = wanted().map(|record| record.name.as_str()).collect();
                names.dedup();
                let wanted = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                return Err(Refusal::StrayPicture { image: image.clone(), wanted }.into());
            }
            seen.named.insert(hash, picture);
        }
        self.name_recordings(seen, findings)
    }

    fn name_recordings(&self, seen: &mut Seen, findings: &[Finding]) -> Result<()> {
        let wanted =
            || findings.iter().filter_map(|f| f.provenance.input.as_ref()).flat_map(|i| &i.sample.recordings);
        for audio in &self.audio {
            let whole = Sound::open(audio)?;
            let before = seen.heard.len();
            // Of one recording findings may be about several parts.
            for record in
                wanted().filter(|record| !seen.heard.contains_key(&record.sha256)).collect::<Vec<_>>()
            {
                let sound = heard_in(&whole, record).ok();
                if let Some(sound) = sound.filter(|sound| sound.sha256() == record.sha256) {
                    seen.heard.insert(record.sha256.clone(), sound);
                }
            }
            if seen.heard.len() == before {
                let mut names: Vec<&str> = wanted().map(|record| record.name.as_str()).collect();
                names.dedup();
                let wanted = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                return Err(Refusal::StrayRecording { audio: audio.clone(), wanted }.into());
            }
        }
        Ok(())
    }

    /// The finding with the numbers that its pictures have on the page, where they are put if they are not there yet.
    fn placed(&self, file: &Path, finding: Finding, seen: &mut Seen, page: &mut Page) -> Result<Finding> {
        let mut numbers = BTreeMap::new();
        if let (Some(input), false) = (&finding.provenance.input, self.no_pictures) {
            for record in &input.sample.pictures {
                numbers.insert(numbers.len(), seen.picture(file, record, page)?);
            }
            for record in &input.sample.clips {
                let shown = frames(&finding, numbers.len());
                numbers.insert(numbers.len(), seen.clip(file, record, &shown, page)?);
            }
            for record in &input.sample.recordings {
                numbers.insert(numbers.len(), seen.recording(file, record, page)?);
            }
        }
        let mut tables = Vec::new();
        let provenance = finding.provenance.clone();
        for table in finding.into_tables() {
            let axes = table.axes().to_vec();
            let axes = axes.into_iter().map(|axis| {
                renumbered(axis, &mut |image| *numbers.entry(image).or_insert_with(|| seen.next()))
            });
            let axes = axes.collect();
            tables.push(table.relabelled(axes)?);
        }
        Ok(Finding::new(provenance, tables)?)
    }
}

/// The finding as the page calls it, with how its method is to be read. Of a method that is there more than once, `number` is which
/// of them it is; where not all are about the same words, `apart`, each tells its own.
fn called(
    file: &Path,
    mut finding: Finding,
    (number, apart): (Option<usize>, bool),
    guides: &mut Vec<Guide>,
) -> Finding {
    let made = &mut finding.provenance;
    let method = METHODS.iter().find(|method| method.card.id == made.method);
    let asked = made.input.as_ref().filter(|_| apart).map(|input| written(&input.sample.words));
    let asked = asked.filter(|words| !words.is_empty()).map(|words| format!("“{words}”"));
    let from = number.map(|_| format!("{}, {}", made.subject, file.display()));
    let told: Vec<String> = made.objective.take().into_iter().chain(asked).chain(from).collect();
    made.objective = (!told.is_empty()).then(|| told.join("; "));
    if let Some(number) = number {
        made.method = format!("{} {number}", made.method);
    }
    guides.extend(method.map(|method| Guide { method: made.method.clone(), ..methods::guide(method) }));
    finding
}

impl Seen {
    fn next(&mut self) -> usize {
        self.given += 1;
        self.given - 1
    }

    /// The number of a picture on the page.
    fn picture(&mut self, file: &Path, record: &PictureRecord, page: &mut Page) -> Result<usize> {
        let key = vec![record.sha256.clone()];
        if let Some(number) = self.numbers.get(&key) {
            return Ok(*number);
        }
        let picture = match self.named.get(&record.sha256) {
            Some(named) => Picture { name: record.name.clone(), ..named.clone() },
            None => reopened(file, record)?,
        };
        let number = self.next();
        page.pictures.push(on_page(&picture)?.at(number, 0));
        self.shown.push(Shown { picture: picture.name, sha256: key.clone() });
        self.numbers.insert(key, number);
        Ok(number)
    }

    /// The number of a recording on the page. One of which the finding does not say what its spectrogram shows has none to be drawn.
    fn recording(&mut self, file: &Path, record: &RecordingRecord, page: &mut Page) -> Result<usize> {
        // Looked at through other filters it is another picture.
        let key = vec![record.sha256.clone(), serde_json::to_string(&record.scale)?];
        if let Some(number) = self.numbers.get(&key) {
            return Ok(*number);
        }
        let number = self.next();
        if let Some(scale) = &record.scale {
            let sound = match self.heard.get(&record.sha256) {
                Some(named) => named.clone().named(record.name.clone()),
                None => played_again(file, record)?,
            };
            page.pictures.push(recording_on_page(&sound, scale)?.at(number, 0));
            let sha256 = vec![record.sha256.clone()];
            self.shown.push(Shown { picture: record.name.clone(), sha256 });
        }
        self.numbers.insert(key, number);
        Ok(number)
    }

    /// The number of a clip on the page, of which these frames are shown.
    fn clip(
        &mut self,
        file: &Path,
        record: &ClipRecord,
        frames: &BTreeSet<usize>,
        page: &mut Page,
    ) -> Result<usize> {
        let known = self.numbers.get(&record.frames).copied();
        let (number, film) = match known.and_then(|number| Some((number, self.films.remove(&number)?))) {
            Some(known) => known,
            None => {
                let number = self.next();
                self.shown.push(Shown { picture: record.name.clone(), sha256: record.frames.clone() });
                self.numbers.insert(record.frames.clone(), number);
                (number, (filmed(file, record)?, BTreeSet::new()))
            }
        };
        let (clip, mut shown) = film;
        let place = |frame: &usize| PatchLabel {
            image: number,
            tile: 0,
            frame: *frame,
            row: 0,
            col: 0,
            bbox: [0.0; 4],
        };
        let wanted = frames.difference(&shown).map(place);
        let wanted = wanted.map(|patch| TokenLabel::new("", Modality::Video).with_patch(patch));
        let wanted: Vec<TokenLabel> = wanted.collect();
        page.pictures.extend(frames_on_page(std::slice::from_ref(&clip), number, &wanted)?);
        shown.extend(frames);
        self.films.insert(number, (clip, shown));
        Ok(number)
    }
}

/// Why a picture without a file is not shown.
const BY_A_PROGRAM: &str = "a program handed it over, and there is no file to read it from";

/// A clip from where it was, if it is what it was.
fn filmed(file: &Path, record: &ClipRecord) -> Result<Clip> {
    let other =
        |found: String| Refusal::OtherClip { finding: file.to_owned(), clip: record.name.clone(), found };
    let path = record.source.file().ok_or_else(|| other(BY_A_PROGRAM.to_owned()))?;
    let clip = Clip::open(path, record.fps).map_err(|error| other(error.to_string()))?;
    let clip = if matches!(record.source, Source::MeanColourOf(_)) { clip.mean_colour()? } else { clip };
    let found = Sample::new(Vec::new(), Words::Nothing).with_clips(vec![clip.clone()]).record().clips;
    match found.as_slice() {
        [found] if found.frames == record.frames => Ok(clip),
        _ => Err(other(format!("{path} shows other frames")).into()),
    }
}

/// A picture from where it was, if it is what it was.
fn reopened(file: &Path, record: &PictureRecord) -> Result<Picture> {
    fn read(source: &Source) -> Result<Option<Picture>> {
        Ok(match source {
            Source::Memory | Source::SilenceOf(_) => None,
            Source::File(path) => Some(Picture::open(path)?),
            Source::MeanColourOf(of) => read(of)?.map(|picture| picture.mean_colour()).transpose()?,
        })
    }
    let other = |found: String| Refusal::OtherPicture {
        finding: file.to_owned(),
        picture: record.name.clone(),
        found,
    };
    let picture = read(&record.source).map_err(|error| other(error.to_string()))?;
    let picture = picture.ok_or_else(|| other(BY_A_PROGRAM.to_owned()))?;
    let found = hash(&picture);
    if found != record.sha256 {
        let path = record.source.file().context("a picture that was read has no file")?;
        let short = |hash: &str| hash.chars().take(12).collect::<String>();
        let found = format!("{path} has pixels {}, expected {}", short(&found), short(&record.sha256));
        return Err(other(found).into());
    }
    Ok(Picture { name: record.name.clone(), ..picture })
}

/// A recording from where it was, if it is what it was.
fn played_again(file: &Path, record: &RecordingRecord) -> Result<Sound> {
    let other = |found: String| Refusal::OtherRecording {
        finding: file.to_owned(),
        recording: record.name.clone(),
        found,
    };
    let sound = heard_again(record, None).map_err(|error| match error {
        RerunError::NoFile(_) => other(BY_A_PROGRAM.to_owned()),
        error => other(error.to_string()),
    })?;
    let (found, expected) = (sound.sha256(), &record.sha256);
    let short = |hash: &str| hash.chars().take(12).collect::<String>();
    match found == *expected {
        true => Ok(sound),
        false => Err(other(format!("it has samples {}, expected {}", short(&found), short(expected))).into()),
    }
}

/// The hash of a picture as findings keep it.
fn hash(picture: &Picture) -> String {
    let record = Sample::new(vec![picture.clone()], Words::Nothing).record();
    record.pictures.into_iter().map(|picture| picture.sha256).collect()
}

/// The files that the pictures, clips and recordings of a finding were read from.
pub(super) fn sources(finding: &Finding) -> Vec<PathBuf> {
    let samples = finding.provenance.input.iter().map(|input| &input.sample);
    let sources = samples.flat_map(|sample| {
        let pictures = sample.pictures.iter().map(|picture| &picture.source);
        let clips = sample.clips.iter().map(|clip| &clip.source);
        pictures.chain(clips).chain(sample.recordings.iter().map(|own| &own.source))
    });
    sources.filter_map(|source| source.file().map(PathBuf::from)).collect()
}

/// What was asked, where all findings are about the same words.
fn question(findings: &[Finding]) -> String {
    let inputs = || findings.iter().filter_map(|finding| finding.provenance.input.as_ref());
    match inputs().next().map(|input| &input.sample.words) {
        Some(first) if inputs().all(|input| input.sample.words == *first) => written(first),
        _ => String::new(),
    }
}

/// Words as they were given, captions side by side.
fn written(words: &WordsRecord) -> String {
    match words {
        WordsRecord::Question(text) | WordsRecord::Prompt(text) => text.clone(),
        WordsRecord::Texts(texts) => texts.join(" | "),
        WordsRecord::Nothing => String::new(),
    }
}

/// The frames of a clip on which something of a finding lies. What is said of a clip without a frame lies on the first.
fn frames(finding: &Finding, image: usize) -> BTreeSet<usize> {
    let axes = finding.tables().iter().flat_map(Labelled::axes);
    let patches = axes.flat_map(|axis| match &axis.labels {
        Labels::Patches(patches) => patches.clone(),
        Labels::Tokens(tokens) => tokens.iter().filter_map(|token| token.patch).collect(),
        _ => Vec::new(),
    });
    let own = patches.filter(|patch| patch.image == image).map(|patch| patch.frame);
    std::iter::once(0).chain(own).collect()
}

/// An axis with other numbers for its images.
fn renumbered(axis: Axis, number: &mut dyn FnMut(usize) -> usize) -> Axis {
    let mut moved = |patch: PatchLabel| PatchLabel { image: number(patch.image), ..patch };
    let labels = match axis.labels {
        Labels::Patches(patches) => Labels::Patches(patches.into_iter().map(moved).collect()),
        Labels::Tokens(tokens) => {
            let token = |token: TokenLabel| TokenLabel { patch: token.patch.map(&mut moved), ..token };
            Labels::Tokens(tokens.into_iter().map(token).collect())
        }
        Labels::Spans { image, spans, heard } => Labels::Spans { image: number(image), spans, heard },
        other => other,
    };
    Axis::new(axis.role, labels)
}

#[cfg(test)]
mod tests {
    use image::{Rgb, RgbImage};
    use mmlens::finding::{InputRecord, Provenance, Role, Unit};

    use super::*;

    /// A finding about a picture of one colour: a patch, a token that shows it, and a heat map.
    fn about(folder: &Path, name: &str, colour: u8) -> PathBuf {
        let picture = folder.join(format!("{name}.png"));
        RgbImage::from_pixel(4, 4, Rgb([colour; 3])).save(&picture).unwrap();
        let sample = Sample::new(vec![Picture::open(&picture).unwrap()], Words::Question("What?".to_owned()));
        let patch = PatchLabel { image: 0, tile: 0, frame: 0, row: 0, col: 0, bbox: [0.0, 0.0, 4.0, 4.0] };
        let token = TokenLabel::new("<image>", Modality::Image).with_patch(patch);
        let span = |role| Axis::spans(role, 0, vec![[0.0, 4.0]]);
        let table = |name: &str, axes| Labelled::numbers(name, Unit::Logit, axes, vec![1.0]).unwrap();
        let tables = vec![
            table("map", vec![span(Role::Row), span(Role::Column)]),
            table("patches", vec![Axis::patches(vec![patch])]),
            table("tokens", vec![Axis::tokens(vec![token])]).aside(),
        ];
        let mut provenance = Provenance::new("occlusion", "none");
        provenance.input = Some(InputRecord { sample: sample.record(), ..InputRecord::default() });
        let file = folder.join(format!("{name}.safetensors"));
        Finding::new(provenance, tables).unwrap().save(&file).unwrap();
        file
    }

    fn page(files: &[PathBuf]) -> Page {
        let findings = files.iter().map(|file| Finding::load(file).unwrap()).collect();
        PictureArgs::default().page(files, findings).unwrap().0
    }

    fn images(finding: &Finding) -> Vec<usize> {
        let axes = finding.tables().iter().flat_map(Labelled::axes);
        let image = |axis: &Axis| match &axis.labels {
            Labels::Spans { image, .. } => *image,
            Labels::Patches(patches) => patches[0].image,
            Labels::Tokens(tokens) => tokens[0].patch.unwrap().image,
            other => panic!("{other:?}"),
        };
        axes.map(image).collect()
    }

    #[test]
    fn each_finding_lies_on_its_own_picture() {
        let folder = tempfile::tempdir().unwrap();
        let [dark, light] =
            [("dark", 20), ("light", 200)].map(|(name, colour)| about(folder.path(), name, colour));
        let page = page(&[dark.clone(), light, dark]);
        let places: Vec<(usize, usize)> = page.pictures.iter().map(|picture| picture.place(9)).collect();
        assert_eq!(places, [(0, 0), (1, 0)]);
        let names: Vec<&str> = page.pictures.iter().map(mmlens::report::Picture::name).collect();
        assert_eq!(names, ["dark.png", "light.png"]);
        assert_eq!(page.findings.iter().map(images).collect::<Vec<_>>(), [[0; 4], [1; 4], [0; 4]]);
        assert!(page.findings[0].tables()[2].is_aside());
        assert_eq!(page.question, "What?");
    }

    /// What has no picture on the page is not laid over that of another.
    #[test]
    fn a_finding_that_does_not_say_what_it_is_about_lies_on_no_picture() {
        let folder = tempfile::tempdir().unwrap();
        let [dark, light] =
            [("dark", 20), ("light", 200)].map(|(name, colour)| about(folder.path(), name, colour));
        let mut mute = Finding::load(&light).unwrap();
        mute.provenance.input = None;
        mute.save(&light).unwrap();
        let page = page(&[light, dark]);
        assert_eq!(page.pictures[0].place(9), (1, 0));
        assert_eq!(page.findings.iter().map(images).collect::<Vec<_>>(), [[0; 4], [1; 4]]);
    }
}
