//! Answering: what is true of a scene, asked in the words of the world.

use super::ask::filters;
use super::question::{CLEAR_OFFSET, Form, Kind, Naming, Question};
use super::scene::Scene;
use super::vocabulary::{Cell, Colour, Direction, Shape, Size};

/// An object and the way it is called.
type Called = (usize, Naming);

impl Scene {
    /// A question in the words of the world, with the answer that is true of this scene and the evidence for it. Unlike
    /// [`questions`](Self::questions) it takes longer names than are needed ("the large red star" where there is one star).
    ///
    /// `None` for a text that is no such question, and one that this scene does not answer: "the star" where there is none or more than one, "left
    /// of" of what is nearly in line.
    pub fn answered(&self, text: &str) -> Option<Question> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let named = |namings: Vec<Called>, form: Form| {
            let own =
                |object: usize| namings.iter().find(|(own, _)| *own == object).map(|(_, naming)| *naming);
            Some(self.phrase_as(form, own))
        };
        let property = |kind: Kind, wording: usize, rest: &[&str]| {
            let (object, naming) = self.called(rest)?;
            // A question does not give its answer away.
            let told = match kind {
                Kind::Colour => naming.colour,
                Kind::Shape => naming.shape,
                Kind::Size => naming.size,
                _ => Cell::at(self.objects.get(object)?.centre).is_none(),
            };
            (!told).then(|| self.phrase(Form::Property { kind, wording, object, naming }))
        };
        match words.as_slice() {
            ["what", "colour", "is", rest @ .., "?"] => property(Kind::Colour, 0, rest),
            ["what", "shape", "is", rest @ .., "?"] => property(Kind::Shape, 0, rest),
            ["what", "size", "is", rest @ .., "?"] => property(Kind::Size, 0, rest),
            ["how", "big", "is", rest @ .., "?"] => property(Kind::Size, 1, rest),
            ["where", "is", rest @ .., "?"] => property(Kind::Location, 0, rest),
            ["how", "many", "objects", "are", "there", "?"] => Some(self.phrase(Form::CountAll)),
            ["how", "many", .., "are", "there", "?"] | ["is", "there", ..] => {
                let mut forms = filters().flat_map(|filter| [Form::Count(filter), Form::Existence(filter)]);

                forms.find_map(|form| Some(self.phrase(form)).filter(|own| own.text == words.join(" ")))
            }
            ["is", rest @ .., "?"] => {
                let (before, direction, behind) = divided(rest)?;
                let (one, other) = (self.called(before)?, self.called(behind)?);
                let clear = self.offset(direction, other.0, one.0).abs() >= CLEAR_OFFSET;
                let form = Form::Relation { object: one.0, direction, origin: other.0 };
                if clear && one.0 != other.0 { named(vec![one, other], form) } else { None }
            }
            ["what", "is", "in", "the", "picture", "?"] if !self.objects.is_empty() => {
                Some(self.phrase(Form::Describe { wording: 1 }))
            }
            ["describe", "the", "picture", "."] if !self.objects.is_empty() => {
                Some(self.phrase(Form::Describe { wording: 0 }))
            }
            ["what", "is", rest @ .., "?"] => {
                let ([], direction, behind) = divided(rest)? else { return None };
                let origin = self.called(behind)?;
                let found = self.alone_beyond(direction, origin.0)?;
                named(vec![origin], Form::RelationObject { direction, origin: origin.0, found })
            }
            _ => None,
        }
    }

    /// The one object that is called so: "the", and then its size, colour and shape, in this order, as far as they are named.
    fn called(&self, words: &[&str]) -> Option<Called> {
        let (&"the", rest) = words.split_first()? else { return None };
        let (noun, before) = rest.split_last()?;
        let shape = Shape::from_word(noun);
        if shape.is_none() && *noun != "object" {
            return None;
        }
        let (size, before) = match before.split_first() {
            Some((first, others)) if Size::from_word(first).is_some() => (Size::from_word(first), others),
            _ => (None, before),
        };
        let colour = match before {
            [] => None,
            [word] => Some(Colour::from_word(word)?),
            _ => return None,
        };
        let fits = |index: &usize| {
            self.objects.get(*index).is_some_and(|own| {
                size.is_none_or(|size| own.size == size)
                    && colour.is_none_or(|colour| own.colour == colour)
                    && shape.is_none_or(|shape| own.shape == shape)
            })
        };
        let mut all = (0..self.objects.len()).filter(fits);
        let (Some(object), None) = (all.next(), all.next()) else { return None };
        Some((object, Naming { size: size.is_some(), colour: colour.is_some(), shape: shape.is_some() }))
    }
}

/// What stands before and behind a direction.
fn divided<'w>(words: &'w [&'w str]) -> Option<(&'w [&'w str], Direction, &'w [&'w str])> {
    let mut found = Direction::ALL.iter().filter_map(|direction| {
        let own: Vec<&str> = direction.word().split(' ').collect();
        let at = words.windows(own.len()).position(|some| *some == *own)?;
        Some((words.get(..at)?, *direction, words.get(at + own.len()..)?))
    });
    let (first, None) = (found.next()?, found.next()) else { return None };
    Some(first)
}
