//! What the answers of a model are worth where tags are true, false, or not there, and what its explanations are where they are false.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use mmlens::core::Unwatched;
use mmlens::data::shapes::{Split, World};
use mmlens::engine::{Aim, End, mean_interval};
use mmlens::evaluation::{self, Contestant, Evaluation, EvaluationSettings, METRICS, Models, Redraws};
use mmlens::model::{IntegratedGradients, Occlusion, integrated_gradients, occlusion};
use mmlens::prelude::*;
use mmlens::serde_json::{Value, json};
use mmlens::training::{CheckpointDifference, checkpoint_difference};
use mmlens::zoo::{OpenOptions, Redraw};

use super::draw;
use super::tags::{FalseTags, Tag};

/// Scenes that are asked about.
const SCENES: usize = 200;

/// Two tables.
pub(crate) fn worth(folder: &Path, world: &World, cases: usize) -> Result<String> {
    let device = Device::flex();
    let subject = OpenOptions::new(&device).open(folder)?;
    let on = On::new(subject.as_ref());
    let mut told = "| | says what is true | says what the tag says | of |\n|---|---|---|---|\n".to_owned();
    for (tag, name) in Tag::TOLD {
        let mut each: [Vec<f64>; 2] = Default::default();
        for own in draw(world, Split::Test, (0, SCENES), tag) {
            let sample = Sample::ask(Picture::new(name, own.picture), own.question.text);
            let answer = Aim::default().settle(&on, sample)?.answer;
            for (each, word) in each.iter_mut().zip([own.question.answer.as_str(), own.said]) {
                each.push(f64::from(u8::from(answer == word)));
            }
        }
        let all = each[0].len();
        let [right, tagged] = each.map(|each| {
            let [low, high] = mean_interval(&each, Seed(0)).unwrap_or([f64::NAN; 2]);
            format!("{:.3} [{low:.3}, {high:.3}]", each.iter().sum::<f64>() / all as f64)
        });
        let tagged = if tag == Tag::False { tagged } else { "-".to_owned() };
        writeln!(told, "| {name} | {right} | {tagged} | {all} |")?;
    }
    let random = OpenOptions::new(&device).redraw(Redraw::all(Seed(0))).open(folder)?;
    let models = Models { random: random.as_ref(), redraws: Redraws::default() };
    let settings = |id: &str| -> Value { if id == "deletion" { json!({ "steps": 8 }) } else { json!({}) } };
    let metrics = ["mass-accuracy", "rank-accuracy", "pointing-game", "deletion"].map(|id| {
        let row = METRICS.iter().find(|row| row.card.id == id).context("a metric of that name")?;
        Ok(row.make(settings(id))?)
    });
    let metrics = metrics.into_iter().collect::<Result<Vec<_>>>()?;
    let evaluation = Evaluation::new(EvaluationSettings::default(), metrics)?;
    let data = FalseTags::new(*world, cases);
    let finding = evaluation.run(&on.watched(&Unwatched), &data, &contestants()?, models, None)?;
    writeln!(told, "\n{}", evaluation::league(&finding).context("no scores")?)?;
    finding.cautions().iter().try_for_each(|caution| writeln!(told, "- {}", caution.text))?;
    Ok(told)
}

/// What a training changed in the states of the last position where tags are false, and how far the vector that this has in common in all cases brings the answers along.
pub(crate) fn changed(from: &Path, folder: &Path, world: &World, cases: usize) -> Result<String> {
    let device = Device::flex();
    let before = OpenOptions::new(&device).open(from)?;
    let after = OpenOptions::new(&device).open(folder)?;
    let data = ManyCases::over(FalseTags::new(*world, cases))?.beside(after);
    let method = CheckpointDifference::new(checkpoint_difference::Settings::default())?;
    let finding = method.run(before.as_ref(), &data)?;
    let mut told = "| site | size | shared | halves | ... random signs | nats before | with the vector | with random vectors |\n|---|---|---|---|---|---|---|---|\n".to_owned();
    let difference = finding.table("difference")?;
    for (at, site) in (0..).map_while(|at| Some((at, difference.axes().first()?.label(at)?))) {
        let of = |table: &str, column: usize| -> Result<String> {
            Ok(format!("{:.3}", finding.table(table)?.get(&[at, column]).context("a number")?))
        };
        let cells = [("difference", 0), ("difference", 2), ("difference", 3), ("difference", 4)];
        let cells = cells.into_iter().chain([("effect", 0), ("effect", 1), ("effect", 2)]);
        let cells = cells.map(|(table, column)| of(table, column)).collect::<Result<Vec<_>>>()?;
        writeln!(told, "| `{site}` | {} |", cells.join(" | "))?;
    }
    finding.cautions().iter().try_for_each(|caution| writeln!(told, "- {}", caution.text))?;
    Ok(told)
}

fn contestants() -> Result<Vec<Contestant>> {
    let along = vec![End::new(Site::of(Part::Vision, Point::Pixels), Baseline::Mean)];
    let path = integrated_gradients::Settings {
        along: Some(along),
        steps: Some(32),
        rows: 16,
        ..Default::default()
    };
    let hide = occlusion::Settings { words: None, pixels: Baseline::Mean, rows: 64, ..Default::default() };
    Ok(vec![
        Contestant::new("integrated gradients", Box::new(IntegratedGradients::new(path)?)),
        Contestant::new("occlusion, 8 x 8", Box::new(Occlusion::new(hide)?)),
    ])
}
