//! Questions about what is there and what is not, as POPE polls a model, over scenes of shapes.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use anyhow::Result;
use mmlens::core::Memory;
use mmlens::data::benchmark::{Bench, Reader, Scored, ScorerName, Settings, Source};
use mmlens::data::shapes::{Shape, Split, World};
use mmlens::files::write;
use mmlens::prelude::*;

/// Writes scenes with questions about shapes that are there and about as many that are not, drawn by the scene's number. (POPE draws those that
/// are not there at random, as here, from the most frequent, or from those that come with what is there.)
pub(crate) fn poll(folder: &Path, scenes: u64) -> Result<PathBuf> {
    let path = folder.join("polls.jsonl");
    let (world, mut lines, mut asked) = (World::new(7), String::new(), 0);
    for id in 0..scenes {
        let scene = world.scene(Split::Test, id);
        let name = format!("{id:04}.png");
        let mut png = Cursor::new(Vec::new());
        scene.render().write_to(&mut png, image::ImageFormat::Png)?;
        write(folder.join(&name), png.into_inner())?;
        let is_there = |shape: &Shape| scene.objects.iter().any(|object| object.shape == *shape);
        let (mut there, mut absent): (Vec<Shape>, Vec<Shape>) =
            Shape::ALL.iter().copied().partition(is_there);
        let count = there.len().min(absent.len());
        for shapes in [&mut there, &mut absent] {
            shapes.sort_by_key(|shape| Seed(id).at(*shape as u64).value());
            shapes.truncate(count);
        }
        for (shape, label) in
            there.iter().map(|shape| (shape, "yes")).chain(absent.iter().map(|shape| (shape, "no")))
        {
            asked += 1;
            let text = format!("is there a {} ?", shape.word());
            let line = serde_json::json!({"question_id": asked, "image": name, "text": text, "label": label});
            lines.push_str(&format!("{line}\n"));
        }
    }
    write(&path, lines)?;
    Ok(path)
}

/// Answers the questions, into a folder.
pub(crate) fn answer(
    subject: &dyn Subject,
    data: &Path,
    out: &Path,
    methods: &[Box<dyn AnyAnalysis>],
) -> Result<Scored> {
    let settings = Settings { scorer: ScorerName::Pope, max_new: 4, ..Settings::default() };
    let bench = Bench {
        name: "polls",
        source: &Source::new(Reader::Pope, data),
        settings: &settings,
        synonyms: None,
        limit: None,
        methods,
        memory: Memory::default(),
        read: None,
    };
    Ok(bench.run(subject, out, &Unwatched)?)
}
