//! What single neurons of the built-in LLaVA are about, and whether it needs them.

#[allow(dead_code, reason = "crops are drawn, and no maps")]
#[path = "../strip.rs"]
mod strip;

use anyhow::Context;
use image::RgbImage;
use mmlens::core::AnalysisError;
use mmlens::data::shapes::{Kind, Said, ShapesCases, ShapesConcepts, Split, World};
use mmlens::engine::{NeuronAt, Positions};
use mmlens::model::{exemplars, group_ablation, network_dissection, selectivity};
use mmlens::prelude::*;

/// In the tower: which concept each neuron marks, and what makes it fire. In the decoder: which neurons tell scenes with a red object asked
/// about from the others where the answer is decided, and what becomes of the answers without them.
pub(crate) fn look(subject: &dyn Subject, scenes: usize) -> Result<Vec<Finding>, AnalysisError> {
    let asked = Said::Question("describe the picture .".to_owned());
    let pictures = ManyCases::over(ShapesConcepts::new(World::new(7), Split::Test, scenes, asked))?;
    let questions = ManyCases::over(ShapesCases::new(World::new(7), Split::Test, Kind::Colour, 2 * scenes))?;

    let marks = network_dissection::NetworkDissection::default().run(subject, &pictures)?;
    let settings = exemplars::Settings {
        part: Some(Part::Vision),
        positions: Positions::Pictures,
        top: 8,
        crops: 6,
        ..Default::default()
    };
    let fires = exemplars::Exemplars::new(settings)?.run(subject, &pictures)?;
    let settings = selectivity::Settings {
        class: Some("red".to_owned()),
        positions: Positions::Last,
        top: 12,
        ..Default::default()
    };
    let tells = selectivity::Selectivity::new(settings)?.run(subject, &questions)?;
    let listed = tells.table("neurons")?.as_texts().unwrap_or_default();
    let neurons = Some(NeuronAt::listed(listed).unwrap_or_default()).filter(|some| !some.is_empty());
    let settings = group_ablation::Settings { neurons, random: 19, ..Default::default() };
    let needs = group_ablation::GroupAblation::new(settings)?.run(subject, &questions)?;
    Ok(vec![marks, fires, tells, needs])
}

/// What makes neurons fire: a row of crops for each of the first four, the strongest first, as a PNG file.
pub(crate) fn crops(fires: &Finding) -> anyhow::Result<Vec<u8>> {
    let table = fires.table("crops")?;
    let [neurons, ranks, high, wide, _] = table.shape()[..] else { anyhow::bail!("a table of five axes") };
    let columns = ranks.min(6);
    let mut panels = Vec::new();
    for neuron in 0..neurons.min(4) {
        for rank in 0..columns {
            let crop = table.slice(0, neuron)?.slice(0, rank)?;
            let pixels = crop.as_numbers().context("numbers")?.iter().map(|value| *value as u8).collect();
            let mut panel = RgbImage::from_raw(wide as u32, high as u32, pixels).context("a crop")?;
            // White lines between crops.
            for (x, y, pixel) in panel.enumerate_pixels_mut() {
                if x + 1 == wide as u32 || y + 1 == high as u32 {
                    *pixel = image::Rgb([255; 3]);
                }
            }
            panels.push(panel);
        }
    }
    strip::png(&panels, columns, 2)
}
