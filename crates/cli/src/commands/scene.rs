//! `mmlens scene`: a picture of the shapes world, with its questions and what is true of it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use mmlens::data::shapes::{Record, Split, World};
use mmlens::files::RunFolder;
use serde::Serialize;
use serde_json::{Value, json};

use crate::print;

/// Draws a scene of coloured shapes: the world that the models that ship inside were trained on.
///
/// Writes `scene.png` (64 x 64), `masks.png`, in which a pixel is 0 on the ground and else the number of the object there, from 1, and
/// `scene.json`: the objects, and every question that can be asked with its answer and the objects that are the evidence for it. The
/// same seed, split and index give the same scene.
#[derive(Debug, Args)]
pub(crate) struct Scene {
    /// The seed of the world.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// The part of the world: train, validation, test. No scene is in two of them.
    #[arg(long, value_name = "SPLIT", default_value_t = Split::Test)]
    split: Split,
    /// Which of its scenes, from 0.
    #[arg(long, value_name = "N", default_value_t = 0)]
    index: u64,
    /// With the bias of the training split: a star brings a ring, a red object a cross.
    #[arg(long)]
    biased: bool,
    /// The folder for what is written; made if it is not there. Files of the names above are replaced, others are left alone.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Prints what was written, and what is true of the scene, as JSON.
    #[arg(long)]
    json: bool,
}

const PICTURE: &str = "scene.png";
const MASKS: &str = "masks.png";
const TRUTH: &str = "scene.json";
/// So many questions are printed.
const MOST_QUESTIONS: usize = 8;

#[derive(Serialize)]
struct Told<'a> {
    picture: PathBuf,
    masks: PathBuf,
    truth: PathBuf,
    scene: &'a Record,
}

impl Scene {
    pub(crate) fn run(&self) -> Result<()> {
        let scene = World::new(self.seed).with_bias(self.biased).scene(self.split, self.index);
        let record = Record::new(&scene, scene.questions(), PICTURE.to_owned(), MASKS.to_owned());
        let settings = [
            ("command", json!("scene")),
            ("seed", json!(self.seed)),
            ("split", json!(self.split)),
            ("index", json!(self.index)),
            ("biased", json!(self.biased)),
        ];
        let settings: BTreeMap<String, Value> = settings.map(|(name, value)| (name.to_owned(), value)).into();
        let mut run = RunFolder::begin(&self.out, settings, [])?;
        let picture = run.write(PICTURE, &scene.png()?)?;
        let masks = run.write(MASKS, &scene.labels_png()?)?;
        let truth = run.write(TRUTH, (serde_json::to_string_pretty(&record)? + "\n").as_bytes())?;
        run.finish()?;
        let told = Told { picture, masks, truth, scene: &record };
        if self.json {
            return print::json(&told);
        }
        print::line(format!("scene      {}", record.description))?;
        let asked = record.questions.len();
        for question in record.questions.iter().take(MOST_QUESTIONS) {
            print::line(format!("question   {} {}", question.text, question.answer))?;
        }
        if asked > MOST_QUESTIONS {
            print::line(format!("           and {} more in {TRUTH}", asked - MOST_QUESTIONS))?;
        }
        for file in [&told.picture, &told.masks, &told.truth] {
            print::line(print::visible(&file.display().to_string()))?;
        }
        Ok(())
    }
}
