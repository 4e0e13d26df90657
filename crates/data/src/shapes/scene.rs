//! A scene: objects on a grey ground, the pixels on which each is seen, and the picture of it all.

use image::RgbImage;
use mmlens_core::Picture;
use rand_chacha::ChaCha8Rng;

use super::raster::{Cover, Mask, SAMPLES};
use super::vocabulary::{Colour, Shape, Size};
use crate::drawn::{Purpose, SHAPES, Split, item_rng, key_of, scramble};
use crate::worlds::each_once;

/// The width and height of every picture, in pixels.
pub const SIDE: usize = 64;

/// The largest part of an object that others may hide, in a scene drawn by a world.
pub const MOST_HIDDEN: f32 = 1.0 / 3.0;

/// The most the grain moves a channel of a pixel, up or down.
const GRAIN: u64 = 4;

/// What an object is and where it lies: all that is needed to draw it.
#[derive(Clone, Copy)]
pub(super) struct Placement {
    pub(super) shape: Shape,
    pub(super) colour: Colour,
    pub(super) size: Size,
    pub(super) centre: (f32, f32),
    pub(super) radius: f32,
    pub(super) rgb: [u8; 3],
}

/// An object of a scene.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// The outline.
    pub shape: Shape,
    /// The name of the colour.
    pub colour: Colour,
    /// The name of the size.
    pub size: Size,
    /// The centre, in pixels.
    pub centre: (f32, f32),
    /// Half the side of the square that the outline fills, in pixels.
    pub radius: f32,
    /// The exact colour, before edges are blended.
    pub rgb: [u8; 3],
    /// The box of the visible pixels: x0, y0, x1, y1, the last two exclusive.
    pub bbox: [u32; 4],
    /// The visible pixels: those of which this object shows on half the area or more. Masks of a scene are
    /// disjoint.
    pub mask: Mask,
    /// The part of the object's area that later objects hide, from 0 to 1.
    pub hidden: f32,
}

impl Object {
    /// What it is, by category: `colour: red`, `shape: circle`, `size: large`, `object: red circle`.
    #[must_use]
    pub fn concepts(&self) -> [String; 4] {
        let (colour, shape, size) = (self.colour.word(), self.shape.word(), self.size.word());
        [
            format!("colour: {colour}"),
            format!("shape: {shape}"),
            format!("size: {size}"),
            format!("object: {colour} {shape}"),
        ]
    }

    /// What is needed to draw this object again.
    fn placement(&self) -> Placement {
        let &Self { shape, colour, size, centre, radius, rgb, .. } = self;
        Placement { shape, colour, size, centre, radius, rgb }
    }
}

/// A picture of the shapes world and everything that is true of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Scene {
    /// The index of the scene in its split: `world.scene(split, id)` draws it again.
    pub id: u64,
    /// The split the scene was drawn for.
    pub split: Split,
    /// The seed of the world the scene was drawn from.
    pub seed: u64,
    /// The content key: equal for two scenes with the same objects in the same cells of 8 x 8 pixels. It
    /// decides the split ([`Split::of_key`]), so scenes of two splits never share a key.
    pub key: u64,
    /// The grey of the ground.
    pub background: u8,
    /// The seed of the grain, a faint noise over the whole picture.
    pub grain: u64,
    /// The objects, in the order in which they are drawn: a later one may cover an earlier one.
    pub objects: Vec<Object>,
}

impl Scene {
    /// Puts objects in place and finds the pixels on which each is seen.
    pub(super) fn compose(
        (id, split, seed): (u64, Split, u64),
        (background, grain): (u8, u64),
        placements: &[Placement],
    ) -> Self {
        let mut objects: Vec<Object> = Vec::with_capacity(placements.len());
        let mut masks: Vec<Mask> = Vec::with_capacity(placements.len());
        for (placement, (cover, area)) in placements.iter().zip(visible(placements)).rev() {
            let mask = cover.mask(&masks);
            let &Placement { shape, colour, size, centre, radius, rgb } = placement;
            let hidden = hidden_part(&cover, area);
            let bbox = mask.bbox();
            masks.push(mask.clone());
            objects.push(Object { shape, colour, size, centre, radius, rgb, bbox, mask, hidden });
        }
        objects.reverse();
        Self { id, split, seed, key: content_key(placements), background, grain, objects }
    }

    /// What there is in it, by category, each once: [`Object::concepts`].
    #[must_use]
    pub fn concepts(&self) -> Vec<String> {
        each_once(self.objects.iter().flat_map(Object::concepts))
    }

    /// The scene without one object; the objects after it move up by one.
    ///
    /// This and the other edits ([`recoloured`](Self::recoloured), [`reshaped`](Self::reshaped),
    /// [`resized`](Self::resized), [`moved`](Self::moved)) make counterfactual pictures: all that is not edited stays as it is, pixel by
    /// pixel. An edited scene keeps `id`, `split` and `seed`, which say where it came from; its key is new
    /// and may belong to another split. Nothing bounds how much of an object an edit hides. An index past the
    /// end changes nothing.
    #[must_use]
    pub fn without(&self, object: usize) -> Self {
        self.edited(|placements| {
            if object < placements.len() {
                placements.remove(object);
            }
        })
    }

    /// The scene with one object in the mean shade of another colour. See [`without`](Self::without) for what
    /// all edits share.
    #[must_use]
    pub fn recoloured(&self, object: usize, colour: Colour) -> Self {
        self.edited_object(object, |placement| Placement { colour, rgb: colour.rgb(), ..placement })
    }

