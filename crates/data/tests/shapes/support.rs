//! A second reading of the world, written apart from the generator: it reads a question as text and answers
//! it from the list of objects, and it decides by formula whether a point lies inside a shape.

use mmlens_data::shapes::{Colour, Kind, Mention, Object, Question, Scene, Shape, Size};

/// Asserts that a question's answer, evidence and mentions are what a reader of its text would say.
pub(crate) fn check(scene: &Scene, question: &Question) {
    let words: Vec<&str> = question.text.split(' ').collect();
    let about = || format!("scene {} {}: {question:?}", scene.split, scene.id);
    let read = read(scene, &words).unwrap_or_else(|| panic!("cannot read {}", about()));
    assert_eq!(question.kind, read.kind, "kind of {}", about());
    assert_eq!(question.answer, read.answer, "answer of {}", about());
    assert_eq!(question.evidence, read.evidence, "evidence of {}", about());
    assert_eq!(question.mentions, read.mentions, "mentions of {}", about());
    for mention in &question.answer_mentions {
        let noun = question.answer.split(' ').nth(mention.word).unwrap();
        assert_eq!(noun, scene.objects[mention.object].shape.word(), "noun of the answer of {}", about());
    }
    let named = match question.kind {
        Kind::Describe => scene.objects.len(),
        Kind::RelationObject => 1,
        _ => 0,
    };
    assert_eq!(question.answer_mentions.len(), named, "nouns of the answer of {}", about());
}

struct Reading {
    kind: Kind,
    answer: String,
    evidence: Vec<usize>,
    mentions: Vec<Mention>,
}

fn read(scene: &Scene, words: &[&str]) -> Option<Reading> {
    let reading = |kind, answer: &str, mut evidence: Vec<usize>, mentions: Vec<Mention>| {
        evidence.sort_unstable();
        Some(Reading { kind, answer: answer.to_owned(), evidence, mentions })
    };
    match words {
        ["what", asked @ ("colour" | "shape" | "size"), "is", rest @ .., "?"] => {
            let (object, mention) = the(scene, rest, 3)?;
            let thing = &scene.objects[object];
            let (kind, answer) = match *asked {
                "colour" => (Kind::Colour, thing.colour.word()),
                "shape" => (Kind::Shape, thing.shape.word()),
                _ => (Kind::Size, thing.size.word()),
            };
            assert!(!rest.contains(&answer), "the question gives its answer away");
            reading(kind, answer, vec![object], vec![mention])
        }
        ["how", "big", "is", rest @ .., "?"] => {
            let (object, mention) = the(scene, rest, 3)?;
            assert!(!rest.contains(&"small") && !rest.contains(&"large"));
            reading(Kind::Size, scene.objects[object].size.word(), vec![object], vec![mention])
        }
        ["where", "is", rest @ .., "?"] => {
            let (object, mention) = the(scene, rest, 2)?;
            let (x, y) = scene.objects[object].centre;
            // the lines are at 21.33 and 42.67; a centre within 2.5 of one is not asked about
            let third = |at: f32| match at {
                ..=18.84 => Some(0),
                23.83..=40.17 => Some(1),
                45.16.. => Some(2),
                _ => None,
            };
            let names = [
                ["top left", "top", "top right"],
                ["left", "centre", "right"],
                ["bottom left", "bottom", "bottom right"],
            ];
            reading(Kind::Location, names[third(y)?][third(x)?], vec![object], vec![mention])
        }
        ["how", "many", rest @ .., "are", "there", "?"] => {
            let objects = fitting(scene, rest);
            let mentions = at(words.len() - 4, &objects);
            reading(Kind::Count, &objects.len().to_string(), objects, mentions)
        }
        ["is", "there", article @ ("a" | "an"), rest @ .., "?"] => {
            assert_eq!(*article == "an", rest[0].starts_with(['a', 'e', 'i', 'o', 'u']));
            let objects = fitting(scene, rest);
            let mentions = at(words.len() - 2, &objects);
            reading(Kind::Existence, if objects.is_empty() { "no" } else { "yes" }, objects, mentions)
        }
        ["is", rest @ .., "?"] => {
            let cut = rest.iter().position(|word| ["left", "right", "above", "below"].contains(word))?;
            let (object, first) = the(scene, &rest[..cut], 1)?;
            let after = cut + 1 + usize::from(rest[cut + 1] == "of");
            let (origin, second) = the(scene, &rest[after..], 1 + after)?;
            let far = beyond(scene, rest[cut], origin, object);
            assert!(far.abs() >= 8.0, "asked although {far} apart");
            assert_ne!(object, origin);
            let answer = if far > 0.0 { "yes" } else { "no" };
            reading(Kind::Relation, answer, vec![object, origin], vec![first, second])
        }
        ["what", "is", side @ ("left" | "right"), "of", rest @ .., "?"] => what_is(scene, side, rest, 4),
        ["what", "is", side @ ("above" | "below"), rest @ .., "?"] => what_is(scene, side, rest, 3),
        ["describe", "the", "picture", "."] | ["what", "is", "in", "the", "picture", "?"] => {
            let all: Vec<usize> = (0..scene.objects.len()).collect();
            let mut left: Vec<usize> = all.clone();
            let mut phrases = Vec::new();
            while !left.is_empty() {
                // no NaN: centres of what was drawn
                let edge = left.iter().map(|&i| scene.objects[i].centre.0).fold(f32::MAX, f32::min);
                let mut column: Vec<usize> =
                    left.iter().copied().filter(|&i| scene.objects[i].centre.0 < edge + 3.0).collect();
                column.sort_by(|&a, &b| scene.objects[a].centre.1.total_cmp(&scene.objects[b].centre.1));
                left.retain(|index| !column.contains(index));
                phrases.extend(column.into_iter().map(|index| {
                    let Object { size, colour, shape, .. } = &scene.objects[index];
                    format!("a {} {} {}", size.word(), colour.word(), shape.word())
                }));
            }
            reading(Kind::Describe, &phrases.join(" , "), all, vec![])
        }
        _ => None,
    }
}

