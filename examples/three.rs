//! A scene of three objects, and a question about one of them.

use anyhow::{Result, bail};
use mmlens::data::shapes::{Kind, Question, Scene, Split, World};

/// The first scene of the test split with three objects of which the colour of one can be asked; which one it is.
pub(crate) fn first() -> Result<(Scene, Question, usize)> {
    let world = World::new(5);
    for id in 0..1000 {
        let scene = world.scene(Split::Test, id);
        let question = scene.ask(Kind::Colour, &mut scene.rng(0)).filter(|_| scene.objects.len() == 3);
        let Some(question) = question else { continue };
        let Some(object) = question.evidence.first().copied() else { continue };
        return Ok((scene, question, object));
    }
    bail!("no scene has three objects")
}
