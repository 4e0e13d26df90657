//! Scenes and captions as the numbers a training step takes.

use mmlens::data::shapes::{Caption, Colour, Detail, Mentioned, Scene, Shape, Size, Split, World};
use rand::RngExt;
use rand::seq::IndexedRandom;

use super::folder::{BEGIN, END};
use super::training::{Words, shown};

/// How often a caption says everything; the other details share the rest.
const FULL: f64 = 0.7;

/// Kinds of object: every size, colour and shape.
pub(crate) const KINDS: usize = Size::ALL.len() * Colour::ALL.len() * Shape::ALL.len();

/// Pictures and as many captions for each: the true one first, then false ones.
pub(crate) struct Batch {
    pub(crate) scenes: Vec<Scene>,
    /// For every patch: shape, colour, size of the object it shows, each plus one; zeros where there is none.
    pub(crate) patches: Vec<[u8; 3]>,
    /// The captions of the first picture, then of the second, and so on, as token ids.
    pub(crate) ids: Vec<Vec<u32>>,
    /// Captions of each picture.
    pub(crate) each: usize,
    /// Whether a caption, `[picture, caption]`, is false for a picture.
    pub(crate) falsehoods: Vec<bool>,
    /// Which kinds of object each picture shows, `[picture, KINDS]`, 1 or 0.
    pub(crate) shown: Vec<f32>,
    /// The captions that say everything, and which kinds of object each of them names.
    pub(crate) full: Vec<usize>,
    pub(crate) named: Vec<f32>,
}

/// The pictures `start .. start + count` of a split, each with a caption and `near` that are nearly true.
pub(crate) fn draw(
    world: &World,
    split: Split,
    start: u64,
    count: usize,
    near: usize,
    draw: u64,
    words: &Words,
) -> Batch {
    let captions = |scene: &Scene| {
        let mut rng = scene.rng(draw);
        let other = Detail::ALL.choose(&mut rng).copied().unwrap_or(Detail::Full);
        let caption = scene.caption(if rng.random_bool(FULL) { Detail::Full } else { other });
        let misses: Vec<Caption> = caption.near_misses().collect();
        let mut captions = vec![caption];
        // With repetition where there are too few.
        captions.extend(misses.sample(&mut rng, near).cloned());
        while captions.len() < 1 + near {
            captions.extend(misses.choose(&mut rng).cloned());
        }
        captions
    };
    gather(world, split, start, count, words, 1 + near, captions)
}

/// The pictures `start .. start + count` of a split, each with 16 captions: see [`Scene::choices`].
pub(crate) fn choices(world: &World, split: Split, start: u64, count: usize, words: &Words) -> Batch {
    gather(world, split, start, count, words, 16, |scene| scene.choices(world, 8, 7, &mut scene.rng(0)))
}

fn gather(
    world: &World,
    split: Split,
    start: u64,
    count: usize,
    words: &Words,
    each: usize,
    captions: impl Fn(&Scene) -> Vec<Caption>,
) -> Batch {
    let scenes: Vec<Scene> = (start..start + count as u64).map(|index| world.scene(split, index)).collect();
    let captions: Vec<Caption> = scenes.iter().flat_map(captions).collect();
    let falsehoods = scenes.iter().flat_map(|scene| {
        let true_ones = Detail::ALL.iter().map(|&detail| scene.caption(detail).said()).collect::<Vec<_>>();
        captions.iter().map(move |caption| !true_ones.contains(&caption.said()))
    });
    let full: Vec<usize> =
        (0..captions.len()).filter(|&text| captions[text].detail == Detail::Full).collect();
    Batch {
        shown: scenes.iter().flat_map(|scene| kinds(&scene.caption(Detail::Full))).collect(),
        named: full.iter().flat_map(|&text| kinds(&captions[text])).collect(),
        full,
        patches: scenes.iter().flat_map(shown).collect(),
        ids: captions.iter().map(|caption| ids(&caption.to_string(), words)).collect(),
        each,
        falsehoods: falsehoods.collect(),
        scenes,
    }
}

fn kinds(caption: &Caption) -> Vec<f32> {
    let mut kinds = vec![0.0; KINDS];
    for object in &caption.objects {
        if let Mentioned { size: Some(size), colour: Some(colour), shape: Some(shape) } = *object {
            let kind = (size as usize * Colour::ALL.len() + colour as usize) * Shape::ALL.len();
            kinds[kind + shape as usize] = 1.0;
        }
    }
    kinds
}

fn ids(text: &str, words: &Words) -> Vec<u32> {
    std::iter::once(BEGIN).chain(words.ids(text)).chain([END]).collect()
}
