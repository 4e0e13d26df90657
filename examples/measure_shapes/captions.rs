//! How often a dual encoder finds the true caption, and names colour and shape of a single object that it never
//! learned to name as such.

use anyhow::{Context, Result};
use mmlens::data::shapes::{Colour, Detail, Mentioned, Score, Shape, Size, Split, World};
use mmlens::finding::top;
use mmlens::prelude::*;

/// Captions of a choice that differ from the true one in one word, and that are true of other scenes.
const NEAR: usize = 8;
const FAR: usize = 7;

pub(crate) fn measure(subject: &dyn Subject, world: &World, scenes: u64) -> Result<()> {
    let mut choice = [Score::default(); 4];
    let mut near = Score::default();
    let bar = indicatif::ProgressBar::new(scenes);
    for index in 0..scenes {
        let scene = world.scene(Split::Test, index);
        let choices = scene.choices(world, NEAR, FAR, &mut scene.rng(0));
        let texts: Vec<String> = choices.iter().map(ToString::to_string).collect();
        let logits = compare(subject, scene.render(), texts)?;
        choice[scene.objects.len() - 1].count(best(&logits)? == 0);
        near.count(best(&logits[..=NEAR])? == 0);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let all = choice
        .iter()
        .fold(Score::default(), |sum, one| Score { n: sum.n + one.n, right: sum.right + one.right });
    println!(
        "The true caption among {} on {scenes} scenes of the test split, {NEAR} of them one word off\n",
        1 + NEAR + FAR
    );
    println!("| scenes | n | right |\n|---|---|---|");
    row("all", &all);
    for (count, score) in choice.iter().enumerate() {
        row(&format!("of {} objects", count + 1), score);
    }
    row("all, against the near ones alone", &near);
    single(subject, world, scenes)
}

/// Scenes of one object: what is most like them among captions of one form.
fn single(subject: &dyn Subject, world: &World, scenes: u64) -> Result<()> {
    let mentioned = |size, colour, shape| Mentioned { size, colour, shape };
    let colours: Vec<Mentioned> = Colour::ALL.iter().map(|&c| mentioned(None, Some(c), None)).collect();
    let shapes: Vec<Mentioned> = Shape::ALL.iter().map(|&s| mentioned(None, None, Some(s))).collect();
    let pairs: Vec<Mentioned> =
        colours.iter().flat_map(|c| shapes.iter().map(|s| mentioned(None, c.colour, s.shape))).collect();
    let all: Vec<Mentioned> = Size::ALL
        .iter()
        .flat_map(|&size| pairs.iter().map(move |pair| Mentioned { size: Some(size), ..*pair }))
        .collect();
    let mut rows = [
        ("colour among 8: \"a red object\"", Detail::Colour, colours, Score::default()),
        ("shape among 6: \"a circle\"", Detail::Shape, shapes, Score::default()),
        ("colour and shape among 48: \"a red circle\"", Detail::ColourAndShape, pairs, Score::default()),
        ("size, colour and shape among 96: \"a large red circle\"", Detail::Full, all, Score::default()),
    ];
    let mut parts = [Score::default(); 2];
    let alone = (0..).map(|index| world.scene(Split::Test, index)).filter(|scene| scene.objects.len() == 1);
    for scene in alone.take(usize::try_from(scenes)?) {
        for (_, detail, candidates, score) in &mut rows {
            let texts = candidates.iter().map(ToString::to_string).collect();
            let found = candidates[best(&compare(subject, scene.render(), texts)?)?];
            let truth = Mentioned::of(&scene.objects[0], *detail);
            score.count(found == truth);
            if *detail == Detail::Full {
                parts[0].count(found.colour == truth.colour);
                parts[1].count(found.shape == truth.shape);
            }
        }
    }
    println!(
        "\nThe single object of {scenes} scenes of the test split\n\n| what | n | right |\n|---|---|---|"
    );
    for (what, _, _, score) in &rows {
        row(what, score);
    }
    row("of the best of those 96, the colour", &parts[0]);
    row("of the best of those 96, the shape", &parts[1]);
    println!();
    Ok(())
}

fn row(what: &str, score: &Score) {
    println!("| {what} | {} | {:.1} % |", score.n, 100.0 * score.rate().unwrap_or(f64::NAN));
}

/// Logits of a picture with some texts.
fn compare(subject: &dyn Subject, picture: image::RgbImage, texts: Vec<String>) -> Result<Vec<f32>> {
    let sample = Sample::new(vec![Picture::new("scene", picture)], Words::Texts(texts));
    let trace = subject.run(&subject.encode(&sample)?, Plan::new().to_output())?;
    Ok(trace.output().pairs.as_ref().context("no dual encoder")?.logits.to_values()?)
}

fn best(logits: &[f32]) -> Result<usize> {
    top(logits)?.context("no captions")
}