    /// The scene with one object in another shape. See [`without`](Self::without) for what all edits share.
    #[must_use]
    pub fn reshaped(&self, object: usize, shape: Shape) -> Self {
        self.edited_object(object, |placement| Placement { shape, ..placement })
    }

    /// The scene with one object in the mean radius of another size, about the same centre. See
    /// [`without`](Self::without) for what all edits share.
    #[must_use]
    pub fn resized(&self, object: usize, size: Size) -> Self {
        self.edited_object(object, |placement| Placement { size, radius: size.radius(), ..placement })
    }

    /// The scene with one object elsewhere; what comes to lie outside the picture is cut off. See
    /// [`without`](Self::without) for what all edits share.
    #[must_use]
    pub fn moved(&self, object: usize, centre: (f32, f32)) -> Self {
        self.edited_object(object, |placement| Placement { centre, ..placement })
    }

    fn edited_object(&self, object: usize, edit: impl FnOnce(Placement) -> Placement) -> Self {
        self.edited(|placements| {
            if let Some(placement) = placements.get_mut(object) {
                *placement = edit(*placement);
            }
        })
    }

    fn edited(&self, edit: impl FnOnce(&mut Vec<Placement>)) -> Self {
        let mut placements: Vec<Placement> = self.objects.iter().map(Object::placement).collect();
        edit(&mut placements);
        Self::compose((self.id, self.split, self.seed), (self.background, self.grain), &placements)
    }

    /// A generator that belongs to this scene alone, so that neither batching nor threads can change what is
    /// drawn. Different `draw`s are independent.
    pub fn rng(&self, draw: u64) -> ChaCha8Rng {
        item_rng(SHAPES, self.seed, self.split, self.id, Purpose::Caller(draw))
    }

    /// The picture.
    pub fn render(&self) -> RgbImage {
        let mut picture = RgbImage::new(SIDE as u32, SIDE as u32);
        self.render_into(&mut picture);
        picture
    }

    /// The picture, called by split and index.
    pub(super) fn picture(&self) -> Picture {
        Picture::new(format!("{} {}", self.split, self.id), self.render())
    }

    /// Writes the picture into `pixels`: rows from the top, three bytes a pixel, `SIDE * SIDE * 3` bytes in
    /// all. Bytes past the end of a longer slice are left alone; a shorter one takes as many whole pixels as
    /// it holds.
    pub fn render_into(&self, pixels: &mut [u8]) {
        let mut grain = self.grain;
        for pixel in pixels.chunks_exact_mut(3).take(SIDE * SIDE) {
            grain = grain.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut noise = scramble(grain);
            for channel in pixel {
                let shift = ((noise & 0xFFFF) * (2 * GRAIN + 1)) >> 16;
                noise >>= 16;
                *channel = (u64::from(self.background) + shift).saturating_sub(GRAIN).min(255) as u8;
            }
        }
        let placements: Vec<Placement> = self.objects.iter().map(Object::placement).collect();
        // Covers are disjoint once the hidden samples are taken away, so the parts of a pixel add up in any
        // order. For each sixteenth of a pixel that an object covers, a sixteenth of the ground goes out and
        // one of it comes in.
        for (placement, (cover, _)) in placements.iter().zip(visible(&placements)) {
            let from = (placement.centre.0 - placement.radius).floor().clamp(0.0, SIDE as f32) as usize;
            let to = (placement.centre.0 + placement.radius).ceil().clamp(0.0, SIDE as f32) as usize;
            for y in cover.pixel_rows() {
                for x in from..to {
                    let part = cover.at(x, y);
                    if part == 0 {
                        continue;
                    }
                    let at = (y * SIDE + x) * 3;
                    let Some(pixel) = pixels.get_mut(at..at + 3) else { continue };
                    for (channel, own) in pixel.iter_mut().zip(placement.rgb) {
                        let ground = i32::from(self.background);
                        let change = (i32::from(own) - ground) * part as i32;
                        *channel = (i32::from(*channel) + change / SAMPLES as i32).clamp(0, 255) as u8;
                    }
                }
            }
        }
    }
}

/// What remains visible of each object, with its whole area in samples.
pub(super) fn visible(placements: &[Placement]) -> Vec<(Cover, u32)> {
    let mut covers: Vec<(Cover, u32)> = placements
        .iter()
        .map(|placement| {
            let cover = Cover::of(placement.shape, placement.centre, placement.radius);
            let area = cover.count();
            (cover, area)
        })
        .collect();
    for index in (0..covers.len()).rev() {
        let (below, above) = covers.split_at_mut(index);
        let Some((above, _)) = above.first() else { continue };
        // `above` has lost what still later objects hide of it; those samples are taken from `below` by them.
        for (cover, _) in below {
            cover.hide_under(above);
        }
    }
    covers
}

/// The part of an area that a cover has lost.
pub(super) fn hidden_part(cover: &Cover, area: u32) -> f32 {
    if area == 0 { 0.0 } else { 1.0 - cover.count() as f32 / area as f32 }
}

/// A number for the content of a scene that ignores the order of objects, their exact place and their exact
/// colour.
pub(super) fn content_key(placements: &[Placement]) -> u64 {
    let part = |placement: &Placement| {
        let cell = |at: f32| (at / 8.0).floor().clamp(0.0, 7.0) as u64;
        let kind = (placement.shape as u64 * 8 + placement.colour as u64) * 2 + placement.size as u64;
        kind * 64 + cell(placement.centre.1) * 8 + cell(placement.centre.0)
    };
    key_of(placements.len() as u64, placements.iter().map(part).collect())
}
