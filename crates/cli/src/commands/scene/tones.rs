//! A scene of the tones world.

use std::io::Cursor;
use std::path::PathBuf;

use anyhow::Result;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use mmlens::data::tones::{
    Cells, Counterfactual, Edit, Record, Scene as Recording, World, listening, picture,
};
use mmlens::files::RunFolder;
use serde::Serialize;

use super::{Flipped, Scene, TRUTH, told, told_edit};
use crate::print;

const FILES: [&str; 4] = ["scene.wav", "spectrogram.png", "masks.png", TRUTH];
const EDITED: [&str; 4] = ["edited.wav", "edited-spectrogram.png", "edited-masks.png", "edited.json"];
/// So many pixels wide and high is a cell of the spectrogram.
const CELL: u32 = 3;
/// What boxes are drawn with, sound by sound.
const COLOURS: [[u8; 3]; 3] = [[255, 140, 0], [0, 190, 255], [120, 230, 90]];

#[derive(Serialize)]
struct Told {
    #[serde(flatten)]
    scene: Files,
    #[serde(skip_serializing_if = "Option::is_none")]
    edited: Option<ToldEdit>,
}

/// What was written of a scene.
#[derive(Serialize)]
struct Files {
    sound: PathBuf,
    spectrogram: PathBuf,
    masks: PathBuf,
    truth: PathBuf,
    scene: Record,
}

/// The edited scene.
#[derive(Serialize)]
struct ToldEdit {
    #[serde(flatten)]
    files: Files,
    event: usize,
    edit: String,
    /// Whether its sounds can be told apart still; if not, it answers no question.
    clear: bool,
    /// Questions that both scenes answer, and otherwise.
    flipped: Vec<Flipped>,
}

impl Scene {
    /// Draws a scene of the tones world.
    pub(super) fn play(&self) -> Result<()> {
        let edit = self.edit::<Edit>()?;
        let scene = World::new(self.seed).with_bias(self.biased).scene(self.split, self.index);
        let made = edit.map(|(event, edit)| scene.counterfactual(event, edit)).transpose()?;
        let settings = self.settings(made.as_ref().map(|made| format!("{}:{}", made.event, made.edit)));
        let mut run = RunFolder::begin(&self.out, settings, [])?;
        let files = write(&mut run, &scene, FILES)?;
        let edited = made.map(|made| -> Result<ToldEdit> {
            Ok(ToldEdit {
                files: write(&mut run, &made.after, EDITED)?,
                event: made.event,
                edit: made.edit.to_string(),
                clear: made.after.is_clear(),
                flipped: flipped(&made),
            })
        });
        let edited = edited.transpose()?;
        run.finish()?;
        let all = Told { scene: files, edited };
        if self.json {
            return print::json(&all);
        }
        let record = &all.scene.scene;
        told(
            &record.description,
            record.questions.iter().map(|own| (own.text.as_str(), own.answer.as_str())),
        )?;
        if let Some(edited) = &all.edited {
            told_edit(&edited.files.scene.description, &edited.flipped)?;
            if !edited.clear {
                print::line("note       sounds cannot be told apart there: nothing is asked about them")?;
            }
        }
        for files in [&all.scene].into_iter().chain(all.edited.iter().map(|edited| &edited.files)) {
            for file in [&files.sound, &files.spectrogram, &files.masks, &files.truth] {
                print::line(print::visible(&file.display().to_string()))?;
            }
        }
        Ok(())
    }
}

fn flipped(made: &Counterfactual) -> Vec<Flipped> {
    let both = made.before.questions().into_iter().filter_map(|own| made.answers(&own.text));
    let other = both.filter(|[own, other]| own.answer != other.answer);
    other.map(|[own, other]| Flipped { text: own.text, answer: own.answer, edited: other.answer }).collect()
}

fn write(
    run: &mut RunFolder,
    scene: &Recording,
    [sound, spectrogram, masks, truth]: [&str; 4],
) -> Result<Files> {
    let record = Record::new(scene, scene.questions(), sound.to_owned());
    let listening = listening()?;
    Ok(Files {
        sound: run.write(sound, &scene.wav())?,
        spectrogram: run.write(spectrogram, &png(drawn(scene)?.into())?)?,
        masks: run.write(masks, &png(scene.labels(&listening).into())?)?,
        truth: run.write(truth, (serde_json::to_string_pretty(&record)? + "\n").as_bytes())?,
        scene: record,
    })
}

fn png(picture: DynamicImage) -> Result<Vec<u8>> {
    let mut png = Cursor::new(Vec::new());
    picture.write_to(&mut png, ImageFormat::Png)?;
    Ok(png.into_inner())
}

/// The spectrogram, with the boxes of each sound around its cells.
fn drawn(scene: &Recording) -> Result<RgbImage> {
    let listening = listening()?;
    let grey = picture(&listening.of(&scene.sound("scene")?)?);
    let mut picture = RgbImage::from_fn(grey.width() * CELL, grey.height() * CELL, |x, y| {
        Rgb([grey.get_pixel(x / CELL, y / CELL).0[0]; 3])
    });
    for (event, colour) in scene.events.iter().zip(COLOURS.iter().cycle()) {
        for region in event.regions() {
            let cells = Cells::of(&[region], &listening);
            let inside = |x: u32, y: u32| {
                let at = (y / CELL) as usize * cells.frames + (x / CELL) as usize;
                cells.inside.get(at).copied().unwrap_or(false)
            };
            let (width, height) = picture.dimensions();
            let edge = |x: u32, y: u32| {
                let near = [(x.wrapping_sub(1), y), (x + 1, y), (x, y.wrapping_sub(1)), (x, y + 1)];
                inside(x, y) && near.iter().any(|&(x, y)| x >= width || y >= height || !inside(x, y))
            };
            for (.., pixel) in picture.enumerate_pixels_mut().filter(|(x, y, _)| edge(*x, *y)) {
                *pixel = Rgb(*colour);
            }
        }
    }
    Ok(picture)
}
