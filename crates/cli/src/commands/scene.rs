//! `mmlens scene`: a picture of the shapes world, with its questions and what is true of it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use mmlens::data::shapes::{Counterfactual, Edit, EditError, Record, Split, World};
use mmlens::files::RunFolder;
use serde::Serialize;
use serde_json::{Value, json};

use crate::print;

/// Draws a scene of coloured shapes: the world that the models that ship inside were trained on.
///
/// Writes `scene.png` (64 x 64), `masks.png`, in which a pixel is 0 on the ground and else the number of the object there, from 1, and
/// `scene.json`: the objects, and every question that can be asked with its answer and the objects that are the evidence for it. The
/// same seed, split and index give the same scene.
///
/// With `--edit` also the same scene with one object edited, as `edited.png`, `edited-masks.png` and `edited.json`, and the questions that have another answer
/// there. All else is the same, to the pixel, so that the two pictures can be compared (`mmlens explain --corrupted-image edited.png`).
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
    /// An object, counted from 0 as in `scene.json`, and what becomes of it: `0:colour=blue`, `0:shape=star`, `0:size=large`,
    /// `0:move=40,20` (its centre, in pixels), `0:remove`.
    #[arg(long, value_name = "OBJECT:EDIT", value_parser = edit)]
    edit: Option<(usize, Edit)>,
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
const EDITED: [&str; 3] = ["edited.png", "edited-masks.png", "edited.json"];
/// So many questions are printed.
const MOST_QUESTIONS: usize = 8;

#[derive(Serialize)]
struct Told<'a> {
    picture: PathBuf,
    masks: PathBuf,
    truth: PathBuf,
    scene: &'a Record,
    #[serde(skip_serializing_if = "Option::is_none")]
    edited: Option<ToldEdit>,
}

/// The edited scene.
#[derive(Serialize)]
struct ToldEdit {
    picture: PathBuf,
    masks: PathBuf,
    truth: PathBuf,
    object: usize,
    edit: String,
    scene: Record,
    /// Whether every other object shows the same pixels.
    alone: bool,
    /// Questions that both scenes answer, and otherwise.
    flipped: Vec<Flipped>,
}

#[derive(Serialize)]
struct Flipped {
    text: String,
    answer: String,
    edited: String,
}

fn edit(text: &str) -> Result<(usize, Edit), String> {
    let wrong = || format!("`{text}`: expected OBJECT:EDIT, such as 0:colour=blue");
    let (object, edit) = text.split_once(':').ok_or_else(wrong)?;
    let object = object.parse().map_err(|_| wrong())?;
    Ok((object, edit.parse().map_err(|error: EditError| error.to_string())?))
}

fn flipped(made: &Counterfactual) -> Vec<Flipped> {
    let both = made.before.questions().into_iter().filter_map(|own| made.answers(&own.text));
    let other = both.filter(|[own, other]| own.answer != other.answer);
    other.map(|[own, other]| Flipped { text: own.text, answer: own.answer, edited: other.answer }).collect()
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
        let made = self.edit.map(|(object, edit)| scene.counterfactual(object, edit)).transpose()?;
        let named = made.as_ref().map(|made| json!(format!("{}:{}", made.object, made.edit)));
        let mut settings: BTreeMap<String, Value> =
            settings.map(|(name, value)| (name.to_owned(), value)).into();
        settings.extend(named.map(|named| ("edit".to_owned(), named)));
        let mut run = RunFolder::begin(&self.out, settings, [])?;
        let picture = run.write(PICTURE, &scene.png()?)?;
        let masks = run.write(MASKS, &scene.labels_png()?)?;
        let truth = run.write(TRUTH, (serde_json::to_string_pretty(&record)? + "\n").as_bytes())?;
        let edited = made.map(|made| -> Result<ToldEdit> {
            let [picture, masks, truth] = EDITED;
            let scene =
                Record::new(&made.after, made.after.questions(), picture.to_owned(), masks.to_owned());
            Ok(ToldEdit {
                picture: run.write(picture, &made.after.png()?)?,
                masks: run.write(masks, &made.after.labels_png()?)?,
                truth: run.write(truth, (serde_json::to_string_pretty(&scene)? + "\n").as_bytes())?,
                object: made.object,
                edit: made.edit.to_string(),
                scene,
                alone: made.is_alone(),
                flipped: flipped(&made),
            })
        });
        let edited = edited.transpose()?;
        run.finish()?;
        let told = Told { picture, masks, truth, scene: &record, edited };
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
        if let Some(edited) = &told.edited {
            print::line(format!("edited     {}", edited.scene.description))?;
            for Flipped { text, answer, edited } in edited.flipped.iter().take(MOST_QUESTIONS) {
                print::line(format!("           {text} {answer}, edited: {edited}"))?;
            }
            let more = edited.flipped.len().saturating_sub(MOST_QUESTIONS);
            if more > 0 {
                print::line(format!("           and {more} more (`--json`)"))?;
            }
            if !edited.alone {
                print::line("note       other objects show more or less of themselves")?;
            }
        }
        let own = [&told.picture, &told.masks, &told.truth].into_iter();
        let edited = told.edited.iter().flat_map(|own| [&own.picture, &own.masks, &own.truth]);
        for file in own.chain(edited) {
            print::line(print::visible(&file.display().to_string()))?;
        }
        Ok(())
    }
}
