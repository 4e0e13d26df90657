//! Captions: a scene in words, in more or less detail, and captions that are nearly true.

use std::fmt;

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use super::scene::{Object, Scene};
use super::vocabulary::{Colour, Shape, Size};
use super::world::World;

/// How much a caption says of each object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detail {
    /// "a large red circle": as [`Scene::description`] has it.
    Full,
    /// "a red circle".
    ColourAndShape,
    /// "a red object".
    Colour,
    /// "a circle".
    Shape,
}

impl Detail {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Full, Self::ColourAndShape, Self::Colour, Self::Shape];
}

/// What a caption says of one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mentioned {
    /// The size, where it is named.
    pub size: Option<Size>,
    /// The colour, where it is named.
    pub colour: Option<Colour>,
    /// The shape, where it is named; "object" stands for it elsewhere.
    pub shape: Option<Shape>,
}

impl Mentioned {
    /// What is true of an object, in some detail.
    pub fn of(object: &Object, detail: Detail) -> Self {
        let colour = (detail != Detail::Shape).then_some(object.colour);
        let shape = (detail != Detail::Colour).then_some(object.shape);
        Self { size: (detail == Detail::Full).then_some(object.size), colour, shape }
    }

    /// Everything that differs from this in one property of those named.
    fn near_misses(self) -> impl Iterator<Item = Self> {
        let sizes = Size::ALL.iter().map(move |&size| Self { size: self.size.map(|_| size), ..self });
        let colours =
            Colour::ALL.iter().map(move |&colour| Self { colour: self.colour.map(|_| colour), ..self });
        let shapes = Shape::ALL.iter().map(move |&shape| Self { shape: self.shape.map(|_| shape), ..self });
        sizes.chain(colours).chain(shapes).filter(move |other| *other != self)
    }
}

impl fmt::Display for Mentioned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let article = match (self.size, self.colour, self.shape) {
            (Some(_), ..) => "a",
            (None, Some(colour), _) => colour.article(),
            (None, None, Some(_)) => "a",
            (None, None, None) => "an",
        };
        f.write_str(article)?;
        if let Some(size) = self.size {
            write!(f, " {size}")?;
        }
        if let Some(colour) = self.colour {
            write!(f, " {colour}")?;
        }
        write!(f, " {}", self.shape.map_or("object", Shape::word))
    }
}

/// A picture in words: "a large red circle , a small blue ring". The order says nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Caption {
    /// In how much detail.
    pub detail: Detail,
    /// What it says of each object, in the order of its words.
    pub objects: Vec<Mentioned>,
}

impl fmt::Display for Caption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, object) in self.objects.iter().enumerate() {
            write!(f, "{}{object}", if place == 0 { "" } else { " , " })?;
        }
        Ok(())
    }
}

impl Caption {
    /// Whether it names every object of a scene and no other.
    pub fn holds(&self, scene: &Scene) -> bool {
        self.said() == scene.caption(self.detail).said()
    }

    /// What it says, whatever the order: captions of equal detail hold for the same scenes if these are equal.
    pub fn said(&self) -> Vec<Mentioned> {
        let mut said = self.objects.clone();
        said.sort_unstable();
        said
    }

    /// Every caption that says one property of one object otherwise. None of them holds where this one does. They
    /// differ from it in one word; in two where "a" becomes "an" or the other way round.
    pub fn near_misses(&self) -> impl Iterator<Item = Self> {
        self.objects.iter().enumerate().flat_map(move |(place, object)| {
            object.near_misses().map(move |other| {
                let mut near = self.clone();
                near.objects[place] = other;
                near
            })
        })
    }
}

impl Scene {
    /// The scene in words, its objects in reading order.
    pub fn caption(&self, detail: Detail) -> Caption {
        let order = self.reading_order().into_iter().filter_map(|index| self.objects.get(index));
        Caption { detail, objects: order.map(|object| Mentioned::of(object, detail)).collect() }
    }

    /// The true caption in full detail and, after it, false ones: `near` that differ from it in one word, `far` that
    /// are true of other scenes of the same split. All texts differ. Fewer near ones where there are not so many (a
    /// scene of one object has 13).
    pub fn choices<R: Rng>(&self, world: &World, near: usize, far: usize, rng: &mut R) -> Vec<Caption> {
        let caption = self.caption(Detail::Full);
        let misses: Vec<Caption> = caption.near_misses().collect();
        let mut choices = vec![caption];
        choices.extend(misses.sample(rng, near).cloned());
        let all = choices.len() + far;
        while choices.len() < all {
            let other = world.scene(self.split, u64::from(rng.random::<u32>())).caption(Detail::Full);
            if !other.holds(self) && !choices.contains(&other) {
                choices.push(other);
            }
        }
        choices
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shapes::{Split, vocabulary};

    fn scenes() -> impl Iterator<Item = Scene> {
        (0..100).map(|index| World::new(3).scene(Split::Validation, index))
    }

    #[test]
    fn captions_are_true_and_use_the_words_there_are() {
        let words = vocabulary();
        for scene in scenes() {
            assert_eq!(scene.caption(Detail::Full).to_string(), scene.description());
            for &detail in Detail::ALL {
                let caption = scene.caption(detail);
                assert!(caption.holds(&scene));
                assert!(caption.to_string().split(' ').all(|word| words.contains(&word)), "{caption}");
            }
        }
    }

    #[test]
    fn every_near_miss_is_false_and_one_word_off() {
        for scene in scenes() {
            for &detail in Detail::ALL {
                let caption = scene.caption(detail);
                let text = caption.to_string();
                // other sizes 1, colours 7, shapes 5, of those that are named
                let each = match detail {
                    Detail::Full => 1 + 7 + 5,
                    Detail::ColourAndShape => 7 + 5,
                    Detail::Colour => 7,
                    Detail::Shape => 5,
                };
                let misses: Vec<Caption> = caption.near_misses().collect();
                assert_eq!(misses.len(), each * scene.objects.len());
                for near in misses {
                    assert!(!near.holds(&scene), "{near}");
                    let near = near.to_string();
                    let articles = |text: &str| text.split(' ').filter(|word| *word == "an").count();
                    let off = text.split(' ').zip(near.split(' ')).filter(|(a, b)| a != b).count();
                    assert_eq!(off, 1 + usize::from(articles(&text) != articles(&near)), "{text} | {near}");
                }
            }
        }
    }

    #[test]
    fn choices_hold_one_true_caption() {
        let world = World::new(3);
        for scene in scenes() {
            let choices = scene.choices(&world, 8, 7, &mut scene.rng(0));
            assert_eq!(choices.len(), 16);
            let true_ones: Vec<bool> = choices.iter().map(|caption| caption.holds(&scene)).collect();
            assert!(true_ones[0] && true_ones[1..].iter().all(|holds| !holds));
            let texts: std::collections::BTreeSet<String> = choices.iter().map(Caption::to_string).collect();
            assert_eq!(texts.len(), 16);
        }
    }

    #[test]
    fn articles_go_with_their_word() {
        let said = |size, colour, shape| Mentioned { size, colour, shape }.to_string();
        assert_eq!(said(None, Some(Colour::Orange), None), "an orange object");
        assert_eq!(said(Some(Size::Small), Some(Colour::Orange), None), "a small orange object");
        assert_eq!(said(None, None, Some(Shape::Ring)), "a ring");
        assert_eq!(said(None, None, None), "an object");
    }
}
