//! How much of an explanation lies on the object that is the evidence.
//!
//! The truth is the evidence's box. A map's share is the absolute value that lies in the box over all of it; a random
//! map's share is the box's part of the picture.

use anyhow::{Context, Result};
use mmlens::data::shapes::{Kind, SIDE, Split, World};
use mmlens::engine::End;
use mmlens::finding::top;
use mmlens::model::{AttentionRollout, IntegratedGradients, Occlusion, integrated_gradients, occlusion};
use mmlens::prelude::*;

const KINDS: [Kind; 4] = [Kind::Colour, Kind::Shape, Kind::Size, Kind::Location];

struct Method {
    name: &'static str,
    analysis: Box<dyn AnyAnalysis>,
    /// The table that lies on the picture.
    table: &'static str,
}

#[derive(Default)]
struct Sums {
    share: f64,
    area: f64,
    twice: usize,
    hits: usize,
    maps: usize,
}

/// On the picture alone, from its mean colour.
fn methods() -> Result<Vec<Method>> {
    let pixels = Site::of(Part::Vision, Point::Pixels);
    let path = integrated_gradients::Settings {
        along: Some(vec![End::new(pixels, Baseline::Mean)]),
        steps: Some(50),
        rows: 25,
        ..Default::default()
    };
    let hide = occlusion::Settings { words: None, pixels: Baseline::Mean, rows: 64, ..Default::default() };
    let rollout = AttentionRollout::default;
    Ok(vec![
        Method {
            name: "integrated gradients (pixels)",
            analysis: Box::new(IntegratedGradients::new(path)?),
            table: "",
        },
        Method { name: "occlusion (8 x 8 cells)", analysis: Box::new(Occlusion::new(hide)?), table: "" },
        Method { name: "attention rollout, decoder", analysis: Box::new(rollout()), table: "picture" },
        Method {
            name: "attention rollout, decoder and tower",
            analysis: Box::new(rollout()),
            table: "picture through the tower",
        },
    ])
}

pub(crate) fn measure(subject: &dyn Subject, world: &World, questions: usize) -> Result<()> {
    let mut cases = Vec::new();
    for sample in world.samples(Split::Test, 0..u64::MAX) {
        let picture = Picture::new(format!("test-{}", sample.scene.id), sample.scene.render());
        for question in sample.questions.iter().filter(|q| KINDS.contains(&q.kind) && q.evidence.len() == 1) {
            let object = question
                .evidence
                .first()
                .and_then(|i| sample.scene.objects.get(*i))
                .context("no evidence")?;
            cases.push((Case::new(Sample::ask(picture.clone(), question.text.as_str())), object.bbox));
        }
        if cases.len() >= questions {
            break;
        }
    }
    cases.truncate(questions);
    println!(
        "Share of the map inside the evidence's box, {} questions about one object (test split)\n",
        cases.len()
    );
    println!(
        "| method | share in the box | box's part of the picture | ratio | at least twice random | highest point inside |"
    );
    println!("|---|---|---|---|---|---|");
    for method in methods()? {
        let bar = indicatif::ProgressBar::new(cases.len() as u64);
        let mut sums = Sums::default();
        for (case, bbox) in &cases {
            let finding = method.analysis.run_given(&On::new(subject), &Given::new(case.clone())?)?;
            let cells = cells(&finding, method.table).with_context(|| format!("{}: no map", method.name))?;
            let bbox = bbox.map(|v| v as f32);
            let total: f64 = cells.iter().map(|(_, v)| f64::from(v.abs())).sum();
            let inside: f64 = cells.iter().map(|(cell, v)| f64::from(v.abs() * overlap(*cell, bbox))).sum();
            let sizes: Vec<f32> = cells.iter().map(|(_, value)| value.abs()).collect();
            let highest = cells[top(&sizes)?.context("an empty map")?].0;
            let side = SIDE as f32;
            let area = f64::from((bbox[2] - bbox[0]) * (bbox[3] - bbox[1]) / (side * side));
            let share = inside / total.max(1e-12);
            sums.share += share;
            sums.area += area;
            sums.twice += usize::from(share >= 2.0 * area);
            sums.hits += usize::from(overlap(highest, bbox) > 0.0);
            sums.maps += 1;
            bar.inc(1);
        }
        bar.finish_and_clear();
        let n = sums.maps.max(1) as f64;
        println!(
            "| {} | {:.3} | {:.3} | {:.2} | {:.0} % | {:.0} % |",
            method.name,
            sums.share / n,
            sums.area / n,
            sums.share / sums.area.max(1e-12),
            100.0 * sums.twice as f64 / n,
            100.0 * sums.hits as f64 / n,
        );
    }
    Ok(())
}

/// The cells of a map with their extent on the picture: the named table, or the first with rows and columns.
fn cells(finding: &Finding, name: &str) -> Option<Vec<([f32; 4], f32)>> {
    let table = finding.tables().iter().find(|t| match name {
        "" => t.roles() == [Role::Row, Role::Column],
        name => t.name() == name,
    })?;
    let values = table.as_numbers()?;
    let places: Vec<[f32; 4]> = match table.axes() {
        [rows, cols] => {
            let (Labels::Spans { spans: rows, .. }, Labels::Spans { spans: cols, .. }) =
                (&rows.labels, &cols.labels)
            else {
                return None;
            };
            rows.iter().flat_map(|y| cols.iter().map(move |x| [x[0], y[0], x[1], y[1]])).collect()
        }
        [axis] => match &axis.labels {
            Labels::Patches(patches) => patches.iter().map(|p| p.bbox).collect(),
            _ => return None,
        },
        _ => return None,
    };
    Some(places.into_iter().zip(values.iter().copied()).collect())
}

/// The part of a cell that lies in a box.
fn overlap(cell: [f32; 4], bbox: [f32; 4]) -> f32 {
    let width = (cell[2].min(bbox[2]) - cell[0].max(bbox[0])).max(0.0);
    let height = (cell[3].min(bbox[3]) - cell[1].max(bbox[1])).max(0.0);
    width * height / ((cell[2] - cell[0]) * (cell[3] - cell[1])).max(1e-9)
}
