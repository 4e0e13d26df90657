//! What the directions of a CLIP's embeddings stand for, on scenes whose objects are known.

#[path = "../strip.rs"]
mod strip;

use mmlens::core::{Analysis, AnalysisError, SubjectError};
use mmlens::data::shapes::{Colour, Detail, Mentioned, Scene, Shape, Split, World};
use mmlens::engine::{Indices, Positions, WordList};
use mmlens::finding::FindingError;
use mmlens::model::concepts::{self, By, ConceptBank, Concepts};
use mmlens::model::{EmbeddingParts, ModalityGap, Splice, TextSpan, splice, text_span};
use mmlens::prelude::*;

/// Scenes of the test split.
pub(crate) fn scenes(count: usize) -> Vec<Scene> {
    (0..count as u64).map(|index| World::new(7).scene(Split::Test, index)).collect()
}

/// Each with its caption.
pub(crate) fn captioned(scenes: &[Scene]) -> Result<ManyCases, SubjectError> {
    let (scenes, count) = (scenes.to_vec(), scenes.len());
    let case = move |index: usize| {
        let scene: &Scene = scenes.get(index).ok_or_else(|| SubjectError::NoCase {
            data: "scenes".to_owned(),
            index,
            len: scenes.len(),
        })?;
        Ok(case(index, scene, [scene.caption(Detail::Full).to_string()]))
    };
    ManyCases::over(from_fn("scenes", count, case))
}

/// A scene with captions.
pub(crate) fn case<const N: usize>(index: usize, scene: &Scene, captions: [String; N]) -> Case {
    Case::new(Sample::captions(Picture::new(format!("scene {index}"), scene.render()), captions))
}

/// "a red circle" and all others.
pub(crate) fn words() -> Vec<(Mentioned, String)> {
    let of = |colour: Colour| {
        Shape::ALL.iter().map(move |shape| Mentioned {
            size: None,
            colour: Some(colour),
            shape: Some(*shape),
        })
    };
    Colour::ALL.iter().flat_map(|colour| of(*colour)).map(|own| (own, own.to_string())).collect()
}

fn list() -> WordList {
    WordList::Here(words().into_iter().map(|(_, text)| text).collect())
}

/// How far pictures and captions lie apart.
pub(crate) fn gap(clip: &dyn Subject, scenes: &ManyCases) -> Result<Finding, AnalysisError> {
    ModalityGap::default().run(clip, scenes)
}

/// What heads and patches add to the caption of a scene, and to one that differs from it in a word.
pub(crate) fn parts(clip: &dyn Subject, scene: &Scene) -> Result<Finding, AnalysisError> {
    let own = scene.caption(Detail::Full);
    let near = own.near_misses().next().map_or_else(String::new, |near| near.to_string());
    EmbeddingParts::default().run(clip, &case(0, scene, [own.to_string(), near]))
}

/// The scene; what its patches add to its caption; and what they add to it less what they add to the one that is wrong in a word.
pub(crate) fn patches(scene: &Scene, parts: &Finding) -> anyhow::Result<Vec<u8>> {
    let table = parts.table("patches")?;
    let (own, near) = (table.slice(0, 0)?, table.slice(0, 1)?);
    let pixels = scene.render();
    let panels = [pixels.clone(), strip::over(&pixels, &own)?, strip::over(&pixels, &own.minus(&near)?)?];
    strip::png(&panels, panels.len(), 2)
}

/// Patterns behind block 1 of the tower.
pub(crate) fn concepts() -> anyhow::Result<Concepts> {
    Ok(Concepts::new(concepts::Settings {
        by: By::SemiNmf,
        count: 6,
        site: "vision.blocks.1.mlp_out".parse()?,
        positions: Positions::Pictures,
        exemplars: 3,
        rounds: 100,
        starts: 2,
        ..concepts::Settings::default()
    })?)
}

/// A scene, and how much of each concept its patches hold.
pub(crate) fn amounts(clip: &dyn Subject, scene: &Scene, bank: &ConceptBank) -> anyhow::Result<Vec<u8>> {
    let target = Target::Objective(Objective::Similarity);
    let found = bank.run(clip, &Case { target, ..case(0, scene, [scene.description()]) })?;
    let table = found.table("activations")?;
    let pixels = scene.render();
    let mut panels = vec![pixels.clone()];
    for concept in 0..table.shape().last().copied().unwrap_or(0) {
        panels.push(strip::over(&pixels, &table.slice(1, concept)?)?);
    }
    strip::png(&panels, panels.len(), 2)
}

/// What the heads of a layer write about.
pub(crate) fn span(clip: &dyn Subject, scenes: &ManyCases, layer: usize) -> Result<Finding, AnalysisError> {
    let layers = Indices::At(vec![layer]);
    let settings = text_span::Settings { texts: list(), count: 3, layers, ..text_span::Settings::default() };
    TextSpan::new(settings)?.run(clip, scenes)
}

/// Which objects a picture's embedding is made of.
pub(crate) fn objects(clip: &dyn Subject, scenes: &ManyCases) -> Result<Finding, AnalysisError> {
    let settings =
        splice::Settings { texts: list(), path: Vec::new(), top: 3, ..splice::Settings::default() };
    Splice::new(settings)?.run(clip, scenes)
}

/// Of how many scenes the first concept named is an object there; and how many would be, were each scene given the concept of the next one.
pub(crate) fn true_of(finding: &Finding, scenes: &[Scene]) -> Result<[usize; 2], FindingError> {
    let (table, words) = (finding.table("concepts")?, words());
    let named = |at: usize| words.iter().find(|(_, text)| Some(text.as_str()) == table.get_text(&[at, 0]));
    let holds = |at: usize, scene: &Scene| {
        named(at).is_some_and(|(own, _)| {
            scene.objects.iter().any(|object| Mentioned::of(object, Detail::ColourAndShape) == *own)
        })
    };
    let each = |shift: usize| {
        scenes.iter().enumerate().filter(|(at, scene)| holds((at + shift) % scenes.len(), scene)).count()
    };
    Ok([each(0), each(1)])
}
