//! One answer about one object, and where each method of docs/maps.md finds it.

#[path = "../strip.rs"]
mod strip;

use anyhow::{Context, Result, bail};
use mmlens::METHODS;
use mmlens::core::Given;
use mmlens::data::shapes::{Kind, Scene, Split, World};
use mmlens::finding::Labelled;
use mmlens::prelude::*;
use mmlens::report::{self, on_picture};
use serde_json::{Value, json};

/// The methods, with less than their default where that takes a minute.
pub(crate) fn methods() -> Vec<(&'static str, Value)> {
    vec![
        ("saliency", json!({})),
        ("gxi", json!({})),
        ("ig", json!({ "steps": 64 })),
        ("gradcam", json!({})),
        ("relevance", json!({})),
        ("occlusion", json!({})),
        ("lime", json!({ "samples": 300 })),
        ("rise", json!({ "samples": 300 })),
    ]
}

/// A scene of three objects, and a question about the colour of one.
pub(crate) struct Tour {
    scene: Scene,
    pub(crate) question: String,
    pub(crate) answer: String,
    /// Of the object asked about: left, top, right, bottom.
    bbox: [f32; 4],
}

/// What a method finds.
pub(crate) struct Map {
    pub(crate) method: &'static str,
    /// The share of the map's magnitudes on the box of the object.
    pub(crate) inside: f64,
    pub(crate) table: Labelled,
    pub(crate) cautions: Vec<String>,
}

/// The first such scene of the test split.
pub(crate) fn first() -> Result<Tour> {
    let world = World::new(5);
    for id in 0..1000 {
        let scene = world.scene(Split::Test, id);
        let question = scene.ask(Kind::Colour, &mut scene.rng(0)).filter(|_| scene.objects.len() == 3);
        let Some(question) = question else { continue };
        let object = question.evidence.first().and_then(|at| scene.objects.get(*at)).context("an object")?;
        let bbox = object.bbox.map(|edge| edge as f32);
        return Ok(Tour { bbox, question: question.text, answer: question.answer, scene });
    }
    bail!("no scene has three objects")
}

impl Tour {
    /// The share of the picture that the box covers: what a map that is the same everywhere has there.
    pub(crate) fn even(&self) -> f64 {
        let [left, top, right, bottom] = self.bbox.map(f64::from);
        let (width, height) = self.scene.render().dimensions();
        (right - left) * (bottom - top) / f64::from(width * height)
    }

    /// What a method finds of the answer that the subject gives.
    pub(crate) fn map(&self, subject: &dyn Subject, method: &'static str, settings: Value) -> Result<Map> {
        let row = METHODS.iter().find(|row| row.card.short == method).context(method)?;
        let sample = Sample::ask(Picture::new("scene", self.scene.render()), self.question.clone());
        let finding = row.make(settings)?.run_given(&On::new(subject), &Given::new(Case::new(sample))?)?;
        let drawn = report::drawn(&finding).context("a map over the picture")?;
        let table = drawn.tables.into_iter().next().context("a table")?;
        let places = on_picture([table.clone()], (0, 0), self.scene.render().dimensions())?.places;
        let [left, top, right, bottom] = self.bbox;
        // Of each place the part that lies in the box.
        let within = |[x0, y0, x1, y1]: [f32; 4]| {
            let (width, height) = (x1.min(right) - x0.max(left), y1.min(bottom) - y0.max(top)); // no NaN: edges
            f64::from(width.max(0.0) * height.max(0.0) / ((x1 - x0) * (y1 - y0))) // no NaN: as above
        };
        let magnitude = |value: f32| f64::from(value.abs());
        let all: f64 = places.iter().map(|(_, value)| magnitude(*value)).sum();
        let inside: f64 = places.iter().map(|(place, value)| within(*place) * magnitude(*value)).sum();
        let cautions = finding.cautions().into_iter().map(|caution| caution.text).collect();
        Ok(Map { method, inside: inside / all, table, cautions })
    }

    /// The scene and the maps over it, as a PNG file.
    pub(crate) fn drawn(&self, maps: &[Map]) -> Result<Vec<u8>> {
        let scene = self.scene.render();
        let over = maps.iter().map(|map| strip::over(&scene, &map.table));
        let panels: Vec<_> = std::iter::once(Ok(scene.clone())).chain(over).collect::<Result<_>>()?;
        strip::png(&panels, 3, 2)
    }
}
