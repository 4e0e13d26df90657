//! Scenes as files, for programs in other languages.

use std::path::Path;

use mmlens_files::write;
use serde::{Deserialize, Serialize};

use super::event::{Event, Region};
use super::question::Question;
use super::scene::Scene;
use super::vocabulary::{Length, Loudness, Pitch, Timbre};
use super::world::{Sample, World};
use crate::drawn::Split;
use crate::exported::{self, ExportError};

/// One line of `samples.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The index of the scene in its split.
    pub id: u64,
    /// The split.
    pub split: Split,
    /// The seed of the world.
    pub seed: u64,
    /// The recording, relative to the folder of the file.
    pub sound: String,
    /// The description.
    pub description: String,
    /// The level of the noise under it all; 0 for none.
    pub noise: f32,
    /// The sounds, in the order of the scene.
    pub events: Vec<EventRecord>,
    /// Questions, one of every kind the scene allows.
    pub questions: Vec<Question>,
}

/// A sound in a [`Record`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventRecord {
    /// What it is made of.
    pub timbre: Timbre,
    /// The name of the pitch.
    pub pitch: Pitch,
    /// The name of the length.
    pub length: Length,
    /// The name of the loudness.
    pub loudness: Loudness,
    /// From when to when it is heard, in seconds.
    pub seconds: [f64; 2],
    /// The exact pitch, in Hz.
    pub hertz: f32,
    /// The exact level.
    pub level: f32,
    /// The boxes that it lies in.
    pub regions: Vec<Region>,
}

/// Writes the first `count` scenes of a split into a folder, which is made if need be: `sounds/000000.wav` and so on, and last
/// `samples.jsonl` with one [`Record`] a line. Each file is written whole or not at all ([`mmlens_files::Target`]). If there are records already,
/// they must be of the same scenes: each split and each world needs a folder of its own. Shows a progress bar on standard error if
/// that is a terminal.
///
/// # Errors
/// [`ExportError::Folder`] or [`ExportError::Write`] with the path that could not be written; [`ExportError::Another`], before a
/// recording is replaced, and what [`read_records`] says of records that are there.
pub fn export(world: &World, split: Split, count: u64, folder: &Path) -> Result<(), ExportError> {
    let samples = world.samples(split, 0..count);
    let beside =
        |sample: &Sample, record: &Record| Ok(write(folder.join(&record.sound), sample.scene.wav())?);
    let what = format!("writing {split} scenes");
    exported::write_records((folder, &["sounds"]), &what, samples, Record::of, beside)
}

/// Reads the records of an exported folder.
///
/// # Errors
/// [`ExportError::Records`] if `samples.jsonl` cannot be read, [`ExportError::Malformed`] with the number of the first line that is
/// not a record.
pub fn read_records(folder: &Path) -> Result<Vec<Record>, ExportError> {
    exported::read_records(folder)
}

impl Record {
    /// What is true of a scene, and questions about it; the recording lies in this file beside it.
    pub fn new(scene: &Scene, questions: Vec<Question>, sound: String) -> Self {
        let event = |event: &Event| EventRecord {
            timbre: event.timbre,
            pitch: event.pitch,
            length: event.length,
            loudness: event.loudness,
            seconds: event.seconds(),
            hertz: event.hertz,
            level: event.level,
            regions: event.regions(),
        };
        Self {
            id: scene.id,
            split: scene.split,
            seed: scene.seed,
            sound,
            description: scene.description(),
            noise: scene.noise,
            events: scene.events.iter().map(event).collect(),
            questions,
        }
    }

    /// What is true of a sample.
    fn of(Sample { scene, questions }: &Sample) -> Self {
        Self::new(scene, questions.clone(), format!("sounds/{:06}.wav", scene.id))
    }
}
