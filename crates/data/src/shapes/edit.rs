//! Counterfactual scenes: one object of a scene moved, recoloured, reshaped, resized or taken away, and all else as it was.

use std::fmt;
use std::str::FromStr;

use mmlens_core::{Case, Pair, Picture, Sample};

use super::question::Question;
use super::scene::{Object, SIDE, Scene};
use super::vocabulary::{Cell, Colour, Shape, Size};

/// What becomes of one object. Written `move=40,20`, `colour=blue`, `shape=star`, `size=large`, `remove`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Edit {
    /// Its centre is elsewhere.
    Move {
        /// To the right, in pixels.
        x: f32,
        /// Downwards.
        y: f32,
    },
    /// It has the mean shade of another colour.
    Colour(Colour),
    /// It has another outline, about the same centre.
    Shape(Shape),
    /// It has the mean radius of another size, about the same centre.
    Size(Size),
    /// It is not there.
    Remove,
}

impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Move { x, y } => write!(f, "move={x},{y}"),
            Self::Colour(colour) => write!(f, "colour={colour}"),
            Self::Shape(shape) => write!(f, "shape={shape}"),
            Self::Size(size) => write!(f, "size={size}"),
            Self::Remove => f.write_str("remove"),
        }
    }
}

/// An edit of a scene that cannot be.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// Not the text of an edit.
    #[error("`{found}` is no edit of an object: {expected}")]
    Text {
        /// What was given.
        found: String,
        /// What is expected.
        expected: &'static str,
    },
    /// The scene has no such object.
    #[error("the scene has no object {index}: it has {len}, counted from 0")]
    NoObject {
        /// What was asked for.
        index: usize,
        /// Objects there are.
        len: usize,
    },
    /// The object is so already.
    #[error("object {index} is so already: `{edit}`")]
    Same {
        /// The object.
        index: usize,
        /// What was to become of it.
        edit: String,
    },
    /// The centre is outside the picture.
    #[error("the centre {x},{y} lies outside the picture, which has {SIDE} x {SIDE} pixels")]
    Outside {
        /// To the right, in pixels.
        x: f32,
        /// Downwards.
        y: f32,
    },
}

const EXPECTED: &str =
    "expected move=X,Y, colour=NAME, shape=NAME, size=NAME or remove, with names of the shapes world";

impl FromStr for Edit {
    type Err = EditError;

    fn from_str(text: &str) -> Result<Self, EditError> {
        let (what, value) = text.split_once('=').unwrap_or((text, ""));
        let read = match what {
            "move" => value.split_once(',').and_then(|(x, y)| {
                let number = |text: &str| text.trim().parse().ok().filter(|at: &f32| at.is_finite());
                Some(Self::Move { x: number(x)?, y: number(y)? })
            }),
            "colour" => Colour::from_word(value).map(Self::Colour),
            "shape" => Shape::from_word(value).map(Self::Shape),
            "size" => Size::from_word(value).map(Self::Size),
            "remove" if text == "remove" => Some(Self::Remove),
            _ => None,
        };
        read.ok_or_else(|| EditError::Text { found: text.to_owned(), expected: EXPECTED })
    }
}

/// Two scenes that differ in one object.
#[derive(Clone, Debug, PartialEq)]
pub struct Counterfactual {
    /// The scene as it was.
    pub before: Scene,
    /// The scene with the object edited. It keeps `id`, `split` and `seed`.
    pub after: Scene,
    /// Which object of `before` it is.
    pub object: usize,
    /// What became of it.
    pub edit: Edit,
}

impl Scene {
    /// The scene with one object edited. What lies in front of or behind the object stays there.
    ///
    /// # Errors
    /// [`EditError::NoObject`]; [`EditError::Same`] for an edit that changes nothing; [`EditError::Outside`].
    pub fn counterfactual(&self, object: usize, edit: Edit) -> Result<Counterfactual, EditError> {
        let own = self.objects.get(object);
        let own = own.ok_or(EditError::NoObject { index: object, len: self.objects.len() })?;
        let same = match edit {
            Edit::Move { x, y } => {
                let side = 0.0..SIDE as f32;
                if !side.contains(&x) || !side.contains(&y) {
                    return Err(EditError::Outside { x, y });
                }
                own.centre == (x, y)
            }
            Edit::Colour(colour) => own.colour == colour,
            Edit::Shape(shape) => own.shape == shape,
            Edit::Size(size) => own.size == size,
            Edit::Remove => false,
        };
        if same {
            return Err(EditError::Same { index: object, edit: edit.to_string() });
        }
        let after = match edit {
            Edit::Move { x, y } => self.moved(object, (x, y)),
            Edit::Colour(colour) => self.recoloured(object, colour),
            Edit::Shape(shape) => self.reshaped(object, shape),
            Edit::Size(size) => self.resized(object, size),
            Edit::Remove => self.without(object),
        };
        Ok(Counterfactual { before: self.clone(), after, object, edit })
    }

