//! Descriptions: a scene in words, and back.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::scene::{Object, Scene};
use super::vocabulary::{Colour, Shape, Size};

/// Objects whose centres lie within this many pixels along x stand in one column, read from the top.
const COLUMN: f32 = 3.0;

/// Where the noun stands in "a large red circle", and how many words one object takes with its comma.
const NOUN: usize = 3;
const STRIDE: usize = 5;

/// What a description says of one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Phrase {
    /// The size named.
    pub size: Size,
    /// The colour named.
    pub colour: Colour,
    /// The shape named.
    pub shape: Shape,
}

impl Phrase {
    /// The phrase that is true of an object.
    pub fn of(object: &Object) -> Self {
        Self { size: object.size, colour: object.colour, shape: object.shape }
    }
}

impl fmt::Display for Phrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a {} {} {}", self.size, self.colour, self.shape)
    }
}

impl Scene {
    /// The scene in words: "a large red circle , a small blue ring".
    ///
    /// Objects are named from left to right by the centre. Those within 3 pixels of the leftmost one not yet
    /// named form a column, which is read from top to bottom.
    pub fn description(&self) -> String {
        let phrases: Vec<String> = self
            .reading_order()
            .into_iter()
            .filter_map(|index| self.objects.get(index))
            .map(|object| Phrase::of(object).to_string())
            .collect();
        phrases.join(" , ")
    }

    /// The objects in the order in which the description names them.
    pub fn reading_order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.objects.len()).collect();
        order.sort_by(|&a, &b| self.objects[a].centre.0.total_cmp(&self.objects[b].centre.0));
        let mut from = 0;
        while from < order.len() {
            let edge = self.objects[order[from]].centre.0 + COLUMN;
            let to =
                from + order[from..].iter().take_while(|&&index| self.objects[index].centre.0 < edge).count();
            // The leftmost is within 3 pixels of itself, so every round takes at least one.
            let to = to.max(from + 1);
            order[from..to].sort_by(|&a, &b| self.objects[a].centre.1.total_cmp(&self.objects[b].centre.1));
            from = to;
        }
        order
    }

    /// The index of the noun in the description for each place in the reading order.
    pub(super) const fn noun_in_description(place: usize) -> usize {
        place * STRIDE + NOUN
    }
}

/// Reads a description back; `None` if it is not a list of phrases "a size colour shape" set off by commas.
///
/// The empty text is the description of an empty scene.
pub fn parse_description(text: &str) -> Option<Vec<Phrase>> {
    let words: Vec<&str> = text.split_whitespace().collect();
    if words.is_empty() {
        return Some(Vec::new());
    }
    words.split(|&word| word == ",").map(parse_phrase).collect()
}

fn parse_phrase(words: &[&str]) -> Option<Phrase> {
    let &["a", size, colour, shape] = words else { return None };
    Some(Phrase {
        size: Size::from_word(size)?,
        colour: Colour::from_word(colour)?,
        shape: Shape::from_word(shape)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shapes::{Split, World};

    #[test]
    fn a_description_is_read_back() {
        for index in 0..200 {
            let scene = World::new(1).scene(Split::Train, index);
            let read = parse_description(&scene.description());
            let said =
                scene.reading_order().into_iter().map(|object| Phrase::of(&scene.objects[object])).collect();
            assert_eq!(read, Some(said));
        }
    }

    #[test]
    fn columns_are_read_from_the_top() {
        let world = World::new(1);
        let scene =
            (0..).map(|index| world.scene(Split::Train, index)).find(|scene| scene.objects.len() == 4);
        let scene = scene.unwrap();
        let at = |centres: [(f32, f32); 4]| {
            let moved =
                centres.iter().enumerate().fold(scene.clone(), |scene, (index, &to)| scene.moved(index, to));
            moved.reading_order()
        };
        assert_eq!(at([(40.0, 9.0), (30.0, 9.0), (20.0, 9.0), (10.0, 9.0)]), [3, 2, 1, 0]);
        // 10, 11 and 12.9 are one column; 13 is not, though it is near 12.9
        assert_eq!(at([(10.0, 50.0), (11.0, 9.0), (12.9, 30.0), (13.0, 5.0)]), [1, 2, 0, 3]);
        // the nouns: "a large red circle , a ..." has them at 3, 8, 13
        assert_eq!([0, 1, 2].map(Scene::noun_in_description), [3, 8, 13]);
    }

    #[test]
    fn what_is_not_a_description_is_refused() {
        for text in
            ["red circle", "a large red circle ,", "a red large circle", "a large red circle a", ", ,"]
        {
            assert_eq!(parse_description(text), None, "{text}");
        }
        assert_eq!(parse_description(""), Some(vec![]));
    }
}
