//! What the program asks.

#[path = "../strip.rs"]
mod strip;

use anyhow::{Context, Result};
use mmlens::core::{Analysis, AnalysisError};
use mmlens::data::grounded::{Format, Shown, iou};
use mmlens::data::minimal_pairs::{self, MinimalPairs};
use mmlens::data::modality_ablation::{self, ModalityAblation};
use mmlens::data::shapes::{Detail, Edit, Kind, ShapesCases, Split, World};
use mmlens::model::attribution_patching::{AttributionPatching, Settings};
use mmlens::prelude::*;

/// What the answers to colour questions owe to pictures and to words.
pub(crate) fn modalities(llava: &dyn Subject, count: usize) -> Result<Finding, AnalysisError> {
    let asked = ManyCases::over(ShapesCases::new(World::new(7), Split::Test, Kind::Colour, count))?;
    let settings = modality_ablation::Settings { repeats: 3, ..modality_ablation::Settings::default() };
    ModalityAblation::new(settings)?.run(llava, &asked)
}

/// Whether captions are preferred to their foils.
pub(crate) fn pairs(clip: &dyn Subject, count: usize) -> Result<Finding, AnalysisError> {
    let captions = from_fn("captions", count, |i| {
        let scene = World::new(7).scene(Split::Test, i as u64);
        let picture = Picture::new(format!("scene {i}"), scene.render());
        let sample = Sample::captions(picture, [scene.caption(Detail::Full).to_string()]);
        Ok(Case { sample, target: Target::Objective(Objective::Similarity) })
    });
    MinimalPairs::new(minimal_pairs::Settings::default())?.run(clip, &ManyCases::over(captions)?)
}

/// Two pictures that differ in the colour of one object, and the question about it.
pub(crate) struct Recoloured {
    pub(crate) question: String,
    pub(crate) edit: String,
    pub(crate) finding: Finding,
    /// Both pictures, and where behind block 1 it is carried which of them is shown, as a PNG file.
    pub(crate) drawn: Vec<u8>,
}

/// Where in the model the colour of one object is carried.
pub(crate) fn counterfactual(llava: &dyn Subject) -> Result<Recoloured> {
    let (scene, question) = ShapesCases::new(World::new(7), Split::Test, Kind::Colour, 1).scene(0)?;
    let made = scene.flips(&question.text);
    let recoloured = made.iter().find(|made| matches!(made.edit, Edit::Colour(_)));
    let made = recoloured.context("a scene with an object that can be recoloured alone")?;
    let finding = AttributionPatching::new(Settings::default())?.run(llava, &made.pair(&question.text))?;
    let (before, after) = (made.before.render(), made.after.render());
    let carried = strip::over(&before, &finding.table("resid_pre")?.slice(0, 2)?)?;
    let drawn = strip::png(&[before, after, carried], 3, 2)?;
    let edit = format!("object {}: {}", made.object, made.edit);
    Ok(Recoloured { question: question.text, edit, finding, drawn })
}

/// How well a box in a text meets the object it names.
pub(crate) fn grounded() -> Result<String> {
    let scene = World::new(7).scene(Split::Test, 0);
    let object = scene.objects.first().context("a scene with an object")?;
    let (name, truth) = (format!("the {} {}", object.colour, object.shape), object.bbox.map(|at| at as f32));
    // As a model of Qwen's might write it: thousandths of the picture.
    let [x0, y0, x1, y1] = truth.map(|at| (at * 1000.0 / 64.0).round());
    let text = format!("<ref>{name}</ref><box>({x0},{y0}),({x1},{y1})</box>");
    let read = Format::QwenVl.read(&text, &Shown::of([64, 64]))?;
    let span = read.spans.first().context("a span")?;
    let met = span.boxes.first().map(|own| iou(*own, truth)).context("a box")?;
    Ok(format!("{text}: “{}”, {met:.3} of the object's box", read.text))
}
