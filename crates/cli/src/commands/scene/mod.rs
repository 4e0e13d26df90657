//! `mmlens scene`: a picture of the shapes world or a recording of the tones world, with its questions and what is true of it.

mod shapes;
mod tones;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Result;
use clap::{Args, ValueEnum};
use mmlens::data::shapes::Split;
use serde::Serialize;
use serde_json::{Value, json};

use crate::print;

/// Draws a scene of one of the worlds that the models that ship inside were trained on: coloured shapes, or tones.
///
/// Of the shapes world it writes `scene.png` (64 x 64), `masks.png`, in which a pixel is 0 on the ground and else the number of the object there,
/// from 1, and `scene.json`: the objects, and every question that can be asked with its answer and the objects that are the evidence for it. The same
/// seed, split and index give the same scene.
///
/// Of the tones world it writes `scene.wav` (three seconds at 16 kHz), `spectrogram.png`, the log-mel spectrogram with the boxes of each sound drawn
/// around it, `masks.png`, in which the bits of a pixel say which sounds are in that cell of the spectrogram, and `scene.json`.
///
/// With `--edit` also the same scene with one object or sound edited, as `edited.png` or `edited.wav` and so on, and the questions that have another
/// answer there. All else is the same, to the pixel and the sample, so that the two can be compared (`mmlens explain --corrupted-image edited.png`).
#[derive(Debug, Args)]
pub(crate) struct Scene {
    /// What is drawn.
    #[arg(long, value_enum, default_value_t = World::Shapes)]
    world: World,
    /// The seed of the world.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// The part of the world: train, validation, test. No scene is in two of them.
    #[arg(long, value_name = "SPLIT", default_value_t = Split::Test)]
    split: Split,
    /// Which of its scenes, from 0.
    #[arg(long, value_name = "N", default_value_t = 0)]
    index: u64,
    /// With the bias of the training split: a star brings a ring, a red object a cross; a hiss brings a buzz, a deep sound a pulse.
    #[arg(long)]
    biased: bool,
    /// An object, counted from 0 as in `scene.json`, and what becomes of it: `0:colour=blue`, `0:shape=star`, `0:size=large`,
    /// `0:move=40,20` (its centre, in pixels), `0:remove`. Of a sound `0:pitch=deep`, `0:timbre=hiss`, `0:length=long`, `0:loudness=soft`, `0:start=1.25`
    /// (in seconds), `0:remove`.
    #[arg(long, value_name = "OBJECT:EDIT")]
    edit: Option<String>,
    /// The folder for what is written; made if it is not there. Files of the names above are replaced, others are left alone.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Prints what was written, and what is true of the scene, as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum World {
    /// Pictures of coloured shapes.
    Shapes,
    /// Recordings of tones.
    Tones,
}

/// What is true of a scene.
const TRUTH: &str = "scene.json";
/// So many questions are printed.
const MOST_QUESTIONS: usize = 8;

/// A question that an edited scene answers otherwise.
#[derive(Serialize)]
struct Flipped {
    text: String,
    answer: String,
    edited: String,
}

impl Scene {
    pub(crate) fn run(&self) -> Result<()> {
        match self.world {
            World::Shapes => self.draw(),
            World::Tones => self.play(),
        }
    }

    /// What was given, for the manifest of the folder.
    fn settings(&self, edit: Option<String>) -> BTreeMap<String, Value> {
        let mut settings = vec![
            ("command", json!("scene")),
            ("seed", json!(self.seed)),
            ("split", json!(self.split)),
            ("index", json!(self.index)),
            ("biased", json!(self.biased)),
        ];
        if self.world == World::Tones {
            settings.push(("world", json!("tones")));
        }
        settings.extend(edit.map(|edit| ("edit", json!(edit))));
        settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Which object or sound is edited, and how.
    fn edit<E: FromStr<Err: std::fmt::Display>>(&self) -> Result<Option<(usize, E)>, clap::Error> {
        let Some(text) = &self.edit else { return Ok(None) };
        let wrong = |why: String| {
            let said = format!("invalid value '{text}' for '--edit <OBJECT:EDIT>': {why}\n");
            clap::Error::raw(clap::error::ErrorKind::ValueValidation, said)
        };
        let expected = || {
            let example = if self.world == World::Tones { "0:pitch=deep" } else { "0:colour=blue" };
            wrong(format!("`{text}`: expected OBJECT:EDIT, such as {example}"))
        };
        let (object, edit) = text.split_once(':').ok_or_else(expected)?;
        let object = object.parse().map_err(|_| expected())?;
        Ok(Some((object, edit.parse().map_err(|error: E::Err| wrong(error.to_string()))?)))
    }
}

/// Prints a scene, and the first of its questions with their answers.
fn told<'a>(description: &str, questions: impl ExactSizeIterator<Item = (&'a str, &'a str)>) -> Result<()> {
    print::line(format!("scene      {description}"))?;
    let asked = questions.len();
    for (text, answer) in questions.take(MOST_QUESTIONS) {
        print::line(format!("question   {text} {answer}"))?;
    }
    match asked.saturating_sub(MOST_QUESTIONS) {
        0 => Ok(()),
        more => print::line(format!("           and {more} more in {TRUTH}")),
    }
}

/// Prints an edited scene, and the first of the questions that it answers otherwise.
fn told_edit(description: &str, flipped: &[Flipped]) -> Result<()> {
    print::line(format!("edited     {description}"))?;
    for Flipped { text, answer, edited } in flipped.iter().take(MOST_QUESTIONS) {
        print::line(format!("           {text} {answer}, edited: {edited}"))?;
    }
    match flipped.len().saturating_sub(MOST_QUESTIONS) {
        0 => Ok(()),
        more => print::line(format!("           and {more} more (`--json`)")),
    }
}
