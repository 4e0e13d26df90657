//! A scene of three objects, a question about one of them, and what the model says without each.

#[path = "../three.rs"]
mod three;

use anyhow::{Context, Result, bail};
use mmlens::METHODS;
use mmlens::core::{Picture, Sample, Subject};
use mmlens::data::shapes::Scene;
use mmlens::whatif::{Difference, Reply, Request, Settings, Top, WhatIf, parse};
use serde_json::json;

/// A scene with a question about the colour of one of its objects.
pub(crate) struct Tour {
    scene: Scene,
    pub(crate) question: String,
    pub(crate) answer: String,
    /// Which object is asked about.
    pub(crate) asked: usize,
}

/// What the model says without something.
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) answer: String,
    /// Of the answer to the whole picture.
    pub(crate) log_probability: f64,
    /// Of the distribution over the first token from that of the whole picture, in nats.
    pub(crate) divergence: f64,
}

/// The first scene of the test split with three objects of which one can be asked about.
pub(crate) fn first() -> Result<Tour> {
    let (scene, question, asked) = three::first()?;
    Ok(Tour { asked, question: question.text, answer: question.answer, scene })
}

impl Tour {
    /// With everything, without each object, and without the word `colour`.
    pub(crate) fn without(&self, subject: &dyn Subject) -> Result<Vec<Row>> {
        let sample = Sample::ask(Picture::new("scene", self.scene.render()), self.question.clone());
        let mut session = WhatIf::begin(subject, sample, METHODS, Settings::default())?;
        let mut rows = vec![row("everything", &mut session)?];
        for object in &self.scene.objects {
            let [x0, y0, x1, y1] = object.bbox.map(|edge| edge as f32);
            let region = json!([x0 - 4.0, y0 - 4.0, x1 + 4.0, y1 + 4.0]);
            done(&mut session, &json!({ "do": "hide", "region": region }))?;
            rows.push(row(&format!("without the {} {}", object.colour, object.shape), &mut session)?);
            done(&mut session, &json!({ "do": "undo" }))?;
        }
        done(&mut session, &json!({ "do": "hide", "words": [1] }))?;
        rows.push(row("without the word “colour”", &mut session)?);
        Ok(rows)
    }
}

/// A request as it would come from elsewhere.
fn done(session: &mut WhatIf<'_>, request: &serde_json::Value) -> Result<Reply> {
    let (_, request) = parse(request.to_string().as_bytes()).map_err(|(_, refusal)| refusal)?;
    Ok(session.now_do(request)?)
}

fn row(what: &str, session: &mut WhatIf<'_>) -> Result<Row> {
    // Or as a value of Rust.
    let Reply::Difference(told) = session.now_do(Request::Difference { top: Top(3) })? else {
        bail!("another reply")
    };
    let Difference { after, log_probability, divergence, .. } = *told;
    let divergence = divergence.context("tokens of one distribution")?;
    Ok(Row { what: what.to_owned(), answer: after, log_probability: log_probability[1], divergence })
}
