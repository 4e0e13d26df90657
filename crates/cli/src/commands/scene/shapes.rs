//! A scene of the shapes world.

use std::path::PathBuf;

use anyhow::Result;
use mmlens::data::shapes::{Counterfactual, Edit, Record, World};
use mmlens::files::RunFolder;
use serde::Serialize;

use super::{Flipped, Scene, TRUTH, told, told_edit};
use crate::print;

const PICTURE: &str = "scene.png";
const MASKS: &str = "masks.png";
const EDITED: [&str; 3] = ["edited.png", "edited-masks.png", "edited.json"];

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

fn flipped(made: &Counterfactual) -> Vec<Flipped> {
    let both = made.before.questions().into_iter().filter_map(|own| made.answers(&own.text));
    let other = both.filter(|[own, other]| own.answer != other.answer);
    other.map(|[own, other]| Flipped { text: own.text, answer: own.answer, edited: other.answer }).collect()
}

impl Scene {
    /// Draws a scene of the shapes world.
    pub(super) fn draw(&self) -> Result<()> {
        let edit = self.edit::<Edit>()?;
        let scene = World::new(self.seed).with_bias(self.biased).scene(self.split, self.index);
        let record = Record::new(&scene, scene.questions(), PICTURE.to_owned(), MASKS.to_owned());
        let made = edit.map(|(object, edit)| scene.counterfactual(object, edit)).transpose()?;
        let settings = self.settings(made.as_ref().map(|made| format!("{}:{}", made.object, made.edit)));
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
        let all = Told { picture, masks, truth, scene: &record, edited };
        if self.json {
            return print::json(&all);
        }
        told(
            &record.description,
            record.questions.iter().map(|own| (own.text.as_str(), own.answer.as_str())),
        )?;
        if let Some(edited) = &all.edited {
            told_edit(&edited.scene.description, &edited.flipped)?;
            if !edited.alone {
                print::line("note       other objects show more or less of themselves")?;
            }
        }
        let own = [&all.picture, &all.masks, &all.truth].into_iter();
        let edited = all.edited.iter().flat_map(|own| [&own.picture, &own.masks, &own.truth]);
        for file in own.chain(edited) {
            print::line(print::visible(&file.display().to_string()))?;
        }
        Ok(())
    }
}
