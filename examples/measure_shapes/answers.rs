//! Exact match by kind of question, through the same path a user takes: encode, generate, decode.

use anyhow::Result;
use mmlens::data::shapes::{Kind, Score, Scores, Split, World};
use mmlens::prelude::*;

/// Questions answered in one batch.
const BATCH: usize = 64;

pub(crate) fn measure(subject: &dyn Subject, world: &World, scenes: u64) -> Result<()> {
    let mut asked = Vec::new();
    for sample in world.samples(Split::Test, 0..scenes) {
        let picture = Picture::new(format!("test-{}", sample.scene.id), sample.scene.render());
        for question in sample.questions {
            let encoded = subject.encode(&Sample::ask(picture.clone(), question.text.as_str()))?;
            asked.push((sample.scene.clone(), question, encoded));
        }
    }
    // Like lengths together, so that little is padded.
    asked.sort_by_key(|(scene, question, inputs)| (inputs.positions(), question.kind, scene.id));
    let bar = indicatif::ProgressBar::new(asked.len() as u64);
    let mut scores = Scores::default();
    for chunk in asked.chunks(BATCH) {
        let inputs: Vec<Inputs> = chunk.iter().map(|(_, _, inputs)| inputs.clone()).collect();
        let answers = subject.generate(&Inputs::batch(&inputs, subject.pad())?, &Generation::default())?;
        for ((scene, question, _), answer) in chunk.iter().zip(answers) {
            scores.record(scene, question, &answer.text);
        }
        bar.inc(chunk.len() as u64);
    }
    bar.finish_and_clear();
    println!("Exact match on {scenes} scenes of the test split, greedy decoding\n");
    println!("| kind | questions | right |\n|---|---|---|");
    let row = |what: &str, score: &Score| {
        println!("| {what} | {} | {:.1} % |", score.n, 100.0 * score.rate().unwrap_or(f64::NAN));
    };
    for (kind, score) in &scores.exact {
        match kind {
            Kind::Describe => row("description, word for word", score),
            kind => row(kind.name(), score),
        }
    }
    row("description names every object and no other", &scores.named);
    println!();
    Ok(())
}