fn what_is(scene: &Scene, side: &str, rest: &[&str], from: usize) -> Option<Reading> {
    let (origin, mention) = the(scene, rest, from)?;
    let mut found = Vec::new();
    for other in (0..scene.objects.len()).filter(|&other| other != origin) {
        let far = beyond(scene, side, origin, other);
        assert!(far.abs() >= 8.0, "object {other} is in the band");
        if far > 0.0 {
            found.push(other);
        }
    }
    let &[one] = found.as_slice() else { return None };
    let thing = &scene.objects[one];
    let article = if thing.colour == Colour::Orange { "an" } else { "a" };
    let answer = format!("{article} {} {}", thing.colour.word(), thing.shape.word());
    let mut evidence = vec![one, origin];
    evidence.sort_unstable();
    Some(Reading { kind: Kind::RelationObject, answer, evidence, mentions: vec![mention] })
}

fn beyond(scene: &Scene, side: &str, origin: usize, other: usize) -> f32 {
    let (from, to) = (scene.objects[origin].centre, scene.objects[other].centre);
    match side {
        "left" => from.0 - to.0,
        "right" => to.0 - from.0,
        "above" => from.1 - to.1,
        _ => to.1 - from.1,
    }
}

/// The one object that "the ..." refers to.
fn the(scene: &Scene, words: &[&str], from: usize) -> Option<(usize, Mention)> {
    let (&"the", rest) = words.split_first()? else { return None };
    let &[object] = fitting(scene, rest).as_slice() else { return None };
    Some((object, Mention { word: from + words.len() - 1, object }))
}

fn at(word: usize, objects: &[usize]) -> Vec<Mention> {
    objects.iter().map(|&object| Mention { word, object }).collect()
}

/// The objects that fit every word of an expression.
fn fitting(scene: &Scene, words: &[&str]) -> Vec<usize> {
    let fits = |object: &Object, word: &str| {
        let plural = match object.shape.word() {
            "cross" => "crosses".to_owned(),
            shape => format!("{shape}s"),
        };
        word.starts_with("object")
            || [object.shape.word(), object.colour.word(), object.size.word(), &plural].contains(&word)
    };
    (0..scene.objects.len())
        .filter(|&index| words.iter().all(|word| fits(&scene.objects[index], word)))
        .collect()
}

/// Whether a point lies inside an object's outline, by the formula of its shape.
pub(crate) fn inside(object: &Object, (x, y): (f64, f64)) -> bool {
    let radius = f64::from(object.radius);
    let (dx, dy) = ((x - f64::from(object.centre.0)) / radius, (y - f64::from(object.centre.1)) / radius);
    let distance = dx.hypot(dy);
    match object.shape {
        Shape::Circle => distance < 1.0,
        Shape::Ring => (0.55..1.0).contains(&distance),
        Shape::Square => dx.abs().max(dy.abs()) < 0.86,
        Shape::Cross => dx.abs().max(dy.abs()) < 1.0 && dx.abs().min(dy.abs()) < 0.33,
        Shape::Triangle => dy < 0.8 && dx.abs() < (dy + 0.95) / 1.75,
        Shape::Star => {
            // by symmetry one tenth of the star is enough: a triangle from the centre to a tip and an inner
            // corner
            let angle = dx.atan2(-(dy - 0.06)).abs();
            let tenth = std::f64::consts::PI / 5.0;
            let within = angle % (2.0 * tenth);
            let folded = within.min(2.0 * tenth - within);
            let distance = dx.hypot(dy - 0.06);
            let (tip, inner) = ((1.05, 0.0), (0.5 * tenth.cos(), 0.5 * tenth.sin()));
            let point = (distance * folded.cos(), distance * folded.sin());
            (inner.0 - tip.0) * (point.1 - tip.1) - (inner.1 - tip.1) * (point.0 - tip.0) > 0.0
        }
    }
}

/// The words for an object.
pub(crate) fn phrase(object: &Object) -> (Size, Colour, Shape) {
    (object.size, object.colour, object.shape)
}
