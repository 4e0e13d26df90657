//! One answer about one object, and where each method of docs/maps.md finds it.

#[path = "../strip.rs"]
mod strip;
#[path = "../three.rs"]
mod three;

use anyhow::{Context, Result};
use mmlens::METHODS;
use mmlens::core::Given;
use mmlens::data::shapes::Scene;
use mmlens::evaluation::{self, Side, Sign};
use mmlens::finding::Labelled;
use mmlens::prelude::*;
use mmlens::report;
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
    bbox: [u32; 4],
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
    let (scene, question, object) = three::first()?;
    let bbox = scene.objects.get(object).context("an object")?.bbox;
    Ok(Tour { bbox, question: question.text, answer: question.answer, scene })
}

impl Tour {
    /// The share of the picture that the box covers: what a map that is the same everywhere has there.
    pub(crate) fn even(&self) -> f64 {
        let [left, top, right, bottom] = self.bbox.map(f64::from);
        let [width, height] = self.size();
        (right - left) * (bottom - top) / (width * height) as f64
    }

    fn size(&self) -> [usize; 2] {
        let (width, height) = self.scene.render().dimensions();
        [width as usize, height as usize]
    }

    /// What a method finds of the answer that the subject gives.
    pub(crate) fn map(&self, subject: &dyn Subject, method: &'static str, settings: Value) -> Result<Map> {
        let row = METHODS.iter().find(|row| row.card.short == method).context(method)?;
        let sample = Sample::ask(Picture::new("scene", self.scene.render()), self.question.clone());
        let finding = row.make(settings)?.run_given(&On::new(subject), &Given::new(Case::new(sample))?)?;
        let table = report::drawn(&finding).and_then(|drawn| drawn.tables.into_iter().next());
        let table = table.context("a map over the picture")?;
        let [width, height] = self.size();
        let mass = evaluation::Map::of(&finding, Side::Pictures, None)?.signed(Sign::Absolute);
        let pixels = mass.painted(0, [width, height]);
        let [left, top, right, bottom] = self.bbox.map(|edge| edge as usize);
        let lies = |at: usize| (left..right).contains(&(at % width)) && (top..bottom).contains(&(at / width));
        let inside: f64 = pixels.iter().enumerate().filter(|(at, _)| lies(*at)).map(|(_, value)| value).sum();
        let cautions = finding.cautions().into_iter().map(|caution| caution.text).collect();
        Ok(Map { method, inside: inside / pixels.iter().sum::<f64>(), table, cautions })
    }

    /// The scene and the maps over it, as a PNG file.
    pub(crate) fn drawn(&self, maps: &[Map]) -> Result<Vec<u8>> {
        let scene = self.scene.render();
        let over = maps.iter().map(|map| strip::over(&scene, &map.table));
        let panels: Vec<_> = std::iter::once(Ok(scene.clone())).chain(over).collect::<Result<_>>()?;
        strip::png(&panels, 3, 2)
    }
}