    /// Every edit of one object after which a question has another answer, and no other object shows more or less of itself: to every other
    /// colour, shape and size, to the middles of the nine cells, and away. In the order of the objects, and of the edits as named here.
    ///
    /// Empty for a question that the scene does not answer.
    pub fn flips(&self, question: &str) -> Vec<Counterfactual> {
        let thirds = |at: usize| (at as f32 + 0.5) * SIDE as f32 / 3.0;
        let mut edits: Vec<Edit> = Colour::ALL.iter().copied().map(Edit::Colour).collect();
        edits.extend(Shape::ALL.iter().copied().map(Edit::Shape));
        edits.extend(Size::ALL.iter().copied().map(Edit::Size));
        edits.extend((0..Cell::ALL.len()).map(|at| Edit::Move { x: thirds(at % 3), y: thirds(at / 3) }));
        edits.push(Edit::Remove);
        let all = (0..self.objects.len()).flat_map(|object| edits.iter().map(move |edit| (object, *edit)));
        let made = all.filter_map(|(object, edit)| self.counterfactual(object, edit).ok());
        let other = |made: &Counterfactual| {
            made.is_alone() && made.answers(question).is_some_and(|[own, other]| own.answer != other.answer)
        };
        made.filter(other).collect()
    }
}

impl Counterfactual {
    /// The same question about either scene, with the answer that is true of it; `None` if one of them does not answer it: nothing is
    /// called so there, or more than one thing is.
    pub fn answers(&self, question: &str) -> Option<[Question; 2]> {
        Some([self.before.answered(question)?, self.after.answered(question)?])
    }

    /// The other objects, before and after.
    fn others(&self) -> impl Iterator<Item = (&Object, &Object)> {
        let (object, gone) = (self.object, self.edit == Edit::Remove);
        let before = self.before.objects.iter().enumerate().filter(move |(index, _)| *index != object);
        let after = self.after.objects.iter().enumerate();
        let after = after.filter(move |(index, _)| gone || *index != object);
        before.map(|(_, own)| own).zip(after.map(|(_, own)| own))
    }

    /// Whether every other object shows the same pixels: the edit neither hides nor uncovers any.
    pub fn is_alone(&self) -> bool {
        self.others().all(|(before, after)| before.mask == after.mask && before.hidden == after.hidden)
    }

    /// The pixels in which the pictures differ, row by row from the top.
    pub fn changed(&self) -> Vec<bool> {
        let (before, after) = (self.before.render(), self.after.render());
        before.pixels().zip(after.pixels()).map(|(a, b)| a != b).collect()
    }

    /// The same question about both pictures: what is explained is the most likely token of the answer to the first. For patching,
    /// causal tracing, and every other method that compares two runs.
    pub fn pair(&self, question: &str) -> Pair {
        let picture = |scene: &Scene, name: String| Picture::new(name, scene.render());
        let name = format!("{} {}", self.before.split, self.before.id);
        let edited = format!("{name}, {}:{}", self.object, self.edit);
        let sample = |picture| Sample::ask(picture, question);
        Pair {
            clean: Case::new(sample(picture(&self.before, name))),
            corrupted: sample(picture(&self.after, edited)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Edit, EditError};
    use crate::shapes::{Colour, Shape, Size};

    #[test]
    fn edits_are_read_as_they_are_written() {
        let all = [
            Edit::Move { x: 40.0, y: 20.5 },
            Edit::Colour(Colour::Blue),
            Edit::Shape(Shape::Star),
            Edit::Size(Size::Large),
            Edit::Remove,
        ];
        for edit in all {
            assert_eq!(edit.to_string().parse(), Ok(edit));
        }
        for text in ["", "move=4", "move=nan,3", "colour=pink", "remove=1", "blue", "Colour=blue"] {
            let said = text.parse::<Edit>().unwrap_err();
            assert!(matches!(&said, EditError::Text { found, .. } if found == text), "{said}");
        }
    }
}
